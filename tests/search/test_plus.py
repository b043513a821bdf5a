"""Rules of SYMPHONY+: whom it asks, where it branches, what it learns and what its ends are worth."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from symphony.agents.budget import Budget, Meter
from symphony.agents.memory import NoMemory, PoolFifo
from symphony.agents.scheduler import RoundRobin
from symphony.agents.scorer import EMCS
from symphony.agents.session import Agent, AgentPool, Session
from symphony.search.methods.plus import SymphonyPlus
from symphony.search.result import SearchResult
from symphony.types import Completion, Phase, Request
from tests.stub import Scripted, Stub, problem

Says = Callable[[Request], tuple[str, float | None]]
"""The action that an agent proposes, and the probability of its tokens."""


class Sure(Scripted):
    def __init__(self, says: Says) -> None:
        super().__init__(lambda request: f"Action: {says(request)[0]}")
        self.says = says

    async def complete(self, request: Request) -> Completion:
        answer, probability = await super().complete(request), self.says(request)[1]
        return replace(answer, logprob=None if probability is None else math.log(probability))


async def search(*agents: Says, target: str = "zzz", memory=None, feedback="oracle", length=3, **fields):
    item = problem(target)
    members = tuple(Agent(name, Sure(says)) for name, says in zip("ABC", agents, strict=False))
    ledger = Session(run="run", seed=0, problem=item, pool=AgentPool("p", members), meter=Meter(Budget()))
    result = await SymphonyPlus(**fields).solve(
        item,
        task=Stub(length=length, feedback=feedback),
        session=ledger,
        scheduler=RoundRobin(),
        scorer=EMCS(),
        memory=memory or NoMemory(),
    )
    return result, ledger


def always(letter: str, probability: float | None) -> Says:
    return lambda request: (f"go {letter}", probability)


def by_depth(*options: tuple[str, float]) -> Says:
    """Proposes at each depth these letters in turn, with these probabilities: one (letters, probability) a depth."""

    def says(request: Request) -> tuple[str, float]:
        letters, probability = options[request.messages[0].content.count("\nword ")]
        return f"go {letters[request.draw.index % len(letters)]}", probability

    return says


def words(result: SearchResult) -> list[str]:
    """The words submitted, in the order made."""
    return [node.state.data[0] for node in result.tree.nodes if node.state.terminated]


def askers(ledger: Session) -> str:
    return "".join(call.agent for call in ledger.calls)


async def test_one_agent_is_asked_where_it_is_sure():
    _, ledger = await search(always("a", 0.99), always("b", 0.99), always("c", 0.99), n=1)
    assert len(ledger.calls) == 3


async def test_another_agent_is_asked_in_doubt_and_the_most_probable_proposal_wins():
    result, ledger = await search(always("a", 0.3), always("b", 0.6), always("c", 0.5), n=1)
    assert askers(ledger)[:3] == "ABC"
    assert words(result) == ["bba", "bbb", "bbc"]  # the proposals of the last step are all ends


async def test_a_sure_agent_ends_the_asking():
    _, ledger = await search(always("a", 0.3), always("b", 0.99), always("c", 0.5), n=1, length=1)
    assert askers(ledger) == "AB"


async def test_a_gate_of_0_asks_one_agent_a_step():
    _, ledger = await search(always("a", 0.01), always("b", 0.01), n=1, gate=0.0)
    assert len(ledger.calls) == 3


async def test_equal_proposals_count_together():
    result, _ = await search(always("a", 0.5), always("a", 0.5), always("b", 0.7), n=1, length=1, feedback="none")
    assert words(result) == ["a", "b"]
    end = result.tree[result.answer]
    assert end.turn is not None
    assert end.turn.action == "go a"
    assert end.prior == pytest.approx(0.75)


async def test_without_log_probabilities_two_equal_proposals_stand_in_for_a_sure_one():
    _, ledger = await search(always("a", None), always("a", None), always("a", None), n=1, length=1)
    assert askers(ledger) == "AB"


async def test_the_next_attempt_begins_where_the_most_doubt_is_left():
    result, ledger = await search(by_depth(("a", 0.99), ("a", 0.99), ("abc", 0.5)), n=3, asks=1)
    assert words(result) == ["aaa", "aab", "aac"]
    assert len(ledger.calls) == 5  # two sure steps, then one call an end


async def test_a_candidate_that_was_not_chosen_is_gone_on_from_without_asking_again():
    agents = (by_depth(("a", 0.5), ("x", 0.99)), by_depth(("b", 0.4), ("x", 0.99)))
    result, ledger = await search(*agents, n=2, asks=2, length=2)
    assert words(result) == ["ax", "bx"]
    assert len(ledger.calls) == 4


async def test_a_restart_begins_at_the_root():
    _, ledger = await search(by_depth(("a", 0.99), ("a", 0.99), ("abc", 0.5)), n=3, asks=1, branch="restart")
    assert len(ledger.calls) == 9


async def test_an_end_without_a_visible_reward_is_worth_its_least_certain_step():
    result, _ = await search(by_depth(("a", 0.9), ("b", 0.7), ("c", 0.8)), n=1, asks=1, feedback="none")
    assert result.tree[result.answer].prior == pytest.approx(0.7)


async def test_an_end_can_be_judged_instead():
    def says(request: Request) -> tuple[str, float | None]:
        return "go a", 0.97

    result, ledger = await search(says, n=1, length=1, feedback="none", worth="judged")
    assert [call.phase for call in ledger.calls] == ["expand", "evaluate", "evaluate"]  # once more with a reminder
    assert result.fallbacks == 1


async def test_a_worthy_end_ends_the_search_when_rewards_are_hidden():
    result, ledger = await search(always("a", 0.97), n=5, feedback="none", enough=0.9)
    assert (result.stop_reason, len(ledger.calls)) == ("accepted", 3)


async def test_the_scheduler_learns_who_was_worth_asking():
    _, ledger = await search(always("a", 0.3), always("b", 0.6), n=1, asks=2, length=2, feedback="none")
    assert [arm.reward for arm in ledger.arms] == [0.0, pytest.approx(2 * 0.6)]


async def test_agents_that_agree_are_all_credited():
    _, ledger = await search(always("a", 0.5), always("a", 0.5), n=1, asks=2, length=2, feedback="none")
    assert [arm.reward for arm in ledger.arms] == [pytest.approx(2 * 0.75)] * 2


async def test_a_failure_becomes_a_lesson_once():
    def says(request: Request) -> tuple[str, float | None]:
        return ("Lesson: no.", 1.0) if request.draw.phase is Phase.REFLECT else by_depth(("ab", 0.5))(request)

    _, ledger = await search(says, n=2, asks=1, length=1, memory=PoolFifo())
    assert len(ledger.reflections) == 2


async def test_a_search_whose_agents_repeat_themselves_ends():
    result, _ = await search(always("a", 0.9), n=50)
    assert result.stop_reason == "exhausted"
