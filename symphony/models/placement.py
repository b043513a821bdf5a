"""Decides which device holds which model; `symphony plan` and the run itself use the same rule.

Each device keeps an allowance for what a forward pass needs besides weights and cache (activations, the runtime).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from symphony.models.footprint import Footprint

Name = TypeVar("Name")
Place = TypeVar("Place")
ALLOWANCE = 1.0e9
"""Bytes for the runtime and activations, besides weights and cache, on each GPU."""
LOAD_RATE = 1.0e9
"""Bytes of weights per second that a swap is assumed to load if nothing was measured: a slow disk's rate."""
SEQUENCE_TOKENS = 4096
"""Tokens of the longest sequence (prompt and completion) that a model's cache must hold."""


def place(needed: Mapping[Name, float], rooms: Mapping[Place, float]) -> dict[Name, Place]:
    """Places models on devices, each model whole on one device, the largest model first.

    It first gives each model the device with the most room left, so that all have room for caches. If a model then
    finds no room, each model gets the fullest device that still has room for it. If that fails too, the pool does not
    fit: each model goes to the device with the most room left among those that could hold it alone (or else to the
    largest device), and the models of one device are swapped.

    Args:
        needed: Bytes of weights plus the cache of one sequence of greatest length, by model.
        rooms: Bytes by device, at least one device; earlier devices win ties. Values may be below 0.
    """
    return _assign(needed, rooms, tight=False) or _assign(needed, rooms, tight=True) or _assign_crowded(needed, rooms)


def _assign(needed: Mapping[Name, float], rooms: Mapping[Place, float], *, tight: bool) -> dict[Name, Place]:
    """Returns a device for each model such that all fit; {} if a model finds none."""
    left, placed = dict(rooms), {}
    for name in _largest_first(needed):
        fitting = [at for at in left if needed[name] <= left[at]]
        if not fitting:
            return {}
        placed[name] = max(fitting, key=lambda at: -left[at] if tight else left[at])
        left[placed[name]] -= needed[name]
    return placed


def _assign_crowded(needed: Mapping[Name, float], rooms: Mapping[Place, float]) -> dict[Name, Place]:
    left, placed = dict(rooms), {}
    for name in _largest_first(needed):
        alone = [at for at in rooms if needed[name] <= rooms[at]]
        placed[name] = max(alone, key=lambda at: left[at]) if alone else max(rooms, key=lambda at: rooms[at])
        left[placed[name]] -= needed[name]
    return placed


def _largest_first(needed: Mapping[Name, float]) -> list[Name]:
    return sorted(needed, key=lambda name: -needed[name])


def needed_by(model: Footprint, tokens: int = SEQUENCE_TOKENS) -> int:
    """Returns the bytes of a model's weights plus the cache of one sequence of that many tokens."""
    return model.weights + model.cache_per_token * tokens


# --------------------------------------------------------------------------- the plan of a pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How a pool fits the devices.

    Attributes:
        devices: Index of each model's device.
        swapped: Names of the models on a device that cannot hold all its models; each of them is loaded when it is
            asked.
        sequences: Sequences at once for each model: beside the others on its device, or alone if it is swapped.
        spare: Bytes left on all devices with one sequence per model. If models are swapped: the least that one of them
            leaves on its device, negative if it does not fit even alone.
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
    """Checks whether a pool fits into the devices' memory, and with how many sequences.

    Args:
        models: Footprint of each agent's model, in the pool's order.
        memory: Bytes of each device.
        tokens: Length of the longest sequence.
        allowance: Bytes kept for the runtime on each device.
    """
    rooms = {at: size - allowance for at, size in enumerate(memory)}
    needed = {name: needed_by(model, tokens) for name, model in models.items()}
    devices = place(needed, rooms)
    taken = {at: sum(needed[name] for name in models if devices[name] == at) for at in rooms}
    swapped = tuple(name for name in models if taken[devices[name]] > rooms[devices[name]])
    sequences = {}
    for name, model in models.items():
        beside = (
            [models[other] for other in models if devices[other] == devices[name]] if name not in swapped else [model]
        )
        sequences[name] = _together(beside, rooms[devices[name]], tokens)
    if swapped:
        spare = min(rooms[devices[name]] - needed[name] for name in swapped)
    else:
        spare = sum(rooms.values()) - sum(needed.values())
    return Fit(devices=devices, swapped=swapped, sequences=sequences, spare=int(spare))


def _together(models: Sequence[Footprint], room: float, tokens: int) -> int:
    """Returns how many sequences each of the models in one room can have at once; 0 if not even one fits."""
    per_token = sum(model.cache_per_token for model in models)
    return max(0, int((room - sum(model.weights for model in models)) // (per_token * tokens)))


def describe_fit(
    models: Mapping[str, Footprint], plan: Fit, memory: Sequence[float], tokens: int, load_rate: float = LOAD_RATE
) -> list[str]:
    """Returns the plan as lines to print; sizes are in GB (10^9 bytes).

    Args:
        load_rate: Bytes of weights per second that a swap loads.
    """
    lines = [
        f"{name}: weights {_gb(model.weights)}, {model.parameters:,} stored numbers, "
        f"cache {model.cache_per_token / 1e3:.0f} kB a token, {plan.sequences[name]} sequences of {tokens} tokens"
        for name, model in models.items()
    ]
    sizes = " + ".join(_gb(size) for size in memory)
    if plan.spare < 0 and plan.swapped:
        return [*lines, f"the largest model does not fit into {_gb(max(memory))}: it needs {_gb(-plan.spare)} more"]
    if plan.resident:
        lines.append(f"all {len(models)} models stay in {sizes} together; {_gb(plan.spare)} to spare")
    for at, size in enumerate(memory if len(memory) > 1 else ()):
        names = ", ".join(name for name in models if plan.devices[name] == at)
        lines.append(f"device {at} ({_gb(size)}): {names or 'no model'}")
    if plan.swapped:
        whole = sum(model.weights for model in models.values())
        seconds = ", ".join(f"{name} {models[name].weights / load_rate:.1f} s" for name in plan.swapped)
        lines.append(
            f"the models ({_gb(whole)}) do not fit into {sizes} together: requests are grouped by model, and "
            f"each change of model loads its weights again: {seconds}, {reload_s(models, plan, load_rate):.1f} s for "
            f"all of them, at {_gb(load_rate)} a second"
        )
    return lines


def reload_s(models: Mapping[str, Footprint], plan: Fit, load_rate: float = LOAD_RATE) -> float:
    """Returns the seconds needed to load each swapped model once."""
    return sum(models[name].weights for name in plan.swapped) / load_rate


def nearest(pools: Mapping[str, Mapping[str, Footprint]], memory: Sequence[float], tokens: int) -> str | None:
    """Returns the pool with the most weights that stays in memory whole; None if there is none."""
    fitting = [name for name, models in pools.items() if fit(models, memory, tokens).resident]
    return max(fitting, key=lambda name: sum(model.weights for model in pools[name].values()), default=None)


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
