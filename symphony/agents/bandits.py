"""Schedulers beyond the paper's: Thompson sampling, EXP3, sliding-window and cost-aware UCB, LinUCB.

As in `symphony.agents.scheduler`, a policy has no state. The bounds that the sources prove are for rewards that come at
once and for every pick; here they come late and not for all of them (see `Scheduler`). Each docstring says what its
policy does until then.
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

from symphony.agents.scheduler import ArmStats, Pick, Scope, best_bound, log_calls, node_means
from symphony.fields import Count, NotNegative, Positive, check_fields
from symphony.types import Phase

DEPTH_UNIT = 10
"""Depths are handed to LinUCB in units of this, so that no feature outweighs the others."""
_ONE_HOT = {phase: tuple([float(one is phase) for one in Phase]) for phase in Phase}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thompson:
    """Draws a mean reward of each agent from its posterior and picks the highest draw.

    "beta": Beta(1 + S, 1 + F), S the agent's sum of rewards and F = credits - S.
    "gaussian": Normal(S / (credits + 1), 1 / (credits + 1)), variance second.
    Source: Thompson 1933; "beta" is Agrawal and Goyal 2012, who add a coin that falls 1 with probability R where R
    itself is added here (the same on average; for rewards 0 and 1 it is their algorithm); "gaussian" is Agrawal and
    Goyal 2013.

    Late rewards: the posterior knows credits only, so an agent in flight is no less likely. Draws differ from pick to
    pick, so the picks of one expansion still spread.

    Attributes:
        posterior: See above.
        scope: See `Scheduler`.
    """

    posterior: Literal["beta", "gaussian"] = "beta"
    scope: Scope = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """The bonus on record is how far the draw lies from the mean; it may be negative."""
        means = node_means(arms)
        draws = [mean if arm.suspended else self._draw(arm, rng) for arm, mean in zip(arms, means, strict=True)]
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        bonuses = tuple([draw - mean for draw, mean in zip(draws, means, strict=True)])
        return Pick(max(offered, key=lambda index: draws[index]), means, bonuses)

    def _draw(self, arm: ArmStats, rng: random.Random) -> float:
        if self.posterior == "beta":
            # Rounding may lift a sum of rewards of 1 above their number.
            return rng.betavariate(1 + arm.reward, 1 + max(0.0, arm.credits - arm.reward))
        weight = arm.credits + 1
        return rng.normalvariate(arm.reward / weight, 1 / math.sqrt(weight))


@dataclass(frozen=True, slots=True, kw_only=True)
class EXP3:
    """Exponential weights, which assume nothing about how rewards come about.

    p_i = (1 - gamma) w_i / sum(w) + gamma / K, w_i = exp(gamma G_i / K), G_i the sum of R / p over the agent's credits,
    K the number of agents offered.
    Source: Auer, Cesa-Bianchi, Freund, Schapire 2002, section 3.

    Late rewards: each credit is divided by the probability that its own pick had, however long ago, so that G_i stays
    an unbiased sum of rewards; in between the weights stand still. Calls never rewarded add nothing to any G_i.

    Attributes:
        gamma: Share of uniform picks, in (0, 1]. For T picks the source takes sqrt(K ln K / ((e - 1) T)): 0.1 is about
            that for three agents and 200 picks.
        scope: See `Scheduler`.
    """

    gamma: Annotated[float, Interval(gt=0, le=1)] = 0.1
    scope: Scope = "question"

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
        """p_i from the G_i, which may be shifted together (so that no power overflows)."""
        count, highest = len(estimates), max(estimates)
        weights = [math.exp(self.gamma * (estimate - highest) / count) for estimate in estimates]
        total = sum(weights)
        return [(1 - self.gamma) * weight / total + self.gamma / count for weight in weights]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindowUCB:
    """UCB that forgets: it knows the last `window` calls of the pool.

    mean_i + sqrt(xi ln(min(t, window)) / N_i), t the calls so far, N_i the agent's calls and mean_i the mean reward of
    its nodes, both within the window. Agents without a call in it come first.
    Source: Garivier and Moulines 2011, SW-UCB, rewards in [0, 1] (B = 1). With a window that is never full and xi = 2
    it is UCB1 (Auer, Cesa-Bianchi, Fischer 2002).

    Late rewards: a call counts in N_i from when it is asked for, its reward when it comes, and both leave the window
    together. So the picks of one expansion spread, as with Eq. 1. A failed call stays in the window.

    Attributes:
        window: Calls remembered, >= 1.
        xi: Weight of exploration, > 0; the source's bound needs more than 1/2.
        scope: See `Scheduler`.
    """

    window: Count = 100
    xi: Positive = 0.6
    scope: Scope = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """The mean on record of an agent without a reward in the window is 0, its bonus that of one call."""
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
    """Upper confidence bound of the reward for each token.

    (mean_i + alpha sqrt(ln N / (N_i + 1))) / c_i, the bound of Eq. 1 over the agent's relative cost c_i: its mean
    tokens a call (prompt and completion, any phase) over those of all agents together, 1 until its first call ends.
    Source: fractional KUBE (Tran-Thanh, Chapman, Rogers, Jennings 2012), whose bound is divided by a cost that is
    known beforehand, where here it is measured; relative costs change no decision and keep the scale of Eq. 1.

    Late rewards: as with Eq. 1, calls count from when they are asked for; costs when they end.

    Attributes:
        alpha: Weight of exploration, >= 0; sqrt(2) is the source's.
        scope: See `Scheduler`.
    """

    alpha: NotNegative = 2**0.5
    scope: Scope = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """Means and bonuses on record are divided by the costs."""
        costs, log_total = relative_costs(arms), log_calls(arms)
        means = tuple([mean / cost for mean, cost in zip(node_means(arms), costs, strict=True)])
        bonuses = [self.alpha * math.sqrt(log_total / (arm.calls + 1)) for arm in arms]
        return best_bound(arms, means, tuple([bonus / cost for bonus, cost in zip(bonuses, costs, strict=True)]))


def relative_costs(arms: Sequence[ArmStats]) -> list[float]:
    """Mean tokens a call of each agent over those of all together, > 0; 1 where nothing is known."""
    tokens, answers = sum([arm.tokens for arm in arms]), sum([arm.answers for arm in arms])
    return [arm.tokens * answers / (arm.answers * tokens) if arm.tokens else 1.0 for arm in arms]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinUCB:
    """UCB over a linear model of the reward in what the call is for: an agent may be good at one thing only.

    b' A^-1 x + alpha sqrt(x' D^-1 x), x = (1, depth / 10, one for the phase among the five), one model an agent.
    Source: Li, Chu, Langford, Schapire 2010, Algorithm 1 (disjoint models, penalty 1), where D = A. A bound is known
    for a variant that serves analysis only (Chu, Li, Reyzin, Schapire 2011).

    Late rewards: A and b know the rewarded calls. D knows every call from when it is asked for, so that the picks of
    one expansion spread (Desautels, Krause, Burdick 2014); where each call is rewarded at once D = A. Calls that
    evaluate or reflect are never rewarded: there the policy goes by what an agent's nodes were worth at that depth.
    The task is no feature: statistics never outlive a run, and a run has one task.

    Attributes:
        alpha: Weight of exploration, >= 0.
        scope: See `Scheduler`.
    """

    alpha: NotNegative = 1.0
    scope: Scope = "question"

    def __post_init__(self) -> None:
        check_fields("scheduler", self)

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        """The means on record are those expected at this phase and depth."""
        x = features(phase, depth)
        means = tuple([arm.earned.mean(x) for arm in arms])
        bonuses = tuple([self.alpha * math.sqrt(arm.asked.variance(x)) for arm in arms])
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        if not offered:
            return None
        best = max(offered, key=lambda index: means[index] + bonuses[index])
        return Pick(best, means, bonuses, features=x)


def features(phase: Phase, depth: int) -> tuple[float, ...]:
    """x of a call: a constant, its depth, its phase."""
    return (1.0, depth / DEPTH_UNIT, *_ONE_HOT[phase])
