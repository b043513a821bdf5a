"""A number whose scale or exact value can't be told is never a score; one that can be told is read."""

from __future__ import annotations

import pytest

from symphony.agents.scores import parse_score


@pytest.mark.parametrize(
    "number",
    [
        # a bound, not a value
        *("<0.1", "> 0.5", "\u2265 0.7", "\u22640.7", ">= 0.7", "=< 0.7", "\\le 0.7", "\\geq 0.7", "0.7+"),
        *(
            "0.7 or higher",
            "0.7 and up",
            "0.7 at most",
            "at least 0.7",
            "0.7 max",
            "not 0.7",
            "\u2260 0.7",
            "\u00b10.7",
        ),
        # digits that something parts
        *("0. 7", "0\u00b77", "0 , 7", "0'7", "0\u066b7", "0:7", "0..7", "0{,}7", "0 7"),
        # something to be worked out
        *("0.5*0.4", "0.5 \u00d7 0.4", "1\u00d710^-1", "1 x 10^-1", "\\sqrt{0.5}", "sqrt(0.5)", "100%-30%", "0.7^2"),
        *("1/10 * 7", "0.5 plus 0.2", "\u00ac0.7"),
        # two values
        *("[0.7, 0.8]", "0.7, 0.8", "0.7; 0.8", "0.7 | 0.8", "0.7 vs 0.8", "0.7 vs. 0.8", "0.6 through 0.8"),
        *("0.6\u20260.8", "0.6..0.8", "0.6 \u27f6 0.8", "95% CI [0.2, 0.4]", "95% confidence interval 0.2 to 0.4"),
        # one that is taken back
        *("0.6 (revised: 0.7)", "0.6 (0.7 after revision)", "0.6, revised 0.7", "0.6. Actually, 0.4", "0.6, now 0.7"),
        # the question, said again
        *("0 if it certainly fails and 1 if it certainly passes", "1 when it is right, 0 when it is not"),
        # another unit, another scale, a count
        *(
            "0.7\u2030",
            "$0.7",
            "\u20ac0.7",
            "#1",
            "0.7/0.8",
            "1 in 4",
            "1:4",
            "1 of 4",
            "1 test passes",
            "1 chance in 4",
        ),
        *("0.7 (on a scale from -1 to 1)", "0.7 on a scale of -1 to 1", "0.7 (-1..1)"),
    ],
)
def test_a_number_whose_exact_value_can_not_be_told_is_no_score(number):
    assert parse_score(f"Value: {number}\nConfidence: 0.6") is None
    assert parse_score(f"Value: 0.6\nConfidence: {number}") is None


@pytest.mark.parametrize("label", ["Value (-1 to 1): 0.7", "Value [-1, 1]: 0.7", "Value 1: 0.7", "Value #1: 0.7"])
def test_a_label_may_make_it_untold(label):
    assert parse_score(f"{label}\nConfidence: 0.6") is None


@pytest.mark.parametrize(
    "said",
    [
        *("\u22480.7", "~0.7", "|0.7|", "$0.7$", "\\(0.7\\)", "<0.7>", "<b>0.7</b>", "**0.7**", "\n> 0.7", "=0.7"),
        *("0.7 \u00b1 0.1", "0.7 (95% CI 0.6-0.8)", "0.7 = 70%", "0.7 or so", "70\uff05", "0.7...", "0.7 [1]"),
        *("0.7, 2 of 3 tests pass", "0.7. 2 of 3 tests pass", "0.7 because 2 of 3 pass", "0.7 - page 2 is right"),
        *("0.7 if it compiles", "0.7 if 2 of 3 tests pass"),
        *("0.7 (was 0.5)", "0.7 (2 of 3 tests pass now)", "0.7, as it is now at page 2"),
        *("0.7 / ", "0.7 | "),
    ],
)
def test_a_number_that_can_be_told_is_read_whatever_stands_around_it(said):
    assert parse_score(f"Value: {said} Confidence: 0.6") == pytest.approx((0.7, 0.6))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<value>0.7</value>\n<confidence>0.6</confidence>", (0.7, 0.6)),
        ("<tr><td>Value</td><td>0.7</td></tr>\n<tr><td>Confidence</td><td>0.6</td></tr>", (0.7, 0.6)),
        ("Value ....... 0.7\nConfidence .. 0.6", (0.7, 0.6)),
        ("Value: 1 Reasoning: all pass\nConfidence: 0.6", (1.0, 0.6)),
        ("Value: 1 because all pass\nConfidence: 0.6", (1.0, 0.6)),
        ("The value is 1 and the confidence is 0.6", (1.0, 0.6)),
        ("Value: 1.\n2. Confidence: 0.6", (1.0, 0.6)),
    ],
)
def test_tags_leaders_and_words_beside_a_score_do_not_hide_it(text, expected):
    assert parse_score(text) == pytest.approx(expected)
