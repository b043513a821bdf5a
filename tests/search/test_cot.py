"""Rules of answers in one call, and of the vote over them."""

from __future__ import annotations

import pytest

from symphony.agents.budget import Budget
from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import EMCS
from symphony.agents.session import Session
from symphony.search.methods.cot import CoT
from symphony.search.result import SearchResult, majority
from symphony.search.tree import Tree
from symphony.tasks.hotpotqa.corpus import Paragraphs
from symphony.tasks.hotpotqa.task import Data, HotpotQA
from symphony.types import Request, State, SymphonyError
from tests.stub import Script, Stub, pool, problem, session


def in_turn(*texts: str) -> Script:
    """Says the texts one after another, the first again after the last."""
    return lambda request: texts[request.draw.index % len(texts)]


def letters(word: str) -> Script:
    return in_turn(*(f"Action: go {letter}" for letter in word))


async def search(method: CoT, script: Script, *, calls: int | None = None, **task) -> tuple[SearchResult, Session]:
    item = problem("z")
    ledger = session(pool(script), item, budget=Budget(calls=calls))
    result = await method.solve(
        item,
        task=Stub(**{"length": 1, "feedback": "none", **task}),
        session=ledger,
        scheduler=UCB(),
        scorer=EMCS(),
        memory=NoMemory(),
    )
    return result, ledger


@pytest.mark.parametrize(
    ("said", "answer"),
    [("a", "a"), ("abb", "b"), ("abba", "a"), ("baab", "b"), ("abc", "a"), ("abcc", "c"), ("abcbc", "b")],
)
async def test_the_most_frequent_answer_wins_and_ties_go_to_the_first(said, answer):
    result, ledger = await search(CoT(samples=len(said)), letters(said))
    assert (result.state.data[0], len(ledger.calls)) == (answer, len(said))


async def test_a_budget_that_ends_the_samples_leaves_the_vote_of_those_made():
    result, _ = await search(CoT(samples=5), letters("abbaa"), calls=3)
    assert (result.stop_reason, result.state.data[0]) == ("calls", "b")


async def test_success_that_is_shown_ends_the_samples():
    result, ledger = await search(CoT(samples=5), letters("abz"), feedback="oracle")
    assert (result.stop_reason, result.state.data[0], len(ledger.calls)) == ("solved", "z", 3)


async def test_a_sample_without_an_answer_is_asked_for_once_more_and_then_has_no_vote():
    result, ledger = await search(CoT(samples=2), in_turn("hm", "hm", "Action: go b"))
    assert (result.state.data[0], result.unparsed, len(ledger.calls)) == ("b", 2, 3)


async def test_without_any_answer_the_problem_as_it_was_is_the_answer():
    result, _ = await search(CoT(samples=2), in_turn("hm"))
    assert (result.answer, result.stop_reason) == (0, "iterations")


@pytest.mark.parametrize("style", ["direct", "cot"])
async def test_every_sample_asks_in_the_style_wanted(style):
    asked: list[str] = []

    def script(request: Request) -> str:
        asked.append(request.messages[0].content.splitlines()[0])
        return "Action: go a"

    await search(CoT(style=style, samples=3), script)
    assert asked == [style] * 3


async def test_where_no_answer_ends_the_episode_every_answer_has_a_vote():
    result, _ = await search(CoT(samples=3), letters("abb"), length=3)
    assert (result.state.data[0], result.state.done) == ("b", False)


def test_an_end_outvotes_states_on_the_way():
    tree = Tree(State(observation=""))
    words = ["on", "on", "end"]
    ids = [
        tree.add(
            0,
            turn=None,
            state=State(observation=word, terminated=word == "end"),
            agent=0,
            origin="expand",
            iteration=1,
        )
        for word in words
    ]
    assert majority(tree, ids, lambda state: state.observation) == 3


def test_answers_of_one_task_are_equal_by_what_its_failures_teach():
    """finish[The Nile] and finish[nile] are one answer to HotpotQA, whose metric reads them alike."""
    ends = [
        State(observation="", terminated=True, data=Data(gold="", corpus=Paragraphs({}), answer=text))
        for text in ("Congo", "The Nile", "nile")
    ]
    tree = Tree(State(observation=""))
    ids = [tree.add(0, turn=None, state=end, agent=0, origin="expand", iteration=1) for end in ends]
    assert majority(tree, ids, HotpotQA(count=1).failure_key) == 2


@pytest.mark.parametrize("wrong", [{"style": "best"}, {"samples": 0}])
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        CoT(**wrong)
