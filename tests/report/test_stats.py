"""Intervals and tests against known values and laws."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symphony.report.stats import bootstrap_mean, mcnemar, wilson


@st.composite
def counts(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 500))
    return draw(st.integers(0, n)), n


def test_wilson_gives_the_textbook_interval() -> None:
    found = wilson(8, 10)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


@given(counts())
def test_wilson_holds_the_rate_and_stays_within_0_and_1(case: tuple[int, int]) -> None:
    found = wilson(*case)
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(counts())
def test_wilson_of_failures_mirrors_that_of_successes(case: tuple[int, int]) -> None:
    one, other = wilson(*case), wilson(case[1] - case[0], case[1])
    assert one is not None
    assert other is not None
    assert one.low == pytest.approx(1 - other.high)


def test_wilson_of_no_trial_is_nothing() -> None:
    assert wilson(0, 0) is None


def test_the_bootstrap_of_a_normal_sample_agrees_with_theory() -> None:
    import numpy as np

    sample = np.random.default_rng(3).normal(5, 2, size=400)
    found = bootstrap_mean(sample.tolist(), [str(i) for i in range(400)])
    assert found is not None
    half = 1.96 * sample.std() / math.sqrt(400)
    assert (found.low, found.high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.04)


def test_the_bootstrap_repeats_itself() -> None:
    values, clusters = [0.0, 1.0, 1.0, 0.5], ["a", "b", "c", "d"]
    assert bootstrap_mean(values, clusters) == bootstrap_mean(values, clusters)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_the_bootstrap_holds_the_mean_and_stays_within_the_sample(values: list[float]) -> None:
    found = bootstrap_mean(values, [str(i) for i in range(len(values))])
    assert found is not None
    if len(set(values)) == 1:  # resampling knows of nothing else: see the rule of three
        assert found.low <= found.value <= found.high
    else:
        assert min(values) - 1e-9 <= found.low <= found.value <= found.high <= max(values) + 1e-9


@pytest.mark.parametrize(
    ("values", "least", "expected"),
    [
        ([-1.0] * 2, -1.0, (-1.0, 1.0)),  # two problems say nothing
        ([0.0] * 96, -1.0, (-0.0625, 0.0625)),
        ([1.0] * 12, -1.0, (0.5, 1.0)),
        ([1.0] * 12, 0.0, (0.75, 1.0)),
        ([500.0] * 12, -1.0, (500.0, 500.0)),  # tokens have no range
    ],
)
def test_where_all_agree_the_interval_is_the_rule_of_three(
    values: list[float], least: float, expected: tuple[float, float]
) -> None:
    found = bootstrap_mean(values, [str(i) for i in range(len(values))], least=least)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected)


def test_repeating_problems_in_more_seeds_does_not_narrow_the_interval() -> None:
    values = [float(i % 3 == 0) for i in range(60)]
    clusters = [str(i) for i in range(60)]
    once, thrice = bootstrap_mean(values, clusters), bootstrap_mean(values * 3, clusters * 3)
    assert once is not None
    assert thrice is not None
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


@pytest.mark.parametrize(("b", "c", "p"), [(0, 0, 1.0), (0, 5, 0.0625), (1, 9, 22 / 1024), (7, 7, 1.0)])
def test_mcnemar_gives_the_exact_binomial_p(b: int, c: int, p: float) -> None:
    assert mcnemar(b, c) == pytest.approx(p)


@given(st.integers(0, 200), st.integers(0, 200))
def test_mcnemar_does_not_care_which_method_is_first(b: int, c: int) -> None:
    assert mcnemar(b, c) == mcnemar(c, b)
    assert 0 < mcnemar(b, c) <= 1


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60).filter(any))
def test_a_difference_seen_from_the_other_side_has_the_same_interval(values: list[float]) -> None:
    clusters = [str(index) for index in range(len(values))]
    one, other = bootstrap_mean(values, clusters), bootstrap_mean([-value for value in values], clusters)
    assert one is not None
    assert other is not None
    assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)
