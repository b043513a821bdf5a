"""Replays recorded picks under another scheduler, without asking a model.

The records must come from uniform picks. Another scheduler meets them in their order: it picks by its own statistics,
and a recorded pick counts only if it is the agent that the other scheduler picks too. As the recorded pick does not
depend on what the other scheduler would have picked, the rewards that count are what it would have earned in the same
situations, with 1 / K of the picks of a pool of K agents.

Source: L. Li, W. Chu, J. Langford, X. Wang, Unbiased offline evaluation of contextual-bandit-based news article
recommendation algorithms, WSDM 2011, Algorithm 2. docs/statistics.md says what it assumes here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from symphony.agents.bandits import EXP3, CostAwareUCB, LinUCB, SlidingWindowUCB, Thompson
from symphony.agents.scheduler import UCB, ArmStats, Fixed, RoundRobin, Scheduler, Trial
from symphony.types import Phase, derive_rng


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A recorded pick and what came of it.

    Attributes:
        problem: Id of its problem.
        pick: Number of the pick in its problem, from 0.
        phase: What the call was for.
        depth: Depth of the node that the call belonged to; 0 is the root.
        arm: Index of the agent that was picked.
        tokens: Prompt and completion tokens of the call.
        reward: R in [0, 1] of the node that the call generated; None if it generated none, or one without R.
        due: Number of the first pick made after the reward was known; only read if there is a reward.
    """

    problem: str
    pick: int
    phase: Phase
    depth: int
    arm: int
    tokens: int
    reward: float | None
    due: int


def targets(size: int) -> Mapping[str, Scheduler]:
    """Returns the project's schedulers for a pool of `size` agents, with the settings of conf/scheduler/.

    UCB comes with two smaller weights of exploration besides the paper's 20; `fixed <i>` always picks agent i.
    """
    return {
        "ucb, alpha 20": UCB(),
        "ucb, alpha 1.41": UCB(alpha=1.41),
        "ucb, alpha 0.5": UCB(alpha=0.5),
        "thompson": Thompson(),
        "exp3": EXP3(),
        "sliding_window_ucb": SlidingWindowUCB(),
        "cost_aware_ucb": CostAwareUCB(),
        "linucb": LinUCB(),
        "round_robin": RoundRobin(),
        **{f"fixed {arm}": Fixed(arm=arm) for arm in range(size)},
    }


def replay(scheduler: Scheduler, size: int, events: Iterable[Event], seed: int = 0) -> list[bool]:
    """Tells for each recorded pick of a run whether the scheduler would have made it too.

    A reward that is not known at a pick (`Event.due`) is not credited yet.

    Args:
        size: Number of agents in the pool.
        events: All picks of a run, problem by problem, each in the order in which they were made.
        seed: Seed of the scheduler's own draws.
    """
    same: list[bool] = []
    arms = [ArmStats() for _ in range(size)]
    for problem, picks in groupby(events, key=lambda event: event.problem):
        if scheduler.scope == "question":
            arms = [ArmStats() for _ in range(size)]
        rng = derive_rng(seed, problem, "replay")
        owed: list[tuple[Event, Trial]] = []
        for event in picks:
            owed = _pay(arms, owed, event.pick)
            choice = scheduler.pick(arms, rng, event.phase, event.depth)
            same.append(choice is not None and choice.arm == event.arm)
            if choice is None or choice.arm != event.arm:
                continue
            arm = arms[event.arm]
            trial = Trial(sum([len(arm.trials) for arm in arms]), choice.probability, choice.features)
            arm.call(trial)
            arm.answers += 1
            arm.tokens += event.tokens
            if event.reward is not None:
                owed.append((event, trial))
        _pay(arms, owed, None)
    return same


def _pay(arms: list[ArmStats], owed: list[tuple[Event, Trial]], now: int | None) -> list[tuple[Event, Trial]]:
    """Credits the rewards known before the pick `now` (None: all) and returns the others."""
    later = []
    for event, trial in owed:
        if now is not None and event.due > now:
            later.append((event, trial))
        elif event.reward is not None:
            arms[event.arm].credit(event.reward, trial)
    return later
