"""Draws tokens from logits, each row with its own generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COLDEST, _HOTTEST = 1e-25, 1e25  # limits of division in single precision; beyond, draws are greedy or uniform anyway
_BLOCK = 512  # tokens whose probabilities are summed before the block sums are


class Drawer:
    """Draws one token after another, reusing its arrays: new ones of a large vocabulary cost more than the sums.

    It is not safe for two threads at once.
    """

    def __init__(self) -> None:
        self._below, self._weights = np.empty(0, np.float32), np.empty(0, np.float32)
        self._starts = np.empty(0, np.intp)

    def draw(self, logits: NDArray[np.float32], temperature: float, rng: np.random.Generator) -> tuple[int, float]:
        """Draws a token of softmax(logits / temperature); returns it and its log-probability (nats) at temperature 1.

        It uses one random number per token, and draws the first token at which the sum of the probabilities exceeds it.
        Sums are taken in double precision. At temperature 0 it takes the most probable token.

        Args:
            logits: (vocabulary,).
            temperature: >= 0.
        """
        if len(logits) != len(self._below):
            self._below, self._weights = np.empty_like(logits), np.empty_like(logits)
            self._starts = np.arange(0, len(logits), _BLOCK)
        best = token = int(np.argmax(logits))
        below = np.subtract(logits, logits[best], out=self._below)
        if temperature > 0:
            token = self._draw(below, min(max(temperature, _COLDEST), _HOTTEST), rng)
        of_token = float(below[token])
        return token, of_token - float(np.log(np.exp(below, out=below).sum(dtype=np.float64)))

    def _draw(self, below: NDArray[np.float32], temperature: float, rng: np.random.Generator) -> int:
        weights = np.divide(below, np.float32(temperature), out=self._weights)
        np.exp(weights, out=weights)
        blocks = np.add.reduceat(weights, self._starts, dtype=np.float64)
        sums = np.cumsum(blocks)
        passed = rng.random() * sums[-1]
        block = _first_above(sums, passed)
        begin = block * _BLOCK
        within = np.cumsum(weights[begin : begin + _BLOCK], dtype=np.float64)
        return begin + _first_above(within, passed - (sums[block] - blocks[block]))


def _first_above(sums: NDArray[np.float64], passed: float) -> int:
    return min(int(np.searchsorted(sums, passed, side="right")), len(sums) - 1)
