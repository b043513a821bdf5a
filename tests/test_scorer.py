"""Rules of scoring (paper Eq. 4-6) and of reading an evaluator's answer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.scorer import EMCS, Official, Plain, emcs, entropy, parse_score
from symphony.types import SymphonyError

UNIT = st.floats(0, 1)


@pytest.mark.parametrize(
    ("z", "c", "r"), [(1, 1, 1), (0.8, 0.5, 0.8 * 0.3069), (0.1, 0.7, 0.0389), (1, 0.9, 0.675), (1, 0.95, 0.801)]
)
def test_emcs_equals_the_numbers_of_the_paper(z, c, r):
    assert emcs(z, c) == pytest.approx(r, abs=5e-4 if z == 1 else 5e-5)


def test_entropy_is_ln_2_at_one_half_and_0_at_the_ends():
    assert (entropy(0.5), entropy(0), entropy(1)) == (pytest.approx(math.log(2)), 0, 0)


@given(UNIT, UNIT)
def test_emcs_is_between_0_and_the_value(z, c):
    assert 0 <= emcs(z, c) <= z


@given(UNIT)
def test_entropy_is_symmetric(c):
    assert entropy(c) == pytest.approx(entropy(1 - c), abs=1e-9)


# left: an answer; right: what it says. The first block is the strings on which the published parser fails.
TABLE = [
    ("Score: 1\nConfidence: 0.7", (0.1, 0.7)),
    ("The correctness score is 1, confidence 0.7", (0.1, 0.7)),
    ("Score: 0\nConfidence: 0.7", (0.0, 0.7)),
    ("value .40, confidence .55", (0.4, 0.55)),
    ("7/10, confidence 0.8", (0.7, 0.8)),
    ("Score: 9. Confidence: 0.8.", (0.9, 0.8)),
    ("Step 3 of 5 finds 2 pages. Score: 6 Confidence: 0.5", (0.6, 0.5)),
    ("Value: 0.7 Confidence: 0.6", (0.7, 0.6)),
    ("Value: 0.7\nConfidence: 0.6", (0.7, 0.6)),
    ("Confidence: 0.6\r\nValue: 0.7", (0.7, 0.6)),
    ("**Value:** 0.7\n**Confidence:** 60%", (0.7, 0.6)),
    ('{"value": 0.7, "confidence": 0.6}', (0.7, 0.6)),
    ("correctness = 8/10; confidence = 85 %", (0.8, 0.85)),
    ("Score: 8 out of 10, confidence level: 0.9", (0.8, 0.9)),
    ("Confidence score: 0.9, value: 1", (1.0, 0.9)),
    ("Value: 8 Confidence: 9", (0.8, 0.9)),
    ("Score: 10 Confidence: 0.9", (1.0, 0.9)),
    ("Score: 7.5 Confidence: 0.9", (0.75, 0.9)),
    ("Value: 1.2 Confidence: 0.9", (1.0, 0.9)),
    ("Value: -0.5 Confidence: 0.9", (0.0, 0.9)),
    ("Value: 0.2 at first. Later Value: 0.9 Confidence: 0.4", (0.9, 0.4)),
    ("Value: 1 Confidence: 1", (1.0, 1 - 1e-6)),
    ("Value: 1 Confidence: 0", (1.0, 1e-6)),
    ("", None),
    ("good", None),
    ("0.7 0.6", None),
    ("Value: 0.7", None),
    ("Confidence: 0.7", None),
    ("Value: high Confidence: 0.6", None),
    ("Value: 85 Confidence: 0.6", None),
    ("Value: 3/0 Confidence: 0.6", None),
    ("evaluate 0.7 confidence 0.5", None),
]


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_an_answer_is_read_as_it_is_meant(text, expected):
    assert parse_score(text) == (None if expected is None else pytest.approx(expected))


@given(st.text(max_size=200))
def test_any_text_is_read_without_error_into_the_ranges(text):
    parsed = parse_score(text)
    assert parsed is None or (0 <= parsed[0] <= 1 and 1e-6 <= parsed[1] <= 1 - 1e-6)


FRAGMENTS = st.sampled_from(
    [
        "Value",
        "score",
        "Confidence",
        ":",
        " ",
        "\n",
        "is",
        "1" * 400,
        "0.7",
        ".5",
        "9.",
        "1e300",
        "/",
        "10",
        "0",
        "%",
        "-",
    ]
)


@given(st.lists(FRAGMENTS, max_size=12).map("".join))
def test_any_mixture_of_the_grammar_is_read_without_error_into_the_ranges(text):
    parsed = parse_score(text)
    assert parsed is None or (0 <= parsed[0] <= 1 and 1e-6 <= parsed[1] <= 1 - 1e-6)


@given(st.integers(0, 1000), st.integers(1, 999), st.sampled_from([" ", "\n", ", "]))
def test_what_is_written_in_our_format_is_read_back(z, c, between):
    text = f"Value: {z / 1000:.3f}{between}Confidence: {c / 1000:.3f}"
    assert parse_score(text) == pytest.approx((z / 1000, c / 1000))


def test_plain_and_emcs_differ_in_r_only():
    text = "Value: 0.8 Confidence: 0.5"
    plain, modulated = Plain().score(text), EMCS().score(text)
    assert plain is not None
    assert modulated is not None
    assert (plain.value, plain.confidence) == (modulated.value, modulated.confidence)
    assert (plain.modulated, modulated.modulated) == (0.8, pytest.approx(0.2455, abs=1e-4))


def test_the_floor_lifts_low_values_only():
    low, high = EMCS(floor=0.2).score("Value: 0.1 Confidence: 0.7"), EMCS(floor=0.2).score("Value: 1 Confidence: 0.9")
    assert low is not None
    assert high is not None
    assert (low.modulated, high.modulated) == (0.2, pytest.approx(0.675, abs=1e-3))


@pytest.mark.parametrize(("scorer", "r"), [(EMCS(), 0.1534), (Plain(), 0.5)])
def test_the_fallback_says_that_it_is_one(scorer, r):
    score = scorer.fallback()
    assert (score.value, score.confidence, score.fallback) == (0.5, 0.5, True)
    assert score.modulated == pytest.approx(r, abs=1e-4)


def test_an_impossible_floor_is_refused_with_its_key():
    with pytest.raises(SymphonyError, match=r"scorer\.floor"):
        EMCS(floor=2)


@pytest.mark.parametrize(
    ("text", "z", "c"),
    [
        ("The score is 8 and the confidence 0.9", 0.8, 0.9),
        ("score 1, confidence 0.7", 0.1, 1.0),  # 0.7 is the default, so the first 0 or 1 replaces it
        ("score 0", 0.7, 0.0),
        ("value 0.40, confidence 0.55", 0.7, 0.4),  # no whole number; the first with a dot
        ("7/10, confidence 0.9", 1.0, 0.9),
        ("score 9. confidence 0.8", 0.7, 0.8),  # "9." has a dot
        ("Step 3 holds, so the score is 2, confidence 0.6", 0.3, 0.6),  # the largest, wherever it stands
        ("no idea", 0.7, 0.7),
    ],
)
def test_the_published_parser_reads_the_largest_whole_number_and_the_first_with_a_dot(text, z, c):
    score = Official().score(text)
    assert score is not None
    assert (score.value, score.confidence) == (z, c)
    assert score.modulated == pytest.approx(max(0.2, emcs(z, c)))


@pytest.mark.parametrize(("value", "confidence", "r"), [(0.7, 0.7, 0.272), (0.8, 1.0, 0.8)])
def test_the_published_fallbacks_are_0_272_in_hotpotqa_and_0_8_in_webshop(value, confidence, r):
    scorer = Official(value=value, confidence=confidence)
    assert scorer.fallback().modulated == pytest.approx(r, abs=1e-3)
    assert scorer.score("no idea") == scorer.fallback()


def test_a_published_score_of_0_counts_0_7():
    score = Official().score("score 0")
    assert score is not None
    assert score.modulated == pytest.approx(0.7)


@pytest.mark.parametrize("key", ["value", "confidence", "floor"])
def test_an_impossible_default_of_the_published_parser_is_refused_with_its_key(key):
    with pytest.raises(SymphonyError, match=rf"scorer\.{key}: found 1.5, allowed: 0 to 1"):
        Official(**{key: 1.5})
