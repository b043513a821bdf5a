"""Every option and experiment composes; what is wrong is refused with the key's full name; digests are of science."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from symphony.models.folder import PACKAGE
from symphony.plan.compose import plan, task
from symphony.plan.model_spec import models
from symphony.plan.needs import available, has_files, pool_sizes
from symphony.plan.options import describe, describe_stand_ins, reference, studies, write_description
from symphony.plan.specs import Run, build, freeze, groups, thaw
from symphony.plan.yaml_files import load
from symphony.search.symphony import Symphony
from symphony.types import SymphonyError

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for group in ("task", "pool", "scheduler", "scorer", "memory", "search", "preset")
    for path in (CONF / group).glob("*.yaml")
)
EXPERIMENTS = sorted((path.parent.name, path.stem) for path in (CONF / "experiment").glob("*/*.yaml"))

SIZES = sorted((CONF / "experiment").glob("*/sizes/*.yaml"))
EXCHANGING = [path for path in SIZES if "stand_ins" in load(path)]


def small_copy(folder: Path) -> Path:
    """Copies conf/ and leaves little of its quickstart, so that composing is quick."""
    copy = folder / "conf"
    shutil.copytree(CONF, copy)
    for path in (copy / "experiment" / "quickstart").glob("*.yaml"):
        if path.stem not in ("symphony", "uniform"):
            path.unlink()
    edit(copy / "config.yaml", "tasks: [gridworld, mini_qa, mini_shop, mini_code]", "tasks: [gridworld]")
    edit(copy / "config.yaml", "seeds: [11, 12, 13]", "seeds: [0]")
    return copy


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy to change, with two experiments on one task and seed."""
    return small_copy(tmp_path)


@pytest.fixture(scope="module")
def one_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that no test changes, so that its files are read once; its quickstart is one run."""
    copy = small_copy(tmp_path_factory.mktemp("one_run"))
    (copy / "experiment" / "quickstart" / "uniform.yaml").unlink()
    return copy


QUICK = {"quickstart", "sample", "memory_convergence"}
"""Studies whose whole plans are tried each time; those of the others are among the slow tests."""


def studied(study: str, *values: Any) -> Any:
    """Parameters of a test; slow unless they are of a quick study."""
    return pytest.param(*values, marks=() if study in QUICK else pytest.mark.slow)


def named(path: Path) -> str:
    return f"{path.parents[1].name}-{path.stem}"


@lru_cache
def planned(study: str) -> list[Run]:
    """A whole study as it ships, composed once: that takes seconds."""
    return plan(study, conf=CONF)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def digests(conf: Path, *overrides: str) -> dict[str, str]:
    return {run.experiment: run.digest for run in plan("quickstart", overrides, conf=conf)}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes_and_instantiates(option: str, one_run: Path) -> None:
    override = "tasks=[" + option.partition("=")[2] + "]" if option.startswith("task=") else option
    (run,) = plan("quickstart", [override], conf=one_run)
    parts = build(run.config)
    if not has_files(run.config["task"]):  # whose data may not be at hand
        assert len(parts.task.problems()) == run.config["problems"]
    assert models(run.config)


def test_other_contents_of_a_data_file_are_another_run_and_another_place_is_not(conf: Path, tmp_path: Path) -> None:
    def named(place: str, text: str) -> str:
        file = tmp_path / place / "hotpotqa" / "hotpot_dev_distractor_sample.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        overrides = ["tasks=[hotpotqa]", f"data_dir={tmp_path / place}"]
        cached = plan("quickstart", overrides, experiment="symphony", conf=conf, cache=tmp_path / "plans")[0]
        assert cached.data(Path("data")) == tmp_path / place
        return cached.digest

    assert named("one", "a") == named("two", "a")
    assert named("one", "b") != named("two", "a")  # although the plan of "one" was cached before its data changed


@pytest.mark.parametrize(("study", "name"), EXPERIMENTS)
def test_every_experiment_says_what_it_asks_and_which_table_it_feeds(study: str, name: str) -> None:
    described = [one for one in describe(study, conf=CONF) if one.name.partition("[")[0] == name]
    assert described
    for said in described:
        assert said.title
        assert said.question.endswith("?")
        assert said.table
    assert (CONF / "experiment" / study / f"{name}.yaml").read_text().count("\n# ") >= 1


@pytest.mark.parametrize("study", [studied(study, study) for study in studies(CONF)])
def test_a_study_has_one_run_an_experiment_task_and_seed(study: str) -> None:
    runs = planned(study)
    keys = [(run.experiment, run.task, run.seed) for run in runs]
    assert len(set(keys)) == len(keys) > 0
    assert len({run.digest for run in runs}) == len(runs)


def test_the_ablation_has_a_row_of_random_scores_that_differs_in_the_scorer_alone() -> None:
    runs = {run.experiment: run.config for run in planned("quickstart")}
    assert "random_scores" in runs
    ours, random = runs["symphony"], runs["random_scores"]
    assert {
        part for part in ("task", "pool", "scheduler", "scorer", "memory", "search") if ours[part] != random[part]
    } == {"scorer"}


def test_runs_that_share_task_pool_and_seed_share_a_group() -> None:
    runs = planned("quickstart")
    shared = groups(runs)
    assert {(g.runs[0].task, g.runs[0].pool, g.runs[0].seed) for g in shared} == {
        (r.task, r.pool, r.seed) for r in runs
    }
    assert sum(len(group.runs) for group in shared) == len(runs)
    assert all(len({(r.task, r.pool, r.seed) for r in group.runs}) == 1 for group in shared)


def test_seeds_may_share_a_group_too_and_then_a_call_store_of_their_own() -> None:
    runs = planned("quickstart")
    shared = groups(runs, ["task", "pool"])
    assert {(g.runs[0].task, g.runs[0].pool) for g in shared} == {(r.task, r.pool) for r in runs}
    assert all(group.store == f"{group.runs[0].task}-{group.runs[0].pool}" for group in shared)
    with pytest.raises(SymphonyError, match="share: found pool, allowed: task,pool or task,pool,seed"):
        groups(runs, ["pool"])


def test_a_frozen_group_thaws_unchanged(conf: Path, tmp_path: Path) -> None:
    (group,) = groups(plan("quickstart", conf=conf))
    assert thaw(freeze(group, tmp_path)) == group


def test_a_cached_plan_equals_a_composed_one(conf: Path, tmp_path: Path) -> None:
    composed = plan("quickstart", conf=conf)
    first = plan("quickstart", conf=conf, cache=tmp_path / "plans")
    assert list((tmp_path / "plans").glob("*.json"))
    assert plan("quickstart", conf=conf, cache=tmp_path / "plans") == first == composed


def test_a_cached_plan_is_not_used_after_a_change(conf: Path, tmp_path: Path) -> None:
    before = plan("quickstart", conf=conf, cache=tmp_path)
    edit(conf / "config.yaml", "problems: 8", "problems: 5")
    after = plan("quickstart", conf=conf, cache=tmp_path)
    assert [run.config["problems"] for run in before] == [8, 8]
    assert [run.config["problems"] for run in after] == [5, 5]


# ------------------------------------------------------------------ digests


def test_comments_titles_and_execution_change_no_digest(conf: Path) -> None:
    before = digests(conf)
    edit(conf / "search" / "shared" / "tree.yaml", "n: 4 # ", "n: 4 # another comment, ")
    edit(conf / "experiment" / "quickstart" / "symphony.yaml", "title: SYMPHONY", "title: Another title")
    edit(conf / "config.yaml", "in_flight: 64", "in_flight: 3")
    assert digests(conf) == before


def test_limits_that_came_later_are_in_a_config_only_where_they_are_set(conf: Path) -> None:
    (first, _) = plan("quickstart", conf=conf)
    limits = {"calls": None, "tokens": None, "seconds": None}
    assert first.config["budget"] == {"problem": {**limits, "tokens": 6000}, "run": limits}
    (money, _) = plan("quickstart", ["budget.run.money=2", "budget.study.calls=9"], conf=conf)
    assert money.config["budget"] == {
        "problem": {**limits, "tokens": 6000},
        "run": {**limits, "money": 2.0},
        "study": {"calls": 9},
    }
    assert money.digest != first.digest


@pytest.mark.parametrize("path", [studied(path.parents[1].name, path) for path in SIZES], ids=named)
def test_a_size_of_a_study_changes_what_its_file_says_and_nothing_else(path: Path) -> None:
    study, values = path.parents[1].name, load(path)
    if "stand_ins" in values:
        return  # see below
    assert values.keys() <= {"tasks", "seeds", "problems"}, "what is compared is the same in every size"
    overrides = [f"{key}={value}".replace(" ", "") for key, value in values.items()]
    name = describe(study, conf=CONF)[0].name
    sized = plan(study, [f"size={path.stem}"], experiment=name, conf=CONF)
    assert [run.digest for run in sized] == [run.digest for run in plan(study, overrides, experiment=name, conf=CONF)]


@pytest.mark.parametrize("path", [studied(path.parents[1].name, path) for path in EXCHANGING], ids=named)
def test_a_size_s_stand_ins_take_the_places_of_options_that_the_study_chooses(path: Path) -> None:
    study, pools = path.parents[1].name, load(path)["stand_ins"]["pool"]
    files = [path.parents[1] / "shared" / "base.yaml", *sorted(path.parents[1].glob("*.yaml"))]
    chosen = {file.stem: found[1] for file in files if (found := re.search(r"override /pool: (\w+)", file.read_text()))}
    assert set(pools) == {chosen.get("base", "embedded_trio"), *chosen.values()}
    for name in {"symphony", next((name for name in chosen if name != "base"), "symphony")}:
        (first, *_) = plan(study, [f"size={path.stem}"], experiment=name, conf=CONF)
        assert first.pool == pools[chosen.get(name, chosen.get("base", "embedded_trio"))]
    assert len(describe_stand_ins(study, [f"size={path.stem}"], conf=CONF)) >= len(set(pools.values()))


def test_a_stand_in_changes_nothing_where_its_option_is_not_chosen(conf: Path) -> None:
    edit(conf / "config.yaml", "stand_ins: {}", "stand_ins: {pool: {symphony_s: laptop}}")
    assert {run.pool for run in plan("quickstart", conf=conf)} == {"embedded_trio"}


@pytest.mark.parametrize("wrong", ["{pool: laptop}", "{search: {symphony: lats}}", "{pool: {embedded_trio: 3}}"])
def test_a_stand_in_that_is_not_a_pair_of_options_is_refused(wrong: str, conf: Path) -> None:
    edit(conf / "config.yaml", "stand_ins: {}", f"stand_ins: {wrong}")
    with pytest.raises(SymphonyError, match=r"stand_ins: found .*, allowed: \{pool or preset: \{option: option\}\}"):
        plan("quickstart", conf=conf)


def test_a_stand_in_that_does_not_exist_is_refused(conf: Path) -> None:
    edit(conf / "config.yaml", "stand_ins: {}", "stand_ins: {pool: {embedded_trio: embeded}}")
    with pytest.raises(SymphonyError, match=r"pool: found 'embeded', allowed: .*embedded_trio"):
        plan("quickstart", conf=conf)


def test_the_full_size_is_the_study_itself(conf: Path) -> None:
    assert plan("quickstart", ["size=full"], conf=conf) == plan("quickstart", conf=conf)


def test_an_override_changes_a_size_whatever_the_order() -> None:
    found = plan("laptop", ["problems=1", "size=quick"], experiment="symphony", conf=CONF)
    assert {run.config["problems"] for run in found} == {1}


@pytest.mark.parametrize(("study", "allowed"), [("laptop", "quick, full"), ("presets", "full")])
def test_a_size_that_a_study_lacks_is_refused(study: str, allowed: str) -> None:
    with pytest.raises(SymphonyError, match=f"size: found 'tiny', allowed: {allowed}"):
        plan(study, ["size=tiny"], conf=CONF)


def test_a_task_may_have_limits_of_its_own_and_other_tasks_keep_theirs(conf: Path) -> None:
    tasks = ["tasks=[gridworld,mini_qa]"]
    plain = {run.task: run for run in plan("quickstart", tasks, experiment="symphony", conf=conf)}
    own = plan("quickstart", [*tasks, "+budget.tasks.mini_qa.tokens=50"], experiment="symphony", conf=conf)
    limits = {run.task: run.config["budget"]["problem"] for run in own}
    assert limits == {
        "gridworld": plain["gridworld"].config["budget"]["problem"],
        "mini_qa": {**limits["gridworld"], "tokens": 50},
    }
    assert [run.digest == plain[run.task].digest for run in own] == [True, False]


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ("{mini_q:{tokens:5}}", "budget.tasks: found 'mini_q', allowed: "),
        (
            "{mini_qa:{token:5}}",
            "budget.tasks.mini_qa.token: found an unknown key, allowed: calls, tokens, money, seconds",
        ),
        ("{mini_qa:{tokens:0}}", "budget.tasks.mini_qa.tokens: found 0, allowed: > 0, a whole number, or null"),
        ("{mini_qa:5}", "budget.tasks.mini_qa: found 5, allowed: a mapping"),
    ],
)
def test_a_limit_of_no_task_or_of_no_kind_is_refused(limits: str, told: str, conf: Path) -> None:
    with pytest.raises(SymphonyError) as caught:
        plan("quickstart", [f"+budget.tasks={limits}"], conf=conf)
    assert told in str(caught.value)


def test_the_budget_of_a_study_is_one_for_all_of_its_experiments(conf: Path) -> None:
    with (conf / "experiment" / "quickstart" / "uniform.yaml").open("a") as stream:
        stream.write("budget: {study: {money: 3}}\n")
    with pytest.raises(SymphonyError, match=r'budget.study: found {"money":3.0} and {}, allowed: one for the whole st'):
        plan("quickstart", conf=conf)


def test_a_changed_ablation_changes_its_own_digest_only(conf: Path) -> None:
    before = digests(conf)
    with (conf / "experiment" / "quickstart" / "uniform.yaml").open("a") as stream:
        stream.write("search: {n: 3}\n")
    after = digests(conf)
    assert after["symphony"] == before["symphony"]
    assert after["uniform"] != before["uniform"]


def test_the_order_of_the_agents_is_part_of_the_digest(conf: Path) -> None:
    before = digests(conf)
    pool = conf / "pool" / "embedded_trio.yaml"
    lines = pool.read_text().splitlines()
    pool.write_text("\n".join([*lines[:-2], lines[-1], lines[-2]]) + "\n")
    assert digests(conf) != before


def test_new_weights_of_the_model_that_a_checkpoint_is_made_from_are_new_runs(conf: Path) -> None:
    before = digests(conf, "pool=embedded_trio_nf4")
    edit(conf / "model" / "embedded_llama_nf4.yaml", "package:embedded/weights/llama", "package:embedded/weights/neox")
    assert not set(digests(conf, "pool=embedded_trio_nf4").values()) & set(before.values())


def test_a_checkpoint_made_from_other_weights_is_refused(
    conf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = models(plan("quickstart", ["pool=embedded_trio_nf4"], conf=conf)[0].config)["llama"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SymphonyError, match=r"`snakemake outputs/quantised/embedded_llama-nf4/manifest.json`"):
        spec.folder(tmp_path)
    made = tmp_path / "outputs" / "quantised" / "embedded_llama-nf4"
    shutil.copytree(PACKAGE / "embedded" / "weights" / "llama", made)
    (made / "manifest.json").write_text('{"source_digest": "older"}')
    with pytest.raises(SymphonyError, match=rf"made from weights older, allowed: from {spec.origin}"):
        spec.folder(tmp_path)
    (made / "manifest.json").write_text(f'{{"source_digest": "{spec.origin}"}}')
    assert spec.folder(tmp_path).resolve() == made.resolve()


def test_each_preset_changes_what_it_decides(conf: Path) -> None:
    seen: dict[str, Run] = {}
    for preset in ("embedded", "default", "paper", "official-code"):
        seen[preset] = plan("quickstart", [f"preset={preset}"], conf=conf)[0]
    assert seen["paper"].config["search"]["sim_value"] == "sum"
    assert seen["official-code"].config["search"]["sim_value"] == "reward"
    assert seen["official-code"].config["scheduler"] == {
        "_target_": "symphony.agents.scheduler.UCB",
        "alpha": 20.0,
        "form": "inside",
        "mean": "per_call",
        "scope": "run",
    }
    assert len({run.digest for run in seen.values()}) == 4


def test_the_default_cuts_simulations_where_the_published_code_does(conf: Path) -> None:
    depths = [plan("quickstart", [f"preset={preset}"], conf=conf)[0] for preset in ("default", "official-code")]
    assert [run.config["search"]["sim_depth"] for run in depths] == [4, 4]


def test_the_default_tries_unvisited_children_as_the_search_does_by_itself(conf: Path) -> None:
    run = plan("quickstart", ["preset=default"], conf=conf)[0]
    assert run.config["search"]["first_visit"] == Symphony().first_visit == "virtual"


QUIRKS = ("uct_mean", "select", "values", "backup", "sim_end", "resample", "distinct", "lessons")


@pytest.mark.parametrize(
    ("preset", "search", "quirk"),
    [
        ("official-code", "symphony_official", ("values", "positional")),
        ("official-code-webshop", "symphony_official_webshop", ("values", "rescaled")),
        ("official-code-programs", "symphony_official_programs", ("values", "progress")),
    ],
)
def test_a_published_preset_chooses_the_search_that_names_its_quirks(
    preset: str, search: str, quirk: tuple[str, str], conf: Path
) -> None:
    run = plan("quickstart", [f"preset={preset}"], experiment="symphony", conf=conf)[0]
    assert (run.config["choices"]["search"], run.config["search"][quirk[0]]) == (search, quirk[1])


@pytest.mark.parametrize("preset", ["default", "paper", "embedded"])
def test_no_quirk_is_named_under_another_preset(preset: str, conf: Path) -> None:
    for run in plan("quickstart", [f"preset={preset}"], conf=conf):
        assert not set(QUIRKS) & set(run.config["search"])


def test_an_experiment_with_a_search_of_its_own_keeps_it_under_a_published_preset(conf: Path) -> None:
    edit(conf / "experiment" / "quickstart" / "uniform.yaml", "defaults:\n", "defaults:\n  - override /search: lats\n")
    run = plan("quickstart", ["preset=official-code"], experiment="uniform", conf=conf)[0]
    assert run.config["choices"]["search"] == "lats"


def test_a_task_that_the_machine_can_not_carry_out_is_left_out_of_a_study_and_told_once(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("symphony.tasks.programs.rust_suite.available", lambda: False)
    runs = plan("quickstart", ["tasks=[gridworld,mbpp_rs]", "seeds=[0,1]"], conf=conf)
    told: list[str] = []
    assert {run.task for run in available(runs, told.append)} == {"gridworld"}
    assert told == ["task mbpp_rs is left out: found no rustc, allowed: a Rust compiler on the PATH"]


def test_a_method_that_can_not_play_a_task_is_left_out_of_it_and_told_once(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("symphony.search.methods.ab_mcts.find_spec", lambda name: None if name == "pymc" else name)
    edit(
        conf / "experiment" / "quickstart" / "uniform.yaml",
        "defaults:\n",
        "defaults:\n  - override /search: ab_mcts_m\n",
    )
    edit(
        conf / "experiment" / "quickstart" / "symphony.yaml", "title", "defaults: [override /search: agentcoder]\ntitle"
    )
    runs = plan("quickstart", ["tasks=[gridworld,mini_qa,mini_code]", "seeds=[0,1]"], conf=conf)
    told: list[str] = []
    kept = [(run.experiment, run.task, run.seed) for run in available(runs, told.append)]
    assert kept == [("symphony", "mini_code", 0), ("symphony", "mini_code", 1)]
    assert told == [
        "experiment symphony is left out on gridworld, mini_qa: found agentcoder, allowed only on tasks of programs",
        "experiment uniform is left out on gridworld, mini_qa, mini_code: found no pymc, allowed: after "
        "pip install -e '.[ab-mcts-m]'",
    ]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["problms=2"], r"^problms=2: problms: Key 'problms' is not in the config"),
        (["tasks=[]"], r"tasks: found \[\], allowed: a list of text that is not empty, at least one"),
    ],
)
def test_a_mistake_on_the_command_line_is_not_blamed_on_a_file(conf: Path, overrides: list[str], told: str) -> None:
    with pytest.raises(SymphonyError, match=told):
        plan("quickstart", overrides, conf=conf)


def test_broken_yaml_is_told_by_file_and_line(conf: Path) -> None:
    path = conf / "experiment" / "quickstart" / "uniform.yaml"
    path.write_text(path.read_text() + "title: [a\n")
    with pytest.raises(SymphonyError, match=r"uniform\.yaml:\d+: found .*, allowed: YAML"):
        plan("quickstart", conf=conf)


def test_a_task_under_whose_name_a_report_pools_is_refused(conf: Path) -> None:
    path = conf / "task" / "all tasks.yaml"
    path.write_text((conf / "task" / "gridworld.yaml").read_text())
    with pytest.raises(SymphonyError, match=f"{path}: found the name 'all tasks', allowed: another "):
        plan("quickstart", ["tasks=['all tasks']"], conf=conf)


def test_outside_the_project_one_is_told_where_to_be(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="allowed: the project's folder as working directory"):
        task(["task=mini_qa"], conf=tmp_path)


def test_inf_on_the_command_line_is_the_option_of_that_name(conf: Path) -> None:
    run = plan("quickstart", ["search.first_visit=inf"], conf=conf)[0]
    assert run.config["search"]["first_visit"] == "inf"


def test_the_embedded_preset_is_the_default_but_for_simulations_and_temperature(conf: Path) -> None:
    default, embedded = (
        plan("presets", [f"preset={name}"], conf=conf)[0].config["search"] for name in ("default", "embedded")
    )
    assert {key for key in default if default[key] != embedded[key]} == {"sim_width", "sim_depth", "temperature"}


def test_a_description_is_written_only_when_it_changes(conf: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_description("quickstart", path, conf=conf)
    before = path.stat().st_mtime_ns
    write_description("quickstart", path, conf=conf)
    assert path.stat().st_mtime_ns == before
    edit(conf / "experiment" / "quickstart" / "symphony.yaml", "title: SYMPHONY", "title: Another title")
    write_description("quickstart", path, conf=conf)
    assert "Another title" in path.read_text()
    write_description("quickstart", path, conf=conf, left_out=["task mbpp_rs is left out"])
    assert json.loads(path.read_text())["left_out"] == ["task mbpp_rs is left out"]
    assert "recorded" not in json.loads(path.read_text())
    write_description("quickstart", path, conf=conf, recorded=["2026-11-30"])
    assert json.loads(path.read_text())["recorded"] == ["2026-11-30"]


# ------------------------------------------------------------------ the reference of a study


def own_study(conf: Path, **experiments: str) -> None:
    """A study `own` of experiments that say this beside what every one must."""
    folder = conf / "experiment" / "own"
    folder.mkdir()
    for name, text in experiments.items():
        (folder / f"{name}.yaml").write_text(f"# @package _global_\ntitle: {name}\n{text}\n")


@pytest.mark.parametrize(
    ("experiments", "expected"),
    [
        ({"alpha": "", "whole": "table: main"}, "whole"),
        ({"alpha": "table: main", "whole": "table: main\nreference: whole"}, "whole"),
        ({"alpha": "reference: alpha", "whole": "table: main\nreference: alpha"}, "alpha"),
        ({"alpha": "table: main", "whole": "table: main"}, "alpha"),
        ({"beta": "", "gamma": "table: methods"}, "beta"),
    ],
)
def test_the_reference_is_the_one_that_is_named_else_the_main_experiment(
    conf: Path, tmp_path: Path, experiments: dict[str, str], expected: str
) -> None:
    own_study(conf, **experiments)
    assert reference("own", conf=conf) == expected
    write_description("own", tmp_path / "plan.json", conf=conf)
    assert json.loads((tmp_path / "plan.json").read_text())["reference"] == expected


def test_what_an_experiment_is_compared_with_is_one_of_the_study(conf: Path, tmp_path: Path) -> None:
    own_study(conf, direct="", nf4="table: quantisation\nagainst: direct")
    write_description("own", tmp_path / "plan.json", conf=conf)
    assert json.loads((tmp_path / "plan.json").read_text())["experiments"]["nf4"]["against"] == "direct"
    edit(conf / "experiment" / "own" / "nf4.yaml", "direct", "direkt")
    with pytest.raises(SymphonyError, match=r"nf4\.yaml: against: found 'direkt', allowed: direct, nf4"):
        plan("own", conf=conf)


def test_an_override_or_the_root_names_the_reference_too(conf: Path) -> None:
    assert reference("quickstart", ["problems=2", "reference=uniform"], conf=conf) == "uniform"
    edit(conf / "config.yaml", "reference: null", "reference: uniform")
    assert reference("quickstart", conf=conf) == "uniform"


@pytest.mark.parametrize("study", studies(CONF))
def test_every_study_that_ships_has_a_reference(study: str) -> None:
    assert reference(study, conf=CONF) in {one.name for one in describe(study, conf=CONF)}


@pytest.mark.parametrize(
    ("overrides", "edited", "told"),
    [
        (["reference=uniforn"], "", "^reference: found 'uniforn', allowed: symphony, uniform$"),
        ([], "reference: [symphony]", "^reference: found \\['symphony'\\], allowed: symphony, uniform$"),
        ([], "reference: 3", "^reference: found 3, allowed: symphony, uniform$"),
    ],
)
def test_a_reference_that_is_no_experiment_is_refused_at_planning(
    conf: Path, overrides: list[str], edited: str, told: str
) -> None:
    with (conf / "experiment" / "quickstart" / "uniform.yaml").open("a") as stream:
        stream.write(f"{edited}\n")
    with pytest.raises(SymphonyError, match=told):
        plan("quickstart", overrides, conf=conf)


def test_experiments_that_name_different_references_are_refused(conf: Path) -> None:
    own_study(conf, alpha="reference: alpha", beta="reference: beta")
    told = "reference: found 'alpha' in alpha.yaml, 'beta' in beta.yaml, allowed: one for the whole study"
    with pytest.raises(SymphonyError, match=told):
        plan("own", conf=conf)


def test_the_reference_changes_no_digest(conf: Path) -> None:
    before = digests(conf)
    edit(conf / "config.yaml", "reference: null", "reference: uniform")
    assert digests(conf) == before == digests(conf, "reference=symphony")


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("serach.n=3", r"serach: .*allowed: .*search"),
        ("+serach=3", r"serach: .*allowed: .*search"),
        ("search.nn=3", r"search\.nn: .*allowed: .*iterations"),
        ("budget.problem.token=3", r"budget\.problem\.token: .*allowed: calls, tokens, money, seconds"),
        ("scheduler=ucbb", r"scheduler: found 'ucbb', allowed: .*\bexp3, .*\bucb, "),
        ("pool=duo", r"pool: found 'duo', allowed: .*embedded_trio"),
        ("tasks=[chess]", r"task: found 'chess', allowed: .*\bgridworld, .*\bhotpotqa, "),
        ("problems=many", r"problems: .*'many'"),
        ("problems=0", r"(problems|task\.count|task\.problems): found 0, allowed: >= 1"),
        ("search.n=0", r"search\.n: found 0, allowed: >= 1"),
        ("scheduler.alpha=-1", r"scheduler\.alpha: found -1, allowed: >= 0"),
        ("memory.size=0", r"memory\.size: found 0, allowed: >= 1"),
        ("budget.problem.tokens=0", r"budget\.problem\.tokens: found 0, allowed: > 0"),
        ("feedback=gold", r"feedback: found 'gold', allowed: oracle, none"),
        ("execution.store=keep", r"execution\.store: found 'keep', allowed: live, record, replay, strict"),
        ("execution.in_flight=0", r"execution\.in_flight: found 0, allowed: >= 1"),
        ("search._target_=os.system", r"search\._target_: found 'os\.system', allowed: a class of symphony"),
        ("search._target_=symphony.search.symphony.Nope", r"search\._target_: .*allowed: a class that exists"),
    ],
)
def test_what_is_wrong_is_named_in_full_with_what_is_allowed(override: str, message: str, conf: Path) -> None:
    with pytest.raises(SymphonyError, match=message) as raised:
        plan("quickstart", [override], experiment="symphony", conf=conf)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("serach: {n: 3}", r"uniform\.yaml: serach: "),
        ("search: {nn: 3}", r"search\.nn: found an unknown key, allowed: .*n, iterations"),
        ("preset: {ucb: {alhpa: 3}}", r"preset\.ucb\.alhpa: found an unknown key, allowed: .*ucb\.alpha"),
        ("pool: {agents: {llama: {dtyp: float32}}}", r"pool\.agents\.llama\.dtyp: found an unknown key, allowed: path"),
    ],
)
def test_a_misspelt_key_in_an_experiment_is_refused(line: str, message: str, conf: Path) -> None:
    with (conf / "experiment" / "quickstart" / "uniform.yaml").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(SymphonyError, match=message):
        plan("quickstart", conf=conf)


def test_an_experiment_without_its_package_line_is_told_the_line(conf: Path) -> None:
    edit(conf / "experiment" / "quickstart" / "uniform.yaml", "# @package _global_\n", "")
    with pytest.raises(SymphonyError, match=r"uniform.yaml: found no line `# @package _global_`"):
        plan("quickstart", conf=conf)


def test_an_unknown_study_is_told_the_known_ones() -> None:
    with pytest.raises(SymphonyError, match=r"study: found 'quikstart', allowed: .*quickstart"):
        plan("quikstart", conf=CONF)


def test_outside_the_project_the_missing_conf_is_named(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="conf: found no"):
        plan("quickstart", conf=tmp_path / "conf")


def test_a_conf_without_the_tasks_that_read_a_key_of_a_preset_composes(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    for path in conf.glob("task/*.yaml"):
        if path.stem.startswith(("hotpotqa", "webshop", "blocksworld", "crosswords")):
            path.unlink()
    assert plan("quickstart", ("tasks=[mini_qa]", "problems=1"), experiment="symphony", conf=conf)


def test_a_model_spec_that_was_read_goes_to_another_process() -> None:
    spec = next(iter(models(planned("quickstart")[0].config).values()))
    assert spec.settings["path"]
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_a_task_s_own_count_is_the_number_of_its_problems() -> None:
    def problems(*overrides: str) -> int:
        (run,) = plan("quickstart", ["tasks=[mini_qa]", "seeds=[11]", *overrides], experiment="uniform", conf=CONF)
        return run.settings.problems

    assert problems("problems=5") == 5
    assert problems("problems=5", "task.count=3") == 3


@pytest.mark.slow
def test_the_size_of_a_pool_is_the_sum_of_its_different_local_models(tmp_path: Path) -> None:
    sizes = pool_sizes(plan("pools", ["tasks=[mini_qa]"], conf=CONF, data=tmp_path), tmp_path)
    alone = [sizes[f"embedded_{name}_only"] for name in ("llama", "qwen3", "neox")]
    assert sizes["embedded_trio"] == sum(alone)
    assert pool_sizes(plan("alpha", ["seeds=[0]"], conf=CONF, data=tmp_path), tmp_path) == {"simulated_unequal": 0}
    behind_endpoints = {
        "symphony_l": 0,
        "single_gpt_4": 0,
        "single_claude_3_5_sonnet": 0,
    }  # the files of the others are not here
    assert pool_sizes(plan("paper_hotpotqa", conf=CONF, data=tmp_path), tmp_path) == behind_endpoints


@pytest.mark.slow
@pytest.mark.parametrize("study", ["paper_hotpotqa", "paper_webshop", "paper_mbpp"])
def test_without_a_limit_of_tokens_no_method_of_the_paper_makes_attempts_by_the_hundred(study: str) -> None:
    for run in plan(study, ["seeds=[0]"], conf=CONF):
        search = run.config["search"]
        attempts = [search[key] for key in ("n", "trials", "iterations") if search.get(key) is not None]
        assert run.settings.budget.problem.tokens is not None or max(attempts, default=1) <= 50, run.experiment
