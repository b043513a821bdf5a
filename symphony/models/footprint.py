"""What a model takes of a device's memory, from the headers of its files alone: nothing is loaded.

Weights are exact up to what bitsandbytes adds; the cache is exact; what a forward pass needs beside them (activations,
the runtime) is an allowance. `symphony plan` tells it before anything is spent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
"""Scales that share a scale of their own (double quantisation)."""
ALLOWANCE = 1.0e9
"""Bytes for the runtime and activations beside weights and cache, on each GPU."""
LOAD_RATE = 1.0e9
"""Bytes of weights a second that a swap is taken to load, where nothing was measured: those of a slow disk."""


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


def footprint(folder: Path, *, dtype: str = "float32", quantization: str | None = None, device: str = CPU) -> Footprint:
    """Reads the headers of a Hugging Face folder.

    Args:
        folder: With config.json and *.safetensors; may hold a quantised checkpoint, which is taken as it is.
        dtype: Of what is not quantised, and of the cache; "auto" by the device.
        quantization: Applied while loading: "nf4", "fp4", "int8", or None.

    Raises:
        SymphonyError: No config, no safetensors, or a broken header.
    """
    config = read_json(folder / CONFIG, "the config of a model")
    tensors = [tensor for file in weights_files(folder) for tensor in header(file).items()]
    stored = config.get("quantization_config") is not None
    width = BYTES_OF[resolved(dtype, device)]
    weights = sum(
        _size(tensor) * BYTES.get(tensor["dtype"], 1)
        if stored and not _floats(tensor)
        else _held(name, tensor, width, None if stored else quantization)
        for name, tensor in tensors
    )
    try:
        per_token = cache_per_token(config, width)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        allowed = "its layers, heads and sizes as numbers, by the names that Llama has for them"
        raise SymphonyError(f"{folder / CONFIG}: found {type(error).__name__} {error}, allowed: {allowed}") from error
    return Footprint(
        weights=weights,
        parameters=sum(_size(tensor) for _, tensor in tensors),
        cache_per_token=per_token,
    )


def cache_per_token(config: Mapping[str, Any], width: int) -> int:
    """Bytes that one token adds to one sequence: 2 x layers x key-value heads x head size x width of a number."""
    config = config.get("text_config") or config
    heads = int(config["num_attention_heads"])
    size = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
    return 2 * int(config["num_hidden_layers"]) * int(config.get("num_key_value_heads") or heads) * size * width


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


# --------------------------------------------------------------------------- a pool on devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a pool fits the devices.

    Attributes:
        resident: Names of the models that stay in memory together: all, or none; then each is swapped in when it is
            asked, on the largest device.
        devices: Number of the device that each resident model is on. A model is on one device whole.
        sequences: Sequences at once for each model: with all resident, or alone.
        spare: Bytes left on all devices with the resident ones and one sequence each; where none is, those left on the
            largest device by the largest model, negative where it does not fit.
    """

    resident: tuple[str, ...]
    devices: Mapping[str, int]
    sequences: Mapping[str, int]
    spare: int


def fit(models: Mapping[str, Footprint], memory: Sequence[float], tokens: int, allowance: float = ALLOWANCE) -> Fit:
    """Whether a pool fits into the devices' memory, and at how many sequences.

    Args:
        models: By agent, in the pool's order.
        memory: Bytes of each device.
        tokens: Of the longest sequence.
        allowance: Bytes kept for the runtime, on each device.
    """
    rooms = [size - allowance for size in memory]
    needed = {name: model.weights + model.cache_per_token * tokens for name, model in models.items()}
    devices = _placed(needed, rooms, spread=True) or _placed(needed, rooms, spread=False)
    if devices:
        each = [
            _together([models[name] for name in models if devices[name] == at], room, tokens)
            for at, room in enumerate(rooms)
        ]
        sequences = {name: each[devices[name]] for name in models}
        spare = int(sum(rooms) - sum(needed.values()))
        return Fit(resident=tuple(models), devices=devices, sequences=sequences, spare=spare)
    alone = {name: model.sequences(max(rooms), tokens) for name, model in models.items()}
    return Fit(resident=(), devices={}, sequences=alone, spare=int(max(rooms) - max(needed.values())))


def _placed(needed: Mapping[str, int], rooms: Sequence[float], *, spread: bool) -> dict[str, int]:
    """A device for each model, the largest model first: the emptiest device, or the fullest that it fits; {} where
    some model finds none."""
    left, devices = list(rooms), {}
    for name in sorted(needed, key=lambda name: -needed[name]):
        fitting = [at for at, room in enumerate(left) if needed[name] <= room]
        if not fitting:
            return {}
        devices[name] = max(fitting, key=lambda at: left[at] if spread else -left[at])
        left[devices[name]] -= needed[name]
    return devices


def _together(models: Sequence[Footprint], room: float, tokens: int) -> int:
    """Sequences for each of the models of one device."""
    per_token = sum(model.cache_per_token for model in models)
    return int((room - sum(model.weights for model in models)) // (per_token * tokens)) if models else 0


def told(
    models: Mapping[str, Footprint], found: Fit, memory: Sequence[float], tokens: int, load_rate: float = LOAD_RATE
) -> list[str]:
    """The plan in lines for people; sizes in GB (10^9 bytes).

    Args:
        load_rate: Bytes of weights a second that a swap loads.
    """
    lines = [
        f"{name}: weights {_gb(model.weights)}, {model.parameters:,} stored numbers, "
        f"cache {model.cache_per_token / 1e3:.0f} kB a token, {found.sequences[name]} sequences of {tokens} tokens"
        for name, model in models.items()
    ]
    sizes = " + ".join(_gb(size) for size in memory)
    if found.resident:
        lines.append(f"all {len(models)} models stay in {sizes} together; {_gb(found.spare)} to spare")
        for at, size in enumerate(memory if len(memory) > 1 else ()):
            names = ", ".join(name for name in models if found.devices[name] == at)
            lines.append(f"device {at} ({_gb(size)}): {names or 'no model'}")
    elif found.spare >= 0:
        whole = sum(model.weights for model in models.values())
        seconds = ", ".join(f"{name} {model.weights / load_rate:.1f} s" for name, model in models.items())
        lines.append(
            f"the models ({_gb(whole)}) do not fit into {sizes} together: requests are grouped by model, and "
            f"each change of model loads its weights anew: {seconds}, {whole / load_rate:.1f} s a round of all, "
            f"at {_gb(load_rate)} a second"
        )
    else:
        largest = _gb(max(memory))
        lines.append(f"the largest model does not fit into {largest}: {_gb(-found.spare)} too little")
    return lines


def nearest(pools: Mapping[str, Mapping[str, Footprint]], memory: Sequence[float], tokens: int) -> str | None:
    """The pool with the most weights that stays in memory whole; None where none does."""
    fitting = [name for name, models in pools.items() if fit(models, memory, tokens).resident]
    return max(fitting, key=lambda name: sum(model.weights for model in pools[name].values()), default=None)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
