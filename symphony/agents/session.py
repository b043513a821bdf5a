"""Agents, their pool, and the ledger of one problem: calls, picks, lessons."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

from symphony.agents.budget import BudgetReason, Meter, Needs, reason, useful
from symphony.agents.memory import Lessons, Memory
from symphony.agents.scheduler import ArmStats, Scheduler, Trial
from symphony.agents.sent import SentPrompts
from symphony.models.endpoint import FREE, Price
from symphony.models.outside import run_outside
from symphony.models.sizes import Size, sizing
from symphony.records.records import CallRecord, PickRecord, ReflectionRecord, TimingRecord
from symphony.types import (
    AsyncModel,
    Completion,
    Draw,
    Phase,
    Problem,
    Reflection,
    Request,
    Sampling,
    Shorten,
    SymphonyError,
    derive_rng,
)

MAX_FAILURES = 3
"""An agent is suspended after this many failed calls in a row."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A named model of the pool, and the price of its tokens."""

    name: str
    model: AsyncModel
    price: Price = FREE


@dataclass(frozen=True, slots=True)
class AgentPool:
    """An ordered set of agents with distinct names."""

    name: str
    agents: tuple[Agent, ...]

    def __post_init__(self) -> None:
        if not self.agents:
            raise SymphonyError(f"pool {self.name}: found no agent, allowed: at least one")
        names = [agent.name for agent in self.agents]
        if len(set(names)) < len(names):
            raise SymphonyError(f"pool {self.name}: found agents {names}, allowed: different names")

    def __len__(self) -> int:
        return len(self.agents)

    def __getitem__(self, index: int) -> Agent:
        return self.agents[index]


# --------------------------------------------------------------------------- ends

StopCause = BudgetReason | Literal["error"]


class Stop(Exception):
    """Raised when no further call may be made. It never leaves `Search.solve`: it becomes the result's stop reason."""

    def __init__(self, reason: StopCause) -> None:
        super().__init__(reason)
        self.reason: StopCause = reason


class BudgetExceeded(Stop):
    """Raised when a budget of the problem, its run or its study is spent."""


class NoAgentLeft(Stop):
    """Raised when every agent that the scheduler may pick is suspended; the stop reason is "error"."""

    def __init__(self) -> None:
        super().__init__("error")


# --------------------------------------------------------------------------- the ledger of one problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """A call that has been asked for and charged, but not awaited.

    Attributes:
        call: Its slot in the ledger.
        arm: Index of the agent.
        pick: Number of the pick that chose the agent.
        iteration: Search iteration that asked.
        request: The request as sent: if few tokens are left, with its completion limit cut to them.
        lessons: How many lessons the prompt carries.
        booked: Calls already booked when it was asked; later ones were in flight at the same time.
        size: What it could have taken with its full completion limit; None if nothing limits tokens.
        reserved: Tokens reserved for it.
        cut: The budget limit that cut its completion limit; None if it was not cut.
    """

    call: int
    arm: int
    pick: int
    iteration: int
    request: Request
    lessons: int
    booked: int
    size: Size | None
    reserved: int
    cut: BudgetReason | None


class Session:
    """One problem's mutable state: budget, arms, lessons, random numbers and the records of what happened.

    Ledger slots are assigned in the order in which calls are asked, and answers are booked in that order, so the order
    in which concurrent answers arrive changes nothing.

    Each call reserves its prompt and its completion limit when asked, and releases what it did not use when booked. If
    fewer tokens are left, its limit is cut to that; if they are too few for a useful completion, the call is refused.
    An answer that did not end within a cut limit, or that exceeded the budget (because its prompt size was an
    estimate), does not stand, nor does any later one: it was paid for and is recorded, but the search does not use it.

    Attributes:
        run: Digest of the run's config.
        seed: Seed of the run.
        arms: Statistics of the agents, in pool order; pass the run's own if they outlive a problem (then only one
            problem is searched at a time).
        lessons: Reflections remembered, oldest first.
        rng: Random generator of the scheduler; depends only on the run seed and the problem.
        iteration: Current search iteration, set by the search.
        calls, timings: Booked calls, in the order asked. prompts: What they were sent.
        picks, reflections: In the order made.
        needs: For each booked call, the smallest token budget under which the search is the same up to its answer.
        stood: Number of booked calls, from the first, whose answers stand; all, unless the token budget ended a call.
    """

    def __init__(
        self,
        *,
        run: str,
        seed: int,
        problem: Problem,
        pool: AgentPool,
        meter: Meter,
        arms: list[ArmStats] | None = None,
        lessons: Lessons = (),
        max_failures: int = MAX_FAILURES,
    ) -> None:
        if arms is not None and len(arms) != len(pool):
            raise SymphonyError(f"session.arms: found {len(arms)}, allowed: {len(pool)}, one an agent of the pool")
        self.run = run
        self.seed = seed
        self.problem = problem
        self.pool = pool
        self.meter = meter
        self.arms: list[ArmStats] = [ArmStats() for _ in pool.agents] if arms is None else arms
        self.lessons = lessons
        self.max_failures = max_failures
        self.rng: random.Random = derive_rng(seed, problem.id)
        self.iteration = 0
        self.calls: list[CallRecord] = []
        self.timings: list[TimingRecord] = []
        self.prompts = SentPrompts(run, problem.id)
        self.stood = 0
        self.picks: list[PickRecord] = []
        self.reflections: list[ReflectionRecord] = []
        self._asked = 0
        self._needs = Needs()
        self._sizes = [sizing(agent.model) for agent in pool.agents]
        self._draws: defaultdict[tuple[int, Phase], Iterator[int]] = defaultdict(count)
        self._trials: list[Trial] = []
        self._trials_before = sum([len(arm.trials) for arm in self.arms])

    def pick(self, scheduler: Scheduler, phase: Phase, node: int, depth: int = 0) -> int:
        """Schedules an agent for one call, which counts from now on. `depth` is the node's.

        Raises:
            BudgetExceeded: No further call may be made.
            NoAgentLeft: Every agent that could be picked is suspended.
        """
        if (why := self.meter.exceeded()) is not None:
            self.meter.close(why)  # reserved tokens may be released later, but this refusal ended a search or lane
            raise BudgetExceeded(why)
        pick = scheduler.pick(self.arms, self.rng, phase, depth)
        if pick is None:
            raise NoAgentLeft
        self.picks.append(
            PickRecord(
                run=self.run,
                problem=self.problem.id,
                pick=len(self.picks),
                iteration=self.iteration,
                node=node,
                phase=str(phase),
                agent=self.pool.agents[pick.arm].name,
                counts=[arm.calls for arm in self.arms],
                means=list(pick.means),
                bonuses=list(pick.bonuses),
            )
        )
        trial = Trial(self._trials_before + len(self._trials), pick.probability, pick.features)
        self._trials.append(trial)
        self.arms[pick.arm].call(trial)
        return pick.arm

    @property
    def needs(self) -> Sequence[int]:
        return self._needs.least

    def stop(self) -> BudgetExceeded | None:
        """Returns the reason why no further call may be made; None if one may."""
        return None if (why := self.meter.exceeded()) is None else BudgetExceeded(why)

    def ask(
        self, arm: int, phase: Phase, node: int, prompt: Shorten, sampling: Sampling, *, lessons: int = 0
    ) -> Ticket:
        """Charges a call to a picked agent and gives it a slot in the ledger, without waiting for anything.

        `prompt` builds the messages, with parts dropped if need be; `lessons` says how many of those parts are lessons.
        Requests of the same node and phase are numbered, so each is a separate draw. Nothing may be awaited between
        `pick` and this call.

        Raises:
            BudgetExceeded: Too few tokens are left for the prompt and a useful completion; the pick is undone.
        """
        number = next(self._draws[node, phase])
        draw = Draw(seed=self.seed, problem=self.problem.id, node=node, phase=phase, index=number)
        request = Request(messages=prompt(0), sampling=sampling, draw=draw, shorten=prompt)
        request, size, reserved, cut = self._fit(arm, request)
        self.meter.charge(calls=1, reserved=reserved)
        ticket = Ticket(
            call=self._asked,
            arm=arm,
            pick=len(self.picks) - 1,
            iteration=self.iteration,
            request=request,
            lessons=lessons,
            booked=len(self.calls),
            size=size,
            reserved=reserved,
            cut=cut,
        )
        self._asked += 1
        return ticket

    def _fit(self, arm: int, request: Request) -> tuple[Request, Size | None, int, BudgetReason | None]:
        """Fits a request to the tokens left; returns it with its uncut size, the tokens to reserve, and what cut it."""
        if (left := self.meter.left()) is None:
            return request, None, 0, None
        (tokens, limit), size = left, self._sizes[arm](request)
        room = min(size.completion, tokens - size.prompt)
        if room < useful(size):
            self._take_back(arm)
            self.meter.close(limit)
            raise BudgetExceeded(limit)
        if room == size.completion:
            return request, size, size.prompt + room, None
        # The prompt is the one the full limit would give, so results differ only if the answer itself is cut.
        messages = request.shorten(size.dropped) if size.dropped and request.shorten else request.messages
        sampling = replace(request.sampling, max_tokens=room)
        return Request(messages=messages, sampling=sampling, draw=request.draw), size, size.prompt + room, limit

    def _take_back(self, arm: int) -> None:
        """Undoes the last pick, since no call follows it."""
        self.picks.pop()
        self._trials.pop()
        self.arms[arm].calls -= 1
        self.arms[arm].trials.pop()

    outside = staticmethod(run_outside)

    async def answers(self, tickets: Sequence[Ticket]) -> list[Completion]:
        """Runs the calls together and books them in the order asked. A failed call gives an answer with an error.

        Returns:
            The answers that stand: fewer than the tickets if the tokens ran out, and then no further call may be
            made.
        """
        agents = self.pool.agents
        calls = [agents[ticket.arm].model.complete(ticket.request) for ticket in tickets]
        completions = [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)
        pairs = zip(tickets, completions, strict=True)
        return [completion for ticket, completion in pairs if self._book(ticket, completion)]

    def credit(self, arm: int, reward: float, pick: int | None = None) -> None:
        """Rewards the agent that generated a node (once per node) with R in [0, 1].

        Args:
            pick: Number of the pick that brought the node, if known.
        """
        self.arms[arm].credit(reward, None if pick is None else self._trials[pick])

    def learn(self, memory: Memory, reflection: Reflection) -> None:
        """Adds a lesson to memory and to the records."""
        self.lessons = memory.add(self.lessons, reflection)
        self.reflections.append(
            ReflectionRecord(
                run=self.run,
                problem=self.problem.id,
                reflection=len(self.reflections),
                iteration=reflection.iteration,
                node=reflection.node,
                agent=self.pool.agents[reflection.agent].name,
                key=reflection.key,
                text=reflection.text,
            )
        )

    def _book(self, ticket: Ticket, completion: Completion) -> bool:
        """Books a finished call; returns whether its answer stands."""
        agent = self.pool.agents[ticket.arm]
        cost = agent.price.dollars(completion)
        used = completion.prompt_tokens + completion.completion_tokens
        self.meter.charge(tokens=used, money=cost or 0.0, reserved=-ticket.reserved)
        if completion.refused is not None:
            self.meter.close(reason("study", completion.refused))
        size = ticket.size or Size(prompt=completion.prompt_tokens, completion=ticket.request.sampling.max_tokens)
        self._needs.book(ticket.booked, size, completion)
        stands = self.stood == len(self.calls) and self._stands(ticket, completion)
        self.stood += stands
        self._judge(self.arms[ticket.arm], completion)
        request, draw = ticket.request, ticket.request.draw
        dropped, lessons, sent = completion.dropped, 0, request.messages
        if dropped and request.shorten is not None:
            sent = request.shorten(dropped)
        elif ticket.cut and ticket.size:  # the parts were dropped before it was sent
            dropped = ticket.size.dropped
        lessons = min(dropped, ticket.lessons)
        self.calls.append(
            CallRecord(
                run=self.run,
                problem=self.problem.id,
                call=ticket.call,
                iteration=ticket.iteration,
                node=draw.node,
                phase=str(draw.phase),
                draw=draw.index,
                agent=agent.name,
                temperature=request.sampling.temperature,
                seed=draw.rng_seed(),
                prompt=self.prompts.keep(sent),
                dropped_lessons=lessons,
                dropped_shots=dropped - lessons,
                prompt_tokens=completion.prompt_tokens,
                completion_tokens=completion.completion_tokens,
                cost=cost,
                finish_reason=completion.finish_reason,
                text=completion.text,
                error=completion.error,
            )
        )
        self.timings.append(
            TimingRecord(
                run=self.run,
                problem=self.problem.id,
                call=ticket.call,
                latency_s=completion.latency_s,
                cached_tokens=completion.cached_tokens,
                from_store=completion.from_store,
            )
        )
        return stands

    def _stands(self, ticket: Ticket, completion: Completion) -> bool:
        """Whether an answer ended within the token limits; if not, no further call may be made."""
        passed = self.meter.overrun()
        if passed is None and completion.finish_reason == "length":
            passed = ticket.cut
        if passed is not None:
            self.meter.close(passed)
        return passed is None

    def _judge(self, arm: ArmStats, completion: Completion) -> None:
        """Updates an agent's statistics; a failed call does not count, and too many failures in a row suspend it."""
        if completion.error is None:
            arm.failures = 0
            arm.answers += 1
            arm.tokens += completion.prompt_tokens + completion.completion_tokens
            return
        arm.calls -= 1
        arm.failures += 1
        arm.suspended = arm.suspended or arm.failures >= self.max_failures
