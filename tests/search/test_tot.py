"""Rules of Tree of Thoughts: what is gone on from, in which order, and what is pruned."""

from __future__ import annotations

import pytest

from symphony.agents.budget import Budget, Meter
from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import Plain
from symphony.agents.session import Agent, AgentPool, Session
from symphony.search.methods.tot import ToT
from symphony.search.result import SearchResult
from symphony.types import Phase, Request, SymphonyError
from tests.stub import Scripted, Stub, pool, problem, session

VALUES = {"a": 0.4, "b": 0.6, "aa": 0.8, "ab": 0.1, "ba": 0.5, "bb": 0.7}


def script(request: Request) -> str:
    """Each expansion proposes a and b; words of one and two letters have a value of their own, longer ones 0.3."""
    if request.draw.phase is Phase.EXPAND:
        return f"Action: go {'ab'[request.draw.index % 2]}"
    return f"Value: {VALUES.get(request.messages[-1].content.rpartition(' ')[2], 0.3)} Confidence: 1"


async def search(method: ToT, *, target: str = "zzz", **task) -> tuple[SearchResult, Session, list[str]]:
    """Also the words that were expanded, in order."""
    item = problem(target)
    ledger = session(pool(script), item)
    result = await method.solve(
        item, task=Stub(**{"length": 3, **task}), session=ledger, scheduler=UCB(), scorer=Plain(), memory=PoolFifo()
    )
    nodes = result.tree.nodes
    parents = [nodes[node.parent].state.data[0] for node in nodes if node.parent is not None]
    return result, ledger, list(dict.fromkeys(parents))


@pytest.mark.parametrize(
    ("breadth", "expanded"),
    [(1, ["", "b", "bb"]), (2, ["", "b", "a", "aa", "bb"]), (9, ["", "b", "a", "aa", "bb", "ba", "ab"])],
)
async def test_breadth_first_keeps_the_best_of_each_level(breadth, expanded):
    """By hand (Yao et al., Algorithm 1): of aa .8, bb .7, ba .5, ab .1 the best two are aa and bb."""
    _, _, seen = await search(ToT(n=2, breadth=breadth))
    assert seen == expanded


@pytest.mark.parametrize(
    ("threshold", "expanded"),
    [
        (0.0, ["", "b", "bb", "ba", "a", "aa", "ab"]),
        (0.1, ["", "b", "bb", "ba", "a", "aa", "ab"]),
        (0.2, ["", "b", "bb", "ba", "a", "aa"]),
        (0.5, ["", "b", "bb", "ba"]),
        (0.65, [""]),
    ],
)
async def test_depth_first_takes_the_best_child_first_prunes_and_backtracks(threshold, expanded):
    """By hand (Yao et al., Algorithm 2): b .6 before a .4; below b, bb .7 before ba .5; ab .1 falls to 0.2."""
    result, _, seen = await search(ToT(order="dfs", n=2, threshold=threshold))
    assert (result.stop_reason, seen) == ("exhausted", expanded)


@pytest.mark.parametrize(("order", "together"), [("bfs", [2, 4, 4]), ("dfs", [2, 2, 2])])
async def test_the_calls_of_a_level_run_together_and_those_of_a_dive_node_by_node(order, together):
    model = Scripted(script)
    batches: list[int] = []

    class Counted(Session):
        async def answers(self, tickets):
            if tickets and tickets[0].request.draw.phase is Phase.EXPAND:
                batches.append(len(tickets))
            return await super().answers(tickets)

    item = problem("zzz")
    agents = AgentPool("one", (Agent("A", model),))
    ledger = Counted(run="run", seed=0, problem=item, pool=agents, meter=Meter(Budget()))
    await ToT(order=order, n=2, breadth=2, iterations=3).solve(
        item, task=Stub(length=9), session=ledger, scheduler=UCB(), scorer=Plain(), memory=PoolFifo()
    )
    assert batches == together


async def test_success_stops_at_once_and_is_the_answer():
    for order in ("bfs", "dfs"):
        result, _, _ = await search(ToT(order=order, n=2), target="bba")
        assert (result.stop_reason, result.state.data[0]) == ("solved", "bba")


async def test_an_end_takes_no_place_in_the_beam_and_is_answered_with():
    def stops_or_goes(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND:
            return ("Action: stop", "Action: go a")[request.draw.index]
        last = request.messages[-1].content.splitlines()[-1]
        return f"Value: {0.9 if last == 'submitted a' else 0.5} Confidence: 1"

    item = problem("zzz")
    result = await ToT(n=2, breadth=1).solve(
        item,
        task=Stub(length=4, feedback="none"),
        session=session(pool(stops_or_goes), item),
        scheduler=UCB(),
        scorer=Plain(),
        memory=PoolFifo(),
    )
    assert (result.stop_reason, result.iterations) == ("exhausted", 4)
    assert result.state.data[0] == "a"


async def test_levels_and_expansions_are_what_the_iterations_bound():
    breadth, _, levels = await search(ToT(n=2, breadth=9, iterations=2))
    depth, _, nodes = await search(ToT(order="dfs", n=2, iterations=2))
    assert (breadth.stop_reason, breadth.iterations, levels) == ("iterations", 2, ["", "b", "a"])
    assert (depth.stop_reason, depth.iterations, nodes) == ("iterations", 2, ["", "b"])


async def test_visits_count_the_expansions_at_and_below_a_node():
    result, _, _ = await search(ToT(n=2, breadth=1))
    visits = {node.state.data[0]: node.visits for node in result.tree.nodes if node.visits}
    assert visits == {"": 3, "b": 2, "bb": 1}


@pytest.mark.parametrize(
    "wrong", [{"order": "best"}, {"n": 0}, {"breadth": 0}, {"threshold": 2.0}, {"iterations": 0}, {"depth": 0}]
)
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        ToT(**wrong)


def test_a_threshold_that_prunes_nothing_is_refused():
    with pytest.raises(SymphonyError, match=r"search\.threshold: found 0\.5, allowed with order bfs: 0"):
        ToT(order="bfs", threshold=0.5)
