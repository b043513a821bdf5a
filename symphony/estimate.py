"""What a study needs before anything is spent: the memory of its pools."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from symphony.models.footprint import Fit, Footprint, fit, nearest, told
from symphony.runs import ModelSpec, Run, models
from symphony.types import SymphonyError


def memory(runs: Iterable[Run], data: Path, size: float, tokens: int, say: Callable[[str], None]) -> dict[str, Fit]:
    """Tells for each pool of a study whether its local models fit a device together, and at how many sequences.

    Args:
        runs: The study's.
        data: Where downloads lie.
        size: Bytes of the device.
        tokens: Of the longest sequence, prompt and completion.

    Raises:
        SymphonyError: A pool holds a model that does not fit even alone; the message names the nearest pool that fits.
    """
    pools: dict[str, dict[str, Footprint]] = {}
    for run in runs:
        if run.pool not in pools:
            pools[run.pool] = _footprints(models(run.config), data, say)
    found = {name: fit(pool, size, tokens) for name, pool in pools.items() if pool}
    for name, one in found.items():
        say(f"pool {name}:")
        for line in told(pools[name], one, size, tokens):
            say(f"  {line}")
    for name, one in found.items():
        if one.spare < 0:
            other = nearest({key: pool for key, pool in pools.items() if pool}, size, tokens)
            allowed = f"a pool that does, such as {other}" if other else "smaller or quantised models, or more memory"
            told_size = f"a model that does not fit into {size / 1e9:.1f} GB"
            raise SymphonyError(f"pool {name}: found {told_size}, allowed: {allowed}")
    return found


def _footprints(specs: dict[str, ModelSpec], data: Path, say: Callable[[str], None]) -> dict[str, Footprint]:
    """Of the local models whose weights are there; tells of the others."""
    found = {}
    for name, spec in specs.items():
        if "path" not in json.loads(spec.arguments):
            continue  # it answers from elsewhere and takes no memory here
        try:
            spec.folder(data)
        except SymphonyError as error:
            say(f"{name}: not counted, its weights are not there ({error})")
            continue
        found[name] = spec.footprint(data)
    return found
