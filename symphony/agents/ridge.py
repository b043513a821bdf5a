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
        present = [(at, value) for at, value in enumerate(x) if value]
        turned = [sum([value * row[at] for at, value in present]) for row in self.inverse]
        scale = 1.0 + sum([value * turned[at] for at, value in present])
        error = (reward - self.mean(x)) / scale
        self.weights = [weight + error * change for weight, change in zip(self.weights, turned, strict=True)]
        for row, entry in zip(self.inverse, turned, strict=True):
            share = entry / scale
            row[:] = [cell - share * other for cell, other in zip(row, turned, strict=True)]

    def mean(self, x: Sequence[float]) -> float:
        """Returns the expected reward at `x`, x' times the weights; 0 before the first example."""
        return sum([value * weight for value, weight in zip(x, self.weights, strict=False)])

    def variance(self, x: Sequence[float]) -> float:
        """Returns x' A^-1 x, >= 0: how little is known at `x`."""
        present = [(at, value) for at, value in enumerate(x) if value]
        if not self.inverse:
            return sum([value * value for _, value in present])
        rows = [(self.inverse[at], value) for at, value in present]
        return max(0.0, sum([value * other * row[at] for row, value in rows for at, other in present]))
