"""Agents, their pool, and the ledger of one problem: calls, picks, lessons."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from symphony.budget import BudgetReason, Meter
from symphony.memory import Lessons, Memory
from symphony.models.endpoint import FREE, Price
from symphony.records import CallRecord, PickRecord, ReflectionRecord, TimingRecord
from symphony.scheduler import ArmStats, Scheduler, Trial
from symphony.types import (
    AsyncModel,
    Completion,
    Draw,
    Message,
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
"""Failed calls in a row after which an agent is suspended."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A named model of the pool, and what its tokens cost."""

    name: str
    model: AsyncModel
    price: Price = FREE


@dataclass(frozen=True, slots=True)
class AgentPool:
    """An ordered set of agents with different names."""

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
    """No further call may be made. Never leaves `Search.solve`: it becomes the result's stop reason."""

    def __init__(self, reason: StopCause) -> None:
        super().__init__(reason)
        self.reason: StopCause = reason


class BudgetExceeded(Stop):
    """A budget of the problem, of its run or of its study is spent."""


class NoAgentLeft(Stop):
    """Every agent that the scheduler may pick is suspended; reason "error"."""

    def __init__(self) -> None:
        super().__init__("error")


# --------------------------------------------------------------------------- the ledger of one problem


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call that has been asked for and charged, but not awaited.

    Attributes:
        call: Its slot in the ledger.
        arm: Index of the agent.
        pick: Number of the pick that chose it.
        iteration: Search iteration that asked.
        lessons: How many lessons the prompt carries.
    """

    call: int
    arm: int
    pick: int
    iteration: int
    request: Request
    lessons: int


class Session:
    """One problem's mutable state: budget, arms, lessons, random numbers and the records of what happened.

    Slots of the ledger are assigned in the order in which calls are asked for, and answers are booked in that order, so
    that concurrent answers change nothing.

    Attributes:
        run: Digest of the run's config.
        seed: Seed of the run.
        arms: Statistics of the agents, pool order; hand over the run's own where they live longer than a problem (and
            only one problem at a time is searched).
        lessons: Reflections remembered, oldest first.
        rng: For the scheduler; depends on the run seed and the problem only.
        iteration: Set by the search.
        calls, timings: Booked calls, in the order asked. picks, reflections: In the order made.
        begun: Tokens that the problem had spent when each call was asked.
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
        self.begun: list[int] = []
        self.picks: list[PickRecord] = []
        self.reflections: list[ReflectionRecord] = []
        self._asked = 0
        self._draws: defaultdict[tuple[int, Phase], Iterator[int]] = defaultdict(count)
        self._trials: list[Trial] = []
        self._trials_before = sum([len(arm.trials) for arm in self.arms])

    def pick(self, scheduler: Scheduler, phase: Phase, node: int, depth: int = 0) -> int:
        """Schedules an agent for one call; it counts as called from now on. `depth` is the node's.

        Raises:
            BudgetExceeded: No further call may be made.
            NoAgentLeft: Every agent that might be picked is suspended.
        """
        reason = self.meter.exceeded()
        if reason is not None:
            raise BudgetExceeded(reason)
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

    def ask(
        self, arm: int, phase: Phase, node: int, prompt: Shorten, sampling: Sampling, *, lessons: int = 0
    ) -> Ticket:
        """Charges a call to a picked agent and gives it its place in the ledger, without waiting for anything.

        `prompt` makes the messages, all of them or fewer; `lessons` is how many of the parts it can drop are lessons.
        Equal requests of one node and phase are numbered, so that each is a draw of its own. Whether the call may be
        made was settled by `pick`; nothing may be awaited in between.
        """
        self.meter.charge(calls=1)
        self.begun.append(self.meter.tokens)
        index = next(self._draws[node, phase])
        draw = Draw(seed=self.seed, problem=self.problem.id, node=node, phase=phase, index=index)
        request = Request(messages=prompt(0), sampling=sampling, draw=draw, shorten=prompt)
        ticket = Ticket(self._asked, arm, len(self.picks) - 1, self.iteration, request, lessons)
        self._asked += 1
        return ticket

    async def answers(self, tickets: Sequence[Ticket]) -> list[Completion]:
        """Runs the calls together and books them in the order asked. A failed call is an answer with an error."""
        agents = self.pool.agents
        calls = [agents[ticket.arm].model.complete(ticket.request) for ticket in tickets]
        completions = [await calls[0]] if len(calls) == 1 else await asyncio.gather(*calls)
        for ticket, completion in zip(tickets, completions, strict=True):
            self._book(ticket, completion)
        return completions

    def credit(self, arm: int, reward: float, pick: int | None = None) -> None:
        """Rewards the agent that generated a node (once a node), reward R in [0, 1].

        Args:
            pick: Number of the pick that brought the node, where it is known.
        """
        self.arms[arm].credit(reward, None if pick is None else self._trials[pick])

    def learn(self, memory: Memory, reflection: Reflection) -> None:
        """Puts a lesson into memory and on record."""
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

    def _book(self, ticket: Ticket, completion: Completion) -> None:
        agent = self.pool.agents[ticket.arm]
        cost = agent.price.dollars(completion)
        self.meter.charge(tokens=completion.prompt_tokens + completion.completion_tokens, money=cost or 0.0)
        if completion.refused is not None:
            self.meter.refused(completion.refused)
        self._judge(self.arms[ticket.arm], completion)
        request, draw = ticket.request, ticket.request.draw
        dropped, lessons, sent = completion.dropped, 0, request.messages
        if dropped and request.shorten is not None:
            lessons, sent = min(dropped, ticket.lessons), request.shorten(dropped)
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
                prompt=digest(sent),
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

    def _judge(self, arm: ArmStats, completion: Completion) -> None:
        """A failed call does not count as a call of the agent; too many in a row suspend it."""
        if completion.error is None:
            arm.failures = 0
            arm.answers += 1
            arm.tokens += completion.prompt_tokens + completion.completion_tokens
            return
        arm.calls -= 1
        arm.failures += 1
        arm.suspended = arm.suspended or arm.failures >= self.max_failures


def digest(messages: Sequence[Message]) -> str:
    """Digest of a prompt, 32 hexadecimal digits."""
    text = "\x1e".join([f"{message.role}\x1f{message.content}" for message in messages])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
