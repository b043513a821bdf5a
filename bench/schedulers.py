"""Regret of each scheduler on bandits with known means, next to the theoretical bound if there is one.

    python bench/schedulers.py

Four agents with coin-flip rewards, 1,000 calls, the mean of 200 seeds with its 95 % half-width. Regret is the summed
difference between the mean reward of the best choice at each call and that of the choice made. Bandits:

- still: constant means.
- drift: every 250 calls each agent takes its neighbour's mean.
- late: as still, but a reward comes 12 calls after its pick, as in a search that evaluates before it rewards.
- phase: four calls expand, four simulate, and so on; the best agent for one is the worst for the other.
- cost: the best agent costs four times the tokens; 1,000 is then a budget in units of a cheap call, and regret is
  relative to the best reward for that budget.

No model is behind this, and every call is rewarded; in a search, evaluations and reflections never are.

Bounds are printed for still only, and only for the policies for which they were proved:

- UCB1: 8 ln T sum(1 / gap) + (1 + pi^2 / 3) sum(gap), Auer, Cesa-Bianchi, Fischer 2002, Theorem 1.
- EXP3 with its gamma for T: 2 sqrt(e - 1) sqrt(T K ln K), Auer, Cesa-Bianchi, Freund, Schapire 2002, Corollary 3.2.
- Thompson sampling (Beta): ln T sum(gap / kl), the asymptote of Lai and Robbins 1985, which it reaches as T grows
  (Kaufmann, Korda, Munos 2012). At a given T this is neither an upper nor a lower bound.
- Uniform picks and turns: T mean(gap), by arithmetic.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from symphony.agents.bandits import EXP3, CostAwareUCB, LinUCB, SlidingWindowUCB, Thompson
from symphony.agents.scheduler import UCB, ArmStats, RoundRobin, Scheduler, Trial, Uniform
from symphony.types import Phase

SEEDS = 200
HORIZON = 1_000
SHOWN = (100, 300, HORIZON)
MEANS = (0.3, 0.5, 0.6, 0.7)
K = len(MEANS)
GAMMA = min(1.0, math.sqrt(K * math.log(K) / ((math.e - 1) * HORIZON)))
"""EXP3's gamma, as set by Corollary 3.2."""

SCHEDULERS: dict[str, Scheduler] = {
    "ucb_20": UCB(),
    "ucb_20_inside": UCB(form="inside"),
    "ucb_sqrt2": UCB(alpha=math.sqrt(2)),
    "ucb1": SlidingWindowUCB(window=HORIZON, xi=2),
    "uniform": Uniform(),
    "round_robin": RoundRobin(),
    "thompson_beta": Thompson(),
    "thompson_gaussian": Thompson(posterior="gaussian"),
    "exp3": EXP3(gamma=GAMMA),
    "sliding_window_100": SlidingWindowUCB(window=100),
    "cost_aware_ucb": CostAwareUCB(),
    "linucb": LinUCB(),
}
REMARKS = {
    "ucb_20": "no bound: 14 times the bonus for which UCB1's is proved",
    "ucb_20_inside": "no bound: 3.2 times the bonus for which UCB1's is proved",
    "ucb_sqrt2": "no bound: UCB1's bonus but with N_i + 1 for N_i",
    "ucb1": "upper bound",
    "uniform": "exact",
    "round_robin": "exact",
    "thompson_beta": "asymptote, no bound",
    "thompson_gaussian": "no bound: only its order is known",
    "exp3": "upper bound",
    "sliding_window_100": "no bound: proved for a window that grows with T",
    "cost_aware_ucb": "no bound: proved for costs that are known",
    "linucb": "no bound: proved for a variant",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandit:
    """A bandit: mean rewards by call and agent, each call's purpose, when its reward comes and what it costs."""

    means: Callable[[int], Sequence[float]] = lambda _: MEANS
    phase: Callable[[int], Phase] = lambda _: Phase.EXPAND
    late: int = 0
    costs: Sequence[int] = (1,) * K


def _drifting(call: int) -> Sequence[float]:
    moved = call // 250 % K
    return MEANS[moved:] + MEANS[:moved]


def _phase(call: int) -> Phase:
    return Phase.SIM_EXPAND if call // 4 % 2 else Phase.EXPAND


def _by_phase(call: int) -> Sequence[float]:
    return MEANS if _phase(call) is Phase.EXPAND else MEANS[::-1]


BANDITS = {
    "still": Bandit(),
    "drift": Bandit(means=_drifting),
    "late": Bandit(late=12),
    "phase": Bandit(means=_by_phase, phase=_phase),
    "cost": Bandit(costs=(1, 1, 1, 4)),
}


def regrets(scheduler: Scheduler, bandit: Bandit, seed: int) -> list[float]:
    """Returns the regret at each of `SHOWN` (units of cost spent)."""
    arms, rng, coin = [ArmStats() for _ in range(K)], random.Random(seed), random.Random(-1 - seed)
    waiting: deque[tuple[int, int, float, Trial]] = deque()
    spent, regret, call, found = 0, 0.0, 0, []
    while len(found) < len(SHOWN):
        while waiting and waiting[0][0] <= call:
            _, arm, reward, trial = waiting.popleft()
            arms[arm].credit(reward, trial)
        phase, means = bandit.phase(call), bandit.means(call)
        pick = scheduler.pick(arms, rng, phase, 1)
        assert pick is not None
        trial, cost = Trial(call, pick.probability, pick.features), bandit.costs[pick.arm]
        arms[pick.arm].call(trial)
        arms[pick.arm].answers += 1
        arms[pick.arm].tokens += 100 * cost
        waiting.append((call + 1 + bandit.late, pick.arm, float(coin.random() < means[pick.arm]), trial))
        regret += cost * max(m / c for m, c in zip(means, bandit.costs, strict=True)) - means[pick.arm]
        spent, call = spent + cost, call + 1
        if spent >= SHOWN[len(found)]:
            found.append(regret)
    return found


def bounds() -> dict[str, float]:
    """Returns the theoretical bounds for `still` at `HORIZON`."""
    gaps = [max(MEANS) - mean for mean in MEANS if mean < max(MEANS)]
    divergences = [_kl(mean, max(MEANS)) for mean in MEANS if mean < max(MEANS)]
    log = math.log(HORIZON)
    blind = HORIZON * sum(gaps) / K
    return {
        "ucb1": 8 * log * sum(1 / gap for gap in gaps) + (1 + math.pi**2 / 3) * sum(gaps),
        "exp3": 2 * math.sqrt(math.e - 1) * math.sqrt(HORIZON * K * math.log(K)),
        "thompson_beta": log * sum(gap / kl for gap, kl in zip(gaps, divergences, strict=True)),
        "uniform": blind,
        "round_robin": blind,
    }


def _kl(p: float, q: float) -> float:
    """Returns the divergence of two coins, in nats."""
    return p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))


def main() -> None:
    seconds: dict[tuple[str, str], float] = {}
    curves: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for bandit in BANDITS:
        for name, scheduler in SCHEDULERS.items():
            start = time.process_time()
            runs = [regrets(scheduler, BANDITS[bandit], seed) for seed in range(SEEDS)]
            curves[bandit, name] = [
                (statistics.fmean(at), 1.96 * statistics.stdev(at) / math.sqrt(SEEDS)) for at in zip(*runs, strict=True)
            ]
            seconds[bandit, name] = time.process_time() - start
    told = bounds()
    print(f"still: regret after {', '.join(f'{at:,}' for at in SHOWN)} calls, and theory's value after {HORIZON:,}")
    print(f"(at most {HORIZON * (max(MEANS) - min(MEANS)):.0f} can be lost, so a higher bound says nothing yet)")
    for name in SCHEDULERS:
        curve = "".join(f"{mean:9.1f} ±{half:4.1f}" for mean, half in curves["still", name])
        theory = f"{told[name]:9.1f}" if name in told else f"{'-':>9}"
        print(f"{name:20}{curve}{theory}  {REMARKS[name]}")
    print(f"\nregret after {HORIZON:,} calls\n{'':20}" + "".join(f"{bandit:>15}" for bandit in BANDITS))
    for name in SCHEDULERS:
        ends = [curves[bandit, name][-1] for bandit in BANDITS]
        print(f"{name:20}" + "".join(f"{mean:9.1f} ±{half:4.1f}" for mean, half in ends))
    micro = {name: 1e6 * seconds["still", name] / (SEEDS * HORIZON) for name in SCHEDULERS}
    print("\nCPU microseconds per call on still, including this benchmark's own loop")
    print(", ".join(f"{name} {spent:.0f}" for name, spent in micro.items()))
    figures = {f"{bandit}_{name}": round(curve[-1][0], 1) for (bandit, name), curve in curves.items()}
    figures |= {f"bound_{name}": round(bound, 1) for name, bound in told.items()}
    print(json.dumps({"bench": "schedulers", "figures": figures}))


if __name__ == "__main__":
    main()
