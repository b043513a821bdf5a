"""Intervals and tests of the tables. Own formulas of a few lines each; tests hold them against known values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z95 = 1.959963984540054
"""Quantile of the standard normal for a two-sided 95 % interval."""

RESAMPLES = 4000
RESAMPLING_SEED = 20_25
"""Seed of the bootstrap's own draws: the same records give the same interval, digit for digit."""

_FEW = 40


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


def wilson(successes: int, n: int) -> Estimate | None:
    """Wilson score interval of a rate; None when n is 0.

    Source: E. B. Wilson, Probable inference, JASA 22 (1927).
    """
    if n == 0:
        return None
    rate = successes / n
    shrink = 1 + Z95**2 / n
    centre = (rate + Z95**2 / (2 * n)) / shrink
    half = Z95 / shrink * math.sqrt(rate * (1 - rate) / n + Z95**2 / (4 * n**2))
    return Estimate(value=rate, low=min(rate, max(0.0, centre - half)), high=max(rate, min(1.0, centre + half)))


def bootstrap_mean(
    values: Sequence[float], clusters: Sequence[str], seed: int = RESAMPLING_SEED, *, least: float = -1.0
) -> Estimate | None:
    """Percentile bootstrap interval of a mean, resampling whole clusters; None when there are no values.

    For paired comparisons give the differences of the pairs. Where all clusters agree, resampling knows of nothing
    else; the interval then is the rule of three: up to 3/n of the clusters may differ, by the whole range.

    Args:
        values: Observations.
        clusters: Cluster of each one. Observations of one problem in several seeds are not independent, so they are
            drawn together.
        seed: Of the resampling.
        least: The range of the values is [least, 1]; values beyond it have no range that is known.

    Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), chapters 6, 13; J. A. Hanley,
    A. Lippman-Hand, If nothing goes wrong, is everything all right?, JAMA 249 (1983).
    """
    import numpy as np

    if not values:
        return None
    other = [-value for value in values]
    if (sum(values), list(values)) < (0, other):  # a difference seen from the other side has the same interval
        turned = bootstrap_mean(other, clusters, seed, least=least)
        return turned and Estimate(value=-turned.value, low=-turned.high, high=-turned.low)
    _, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.bincount(index, weights=np.asarray(values, dtype=float))
    sizes = np.bincount(index).astype(float)
    generator = np.random.default_rng(seed)
    # Equal clusters are one kind: successes have a handful of kinds, and drawing how often each comes up is then
    # hundreds of times faster than drawing every cluster.
    kinds, counts = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    means = []
    for _ in range(RESAMPLES // 500):
        if len(counts) <= _FEW:
            totals = kinds @ generator.multinomial(len(sums), counts / len(sums), size=500).T
        else:
            drawn = generator.integers(len(sums), size=(500, len(sums)))
            totals = np.stack([sums[drawn].sum(axis=1), sizes[drawn].sum(axis=1)])
        means.append(totals[0] / totals[1])
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    value = float(sums.sum() / sizes.sum())
    if len(np.unique(sums / sizes)) == 1 and least <= value <= 1:
        spread = min(1.0, 3 / len(sums)) * (1 - least)
        low, high = max(least, value - spread), min(1.0, value + spread)
    return Estimate(value=value, low=min(value, float(low)), high=max(value, float(high)))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p of McNemar's test: are the two kinds of discordant pair equally likely? 1 without any.

    Source: Q. McNemar, Psychometrika 12 (1947); exact binomial form.
    """
    n = only_first + only_second
    tail = sum(math.comb(n, i) for i in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**n)
