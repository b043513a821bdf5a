"""Draws a token from logits, each row from its own generator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def draw(logits: NDArray[np.float32], temperature: float, rng: np.random.Generator) -> tuple[int, float]:
    """A token of softmax(logits / temperature), and its log-probability (nats) at temperature 1.

    Adding temperature times Gumbel noise to the logits and taking the maximum is such a draw; at temperature 0 it is
    the most probable token. The noise is drawn in double precision: in single precision an exponential may be an exact
    0, and its token would win whatever its logit.

    Args:
        logits: (vocabulary,).
        temperature: >= 0.
    """
    if temperature > 0:
        noise = np.log(rng.standard_exponential(len(logits)))
        token = int(np.argmax(logits - temperature * noise))
    else:
        token = int(np.argmax(logits))
    top = logits.max()
    return token, float(logits[token] - top) - float(np.log(np.exp(logits - top).sum(dtype=np.float64)))
