"""Intervals and tests against known values, laws, and what simulations with a known truth say of them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bench import coverage
from symphony.report.stats import (
    FEW,
    Estimate,
    average,
    contrast,
    deviation,
    difference,
    holm,
    needed,
    rate,
    signflip,
    verdict,
)

DIFFERENCES = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60)


def apart(values: list[float]) -> list[str]:
    """Each value of a problem of its own."""
    return [str(index) for index in range(len(values))]


@st.composite
def grouped(draw: st.DrawFn) -> tuple[list[float], list[str]]:
    """Outcomes of problems that were met a different number of times."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=25))
    clusters = [str(index) for index, size in enumerate(sizes) for _ in range(size)]
    return draw(st.lists(st.sampled_from([0.0, 1.0]), min_size=len(clusters), max_size=len(clusters))), clusters


# --------------------------------------------------------------------------- rates


@pytest.mark.parametrize(("successes", "n"), [(8, 10), (0, 7), (5, 5), (1, 30), (48, 96)])
def test_the_rate_of_problems_met_once_has_wilsons_interval(successes: int, n: int) -> None:
    values = [1.0] * successes + [0.0] * (n - successes)
    found = rate(values, apart(values))
    expected = scipy_stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(grouped())
def test_a_rate_holds_its_value_and_stays_within_0_and_1(case: tuple[list[float], list[str]]) -> None:
    found = rate(*case)
    assert found is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(grouped())
def test_the_rate_of_failures_mirrors_that_of_successes(case: tuple[list[float], list[str]]) -> None:
    values, clusters = case
    one, other = rate(values, clusters), rate([1 - value for value in values], clusters)
    assert one is not None
    assert other is not None
    assert (one.low, one.high) == pytest.approx((1 - other.high, 1 - other.low))


@pytest.mark.parametrize("interval", [rate, average, difference])
def test_an_interval_of_nothing_is_nothing(interval: coverage.Interval) -> None:
    assert interval([], []) is None


@pytest.mark.parametrize("interval", [rate, average, difference])
def test_repeating_problems_in_more_seeds_does_not_narrow_the_interval(interval: coverage.Interval) -> None:
    values = [float(i % 3 == 0) for i in range(60)]
    once, thrice = interval(values, apart(values)), interval(values * 3, apart(values) * 3)
    assert once is not None
    assert thrice is not None
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high), rel=0.01)


def test_seeds_that_say_something_new_narrow_the_interval() -> None:
    values = [float(index % 2) for index in range(60)]
    clusters = [str(index // 3) for index in range(60)]  # each problem is solved in one or two of three runs
    same = [float(index // 3 % 2) for index in range(60)]  # ... in all of them or in none
    narrow, wide = rate(values, clusters), rate(same, clusters)
    assert narrow is not None
    assert wide is not None
    assert narrow.high - narrow.low < 0.7 * (wide.high - wide.low)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_scores_that_all_agree_still_have_an_interval(value: float) -> None:
    found = rate([value] * 12, apart([value] * 12))
    assert found is not None
    assert 0.05 < found.high - found.low < 0.5


# --------------------------------------------------------------------------- means and differences


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-100, 100), min_size=2, max_size=30, unique=True))
def test_a_mean_of_problems_met_once_has_students_interval(hundredths: list[int]) -> None:
    values = [value / 100 for value in hundredths]
    found = average(values, apart(values))
    expected = scipy_stats.t.interval(
        0.95, len(values) - 1, np.mean(values), np.std(values, ddof=1) / math.sqrt(len(values))
    )
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_one_problem_says_nothing_of_the_spread() -> None:
    found = average([500.0, 700.0], ["a", "a"])
    assert found is not None
    assert (found.low, found.value, found.high) == (600.0, 600.0, 600.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([-1.0] * 2, (-1.0, 1.0)),  # two problems say nothing
        ([0.0] * 96, (-0.0625, 0.0625)),
        ([1.0] * 12, (0.5, 1.0)),
    ],
)
def test_where_all_problems_agree_a_difference_has_the_rule_of_three(
    values: list[float], expected: tuple[float, float]
) -> None:
    found = difference(values, apart(values))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected)


@given(DIFFERENCES)
def test_a_difference_seen_from_the_other_side_has_the_same_interval(values: list[float]) -> None:
    one, other = difference(values, apart(values)), difference([-value for value in values], apart(values))
    assert one is not None
    assert other is not None
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert -1 <= one.low <= one.value <= one.high <= 1


# --------------------------------------------------------------------------- tests


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 5), (1, 9), (7, 7), (3, 20)])
def test_the_permutation_test_of_problems_met_once_is_the_mid_p_of_mcnemar(b: int, c: int) -> None:
    values = [1.0] * b + [-1.0] * c + [0.0] * 10
    n = b + c
    here = scipy_stats.binom.pmf(b, n, 0.5)
    expected = 1 - here / 2 if b == c else 2 * scipy_stats.binom.cdf(min(b, c), n, 0.5) - here
    assert signflip(values, apart(values)) == pytest.approx(expected if n else 1.0)


def test_the_permutation_test_flips_whole_problems() -> None:
    values = [1.0, 1.0, 1.0, -1.0, 1.0, 0.0, 1.0, 1.0, 0.0, -1.0, 0.0, 0.0]
    clusters = list("aaabbbcccddd")
    sums = np.array([3.0, 0.0, 2.0, -1.0])
    totals = np.array([abs((sums * signs).sum()) for signs in itertools.product((-1, 1), repeat=4)])
    expected = (totals > 4).mean() + (totals == 4).mean() / 2
    assert signflip(values, clusters) == pytest.approx(expected)


def test_the_permutation_test_agrees_with_scipys() -> None:
    rng = np.random.default_rng(3)
    sums = rng.integers(-3, 4, size=11)
    values = [float(np.sign(s)) for s in sums for _ in range(abs(s))] + [0.0] * 5
    clusters = [str(i) for i, s in enumerate(sums) for _ in range(abs(s))] + ["zero"] * 5
    whole = scipy_stats.permutation_test(
        (sums.astype(float),), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="greater"
    )
    null = np.abs(whole.null_distribution)
    seen = abs(int(sums.sum()))
    assert signflip(values, clusters) == pytest.approx((null > seen).mean() + (null == seen).mean() / 2)


@given(DIFFERENCES)
def test_the_permutation_test_does_not_care_which_method_is_first(values: list[float]) -> None:
    p = signflip(values, apart(values))
    assert p == pytest.approx(signflip([-value for value in values], apart(values)))
    assert 0 < p <= 1


def test_holm_multiplies_the_smallest_p_by_the_number_of_tests_and_never_falls() -> None:
    assert holm([0.01, None, 0.04, 0.03, 0.9]) == pytest.approx([0.04, None, 0.09, 0.09, 0.9])


@given(st.lists(st.floats(0.001, 1), max_size=20))
def test_holm_keeps_the_order_and_lowers_no_p(ps: list[float]) -> None:
    found = holm(ps)
    assert all(p is not None and after is not None and p <= after <= 1 for p, after in zip(ps, found, strict=True))
    assert [ps[i] for i in sorted(range(len(ps)), key=lambda i: (found[i], ps[i]))] == sorted(ps)


# --------------------------------------------------------------------------- claims


@pytest.mark.parametrize(("effect", "problems"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_the_problems_needed_are_those_of_the_published_power_tables(effect: float, problems: int) -> None:
    # Two-sided one-sample t-test, level 5 %, power 80 % (G*Power 3.1, statsmodels' TTestPower).
    values = np.random.default_rng(0).normal(size=500)
    values = (values - values.mean()) / values.std(ddof=1) + effect
    assert needed(list(values), apart(list(values))) == problems
    assert needed(list(-values), apart(list(values))) == problems


@pytest.mark.parametrize("values", [[], [1.0], [0.0, 0.0], [1.0, -1.0]])
def test_no_number_of_problems_is_told_for_no_difference_or_no_spread_to_judge_by(values: list[float]) -> None:
    assert needed(values, apart(values)) is None


def test_seeds_of_the_same_problems_need_as_many_problems() -> None:
    values = [1.0, 0.0, 0.0, -1.0, 1.0, 0.0, 1.0, 0.0]
    assert needed(values * 3, apart(values) * 3) == needed(values, apart(values))


@pytest.mark.parametrize(
    ("low", "high", "p", "least", "within", "told"),
    [
        (0.1, 0.3, 0.01, 0.0, None, "reproduced"),
        (0.1, 0.3, 0.06, 0.0, None, "undecided"),
        (0.1, 0.3, None, 0.0, None, "undecided"),
        (-0.1, 0.3, 0.01, 0.0, None, "undecided"),
        (-0.3, -0.1, 0.01, 0.0, None, "contradicted"),
        (-0.3, -0.1, 0.06, 0.0, None, "undecided"),
        (0.1, 0.3, 0.01, 0.2, None, "undecided"),
        (0.1, 0.15, 0.01, 0.2, None, "contradicted"),
        (-0.02, 0.03, 0.9, 0.0, 0.05, "reproduced"),
        (-0.02, 0.06, 0.9, 0.0, 0.05, "undecided"),
        (0.06, 0.09, 0.01, 0.0, 0.05, "contradicted"),
    ],
)
def test_a_verdict_follows_from_interval_and_corrected_p(
    low: float, high: float, p: float | None, least: float, within: float | None, told: str
) -> None:
    assert verdict(Estimate(value=(low + high) / 2, low=low, high=high), p, least, within) == told


def test_true_nulls_are_reproduced_or_contradicted_no_more_often_than_the_level_says() -> None:
    rng, wrong, draws = np.random.default_rng(5), 0, 400
    for _ in range(draws):
        values = list(rng.choice([-1.0, 0.0, 1.0], p=[0.25, 0.5, 0.25], size=60))
        gain = difference(values, apart(values))
        assert gain is not None
        wrong += verdict(gain, signflip(values, apart(values))) != "undecided"
    assert wrong / draws <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


def test_twice_as_many_problems_as_needed_settle_a_claim() -> None:
    rng = np.random.default_rng(6)
    first = list(rng.choice([-1.0, 0.0, 1.0], p=[0.15, 0.55, 0.3], size=40))
    count = needed(first, apart(first))
    assert count is not None
    found = 0
    for _ in range(200):
        values = list(rng.choice(first, size=2 * count))
        gain = difference(values, apart(values))
        assert gain is not None
        found += verdict(gain, signflip(values, apart(values))) == ("reproduced" if sum(first) > 0 else "contradicted")
    assert found / 200 > 0.9


# --------------------------------------------------------------------------- level and coverage by simulation

SEEDS, CORRELATIONS = (1, 3), (0.0, 0.3, 0.6, 0.9)


def check_coverage(found: float, problems: int, draws: int, least: float = 0.93, most: float = 0.97) -> None:
    noise = 3 * math.sqrt(0.95 * 0.05 / draws)
    assert found >= (least if problems >= FEW else 0.905) - noise
    assert found <= (most if problems >= FEW else 0.985) + noise


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("problems", [8, FEW, 100])
def test_the_interval_of_a_rate_covers_it(problems: int, seeds: int, correlation: float) -> None:
    draws = 400
    covered = coverage.of_rates(problems, seeds, correlation, 0.5, draws)
    check_coverage(covered, problems, draws)


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_the_interval_of_a_difference_covers_it_and_the_test_keeps_its_level(seeds: int, correlation: float) -> None:
    draws = 400
    found = coverage.of_differences(48, seeds, correlation, 0.4, 0.4, draws)
    check_coverage(found.covered, 48, draws, most=1.0)
    assert found.rejected <= 0.065 + 3 * math.sqrt(0.05 * 0.95 / draws)


@pytest.mark.slow
@pytest.mark.parametrize(("problems", "seeds", "correlation"), coverage.GRID)
def test_level_and_coverage_hold_over_the_whole_grid(problems: int, seeds: int, correlation: float) -> None:
    draws = 1500
    for mean in coverage.RATES:
        check_coverage(coverage.of_rates(problems, seeds, correlation, mean, draws), problems, draws)
        found = coverage.of_differences(problems, seeds, correlation, mean, mean, draws)
        assert found.rejected <= 0.065 + 3 * math.sqrt(0.05 * 0.95 / draws)
        if found.differing >= coverage.ENOUGH:
            assert found.rejected >= 0.035 - 3 * math.sqrt(0.05 * 0.95 / draws)
        assert found.covered >= 0.93 - 3 * math.sqrt(0.05 * 0.95 / draws)


# --------------------------------------------------------------------------- a part against the whole


def test_the_contrast_of_problems_chosen_as_a_whole_is_the_difference_of_two_means() -> None:
    values, chosen = [0.4, 0.0, 0.4, 0.4], [True, False, True, False]
    found = contrast(values, apart(values), chosen)
    assert found is not None
    assert found.value == pytest.approx(0.4 - 0.3)
    # Residuals (v - 0.4) / 2 of the chosen minus (v - 0.3) / 4 of all, by hand.
    spread = sum(((v - 0.4) / 2 * c - (v - 0.3) / 4) ** 2 for v, c in zip(values, chosen, strict=True)) * 4 / 3
    assert found.high - found.value == pytest.approx(scipy_stats.t.ppf(0.975, 3) * math.sqrt(spread))


@given(grouped())
def test_all_values_differ_from_the_whole_by_nothing(case: tuple[list[float], list[str]]) -> None:
    values, clusters = case
    found = contrast(values, clusters, [True] * len(values))
    assert found is not None
    assert found.value == 0
    assert found.low < 0 < found.high
    assert contrast(values, clusters, [False] * len(values)) is None


@given(grouped())
def test_the_standard_error_is_the_half_width_of_students_interval(case: tuple[list[float], list[str]]) -> None:
    values, clusters = case
    problems, found, interval = len(set(clusters)), deviation(values, clusters), average(values, clusters)
    if problems == 1:
        assert found is None
    else:
        assert found is not None
        assert interval is not None
        half = scipy_stats.t.ppf(0.975, problems - 1) * found
        assert interval.high - interval.value == pytest.approx(half)
