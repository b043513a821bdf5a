"""Forms batches of rows of similar length, as large as the memory allows.

torch is imported when memory has run out, so importing this module costs nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence

from symphony.models.sampler import Row

_PATIENCE = 4  # full batches that must succeed before a larger one is tried; doubles each time memory runs out
# Messages of errors without a type of their own: from the processor's allocator, the driver or a library.
_OUT_OF_MEMORY = ("DefaultCPUAllocator", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


class TokenBudget:
    """The number of tokens a batch may hold: halved when memory runs out, later doubled again.

    It grows after a number of full batches succeeded; that number doubles with each failure. So failing tries become
    ever rarer, and memory that other processes took for a while is used again.

    Attributes:
        most: The configured maximum.
        tokens: The limit in force now, 1 to `most`. One row may exceed it.
        halvings: How often memory ran out.
    """

    def __init__(self, most: int) -> None:
        self.most = self.tokens = most
        self.halvings = 0
        self._held = 0
        self._patience = _PATIENCE

    def halve(self, batch: Sequence[Row]) -> None:
        """Records that memory ran out at this batch: later ones hold at most half of what it held."""
        self.tokens = max(1, min(self.tokens, _held_by(batch)) // 2)
        self.halvings += 1
        self._held = 0
        self._patience *= 2

    def held(self, *, full: bool) -> None:
        """Records that a batch succeeded; only a `full` one counts."""
        self._held += full
        if self.tokens < self.most and self._held >= self._patience:
            self.tokens = min(self.most, 2 * self.tokens)
            self._held = 0


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Sorts rows so that those of similar length, and equal prompts, are side by side."""
    return sorted(rows, key=lambda row: (row.limit, len(row.prompt), row.prompt, row.index))


def cut(rows: Sequence[Row], most_rows: int, tokens: int) -> tuple[list[Row], bool]:
    """Returns the first batch of `rows`, at least one row, and whether the token limit ended it."""
    batch: list[Row] = []
    longest = 0
    for row in rows[:most_rows]:
        longest = max(longest, _length(row))
        if batch and (len(batch) + 1) * longest > tokens:
            return batch, True
        batch.append(row)
    return batch, False


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(part in str(error) for part in _OUT_OF_MEMORY)


def release() -> None:
    """Returns unused memory to the devices."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _length(row: Row) -> int:
    return len(row.prompt) + row.limit


def _held_by(batch: Sequence[Row]) -> int:
    return len(batch) * max(map(_length, batch))
