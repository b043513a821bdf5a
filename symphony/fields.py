"""Checks config values against the annotations of their fields, which give types, ranges and choices.

Config values are JSON. Booleans are not numbers, 1.5 is not an integer, numbers are finite, text is not empty, and null
is allowed only if the annotation says `None`. Any other annotation (a path, an object) is for Python callers: no config
value fits it.
"""

from __future__ import annotations

import json
import operator
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from inspect import signature
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Interval, MinLen

from symphony.types import SymphonyError

Count = Annotated[int, Ge(1)]
FromZero = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Interval(ge=0, le=1)]
Words = Annotated[str, MinLen(0)]
"""Text that may be empty."""
Lifetime = Literal["question", "run"]
"""How long statistics or lessons live: for one problem (the paper's "question"), or for a run."""

_LISTS = (list, tuple, Sequence)
_MAPPINGS = (dict, Mapping)
_NO_TEXT = re.compile("[\\0\ud800-\udfff]")
_SHOWN = 80
"""Maximum characters of a value in an error message."""


@cache
def kinds(cls: Any) -> Mapping[str, Any]:
    """Returns the annotation of each parameter of a class's constructor."""
    hints = get_type_hints(cls if is_dataclass(cls) else cls.__init__, include_extras=True)
    return {name: hints.get(name, Any) for name in signature(cls).parameters}


@cache
def required(cls: Any) -> tuple[str, ...]:
    """Returns the constructor parameters that have no default."""
    return tuple(name for name, parameter in signature(cls).parameters.items() if parameter.default is parameter.empty)


def check(key: str, value: Any, kind: Any) -> None:
    """Checks one value of a config.

    Args:
        key: The key as overridden on the command line, e.g. `search.n`.
        kind: The annotation of its field.

    Raises:
        SymphonyError: The value does not fit.
    """
    if not fits(value, kind):
        raise SymphonyError(f"{key}: found {shown(value)}, allowed: {allowed(kind)}")


def check_fields(part: str, instance: Any) -> None:
    """Checks all fields of an object that a config may set; for use in `__post_init__`.

    Raises:
        SymphonyError: A field is out of range; the message names it `<part>.<field>`.
    """
    made_of: Any = type(instance)
    for name, kind in kinds(made_of).items():
        if allowed(kind):
            check(f"{part}.{name}", getattr(instance, name), kind)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value fits an annotation."""
    base, origin, inner, limits = _apart(kind)
    if base is Any:
        return is_json(value)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (Union, UnionType):
        return any(fits(value, part) for part in inner)
    if origin in _LISTS:
        return isinstance(value, (list, tuple)) and all(fits(item, inner[0]) for item in value) and _long(value, limits)
    if origin in _MAPPINGS:
        named = isinstance(value, Mapping) and all(isinstance(name, str) for name in value)
        return named and all(fits(item, inner[1]) for item in value.values())
    if base is str:
        return _is_text(value) and _long(value, limits or [MinLen(1)]) and _of_literals(value, limits)
    if base in (int, float):
        whole = type(value) is int or (base is float and type(value) is float)
        finite = whole and abs(value) <= sys.float_info.max
        return finite and all(getattr(operator, name)(value, bound) for name, bound in _bounds(limits))
    return base in (bool, NoneType) and isinstance(value, base)


@cache
def allowed(kind: Any) -> str:
    """Describes in words what fits an annotation; "" if no config value does."""
    base, origin, inner, limits = _apart(kind)
    if origin in (Union, UnionType):
        others = [text for part in inner if part is not NoneType and (text := allowed(part))]
        null = [", or null"] if others and NoneType in inner else []
        return "".join([" or ".join(others), *null])
    if origin in _LISTS:
        least = ", at least one" if limits else ""
        return f"a list of {text}{least}" if (text := allowed(inner[0])) else ""
    if origin in _MAPPINGS:
        return f"a mapping, each value {allowed(inner[1])}"
    choices = [part for part in (base, *limits) if get_origin(part) is Literal]
    if choices:
        return ", ".join(str(choice) for choice in get_args(choices[0]))
    names: dict[Any, str] = {Any: "anything", bool: "true, false", str: "text", NoneType: "null"}
    if base is str and not limits:
        return "text that is not empty"
    if base in (int, float):
        plain = "a whole number" if base is int else "a number"
        range_ = _range(limits)
        return f"{range_}, {plain}" if range_ and base is int else range_ or plain
    return names.get(base, "")


def is_json(value: Any) -> bool:
    """Whether a value can be written as JSON: its numbers are finite and its keys are text."""
    if isinstance(value, Mapping):
        return all(_is_text(name) and is_json(item) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_json, value))
    return _is_text(value) or isinstance(value, (bool, NoneType)) or fits(value, float)


def shown(value: Any) -> str:
    """Formats a value for an error message, on one line."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=True)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@cache
def _apart(kind: Any) -> tuple[Any, Any, tuple[Any, ...], tuple[Any, ...]]:
    """Splits an annotation into its base, the origin and arguments of the base, and its limits."""
    base, *limits = get_args(kind) if get_origin(kind) is Annotated else (kind,)
    singles = [single for limit in limits for single in (limit if isinstance(limit, Interval) else [limit])]
    return base, get_origin(base), get_args(base), tuple(singles)


def _is_text(value: Any) -> bool:
    """Whether a value is text that a file and a path can hold."""
    return isinstance(value, str) and not _NO_TEXT.search(value)


def _long(value: Sequence[Any], limits: Iterable[Any]) -> bool:
    return all(len(value) >= limit.min_length for limit in limits if isinstance(limit, MinLen))


def _of_literals(value: str, limits: Iterable[Any]) -> bool:
    return all(value in get_args(limit) for limit in limits if get_origin(limit) is Literal)


def _bounds(limits: Iterable[Any]) -> list[tuple[str, float]]:
    """Returns the limits of a number: the name of a comparison in `operator`, and the bound."""
    named = [(name, getattr(limit, name, None)) for limit in limits for name in ("ge", "gt", "le")]
    return [(name, bound) for name, bound in named if bound is not None]


def _range(limits: Iterable[Any]) -> str:
    bounds = dict(_bounds(limits))
    low = f"> {bounds['gt']}" if "gt" in bounds else f"{bounds['ge']}" if "ge" in bounds else ""
    if "le" in bounds:
        return f"{low} to {bounds['le']}" if low else f"<= {bounds['le']}"
    return low if "gt" in bounds or not low else f">= {low}"
