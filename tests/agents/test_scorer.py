"""Rules of scoring (paper Eq. 4-6) and of reading an evaluator's answer."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.agents.scorer import (
    EMCS,
    ONCE,
    ONCE_ALONE,
    Official,
    Plain,
    PTrue,
    RandomScore,
    SelfConsistency,
    TokenProbability,
    emcs,
    entropy,
    parse_score,
)
from symphony.types import Completion, SymphonyError

UNIT = st.floats(0, 1)


def said(*texts: str, logprob: float | None = None, tokens: int = 1) -> list[Completion]:
    return [
        Completion(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=tokens, logprob=logprob)
        for text in texts
    ]


@pytest.mark.parametrize(
    ("z", "c", "r"), [(1, 1, 1), (0.8, 0.5, 0.8 * 0.3069), (0.1, 0.7, 0.0389), (1, 0.9, 0.675), (1, 0.95, 0.801)]
)
def test_emcs_equals_the_numbers_of_the_paper(z, c, r):
    assert emcs(z, c) == pytest.approx(r, abs=5e-4 if z == 1 else 5e-5)


def test_entropy_is_ln_2_at_one_half_and_0_at_the_ends():
    assert entropy(0.5) == pytest.approx(math.log(2))
    assert (entropy(0), entropy(1)) == (0.0, 0.0)


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
    ("Score: 10 Confidence: 0.9", (1.0, 0.9)),
    ("Score: 7.5 Confidence: 0.9", (0.75, 0.9)),
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
    # a scale that is stated
    ("Value (0-1): 0.7\nConfidence (0-1): 0.6", (0.7, 0.6)),
    ("Value [0,1]: 0.7\nConfidence [0, 1]: 0.6", (0.7, 0.6)),
    ("Value (1-10): 7\nConfidence (0 to 100): 60", (0.7, 0.6)),
    ("Value (out of 10): 7\nConfidence (%): 60", (0.7, 0.6)),
    ("Value on a scale of 1 to 10: 7\nConfidence: 0.6", (0.7, 0.6)),
    ("Value: 7 (on a scale of 1-10)\nConfidence: 0.6", (0.7, 0.6)),
    ("Value (0 = hopeless, 1 = certain): 0.7\nConfidence (a guess): 0.6", (0.7, 0.6)),
    ("Value: 0.7/1.0 Confidence: 6 / 10.0", (0.7, 0.6)),
    ("Value: 70 percent, confidence: 60 per cent", (0.7, 0.6)),
    ("Score (0-100): 70 Confidence: 0.6", (0.7, 0.6)),
    ("Value: 0.7 (70%), confidence: 0.6 (6/10)", (0.7, 0.6)),
    ("Value: 0.7 (0.6-0.8), confidence: 60% (0.6)", (0.7, 0.6)),
    ("Value: ~0.7Confidence: 0.6", (0.7, 0.6)),
    # a scale that can't be told, and numbers that are none
    ("Value: 7.5 Confidence: 0.6", None),
    ("Value: 8 Confidence: 0.6", None),
    ("Value: 0.8 Confidence: 9", None),
    ("Value: 1.5 Confidence: 0.6", None),
    ("Value: -0.5 Confidence: 0.6", None),
    ("Value: - 0.5 Confidence: 0.6", None),
    ("Value: 12/10 Confidence: 0.6", None),
    ("Value: 110% Confidence: 0.6", None),
    ("Score: 1.0 Confidence: 0.6", None),
    ("Value: NaN Confidence: 0.6", None),
    ("Value: 0.6-0.8 Confidence: 0.6", None),
    ("Value: 0.6\u20130.8 Confidence: 0.6", None),
    ("Value: 0.6 to 0.8 Confidence: 0.6", None),
    ("Value: 0.6 or 0.8 Confidence: 0.6", None),
    ("Value: 0.6 0.8 Confidence: 0.6", None),
    ("Value: 1.2.3 Confidence: 0.6", None),
    ("Value: 3rd Confidence: 0.6", None),
    ("Value: 1,000 Confidence: 0.6", None),
    ("Value: \u0663 Confidence: 0.6", None),
    ("Value: <0 to 1> Confidence: <0 to 1>", None),
    ("Value and confidence: 0.7 and 0.6", None),
    ("Value: \u22120.7 Confidence: 0.6", None),
    ("Value: 0.5 -> 0.7 Confidence: 0.6", None),
    ("Value: 0.5 \u2192 0.7 Confidence: 0.6", None),
    ("Value: ~~0.5~~ 0.7 Confidence: 0.6", None),
    ("Value: 0.7 Confidence: low (3 facts)", None),
    ("Value: 0.7 Confidence: low (1)", None),
    # what else is said of a number
    ("Value: 0.7\nConfidence: 0.6\nConfidence interval: [0.5, 0.9]", (0.7, 0.6)),
    ("Value: high (0.7)\nConfidence: fairly low (60%)", (0.7, 0.6)),
    ("Value: 7 on a 1-10 scale\nConfidence: 60 on the 0-100 scale", (0.7, 0.6)),
    ("Value: \\boxed{0.7}\nConfidence: $\\mathbf{0.6}$", (0.7, 0.6)),
    # decimal commas, powers, signs, marks
    ("Value: 0,7 Confidence: 0,6", (0.7, 0.6)),
    ("Value: 7,5/10 Confidence: 0.6", (0.75, 0.6)),
    ("Value: 1e-1 Confidence: +.6", (0.1, 0.6)),
    ("value:0.7,confidence:0.6", (0.7, 0.6)),
    ('{"value":0.7,"confidence":1}', (0.7, 1 - 1e-6)),
    ("Value - 0.7\nConfidence \u2014 0.6", (0.7, 0.6)),
    ("Value\uff1a0.7 Confidence\uff1a0.6", (0.7, 0.6)),
    ("| Value | 0.7 |\n| Confidence | 0.6 |", (0.7, 0.6)),
    ("## Value\n0.7\n\n## Confidence\n0.6", (0.7, 0.6)),
    ("- **Value**: `0.7`\n- **Confidence** is about 0.6", (0.7, 0.6)),
    ("Value (0.7), confidence (0.6)", (0.7, 0.6)),
    # other numbers beside them
    ("Value of this attempt: 0.7\nConfidence in that value: 0.6", (0.7, 0.6)),
    ("Value: 0.7\nConfidence: 0.6\nThe value of 3 pages is high, and a score of 2 is low.", (0.7, 0.6)),
    ("Value: 0.7\nConfidence: 0.6\nI would have said Value: 0.2 without the last step.", (0.7, 0.6)),
    ("Value: 0.2\nConfidence: 0.3\nWait.\nFinal value: 0.7\nFinal confidence: 0.6", (0.7, 0.6)),
    ("I read page 3/10. Confidence: 0.6", None),
    # reasoning and leftovers
    ("<think>Value: 0.1\nConfidence: 0.2</think>\nValue: 0.7\nConfidence: 0.6", (0.7, 0.6)),
    ("Value: 0.1 Confidence: 0.2</think>Value: 0.7 Confidence: 0.6", (0.7, 0.6)),
    ("<think>Value: 0.7\nConfidence: 0.6", None),
    ("Value: 0.7 Confidence: 0.6<|im_end|>\n<|im_start|>user\nValue: 0.1 Confidence: 0.2", (0.7, 0.6)),
    ("<answer>Value: 0.7 Confidence: 0.6</answer></s>", (0.7, 0.6)),
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
    plain, modulated = Plain().score(said(text)), EMCS().score(said(text))
    assert plain is not None
    assert modulated is not None
    assert (plain.value, plain.confidence) == (modulated.value, modulated.confidence)
    assert plain.modulated == 0.8
    assert modulated.modulated == pytest.approx(0.2455, abs=1e-4)


def test_the_floor_lifts_low_values_only():
    low = EMCS(floor=0.2).score(said("Value: 0.1 Confidence: 0.7"))
    high = EMCS(floor=0.2).score(said("Value: 1 Confidence: 0.9"))
    assert low is not None
    assert high is not None
    assert low.modulated == 0.2
    assert high.modulated == pytest.approx(0.675, abs=1e-3)


@pytest.mark.parametrize(
    ("scorer", "r"), [(EMCS(), 0.1534), (Plain(), 0.5), (SelfConsistency(), 0.1534), (TokenProbability(), 0.5)]
)
def test_the_fallback_says_that_it_is_one(scorer, r):
    score = scorer.fallback()
    assert (score.value, score.confidence, score.fallback) == (0.5, 0.5, True)
    assert score.modulated == pytest.approx(r, abs=1e-4)


@pytest.mark.parametrize(("c", "r"), [(0.9, 0.675), (0.5, 0.3069), (0.1, 0.3069), (0, 0.3069)])
def test_one_sided_emcs_takes_a_confidence_below_one_half_for_one_half(c, r):
    score = EMCS(one_sided=True).score(said(f"Value: 1 Confidence: {c}"))
    assert score is not None
    assert score.modulated == pytest.approx(r, abs=1e-3)  # 1 - E(.9) = .675, 1 - ln 2 = .3069
    assert score.confidence == pytest.approx(c, abs=1e-6)


@given(UNIT, UNIT)
def test_one_sided_emcs_never_rewards_doubt(low, high):
    low, high = sorted((low, high))
    scorer = EMCS(one_sided=True)
    doubting, sure = (scorer.score(said(f"Value: 0.8 Confidence: {c:.9f}")) for c in (low, high))
    assert doubting is not None
    assert sure is not None
    assert doubting.modulated <= sure.modulated + 1e-9


def test_self_consistency_trusts_a_mean_as_far_as_the_evaluations_agree():
    # values .2, .4, .6, .8: mean .5, variance (.09 + .01) / 2 = .05, C = 1 - .2236
    texts = (f"Value: {value} Confidence: 0.9" for value in (0.2, 0.4, 0.6, 0.8))
    score = SelfConsistency(draws=4).score(said(*texts))
    assert score is not None
    assert (score.value, score.confidence) == pytest.approx((0.5, 1 - math.sqrt(0.05)))
    assert score.modulated == pytest.approx(0.5 * (1 - entropy(1 - math.sqrt(0.05))))


@pytest.mark.parametrize(("values", "c"), [((0.7, 0.7, 0.7), 1), ((0, 1), 0.5), ((1, 0, 0, 1), 0.5)])
def test_agreement_is_1_where_all_say_the_same_and_one_half_at_worst(values, c):
    score = SelfConsistency(draws=2).score(said(*(f"Value: {value} Confidence: 0.5" for value in values)))
    assert score is not None
    assert score.confidence == pytest.approx(c)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9))
def test_self_consistency_stays_in_its_ranges(values):
    score = SelfConsistency().score(said(*(f"Value: {value:.6f} Confidence: 0.5" for value in values)))
    assert score is not None
    assert 0 <= score.modulated <= score.value <= 1
    assert 0.5 <= score.confidence <= 1


def test_an_evaluation_that_says_nothing_does_not_count_and_one_alone_is_no_agreement():
    score = SelfConsistency().score(said("Value: 0.2 Confidence: 0.5", "hm", "Value: 0.4 Confidence: 0.5"))
    assert score is not None
    assert score.value == pytest.approx(0.3)
    assert SelfConsistency().score(said("Value: 0.2 Confidence: 0.5", "hm")) is None


def test_token_probability_is_the_geometric_mean_of_the_tokens_probabilities():
    # three tokens of probability .9: L = 3 ln .9
    score = TokenProbability().score(said("Value: 0.8 Confidence: 0.1", logprob=3 * math.log(0.9), tokens=3))
    assert score is not None
    assert (score.value, score.fallback) == (0.8, False)
    assert score.confidence == pytest.approx(0.9)
    assert score.modulated == pytest.approx(0.8 * 0.675, abs=1e-3)


def test_an_improbable_answer_is_no_certainty():
    score = TokenProbability().score(said("Value: 1 Confidence: 0.9", logprob=-50.0, tokens=1))
    assert score is not None
    assert score.modulated == pytest.approx(1 - math.log(2))


def test_a_model_that_tells_no_log_probabilities_is_scored_plainly_and_told():
    answers = said("Value: 0.8 Confidence: 0.6")
    score, plain = TokenProbability().score(answers), Plain().score(answers)
    assert score is not None
    assert plain is not None
    assert (score.value, score.modulated, score.fallback) == (0.8, plain.modulated, True)


@given(UNIT, st.floats(-1e6, 0), st.integers(1, 100))
def test_token_probability_stays_in_its_ranges(value, logprob, tokens):
    score = TokenProbability().score(said(f"Value: {value:.6f} Confidence: 0.5", logprob=logprob, tokens=tokens))
    assert score is not None
    assert 0 <= score.modulated <= score.value <= 1
    assert 0 <= score.confidence <= 1


@pytest.mark.parametrize("scorer", [EMCS(), Plain(), SelfConsistency(), TokenProbability()])
def test_what_can_not_be_understood_has_no_score(scorer):
    assert scorer.score(said(*["hm"] * scorer.asking.draws)) is None


def test_only_self_consistency_asks_more_than_once_and_not_greedily():
    assert all(scorer.asking == ONCE for scorer in (EMCS(), Plain()))
    assert RandomScore().asking == dataclasses.replace(ONCE, seeded=True)
    assert TokenProbability().asking == ONCE_ALONE == dataclasses.replace(ONCE, alone=True)
    asking = SelfConsistency(draws=3, temperature=0.5).asking
    assert (asking.draws, asking.temperature) == (3, 0.5)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: EMCS(floor=2), r"scorer\.floor"),
        (lambda: SelfConsistency(draws=1), r"scorer\.draws"),
        (lambda: SelfConsistency(temperature=0), r"scorer\.temperature"),
    ],
)
def test_an_impossible_value_is_refused_with_its_key(make, key):
    with pytest.raises(SymphonyError, match=key):
        make()


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
    score = Official().score(said(text))
    assert score is not None
    assert (score.value, score.confidence) == (z, c)
    assert score.modulated == pytest.approx(max(0.2, emcs(z, c)))


@pytest.mark.parametrize(("value", "confidence", "r"), [(0.7, 0.7, 0.272), (0.8, 1.0, 0.8)])
def test_the_published_fallbacks_are_0_272_in_hotpotqa_and_0_8_in_webshop(value, confidence, r):
    scorer = Official(value=value, confidence=confidence)
    assert scorer.fallback().modulated == pytest.approx(r, abs=1e-3)
    assert scorer.score(said("no idea")) == scorer.fallback()


def test_a_published_score_of_0_counts_0_7():
    score = Official().score(said("score 0"))
    assert score is not None
    assert score.modulated == pytest.approx(0.7)


@pytest.mark.parametrize("key", ["value", "confidence", "floor"])
def test_an_impossible_default_of_the_published_parser_is_refused_with_its_key(key):
    with pytest.raises(SymphonyError, match=rf"scorer\.{key}: found 1.5, allowed: 0 to 1"):
        Official(**{key: 1.5})


# --------------------------------------------------------------------------- random scores


def drawn(text: str, seed: int) -> float:
    (answer,) = said(text)
    score = RandomScore().score([dataclasses.replace(answer, seed=seed)])
    assert score is not None
    assert score.value == score.modulated
    return score.modulated


def test_a_random_score_is_the_calls_and_not_the_evaluators():
    assert drawn("Value: 0.1 Confidence: 0.9", 7) == drawn("Value: 1 Confidence: 1", 7)
    assert drawn("Value: 0.1 Confidence: 0.9", 7) != drawn("Value: 0.1 Confidence: 0.9", 8)


def test_random_scores_are_uniform():
    scores = sorted(drawn("Value: 0.5 Confidence: 0.5", seed) for seed in range(2000))
    assert max(abs(score - index / 2000) for index, score in enumerate(scores)) < 0.04  # Kolmogorov-Smirnov, p > .001


@pytest.mark.parametrize("text", ["Value: 0.7 Confidence: 0.6", "hm", "Value: 0.7"])
def test_random_scores_ask_again_where_emcs_does(text):
    assert RandomScore().asking == dataclasses.replace(EMCS().asking, seeded=True)
    assert (RandomScore().score(said(text)) is None) == (EMCS().score(said(text)) is None)


# --------------------------------------------------------------------------- P(True)


@pytest.mark.parametrize(
    ("text", "logprob", "value"),
    [
        ("Yes", -0.1, math.exp(-0.1)),
        (" yes", 0.0, 1.0),
        ("No", -0.1, 1 - math.exp(-0.1)),
        ("**True**", -1.0, math.exp(-1.0)),
        ("wrong.", 0.0, 0.0),
        ("Yes!", -0.1, math.exp(-0.1)),
    ],
)
def test_p_true_is_the_probability_of_yes(text: str, logprob: float, value: float) -> None:
    (answer,) = said(text)
    score = PTrue().score([dataclasses.replace(answer, logprob=logprob, completion_tokens=1)])
    assert score is not None
    assert (score.value, score.modulated) == pytest.approx((value, value))
    assert score.confidence == pytest.approx(max(value, 1 - value))
    assert not score.fallback


def test_p_true_may_be_modulated_by_its_entropy() -> None:
    (answer,) = said("yes")
    score = PTrue(modulated=True).score([dataclasses.replace(answer, logprob=math.log(0.6), completion_tokens=1)])
    assert score is not None
    assert score.modulated == pytest.approx(emcs(0.6, 0.6))


@pytest.mark.parametrize("text", ["", "The", "perhaps", "Value: 0.9", "yes and no"])
def test_what_is_neither_yes_nor_no_is_no_score(text: str) -> None:
    assert PTrue().score(said(text)) is None


def test_p_true_asks_for_one_word_and_takes_a_word_without_probability_for_sure() -> None:
    asking = PTrue().asking
    assert (asking.verify, asking.tokens, asking.draws, asking.temperature) == (True, 1, 1, 0.0)
    score = PTrue().score(said("no"))
    assert score is not None
    assert (score.value, score.fallback) == (0.0, True)
