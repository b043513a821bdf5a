"""Which agent answers the next call (paper Eq. 1) and the null policies it is compared with.

A policy has no state: what it decides on are the `ArmStats` of the session, one an agent, in pool order. Further
policies are in `symphony.agents.bandits`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from symphony.agents.ridge import Ridge
from symphony.fields import FromZero, NotNegative, check_fields
from symphony.types import Phase, SymphonyError

Scope = Literal["question", "run"]


@dataclass(slots=True)
class Trial:
    """One call of an agent, as a policy looks back on it.

    Attributes:
        time: Calls that the pool had been asked for before it.
        probability, features: As in `Pick`.
        reward: R in [0, 1] of the node that it generated; None while there is none.
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
        credits: Nodes that the agent generated and that were rewarded.
        reward: Sum of the rewards R of those nodes.
        failures: Failed calls in a row.
        suspended: The agent failed too often in a row and is not picked again while these statistics live.
        answers: Calls that ended and did not fail.
        tokens: Prompt and completion tokens of those.
        estimate: Sum of R / p over its credits, p the probability of the pick that was rewarded.
        trials: Its calls in order, failed ones included.
        asked, earned: Regressions on the features of its calls (the rewards are not used), and of R on those of its
            credits. They stay empty under policies that pick without features.
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
        """Mean reward of the nodes that the agent generated (paper Eq. 1); 0 before the first."""
        return self.reward / self.credits if self.credits else 0.0

    def mean_per_call(self) -> float:
        """Rewards over *all* calls, as in the published code; 0 before the first."""
        return self.reward / self.calls if self.calls else 0.0

    def call(self, trial: Trial) -> None:
        """Counts a call from the moment it is asked for."""
        self.calls += 1
        self.trials.append(trial)
        if trial.features:
            self.asked.add(trial.features, 0.0)

    def credit(self, reward: float, trial: Trial | None) -> None:
        """Counts the reward of a node, and the call that generated it where that is known."""
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
    """A decision and its grounds.

    Attributes:
        arm: Index of the agent in the pool.
        means, bonuses: Mean reward and exploration bonus of each arm, pool order, before the pick.
        probability: Of this pick, in (0, 1], where the policy learns from it; else 1.
        features: Of phase and depth, where the policy learns from them; else empty.
    """

    arm: int
    means: tuple[float, ...]
    bonuses: tuple[float, ...]
    probability: float = 1.0
    features: tuple[float, ...] = ()


class Scheduler(Protocol):
    """Picks an agent.

    Rewards arrive late and not for every call: R credits the agent that generated a node when the node is evaluated
    or ends, and until then agents are picked several times more; calls that evaluate or reflect, and answers that
    bring no new node, are never rewarded.

    Attributes:
        scope: How long the statistics live: one question, or the whole run. With "run" the result depends on the
            order in which questions are answered.
    """

    @property
    def scope(self) -> Scope: ...

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """Picks among the arms that are not suspended; None when there is none (left).

        Args:
            phase: What the call is for.
            depth: Of the node that it belongs to; 0 is the root.
        """
        ...


def node_means(arms: Sequence[ArmStats]) -> tuple[float, ...]:
    """`ArmStats.mean_per_node` of each, pool order."""
    return tuple([arm.mean_per_node() for arm in arms])


def log_calls(arms: Sequence[ArmStats]) -> float:
    """ln N of Eq. 1, N the sum of all N_i; 0 before the first call."""
    return math.log(max(1, sum([arm.calls for arm in arms])))


def best_bound(arms: Sequence[ArmStats], means: tuple[float, ...], bonuses: tuple[float, ...]) -> Pick | None:
    """The highest sum of mean and bonus; agents never called come first, ties go to the first in the pool."""
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

    Source: paper Eq. 1, `mean_i + alpha * sqrt(ln(N) / (N_i + 1))`, N the sum of all N_i. The forced first calls and
    the form "inside" are the published code's.

    Attributes:
        alpha: Weight of exploration, >= 0.
        form: "outside" is Eq. 1; "inside" is `sqrt(alpha * ln(N) / (N_i + 1))` (published code).
        mean: "per_node" is Eq. 1; "per_call" divides by all calls of the agent (published code).
        scope: See `Scheduler`.
    """

    alpha: NotNegative = 20.0
    form: Literal["outside", "inside"] = "outside"
    mean: Literal["per_node", "per_call"] = "per_node"
    scope: Scope = "question"

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
    """Every agent with the same probability (ablation: without scheduling)."""

    scope: Scope = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        return Pick(offered[rng.randrange(len(offered))], node_means(arms), (0.0,) * len(arms))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRobin:
    """The agent with the fewest calls, in pool order: each in turn."""

    scope: Scope = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        return Pick(min(offered, key=lambda index: arms[index].calls), node_means(arms), (0.0,) * len(arms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Always the same agent.

    Attributes:
        arm: Its index in the pool, >= 0.
    """

    arm: FromZero = 0
    scope: Scope = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def check_pool(self, size: int) -> None:
        """Raises SymphonyError where a pool of this size has no such agent."""
        if self.arm >= size:
            raise SymphonyError(f"scheduler.arm: found {self.arm}, allowed: 0 to {size - 1} (the pool's agents)")

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        self.check_pool(len(arms))
        return None if arms[self.arm].suspended else Pick(self.arm, node_means(arms), (0.0,) * len(arms))


@dataclass(frozen=True, slots=True)
class Held:
    """One agent as long as it answers; once it is suspended, whom another scheduler picks.

    What a search makes for the calls that it gives to one agent; no option of a run.

    Attributes:
        arm: Its index in the pool.
        otherwise: Picks in its stead.
    """

    arm: int
    otherwise: Scheduler

    @property
    def scope(self) -> Scope:
        return self.otherwise.scope

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        if arms[self.arm].suspended:
            return self.otherwise.pick(arms, rng, phase, depth)
        return Pick(self.arm, node_means(arms), (0.0,) * len(arms))
