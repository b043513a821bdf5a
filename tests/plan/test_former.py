"""Classes that moved: their runs keep their names, and a config with a former name is told the present one."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from symphony.plan.compose import plan
from symphony.plan.former import CLASSES, FORMER, KEYS, LATER, MOVED_KEYS, VALUES, present_name
from symphony.plan.specs import digest
from symphony.plan.targets import class_of
from symphony.types import SymphonyError

CONF = Path(__file__).parents[2] / "conf"
TARGETS = sorted(
    {
        target
        for path in CONF.glob("*/*.yaml")
        for target in re.findall(r"^_target_: ([\w.]+)$", path.read_text(), re.MULTILINE)
    }
)

MOVED_VALUES = {"search.sim_cut": "-0.5", "search.sim_depth_from": "extra", "search.consensus": "nodes"}
"""A value of each key that moved."""


def config(group: str, target: str, **others: Any) -> dict[str, Any]:
    return {"seed": 0, group: {"_target_": target, **others}}


@pytest.mark.parametrize(("module", "former"), sorted(FORMER.items()))
def test_a_run_keeps_its_name_where_a_class_has_moved(module: str, former: str) -> None:
    importlib.import_module(module)
    assert digest(config("task", f"{module}.X")) == digest(config("task", f"{former}.X"))


@pytest.mark.parametrize("target", [target for target in TARGETS if target.rpartition(".")[0] in FORMER])
def test_a_config_with_a_former_name_is_told_the_present_one(target: str) -> None:
    module, _, name = target.rpartition(".")
    former = f"{FORMER[module]}.{name}"
    assert present_name(former) == target
    with pytest.raises(SymphonyError, match=f"task._target_: found '{former}', allowed: {target}, its new name"):
        class_of("task", former)


def test_a_class_that_was_parted_from_another_keeps_its_digests_too() -> None:
    for target, before in CLASSES.items():
        assert digest(config("search", target, consensus="on")) == digest(config("search", before, consensus="on"))
    for target, had in KEYS.items():
        assert digest(config("search", target)) == digest(config("search", target, **had))


@pytest.mark.parametrize("key", MOVED_KEYS)
def test_a_key_that_moved_is_told_where_it_is_now(key: str) -> None:
    with pytest.raises(SymphonyError, match=re.escape(f"is not in the config, allowed: {MOVED_KEYS[key]}")):
        plan("quickstart", ["tasks=[mini_qa]", f"{key}=1"], experiment="symphony", conf=CONF)
    now, _, option = MOVED_KEYS[key].partition(" with ")
    present = ["tasks=[mini_qa]", "seeds=[0]", option, f"{now}={MOVED_VALUES[now]}"]
    assert plan("quickstart", present, experiment="symphony", conf=CONF)


@pytest.mark.parametrize("key", LATER)
def test_a_key_that_came_later_names_a_run_only_if_it_changes_what_the_search_does(key: str) -> None:
    target = "symphony.search.symphony.Symphony"
    assert digest(config("search", target)) == digest(config("search", target, **{key: LATER[key]}))
    assert digest(config("search", target)) != digest(config("search", target, **{key: "another"}))
    assert digest(config("task", "own.Task")) != digest(config("task", "own.Task", **{key: LATER[key]}))


@pytest.mark.parametrize("key", VALUES)
def test_a_value_with_a_new_name_keeps_the_names_of_its_runs(key: str) -> None:
    target = "symphony.search.symphony.Symphony"
    for present, former in VALUES[key].items():
        assert digest(config("search", target, **{key: present})) == digest(config("search", target, **{key: former}))
        assert digest(config("task", "own.Task", **{key: present})) != digest(
            config("task", "own.Task", **{key: former})
        )
