"""Rules of RAP: the mean of the children's R is backed up from the leaf, and the most visited line answers."""

from __future__ import annotations

from typing import Any

import pytest

from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import Plain
from symphony.search.methods.rap import RAP
from symphony.search.result import SearchResult
from symphony.types import Phase, Request, SymphonyError
from tests.stub import Stub, pool, problem, session

VALUES = {"a": 0.2, "b": 0.6, "ba": 0.5, "bb": 0.7, "baa": 0.3, "bab": 0.4, "bba": 0.1, "bbb": 0.2}


def script(request: Request) -> str:
    """Each expansion proposes a and b; each word has its own value."""
    if request.draw.phase is Phase.EXPAND:
        return f"Action: go {'ab'[request.draw.index % 2]}"
    if request.draw.phase is Phase.REFLECT:
        return "Lesson: no."
    word = request.messages[-1].content.rpartition(" ")[2]
    return f"Value: {VALUES[word]} Confidence: 1"


async def search(iterations: int, **task) -> tuple[SearchResult, set[str]]:
    item = problem("zzz")
    ledger = session(pool(script), item)
    result = await RAP(n=2, iterations=iterations).solve(
        item, task=Stub(**task), session=ledger, scheduler=UCB(), scorer=Plain(), memory=PoolFifo()
    )
    return result, {call.phase for call in ledger.calls}


async def test_the_mean_of_the_children_is_backed_up_from_the_leaf():
    """By hand. Root: (0.2 + 0.6) / 2 = 0.4. Then b, since 2 * 0.6 exceeds 2 * 0.2: (0.5 + 0.7) / 2 = 0.6."""
    result, _ = await search(2, length=9)
    counts: dict[str, tuple[int, Any]] = {
        node.state.data[0]: (node.visits, pytest.approx(node.value_sum)) for node in result.tree.nodes
    }
    assert counts == {"": (2, 1.0), "a": (0, 0.0), "b": (1, 0.6), "ba": (0, 0.0), "bb": (0, 0.0)}


async def test_selection_weighs_a_visited_mean_with_its_bonus_against_twice_an_unvisited_value():
    """By hand, third iteration. b: 0.6 + sqrt(2) sqrt(ln 2 / 1) = 1.78 against 2 * 0.2; below it bb, 2 * 0.7."""
    result, _ = await search(3, length=9)
    assert [node.state.data[0] for node in result.tree.nodes if node.iteration == 3] == ["bba", "bbb"]


async def test_nothing_is_simulated_or_reflected_on():
    result, phases = await search(4, length=3)
    assert phases == {"expand", "evaluate"}
    assert {node.origin for node in result.tree.nodes} == {"root", "expand"}


async def test_the_answer_is_the_best_end_of_the_most_visited_child():
    result, _ = await search(4, length=3, feedback="none")
    assert result.tree[1].visits < result.tree[2].visits
    assert result.state.data[0] == "bab"


@pytest.mark.parametrize("wrong", [{"n": 0}, {"iterations": 0}, {"depth": 0}, {"c": -1.0}, {"first_visit": "never"}])
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        RAP(**wrong)
