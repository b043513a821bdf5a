"""Former names of classes in a `_target_`, of keys and of values: the runs of what is renamed keep their digests.

For one release, an old name in a config gives an error that names the new one.
"""

from __future__ import annotations

from typing import Any

_MINI = ("gridworld", "mini_qa", "mini_shop", "mini_code")
_METHODS = (
    *("ab_mcts", "agentcoder", "best_of_n", "cot", "debate", "lats", "master", "mixture", "rap", "react"),
    *("reflexion", "tot"),
)
FORMER = {
    "symphony.agents.bandits": "symphony.bandits",
    "symphony.agents.memory": "symphony.memory",
    "symphony.agents.scheduler": "symphony.scheduler",
    "symphony.agents.scorer": "symphony.scorer",
    "symphony.models.api.backend": "symphony.models.api",
    "symphony.models.hf.backend": "symphony.models.hf",
    "symphony.tasks.hotpotqa.task": "symphony.tasks.hotpotqa",
    "symphony.tasks.programs.task": "symphony.tasks.programs",
    "symphony.tasks.webshop.task": "symphony.tasks.webshop",
    **{f"symphony.tasks.mini.{name}": f"symphony.tasks.{name}" for name in _MINI},
    **{f"symphony.search.methods.{name}": f"symphony.search.{name}" for name in _METHODS},
}
"""Module -> its former name."""
CLASSES = {"symphony.search.official.Official": "symphony.search.symphony.Symphony"}
"""A class split off from another -> that other class."""
_MOVED = {"sim_cut": -1.0, "sim_depth_from": "absolute"}
KEYS: dict[str, dict[str, Any]] = {
    "symphony.search.symphony.Symphony": {"consensus": "off", **_MOVED},
    "symphony.search.methods.lats.LATS": {"consensus": "off", **_MOVED},
    "symphony.search.official.Official": _MOVED,
}
"""Class -> keys that its configs used to have, with the value they had wherever they are gone."""
_OFFICIAL = "with search=symphony_official"
MOVED_KEYS = {
    "preset.consensus": f"search.consensus {_OFFICIAL}",
    "preset.sim.cut": f"search.sim_cut {_OFFICIAL}",
    "preset.sim.depth_from": f"search.sim_depth_from {_OFFICIAL}",
    **{f"search.{key}": f"search.{key} {_OFFICIAL}" for key in ("consensus", *_MOVED)},
}
"""Former key -> the present one, for the error that names it."""
LATER: dict[str, Any] = {"siblings": 1}
"""Key of a search that came later -> the value with which the search does what it did before.

A digest leaves it out where it has this value, so that earlier runs keep their names.
"""
VALUES: dict[str, dict[str, str]] = {"sim_value": {"reward": "code"}}
"""Key of a search -> a value's present name -> its former one, under which digests know it."""
_NOW = {former: module for module, former in FORMER.items()}


def present_name(target: str) -> str:
    """Returns the present name of a class; the same name if it never moved."""
    module, _, name = target.rpartition(".")
    return f"{_NOW[module]}.{name}" if module in _NOW else target


def with_former_names(config: Any) -> Any:
    """Returns a config with each `_target_` and value under its first name, so that a new name changes no digest."""
    if isinstance(config, dict):
        target = str(config.get("_target_"))
        had = KEYS.get(target, {})
        later, renamed = (LATER, VALUES) if target.startswith("symphony.search.") else ({}, {})
        named = {
            key: _first(key, value, renamed) for key, value in config.items() if key not in later or value != later[key]
        }
        return {**had, **named}
    return [with_former_names(item) for item in config] if isinstance(config, list) else config


def _first(key: str, value: Any, renamed: dict[str, dict[str, str]]) -> Any:
    if key == "_target_":
        return _former(value)
    return renamed[key].get(value, value) if key in renamed else with_former_names(value)


def _former(target: Any) -> Any:
    module, _, name = str(target).rpartition(".")
    return f"{FORMER[module]}.{name}" if module in FORMER else CLASSES.get(target, target)
