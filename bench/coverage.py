"""Simulates what the report's intervals cover and how often its test rejects a true null.

    python bench/coverage.py --draws 4000 --replays 400         prints the tables of docs/statistics.md

A problem's chance of success is drawn from a beta distribution with the method's mean and the wanted correlation
between two runs of the problem (rho). Its runs, one per seed, succeed with that chance. Two methods draw their chances
independently, the hardest case for a paired difference: the more alike they are, the fewer problems differ.

The last table is of the replay of recorded picks (table what_if): three agents whose chances differ from problem to
problem and fall with depth, rewards that come four picks late, and one pick in five without a reward. The truth is what
a scheduler earns if it picks by itself wherever the recorded pick would count.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from symphony.agents.replay import Event, replay, targets
from symphony.agents.scheduler import ArmStats, Trial
from symphony.report.stats import Estimate, contrast, difference, rate, signflip
from symphony.types import Phase

Interval = Callable[[Sequence[float], Sequence[str]], Estimate | None]

PROBLEMS = (8, 12, 16, 24, 32, 48, 100)
RATES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
GRID = tuple(
    (problems, seeds, correlation) for problems in PROBLEMS for seeds in (1, 3) for correlation in (0.0, 0.3, 0.6, 0.9)
)
SKILLS = (0.6, 0.4, 0.2)
"""Mean chance of a reward of each agent whose picks are replayed."""
PICKS, BATCH = 24, 4
"""Recorded picks of a problem, and how many are made before any of them is rewarded."""
ENOUGH = 15
"""Mean number of problems that differ between two methods, from which the test's level is within 3.5 to 6.5 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Shares of draws whose interval covers the true difference and whose p is at most 5 %.

    Also the mean number of problems that differ.
    """

    covered: float
    rejected: float
    differing: float


def successes(
    rng: np.random.Generator, problems: int, seeds: int, correlation: float, mean: float, draws: int
) -> np.ndarray:
    """Draws how many of its runs each problem solves, one row per draw."""
    if correlation == 0:
        chances = np.full((draws, problems), mean)
    else:
        weight = (1 - correlation) / correlation
        chances = rng.beta(mean * weight, (1 - mean) * weight, size=(draws, problems))
    return rng.binomial(seeds, chances)


def of_rates(problems: int, seeds: int, correlation: float, mean: float, draws: int) -> float:
    """Returns the share of draws whose interval of the rate covers it."""
    rng = np.random.default_rng(20_25)
    solved = successes(rng, problems, seeds, correlation, mean, draws)

    @cache
    def covers(counts: tuple[int, ...]) -> bool:
        found = rate(*_runs(counts, seeds))
        return found is not None and found.low <= mean <= found.high

    return float(np.mean([covers(tuple(sorted(row))) for row in solved.tolist()]))


def of_differences(
    problems: int, seeds: int, correlation: float, first: float, second: float, draws: int
) -> Differences:
    """Simulates two methods with these rates on the same problems."""
    rng = np.random.default_rng(20_26)
    apart = successes(rng, problems, seeds, correlation, first, draws)
    apart = apart - successes(rng, problems, seeds, correlation, second, draws)

    @cache
    def judged(sums: tuple[int, ...]) -> tuple[bool, bool]:
        values = [float(np.sign(total)) * (run < abs(total)) for total in sums for run in range(seeds)]
        clusters = [str(problem) for problem in range(problems) for _ in range(seeds)]
        found = difference(values, clusters)
        covered = found is not None and found.low - 1e-12 <= first - second <= found.high + 1e-12
        return covered, signflip(values, clusters) <= 0.05

    told = np.array([judged(tuple(sorted(row))) for row in apart.tolist()])
    return Differences(
        covered=float(told[:, 0].mean()), rejected=float(told[:, 1].mean()), differing=float((apart != 0).sum(1).mean())
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replays:
    """What a scheduler earns per rewarded pick, and what its replay estimates.

    Attributes:
        truth: Mean reward when it picks by itself.
        mean, error: Mean of the estimates, and the standard error of the difference between this mean and the truth.
        covered, gain_covered: Shares of draws whose intervals of the mean reward, and of its difference from uniform
            picks, cover the truth.
    """

    truth: float
    mean: float
    error: float
    covered: float
    gain_covered: float


def of_replays(name: str, problems: int, draws: int) -> Replays:
    """Simulates the replay of a scheduler (`symphony.agents.replay.targets`)."""
    scheduler = targets(len(SKILLS))[name]
    own, uniform, found, gains = [], [], [], []
    for draw in range(draws):
        events = _recorded(random.Random(f"recorded {draw}"), problems)
        same = replay(scheduler, len(SKILLS), events, seed=draw)
        rewarded = [(event, kept) for event, kept in zip(events, same, strict=True) if event.reward is not None]
        values, clusters = [event.reward or 0.0 for event, _ in rewarded], [event.problem for event, _ in rewarded]
        kept = [kept for _, kept in rewarded]
        chosen = [at for at, counts in enumerate(kept) if counts]
        uniform.append(np.mean(values))
        found.append(rate([values[at] for at in chosen], [clusters[at] for at in chosen]))
        gains.append(contrast(values, clusters, kept))
        # The scheduler by itself: another log, in which a pick that counts is its own and is rewarded by its own agent.
        own.append(_alone(name, draw, problems))
    truth = sum(total for total, _ in own) / sum(count for _, count in own)
    gain = truth - float(np.mean(uniform))
    means = [estimate.value for estimate in found if estimate]
    errors = np.std(means) ** 2 + np.std([total / count for total, count in own]) ** 2
    return Replays(
        truth=truth,
        mean=float(np.mean(means)),
        error=float(np.sqrt(errors / draws)),
        covered=float(np.mean([e is not None and e.low <= truth <= e.high for e in found])),
        gain_covered=float(np.mean([e is not None and e.low <= gain <= e.high for e in gains])),
    )


def _recorded(rng: random.Random, problems: int) -> list[Event]:
    """Draws the log of uniform picks."""
    return [
        _event(rng, problem, pick, rng.randrange(len(SKILLS)), skills)
        for problem in range(problems)
        for skills in [_skills(rng)]
        for pick in range(PICKS)
    ]


def _alone(name: str, draw: int, problems: int) -> tuple[float, int]:
    """Returns the sum and the number of rewards of a scheduler that picks by itself, each time with a chance of 1/3."""
    rng, total, count = random.Random(f"alone {draw}"), 0.0, 0
    for problem in range(problems):
        scheduler, skills = targets(len(SKILLS))[name], _skills(rng)
        arms = [ArmStats() for _ in SKILLS]
        owed: list[tuple[Event, Trial]] = []
        for pick in range(PICKS):
            for event, trial in owed:
                if event.due == pick:
                    arms[event.arm].credit(event.reward or 0.0, trial)
            if rng.random() * len(SKILLS) >= 1:
                continue
            choice = scheduler.pick(arms, rng, Phase.EXPAND, pick // BATCH)
            assert choice is not None
            event = _event(rng, problem, pick, choice.arm, skills)
            trial = Trial(sum(arm.calls for arm in arms), choice.probability, choice.features)
            arms[choice.arm].call(trial)
            arms[choice.arm].answers += 1
            arms[choice.arm].tokens += event.tokens
            if event.reward is not None:
                owed.append((event, trial))
                total, count = total + event.reward, count + 1
    return total, count


def _skills(rng: random.Random) -> list[float]:
    return [rng.gauss(skill, 0.25) for skill in SKILLS]


def _event(rng: random.Random, problem: int, pick: int, arm: int, skills: Sequence[float]) -> Event:
    depth = pick // BATCH
    reward = float(rng.random() < skills[arm] - 0.03 * depth) if rng.random() < 0.8 else None
    return Event(
        problem=str(problem), pick=pick, phase=Phase.EXPAND, depth=depth, arm=arm, tokens=10 * (arm + 1), reward=reward,
        due=BATCH * (depth + 1),
    )  # fmt: skip


def _runs(counts: Sequence[int], seeds: int) -> tuple[list[float], list[str]]:
    values = [float(run < solved) for solved in counts for run in range(seeds)]
    return values, [str(problem) for problem in range(len(counts)) for _ in range(seeds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000, help="simulated studies a cell; default: 4000, 0: none")
    parser.add_argument("--replays", type=int, default=400, help="simulated replays a scheduler; default: 400, 0: none")
    arguments = parser.parse_args()
    if arguments.draws:
        _print_coverage(arguments.draws)
    if arguments.replays:
        _print_replays(arguments.replays)


def _print_coverage(draws: int) -> None:
    print("| problems | seeds | rho | coverage: rate, % | coverage: difference, % | level, % | problems that differ |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for problems, seeds, correlation in GRID:
        if seeds == 1 and correlation > 0:  # with one run per problem the correlation has no effect
            continue
        rates = [100 * of_rates(problems, seeds, correlation, mean, draws) for mean in RATES]
        pairs = [of_differences(problems, seeds, correlation, mean, mean, draws) for mean in RATES]
        cells = (
            _range(rates),
            _range([100 * pair.covered for pair in pairs]),
            _range([100 * pair.rejected for pair in pairs]),
            _range([pair.differing for pair in pairs]),
        )
        print(f"| {problems} | {seeds} | {correlation} | {' | '.join(cells)} |", flush=True)


def _print_replays(draws: int) -> None:
    print("| scheduler | truth | mean of the replays | coverage: mean reward, % | coverage: difference, % |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name in targets(len(SKILLS)):
        it = of_replays(name, 48, draws)
        row = f"| {name} | {it.truth:.3f} | {it.mean:.3f} (standard error {it.error:.3f})"
        print(f"{row} | {100 * it.covered:.1f} | {100 * it.gain_covered:.1f} |", flush=True)


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


if __name__ == "__main__":
    main()
