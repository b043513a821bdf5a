"""Tracks which tokens are in the key-value cache and which sequences share them. Knows nothing of llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int32]


@dataclass(slots=True, kw_only=True)
class Sequence:
    """One sequence of the cache.

    Attributes:
        id: Number of the sequence in llama.cpp.
        tokens: Tokens of the whole prompt, and of the completion generated so far (planned,).
        cells: Numbers of the cells that hold the first of them (computed,); fewer than `tokens` during the prefill.
        used: When it was last used; larger is later.
        active: Whether a row generates with it.
    """

    id: int
    tokens: Ints
    cells: Ints
    used: int
    active: bool

    @property
    def computed(self) -> int:
        return len(self.cells)


class Sequences:
    """The bookkeeping of a unified cache, in which a copied prefix takes no cells.

    Args:
        cells: Tokens that the cache holds.
        count: Maximum number of sequences in the cache.
    """

    def __init__(self, cells: int, count: int) -> None:
        self._holders = np.zeros(cells, np.int32)  # number of sequences that hold each cell
        self._free = list(range(cells))
        self._ids = list(range(count))[::-1]
        self._held: dict[int, Sequence] = {}
        self._clock = 0

    @property
    def free(self) -> int:
        """Number of cells that no sequence holds."""
        return len(self._free)

    def has_room(self, cells: int) -> bool:
        """Whether a sequence with that many cells of its own can be opened."""
        return bool(self._ids) and self.free >= cells

    def match(self, tokens: Ints) -> tuple[Sequence | None, int, int]:
        """Finds the sequence with the longest computed prefix of `tokens`.

        The last token is never part of a prefix: it must be computed for its logits.

        Returns:
            The sequence, the computed length, and the longest prefix that some active sequence will have computed.
        """
        best, computed, planned = None, 0, 0
        for held in self._held.values():
            common = common_prefix(held.tokens, tokens[:-1])
            if held.active:
                planned = max(planned, common)
            usable = min(common, held.computed)
            if usable > computed or (usable == computed and best is not None and held.used > best.used):
                best, computed = held, usable
        return best, computed, planned

    def open(self, tokens: Ints) -> Sequence:
        """Opens an empty active sequence for a prompt; there must be room."""
        self._clock += 1
        cells = np.zeros(0, np.int32)
        held = Sequence(id=self._ids.pop(), tokens=tokens, cells=cells, used=self._clock, active=True)
        self._held[held.id] = held
        return held

    def take(self, held: Sequence, source: Sequence, length: int) -> None:
        """Gives an empty sequence the first tokens of another one."""
        self._clock += 1
        source.used = held.used = self._clock
        held.cells = source.cells[:length].copy()
        self._holders[held.cells] += 1

    def extend(self, held: Sequence, count: int) -> None:
        """Records that `count` more tokens of the sequence were computed. Needs as many free cells."""
        if len(self._free) < count:
            raise MemoryError(f"cache: found {len(self._free)} free cells, allowed: at least {count}")
        new = np.array([self._free.pop() for _ in range(count)], np.int32)
        self._holders[new] += 1
        held.cells = np.concatenate((held.cells, new))

    def add(self, held: Sequence, token: int) -> None:
        """Appends a token that is not computed yet to the sequence."""
        held.tokens = np.append(held.tokens, np.int32(token))

    def rest(self, held: Sequence) -> None:
        """Marks the sequence as unused by any row; its computed part stays until it is the least recently used."""
        held.tokens = held.tokens[: held.computed]
        held.active = False

    def drop(self, held: Sequence) -> None:
        """Forgets the sequence."""
        self._holders[held.cells] -= 1
        self._free += held.cells[self._holders[held.cells] == 0].tolist()
        del self._held[held.id]
        self._ids.append(held.id)

    def spare(self, cells: int, keep: Sequence | None) -> list[Sequence]:
        """Drops resting sequences, least recently used first, until a number and that many cells are free.

        Args:
            keep: A sequence that is not dropped.

        Returns:
            The dropped sequences.
        """
        dropped = []
        resting = sorted((held for held in self._held.values() if not held.active), key=lambda held: held.used)
        for held in resting:
            if self.has_room(cells):
                break
            if held is not keep:
                self.drop(held)
                dropped.append(held)
        return dropped


def common_prefix(tokens: Ints, other: Ints) -> int:
    """Returns the length of the longest common prefix."""
    length = min(len(tokens), len(other))
    different = tokens[:length] != other[:length]
    return int(different.argmax()) if different.any() else length
