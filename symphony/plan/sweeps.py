"""Sweeps: one experiment for each combination of the values that some keys are to take.

An experiment's YAML lists them below `sweep:` (`sweep: {scheduler.alpha: [0.5, 1.41], pool: [a, b]}`), or the command
line separates them by commas (`scheduler.alpha=0.5,1.41`), which sweeps every experiment of the study.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from symphony.fields import is_json, shown
from symphony.types import SymphonyError

KEY = "sweep"
"""Key of an experiment's YAML."""
MOST = 10_000
"""Experiments that one experiment may become."""
_LISTS = ("tasks", "seeds", "task", "seed", "experiment", KEY)
"""Keys that are lists already, or decide what is composed."""
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*|-?\d+(?:\.\d+)?(?:e-?\d+)?")

Sweep = tuple[str, tuple[str, ...]]
"""A key as it is overridden, and its values in Hydra's grammar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One experiment of a sweep.

    Attributes:
        base: Name of the file that it comes from.
        suffix: What follows the file's name, e.g. `[alpha=0.5,pool=a]`; "" without a sweep.
        overrides: Hydra overrides that make it.
    """

    base: str
    suffix: str
    overrides: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.base}{self.suffix}"

    def titled(self, title: str) -> str:
        """Its title, from that of its file."""
        return f"{title}, {self.suffix[1:-1].replace('=', ' ').replace(',', ', ')}" if self.suffix else title


def apart(overrides: Sequence[str]) -> tuple[list[str], list[Sweep]]:
    """Overrides with one value, and the sweeps among them.

    Raises:
        SymphonyError: A sweep has no list of values, as `interval(0,1)`.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    single, sweeps = [], []
    for item in overrides:
        try:
            (override,) = OverridesParser.create().parse_overrides([item])
        except (HydraException, ValueError):
            single.append(item)  # reported where overrides are checked
            continue
        if not override.is_sweep_override():
            single.append(item)
            continue
        if override.is_interval_sweep():
            raise SymphonyError(f"{item}: found an interval, allowed: values separated by commas")
        mark = item[: len(item) - len(item.lstrip("+"))]
        sweeps.append((mark + str(override.key_or_group), tuple(override.sweep_string_iterator())))
    return single, sweeps


def variants(name: str, where: str, node: Any, sweeps: Sequence[Sweep]) -> list[Variant]:
    """The experiments that one file becomes; itself where nothing is swept.

    Args:
        where: The file, for errors.
        node: What its `sweep` holds; None is nothing.
        sweeps: Of the command line; they replace those of the file for the same key.

    Raises:
        SymphonyError: A sweep is no mapping of keys to lists of different values, or names something that is not a key.
    """
    merged = {key.lstrip("+"): (key, values) for key, values in (*_read_sweeps(where, node), *sweeps)}
    for key, (_, values) in merged.items():
        if key in _LISTS:
            allowed = "another key, since tasks and seeds are already lists"
            raise SymphonyError(f"{where}: {KEY}.{key}: found a sweep, allowed: {allowed}")
        if len(set(values)) < len(values):
            raise SymphonyError(f"{where}: {KEY}.{key}: found {', '.join(values)}, allowed: different values")
    shorts = [key.rpartition(".")[2] for key in merged]
    names = [short if shorts.count(short) == 1 else key for short, key in zip(shorts, merged, strict=True)]
    expanded = []
    for chosen in itertools.product(*(values for _, values in merged.values())):
        words = ",".join(f"{short}={_word(value)}" for short, value in zip(names, chosen, strict=True))
        keys = (key for key, _ in merged.values())
        overrides = tuple(f"{key}={value}" for key, value in zip(keys, chosen, strict=True))
        expanded.append(Variant(base=name, suffix=f"[{words}]" if words else "", overrides=overrides))
        if len(expanded) > MOST:
            raise SymphonyError(f"{where}: {KEY}: found more than {MOST:,} combinations, allowed: fewer")
    return expanded


def _read_sweeps(where: str, node: Any) -> list[Sweep]:
    if node is None:
        return []
    if not isinstance(node, Mapping):
        raise SymphonyError(f"{where}: {KEY}: found {shown(node)}, allowed: a mapping, key: [values]")
    sweeps = []
    for key, values in node.items():
        if not isinstance(key, str) or not re.fullmatch(r"\+?[\w.@/]+", key):
            raise SymphonyError(f"{where}: {KEY}: found {shown(key)}, allowed: the name of a key, e.g. scheduler.alpha")
        if not isinstance(values, list) or not values or not all(map(is_json, values)):
            raise SymphonyError(f"{where}: {KEY}.{key}: found {shown(values)}, allowed: a list of values")
        sweeps.append((key, tuple(map(_spell, values))))
    return sweeps


def _spell(value: Any) -> str:
    """A value in Hydra's grammar, which is JSON's but for texts."""
    if isinstance(value, str):
        if _PLAIN.fullmatch(value) and value.lower() not in ("true", "false", "null", "nan", "inf"):
            return value
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    if isinstance(value, list):
        return "[" + ",".join(map(_spell, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_spell(key)}:{_spell(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def _word(value: str) -> str:
    """A value in a name: without blanks, quotes and what separates values."""
    return re.sub(r"[^\w.+-]+", "-", value).strip("-") or "empty"
