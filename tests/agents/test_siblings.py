"""An answer about several siblings: what is said of one never counts for another; what is unclear counts for none."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.agents.scores import parse_score
from symphony.agents.siblings import split_siblings
from tests import composed

EACH = 500
HEADS = (
    "{}: ",
    "{}. ",
    "{}) ",
    "Candidate {}: ",
    "**{}**: ",
    "**Candidate {}:** ",
    "- {} - ",
    "### Candidate {}\n",
    "[{}] ",
)
UNREADABLE = (
    "",
    "I can not tell.",
    "Value: high",
    "Value: 0.7",
    "Confidence: 0.8",
    "Value: 0.7 Confidence: 0.6 to 0.8",
)


def read(text: str, count: int = 2) -> list[tuple[float, float] | None]:
    return [None if said is None else parse_score(said) for said in split_siblings(text, count)]


def test_each_siblings_numbers_are_found_in_every_composed_answer():
    rng = random.Random(0)
    for _ in range(EACH):
        said = {n: (rng.randrange(101), rng.randrange(1, 100)) for n in range(1, rng.randrange(2, 6))}
        text = composed.comparing(rng, said)
        wanted = [pytest.approx((value / 100, confidence / 100)) for value, confidence in said.values()]
        assert read(text, len(said)) == wanted, text


@given(st.lists(st.integers(0, 3), max_size=4), st.integers(0, 2**32))
def test_a_missing_doubled_or_unreadable_line_is_that_siblings_alone(times, seed):
    """`times`: how often each sibling is judged; 3 stands for a line that says nothing readable."""
    rng = random.Random(seed)
    lines, wanted = [], []
    for n, count in enumerate(times, 1):
        values = [(rng.randrange(101), rng.randrange(1, 100)) for _ in range(0 if count == 3 else count)]
        head = rng.choice(HEADS).format(n)
        lines += [f"{head}Value: {value / 100} Confidence: {confidence / 100}" for value, confidence in values]
        lines += [head + rng.choice(UNREADABLE)] * (count == 3)
        wanted.append(pytest.approx((values[0][0] / 100, values[0][1] / 100)) if len(values) == 1 else None)
    rng.shuffle(lines)
    assert read("\n".join(lines), len(times)) == wanted


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("1: 0.7 0.9\n2: 0.2, 0.8", (0.7, 0.9), (0.2, 0.8)),
        (
            "| Candidate | Value | Confidence |\n|---|---|---|\n| 1 | 0.7 | 0.9 |\n| 2 | 0.2 | 0.8 |",
            (0.7, 0.9),
            (0.2, 0.8),
        ),
        ("2: Value: 0.2 Confidence: 0.8\n1: Value: 0.7 Confidence: 0.9", (0.7, 0.9), (0.2, 0.8)),
        ("1: Value: 0.7 Confidence: 0.9; 2: Value: 0.2 Confidence: 0.8", (0.7, 0.9), (0.2, 0.8)),
        ("1: Value: 1. Confidence: 0.9\n2: Confidence: 0.5. Value: 0.2", (1, 0.9), (0.2, 0.5)),
        ('{"1": {"value": 0.7, "confidence": 0.9}, "2": {"value": 0.2, "confidence": 0.8}}', (0.7, 0.9), (0.2, 0.8)),
        ("1: Value: 70% Confidence: 9/10\n2: Score: 2/10 Confidence: 80%", (0.7, 0.9), (0.2, 0.8)),
        ("<think>1: 0.1 0.1</think>1: Value: 0.7 Confidence: 0.9", (0.7, 0.9), None),
        ("1: Value: 0.7 Confidence: 0.9\n3: Value: 0.2 Confidence: 0.8", (0.7, 0.9), None),
        # whose number is it?
        ("1: Value: 0.7 Confidence: 0.9\nValue: 0.2 Confidence: 0.8", None, None),
        ("Value: 0.7 Confidence: 0.9\nValue: 0.2 Confidence: 0.8", None, None),
        ("1: Value: 0.7 Confidence: 0.9 Value: 0.2 Confidence: 0.8", None, None),
        ("1: 0.7\n2: 0.2", None, None),
        ("1: 0.7 0.9 0.3\n2: 0.7 9", None, None),
        ("1/2: Value: 0.7 Confidence: 0.9", None, None),
        ("0.7\n0.9", None, None),
    ],
)
def test_an_answer_is_read_as_it_is_meant(text, first, second):
    assert read(text) == [first and pytest.approx(first), second and pytest.approx(second)]


@given(st.text(alphabet="12:.) \n|-*/%<>ValueConfidence07"), st.integers(1, 16))
def test_any_text_is_read_without_error_into_the_ranges(text, count):
    found = read(text, count)
    assert len(found) == count
    assert all(score is None or all(0 <= part <= 1 for part in score) for score in found)
