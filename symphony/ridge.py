"""Ridge regression that learns one example after another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Ridge:
    """Least squares with penalty 1 on the weights, in plain Python: a handful of features, the same bits everywhere.

    Source: the Sherman-Morrison formula, (A + x x')^-1 = A^-1 - (A^-1 x)(A^-1 x)' / (1 + x' A^-1 x), from A = I.

    Attributes:
        inverse: A^-1 with A = I + the sum of x x', rows; empty before the first example.
        response: b, the sum of reward times x; empty before the first example.
    """

    inverse: list[list[float]] = field(default_factory=list)
    response: list[float] = field(default_factory=list)

    def add(self, x: Sequence[float], reward: float) -> None:
        """Learns that `x` brought `reward`. Every x has the same length."""
        if not self.inverse:
            self.inverse = [[float(row == column) for column in range(len(x))] for row in range(len(x))]
            self.response = [0.0] * len(x)
        turned = self._times(x)
        scale = 1.0 + _dot(x, turned)
        self.inverse = [
            [cell - left * right / scale for cell, right in zip(row, turned, strict=True)]
            for row, left in zip(self.inverse, turned, strict=True)
        ]
        self.response = [sum_ + reward * one for sum_, one in zip(self.response, x, strict=True)]

    def mean(self, x: Sequence[float]) -> float:
        """The reward expected at `x`, b' A^-1 x."""
        return _dot(self.response, self._times(x)) if self.inverse else 0.0

    def variance(self, x: Sequence[float]) -> float:
        """x' A^-1 x, >= 0: how little is known at `x`."""
        return max(0.0, _dot(x, self._times(x))) if self.inverse else _dot(x, x)

    def _times(self, x: Sequence[float]) -> list[float]:
        return [_dot(row, x) for row in self.inverse]


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum([a * b for a, b in zip(left, right, strict=True)])
