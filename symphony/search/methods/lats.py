"""LATS (Zhou et al. 2023): the same tree search, wider and hotter, without scheduling and with plain values."""

from __future__ import annotations

from dataclasses import dataclass

from symphony.fields import Count, NotNegative
from symphony.search.method import SQRT_2
from symphony.search.symphony import Symphony


@dataclass(frozen=True, slots=True, kw_only=True)
class LATS(Symphony):
    """SYMPHONY's loop with the hyper-parameters of LATS's published code, and all of its other settings.

    Needs an evaluator; works with and without feedback; reflects if the memory does. One model or a pool.

    The other differences of LATS are passed to `solve`: scorer Plain, scheduler Fixed (one agent) or Uniform (a pool).
    Reflection follows the given memory. Not reproduced: the published WebShop root, which gets 2n children.

    Attributes:
        n: Actions sampled per expansion and, if `sim_width` is None, per simulation step, >= 1.
        c: Weight of exploration (published code: sqrt(2 ln N / n), so sqrt(2)).
        iterations, temperature: As in `Symphony`, with LATS's own values.
    """

    n: Count = 5
    iterations: Count = 30
    c: NotNegative = SQRT_2
    temperature: NotNegative = 1.0
