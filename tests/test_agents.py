"""Rules of budgets and of a problem's ledger."""

from __future__ import annotations

import asyncio

import pytest

from symphony.agents import Agent, AgentPool, BudgetExceeded, NoAgentLeft, Session, digest
from symphony.bandits import EXP3
from symphony.budget import Budget, Meter
from symphony.models.endpoint import Price
from symphony.scheduler import ArmStats, Fixed, RoundRobin
from symphony.types import Completion, Message, Phase, Request, Sampling, SymphonyError
from tests.stub import Scripted, pool, problem, say, session

PROMPT = (Message(role="user", content="one two three"),)
GREEDY = Sampling(temperature=0, max_tokens=4)


def prompt(dropped: int) -> tuple[Message, ...]:
    return () if dropped else PROMPT


async def call(ledger: Session, arm: int = 0, node: int = 0, phase: Phase = Phase.EXPAND) -> Completion:
    ledger.pick(Fixed(arm=arm), phase, node)
    return (await ledger.answers([ledger.ask(arm, phase, node, prompt, GREEDY)]))[0]


def talkative() -> AgentPool:
    return pool(say(expand="yes yes", evaluate="no"), say(expand="no", evaluate="no"))


async def test_the_call_budget_is_kept_to_the_unit():
    ledger = session(talkative(), problem("abc"), budget=Budget(calls=2))
    await call(ledger)
    await call(ledger)
    with pytest.raises(BudgetExceeded, match="calls"):
        ledger.pick(Fixed(), Phase.EXPAND, 0)


async def test_calls_in_flight_count():
    ledger = session(talkative(), problem("abc"), budget=Budget(calls=1))
    ledger.ask(ledger.pick(Fixed(), Phase.EXPAND, 0), Phase.EXPAND, 0, prompt, GREEDY)
    with pytest.raises(BudgetExceeded, match="calls"):
        ledger.pick(Fixed(), Phase.EXPAND, 0)


async def test_no_call_is_begun_once_the_tokens_are_spent():
    ledger = session(talkative(), problem("abc"), budget=Budget(tokens=6))
    await call(ledger)  # 3 + 2 tokens
    await call(ledger)
    with pytest.raises(BudgetExceeded, match="tokens"):
        ledger.pick(Fixed(), Phase.EXPAND, 0)
    assert ledger.meter.tokens == 10


async def test_no_call_is_begun_once_the_money_is_spent():
    dear = Price(prompt=1e6, completion=1e6)  # a dollar a token
    agents = AgentPool("one", (Agent("A", Scripted(say(expand="yes yes")), dear),))
    ledger = session(agents, problem("abc"), budget=Budget(money=6.0))
    await call(ledger)  # 3 + 2 tokens
    await call(ledger)
    with pytest.raises(BudgetExceeded, match="money"):
        ledger.pick(Fixed(), Phase.EXPAND, 0)
    assert [record.cost for record in ledger.calls] == [5.0, 5.0]
    assert ledger.meter.money == 10.0


async def test_a_call_of_unknown_price_has_an_unknown_cost_and_one_of_a_local_model_none():
    agents = AgentPool(
        "two",
        (Agent("local", Scripted(say(expand="a"))), Agent("remote", Scripted(say(expand="a")), Price(prompt=1.0))),
    )
    ledger = session(agents, problem("abc"))
    await call(ledger, arm=0)
    await call(ledger, arm=1)
    assert [record.cost for record in ledger.calls] == [0.0, None]


async def test_a_call_that_the_study_can_not_pay_ends_the_problem_and_stays_on_record():
    class Refused:
        async def complete(self, request: Request) -> Completion:
            return Completion(text="", finish_reason="error", prompt_tokens=0, error="budget: spent", refused="money")

    ledger = session(AgentPool("one", (Agent("A", Refused()),)), problem("abc"))
    await call(ledger)
    with pytest.raises(BudgetExceeded, match="study_money"):
        ledger.pick(Fixed(), Phase.EXPAND, 0)
    assert [record.error for record in ledger.calls] == ["budget: spent"]


def test_no_call_is_begun_once_the_seconds_are_over():
    now = [0.0]
    meter = Meter(Budget(seconds=5), clock=lambda: now[0])
    assert meter.exceeded() is None
    now[0] = 5.0
    assert meter.exceeded() == "seconds"


def test_a_problem_stops_when_its_run_has_spent_the_budget():
    run = Meter(Budget(calls=3), scope="run")
    first, second = Meter(Budget(calls=2), run), Meter(Budget(calls=2), run)
    first.charge(calls=2, tokens=7)
    assert (first.exceeded(), second.exceeded()) == ("calls", None)
    second.charge(calls=1)
    assert second.exceeded() == "run_calls"
    assert (run.calls, run.tokens) == (3, 7)


@pytest.mark.parametrize("limits", [{"calls": 0}, {"tokens": -1}, {"money": 0.0}, {"seconds": 0.0}])
def test_an_impossible_budget_is_refused_with_its_key(limits):
    with pytest.raises(SymphonyError, match=rf"budget\.{next(iter(limits))}"):
        Budget(**limits)


async def test_equal_requests_of_a_node_and_phase_are_different_draws():
    ledger = session(talkative(), problem("abc"))
    for node, phase in [(0, Phase.EXPAND), (0, Phase.EXPAND), (1, Phase.EXPAND), (0, Phase.EVALUATE)]:
        await call(ledger, node=node, phase=phase)
    assert [(record.node, record.phase, record.draw) for record in ledger.calls] == [
        (0, "expand", 0),
        (0, "expand", 1),
        (1, "expand", 0),
        (0, "evaluate", 0),
    ]
    assert len({record.seed for record in ledger.calls}) == 4


class Slow:
    """Answers after as many passes of the event loop as its delay."""

    def __init__(self, delay: int) -> None:
        self.delay = delay

    async def complete(self, request: Request) -> Completion:
        for _ in range(self.delay):
            await asyncio.sleep(0)
        return Completion(text=str(self.delay), finish_reason="stop", prompt_tokens=1, completion_tokens=1)


async def test_answers_are_booked_in_the_order_asked():
    agents = AgentPool("slow", (Agent("slow", Slow(9)), Agent("quick", Slow(0))))
    ledger = session(agents, problem("abc"))
    arms = [ledger.pick(RoundRobin(), Phase.EXPAND, 0) for _ in range(2)]
    answers = await ledger.answers([ledger.ask(arm, Phase.EXPAND, 0, prompt, GREEDY) for arm in arms])
    assert [answer.text for answer in answers] == ["9", "0"]
    assert [(record.call, record.agent) for record in ledger.calls] == [(0, "slow"), (1, "quick")]
    assert [record.call for record in ledger.timings] == [0, 1]


async def test_a_pick_counts_at_once_and_records_what_it_was_decided_on():
    ledger = session(talkative(), problem("abc"))
    ledger.arms[0] = ArmStats(calls=1, credits=2, reward=1.0)
    ledger.pick(RoundRobin(), Phase.EXPAND, 0)
    ledger.pick(RoundRobin(), Phase.EXPAND, 0)
    assert [(pick.agent, pick.counts, pick.means) for pick in ledger.picks] == [
        ("B", [1, 0], [0.5, 0.0]),
        ("A", [1, 1], [0.5, 0.0]),
    ]


async def test_a_failed_call_is_on_record_but_not_counted_for_its_agent():
    ledger = session(pool(say(expand=None)), problem("abc"))
    answer = await call(ledger)
    assert answer.error == ledger.calls[0].error == "scripted failure"
    assert (ledger.arms[0].calls, ledger.meter.calls) == (0, 1)


async def test_failures_in_a_row_suspend_an_agent():
    ledger = session(pool(say(expand=None)), problem("abc"))
    for _ in range(3):
        await call(ledger)
    with pytest.raises(NoAgentLeft):
        ledger.pick(Fixed(), Phase.EXPAND, 0)


async def test_a_success_between_failures_keeps_an_agent():
    replies = iter([None, None, "fine", None, None])
    ledger = session(AgentPool("one", (Agent("A", Scripted(lambda _: next(replies))),)), problem("abc"))
    for _ in range(5):
        await call(ledger)
    assert not ledger.arms[0].suspended


async def test_a_prompt_is_digested_by_its_roles_and_words():
    ledger = session(talkative(), problem("abc"))
    await call(ledger)
    await call(ledger)
    other = (Message(role="system", content="one two three"),)
    ledger.pick(Fixed(), Phase.EXPAND, 0)
    await ledger.answers([ledger.ask(0, Phase.EXPAND, 0, lambda _: other, GREEDY)])
    digests = [record.prompt for record in ledger.calls]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(("dropped", "lessons", "shots"), [(0, 0, 0), (1, 1, 0), (2, 2, 0), (3, 2, 1)])
async def test_what_a_model_had_no_room_for_is_on_record(dropped, lessons, shots):
    class Cramped:
        async def complete(self, request: Request) -> Completion:
            return Completion(text="so", finish_reason="stop", prompt_tokens=1, dropped=dropped)

    def shorten(dropped: int) -> tuple[Message, ...]:
        return (Message(role="user", content=str(dropped)),)

    ledger = session(AgentPool("one", (Agent("A", Cramped()),)), problem("abc"))
    arm = ledger.pick(Fixed(), Phase.EXPAND, 0)
    await ledger.answers([ledger.ask(arm, Phase.EXPAND, 0, shorten, GREEDY, lessons=2)])
    (call,) = ledger.calls
    assert (call.dropped_lessons, call.dropped_shots) == (lessons, shots)
    assert call.prompt == digest(shorten(dropped))


def test_arms_given_from_outside_are_shared():
    arms = [ArmStats(), ArmStats()]
    ledger = Session(run="r", seed=0, problem=problem("abc"), pool=talkative(), meter=Meter(Budget()), arms=arms)
    ledger.credit(1, 0.5)
    assert (arms[1].credits, arms[1].reward) == (1, 0.5)


async def test_a_reward_reaches_the_call_that_brought_the_node_however_late():
    ledger = session(talkative(), problem("abc"))
    ledger.pick(EXP3(gamma=1), Phase.EXPAND, 0)
    ticket = ledger.ask(0, Phase.EXPAND, 0, prompt, GREEDY)
    ledger.pick(EXP3(gamma=1), Phase.EXPAND, 0)
    ledger.credit(0, 0.5, ticket.pick)
    rewards = {trial.time: trial.reward for arm in ledger.arms for trial in arm.trials}
    assert rewards == {0: 0.5, 1: None}
    assert ledger.arms[0].estimate == 0.5 / (1 / len(ledger.pool))


async def test_an_agents_tokens_are_those_of_its_calls_that_did_not_fail():
    replies = iter(["one two", None])
    ledger = session(AgentPool("one", (Agent("A", Scripted(lambda _: next(replies))),)), problem("abc"))
    for _ in range(2):
        await call(ledger)
    (booked, _) = ledger.calls
    assert (ledger.arms[0].answers, ledger.arms[0].tokens) == (1, booked.prompt_tokens + booked.completion_tokens)


def test_a_pool_without_agents_or_with_equal_names_is_refused():
    with pytest.raises(SymphonyError, match="at least one"):
        AgentPool("empty", ())
    with pytest.raises(SymphonyError, match="different names"):
        AgentPool("twins", (Agent("A", Slow(0)), Agent("A", Slow(0))))
