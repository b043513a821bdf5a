"""Key-value caches with room for the tokens to come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import torch


Held: TypeAlias = "Iterable[tuple[int, list[tuple[torch.Tensor, torch.Tensor]]]]"
"""Pieces of a row's first tokens: where each begins, and its keys and values (heads, tokens, width)."""


def roomy_caches(layers: int) -> Callable[[int, Sequence[Held], int], Any]:
    """Returns a function that makes key-value caches of a known final length.

    Its arguments are the final length in tokens, the pieces that each row holds, and how many tokens those take. A
    DynamicCache copies everything at each step, which took a third of the time of small models on a CPU.
    """
    from transformers import Cache

    new_layer = _layer_class()

    def make(length: int, held: Sequence[Held] = (), width: int = 0) -> Any:
        cache_layers = [new_layer(length) for _ in range(layers)]
        for row, pieces in enumerate(held):
            for begin, piece in pieces:
                for layer, (keys, values) in zip(cache_layers, piece, strict=True):
                    layer.fill(len(held), row, begin, keys, values, width)
        return Cache(layers=cache_layers)

    return make


def _layer_class() -> Any:
    """Makes the class on demand, since importing transformers takes seconds."""
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        """Keys and values (rows, heads, tokens, width) are views into buffers with room for `length` tokens."""

        def __init__(self, length: int) -> None:
            super().__init__()
            self.keys: torch.Tensor
            self.values: torch.Tensor
            self.length = length
            self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None

        def fill(self, rows: int, row: int, begin: int, keys: torch.Tensor, values: torch.Tensor, width: int) -> None:
            """Copies a piece into a row. The rest is 0, since attention also multiplies masked values."""
            if self.buffers is None:
                self.lazy_initialization(keys, values)
                self.buffers = tuple(
                    piece.new_zeros((rows, piece.shape[0], self.length, piece.shape[2])) for piece in (keys, values)
                )
                assert self.buffers is not None
                self.keys, self.values = (buffer[:, :, :width] for buffer in self.buffers)
            for buffer, piece in zip(self.buffers, (keys, values), strict=True):
                buffer[row, :, begin : begin + piece.shape[1]] = piece

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            begin = self.get_seq_length()
            end = begin + key_states.shape[-2]
            if self.buffers is None:
                if not self.is_initialized:
                    self.lazy_initialization(key_states, value_states)
                self.buffers = self._roomy(key_states, self.keys, begin), self._roomy(value_states, self.values, begin)
            keys, values = self.buffers
            keys[:, :, begin:end] = key_states
            values[:, :, begin:end] = value_states
            self.keys, self.values = keys[:, :, :end], values[:, :, :end]
            return self.keys, self.values

        def _roomy(self, like: torch.Tensor, held: torch.Tensor, count: int) -> torch.Tensor:
            rows, heads, _, width = like.shape
            buffer = like.new_empty((rows, heads, self.length, width))
            if count:
                buffer[:, :, :count] = held
            return buffer

        def batch_repeat_interleave(self, repeats: int) -> None:
            super().batch_repeat_interleave(repeats)
            self.buffers = None

        def batch_select_indices(self, indices: torch.Tensor) -> None:
            super().batch_select_indices(indices)
            self.buffers = None

    return RoomyLayer
