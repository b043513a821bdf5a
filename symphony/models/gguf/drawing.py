"""Draws a token from logits, each row from its own generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_COLDEST, _HOTTEST = 1e-25, 1e25  # that single precision divides by; beyond, draws are greedy or uniform all the same


def draw(logits: NDArray[np.float32], temperature: float, rng: np.random.Generator) -> tuple[int, float]:
    """A token of softmax(logits / temperature), and its log-probability (nats) at temperature 1.

    One random number a token: the first token at which the sum of the probabilities passes it. Sums are taken in double
    precision. At temperature 0 it is the most probable token.

    Args:
        logits: (vocabulary,).
        temperature: >= 0.
    """
    best = int(np.argmax(logits))
    below = logits - logits[best]
    token = best
    if temperature > 0:
        sums = np.cumsum(np.exp(below / np.float32(min(max(temperature, _COLDEST), _HOTTEST))), dtype=np.float64)
        token = min(int(np.searchsorted(sums, rng.random() * sums[-1], side="right")), len(sums) - 1)
    return token, float(below[token]) - float(np.log(np.exp(below).sum(dtype=np.float64)))
