"""Which device holds which model: one rule for `symphony plan` and for the run itself.

Each device keeps an allowance for what a forward pass needs beside weights and cache (activations, the runtime).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from symphony.models.footprint import Footprint

Name = TypeVar("Name")
Place = TypeVar("Place")
ALLOWANCE = 1.0e9
"""Bytes for the runtime and activations beside weights and cache, on each GPU."""
LOAD_RATE = 1.0e9
"""Bytes of weights a second that a swap is assumed to load where nothing was measured: those of a slow disk."""
SEQUENCE_TOKENS = 4096
"""Tokens of the longest sequence, prompt and completion, for which a model needs room in its cache."""


def place(needed: Mapping[Name, float], rooms: Mapping[Place, float]) -> dict[Name, Place]:
    """Puts models on devices, each model whole on one device, the largest model first.

    It first gives each model the device with the most room left, so that all have room for caches. If that leaves out a
    model, it gives each model the fullest device that still has room for it. If that fails too, the pool does not fit:
    each model goes where most is left among the devices that could hold it alone, and models of one device are swapped.

    Args:
        needed: Bytes of weights and of the cache of one longest sequence, by model.
        rooms: Bytes by device, at least one, in the order in which ties are decided. May be below 0.
    """
    return _held(needed, rooms, tight=False) or _held(needed, rooms, tight=True) or _crowded(needed, rooms)


def _held(needed: Mapping[Name, float], rooms: Mapping[Place, float], *, tight: bool) -> dict[Name, Place]:
    """A device for each model, such that all fit; {} if a model finds none."""
    left, found = dict(rooms), {}
    for name in _largest_first(needed):
        fitting = [at for at in left if needed[name] <= left[at]]
        if not fitting:
            return {}
        found[name] = max(fitting, key=lambda at: -left[at] if tight else left[at])
        left[found[name]] -= needed[name]
    return found


def _crowded(needed: Mapping[Name, float], rooms: Mapping[Place, float]) -> dict[Name, Place]:
    left, found = dict(rooms), {}
    for name in _largest_first(needed):
        alone = [at for at in rooms if needed[name] <= rooms[at]]
        found[name] = max(alone, key=lambda at: left[at]) if alone else max(rooms, key=lambda at: rooms[at])
        left[found[name]] -= needed[name]
    return found


def _largest_first(needed: Mapping[Name, float]) -> list[Name]:
    return sorted(needed, key=lambda name: -needed[name])


def needed_by(model: Footprint, tokens: int = SEQUENCE_TOKENS) -> int:
    """Bytes of a model's weights and of the cache of one sequence of that many tokens."""
    return model.weights + model.cache_per_token * tokens


# --------------------------------------------------------------------------- the plan of a pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a pool fits the devices.

    Attributes:
        devices: Number of the device that each model is on.
        swapped: Names of the models that share a device which cannot hold all of its models: each of them is loaded
            when it is asked.
        sequences: Sequences at once for each model: beside the others of its device, or alone where it is swapped.
        spare: Bytes left on all devices with one sequence of each model. Where models are swapped: the least that one
            of them leaves on its device, negative where it does not fit even alone.
    """

    devices: Mapping[str, int]
    swapped: tuple[str, ...]
    sequences: Mapping[str, int]
    spare: int

    @property
    def resident(self) -> bool:
        """Whether all models stay in memory together."""
        return not self.swapped


def fit(models: Mapping[str, Footprint], memory: Sequence[float], tokens: int, allowance: float = ALLOWANCE) -> Fit:
    """Whether a pool fits into the devices' memory, and at how many sequences.

    Args:
        models: By agent, in the pool's order.
        memory: Bytes of each device.
        tokens: Of the longest sequence.
        allowance: Bytes kept for the runtime, on each device.
    """
    rooms = {at: size - allowance for at, size in enumerate(memory)}
    needed = {name: needed_by(model, tokens) for name, model in models.items()}
    devices = place(needed, rooms)
    taken = {at: sum(needed[name] for name in models if devices[name] == at) for at in rooms}
    swapped = tuple(name for name in models if taken[devices[name]] > rooms[devices[name]])
    sequences = {}
    for name, model in models.items():
        beside = [models[one] for one in models if devices[one] == devices[name]] if name not in swapped else [model]
        sequences[name] = _together(beside, rooms[devices[name]], tokens)
    if swapped:
        spare = min(rooms[devices[name]] - needed[name] for name in swapped)
    else:
        spare = sum(rooms.values()) - sum(needed.values())
    return Fit(devices=devices, swapped=swapped, sequences=sequences, spare=int(spare))


def _together(models: Sequence[Footprint], room: float, tokens: int) -> int:
    """Sequences at once for each of the models that share a room; 0 where not one fits."""
    per_token = sum(model.cache_per_token for model in models)
    return max(0, int((room - sum(model.weights for model in models)) // (per_token * tokens)))


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
    if found.spare < 0 and found.swapped:
        return [*lines, f"the largest model does not fit into {_gb(max(memory))}: {_gb(-found.spare)} too little"]
    if found.resident:
        lines.append(f"all {len(models)} models stay in {sizes} together; {_gb(found.spare)} to spare")
    for at, size in enumerate(memory if len(memory) > 1 else ()):
        names = ", ".join(name for name in models if found.devices[name] == at)
        lines.append(f"device {at} ({_gb(size)}): {names or 'no model'}")
    if found.swapped:
        whole = sum(model.weights for model in models.values())
        seconds = ", ".join(f"{name} {models[name].weights / load_rate:.1f} s" for name in found.swapped)
        lines.append(
            f"the models ({_gb(whole)}) do not fit into {sizes} together: requests are grouped by model, and "
            f"each change of model loads its weights anew: {seconds}, {reload_s(models, found, load_rate):.1f} s a "
            f"round of all, at {_gb(load_rate)} a second"
        )
    return lines


def reload_s(models: Mapping[str, Footprint], found: Fit, load_rate: float = LOAD_RATE) -> float:
    """Seconds to load each of the swapped models once."""
    return sum(models[name].weights for name in found.swapped) / load_rate


def nearest(pools: Mapping[str, Mapping[str, Footprint]], memory: Sequence[float], tokens: int) -> str | None:
    """The pool with the most weights that stays in memory whole; None where none does."""
    fitting = [name for name, models in pools.items() if fit(models, memory, tokens).resident]
    return max(fitting, key=lambda name: sum(model.weights for model in pools[name].values()), default=None)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
