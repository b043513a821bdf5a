"""Rules of the mixture: what each layer is told, who aggregates, and what remains when a budget cuts it."""

from __future__ import annotations

import pytest

from symphony.agents.budget import Budget
from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import RoundRobin
from symphony.agents.scorer import EMCS
from symphony.agents.session import Session
from symphony.search.methods.mixture import Mixture
from symphony.search.result import SearchResult
from symphony.types import Request, SymphonyError
from tests.stub import Script, Stub, pool, problem, say, session


def counts(letter: str) -> Script:
    """Answers its letter alone, and the number of proposals when it is told some."""

    def script(request: Request) -> str:
        told = request.messages[0].content.count("An agent answered, rightly or wrongly: ")
        return f"Action: go {told or letter}"

    return script


async def search(
    method: Mixture, *scripts: Script, calls: int | None = None, **task
) -> tuple[SearchResult, Session, list[str]]:
    """Also the words of all ends, in the order made."""
    item = problem("zz")
    ledger = session(pool(*scripts), item, budget=Budget(calls=calls))
    result = await method.solve(
        item,
        task=Stub(**{"length": 1, "feedback": "none", **task}),
        session=ledger,
        scheduler=RoundRobin(),
        scorer=EMCS(),
        memory=NoMemory(),
    )
    return result, ledger, [node.state.data[0] for node in result.tree.nodes if node.state.terminated]


@pytest.mark.parametrize(("layers", "ends"), [(1, ["a", "b", "2"]), (2, ["a", "b", "2", "2", "2"])])
async def test_each_layer_and_the_aggregator_are_told_the_proposals_of_the_layer_before(layers, ends):
    result, _, seen = await search(Mixture(layers=layers), counts("a"), counts("b"))
    assert seen == ends
    assert (result.answer, result.iterations) == (len(result.tree) - 1, layers + 1)


@pytest.mark.parametrize(("aggregator", "agent"), [(None, "A"), (0, "A"), (1, "B")])
async def test_the_aggregator_is_one_agent_for_all_its_steps(aggregator, agent):
    """Two proposers of two steps, then an aggregator of two; round robin comes to the first again."""
    _, ledger, _ = await search(Mixture(aggregator=aggregator), counts("a"), counts("b"), length=2)
    assert "".join(call.agent for call in ledger.calls) == "ABAB" + 2 * agent


async def test_a_budget_before_the_aggregator_leaves_the_vote_of_the_proposals():
    """By hand: of a b b the majority is b."""
    result, _, _ = await search(Mixture(), counts("a"), counts("b"), counts("b"), calls=3)
    assert (result.stop_reason, result.state.data[0]) == ("calls", "b")


async def test_an_aggregator_without_an_action_leaves_the_vote_of_the_proposals():
    def silent(request: Request) -> str:
        return "hm" if "answered" in request.messages[0].content else "Action: go a"

    result, _, _ = await search(Mixture(), silent, say(expand="Action: go b"), say(expand="Action: go b"))
    assert (result.stop_reason, result.state.data[0]) == ("iterations", "b")


async def test_an_aggregator_that_the_pool_does_not_have_is_refused():
    with pytest.raises(SymphonyError, match=r"search\.aggregator: found 2, allowed: 0 to 1"):
        await search(Mixture(aggregator=2), counts("a"), counts("b"))


@pytest.mark.parametrize("wrong", [{"proposers": 0}, {"layers": 0}, {"aggregator": -1}, {"depth": 0}])
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        Mixture(**wrong)
