"""Key-value caches with room for what is to come."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def roomy_caches(layers: int) -> Callable[[int], Any]:
    """Makes key-value caches of a known final length.

    A DynamicCache copies everything at each step, which was a third of the time of small models on a CPU.
    """
    from transformers import Cache
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        """Keys and values (rows, heads, tokens, width) are views into buffers with room for `length` tokens."""

        def __init__(self, length: int) -> None:
            super().__init__()
            self.keys: torch.Tensor
            self.values: torch.Tensor
            self.length = length
            self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None

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

    return lambda length: Cache(layers=[RoomyLayer(length) for _ in range(layers)])
