"""Sweeps: an experiment becomes one for each combination of values, named and titled by what varies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from symphony.plan.compose import plan
from symphony.plan.options import describe, reference, replaced, write_description
from symphony.plan.specs import Run
from symphony.plan.sweeps import apart, variants
from symphony.types import SymphonyError

CONF = Path(__file__).parents[2] / "conf"
SMALL = ("tasks=[gridworld]", "seeds=[0]")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/ to write experiments into."""
    return Path(shutil.copytree(CONF, tmp_path / "conf"))


def study(conf: Path, **files: str) -> Path:
    folder = conf / "experiment" / "mine"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(f"# @package _global_\ntasks: [gridworld]\nseeds: [0]\n{text}\n")
    return conf


def planned(conf: Path, *overrides: str, experiment: str | None = None) -> list[Run]:
    return plan("mine", overrides, experiment=experiment, conf=conf)


def test_a_file_s_sweep_makes_one_experiment_a_combination(conf: Path) -> None:
    study(conf, ucb="sweep: {scheduler.alpha: [0.5, 2], pool: [embedded_trio, embedded_llama_only]}")
    runs = planned(conf)
    assert [run.experiment for run in runs] == [
        "ucb[alpha=0.5,pool=embedded_trio]",
        "ucb[alpha=0.5,pool=embedded_llama_only]",
        "ucb[alpha=2,pool=embedded_trio]",
        "ucb[alpha=2,pool=embedded_llama_only]",
    ]
    assert [(run.config["scheduler"]["alpha"], run.pool) for run in runs] == [
        (0.5, "embedded_trio"),
        (0.5, "embedded_llama_only"),
        (2, "embedded_trio"),
        (2, "embedded_llama_only"),
    ]
    assert len({run.digest for run in runs}) == 4


def test_commas_sweep_every_experiment_of_a_study() -> None:
    runs = plan("presets", (*SMALL, "problems=1,2"), conf=CONF)
    plain = plan("presets", SMALL, conf=CONF)
    names = [f"{run.experiment}[problems={count}]" for run in plain for count in (1, 2)]
    assert [run.experiment for run in runs] == names


def test_the_command_line_s_values_replace_those_of_the_file(conf: Path) -> None:
    study(conf, ucb="sweep: {scheduler.alpha: [0.5, 2]}")
    assert [run.experiment for run in planned(conf, "scheduler.alpha=1,3")] == ["ucb[alpha=1]", "ucb[alpha=3]"]


def test_what_is_swept_is_no_part_of_a_config(conf: Path) -> None:
    study(conf, ucb="sweep: {scheduler.alpha: [0.5, 2]}")
    first = planned(conf)[0]
    assert "sweep" not in first.config
    alone = study_of_one(conf, "scheduler: {alpha: 0.5}")
    assert {**alone.config, "experiment": ""} == {**first.config, "experiment": "", "study": "other"}


def study_of_one(conf: Path, text: str) -> Run:
    folder = conf / "experiment" / "other"
    folder.mkdir()
    (folder / "ucb.yaml").write_text(f"# @package _global_\ntasks: [gridworld]\nseeds: [0]\n{text}\n")
    (run,) = plan("other", conf=conf)
    return run


def test_one_experiment_is_chosen_by_its_file_or_by_its_own_name(conf: Path) -> None:
    study(conf, ucb="sweep: {scheduler.alpha: [0.5, 2]}", plain="title: plain")
    assert len(planned(conf, experiment="ucb")) == 2
    assert [run.experiment for run in planned(conf, experiment="ucb[alpha=2]")] == ["ucb[alpha=2]"]
    with pytest.raises(SymphonyError, match=r"experiment: found 'ucb\[alpha=3\]', allowed: plain, ucb\[alpha=0\.5\]"):
        planned(conf, experiment="ucb[alpha=3]")


def test_titles_and_the_reference_say_what_varies(conf: Path, tmp_path: Path) -> None:
    study(conf, ucb="title: UCB\ntable: main\nsweep: {scheduler.alpha: [0.5, 2]}")
    assert [one.title for one in describe("mine", conf=conf)] == ["UCB, alpha 0.5", "UCB, alpha 2"]
    assert reference("mine", conf=conf) == "ucb[alpha=0.5]"
    assert reference("mine", ["reference=ucb[alpha=2]"], conf=conf) == "ucb[alpha=2]"
    write_description("mine", tmp_path / "plan.json", conf=conf)
    assert list(json.loads((tmp_path / "plan.json").read_text())["experiments"]) == ["ucb[alpha=0.5]", "ucb[alpha=2]"]


def test_an_experiment_is_compared_with_the_one_that_was_swept_in_the_same_way(conf: Path) -> None:
    study(conf, whole="title: W", quantised="title: Q\nagainst: whole")
    found = {one.name: one.against for one in describe("mine", ["problems=1,2"], conf=conf)}
    assert found["quantised[problems=2]"] == "whole[problems=2]"


def test_keys_with_equal_ends_are_named_in_full() -> None:
    (first, *_) = variants("x", "x.yaml", {"a.n": [1, 2], "b.n": [3]}, [])
    assert first.name == "x[a.n=1,b.n=3]"


@pytest.mark.parametrize(
    ("value", "spelt"),
    [
        (1.5, "1.5"),
        ("a b", "'a b'"),
        ("it's", "'it\\'s'"),
        ("true", "'true'"),
        (None, "null"),
        (True, "true"),
        ([1, "x"], "[1,x]"),
    ],
)
def test_values_are_spelt_as_hydra_reads_them(value: Any, spelt: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (one,) = variants("x", "x.yaml", {"key": [value]}, [])
    assert one.overrides == (f"key={spelt}",)
    (read,) = OverridesParser.create().parse_overrides(list(one.overrides))
    assert read.value() == value


def test_a_sweep_of_a_list_is_a_sweep_of_its_values() -> None:
    assert apart(["search.stop=[a,b],[c]", "problems=3", "pool='a,b'"]) == (
        ["problems=3", "pool='a,b'"],
        [("search.stop", ("[a,b]", "[c]"))],
    )


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ("sweep: [a]", r"ucb\.yaml: sweep: found \[\"a\"\], allowed: a mapping, key: \[values\]"),
        ("sweep: {scheduler.alpha: 0.5}", r"sweep\.scheduler\.alpha: found 0\.5, allowed: a list of values"),
        ("sweep: {scheduler.alpha: []}", r"sweep\.scheduler\.alpha: found \[\], allowed: a list of values"),
        ("sweep: {scheduler.alpha: [1, 1]}", r"sweep\.scheduler\.alpha: found 1, 1, allowed: different values"),
        ("sweep: {seeds: [[1], [2]]}", r"sweep\.seeds: found a sweep, allowed: another key"),
        ("sweep: {scheduler.alfa: [1, 2]}", r"Key 'alfa' is not in the config, allowed: .*alpha"),
        ("sweep: {pool: [nobody]}", r"pool: found 'nobody', allowed: "),
        ("sweep: {scheduler.alpha: [-1]}", r"scheduler\.alpha: found -1, allowed: >= 0"),
        ("sweep: {'a b': [1]}", r"sweep: found 'a b', allowed: the name of a key"),
    ],
)
def test_a_sweep_that_is_none_is_told_with_its_file_and_key(sweep: str, told: str, conf: Path) -> None:
    study(conf, ucb=sweep)
    with pytest.raises(SymphonyError, match=told):
        planned(conf)


def test_an_interval_has_no_values_to_sweep() -> None:
    with pytest.raises(SymphonyError, match=r"found an interval, allowed: values separated by commas"):
        plan("quickstart", ["scheduler.alpha=interval(0,1)"], conf=CONF)


def test_an_option_that_replaces_those_of_some_experiments_is_told(conf: Path) -> None:
    study(
        conf,
        mine="defaults:\n  - override /pool: embedded_llama_only\n  - override /scorer: plain",
        other="title: other",
    )
    assert replaced("mine", ["pool=embedded_trio", "problems=2"], conf=conf) == [
        "pool=embedded_trio replaces the pool chosen by mine; --experiment NAME overrides only one of them"
    ]
    assert replaced("mine", ["scheduler=uniform"], conf=conf) == []
