"""Schedulers beyond the paper's: Thompson sampling, EXP3, sliding-window and cost-aware UCB, LinUCB.

As in `symphony.agents.scheduler`, a policy has no state. The bounds proved in the sources assume a reward for every
pick, at once; here rewards come late and not for every pick (see `Scheduler`). Each docstring says what its policy does
until a reward comes.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Literal

from annotated_types import Interval

from symphony.agents.scheduler import ArmStats, Pick, best_bound, log_calls, node_means
from symphony.fields import Count, Lifetime, NotNegative, Positive, check_fields
from symphony.types import Phase

DEPTH_UNIT = 10
"""Depths are passed to LinUCB in units of this, so that no feature outweighs the others."""
_ONE_HOT = {phase: tuple([float(other is phase) for other in Phase]) for phase in Phase}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thompson:
    """Draws a mean reward for each agent from its posterior and picks the highest draw.

    "beta": Beta(1 + S, 1 + F), where S is the agent's sum of rewards and F = credits - S.
    "gaussian": Normal(S / (credits + 1), 1 / (credits + 1)), with the variance second.
    Source: Thompson 1933; "beta" is Agrawal and Goyal 2012, who add a coin flip that is 1 with probability R, where R
    itself is added here (the same on average, and exactly their algorithm for rewards 0 and 1); "gaussian" is Agrawal
    and Goyal 2013.

    Late rewards: the posterior knows only credits, so an agent with calls in flight is no less likely to be picked.
    Draws differ from pick to pick, so the picks of one expansion still spread.

    Attributes:
        posterior: See above.
        scope: See `Scheduler`.
    """

    posterior: Literal["beta", "gaussian"] = "beta"
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """Picks the highest draw. The recorded bonus is the draw minus the mean; it may be negative."""
        means = node_means(arms)
        draws = [mean if arm.suspended else self._draw(arm, rng) for arm, mean in zip(arms, means, strict=True)]
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        bonuses = tuple([draw - mean for draw, mean in zip(draws, means, strict=True)])
        return Pick(max(offered, key=lambda index: draws[index]), means, bonuses)

    def _draw(self, arm: ArmStats, rng: random.Random) -> float:
        if self.posterior == "beta":
            # With rewards of 1, rounding can lift their sum above their number.
            return rng.betavariate(1 + arm.reward, 1 + max(0.0, arm.credits - arm.reward))
        weight = arm.credits + 1
        return rng.normalvariate(arm.reward / weight, 1 / math.sqrt(weight))


@dataclass(frozen=True, slots=True, kw_only=True)
class EXP3:
    """Exponential weights, which assume nothing about how rewards arise.

    p_i = (1 - gamma) w_i / sum(w) + gamma / K, w_i = exp(gamma G_i / K), where G_i is the sum of R / p over the agent's
    credits and K the number of agents offered.
    Source: Auer, Cesa-Bianchi, Freund, Schapire 2002, section 3.

    Late rewards: each credit is divided by the probability of its own pick, however long ago, so G_i stays an unbiased
    sum of rewards; between credits the weights do not change. Calls never rewarded add nothing to any G_i.

    Attributes:
        gamma: Share of uniform picks, in (0, 1]. For T picks the source uses sqrt(K ln K / ((e - 1) T)), which is about
            0.1 for three agents and 200 picks.
        scope: See `Scheduler`.
    """

    gamma: Annotated[float, Interval(gt=0, le=1)] = 0.1
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        chances = self.probabilities([arms[index].estimate for index in offered])
        (place,) = rng.choices(range(len(offered)), weights=chances)
        return Pick(offered[place], node_means(arms), (0.0,) * len(arms), probability=chances[place])

    def probabilities(self, estimates: Sequence[float]) -> list[float]:
        """Returns p_i from the G_i, which may all be shifted by a constant (so that no power overflows)."""
        count, highest = len(estimates), max(estimates)
        weights = [math.exp(self.gamma * (estimate - highest) / count) for estimate in estimates]
        total = sum(weights)
        return [(1 - self.gamma) * weight / total + self.gamma / count for weight in weights]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindowUCB:
    """UCB that forgets: it knows only the last `window` calls of the pool.

    mean_i + sqrt(xi ln(min(t, window)) / N_i), where t is the number of calls so far, N_i the agent's calls and mean_i
    the mean reward of its nodes, both within the window. Agents without a call in the window come first.
    Source: Garivier and Moulines 2011, SW-UCB, rewards in [0, 1] (B = 1). With a window that is never full and xi = 2
    it is UCB1 (Auer, Cesa-Bianchi, Fischer 2002).

    Late rewards: a call counts in N_i as soon as it is asked for, its reward once it comes, and both leave the window
    together. So the picks of one expansion spread, as with Eq. 1. A failed call stays in the window.

    Attributes:
        window: Calls remembered, >= 1.
        xi: Weight of exploration, > 0; the source's bound needs more than 1/2.
        scope: See `Scheduler`.
    """

    window: Count = 100
    xi: Positive = 0.6
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """Picks the highest bound. Without a reward in the window an agent's recorded mean is 0; its bonus assumes at
        least one call.
        """
        time = sum([len(arm.trials) for arm in arms])
        recent = [arm.trials[bisect_left(arm.trials, time - self.window, key=attrgetter("time")) :] for arm in arms]
        log_time = math.log(max(1, min(time, self.window)))
        bonuses = tuple([math.sqrt(self.xi * log_time / max(1, len(trials))) for trials in recent])
        means = tuple([_mean([trial.reward for trial in trials if trial.reward is not None]) for trials in recent])
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        best = max(offered, key=lambda index: (not recent[index], means[index] + bonuses[index]))
        return Pick(best, means, bonuses)


def _mean(rewards: Sequence[float]) -> float:
    return sum(rewards) / len(rewards) if rewards else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAwareUCB:
    """Upper confidence bound of the reward per token.

    (mean_i + alpha sqrt(ln N / (N_i + 1))) / c_i, i.e. the bound of Eq. 1 divided by the agent's relative cost c_i: its
    mean tokens per call (prompt and completion, any phase) over those of all agents together, 1 until its first call
    ends.
    Source: fractional KUBE (Tran-Thanh, Chapman, Rogers, Jennings 2012), which divides the bound by a cost known
    beforehand; here it is measured. Using relative costs changes no decision and keeps the scale of Eq. 1.

    Late rewards: as with Eq. 1, calls count as soon as they are asked for; costs once they end.

    Attributes:
        alpha: Weight of exploration, >= 0; sqrt(2) is the source's.
        scope: See `Scheduler`.
    """

    alpha: NotNegative = 2**0.5
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """Picks the highest bound. The recorded means and bonuses are divided by the costs."""
        costs, log_total = relative_costs(arms), log_calls(arms)
        means = tuple([mean / cost for mean, cost in zip(node_means(arms), costs, strict=True)])
        bonuses = [self.alpha * math.sqrt(log_total / (arm.calls + 1)) for arm in arms]
        return best_bound(arms, means, tuple([bonus / cost for bonus, cost in zip(bonuses, costs, strict=True)]))


def relative_costs(arms: Sequence[ArmStats]) -> list[float]:
    """Returns each agent's mean tokens per call over those of all agents together, > 0; 1 if nothing is known."""
    tokens, answers = sum([arm.tokens for arm in arms]), sum([arm.answers for arm in arms])
    return [arm.tokens * answers / (arm.answers * tokens) if arm.tokens else 1.0 for arm in arms]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinUCB:
    """UCB over a linear model of the reward, given what the call is for: an agent may be good at one thing only.

    b' A^-1 x + alpha sqrt(x' D^-1 x), x = (1, depth / 10, one-hot phase among the five), with one model per agent.
    Source: Li, Chu, Langford, Schapire 2010, Algorithm 1 (disjoint models, penalty 1), where D = A. A bound is proved
    only for a variant meant for analysis (Chu, Li, Reyzin, Schapire 2011).

    Late rewards: A and b know only the rewarded calls. D knows every call as soon as it is asked for, so that the picks
    of one expansion spread (Desautels, Krause, Burdick 2014); if every call were rewarded at once, D = A. Calls that
    evaluate or reflect are never rewarded: for them the policy goes by what an agent's nodes were worth at that depth.
    The task is not a feature: statistics never outlive a run, and a run has one task.

    Attributes:
        alpha: Weight of exploration, >= 0.
        scope: See `Scheduler`.
    """

    alpha: NotNegative = 1.0
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """Picks the highest bound. The recorded means are those expected at this phase and depth."""
        x = features(phase, depth)
        means = tuple([arm.earned.mean(x) for arm in arms])
        bonuses = tuple([self.alpha * math.sqrt(arm.asked.variance(x)) for arm in arms])
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        best = max(offered, key=lambda index: means[index] + bonuses[index])
        return Pick(best, means, bonuses, features=x)


def features(phase: Phase, depth: int) -> tuple[float, ...]:
    """Returns x of a call: a constant, its depth, its phase."""
    return (1.0, depth / DEPTH_UNIT, *_ONE_HOT[phase])
