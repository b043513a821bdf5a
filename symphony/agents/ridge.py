"""Ridge regression that learns one example at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Ridge:
    """Least squares with penalty 1 on the weights, for a few features; plain Python gives the same bits everywhere.

    Source: recursive least squares from A = I (Sherman-Morrison). With A^-1 before the example and k = A^-1 x /
    (1 + x' A^-1 x): the weights gain k (reward - x' weights), and A^-1 loses k (A^-1 x)'.

    Attributes:
        inverse: Rows of the symmetric A^-1, where A = I + the sum of x x'; empty before the first example.
        weights: A^-1 times the sum of reward times x; empty before the first example.
    """

    inverse: list[list[float]] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)

    def add(self, x: Sequence[float], reward: float) -> None:
        """Learns that `x` brought `reward`. Every x must have the same length."""
        if not self.inverse:
            self.inverse = [[float(row == column) for column in range(len(x))] for row in range(len(x))]
            self.weights = [0.0] * len(x)
        present = [(at, one) for at, one in enumerate(x) if one]
        turned = [sum([one * row[at] for at, one in present]) for row in self.inverse]
        scale = 1.0 + sum([one * turned[at] for at, one in present])
        error = (reward - self.mean(x)) / scale
        self.weights = [weight + error * one for weight, one in zip(self.weights, turned, strict=True)]
        for row, one in zip(self.inverse, turned, strict=True):
            share = one / scale
            row[:] = [cell - share * other for cell, other in zip(row, turned, strict=True)]

    def mean(self, x: Sequence[float]) -> float:
        """Returns the expected reward at `x`, x' times the weights; 0 before the first example."""
        return sum([one * weight for one, weight in zip(x, self.weights, strict=False)])

    def variance(self, x: Sequence[float]) -> float:
        """Returns x' A^-1 x, >= 0: how little is known at `x`."""
        present = [(at, one) for at, one in enumerate(x) if one]
        if not self.inverse:
            return sum([one * one for _, one in present])
        rows = [(self.inverse[at], one) for at, one in present]
        return max(0.0, sum([one * other * row[at] for row, one in rows for at, other in present]))
