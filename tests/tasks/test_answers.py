"""Answers are compared as the official HotpotQA script does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.tasks.answers import exact_match, f1, normalise


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("The Karomi.", "karomi"),
        ("a  B", "b"),
        ("An", ""),
        ("U.S.", "us"),
        ("Anna and the theatre", "anna and theatre"),
    ],
)
def test_case_punctuation_articles_and_spaces_do_not_count(given, kept):
    assert normalise(given) == kept


@pytest.mark.parametrize(
    ("answer", "gold", "expected"),
    [
        ("Chief of Protocol", "the chief of protocol", 1.0),
        ("Chief", "Chief of Protocol", 0.5),  # precision 1, recall 1/3
        ("the big big dog", "big dog", 0.8),  # tokens are counted as often as they stand
        ("yes", "yes it is", 0.0),  # yes, no and noanswer are right or wrong as a whole
        ("no", "yes", 0.0),
        ("cat", "dog", 0.0),
        ("", "dog", 0.0),
    ],
)
def test_f1_is_that_of_shared_tokens(answer, gold, expected):
    assert f1(answer, gold) == pytest.approx(expected)


@given(st.text(), st.text())
def test_an_exact_match_has_the_highest_f1_but_for_empty_answers(answer, gold):
    if exact_match(answer, gold) and normalise(gold):
        assert f1(answer, gold) == 1.0
    assert 0.0 <= f1(answer, gold) <= 1.0
    assert f1(answer, gold) == pytest.approx(f1(gold, answer))
