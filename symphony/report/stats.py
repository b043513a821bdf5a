"""Intervals and tests of the tables: problems are drawn, runs of one problem are not independent.

Every function takes values and, beside each, its cluster: the problem that it is of. Two seeds of one problem say less
than two problems, by how much the data tell. docs/statistics.md holds what simulations say of level and coverage.
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
"""With fewer problems, coverage of the interval of a rate is no longer within 93 to 97 % at every rate."""

LEVEL = 0.05
"""Of the tests: a difference is shown where p, corrected for the number of rows, is at most this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval; `low <= value <= high`."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class _Clustered:
    """Observations by problem: how many there are of each, what they sum to, their mean over all."""

    sizes: np.ndarray
    sums: np.ndarray
    mean: float

    @property
    def variance(self) -> float:
        """Of the mean, by the spread between problems (the linearised ratio of two sums); at least two problems."""
        problems = len(self.sizes)
        residuals = self.sums - self.mean * self.sizes
        return float((residuals**2).sum() * problems / (problems - 1) / self.sizes.sum() ** 2)


def rate(values: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    """The mean of values in [0, 1] with Wilson's interval for the number of independent trials that they are worth.

    That number is N / D: D, the design effect, is the variance between problems over that of N independent values, and
    lies between 1 (or problems would differ less than by chance) and the number of runs a problem (all equal). Values
    other than 0 and 1 vary less than trials do; one problem's worth of trials is added to their variance, so that
    values without any still have an interval. None when there are no values.

    Source: E. B. Wilson, Probable inference, JASA 22 (1927); the effective number, N. Dean, M. Pagano, Evaluating
    confidence interval methods for binomial proportions in clustered surveys, J. Surv. Stat. Methodol. 3 (2015).
    """
    import numpy as np

    if not len(values):
        return None
    found = _clustered(values, clusters)
    n, mean = float(found.sizes.sum()), min(1.0, max(0.0, found.mean))
    trials, once = mean * (1 - mean), n / len(found.sizes)
    spread = float(((np.asarray(values, dtype=float) - mean) ** 2).sum() + trials * once) / (n + once)
    most = float((found.sizes**2).sum()) / n
    known = spread > 0 and len(found.sizes) > 1
    effect = min(most, max(1.0, found.variance * n / spread)) if known else most
    low, high = _wilson(mean, (n * trials / spread if spread > 0 else n) / effect)
    return Estimate(value=mean, low=min(mean, low), high=max(mean, high))


def average(values: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    """The mean of any values with Student's interval by the spread between problems.

    None when there are no values; the mean alone where there is one problem, of whose spread nothing is known.
    """
    if not len(values):
        return None
    found = _clustered(values, clusters)
    half = _student(found) if len(found.sizes) > 1 else 0.0
    return Estimate(value=found.mean, low=found.mean - half, high=found.mean + half)


def difference(values: Sequence[float], clusters: Sequence[str]) -> Estimate | None:
    """The mean of paired differences in [-1, 1] with Student's interval by the spread between problems.

    Where all problems agree they tell of no spread; the interval then is the rule of three: up to 3/n of the problems
    may differ, by the whole range. None when there are no values.

    Source: J. A. Hanley, A. Lippman-Hand, If nothing goes wrong, is everything all right?, JAMA 249 (1983).
    """
    if not len(values):
        return None
    found = _clustered(values, clusters)
    problems = len(found.sizes)
    agree = problems == 1 or found.variance < 1e-18
    half = min(1.0, 3 / problems) * 2 if agree else _student(found)
    mean = found.mean
    return Estimate(value=mean, low=min(mean, max(-1.0, mean - half)), high=max(mean, min(1.0, mean + half)))


def signflip(values: Sequence[float], clusters: Sequence[str]) -> float:
    """Two-sided mid-p of the permutation test over problems: of two methods that are equally good, neither is first.

    The sum of each problem's differences keeps its size and takes either sign with probability 1/2, all together. The
    distribution of the total is exact for any number of problems. Its own value counts half (mid-p), because the
    plain p of a test with few outcomes rejects a true null far less often than it says. With one run a problem this
    is McNemar's test. 1 where no problem differs.

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


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """The p of several tests, corrected so that the chance of any false rejection stays at the level; None stays None.

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


def _student(found: _Clustered) -> float:
    """Half the width of Student's interval of the mean, at least two problems."""
    from scipy.special import stdtrit

    return float(stdtrit(len(found.sizes) - 1, 0.975)) * math.sqrt(found.variance)


def _wilson(mean: float, n: float) -> tuple[float, float]:
    shrink = 1 + Z95**2 / n
    centre = (mean + Z95**2 / (2 * n)) / shrink
    half = Z95 / shrink * math.sqrt(mean * (1 - mean) / n + Z95**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
