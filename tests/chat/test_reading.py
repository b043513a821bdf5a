"""How completions are read: reasoning is set apart, actions and scores are found by a grammar (docs/tasks.md)."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.agents.scorer import EMCS, Official
from symphony.agents.scores import parse_score
from symphony.chat import reasoning
from symphony.chat.prompts import parse_proposal, split_action
from symphony.chat.reasoning import ends_inside, is_mark, joined, opened, plain, spoken, stop_at
from symphony.tasks.hotpotqa.task import HotpotQA
from symphony.tasks.mini.gridworld import GridWorld
from symphony.tasks.mini.mini_code import MiniCode
from symphony.tasks.mini.mini_qa import MiniQA
from symphony.tasks.mini.mini_shop import MiniShop
from symphony.tasks.planning.blocksworld import Blocksworld
from symphony.tasks.planning.crosswords import Crosswords
from symphony.tasks.webshop.task import WebShop
from symphony.types import Completion, Task
from tests import composed
from tests.shared_data import DATA, needs

VERBS = ("search", "lookup", "finish", "think")
EACH = 3000
"""Completions composed for each task."""
ACTIONS: dict[str, tuple[Task, tuple[str, ...]]] = {
    "gridworld": (GridWorld(seed=0, count=1), ("move[east]", "take[red key]")),
    "mini_qa": (MiniQA(seed=0, count=1), ("search[Blue Lake]", "lookup[weds]", "finish[Blue Lake]")),
    "mini_shop": (MiniShop(seed=0, count=1), ("search[coat]", "click[B3]", "click[buy]")),
    "mini_code": (MiniCode(seed=0, count=1), ("line[x = [v * 2 for v in x[::-1]]]", "submit[f]")),
    "hotpotqa": (
        HotpotQA(count=1),
        ("search[Blue [Lake] (film)]", "finish[it's: 5, [a [b]] c]", "lookup[1958\u201369]"),
    ),
    "webshop": (WebShop(count=1, price_seed=0), ("search[red shoes under $50.00]", "click[Buy Now]", "click[< Prev]")),
    "blocksworld": (Blocksworld(count=1), ("unstack[red, blue]", "pickup[red]", "putdown[red]", "stack[red, blue]")),
    "crosswords": (Crosswords(count=1), ("fill[h1, heart]", "fill[v5, tried]")),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_the_action_is_found_in_every_composed_completion(name):
    task, actions = ACTIONS[name]
    rng = random.Random(name)
    for _ in range(EACH):
        action = rng.choice(actions)
        text = composed.acting(rng, action, bare=name == "webshop" and rng.random() < 0.5)
        proposal = task.parse(text)
        assert proposal is not None, text
        assert proposal.action == action, text


def test_value_and_confidence_are_found_in_every_composed_evaluation():
    rng = random.Random(0)
    for _ in range(EACH):
        value, confidence = rng.randrange(101), rng.randrange(1, 100)
        text = composed.judging(rng, value, confidence)
        assert parse_score(text) == pytest.approx((value / 100, confidence / 100)), text


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("Action: finish[Blue Lake] [1]", "finish[Blue Lake]"),
        ("Action: finish[Blue [Lake] x] and [y]", "finish[Blue [Lake] x]"),
        ("Action: search[House [TV series]", "search[House [TV series]"),
        ("Thought: I may use Action: finish[answer] when sure.\nAction: search[X]", "search[X]"),
        ("**Action 1**: search[X]", "search[X]"),
        ("Thought: so. Action: search[X]", "search[X]"),
        ("Thought: so.Action: search[X]", "search[X]"),
        ("[Action]: search[X]", "search[X]"),
        ("**[Action]:** search[X]", "search[X]"),
        ("(Action): search[X]", "search[X]"),
        ("Action: \u2192 search[X]", "search[X]"),
        ("<b>Action:</b> search[X]", "search[X]"),
        ("<s>[INST] Q [/INST] Action: search[X]</s>", "search[X]"),
        (
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nAction: search[X]",
            "search[X]",
        ),
        (
            "Action: search[X]<|im_end|>\n<|im_start|>user\nO<|im_end|>\n<|im_start|>assistant\nAction: search[Y]",
            "search[X]",
        ),
        ("Action: <search[title], lookup[word] or finish[answer]>\nAction: search[X]", "search[X]"),
        ("<think>Maybe.\nAction: search[Wrong Lake]\n</think> Action: search[Blue Lake]", "search[Blue Lake]"),
        ("Maybe.\nAction: search[Wrong Lake]\n</think>\nAction: search[Blue Lake]", "search[Blue Lake]"),
        ("<think>a <think> b</think>\nAction: search[W]\n</think>\nAction: search[X]", "search[X]"),
        ("<think>a</think>\nAction: search[X]\n</think>", "search[X]"),
        ("Action: search[A]\nObservation: none.\nThought: so.\nAction: search[B]", "search[A]"),
        ("\ufeffAction: search\\[X \\[y\\]\\]", "search[X [y]]"),
        ("<think />Action: search[X]", "search[X]"),
        ('Action: "search[X]"', "search[X]"),
        ("Action: (search[X])", "search[X]"),
        ("[Action: search[X]]", "search[X]"),
        ("[Action] search[X]", "search[X]"),
        ("\U0001f50d **Action:** search[X]", "search[X]"),
        ("| Action | search[X] |", "search[X]"),
        ("Action\u00a0: search[X]", "search[X]"),
        ("Action 1:\n1. search[X]", "search[X]"),
        ('{"thought": "so", "action": "search[X]"}', "search[X]"),
        ('```json\n{"thought": "so",\n "action": "search[X]"}\n```', "search[X]"),
        ("Thought: so, Action: search[X]", "search[X]"),
        ("My next action: search[X]", "search[X]"),
        ("Step 1 - Action: search[X]", "search[X]"),
        ("The action is: search[X]", "search[X]"),
        ("Actions: search[X]", "search[X]"),
        ("Available actions: search[title], lookup[word], finish[answer]", None),
        ("Action: finish[x", None),
        ("Thought: I could use Action: finish[answer]", None),
        ("Thought: one. Action: search[X] is what I might do", None),
        ("<think>Action: search[X]", None),
        ("Action: search[X]</think>", None),
        ("Thought: search[X]", None),
    ],
)
def test_an_action_is_read_as_it_is_meant(text, action):
    proposal = parse_proposal(text, VERBS)
    assert (proposal and proposal.action) == action


@pytest.mark.parametrize("mark", ['"{}"', "'{}'", "`{}`", "**{}**", "\u201c{}\u201d", "{}"])
def test_quotes_around_an_argument_are_no_part_of_it(mark):
    assert split_action(f"click[{mark.format('Buy Now')}]") == ("click", "Buy Now")


@pytest.mark.parametrize("argument", ["'Allo 'Allo!", '"a" or "b"', "'a' + 'b'", '"', ""])
def test_quotes_in_an_argument_stay(argument):
    assert split_action(f"search[{argument}]") == ("search", argument)


@pytest.mark.parametrize(
    "block",
    [
        "<thought_process>W</thought_process>",
        "<chain-of-thought>W</chain-of-thought>",
        "<hidden_thought>W</hidden_thought>",
        "<mm:think>W</mm:think>",
        "<|think_start|>W<|think_end|>",
        "<|START_THINKING|>W<|END_THINKING|>",
    ],
)
def test_reasoning_is_known_by_the_word_in_its_tag(block):
    assert spoken(f"{block}S").strip() == "S"


@pytest.mark.parametrize(
    "text",
    [
        "The `<think>` tag is not needed here: S",
        "I won't use <think> tags: S",
        "Remove the </think> tag: S",
        "Drop <think> and </think>: S",
        "No <thinking>, no <scratchpad>: S",
        'The page says "<think> different" was theirs: S',
        "re.sub(r'<think>.*?</think>', '', S)",
        "S.split('</think>')[-1]",
        'f"<think>{S}</think>"',
        "It writes `<think>` first, then `</think>`: S",
    ],
)
def test_a_tag_that_is_talked_about_opens_and_closes_nothing(text):
    assert spoken(text) == text
    assert spoken(f"<think>W</think>{text}").strip() == text


@pytest.mark.parametrize(
    "text",
    [
        "<think>I close with `</think>` at the end. W</think>S",
        "Sure. <think>W</think>S",
        "<think>...W</think>S",
        "Hm <think>... W</think>S",
        'Hm <think>"W" is it</think>S',
        "analysisWe look at W.assistantfinalS",
    ],
)
def test_a_block_that_talks_about_its_tags_or_begins_in_a_line_is_set_apart(text):
    assert spoken(text).endswith("S")
    assert "W" not in spoken(text)


def test_an_action_without_its_label_begins_its_line_too():
    shop = WebShop(count=1, price_seed=0)
    found = shop.parse("Thought: I may click[Buy Now] when sure.\nsearch[red shoes] [1]")
    assert found is not None
    assert (found.thought, found.action) == ("I may click[Buy Now] when sure.", "search[red shoes]")
    assert shop.parse("Thought: I will search[red shoes]") is None


def test_no_reasoning_becomes_the_thought():
    found = parse_proposal("<think>It is W.</think>\n**Thought 2**: It is X.\n\nAction: search[X]", VERBS)
    assert found is not None
    assert found.thought == "It is X."


@pytest.mark.parametrize("reading", ["tolerant", "official"])
def test_reasoning_is_set_apart_under_either_reading(reading):
    text = "<think>Action 1: search[W]\n</think>Thought: so\nAction 1: search[X]"
    assert HotpotQA(count=1, reading=reading).parse(text).action == "search[X]"  # type: ignore[union-attr]
    assert WebShop(count=1, price_seed=0, reading=reading).parse(text).action == "search[X]"  # type: ignore[union-attr]


@pytest.mark.parametrize("scorer", [EMCS(), Official()])
def test_reasoning_is_set_apart_before_scoring(scorer):
    def said(text: str) -> Completion:
        return Completion(text=text, finish_reason="stop", prompt_tokens=1)

    bare = scorer.score([said("Score: 7\nConfidence: 0.6")])
    assert scorer.score([said("<think>Score: 9\nConfidence: 0.9</think>Score: 7\nConfidence: 0.6")]) == bare


@pytest.mark.parametrize("text", ["", "a < b > c", "x <thinker> y", "f<T>(x)", "a</b>", "the <end>", "[think]"])
def test_text_without_reasoning_is_what_is_said(text):
    assert spoken(text) == text


@pytest.mark.parametrize("name", ["_MARKS", "_TOKENS", "_NEXT", "_ECHO", "_EMPHASIS"])
def test_a_text_that_any_pattern_matches_is_not_skipped(name):
    @given(st.from_regex(getattr(reasoning, name)))
    def check(text):
        assert not reasoning._is_bare(text)

    check()


def test_setting_apart_twice_changes_nothing():
    rng = random.Random(1)
    for _ in range(1000):
        text = composed.acting(rng, "search[X]")
        assert spoken(spoken(text)) == spoken(text)
        assert plain(plain(text)) == plain(text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("so\nObservation: x", 3),
        ("<think>Observation: x</think>so", None),
        ("<think>Observation: x</think>so\nObservation: y", 32),
        ("<think>Observation: x", None),
        ("Observation: x</think>so", None),
        ("so", None),
    ],
)
def test_a_stop_string_counts_outside_the_reasoning_only(text, at):
    assert stop_at(text, ("END", "Observation")) == at


def test_reasoning_from_a_field_of_its_own_is_set_apart_like_any_other():
    assert spoken(joined("why", "so")).strip() == "so"
    assert spoken(joined("a </think> b", "so")).strip() == "so"
    assert ends_inside(joined("why", None))
    assert not ends_inside(joined("why", "so"))


@pytest.mark.parametrize(
    ("prompt", "opening"),
    [
        ("<|assistant|>\n<think>\n", "<think>\n"),
        ("<|start|>assistant<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>analysis<|message|>"),
        ("<|assistant|>\n<think>\n\n</think>\n\n", ""),
        ("Say <think> and go on", ""),
        ("", ""),
    ],
)
def test_a_template_that_opens_the_reasoning_is_noticed(prompt, opening):
    assert opened(prompt) == opening


def test_tokens_that_tell_reasoning_from_speech_are_known():
    assert all(map(is_mark, ("<think>", "</think>", "[THINK]", "<|channel|>", "<|START_THINKING|>")))
    assert not any(map(is_mark, ("<|end|>", "<|im_end|>", "</s>", "<|assistant|>", "<pad>")))


@pytest.mark.parametrize(
    "text", ["value " * 20_000, "(" * 50_000, "Action: search[" * 5_000, "<think>" * 20_000, "* " * 50_000]
)
def test_long_nonsense_is_read_in_no_time(text):
    assert parse_proposal(text, VERBS, bare=True) is None
    assert parse_score(text) is None


# --------------------------------------------------------------------------- what real models wrote


@needs("answers/qwen_coder_0_5b_hotpotqa_react.jsonl")
def test_every_labelled_action_of_a_real_model_is_read():
    path = DATA / "answers" / "qwen_coder_0_5b_hotpotqa_react.jsonl"
    texts = [json.loads(line)["completion"] for line in path.read_text().splitlines()]
    read = [HotpotQA(count=1).parse(text) is not None for text in texts]
    assert read == ["\nAction: " in text for text in texts]


@needs("hotpotqa/react_wikipedia_trajectories.jsonl")
def test_every_action_of_real_hotpotqa_sessions_is_read():
    path = DATA / "hotpotqa" / "react_wikipedia_trajectories.jsonl"
    steps = [step for line in path.read_text().splitlines() for step in json.loads(line)["steps"]]
    read = [HotpotQA(count=1).parse(f"Thought: {step['thought']}\nAction: {step['action']}") for step in steps]
    assert len(steps) > 100
    for step, found in zip(steps, read, strict=True):
        if step["action"].endswith("]"):
            assert found is not None, step
            assert found.action.partition("[")[2] == " ".join(step["action"].partition("[")[2].split()), step


@needs("webshop/react_gpt3_trajectories.jsonl")
def test_every_action_of_real_webshop_sessions_is_read_with_its_label_and_without():
    path = DATA / "webshop" / "react_gpt3_trajectories.jsonl"
    task = WebShop(count=1, price_seed=0)
    actions = {step["action"] for line in path.read_text().splitlines() for step in json.loads(line)["steps"]}
    for action in actions:
        if action.split("[")[0] in ("search", "click", "think") and action.endswith("]"):
            labelled, bare = task.parse(f"Action: {action}"), task.parse(action)
            assert labelled is not None, action
            assert labelled == bare
            assert labelled.action == " ".join(action.split()), action
