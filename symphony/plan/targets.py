"""Makes the object of a `_target_`: checks that its class fits the config group and that its arguments are valid."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from symphony.fields import allowed, check, kinds, required, shown
from symphony.plan.former import present_name
from symphony.types import SymphonyError
from symphony.weights.fetch import parse_source

MAKES: Mapping[str, Sequence[tuple[str, ...]]] = {
    "task": [("problems", "reset", "parse", "step", "grade")],
    "scheduler": [("pick",)],
    "scorer": [("score", "fallback")],
    "memory": [("add", "view")],
    "search": [("solve",)],
    "model": [("generate",), ("complete", "ready")],
}
"""Sets of methods, one of which a class must have to fit its config group."""
_HIDDEN = ("base_url", "key_env")
"""Arguments that are never shown, since they may contain a secret."""


def class_of(key: str, target: Any) -> Any:
    """Returns the class that a `_target_` names, checked to fit its config group; calls nothing."""
    if not isinstance(target, str):
        raise SymphonyError(f"{key}._target_: found {shown(target)}, allowed: a class of symphony.*, by its path")
    module, _, name = target.rpartition(".")
    if (now := present_name(target)) != target:
        raise SymphonyError(f"{key}._target_: found {target!r}, allowed: {now}, its new name")
    if not module.startswith("symphony."):
        raise SymphonyError(f"{key}._target_: found {shown(target)}, allowed: a class of symphony.*")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SymphonyError(f"{key}._target_: found {target!r}, allowed: a class that exists ({error})") from error
    group = _group(key)
    whole = isinstance(cls, type) and not inspect.isabstract(cls) and not getattr(cls, "_is_protocol", False)
    if not whole or not any(all(hasattr(cls, method) for method in methods) for methods in MAKES[group]):
        methods = " or ".join(", ".join(names) for names in MAKES[group])
        raise SymphonyError(f"{key}._target_: found {target!r}, allowed: a class of a {group}, with {methods}")
    return cls


def _group(key: str) -> str:
    """Returns the folder of conf/ whose options belong to a key."""
    return "model" if key.startswith("pool.") else key


def check_arguments(key: str, node: Any, extra: Sequence[str] = ()) -> None:
    """Checks the arguments of a node with `_target_`: each must be known and well-typed, none missing.

    Args:
        extra: Keys of the node that are not arguments.

    Raises:
        SymphonyError: An argument fails the check, or the `_target_` does not fit the group.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise SymphonyError(f"{key}: found no `_target_`, allowed: an option of conf/{_group(key)}/")
    cls = class_of(key, node["_target_"])
    if "source" in node:
        parse_source(key, node["source"])
    fields = {name: kind for name, kind in kinds(cls).items() if allowed(kind)}
    arguments = {name: value for name, value in node.items() if name not in ("_target_", *extra)}
    for name, value in arguments.items():
        if name not in fields:
            raise SymphonyError(f"{key}.{name}: found an unknown key, allowed: {', '.join(fields)}")
        if name in _HIDDEN and not isinstance(value, str) and value is not None:
            raise SymphonyError(f"{key}.{name}: found a value that is not text, allowed: {allowed(fields[name])}")
        check(f"{key}.{name}", value, fields[name])
    for name in required(cls):
        if name not in arguments:
            raise SymphonyError(f"{key}.{name}: found nothing, allowed: a value (it has no default)")


def instantiate(key: str, node: Any, data: Path = Path("data")) -> Any:
    """Checks a node with `_target_` and makes its object (`construct`)."""
    check_arguments(key, node, extra=("source",))
    return construct(key, node, data)


def construct(key: str, node: Mapping[str, Any], data: Path = Path("data")) -> Any:
    """Makes the object of a node that `check_arguments` accepts; `data` is passed to a class that takes it."""
    cls = class_of(key, node["_target_"])
    given = {name: value for name, value in node.items() if name not in ("_target_", "source")}
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    if "data" in kinds(cls):
        arguments["data"] = data
    try:
        return cls(**arguments)
    except (TypeError, ValueError, OSError) as error:
        raise SymphonyError(f"{key}: found {shown(arguments)}, allowed: values it accepts ({error})") from error
