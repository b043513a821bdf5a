"""The memory that a model takes of a device, from the headers of its files alone; nothing is loaded.

Weights are exact apart from what bitsandbytes adds; the cache is exact. `placement` puts models on devices by size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.files import read_json
from symphony.models.devices import CPU
from symphony.models.dtypes import BYTES_OF, resolved
from symphony.models.folder import BYTES, CONFIG, header, weights_files
from symphony.types import SymphonyError

BLOCK = 64
"""Weights that share a scale in four-bit schemes."""
NESTED = 256
"""Scales that share a second-level scale (double quantisation)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """The memory that one model takes.

    Attributes:
        weights: Bytes of all weights, as stored on the device.
        parameters: Count of numbers in the weights.
        cache_per_token: Bytes of keys and values per token of one sequence.
    """

    weights: int
    parameters: int
    cache_per_token: int


def footprint(folder: Path, *, dtype: str = "float32", quantization: str | None = None, device: str = CPU) -> Footprint:
    """Reads the footprint from the headers of a Hugging Face folder.

    Args:
        folder: A folder with config.json and *.safetensors; a quantised checkpoint is taken as it is.
        dtype: Format of the cache and of all weights that are not quantised; "auto" depends on the device.
        quantization: The scheme applied while loading: "nf4", "fp4", "int8", or None.

    Raises:
        SymphonyError: No config, no safetensors, a broken header, or a config without the needed numbers.
    """
    config = read_json(folder / CONFIG, "the config of a model")
    tensors = [tensor for file in weights_files(folder) for tensor in header(file).items()]
    stored = config.get("quantization_config") is not None
    width = BYTES_OF[resolved(dtype, device)]
    weights = sum(
        _size(tensor) * BYTES.get(tensor["dtype"], 1)
        if stored and not _floats(tensor)
        else _tensor_bytes(name, tensor, width, None if stored else quantization)
        for name, tensor in tensors
    )
    try:
        per_token = cache_per_token(config, width)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        allowed = "its layers, heads and sizes as numbers, under the names that Llama uses"
        raise SymphonyError(f"{folder / CONFIG}: found {type(error).__name__} {error}, allowed: {allowed}") from error
    return Footprint(
        weights=weights,
        parameters=sum(_size(tensor) for _, tensor in tensors),
        cache_per_token=per_token,
    )


def cache_per_token(config: Mapping[str, Any], width: int) -> int:
    """Returns the bytes one token adds to a sequence: 2 x layers x key-value heads x head size x width of a number."""
    config = config.get("text_config") or config
    heads = int(config["num_attention_heads"])
    size = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
    return 2 * int(config["num_hidden_layers"]) * int(config.get("num_key_value_heads") or heads) * size * width


def _size(tensor: Mapping[str, Any]) -> int:
    return math.prod(tensor["shape"])


def _floats(tensor: Mapping[str, Any]) -> bool:
    return str(tensor["dtype"]).startswith(("F", "BF"))


def _tensor_bytes(name: str, tensor: Mapping[str, Any], width: int, quantization: str | None) -> int:
    """Returns the bytes of one tensor on the device; only linear layers other than the head are quantised."""
    count, shape = _size(tensor), tensor["shape"]
    whole = len(shape) != 2 or "embed" in name or "lm_head" in name or name.endswith(("wte.weight", "wpe.weight"))
    if quantization is None or whole:
        return count * width
    if quantization == "int8":
        return count + 4 * shape[0]
    if shape[1] % BLOCK:
        return count * width
    scales = count // BLOCK
    return count // 2 + scales + 4 * math.ceil(scales / NESTED)
