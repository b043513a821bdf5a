"""What a model takes of a device's memory, from the headers of its files alone: nothing is loaded.

Weights are exact up to what bitsandbytes adds; the cache is exact; what a forward pass needs beside them (activations,
the runtime) is an allowance. `symphony plan` tells it before anything is spent.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.types import SymphonyError

BLOCK = 64
"""Weights that share a scale in four-bit schemes."""
NESTED = 256
"""Scales that share a scale of their own (double quantisation)."""
ALLOWANCE = 1.0e9
"""Bytes for the runtime and activations beside weights and cache, on a GPU."""

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What one model takes.

    Attributes:
        weights: Bytes of all weights, as held by the device.
        parameters: Numbers in them.
        cache_per_token: Bytes of keys and values of one token of one sequence.
    """

    weights: int
    parameters: int
    cache_per_token: int

    def sequences(self, memory: float, tokens: int) -> int:
        """How many sequences of that many tokens fit beside the weights; 0 where not one does.

        Args:
            memory: Bytes of the device for this model, the allowance taken off already.
            tokens: Of a sequence, prompt and completion, >= 1.
        """
        return max(0, int((memory - self.weights) // (self.cache_per_token * tokens)))


def footprint(folder: Path, *, dtype: str = "float32", quantization: str | None = None) -> Footprint:
    """Reads the headers of a Hugging Face folder.

    Args:
        folder: With config.json and *.safetensors; may hold a quantised checkpoint, which is taken as it is.
        dtype: Of what is not quantised, and of the cache.
        quantization: Applied while loading: "nf4", "fp4", "int8", or None.

    Raises:
        SymphonyError: No config, no safetensors, or a broken header.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise SymphonyError(f"{folder}: found {error}, allowed: a folder with config.json") from error
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise SymphonyError(f"{folder}: found no *.safetensors, allowed: weights in that format")
    tensors = [tensor for file in files for tensor in _header(file).items()]
    stored = config.get("quantization_config") is not None
    width = _DTYPE_BYTES[dtype]
    weights = sum(
        _size(tensor) * _BYTES[tensor["dtype"]]
        if stored and not _floats(tensor)
        else _held(name, tensor, width, None if stored else quantization)
        for name, tensor in tensors
    )
    return Footprint(
        weights=weights,
        parameters=sum(_size(tensor) for _, tensor in tensors),
        cache_per_token=cache_per_token(config, width),
    )


def cache_per_token(config: Mapping[str, Any], width: int) -> int:
    """Bytes that one token adds to one sequence: 2 x layers x key-value heads x head size x width of a number."""
    config = config.get("text_config") or config
    heads = int(config["num_attention_heads"])
    size = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
    return 2 * int(config["num_hidden_layers"]) * int(config.get("num_key_value_heads") or heads) * size * width


def _header(file: Path) -> dict[str, dict[str, Any]]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(stream.read(length))
    except (OSError, ValueError, struct.error) as error:
        raise SymphonyError(f"{file}: found {error}, allowed: a safetensors file") from error
    return {name: tensor for name, tensor in header.items() if name != "__metadata__"}


def _size(tensor: Mapping[str, Any]) -> int:
    return math.prod(tensor["shape"])


def _floats(tensor: Mapping[str, Any]) -> bool:
    return str(tensor["dtype"]).startswith(("F", "BF"))


def _held(name: str, tensor: Mapping[str, Any], width: int, quantization: str | None) -> int:
    """Bytes of one tensor on the device; only linear layers other than the head are quantised."""
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


# --------------------------------------------------------------------------- a pool on a device


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a pool fits a device.

    Attributes:
        resident: Names of the models that stay in memory together; the others are swapped in when they are asked.
        sequences: Sequences at once for each model: with all resident, or alone.
        spare: Bytes left with the resident ones and one sequence each; negative where not even one model fits.
    """

    resident: tuple[str, ...]
    sequences: Mapping[str, int]
    spare: int


def fit(models: Mapping[str, Footprint], memory: float, tokens: int, allowance: float = ALLOWANCE) -> Fit:
    """Whether a pool fits into a device's memory, and at how many sequences.

    Args:
        models: By agent, in the pool's order.
        memory: Bytes of the device.
        tokens: Of the longest sequence.
        allowance: Bytes kept for the runtime.
    """
    room = memory - allowance
    together = sum(model.weights + model.cache_per_token * tokens for model in models.values())
    if together <= room:
        free = room - sum(model.weights for model in models.values())
        per_token = sum(model.cache_per_token for model in models.values())
        each = int(free // (per_token * tokens))
        return Fit(resident=tuple(models), sequences=dict.fromkeys(models, each), spare=int(room - together))
    alone = {name: model.sequences(room, tokens) for name, model in models.items()}
    largest = max(model.weights + model.cache_per_token * tokens for model in models.values())
    return Fit(resident=(), sequences=alone, spare=int(room - largest))


def told(models: Mapping[str, Footprint], found: Fit, memory: float, tokens: int) -> list[str]:
    """The plan in lines for people; sizes in GB (10^9 bytes)."""
    lines = [
        f"{name}: weights {_gb(model.weights)}, {model.parameters:,} stored numbers, "
        f"cache {model.cache_per_token / 1e3:.0f} kB a token, {found.sequences[name]} sequences of {tokens} tokens"
        for name, model in models.items()
    ]
    if found.resident:
        lines.append(f"all {len(models)} models stay in {_gb(memory)} together; {_gb(found.spare)} to spare")
    elif found.spare >= 0:
        total = _gb(sum(model.weights for model in models.values()))
        lines.append(
            f"the models ({total}) do not fit into {_gb(memory)} together: requests are grouped by model, and "
            "each change of model loads its weights anew"
        )
    else:
        lines.append(f"the largest model does not fit into {_gb(memory)}: {_gb(-found.spare)} too little")
    return lines


def nearest(pools: Mapping[str, Mapping[str, Footprint]], memory: float, tokens: int) -> str | None:
    """The pool with the most weights that stays in memory whole; None where none does."""
    fitting = [name for name, models in pools.items() if fit(models, memory, tokens).resident]
    return max(fitting, key=lambda name: sum(model.weights for model in pools[name].values()), default=None)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
