"""Which agent answers the next call (paper Eq. 1) and the null policies it is compared with.

A policy has no state: what it decides on are the `ArmStats` of the session, one an agent, in pool order.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from symphony.types import SymphonyError

Scope = Literal["question", "run"]
SCOPES: tuple[Scope, ...] = ("question", "run")


@dataclass(slots=True)
class ArmStats:
    """What is known of one agent.

    Attributes:
        calls: N_i, completed and in-flight calls in any phase.
        credits: Nodes that the agent generated and that were rewarded.
        reward: Sum of the rewards R of those nodes.
        failures: Failed calls in a row.
        suspended: The agent failed too often in a row and is not picked again while these statistics live.
    """

    calls: int = 0
    credits: int = 0
    reward: float = 0.0
    failures: int = 0
    suspended: bool = False

    def mean_per_node(self) -> float:
        """Mean reward of the nodes that the agent generated (paper Eq. 1); 0 before the first."""
        return self.reward / self.credits if self.credits else 0.0

    def mean_per_call(self) -> float:
        """Rewards over *all* calls, as in the published code; 0 before the first."""
        return self.reward / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Pick:
    """A decision and its grounds.

    Attributes:
        arm: Index of the agent in the pool.
        means, bonuses: Mean reward and exploration bonus of each arm, pool order, before the pick.
    """

    arm: int
    means: tuple[float, ...]
    bonuses: tuple[float, ...]


class Scheduler(Protocol):
    """Picks an agent.

    Attributes:
        scope: How long the statistics live: one question, or the whole run. With "run" the result depends on the
            order in which questions are answered.
    """

    @property
    def scope(self) -> Scope: ...

    def pick(self, arms: Sequence[ArmStats], rng: random.Random) -> Pick | None:
        """Picks among the arms that are not suspended; None when there is none (left)."""
        ...


def _check_scope(scope: str) -> None:
    if scope not in SCOPES:
        raise SymphonyError(f"scheduler.scope: found {scope!r}, allowed: {', '.join(SCOPES)}")


def _means(arms: Sequence[ArmStats]) -> tuple[float, ...]:
    return tuple([arm.mean_per_node() for arm in arms])


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

    alpha: float = 20.0
    form: Literal["outside", "inside"] = "outside"
    mean: Literal["per_node", "per_call"] = "per_node"
    scope: Scope = "question"

    def __post_init__(self) -> None:
        if not self.alpha >= 0:
            raise SymphonyError(f"scheduler.alpha: found {self.alpha}, allowed: >= 0")
        if self.form not in ("outside", "inside"):
            raise SymphonyError(f"scheduler.form: found {self.form!r}, allowed: outside, inside")
        if self.mean not in ("per_node", "per_call"):
            raise SymphonyError(f"scheduler.mean: found {self.mean!r}, allowed: per_node, per_call")
        _check_scope(self.scope)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random) -> Pick | None:
        log_total = math.log(max(1, sum([arm.calls for arm in arms])))
        if self.form == "outside":
            bonuses = tuple([self.alpha * math.sqrt(log_total / (arm.calls + 1)) for arm in arms])
        else:
            bonuses = tuple([math.sqrt(self.alpha * log_total / (arm.calls + 1)) for arm in arms])
        means = _means(arms) if self.mean == "per_node" else tuple([arm.mean_per_call() for arm in arms])
        best, best_bound = -1, -math.inf
        for index, arm in enumerate(arms):
            if arm.suspended:
                continue
            bound = means[index] + bonuses[index] if arm.calls else math.inf
            if bound > best_bound:
                best, best_bound = index, bound
        return None if best < 0 else Pick(best, means, bonuses)


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Every agent with the same probability (ablation: without scheduling)."""

    scope: Scope = "question"

    def __post_init__(self) -> None:
        _check_scope(self.scope)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random) -> Pick | None:
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        return Pick(offered[rng.randrange(len(offered))], _means(arms), (0.0,) * len(arms))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRobin:
    """The agent with the fewest calls, in pool order: each in turn."""

    scope: Scope = "question"

    def __post_init__(self) -> None:
        _check_scope(self.scope)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random) -> Pick | None:
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        return Pick(min(offered, key=lambda index: arms[index].calls), _means(arms), (0.0,) * len(arms))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Always the same agent.

    Attributes:
        arm: Its index in the pool, >= 0.
    """

    arm: int = 0
    scope: Scope = "question"

    def __post_init__(self) -> None:
        if self.arm < 0:
            raise SymphonyError(f"scheduler.arm: found {self.arm}, allowed: >= 0")
        _check_scope(self.scope)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random) -> Pick | None:
        if self.arm >= len(arms):
            raise SymphonyError(f"scheduler.arm: found {self.arm}, allowed: 0 to {len(arms) - 1} (the pool's agents)")
        return None if arms[self.arm].suspended else Pick(self.arm, _means(arms), (0.0,) * len(arms))


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

    def pick(self, arms: Sequence[ArmStats], rng: random.Random) -> Pick | None:
        if arms[self.arm].suspended:
            return self.otherwise.pick(arms, rng)
        return Pick(self.arm, _means(arms), (0.0,) * len(arms))
