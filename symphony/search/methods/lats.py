"""LATS (Zhou et al. 2023): the same tree search, wider and hotter, without scheduling and with plain values."""

from __future__ import annotations

from dataclasses import dataclass

from symphony.fields import Count, NotNegative
from symphony.search.method import SQRT_2
from symphony.search.symphony import Symphony


@dataclass(frozen=True, slots=True, kw_only=True)
class LATS(Symphony):
    """SYMPHONY's loop with the hyper-parameters of LATS's published code, and all of its other settings.

    Needs an evaluator; works with and without feedback; reflects where the memory does. One model or a pool.

    What else sets LATS apart is handed to `solve`: scorer Plain, scheduler Fixed (one agent) or Uniform (a pool). Its
    reflections are those of the memory given. Not reproduced: the published WebShop root, which gets 2n children.

    Attributes:
        n: Actions sampled an expansion and, unless `sim_width` is set, a simulation step, >= 1.
        c: Weight of exploration (published code: sqrt(2 ln N / n), so sqrt(2)).
        iterations, temperature: As in `Symphony`, with LATS's own numbers.
    """

    n: Count = 5
    iterations: Count = 30
    c: NotNegative = SQRT_2
    temperature: NotNegative = 1.0
