"""Methods that are compared get what they share from one place: the same value, or a reason beside the other."""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from symphony.plan.options import load
from symphony.plan.targets import class_of
from symphony.plan.yaml_files import whole

CONF = Path(__file__).parents[2] / "conf"
SEARCH = CONF / "search"
OPTIONS = sorted(path.stem for path in SEARCH.glob("*.yaml"))
REASON = re.compile(r"^(\w+):.*#\s*own: \S.*")
Setting = tuple[Any, bool]
"""As written, interpolations unresolved, and whether a reason stands beside it."""


@cache
def written(file: str) -> dict[str, Setting]:
    """The settings of a file in conf/search/ with those that it takes from others, which its own replace."""
    path = SEARCH / f"{file}.yaml"
    lines = path.read_text().splitlines()
    reasons = {found[1] for line in lines if (found := REASON.match(line))}
    whole = any(re.match(r"# own: \S", line) for line in lines)
    settings: dict[str, Setting] = {}
    node = load(path)
    for default in node.pop("defaults", ["_self_"]):
        name = default.removesuffix("@_here_")
        if default == "_self_":
            settings |= {
                key: (value, whole or key in reasons) for key, value in node.items() if not key.startswith("_")
            }
        else:
            settings |= written(name if (SEARCH / f"{name}.yaml").is_file() else f"{Path(file).parent}/{name}")
    return settings


@cache
def settings(option: str) -> dict[str, Setting]:
    """Every field of the option's class: as written, or its default."""
    fields = inspect.signature(class_of("search", whole(SEARCH / f"{option}.yaml")["_target_"])).parameters
    defaults = {name: (field.default, False) for name, field in fields.items()}
    return defaults | written(option)


FIELDS = sorted({field for option in OPTIONS for field in settings(option)})


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_means_the_same_in_every_method_or_a_reason_stands_beside_it(field):
    found = {option: settings(option)[field] for option in OPTIONS if field in settings(option)}
    if all(option.startswith("symphony_official") for option in found):
        return  # switches of the published code, which differs from benchmark to benchmark
    usual, _ = found["symphony"] if "symphony" in found else found[min(found)]
    differing = [option for option, (value, reason) in found.items() if value != usual and not reason]
    assert not differing, f"{field}: symphony has {usual}"


@pytest.mark.parametrize("option", OPTIONS)
def test_a_shared_setting_is_written_in_one_place(option):
    """A file that sets what a shared one sets, too, has another value and says why; a copy may come to differ."""
    shared = {key: value for path in (SEARCH / "shared").glob("*.yaml") for key, value in load(path).items()}
    own = load(SEARCH / f"{option}.yaml")
    for key in own.keys() & shared.keys() - {"defaults", "depth"}:
        assert own[key] != shared[key], f"{key} is a copy"
        assert written(option)[key][1], f"{key} gives no reason"


def test_lats_has_each_setting_of_symphony_but_its_constant():
    ours, theirs = settings("symphony"), settings("lats")
    assert {key for key in ours if written("symphony").get(key, ours[key])[0] != theirs[key][0]} <= {"c"}
