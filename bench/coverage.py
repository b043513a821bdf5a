"""Simulates what the report's intervals cover and how often its test rejects a true null.

    python bench/coverage.py --draws 4000          prints the tables of docs/statistics.md

A problem's chance of success is drawn from a beta distribution with the method's mean and the wanted correlation
between two runs of the problem (rho). Its runs, one per seed, succeed with that chance. Two methods draw their chances
independently, the hardest case for a paired difference: the more alike they are, the fewer problems differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from symphony.report.stats import Estimate, difference, rate, signflip

Interval = Callable[[Sequence[float], Sequence[str]], Estimate | None]

PROBLEMS = (8, 12, 16, 24, 32, 48, 100)
RATES = (0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
GRID = tuple(
    (problems, seeds, correlation) for problems in PROBLEMS for seeds in (1, 3) for correlation in (0.0, 0.3, 0.6, 0.9)
)
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


def _runs(counts: Sequence[int], seeds: int) -> tuple[list[float], list[str]]:
    values = [float(run < solved) for solved in counts for run in range(seeds)]
    return values, [str(problem) for problem in range(len(counts)) for _ in range(seeds)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4000, help="simulated studies a cell; default: 4000")
    draws = parser.parse_args().draws
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


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.1f} to {max(values):.1f}"


if __name__ == "__main__":
    main()
