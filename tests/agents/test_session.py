"""Rules of budgets and of a problem's ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.agents.bandits import EXP3
from symphony.agents.budget import Budget, Meter
from symphony.agents.scheduler import ArmStats, Fixed, RoundRobin
from symphony.agents.sent import digest
from symphony.agents.session import Agent, AgentPool, BudgetExceeded, NoAgentLeft, Session
from symphony.models.endpoint import Price
from symphony.models.sizes import Size
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


def room(size: int, said: int, *, limit: int = 48) -> Sampling:
    """Of a call whose prompt has `size` words and whose answer `said`: see `Sized`."""
    return Sampling(temperature=0, max_tokens=limit, stop=(str(size), str(said)))


class Sized:
    """Answers as its request's stop strings say: tokens of the prompt, and of an answer without a limit."""

    counter = None

    def __init__(self, delay: int = 0, more: int = 0) -> None:
        self.delay = delay
        self.more = more
        self.limits: list[int] = []

    def size(self, request: Request) -> Size:
        return Size(prompt=int(request.sampling.stop[0]), completion=request.sampling.max_tokens)

    async def complete(self, request: Request) -> Completion:
        for _ in range(request.draw.rng_seed() * self.delay % 7):
            await asyncio.sleep(0)
        size, said = map(int, request.sampling.stop)
        limit = request.sampling.max_tokens
        self.limits.append(limit)
        return Completion(
            text="x" * min(said, limit),
            finish_reason="stop" if said <= limit else "length",
            prompt_tokens=size + self.more,
            completion_tokens=min(said, limit),
        )


async def rounds(
    ledger: Session, calls: Sequence[Sequence[tuple[int, int]]], limit: int = 48
) -> tuple[list[str], str | None]:
    """Asks rounds of calls until one is refused; the texts that stand, and the reason why it ended."""
    texts: list[str] = []
    for some in calls:
        tickets = []
        stop = None
        for size, said in some:
            try:
                arm = ledger.pick(Fixed(), Phase.EXPAND, 0)
                tickets.append(ledger.ask(arm, Phase.EXPAND, 0, prompt, room(size, said, limit=limit)))
            except BudgetExceeded as refused:
                stop = refused
                break
        texts += [answer.text for answer in await ledger.answers(tickets)] if tickets else []
        stop = stop or ledger.stop()
        if stop:
            return texts, str(stop.reason)
    return texts, None


def sized(tokens: int | None, model: Sized | None = None, run: Meter | None = None) -> Session:
    agents = AgentPool("one", (Agent("A", model or Sized()),))
    meter = Meter(Budget(tokens=tokens), run)
    return Session(run="run", seed=0, problem=problem("abc"), pool=agents, meter=meter)


async def test_a_call_is_asked_only_if_its_prompt_and_a_useful_completion_fit():
    for tokens, asked in [(115, 0), (116, 1), (147, 1), (148, 1)]:
        ledger = sized(tokens)
        texts, reason = await rounds(ledger, [[(100, 16)], [(100, 16)]])
        assert (len(texts), reason, len(ledger.calls), len(ledger.picks)) == (asked, "tokens", asked, asked)
        assert ledger.arms[0].calls == len(ledger.arms[0].trials) == ledger.meter.calls == asked


async def test_a_call_with_a_small_limit_needs_no_more_than_that():
    assert (await rounds(sized(103), [[(100, 3)]], limit=3))[0] == ["xxx"]
    assert (await rounds(sized(102), [[(100, 3)]], limit=3)) == ([], "tokens")


async def test_the_limit_of_a_completion_is_cut_to_what_is_left():
    model = Sized()
    await rounds(sized(250, model), [[(100, 10)], [(100, 10)]])
    assert model.limits == [48, 40]


async def test_calls_asked_together_keep_what_they_may_take_until_they_are_booked():
    model = Sized()
    ledger = sized(300, model)
    texts, reason = await rounds(ledger, [[(100, 1), (100, 2), (100, 3)], [(90, 1)]])
    assert (texts, reason) == (["x", "xx"], "tokens")  # 300 - 148 - 148 is too little for a third
    assert model.limits == [48, 48]
    assert (ledger.meter.tokens, ledger.meter.reserved) == (203, 0)


async def test_a_refusal_is_final_though_reserved_tokens_come_free():
    """Else another lane of the search would go on where one has ended."""
    ledger = sized(148)
    ticket = ledger.ask(ledger.pick(Fixed(), Phase.EXPAND, 0), Phase.EXPAND, 0, prompt, room(100, 1))
    with pytest.raises(BudgetExceeded, match="tokens"):
        ledger.pick(Fixed(), Phase.EXPAND, 0)
    await ledger.answers([ticket])
    assert (ledger.meter.left() or (0,))[0] == 47
    with pytest.raises(BudgetExceeded, match="tokens"):
        ledger.pick(Fixed(), Phase.EXPAND, 0)


async def test_an_answer_that_did_not_end_within_a_cut_limit_is_on_record_and_does_not_stand():
    for tokens, stands in [(120, False), (130, True), (148, True)]:
        ledger = sized(tokens)
        texts, _ = await rounds(ledger, [[(100, 30)]])
        assert (len(texts), len(ledger.calls), ledger.stood) == (stands, 1, stands)
        assert (ledger.meter.exceeded() == "tokens") != stands or ledger.meter.tokens == tokens


async def test_an_answer_that_ran_into_its_own_limit_stands():
    assert await rounds(sized(1000), [[(100, 99)]]) == (["x" * 48], None)


async def test_answers_after_the_tokens_are_passed_do_not_stand_but_are_paid_for():
    ledger = sized(500, Sized(more=100))  # prompts take 100 more than was said
    texts, reason = await rounds(ledger, [[(100, 1), (100, 2), (100, 3)]])
    assert (texts, reason) == (["x", "xx"], "tokens")
    assert (len(ledger.calls), ledger.stood, ledger.meter.tokens) == (3, 2, 606)
    with pytest.raises(BudgetExceeded, match="tokens"):
        ledger.pick(Fixed(), Phase.EXPAND, 0)


async def test_the_limit_of_a_run_is_kept_by_all_its_problems_to_the_token():
    run = Meter(Budget(tokens=400), scope="run")
    ledgers = [sized(None, run=run), sized(10_000, run=run)]
    done = await asyncio.gather(*(rounds(ledger, [[(50, 10)]] * 20) for ledger in ledgers))
    assert [reason for _, reason in done] == ["run_tokens", "run_tokens"]
    assert 400 - 2 * 66 < run.tokens <= 400
    assert run.tokens == sum(ledger.meter.tokens for ledger in ledgers)


CALLS = st.lists(st.lists(st.tuples(st.integers(1, 90), st.integers(1, 70)), min_size=1, max_size=4), max_size=6)


@given(CALLS, st.integers(1, 900), st.integers(1, 50))
async def test_whatever_is_asked_the_limit_holds_and_the_order_of_the_answers_changes_nothing(calls, tokens, limit):
    ledgers = [sized(tokens, Sized(delay)) for delay in (0, 1, 5)]
    first, *others = [await rounds(ledger, calls, limit) for ledger in ledgers]
    for ledger, other in zip(ledgers[1:], others, strict=True):
        assert (other, ledger.calls, ledger.picks) == (first, ledgers[0].calls, ledgers[0].picks)
        assert list(ledger.needs) == list(ledgers[0].needs)
    assert ledgers[0].meter.tokens <= tokens
    assert ledgers[0].meter.reserved == 0


@given(CALLS, st.integers(1, 900), st.integers(1, 50), st.integers(0, 20))
async def test_what_a_limit_lets_through_is_what_the_needs_of_a_larger_one_say(calls, tokens, limit, more):
    whole, cut = sized(10_000, Sized(more=more)), sized(tokens, Sized(more=more))
    everything, _ = await rounds(whole, calls, limit)
    texts, _ = await rounds(cut, calls, limit)
    within = sum(need <= tokens for need in whole.needs)
    assert (len(texts), cut.stood) == (within, within)
    assert texts == everything[:within]


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
