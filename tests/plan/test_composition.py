"""Runs that differ in single values share a composition, and are what composing each anew would make them."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from symphony.plan.compose import plan
from symphony.plan.composition import Composition
from tests.scripted_pool import CONF

ONE = ("tasks=[gridworld]", "seeds=[5]")


def configs(*overrides: str) -> list[dict[str, Any]]:
    """The configs of one experiment's runs, without the name that a sweep gives them."""
    runs = plan("quickstart", (*ONE, *overrides), experiment="symphony", conf=CONF)
    return [{key: value for key, value in run.config.items() if key != "experiment"} for run in runs]


@pytest.mark.parametrize(
    ("key", "values"),
    [("scheduler.alpha", ("0.5", "3")), ("preset.uct.c", ("0.2", "1")), ("budget.problem.money", ("1", "0.5", "null"))],
)
def test_a_sweep_makes_the_configs_that_each_value_makes_alone(key: str, values: tuple[str, ...]) -> None:
    assert configs(f"{key}={','.join(values)}") == [config for value in values for config in configs(f"{key}={value}")]


def test_seeds_make_the_configs_that_each_makes_alone() -> None:
    together = plan("quickstart", ("tasks=[gridworld]", "seeds=[5,6,7]"), experiment="symphony", conf=CONF)
    alone = [
        run
        for seed in (5, 6, 7)
        for run in plan("quickstart", ("tasks=[gridworld]", f"seeds=[{seed}]"), experiment="symphony", conf=CONF)
    ]
    assert together == alone


def composition(**content: Any) -> Composition:
    return Composition(OmegaConf.create(content))


@pytest.mark.parametrize(
    "reference",
    ["${a}", "${a.b}", "x-${a.b}", "${c}", "${.c}", "${table.${a.b}}", "${oc.select:a.b}", "${oc.dict.values:a}"],
)
def test_a_changed_value_reaches_everything_that_refers_to_it(reference: str) -> None:
    content = {"a": {"b": "one"}, "c": "${a.b}", "table": {"one": 1, "two": 2}, "d": {"c": "${a.b}", "e": reference}}
    changed = composition(**content)
    before = changed.plain()["d"]["e"]
    changed.set("a.b", "two")
    anew = composition(**{**content, "a": {"b": "two"}})
    assert changed.plain() == anew.plain()
    assert changed.plain()["d"]["e"] != before


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"a": {"b": "one", "c": "${a.b}"}}, "a.b"),  # the root key refers to itself
        ({"a": {"b": "one", "c": "${.b}"}}, "a.b"),
        ({"a": {"b": "one", "c": "${d.e}"}, "d": {"e": "${a.b}"}}, "a.b"),  # by way of another
        ({"a": {"b": "${d}"}, "d": {"e": "one", "f": "other"}}, "a.b.e"),  # the key leads through an interpolation
        ({"a": {"b": "${d}"}, "d": "one"}, "a.b"),
        ({"a": {"b": None}}, "a.b"),
        ({"a": {"b": {"c": "one"}}}, "a.b"),
        ({"a": "one", "b": "${a}"}, "a"),
    ],
)
def test_a_value_changed_in_place_gives_what_a_new_composition_gives(content: dict[str, Any], key: str) -> None:
    changed, anew = composition(**content), composition(**content)
    changed.plain()
    for value in ("two", "three"):
        changed.set(key, value)
        anew.set(key, value)
        assert changed.plain() == Composition(anew._cfg).plain()


def test_a_swept_reference_is_resolved_for_every_run() -> None:
    sweep = ("tasks=[gridworld]", "seeds=[2,3]", "search.n=5,${seed}")
    runs = plan("quickstart", sweep, experiment="symphony", conf=CONF)
    assert [run.config["search"]["n"] for run in runs] == [5, 5, 2, 3]


def test_what_does_not_refer_to_a_changed_value_is_not_resolved_again() -> None:
    changed = composition(a=1, b={"c": "${a}"}, d={"e": "${f}"}, f=3)
    before = changed.plain()
    changed.set("a", 2)
    assert changed.plain()["d"] is before["d"]
    assert changed.plain()["b"] == {"c": 2}
