"""Rules of MASTER: an initial reward, a validation of ends, and a backup of failed validations only."""

from __future__ import annotations

from collections import Counter

import pytest

from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import Plain
from symphony.agents.session import Session
from symphony.search.methods.master import MASTER
from symphony.search.result import SearchResult
from symphony.types import Phase, Request, SymphonyError
from tests.stub import Script, Stub, pool, problem, session


def tells(values: dict[str, float], actions: tuple[str, ...] = ("go a", "go b")) -> Script:
    """Each expansion proposes the actions in turn; each word has its own value, others cannot be judged."""

    def script(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND:
            return f"Action: {actions[request.draw.index % len(actions)]}"
        word = request.messages[-1].content.rpartition(" ")[2]
        return f"Value: {values[word]} Confidence: 1" if word in values else "?"

    return script


async def search(values: dict[str, float], method: MASTER, **task) -> tuple[SearchResult, Session]:
    item = problem("zz")
    ledger = session(pool(tells(values)), item)
    result = await method.solve(
        item, task=Stub(**task), session=ledger, scheduler=UCB(), scorer=Plain(), memory=PoolFifo()
    )
    return result, ledger


def counts(result: SearchResult) -> dict[str, tuple[int, object]]:
    return {node.state.data[0]: (node.visits, pytest.approx(node.value_sum)) for node in result.tree.nodes}


WORDS = {"a": 0.6, "b": 0.5, "aa": 0.3, "ab": 0.4, "ba": 0.2, "bb": 0.9}


async def test_a_new_node_counts_as_visited_once_with_its_initial_reward():
    result, _ = await search(WORDS, MASTER(n=2, iterations=1), length=3)
    assert counts(result) == {"": (1, 0.0), "a": (1, 0.6), "b": (1, 0.5)}


async def test_only_a_failed_validation_is_backed_up_and_it_lowers_the_path():
    """By hand. aa and ab fail: each adds a visit of value 0 to itself, to a and to the root."""
    result, _ = await search(WORDS, MASTER(n=2, iterations=2), length=2, feedback="none")
    assert counts(result) == {"": (3, 0.0), "a": (3, 0.6), "b": (1, 0.5), "aa": (2, 0.3), "ab": (2, 0.4)}


async def test_selection_turns_away_from_a_path_whose_answers_failed():
    """By hand, c = 0, so that a closed a plays no part: with three letters aa is open and a's mean falls to 0.6 / 2."""
    values = {"a": 0.6, "b": 0.5, "aa": 0.55, "ba": 0.1}
    item = problem("zz")

    def script(request: Request) -> str | None:
        if request.draw.phase is Phase.EXPAND and request.draw.node and request.draw.index % 2:
            return "Action: stop"
        return tells(values)(request)

    result = await MASTER(n=2, iterations=3, c=0.0).solve(
        item,
        task=Stub(length=3),
        session=session(pool(script), item),
        scheduler=UCB(),
        scorer=Plain(),
        memory=PoolFifo(),
    )
    expanded = [result.tree[node.parent].state.data[0] for node in result.tree.nodes if node.parent is not None]
    assert list(dict.fromkeys(expanded)) == ["", "a", "b"]


async def test_an_end_judged_well_enough_is_the_answer_and_ends_the_search():
    result, ledger = await search({**WORDS, "aa": 0.7, "ab": 0.8}, MASTER(n=2), length=2, feedback="none")
    assert (result.stop_reason, result.state.data[0], result.iterations) == ("accepted", "ab", 2)
    assert Counter(call.phase for call in ledger.calls) == {"expand": 4, "evaluate": 4}


async def test_where_the_environment_shows_the_reward_no_agent_validates():
    result, ledger = await search(dict.fromkeys(WORDS, 1.0), MASTER(n=2), length=2)
    assert result.stop_reason == "exhausted"
    assert Counter(call.phase for call in ledger.calls) == {"expand": 6, "evaluate": 2}


async def test_a_verdict_that_cannot_be_read_accepts_nothing():
    result, _ = await search({"a": 0.6, "b": 0.5}, MASTER(n=2, threshold=0.0), length=2, feedback="none")
    assert (result.stop_reason, result.fallbacks) == ("exhausted", 4)


async def test_a_trajectory_that_was_cut_is_no_answer_to_accept():
    result, _ = await search({"a": 1.0, "b": 1.0}, MASTER(n=2), length=9, feedback="none", horizon=1)
    assert result.stop_reason == "exhausted"


async def test_without_an_accepted_end_the_policy_chooses():
    result, _ = await search(WORDS, MASTER(n=2, threshold=1.0), length=2, feedback="none")
    assert (result.stop_reason, result.state.data[0]) == ("exhausted", "bb")


@pytest.mark.parametrize(
    "wrong", [{"n": 0}, {"iterations": 0}, {"depth": 0}, {"c": -1.0}, {"threshold": 1.1}, {"threshold": -0.1}]
)
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        MASTER(**wrong)
