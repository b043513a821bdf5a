"""Tables computed from SYNTHETIC records, held against sums made by hand."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from symphony.records.database import load
from symphony.records.records import AnswerRecord
from symphony.report.cells import DASH, MINUS
from symphony.report.paper import layouts
from symphony.report.stats import Estimate, holm
from symphony.report.study import Study, open_study
from symphony.report.summary import Finding, folded, summarise
from symphony.report.tables import (
    TABLES,
    Table,
    as_csv,
    as_latex,
    as_markdown,
    read_table,
    read_view,
    shown,
    table,
)
from symphony.types import SymphonyError


@pytest.fixture(scope="module")
def study(synthetic_db: Path, plan_json: Path, manifest: Path) -> Iterator[Study]:
    with open_study(synthetic_db, plan_json, [manifest]) as opened:
        yield opened


def load_runs(tmp_path: Path, *runs: Any) -> Path:
    load(tmp_path / "study.duckdb", [run.write(tmp_path / "runs") for run in runs])
    return tmp_path / "study.duckdb"


SUBSETS = ("shapley", *layouts())
"""Tables of studies that ran every subset of a pool, or a benchmark of the paper, as the synthetic one did not."""


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_rows_title_and_conditions(study: Study, name: str) -> None:
    found = read_table(study, name)
    assert bool(found.rows) == (name not in SUBSETS)
    assert found.title
    assert found.conditions.startswith("Feedback: oracle. Commit: 0123456789. In the paper:")


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_written_in_three_formats_that_name_feedback_and_commit(
    synthetic_db: Path, plan_json: Path, tmp_path: Path, name: str
) -> None:
    for path in table(synthetic_db, name, tmp_path, plan_json):
        text = path.read_text()
        if name not in ("quantisation", *SUBSETS) or path.suffix != ".csv":  # a head without rows
            assert "oracle" in text
            assert "0123456789" in text


def test_a_table_is_the_same_to_the_last_digit_whatever_was_read_before_it(
    study: Study, synthetic_db: Path, plan_json: Path, manifest: Path
) -> None:
    for name in TABLES:
        read_table(study, name)
    for name in ("success", "calibration", "emcs", "anytime"):
        with open_study(synthetic_db, plan_json, [manifest]) as alone:
            assert as_csv(read_table(alone, name)) == as_csv(read_table(study, name))


def test_rows_follow_the_plan_and_then_the_name(study: Study) -> None:
    rows = read_table(study, "success").records()
    assert [row["method"] for row in rows if row["task"] == "all tasks"] == [
        "SYMPHONY", "without scheduling (uniform)", "without memory", "without EMCS", "only llama", "only neox", "LATS",
        "react",
    ]  # fmt: skip


def test_success_counts_every_problem_once(study: Study) -> None:
    rows = read_table(study, "success").records()
    solved, n = study.rows("SELECT count(*) FILTER (success), count(*) FROM problems WHERE run LIKE 'symphony-%'")[0]
    row = next(row for row in rows if row["method"] == "SYMPHONY" and row["task"] == "all tasks")
    assert row["n"] == n == 80
    assert isinstance(row["success"], Estimate)
    assert row["success"].value == pytest.approx(solved / n)


def test_pairs_compare_the_same_problem_only(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    reference, other = make_run("symphony", problems=4), make_run("uniform", problems=4)
    for run, outcome in ((reference, [1, 1, 1, 0]), (other, [1, 0, 0, 1])):
        run.problems = [
            dataclasses.replace(p, success=bool(s), score=float(s)) for p, s in zip(run.problems, outcome, strict=True)
        ]
    with open_study(load_runs(tmp_path, reference, other)) as study:
        row = next(row for row in read_table(study, "success").records()[::-1] if row["task"] == "all tasks")
    assert (row["pairs"], row["only method solved"], row["only reference solved"]) == (4, 1, 2)
    assert row["permutation p"] == pytest.approx(1 / 4 + 3 / 8)  # of three flipped signs: all alike, or as seen
    assert isinstance(row["success difference"], Estimate)
    assert row["success difference"].value == pytest.approx(-0.25)


def test_a_variant_that_makes_the_references_calls_is_told_to_decide_nothing(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    reference, same, other = (make_run(name, problems=3) for name in ("symphony", "no_memory", "uniform"))
    same.calls = [dataclasses.replace(call, run=same.run.run) for call in reference.calls]
    same.nodes = [dataclasses.replace(node, run=same.run.run) for node in reference.nodes]
    same.problems = [dataclasses.replace(one, run=same.run.run) for one in reference.problems]
    same.picks = [dataclasses.replace(one, run=same.run.run) for one in reference.picks]
    same.timings = [dataclasses.replace(one, run=same.run.run) for one in reference.timings]
    same.reflections = [dataclasses.replace(one, run=same.run.run) for one in reference.reflections]
    with open_study(load_runs(tmp_path, reference, same, other)) as study:
        tables = {name: read_table(study, name) for name in TABLES}
    shares = {row["method"]: row["same calls"] for row in tables["success"].records() if row["task"] == "all tasks"}
    assert shares["no_memory"] == 1
    assert shares["uniform"] == 0
    told = dict(summarise(tables, "symphony"))["Does each component help?"]
    assert any("made the same calls in all 3 runs" in one.why for one in told if one.text.startswith("no_memory"))


def test_runs_on_other_data_are_not_paired(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    db = load_runs(tmp_path, make_run("symphony"), make_run("uniform", dataset="other problems of the same name"))
    with open_study(db) as study:
        assert {row["success difference"] for row in read_table(study, "success").records()} == {None}


def test_ablation_holds_what_differs_from_the_reference_in_a_component_only(study: Study) -> None:
    rows = read_table(study, "ablation").records()
    assert {row["variant"]: row["change"] for row in rows} == {
        "SYMPHONY": "full",
        "without scheduling (uniform)": "scheduler ucb → uniform",
        "without memory": "memory fifo → none",
        "without EMCS": "scorer emcs → plain",
    }


def test_the_gain_of_a_component_is_the_paired_difference_turned_round(study: Study) -> None:
    gain = next(r for r in read_table(study, "ablation").records() if r["variant"] == "without memory")
    rows = read_table(study, "success").records()
    pair = next(r for r in rows if r["method"] == "without memory" and r["task"] == "all tasks")
    one, other = gain["gain of the component"], pair["success difference"]
    assert isinstance(one, Estimate)
    assert isinstance(other, Estimate)
    assert (one.value, one.low, one.high) == (-other.value, -other.high, -other.low)


@pytest.mark.parametrize("name", ["success", "anytime", "ablation"])
def test_seeds_that_repeat_the_same_problems_narrow_no_interval(
    tmp_path: Path, make_run: Callable[..., Any], name: str
) -> None:
    """Three seeds of the same problems with the same outcomes are one seed told three times."""
    columns = ("success", "all of it", "success difference", "gain of the component")

    def intervals(place: Path, seeds: tuple[int, ...]) -> list[Estimate]:
        runs = []
        for method in ("symphony", "no_emcs"):
            once = make_run(method, problems=20, dataset="the same for every seed")
            for seed in seeds:
                run = make_run(method, seed=seed, problems=20, dataset="the same for every seed")
                own = {one.problem: one for one in once.problems}
                run.problems = [
                    dataclasses.replace(p, success=own[p.problem].success, score=own[p.problem].score)
                    for p in run.problems
                ]
                runs.append(run)
        with open_study(load_runs(place, *runs)) as study:
            found = read_table(study, name).records()
        return [cell for row in found for column in columns if isinstance(cell := row.get(column), Estimate)]

    once, thrice = intervals(tmp_path / "once", (1,)), intervals(tmp_path / "thrice", (1, 2, 3))
    assert len(once) == len(thrice) > 0
    for one, other in zip(once, thrice, strict=True):
        assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), abs=0.004)


def test_the_tests_of_a_table_are_corrected_for_its_rows(study: Study) -> None:
    rows = [row for row in read_table(study, "success").records() if row["permutation p"] is not None]
    ps = [float(str(row["permutation p"])) for row in rows]
    assert [row["Holm p"] for row in rows] == holm(ps)
    assert min(float(str(row["Holm p"])) for row in rows) == pytest.approx(len(rows) * min(ps))


def test_the_best_single_model_is_the_one_that_solves_most(study: Study) -> None:
    rows = {str(row["role"]): row for row in read_table(study, "pool").records()}
    assert set(rows) == {"reference", "best single", "single"}
    best, other = rows["best single"]["all tasks"], rows["single"]["all tasks"]
    assert isinstance(best, Estimate)
    assert isinstance(other, Estimate)
    assert best.value >= other.value


def test_a_single_model_is_compared_with_the_whole_pool_under_its_own_search(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    alone = make_run("react", run="react-alone", experiment="react_alone", pool="llama", agents=["llama"], problems=40)
    whole, reference = make_run("react", problems=40), make_run("symphony", problems=40)
    for problem, solved in ((whole.problems, True), (alone.problems, False), (reference.problems, False)):
        problem[:] = [dataclasses.replace(p, success=solved, score=float(solved)) for p in problem]
    with open_study(load_runs(tmp_path, reference, whole, alone)) as study:
        rows = {str(row["role"]): row for row in read_table(study, "pool").records()}
    assert set(rows) == {"whole pool", "best single"}
    gain = rows["best single"]["gain of the pool"]
    assert isinstance(gain, Estimate)
    assert (gain.value, gain.high) == (1.0, 1.0)
    assert gain.low == pytest.approx(0.85)  # the rule of three: 1 - 2 x 3/40


def test_the_whole_budget_buys_what_the_whole_search_solved(study: Study) -> None:
    solved = {(r["method"], r["task"]): r["success"] for r in read_table(study, "success").records()}
    rows = read_table(study, "anytime").records()
    assert {(row["method"], row["task"]): row["all of it"] for row in rows} == solved
    assert {row["token limit"] for row in rows} == {4000}


@pytest.mark.parametrize(
    ("column", "solved"), [("an eighth of it", 0), ("a quarter", 1), ("half", 1), ("all of it", 2)]
)
def test_an_answer_counts_from_the_least_limit_under_which_it_is_given(
    tmp_path: Path, make_run: Callable[..., Any], column: str, solved: int
) -> None:
    run = make_run("symphony", problems=2)
    run.problems = [dataclasses.replace(p, success=True, answer_node=2) for p in run.problems]
    run.answers = [
        AnswerRecord(run=p.run, problem=p.problem, calls=c, tokens=t, node=node, success=success, score=0.0)
        for p, late in zip(run.problems, (1000, 2001), strict=True)
        for c, t, node, success in ((0, 0, 0, False), (2, 501, 1, False), (3, 501, 0, False), (5, late, 2, True))
    ]
    with open_study(load_runs(tmp_path, run)) as study:
        row = read_table(study, "anytime").records()[0]
    found = row[column]
    assert isinstance(found, Estimate)
    assert found.value == solved / 2


def test_a_method_whose_answer_can_not_be_cut_is_left_out_of_smaller_budgets(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    runs = [make_run("symphony"), make_run("react")]
    runs[1].answers = []
    with open_study(load_runs(tmp_path, *runs)) as study:
        assert {row["method"] for row in read_table(study, "anytime").records()} == {"symphony"}
        assert {row["method"] for row in read_view(study, "anytime_curves")} == {"symphony"}


def answered(run: Any, early: Sequence[bool], late: Sequence[bool]) -> Any:
    """The run with one answer from 1,000 tokens and another from 2,000 tokens on."""
    run.problems = [dataclasses.replace(p, success=s, answer_node=2) for p, s in zip(run.problems, late, strict=True)]
    run.answers = [
        AnswerRecord(run=p.run, problem=p.problem, calls=c, tokens=t, node=node, success=success, score=0.0)
        for p, first, last in zip(run.problems, early, late, strict=True)
        for c, t, node, success in ((0, 0, 0, False), (2, 1000, 1, first), (5, 2000, 2, last))
    ]
    return run


def test_a_lead_is_the_paired_difference_under_each_limit_with_its_own_correction(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    reference = answered(make_run("symphony", problems=40), [True] * 20 + [False] * 20, [True] * 40)
    other = answered(make_run("lats", problems=40), [False] * 40, [True] * 30 + [False] * 10)
    with open_study(load_runs(tmp_path, reference, other)) as study:
        curve = read_table(study, "lead_curve").records()
        (row,) = read_table(study, "leads").records()
    limits = [4000 * step // 24 for step in range(25) if 4000 * step // 24 >= 1000]
    assert [one["token limit"] for one in curve] == limits
    assert [one["lead"].value for one in curve] == [0.5 if most < 2000 else 0.25 for most in limits]  # type: ignore[union-attr]
    assert [one["Holm p"] for one in curve] == holm([one["permutation p"] for one in curve])  # type: ignore[misc]
    assert (row["limits"], row["ahead"], row["behind"], row["verdict"]) == (19, 19, 0, "ahead at every limit")
    assert (row["smallest lead"].value, row["at tokens"]) == (0.25, 2000)  # type: ignore[union-attr]
    assert (row["largest lead"].value, row["at its tokens"]) == (0.5, limits[0])  # type: ignore[union-attr]


def test_a_lead_compares_what_saw_the_same_feedback(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    names = ("symphony[feedback=oracle]", "symphony[feedback=none]", "lats[feedback=oracle]", "lats[feedback=none]")
    runs = [
        make_run(name.partition("[")[0], run=f"run-{at}", experiment=name, feedback=name.partition("=")[2][:-1])
        for at, name in enumerate(names)
    ]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"experiments": {name: {"title": name} for name in names}, "reference": names[0]}))
    with open_study(load_runs(tmp_path, *runs), plan) as study:
        rows = read_table(study, "leads").records()
    assert [(row["method"], row["compared with"]) for row in rows] == [(names[2], names[0]), (names[3], names[1])]


def test_components_and_pools_are_compared_with_what_saw_the_same_feedback(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    methods = {"symphony": "symphony", "bare": "no_memory", "llama": "single_llama", "neox": "single_neox"}
    names = [f"{name}[feedback={feedback}]" for name in methods for feedback in ("oracle", "none")]
    runs = [
        make_run(
            methods[name.partition("[")[0]], run=f"run-{at}", experiment=name, feedback=name.partition("=")[2][:-1]
        )
        for at, name in enumerate(names)
    ]
    blind = runs[1]  # without feedback the reference solves nothing
    blind.problems = [dataclasses.replace(problem, success=False) for problem in blind.problems]
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"experiments": {name: {"title": name} for name in names}, "reference": names[0]}))
    with open_study(load_runs(tmp_path, *runs), plan) as study:
        tables = {name: read_table(study, name) for name in TABLES}
    ablation = {row["variant"]: row for row in tables["ablation"].records()}
    pool = {row["method"]: row for row in tables["pool"].records()}
    said = [finding.text for _, part in summarise(tables, names[0]) for finding in part]
    assert ablation[names[2]]["compared with"] == names[0]
    assert ablation[names[3]]["compared with"] == names[1]
    assert ablation[names[2]]["gain of the component"].value > 0  # type: ignore[union-attr]
    assert ablation[names[3]]["gain of the component"].value < 0  # type: ignore[union-attr]
    assert [pool[name]["role"] for name in names[:2]] == ["reference", "whole pool"]
    for whole, single in ((names[0], names[4]), (names[1], names[5])):
        rates = [pool[name]["all tasks"].value for name in (whole, single)]  # type: ignore[union-attr]
        assert pool[single]["gain of the pool"].value == pytest.approx(rates[0] - rates[1])  # type: ignore[union-attr]
    assert any(f"{names[1]} minus variant" in text for text in said)


def test_a_node_that_was_judged_with_its_siblings_counts_for_the_agent_that_judged_them(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    run = make_run("symphony", problems=8)
    parents = {(node.problem, node.node): (node.parent, node.iteration) for node in run.nodes}
    first: dict[Any, Any] = {}
    for call in [call for call in run.calls if call.phase == "evaluate"]:
        first.setdefault((call.problem, *parents[call.problem, call.node]), call)
    for call in first.values():
        call.text = "\n".join(f"{n}: Value: 0.7 Confidence: 0.6" for n in range(1, 5))
    run.calls = [call for call in run.calls if call.phase != "evaluate" or any(call is one for one in first.values())]
    run.timings = [one for one in run.timings if (one.problem, one.call) in {(c.problem, c.call) for c in run.calls}]
    for at, problem in enumerate(run.problems):
        calls = [call for call in run.calls if call.problem == problem.problem]
        run.problems[at] = dataclasses.replace(
            problem,
            calls=len(calls),
            prompt_tokens=sum(call.prompt_tokens for call in calls),
            completion_tokens=sum(call.completion_tokens for call in calls),
            cost=sum(call.cost or 0.0 for call in calls),
        )
    with open_study(load_runs(tmp_path, run)) as study:
        judged = {(row["problem"], row["node"]): row["agent"] for row in read_view(study, "judgements")}
        read_table(study, "what_if")
    wanted = {
        (node.problem, node.node): first[node.problem, node.parent, node.iteration].agent
        for node in run.nodes
        if node.value is not None
    }
    assert judged == wanted
    assert len(wanted) > len(first)


def test_a_curve_is_that_of_the_reference_or_of_the_first_experiment_of_a_search(study: Study) -> None:
    rows = read_view(study, "anytime_curves")
    assert list(dict.fromkeys(row["method"] for row in rows)) == ["SYMPHONY", "LATS", "react"]
    assert [row["most"] for row in rows if row["method"] == "LATS" and row["measure"] == "tokens"] == [
        4000 * step // 24 for step in range(25)
    ]


def test_methods_are_told_by_their_ledger_and_their_tree(study: Study) -> None:
    row = next(r for r in read_table(study, "methods").records() if r["method"] == "LATS" and r["task"] == "mini_qa")
    ((tokens, calls),) = study.rows(
        "SELECT sum(prompt_tokens + completion_tokens) / 40, count(*) / 40 FROM calls WHERE run LIKE 'lats-mini_qa-%'"
    )
    ((nodes,),) = study.rows("SELECT count(*) / 40 FROM nodes WHERE run LIKE 'lats-mini_qa-%' AND node > 0")
    assert (row["feedback"], row["n"], row["token limit"]) == ("oracle", 40, 4000)
    assert (row["tokens"], row["calls"], row["nodes"]) == pytest.approx((tokens, calls, nodes))
    assert row["wall seconds"] == pytest.approx(12.5 / 20)  # wall.json
    assert row["seconds of calls"] == pytest.approx(0.01 * calls)  # timings.jsonl


def test_the_methods_stand_in_one_table_a_task(study: Study) -> None:
    found = read_table(study, "methods")
    parts = found.parts()
    assert [part.name for part in parts] == ["methods-gridworld", "methods-mini_qa", "methods-all-tasks"]
    assert sum(len(part.rows) for part in parts) == len(found.rows)
    assert not any("task" in part.columns for part in parts)
    assert as_markdown(found).count("## Methods under one budget: ") == 3
    assert as_latex(found).count("\\begin{table}") == 3


def test_cost_adds_up_to_the_call_ledger(study: Study) -> None:
    rows = read_table(study, "cost").records()
    row = next(row for row in rows if row["method"] == "LATS" and row["task"] == "mini_qa")
    ((prompt, completion, calls),) = study.rows(
        "SELECT sum(prompt_tokens) / 40, sum(completion_tokens) / 40, count(*) / 40 FROM calls "
        "WHERE run LIKE 'lats-mini_qa-%'"
    )
    assert (row["prompt tokens"], row["completion tokens"], row["calls"]) == pytest.approx((prompt, completion, calls))
    assert isinstance(row["tokens"], Estimate)
    assert row["tokens"].value == pytest.approx(prompt + completion)


@pytest.mark.parametrize("column", ["all phases", "expansion", "evaluation"])
def test_shares_of_the_agents_add_up_to_one(study: Study, column: str) -> None:
    rows = read_table(study, "agents").records()
    for method in {row["method"] for row in rows}:
        assert sum(float(str(row[column])) for row in rows if row["method"] == method) == pytest.approx(1)


def test_diversity_counts_distinct_texts_and_distinct_actions_apart(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    run = make_run("symphony", problems=1)
    texts = iter(
        ["Thought: a. Action: go[x]", "thought:  A. action: GO[X]", "Thought: b. Action: go[x]", "no action"] * 9
    )
    run.calls = [dataclasses.replace(c, text=next(texts)) if c.phase == "expand" else c for c in run.calls]
    run.nodes = [dataclasses.replace(n, action="go[x]") if n.origin == "expand" else n for n in run.nodes]
    with open_study(load_runs(tmp_path, run)) as study:
        rows = {row["distinct by"]: row for row in read_table(study, "diversity").records()}
    assert rows["text"]["3 distinct"] == 1.0
    assert rows["action"]["1 distinct"] == 1.0


def test_calibration_judges_a_node_by_what_was_reached_below_it(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    run = make_run("react", problems=1)
    run.nodes = [
        dataclasses.replace(
            n, solved=False, value=None if n.node == 0 else 0.9, parent=None if n.node == 0 else n.node - 1
        )
        for n in run.nodes
    ]
    run.problems = [dataclasses.replace(run.problems[0], success=True, answer_node=1)]
    with open_study(load_runs(tmp_path, run)) as study:
        rows = [row for row in read_table(study, "calibration").records() if row["task"] == "all tasks"]
    judged = len(run.nodes) - 1
    reached = sum(float(str(row["reached"])) * int(str(row["evaluations"])) for row in rows)
    assert sum(int(str(row["evaluations"])) for row in rows) == judged
    assert reached == pytest.approx(1)  # node 1 is on the way to the graded answer; those below it are not


def test_mixed_commits_a_dirty_tree_and_mixed_feedback_are_said_in_every_format(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    db = load_runs(tmp_path, make_run("symphony"), make_run("lats", commit="fedcba+dirty", feedback="none"))
    for path in table(db, "success", tmp_path / "out")[1:]:
        text = path.read_text()
        for warning in ("MIXED COMMITS", "DIRTY TREE", "MIXED FEEDBACK"):
            assert warning in text


def test_experiments_that_cover_different_runs_are_said_to(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    db = load_runs(tmp_path, make_run("symphony"), make_run("symphony", seed=2), make_run("lats"))
    with open_study(db) as study:
        (warning,) = study.provenance.warnings
    assert warning.startswith("UNEVEN RUNS")


def test_a_method_on_fewer_tasks_is_said_to_be_where_the_others_met_the_same_problems(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    runs = [make_run(method, task) for method in ("symphony", "lats") for task in ("gridworld", "mini_qa")]
    with open_study(load_runs(tmp_path, *runs, make_run("react"))) as study:
        assert study.provenance.warnings == (
            "FEWER TASKS: react ran only on gridworld; over all tasks, its row covers only these.",
        )


def test_each_row_of_success_names_its_own_feedback_and_commit(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    db = load_runs(tmp_path, make_run("symphony"), make_run("lats", commit="fedcba", feedback="none"))
    with table(db, "success", tmp_path / "out")[0].open() as file:
        rows = {(row["method"], row["task"]): row for row in csv.DictReader(file)}
    assert rows["lats", "gridworld"]["feedback"] == "none"
    assert rows["lats", "gridworld"]["commit"] == "fedcba"
    assert rows["symphony", "gridworld"]["feedback"] == "oracle"


def test_a_study_without_the_reference_has_empty_comparisons(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    with open_study(load_runs(tmp_path, make_run("lats"))) as study:
        assert {row["success difference"] for row in read_table(study, "success").records()} == {None}
        assert read_table(study, "ablation").rows == ()
        assert read_table(study, "pool").rows == ()


def priced(run: Any, cost: float | None) -> Any:
    """A made-up run whose calls all cost the same."""
    run.calls = [dataclasses.replace(call, cost=cost) for call in run.calls]
    run.problems = [
        dataclasses.replace(problem, cost=None if cost is None else cost * problem.calls) for problem in run.problems
    ]
    return run


def test_dollars_are_shown_where_a_call_costs_any_and_unknown_where_a_price_is(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    free = load_runs(tmp_path / "free", make_run("symphony"))
    with open_study(free) as study:
        assert "dollars" not in read_table(study, "cost").columns
    runs = [priced(make_run("symphony"), 0.25), priced(make_run("react"), None)]
    with open_study(load_runs(tmp_path, *runs)) as study:
        found = read_table(study, "cost")
        calls = len(runs[0].calls)
        for row in found.records():
            expected = (calls / 4 / 6, calls / 4) if row["method"] == "symphony" else (None, None)
            assert (row["dollars"], row["dollars in all"]) == pytest.approx(expected)
        assert [row[-1] for row in shown(found) if row[0] == "react"] == ["unknown"] * 2


def test_problems_that_the_budget_of_a_run_or_study_cut_are_counted_and_said_loudly(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    whole, cut = make_run("symphony"), make_run("react")
    with open_study(load_runs(tmp_path / "whole", whole)) as study:
        assert "cut" not in read_table(study, "success").columns
        assert not study.provenance.warnings
    for at, reason in enumerate(("run_tokens", "study_money")):
        cut.problems[at] = dataclasses.replace(cut.problems[at], stop_reason=reason)
    with open_study(load_runs(tmp_path, whole, cut)) as study:
        success = read_table(study, "success")
        assert {(row["method"], row["cut"]) for row in success.records()} == {("symphony", 0), ("react", 2)}
        failures = {str(row["method"]): row for row in read_table(study, "failures").records()}
        assert [failures["react"][name] for name in ("run's budget", "study's budget")] == [1 / 6, 1 / 6]
        assert success.warnings == (
            "BUDGET SPENT: the budget of a run or of the study cut 2 of 6 problems of react; "
            "they count with their result so far.",
        )


def test_failed_calls_are_told_by_kind_with_their_most_frequent_reason(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    whole, broken = make_run("symphony"), make_run("single_llama")
    broken.fail(0, ["breaker: endpoint dead", "breaker: endpoint dead", "breaker: other", "timeout: no answer"])
    with open_study(load_runs(tmp_path, whole, broken)) as study:
        rows = read_table(study, "errors").records()
    assert [tuple(row[name] for name in ("method", "agent", "kind", "calls", "reason")) for row in rows] == [
        ("single_llama", "llama", "breaker", 3, "breaker: endpoint dead"),
        ("single_llama", "llama", "timeout", 1, "timeout: no answer"),
    ]
    assert [row["share"] for row in rows] == pytest.approx([3 / len(broken.calls), 1 / len(broken.calls)])


@pytest.fixture
def query(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes a text the file of the table "added"."""

    def add(text: str) -> None:
        monkeypatch.setattr("symphony.report.tables.TABLES", (*TABLES, "added"))
        monkeypatch.setattr("symphony.report.tables.query_text", lambda name: text)

    return add


def test_a_table_that_says_nothing_of_itself_is_a_table(study: Study, query: Callable[[str], None]) -> None:
    query("SELECT count(*) AS runs FROM runs")
    found = read_table(study, "added")
    assert (found.title, found.mirrors, found.caption, len(found.rows)) == ("Added", "no counterpart", "", 1)
    assert "In the paper: no counterpart." in as_markdown(found)


@pytest.mark.parametrize("missing", ["title", "mirrors", "caption"])
def test_a_table_may_leave_out_a_line_of_its_head(study: Study, query: Callable[[str], None], missing: str) -> None:
    lines = {"title": "-- title: T", "mirrors": "-- mirrors: M", "caption": "-- caption: C"}
    query("\n".join([*(line for key, line in lines.items() if key != missing), "SELECT 1 AS x"]))
    found = read_table(study, "added")
    assert {found.title, found.mirrors, found.caption} >= {"T", "M", "C"} - {missing[0].upper()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("SELECT nonsense FROM runs", r"queries/added.sql: cannot be run \(Binder Error"),
        ("-- paper: x, y\nSELECT 1 AS x", r"queries/added.sql: paper: found 'y', allowed: x"),
        ("SELEC 1", r"queries/added.sql: cannot be run \(Parser Error"),
        ("-- split: colour\nSELECT 1 AS x", "queries/added.sql: split: found 'colour', allowed: x"),
        ("-- corrected: p\nSELECT 1 AS x", "queries/added.sql: corrected: found 'p', allowed: x"),
        ("SELECT [1, 2] AS x", "queries/added.sql: found a cell that a table cannot show"),
        ("SELECT {'a': 1} AS x", "queries/added.sql: found a cell that a table cannot show"),
        ("", "queries/added.sql: "),
    ],
)
def test_a_table_that_can_not_be_made_is_told_by_its_file(
    study: Study, query: Callable[[str], None], text: str, told: str
) -> None:
    query(text)
    with pytest.raises(SymphonyError, match=told):
        read_table(study, "added")


# --------------------------------------------------------------------------- the reference


def plan_of(tmp_path: Path, **told: Any) -> Path:
    (tmp_path / "plan.json").write_text(json.dumps(told))
    return tmp_path / "plan.json"


@pytest.mark.parametrize(
    ("told", "reference"),
    [
        ({"reference": "lats"}, "lats"),
        ({"experiments": {"symphony": {"table": "methods"}, "lats": {"table": "main"}}}, "lats"),
        ({}, "symphony"),
    ],
)
def test_the_others_are_compared_with_the_reference_that_the_plan_tells(
    tmp_path: Path, make_run: Callable[..., Any], told: dict[str, Any], reference: str
) -> None:
    db = load_runs(tmp_path, make_run("symphony"), make_run("lats"))
    with open_study(db, plan_of(tmp_path, **told)) as study:
        assert study.reference == reference
        compared = [row for row in read_table(study, "success").records() if row["success difference"] is not None]
        assert {row["method"] for row in compared} == {"symphony", "lats"} - {reference}


def test_a_reference_that_is_no_experiment_is_refused(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    db = load_runs(tmp_path, make_run("symphony"), make_run("lats"))
    told = r"plan.json: reference: found 'nonsense', allowed: lats, symphony"
    with pytest.raises(SymphonyError, match=told), open_study(db, plan_of(tmp_path, reference="nonsense")):
        pass


def test_an_unknown_table_is_refused(study: Study) -> None:
    with pytest.raises(SymphonyError, match="table: found nonsense, allowed: "):
        read_table(study, "nonsense")


def test_a_plan_that_is_not_a_plan_is_refused(synthetic_db: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps({"experiments": ["symphony"]}))
    with (
        pytest.raises(SymphonyError, match=r"plan.json: experiments: allowed"),
        open_study(synthetic_db, tmp_path / "plan.json"),
    ):
        pass


def claim(**changed: Any) -> dict[str, Any]:
    plain = {"claim": "It helps", "source": "me", "better": "symphony", "than": "lats", "least": 0.0}
    return {**plain, "within": None, "task": None, **changed}


def test_a_claim_compares_two_experiments_on_the_same_problems(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    runs = [make_run(name, task) for name in ("symphony", "lats") for task in ("gridworld", "mini_qa")]
    told = [claim(), claim(better="lats", than="symphony"), claim(task="mini_qa"), claim(than="nobody")]
    with open_study(load_runs(tmp_path, *runs), plan_of(tmp_path, claims=told)) as study:
        rows = read_table(study, "claims").records()
        solved = {
            (name, task): count
            for name, task, count in study.rows(
                "SELECT experiment, task, count(*) FILTER (success) FROM outcomes GROUP BY ALL"
            )
        }
    gains = [row["success difference"] for row in rows]
    assert [row["n"] for row in rows] == [12, 12, 6, 0]
    assert gains[3] is None
    assert rows[3]["verdict"] == "not run"
    one, other, task = gains[:3]
    assert isinstance(one, Estimate)
    assert isinstance(other, Estimate)
    assert isinstance(task, Estimate)
    both = sum(solved["symphony", name] - solved["lats", name] for name in ("gridworld", "mini_qa"))
    assert one.value == pytest.approx(both / 12)
    assert other.value == pytest.approx(-one.value)
    assert task.value == pytest.approx((solved["symphony", "mini_qa"] - solved["lats", "mini_qa"]) / 6)


def test_claims_come_first_in_the_summary_with_their_verdict(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    db = load_runs(tmp_path, make_run("symphony"), make_run("react"))
    told = [claim(than="react"), claim(claim="Nobody ran it", than="nobody")]
    with open_study(db, plan_of(tmp_path, claims=told)) as study:
        heading, findings = summarise({name: read_table(study, name) for name in TABLES}, "SYMPHONY")[0]
    assert heading == "Claims"
    assert findings[0].text.startswith("Claims tested: 2. Of these: 1 ")
    assert findings[1].text.startswith(("Reproduced: It helps (me): ", "Undecided: It helps (me): "))
    assert findings[2].text == "Not run: Nobody ran it (me)."


@pytest.mark.parametrize(("shown", "count"), [((), 6), ((), 20), ((7, 9), 20)])
def test_a_long_group_of_findings_shows_its_first_and_what_is_decided(shown: tuple[int, ...], count: int) -> None:
    findings = [Finding(verdict="positive" if at in shown else "none", text=str(at)) for at in range(count)]
    parts = folded(findings)
    assert sorted((one for _, part in parts for one in part), key=lambda one: int(one.text)) == findings
    first = [int(one.text) for one in parts[0][1]]
    assert first == ([0, *shown] if shown else list(range(6)))
    assert [open for open, _ in parts] == ([True] if count == 6 else [True, False])


@pytest.mark.parametrize("claims", [[{"claim": "It helps"}], ["It helps"], [1]])
def test_a_plan_with_broken_claims_is_refused(tmp_path: Path, make_run: Callable[..., Any], claims: Any) -> None:
    db = load_runs(tmp_path, make_run("symphony"))
    with (
        pytest.raises(SymphonyError, match=r"plan.json: claims: found .*, allowed: objects with claim, source"),
        open_study(db, plan_of(tmp_path, claims=claims)),
    ):
        pass


def made(columns: tuple[str, ...], *rows: tuple[Any, ...]) -> Table:
    return Table(
        name="t", title="A_b & 50%", mirrors="m", caption="c", feedback="oracle", commit="x", warnings=(),
        columns=columns, rows=rows,
    )  # fmt: skip


def test_numbers_are_shown_with_the_digits_of_their_column() -> None:
    found = made(
        ("calls", "permutation p", "gain"), (1234.5, 0.0001, Estimate(value=-0.1, low=-0.2, high=0.0)), (2.0, 0.5, None)
    )
    assert shown(found) == [["1,234", "<0.001", f"{MINUS}0.100 [{MINUS}0.200, 0.000]"], ["2", "0.500", DASH]]


def test_latex_escapes_what_latex_would_read() -> None:
    text = as_latex(made(("a_b",), ("x & y_z",)))
    assert "a\\_b" in text
    assert "x \\& y\\_z \\\\" in text
    assert "A\\_b \\& 50\\%" in text


def test_a_latex_table_has_the_columns_that_a_page_has_room_for() -> None:
    whole = made(("method", "n", "success"), ("a", 4, 0.5))
    narrow = dataclasses.replace(whole, paper=("method", "success"))
    assert "method & n & success" in as_latex(whole)
    assert "method & success" in as_latex(narrow)
    assert "| method | n | success |" in as_markdown(narrow)


def test_quotation_marks_open_and_close_in_latex() -> None:
    assert "``all tasks'' \\\\" in as_latex(made(("a",), ('"all tasks"',)))


def test_programs_read_no_negative_zero() -> None:
    text = as_csv(made(("gain", "x"), (Estimate(value=-0.0, low=-0.5, high=-0.0), -0.0), (None, None)))
    assert text.splitlines() == [
        "gain,gain low,gain high,x,feedback,commit",
        "0.0,-0.5,0.0,0.0,oracle,x",
        ",,,,oracle,x",
    ]


def subsets(make_run: Callable[..., Any]) -> list[Any]:
    """A run of the reference for every non-empty subset of three agents."""
    pools = [[*some] for size in (3, 2, 1) for some in itertools.combinations(("llama", "neox", "qwen3"), size)]
    return [
        make_run(
            "symphony",
            run=f"run{number}",
            experiment="symphony" if number == 0 else f"sub{number}",
            pool="_".join(agents),
            agents=agents,
        )
        for number, agents in enumerate(pools)
    ]


def shapley(solved: dict[tuple[str, ...], float], agent: str, agents: Sequence[str]) -> float:
    """The gain when the agent joins, averaged over all orders of joining."""
    gains = []
    for order in itertools.permutations(agents):
        before = tuple(sorted(order[: order.index(agent)]))
        gains.append(solved[tuple(sorted([*before, agent]))] - (solved[before] if before else 0.0))
    return sum(gains) / len(gains)


def test_shapley_values_are_those_of_every_order_and_add_up(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    with open_study(load_runs(tmp_path, *subsets(make_run))) as study:
        rows = [row for row in read_table(study, "shapley").records() if row["task"] == "all tasks"]
        query = "SELECT agents, avg(success::INT) FROM outcomes GROUP BY agents"
        solved: dict[tuple[str, ...], float] = {tuple(agents): share for agents, share in study.rows(query)}
    agents = [str(row["agent"]) for row in rows]
    total = 0.0
    for row in rows:
        value, alone = row["Shapley value"], row["alone"]
        assert isinstance(value, Estimate)
        assert isinstance(alone, Estimate)
        assert value.value == pytest.approx(shapley(solved, str(row["agent"]), agents))
        assert alone.value == pytest.approx(solved[(str(row["agent"]),)])
        total += value.value
    assert total == pytest.approx(solved["llama", "neox", "qwen3"])


def test_shapley_values_need_every_subset(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    with open_study(load_runs(tmp_path, *subsets(make_run)[:-1])) as study:
        assert not read_table(study, "shapley").rows


def test_the_best_pool_within_a_memory_is_the_one_that_solves_most_and_its_rivals_are_named(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    runs = subsets(make_run)
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"pools": {run.run.pool: len(run.run.agents) * 10**9 for run in runs}}))
    with open_study(load_runs(tmp_path, *runs), plan) as study:
        rows: Any = [row for row in read_table(study, "best_pool").records() if row["limit on"] == "memory"]
        solved = {
            " + ".join(agents): (len(agents), share)
            for agents, share in study.rows("SELECT agents, avg(success::INT) FROM outcomes GROUP BY agents")
        }
    assert rows
    for row in rows:
        most = float(str(row["at most"]).removesuffix(" GB"))
        fitting = {pool: share for pool, (size, share) in solved.items() if size <= most}
        ranked = sorted(fitting.values(), reverse=True)
        assert row["success"].value == pytest.approx(ranked[0]) == fitting[str(row["best pool"])]
        assert fitting[str(row["runner-up"])] == pytest.approx(ranked[1])
        assert row["success difference"].value == pytest.approx(ranked[0] - ranked[1])
        assert str(row["best pool"]) not in str(row["not told apart"]).split("; ")
    assert [row["at most"] for row in rows] == sorted(row["at most"] for row in rows)


def test_a_plan_with_malformed_sizes_of_pools_is_one_line(tmp_path: Path, synthetic_db: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"pools": {"trio": "6 GB"}}))
    with (
        pytest.raises(SymphonyError, match=r"pools: found .* allowed: an object, pool -> bytes"),
        open_study(synthetic_db, plan),
    ):
        pass


def test_what_one_model_solves_and_another_does_not_is_counted_problem_by_problem(study: Study) -> None:
    rows: Any = {row["agent"]: row for row in read_table(study, "complementarity").records()}
    ((llama, neox),) = study.rows(
        "SELECT avg((a.success AND NOT b.success)::INT), avg((b.success AND NOT a.success)::INT) "
        "FROM outcomes a JOIN outcomes b USING (dataset, problem) "
        "WHERE a.experiment = 'single_llama' AND b.experiment = 'single_neox'"
    )
    assert rows["llama"]["not neox"].value == pytest.approx(llama)
    assert rows["neox"]["not llama"].value == pytest.approx(neox)
    assert rows["llama"]["not llama"] is None


def signs(run: Any, tmp_path: Path) -> dict[str, Any]:
    with open_study(load_runs(tmp_path, run)) as study:
        (row,) = read_table(study, "signatures").records()
    return row


def test_a_pool_in_which_one_agent_is_asked_shows_over_reliance(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    run = make_run("symphony", problems=12)
    run.calls = [dataclasses.replace(call, agent="llama") for call in run.calls]
    row = signs(run, tmp_path)
    assert row["effective agents"].value == pytest.approx(1.0)
    assert "over-reliance" in row["signs"]


def test_failed_ends_that_repeat_are_counted_and_are_a_sign_where_there_is_a_memory(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    for memory, sign in (("fifo", True), ("none", False)):
        run = make_run("symphony", problems=12, run=f"r-{memory}", memory=memory)
        run.nodes = [
            dataclasses.replace(node, parent=0, action="same", terminal=True, solved=False) if node.node else node
            for node in run.nodes
        ]
        row = signs(run, tmp_path / memory)
        ends = sum(node.node > 0 for node in run.nodes)
        assert row["failed ends"] == ends
        assert row["repeated failures"].value == pytest.approx((ends - 12) / ends)
        assert ("stale memory" in row["signs"]) == sign


def test_evaluators_that_are_sure_and_wrong_show_overconfidence(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    run = make_run("symphony", problems=12)
    run.nodes = [
        dataclasses.replace(
            node, solved=False, value=0.9 if node.node else None, confidence=0.95 if node.node else None
        )
        for node in run.nodes
    ]
    run.problems = [dataclasses.replace(one, success=False, score=0.0) for one in run.problems]
    row = signs(run, tmp_path)
    assert row["confidence gap"].value == pytest.approx(0.95)
    assert "overconfidence" in row["signs"]


# --------------------------------------------------------------------------- what if another scheduler had picked


def test_always_one_agent_would_have_earned_the_mean_of_its_recorded_nodes(study: Study) -> None:
    rows: Any = {
        row["scheduler"]: row for row in read_table(study, "what_if").records() if row["scheduler"] != "no support"
    }
    for agent in ("llama", "neox", "qwen3"):
        ((mean, n),) = study.rows(
            "SELECT avg(prior), count(prior) FROM nodes WHERE run LIKE 'uniform-%' AND agent = ?", [agent]
        )
        row = rows[f"only {agent}"]
        assert (row["mean reward"].value, row["rewarded picks"]) == (pytest.approx(mean), n)
    whole = rows["uniform, as recorded"]
    assert (
        sum(rows[f"only {agent}"]["rewarded picks"] for agent in ("llama", "neox", "qwen3")) == whole["rewarded picks"]
    )
    assert whole["support"] == 1
    assert whole["reward difference"] is None


def test_records_of_a_scheduler_that_leaves_no_chance_give_no_number(study: Study) -> None:
    rows: Any = [
        row for row in read_table(study, "what_if").records() if row["method"] != "without scheduling (uniform)"
    ]
    assert {row["scheduler"] for row in rows} == {"no support"}
    assert {row["mean reward"] for row in rows} == {None}
    assert {row["why not"].split(" ")[0] for row in rows} == {"recorded", "react"}


def test_records_of_a_single_problem_give_means_without_a_standard_error(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    """Of one problem no spread between problems is known, and some scheduler may share no rewarded pick with it."""
    run = make_run("uniform", problems=1)
    with open_study(load_runs(tmp_path, run)) as opened:
        rows: Any = read_table(opened, "what_if").records()
    assert {row["standard error"] for row in rows} == {None}


def test_records_with_failed_calls_are_not_replayed(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    run = make_run("uniform")
    run.fail(0, ["timeout: no answer within 60 s"])
    with open_study(load_runs(tmp_path, run)) as opened:
        (row,) = read_table(opened, "what_if").records()
    assert (row["scheduler"], row["why not"]) == ("no support", "calls failed, and agents that fail are not picked")
