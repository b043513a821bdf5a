"""Actions and answers as models and files give them: found where they are meant, and all of them."""

from __future__ import annotations

import pytest

from symphony.chat.prompts import parse_proposal, read_actions, read_answer
from symphony.tasks.hotpotqa.corpus import Paragraphs
from symphony.types import Proposal

FIND = ("search", "lookup", "finish", "think")


def found(text: str) -> Proposal | None:
    return parse_proposal(text, FIND)


def shopping(text: str) -> Proposal | None:
    return parse_proposal(text, ("search", "click", "think"), bare=True)


@pytest.mark.parametrize(
    "text",
    [
        "Thought: so \u2014 Action: search[X]",
        "Thought: so -> Action: search[X]",
        "Thought: so | Action: search[X]",
        "Thought: so\tAction: search[X]",
        '{"Thought":"so","Action":"search[X]"}',
        "Action 1 (search): search[X]",
        "Action (next step): search[X]",
        "Action: search: [X]",
        "Act: search[X]",
        "Act 2: search[X]",
        "Thought: If that fails \u2014 Action: finish[W] \u2014 I stop.\nAction: search[X]",
    ],
)
def test_a_label_is_known_behind_other_marks_and_in_other_forms(text):
    proposal = found(text)
    assert proposal is not None
    assert proposal.action == "search[X]"


@pytest.mark.parametrize("text", ["I act: search[X] is next", "They act] search[X]", "Facts: search[X]"])
def test_what_only_looks_like_a_label_is_none(text):
    assert found(text) is None


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("click[Buy Now] is tempting, but\nclick[Large]", "click[Large]"),
        ("Click[Buy Now] when ready? No:\nClick[Large]", "click[Large]"),
        ("click[Large] (is it there?)\nclick[Buy Now]", "click[Large]"),
        ("click[Buy Now] would end it.", "click[Buy Now]"),
    ],
)
def test_an_action_that_a_sentence_is_about_comes_last(text, action):
    proposal = shopping(text)
    assert proposal is not None
    assert proposal.action == action


@pytest.mark.parametrize(
    "text",
    [
        "search[a [b]], click[c]",
        "search[a [b]]; click[c]",
        "search[a [b]] -> click[c]",
        "search[a [b]] \u2192 click[c]",
        "['search[a [b]]', 'click[c]']",
        '["search[a [b]]","click[c]"]',
        "1. search[a [b]]\n2. click[c]",
        "1) search[a [b]] 2) click[c]",
        "search[a [b]], then click[c]",
        "search[a [b]] and then click[c]",
        "search[a [b]] click[c]",
        "Step 1: search[a [b]]\nStep 2: click[c]",
    ],
)
def test_every_action_of_a_file_is_read_whatever_joins_them(text):
    assert read_actions(text, shopping) == ("search[a [b]]", "click[c]")


@pytest.mark.parametrize("text", ["search[a[0], b[1]]", "search[a, b [c], d [e]]"])
def test_separators_in_an_argument_part_nothing(text):
    assert read_actions(text, shopping) == (text,)


@pytest.mark.parametrize(
    "text",
    [
        "Answer: Blue Lake",
        "**Final Answer:** Blue Lake",
        "Thought: so.\nFinal answer: Blue Lake",
        "The answer is: Blue Lake",
        "So, the final answer is: **Blue Lake",
        "Answer:\nBlue Lake",
        "\\boxed{Blue Lake}",
        "It is $\\boxed{\\text{Blue Lake}}$.",
        "The answer is finish[Blue Lake].",
        "The answer is Blue Lake",
        "The correct answer is: Blue Lake",
        "Based on the page, the answer is Blue Lake",
        "They met there.\n#### Blue Lake",
        "Blue Lake\n\nExplanation: the page says so.",
        "I'd say so, hence Finish [Blue Lake]",
        "Action: finish[Blue Lake]\nAnswer: W",
        "Blue Lake",
    ],
)
def test_an_answer_is_read_behind_its_label_and_at_the_end_of_a_text(text):
    assert read_answer(text, found) == "finish[Blue Lake]"


@pytest.mark.parametrize("text", ["Blade: The Series", "Answer Me", "The Answer (film)"])
def test_an_answer_with_such_words_in_it_is_whole(text):
    assert read_answer(text, found) == f"finish[{text}]"


@pytest.mark.parametrize(
    ("title", "asked"),
    [
        ("\u00a1Three Amigos!", "Three Amigos"),
        ("AC/DC", "AC DC"),
        ("M*A*S*H", "MASH"),
        ("Jay-Z", "[Jay-Z]"),
        ("\u00bfQu\u00e9?", "Que"),
    ],
)
def test_a_title_is_found_without_its_punctuation(title, asked):
    page = Paragraphs({title: ("So.",), "Other": ("No.",)}).find(asked)
    assert getattr(page, "title", None) == title
