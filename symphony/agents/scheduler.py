"""The policy that picks the agent for the next call (paper Eq. 1), and the null policies it is compared with.

A policy has no state: it decides from the session's `ArmStats`, one per agent, in pool order. More policies are in
`symphony.agents.bandits`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from symphony.agents.ridge import Ridge
from symphony.fields import FromZero, Lifetime, NotNegative, check_fields
from symphony.types import Phase, SymphonyError


@dataclass(slots=True)
class Trial:
    """One call of an agent, as a policy remembers it.

    Attributes:
        time: Number of calls asked of the pool before it.
        probability, features: As in `Pick`.
        reward: R in [0, 1] of the node it generated; None while there is none.
    """

    time: int
    probability: float
    features: tuple[float, ...]
    reward: float | None = None


@dataclass(slots=True)
class ArmStats:
    """What is known of one agent.

    Attributes:
        calls: N_i, completed and in-flight calls in any phase.
        credits: Rewarded nodes that the agent generated.
        reward: Sum of the rewards R of those nodes.
        failures: Failed calls in a row.
        suspended: Whether the agent failed too often in a row; it is then not picked again while these statistics live.
        answers: Calls that ended without failing.
        tokens: Prompt and completion tokens of those calls.
        estimate: Sum of R / p over its credits, where p is the probability of the rewarded pick.
        trials: Its calls in order, failed ones included.
        asked: Regression over the features of all its calls (rewards are not used); empty under policies that pick
            without features.
        earned: Regression of R on the features of its credited calls; empty under the same policies.
    """

    calls: int = 0
    credits: int = 0
    reward: float = 0.0
    failures: int = 0
    suspended: bool = False
    answers: int = 0
    tokens: int = 0
    estimate: float = 0.0
    trials: list[Trial] = field(default_factory=list)
    asked: Ridge = field(default_factory=Ridge)
    earned: Ridge = field(default_factory=Ridge)

    def mean_per_node(self) -> float:
        """Returns the mean reward of the nodes that the agent generated (paper Eq. 1); 0 before the first."""
        return self.reward / self.credits if self.credits else 0.0

    def mean_per_call(self) -> float:
        """Returns the reward sum over *all* calls, as in the published code; 0 before the first call."""
        return self.reward / self.calls if self.calls else 0.0

    def call(self, trial: Trial) -> None:
        """Counts a call as soon as it is asked for."""
        self.calls += 1
        self.trials.append(trial)
        if trial.features:
            self.asked.add(trial.features, 0.0)

    def credit(self, reward: float, trial: Trial | None) -> None:
        """Adds the reward of a node, and assigns it to the call that generated the node, if known."""
        self.credits += 1
        self.reward += reward
        if trial is None:
            self.estimate += reward
            return
        trial.reward = reward
        self.estimate += reward / trial.probability
        if trial.features:
            self.earned.add(trial.features, reward)


@dataclass(frozen=True, slots=True)
class Pick:
    """A decision and the figures behind it.

    Attributes:
        arm: Index of the agent in the pool.
        means, bonuses: Mean reward and exploration bonus of each arm before the pick, in pool order.
        probability: Probability of this pick, in (0, 1], if the policy learns from it; else 1.
        features: Features of phase and depth, if the policy learns from them; else empty.
    """

    arm: int
    means: tuple[float, ...]
    bonuses: tuple[float, ...]
    probability: float = 1.0
    features: tuple[float, ...] = ()


class Scheduler(Protocol):
    """Picks an agent.

    Rewards arrive late and not for every call: the agent that generated a node is credited with R when the node is
    evaluated or ends, and several more picks are made until then. Calls that evaluate or reflect, and answers that
    bring no new node, are never rewarded.

    Attributes:
        scope: How long the statistics live: one question, or the whole run. With "run" the result depends on the
            order in which questions are answered.
    """

    @property
    def scope(self) -> Lifetime: ...

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """Picks among the arms that are not suspended; returns None if none is left.

        Args:
            phase: What the call is for.
            depth: Depth of the node that the call belongs to; 0 is the root.
        """
        ...


def node_means(arms: Sequence[ArmStats]) -> tuple[float, ...]:
    """Returns `ArmStats.mean_per_node` of each arm, in pool order."""
    return tuple([arm.mean_per_node() for arm in arms])


def log_calls(arms: Sequence[ArmStats]) -> float:
    """Returns ln N of Eq. 1, where N is the sum of all N_i; 0 before the first call."""
    return math.log(max(1, sum([arm.calls for arm in arms])))


def best_bound(arms: Sequence[ArmStats], means: tuple[float, ...], bonuses: tuple[float, ...]) -> Pick | None:
    """Picks the highest sum of mean and bonus; agents never called come first, ties go to the first in the pool."""
    best, highest = -1, -math.inf
    for index, arm in enumerate(arms):
        if arm.suspended:
            continue
        bound = means[index] + bonuses[index] if arm.calls else math.inf
        if bound > highest:
            best, highest = index, bound
    return None if best < 0 else Pick(best, means, bonuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class UCB:
    """Upper confidence bound; agents never called come first, ties go to the first in the pool.

    Source: paper Eq. 1, `mean_i + alpha * sqrt(ln(N) / (N_i + 1))`, where N is the sum of all N_i. The forced first
    calls and the form "inside" are from the published code.

    Attributes:
        alpha: Weight of exploration, >= 0.
        form: "outside" is Eq. 1; "inside" is `sqrt(alpha * ln(N) / (N_i + 1))` (published code).
        mean: "per_node" is Eq. 1; "per_call" divides by all calls of the agent (published code).
        scope: See `Scheduler`.
    """

    alpha: NotNegative = 20.0
    form: Literal["outside", "inside"] = "outside"
    mean: Literal["per_node", "per_call"] = "per_node"
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        log_total = log_calls(arms)
        if self.form == "outside":
            bonuses = tuple([self.alpha * math.sqrt(log_total / (arm.calls + 1)) for arm in arms])
        else:
            bonuses = tuple([math.sqrt(self.alpha * log_total / (arm.calls + 1)) for arm in arms])
        means = node_means(arms) if self.mean == "per_node" else tuple([arm.mean_per_call() for arm in arms])
        return best_bound(arms, means, bonuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Picks every agent with the same probability (ablation: without scheduling)."""

    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        return Pick(offered[rng.randrange(len(offered))], node_means(arms), (0.0,) * len(arms))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRobin:
    """Picks agents in turn: the one with the fewest calls, ties in pool order."""

    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        return Pick(min(offered, key=lambda index: arms[index].calls), node_means(arms), (0.0,) * len(arms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Always picks the same agent.

    Attributes:
        arm: Index of the agent in the pool, >= 0.
    """

    arm: FromZero = 0
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def check_pool(self, size: int) -> None:
        """Raises SymphonyError if a pool of this size has no such agent."""
        if self.arm >= size:
            raise SymphonyError(f"scheduler.arm: found {self.arm}, allowed: 0 to {size - 1} (the pool's agents)")

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        self.check_pool(len(arms))
        return None if arms[self.arm].suspended else Pick(self.arm, node_means(arms), (0.0,) * len(arms))


@dataclass(frozen=True, slots=True)
class Held:
    """Picks one agent until it is suspended, then lets another scheduler pick.

    A search creates this for calls that it gives to one agent; it is not an option of a run.

    Attributes:
        arm: Index of the agent in the pool.
        otherwise: Picks once that agent is suspended.
    """

    arm: int
    otherwise: Scheduler

    @property
    def scope(self) -> Lifetime:
        return self.otherwise.scope

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        if arms[self.arm].suspended:
            return self.otherwise.pick(arms, rng, phase, depth)
        return Pick(self.arm, node_means(arms), (0.0,) * len(arms))


@dataclass(frozen=True, slots=True)
class Another:
    """Picks, as another scheduler does, among the agents that were not asked yet; once all were, among all of them.

    A search creates this for a further opinion on the same step; it is not an option of a run.

    Attributes:
        asked: Indices of the agents that were asked.
        scheduler: Picks among the others.
    """

    asked: frozenset[int]
    scheduler: Scheduler

    @property
    def scope(self) -> Lifetime:
        return self.scheduler.scope

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        others = [replace(arm, suspended=True) if index in self.asked else arm for index, arm in enumerate(arms)]
        if all(arm.suspended for arm in others):
            others = list(arms)
        return self.scheduler.pick(others, rng, phase, depth)
