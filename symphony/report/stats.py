"""Intervals and tests of the tables; the problem is the unit of sampling, as runs of one problem are not independent.

Every function takes values and, for each, its cluster: the problem it belongs to. Two seeds of one problem count less
than two problems; the data decide by how much. docs/statistics.md gives level and coverage from simulations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Z95 = 1.959963984540054
"""Quantile of the standard normal for a two-sided 95 % interval."""

FEW = 32
"""With fewer problems, the coverage of a rate's interval is not within 93 to 97 % at every rate."""

LEVEL = 0.05
"""Level of the tests: a difference counts as shown if p, corrected for the number of rows, is at most this."""

POWER = 0.8
"""Chance with which `needed` problems show a difference."""

MOST_NEEDED = 1 << 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval; `low <= value <= high`."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is on one side of 0."""
        return self.low > 0 or self.high < 0

    def __neg__(self) -> Estimate:
        """Returns the estimate of the negated quantity."""
        return Estimate(value=-self.value, low=-self.high, high=-self.low)


@dataclass(frozen=True, slots=True)
class _Clustered:
    """Observations grouped by problem: count and sum for each problem, and the overall mean."""

    sizes: np.ndarray
    sums: np.ndarray
    mean: float

    @property
    def variance(self) -> float:
        """Variance of the mean, from the spread between problems (linearised ratio of two sums); needs two problems."""
        problems = len(self.sizes)
        residuals = self.sums - self.mean * self.sizes
        return float((residuals**2).sum() * problems / (problems - 1) / self.sizes.sum() ** 2)


def rate(values: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    """Returns the mean of values in [0, 1] with Wilson's interval for their effective number of independent trials.

    That number is N / D. The design effect D is the variance between problems over that of N independent values,
    limited to between 1 (below, problems would differ less than by chance) and the number of runs per problem (all
    equal). Values other than 0 and 1 vary less than trials; one problem's worth of trials is added to their variance,
    so that even values without variance have an interval. Returns None if there are no values.

    Source: E. B. Wilson, Probable inference, JASA 22 (1927); the effective number, N. Dean, M. Pagano, Evaluating
    confidence interval methods for binomial proportions in clustered surveys, J. Surv. Stat. Methodol. 3 (2015).
    """
    import numpy as np

    if not len(values):
        return None
    clustered = _clustered(values, clusters)
    n, mean = float(clustered.sizes.sum()), min(1.0, max(0.0, clustered.mean))
    trials, once = mean * (1 - mean), n / len(clustered.sizes)
    spread = float(((np.asarray(values, dtype=float) - mean) ** 2).sum() + trials * once) / (n + once)
    most = float((clustered.sizes**2).sum()) / n
    known = spread > 0 and len(clustered.sizes) > 1
    effect = min(most, max(1.0, clustered.variance * n / spread)) if known else most
    low, high = _wilson(mean, (n * trials / spread if spread > 0 else n) / effect)
    return Estimate(value=mean, low=min(mean, low), high=max(mean, high))


def average(values: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    """Returns the mean of any values with Student's interval from the spread between problems.

    Returns None if there are no values; with one problem, which shows no spread, both bounds are the mean.
    """
    if not len(values):
        return None
    clustered = _clustered(values, clusters)
    half = _student(clustered) if len(clustered.sizes) > 1 else 0.0
    return Estimate(value=clustered.mean, low=clustered.mean - half, high=clustered.mean + half)


def contrast(
    values: Sequence[float] | None, clusters: Sequence[str] | None, chosen: Sequence[bool] | None
) -> Estimate | None:
    """Returns the mean of the chosen values in [0, 1] minus the mean of all, with Student's interval.

    The interval is that of the spread between problems of the difference of the two ratios, linearised. If there is no
    spread, it is the rule of three, as in `difference`. Returns None if nothing is chosen, or there
    are no values.
    """
    import numpy as np

    if values is None or clusters is None or chosen is None or not any(chosen):
        return None
    names = sorted(set(clusters))
    every = _clustered(values, clusters)
    mask = np.asarray(chosen, dtype=float)
    index = np.searchsorted(names, np.asarray(clusters, dtype=str))
    sums = np.bincount(index, weights=mask * np.asarray(values, dtype=float))
    sizes = np.bincount(index, weights=mask)
    mean, problems = float(sums.sum() / sizes.sum()), len(names)
    residuals = (sums - mean * sizes) / sizes.sum() - (every.sums - every.mean * every.sizes) / every.sizes.sum()
    spread = float((residuals**2).sum())
    known = problems > 1 and spread > 1e-18
    half = _quantile(problems - 1) * math.sqrt(spread * problems / (problems - 1)) if known else min(1.0, 3 / problems)
    value = mean - every.mean
    return Estimate(value=value, low=min(value, max(-1.0, value - half)), high=max(value, min(1.0, value + half)))


def deviation(values: Sequence[float] | None, clusters: Sequence[str] | None) -> float | None:
    """Returns the standard error of the mean, from the spread between problems; None with fewer than two problems."""
    clustered = _clustered(values, clusters) if values and clusters else None
    return None if clustered is None or len(clustered.sizes) < 2 else math.sqrt(clustered.variance)


def difference(values: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    """Returns the mean of paired differences in [-1, 1] with Student's interval from the spread between problems.

    If all problems agree, there is no spread; the interval is then the rule of three: up to 3/n of the problems may
    differ, by the whole range. Returns None if there are no values.

    Source: J. A. Hanley, A. Lippman-Hand, If nothing goes wrong, is everything all right?, JAMA 249 (1983).
    """
    if not len(values):
        return None
    clustered = _clustered(values, clusters)
    problems = len(clustered.sizes)
    agree = problems == 1 or clustered.variance < 1e-18
    half = min(1.0, 3 / problems) * 2 if agree else _student(clustered)
    mean = clustered.mean
    return Estimate(value=mean, low=min(mean, max(-1.0, mean - half)), high=max(mean, min(1.0, mean + half)))


def signflip(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Returns the two-sided mid-p of the permutation test over problems, under the hypothesis of equally good methods.

    Each problem's sum of differences keeps its size and takes either sign with probability 1/2, independently. The
    distribution of the total is exact for any number of problems. The observed value counts half (mid-p), because the
    plain p of a test with few outcomes rejects a true null far less often than it claims. With one run per problem this
    is McNemar's test. Returns 1 if no problem differs.

    Args:
        values: Differences, whole numbers.

    Source: M. W. Fagerland, S. Lydersen, P. Laake, The McNemar test for binary matched-pairs data: mid-p and
    asymptotic are better than exact conditional, BMC Med. Res. Methodol. 13 (2013).
    """
    import numpy as np

    sums = np.rint(_clustered(values, clusters).sums).astype(int) if len(values) else np.zeros(0, int)
    chances = np.ones(1)
    for size in np.abs(sums[sums != 0]):
        step = np.zeros(2 * size + 1)
        step[0] = step[-1] = 0.5
        chances = np.convolve(chances, step)
    totals = np.abs(np.arange(len(chances)) - len(chances) // 2)
    seen = abs(int(sums.sum()))
    return float(min(1.0, chances[totals > seen].sum() + chances[totals == seen].sum() / 2)) if sums.any() else 1.0


def needed(values: Sequence[float], clusters: Sequence[str]) -> int | None:
    """Returns how many problems would show a mean difference as large as the one seen, in 4 of 5 studies.

    That is the smallest number for which Student's two-sided test at 5 % has a power of 80 %, if problems differ as
    much as those seen. Returns None if it can't be told: no difference, or fewer than two problems.
    """
    from scipy.special import nctdtr, stdtrit

    clustered = _clustered(values, clusters) if len(values) else None
    if clustered is None or len(clustered.sizes) < 2 or abs(clustered.mean) < 1e-12:
        return None
    effect = abs(clustered.mean) / math.sqrt(max(clustered.variance * len(clustered.sizes), 1e-12))

    def power(problems: int) -> float:
        free = problems - 1
        return 1.0 - float(nctdtr(free, effect * math.sqrt(problems), float(stdtrit(free, 0.975))))

    most = 2
    while power(most) < POWER and most < MOST_NEEDED:
        most *= 2
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if power(middle) >= POWER else (middle, most)
    return most


def verdict(gain: Estimate, p: float | None, least: float = 0.0, within: float | None = None) -> str:
    """Returns "reproduced", "contradicted" or "undecided" for a claim about a difference.

    Args:
        gain: The difference with its interval.
        p: Of the hypothesis of no difference, corrected for the number of claims.
        least: The claim is a difference above this.
        within: If given, the claim is a difference between minus and plus this (equivalence by two one-sided tests,
            each at 2.5 %, as the interval holds 95 %).
    """
    if within is not None:
        outside = gain.low >= within or gain.high <= -within
        inside = -within < gain.low and gain.high < within
        return "reproduced" if inside else "contradicted" if outside else "undecided"
    shown = p is not None and p <= LEVEL
    if shown and gain.low > least:
        return "reproduced"
    return "contradicted" if gain.high <= least and (shown or least > 0) else "undecided"


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Corrects the p of several tests so that the chance of any false rejection keeps the level; None stays None.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6 (1979).
    """
    order = sorted((p, index) for index, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    most = 0.0
    for rank, (p, index) in enumerate(order):
        corrected[index] = most = max(most, min(1.0, p * (len(order) - rank)))
    return corrected


def _clustered(values: Sequence[float], clusters: Sequence[str]) -> _Clustered:
    import numpy as np

    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float))
    sizes = np.bincount(index).astype(float)
    return _Clustered(sizes=sizes, sums=sums, mean=float(sums.sum() / sizes.sum()))


def _student(clustered: _Clustered) -> float:
    """Returns half the width of Student's interval of the mean; needs at least two problems."""
    return _quantile(len(clustered.sizes) - 1) * math.sqrt(clustered.variance)


def _quantile(free: int) -> float:
    """Returns Student's two-sided 95 % quantile."""
    from scipy.special import stdtrit

    return float(stdtrit(free, 0.975))


def _wilson(mean: float, n: float) -> tuple[float, float]:
    shrink = 1 + Z95**2 / n
    centre = (mean + Z95**2 / (2 * n)) / shrink
    half = Z95 / shrink * math.sqrt(mean * (1 - mean) / n + Z95**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
