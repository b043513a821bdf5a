"""The evidence behind each component's effect, from SYNTHETIC records held against sums made by hand."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony.records.database import load
from symphony.report import mechanisms
from symphony.report.cells import Cell
from symphony.report.stats import Estimate
from symphony.report.study import open_study
from symphony.report.summary import summarise
from symphony.report.tables import TABLES, read_table

Make = Callable[..., Any]
Rows = list[dict[str, Cell]]


def rows(tmp_path: Path, name: str, *runs: Any, plan: dict[str, dict[str, str]] | None = None) -> Rows:
    """A table of a study of these runs."""
    tmp_path.mkdir(exist_ok=True)
    load(tmp_path / "study.duckdb", [run.write(tmp_path / "runs") for run in runs])
    told = tmp_path / "plan.json"
    told.write_text(json.dumps({"experiments": plan or {}}))
    with open_study(tmp_path / "study.duckdb", told) as study:
        return read_table(study, name).records()


def value(cell: Cell) -> float:
    assert isinstance(cell, Estimate | float | int)
    return cell.value if isinstance(cell, Estimate) else float(cell)


def solve(run: Any, outcomes: list[int]) -> Any:
    run.problems = [
        dataclasses.replace(p, success=bool(s), score=float(s)) for p, s in zip(run.problems, outcomes, strict=True)
    ]
    return run


# --------------------------------------------------------------------------- scheduling


def test_shares_are_unequal_by_what_another_agent_would_have_to_take(tmp_path: Path, make_run: Make) -> None:
    run = make_run("symphony", problems=2)
    run.calls = [dataclasses.replace(call, agent="neox") for call in run.calls]
    (row,) = rows(tmp_path, "scheduling", run)
    assert value(row["unequal share"]) == pytest.approx(2 / 3)  # of three agents one had every call


DECISIONS = {
    "first calls": ("neox", [3, 0, 2], [0.5, 0.0, 0.5], [1.0, 3.0, 2.0]),
    "bonus alone": ("llama", [1, 2, 3], [0.1, 0.5, 0.2], [3.0, 2.0, 1.0]),
    "bonus and mean agree": ("llama", [1, 2, 3], [0.5, 0.1, 0.2], [3.0, 2.0, 1.0]),
    "mean at tied bonuses": ("neox", [1, 1, 2], [0.1, 0.5, 0.9], [3.0, 3.0, 1.0]),
    "mean against bonus": ("qwen3", [1, 2, 3], [0.1, 0.2, 0.9], [1.2, 1.1, 1.0]),
    "order of the pool": ("llama", [1, 1, 2], [0.5, 0.5, 0.1], [3.0, 3.0, 1.0]),
    "another rule": ("qwen3", [1, 2, 3], [0.1, 0.5, 0.2], [3.0, 2.0, 1.0]),
}
"""What decides a pick of one of llama, neox and qwen3: the agent, and its grounds (counts, means, bonuses)."""


@pytest.mark.parametrize("decision", DECISIONS)
def test_each_pick_is_counted_by_what_decided_it(tmp_path: Path, make_run: Make, decision: str) -> None:
    run = make_run("symphony", problems=1)
    agent, counts, means, bonuses = DECISIONS[decision]
    run.picks = [
        dataclasses.replace(pick, agent=agent, counts=counts, means=means, bonuses=bonuses) for pick in run.picks
    ]
    (row,) = rows(tmp_path, "scheduling", run)
    assert {name for name in DECISIONS if row.get(name)} == {decision}
    assert row[decision] == 1.0
    assert row["learned rewards"] == float(decision in ("mean at tied bonuses", "mean against bonus"))


def test_the_spread_of_rewards_and_bonuses_is_that_when_everyone_had_been_asked(tmp_path: Path, make_run: Make) -> None:
    run = make_run("symphony", problems=1)
    grounds = [DECISIONS["first calls"], DECISIONS["bonus alone"], DECISIONS["bonus alone"]]
    run.picks = [
        dataclasses.replace(pick, agent=agent, counts=counts, means=means, bonuses=bonuses)
        for pick, (agent, counts, means, bonuses) in zip(run.picks, grounds, strict=False)
    ]
    (row,) = rows(tmp_path, "scheduling", run)
    assert row["spread of mean rewards"] == pytest.approx(0.4)
    assert row["spread of bonuses"] == 2.0
    assert row["first calls"] == pytest.approx(1 / 3)


def test_a_scheduler_without_bonuses_decides_nothing_by_the_mean(tmp_path: Path, make_run: Make) -> None:
    run = make_run("uniform", problems=1)
    run.picks = [dataclasses.replace(pick, counts=[1, 1, 1], bonuses=[0.0] * 3) for pick in run.picks]
    (row,) = rows(tmp_path, "scheduling", run)
    assert row["learned rewards"] is None


def test_an_agent_is_worth_the_mean_reward_of_the_nodes_it_proposed(tmp_path: Path, make_run: Make) -> None:
    run = make_run("symphony", problems=3)
    found = {row["agent"]: row["mean reward"] for row in rows(tmp_path, "agents", run)}
    for agent in found:
        own = [node.prior for node in run.nodes if node.agent == agent]
        assert found[agent] == pytest.approx(sum(own) / len(own))


# --------------------------------------------------------------------------- memory


def test_calls_after_the_first_lesson_carry_one(tmp_path: Path, make_run: Make) -> None:
    run = make_run("symphony", problems=1)
    agent = run.run.agents[0]
    calls = [dataclasses.replace(call, phase="evaluate") for call in run.calls]
    calls[2] = dataclasses.replace(calls[2], phase="reflect", node=1, agent=agent)
    run.calls = calls
    (row,) = rows(tmp_path, "memory", run)
    assert row["calls with a lesson"] == pytest.approx((len(calls) - 3) / (len(calls) - 1))


def test_lessons_are_weighed_on_the_problems_that_had_one(tmp_path: Path, make_run: Make) -> None:
    reference, bare = make_run("symphony", problems=4), make_run("no_memory", problems=4)
    solve(reference, [1, 1, 0, 1])
    solve(bare, [0, 0, 0, 0])
    bare.reflections = []
    reference.reflections = [r for r in reference.reflections if r.problem in ("gridworld-0", "gridworld-2")]
    (row,) = rows(tmp_path, "memory", reference, bare)
    assert (row["problems with a lesson"], row["pairs with a lesson"]) == (0.5, 2)
    assert value(row["success with a lesson"]) == 0.5
    assert value(row["success without a lesson"]) == 1.0
    assert value(row["difference"]) == 0.5


# --------------------------------------------------------------------------- EMCS


def judged(make_run: Make, scores: list[tuple[float, float]], good: set[int]) -> Any:
    """One problem: a root with as many children as scores (Z, C), all of one expansion."""
    run = make_run("symphony", problems=1)
    root, child = run.nodes[0], run.nodes[1]
    run.nodes = [root] + [
        dataclasses.replace(
            child, node=i, parent=0, depth=1, iteration=1, value=z, confidence=c, solved=i in good, terminal=i in good
        )
        for i, (z, c) in enumerate(scores, start=1)
    ]
    run.calls = [
        dataclasses.replace(run.calls[0], call=i, node=i + 1, phase="evaluate", agent="llama")
        for i in range(len(scores))
    ]
    run.timings = [dataclasses.replace(run.timings[0], call=i) for i in range(len(scores))]
    sums = {name: sum(getattr(call, name) for call in run.calls) for name in ("prompt_tokens", "completion_tokens")}
    run.problems = [
        dataclasses.replace(
            run.problems[0], success=bool(good), answer_node=min(good, default=0), calls=len(scores),
            nodes_tree=len(scores), **sums,
        )
    ]  # fmt: skip
    return run


def whole(found: Rows) -> dict[str, Cell]:
    return next(row for row in found if row["agent"] == "all agents" and row["task"] == "all tasks")


def test_a_perfect_order_has_area_one_and_a_tie_counts_half(tmp_path: Path, make_run: Make) -> None:
    run = judged(make_run, [(0.9, 1.0), (0.2, 1.0), (0.9, 1.0)], good={1})
    row = whole(rows(tmp_path, "emcs", run))
    assert row["AUC of Z"] == row["AUC of R"] == 0.75


def test_an_unsure_high_value_falls_behind_a_sure_lower_one(tmp_path: Path, make_run: Make) -> None:
    run = judged(make_run, [(0.9, 0.5), (0.6, 1.0)], good={2})  # R: 0.28 and 0.6
    row = whole(rows(tmp_path, "emcs", run))
    assert (row["AUC of Z"], row["AUC of R"], row["best child changed"]) == (0.0, 1.0, 1.0)
    assert value(row["AUC difference"]) == 1.0


def test_a_tree_without_both_kinds_of_node_says_nothing_of_the_order(tmp_path: Path, make_run: Make) -> None:
    run = judged(make_run, [(0.9, 0.5), (0.6, 1.0)], good=set())
    row = whole(rows(tmp_path, "emcs", run))
    assert (row["trees"], row["AUC of Z"], row["AUC difference"]) == (0, None, None)
    assert row["evaluations"] == 2


def test_shuffled_values_are_dealt_out_among_nodes_that_the_search_treated_alike(
    tmp_path: Path, make_run: Make
) -> None:
    """Two visited children (.9 led to success, .5 did not) and two never visited ones (.6 and .2)."""
    run = judged(make_run, [(0.9, 1.0), (0.5, 1.0), (0.6, 1.0), (0.2, 1.0)], good={1})
    run.nodes = [dataclasses.replace(node, visits=int(node.node in (0, 1, 2))) for node in run.nodes]
    row = whole(rows(tmp_path, "emcs", run))
    assert (row["AUC of Z"], row["AUC of R"]) == (1.0, 1.0)
    # The good node has .9 or .5: against the other visited one it wins half of the time, against .6 and .2 in 3 of 4.
    assert row["R shuffled"] == row["Z shuffled"] == pytest.approx((0.5 + 2 * 0.75) / 3)
    assert value(row["lift"]) == pytest.approx(1 - 2 / 3)


def test_where_all_nodes_are_treated_alike_shuffled_values_get_one_half(tmp_path: Path, make_run: Make) -> None:
    run = judged(make_run, [(0.9, 1.0), (0.5, 1.0), (0.6, 1.0)], good={1})
    assert whole(rows(tmp_path, "emcs", run))["R shuffled"] == pytest.approx(0.5)


def test_random_scores_have_a_row_of_their_own_and_count_for_no_evaluator(tmp_path: Path, make_run: Make) -> None:
    run = judged(make_run, [(0.9, 1.0), (0.6, 1.0)], good={1})
    drawn = judged(make_run, [(0.1, 1.0), (0.6, 1.0)], good={1})
    drawn.run = dataclasses.replace(drawn.run, run="random", experiment="random_scores", scorer="random")
    for name in ("problems", "nodes", "calls", "timings", "picks", "reflections"):
        setattr(drawn, name, [dataclasses.replace(one, run="random") for one in getattr(drawn, name)])
    found = rows(tmp_path, "emcs", run, drawn)
    assert {(row["agent"], row["AUC of R"]) for row in found} == {
        ("all agents", 1.0), ("llama", 1.0), ("random scores", 0.0)
    }  # fmt: skip
    with open_study(tmp_path / "study.duckdb") as study:
        assert {row["agent"] for row in read_table(study, "calibration").records()} == {"llama"}


def test_the_sentence_on_emcs_compares_with_random_scores(tmp_path: Path, make_run: Make) -> None:
    runs = [judged(make_run, [(0.9, 1.0), (0.6, 1.0)], good={1}), make_run("no_emcs", problems=1)]
    other = make_run("symphony", problems=1, run="random", experiment="random_scores", scorer="random")
    tmp_path.mkdir(exist_ok=True)
    load(tmp_path / "study.duckdb", [run.write(tmp_path / "runs") for run in (*runs, solve(other, [0]))])
    with open_study(tmp_path / "study.duckdb") as study:
        tables = {name: read_table(study, name) for name in TABLES}
    told = mechanisms.why("scorer emcs → plain", tables, "symphony", "no_emcs")
    assert "With random scores for the same calls the search solves 0\N{NO-BREAK SPACE}%" in told
    assert "the evaluators are worth +100.0 points" in told


@pytest.mark.parametrize("besides", [{"memory": "none"}, {"scheduler": "uniform"}])
def test_random_scores_with_another_change_are_not_the_floor_of_the_evaluators(
    tmp_path: Path, make_run: Make, besides: dict[str, str]
) -> None:
    both = make_run("symphony", problems=2, run="random", experiment="both", scorer="random", **besides)
    runs = [judged(make_run, [(0.9, 1.0), (0.6, 1.0)], good={1}), both]
    tmp_path.mkdir(exist_ok=True)
    load(tmp_path / "study.duckdb", [run.write(tmp_path / "runs") for run in runs])
    with open_study(tmp_path / "study.duckdb") as study:
        order, ablation = read_table(study, "emcs"), read_table(study, "ablation")
    assert len(ablation.rows) == 2
    assert "With random scores" not in mechanisms.emcs(order, ablation)


# --------------------------------------------------------------------------- pool, tree, quantisation


def test_the_pools_actions_are_compared_with_those_of_its_members_under_the_same_search(
    tmp_path: Path, make_run: Make
) -> None:
    other = make_run("single_llama", run="wider", experiment="wider", search="lats", problems=4)
    other.nodes = [dataclasses.replace(node, action="one") for node in other.nodes]
    runs = [make_run("symphony", problems=4), make_run("single_llama", problems=4), other]
    tmp_path.mkdir(exist_ok=True)
    load(tmp_path / "study.duckdb", [run.write(tmp_path / "runs") for run in runs])
    with open_study(tmp_path / "study.duckdb") as study:
        tables = {name: read_table(study, name) for name in TABLES}
    told = [finding.why for _, findings in summarise(tables, "symphony") for finding in findings]
    means = {
        row["method"]: mechanisms.number(row["mean distinct"])
        for row in tables["diversity"].records()
        if row["distinct by"] == "action"
    }
    assert means["wider"] == "1.00"
    (said,) = [why for why in told if "Different actions" in why]
    assert said.endswith(f"pool {means['symphony']}; llama {means['single_llama']}.")


def test_members_are_told_by_the_problems_that_only_they_solve(tmp_path: Path, make_run: Make) -> None:
    runs = [make_run(name, problems=4) for name in ("symphony", "single_llama", "single_neox")]
    for run, outcomes in zip(runs, ([1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]), strict=True):
        solve(run, outcomes)
    found = {row["model"]: row for row in rows(tmp_path, "members", *runs)}
    assert (found["llama"]["only this one"], found["neox"]["only this one"]) == (0.25, 0.0)
    assert value(found["at least one"]["success"]) == 0.5
    assert value(found["every one"]["success"]) == 0.25
    assert value(found["llama"]["pool where it solves"]) == 0.5
    assert value(found["llama"]["pool where it fails"]) == 0.5


def test_tokens_of_the_unsolved_and_the_token_limit_stand_beside_each_other(tmp_path: Path, make_run: Make) -> None:
    run = solve(make_run("symphony", problems=3), [1, 0, 0])
    reasons = ("solved", "tokens", "iterations")
    run.problems = [dataclasses.replace(p, stop_reason=r) for p, r in zip(run.problems, reasons, strict=True)]
    row = next(row for row in rows(tmp_path, "shape", run) if row["task"] == "all tasks")
    spent = [p.prompt_tokens + p.completion_tokens for p in run.problems]
    assert row["at the limit"] == pytest.approx(1 / 3)
    assert row["tokens if unsolved"] == pytest.approx((spent[1] + spent[2]) / 2)


def test_steps_that_repeat_an_action_of_their_path_and_bring_the_same_are_counted(
    tmp_path: Path, make_run: Make
) -> None:
    run = make_run("symphony", problems=1)
    named = {n.node: dataclasses.replace(n, action=f"a{n.node}", observation=f"page {n.node}.") for n in run.nodes}
    child = next(n for n in named.values() if n.parent)  # below a node that has an action
    above = named[child.parent]
    steps = len(named) - 1
    for observation, count in ((above.observation + "\nNothing new.", 1), ("another page", 0)):
        again = dataclasses.replace(child, action=above.action, observation=observation)
        run.nodes = list((named | {child.node: again}).values())
        row = next(row for row in rows(tmp_path / str(count), "shape", run) if row["task"] == "all tasks")
        assert row["nothing new"] == pytest.approx(count / steps)


def test_quantised_weights_are_compared_on_the_problems_that_both_met(tmp_path: Path, make_run: Make) -> None:
    before = [make_run("symphony", problems=4), make_run("symphony", seed=2, problems=4)]
    for run in before:
        solve(run, [1, 1, 1, 0])
    after = solve(make_run("nf4", problems=4), [1, 0, 0, 1])
    found = rows(tmp_path, "quantised_success", *before, after, plan={"nf4": {"table": "quantisation"}})
    row = next(row for row in found if row["task"] == "all tasks")
    assert (row["pairs"], row["only before"], row["only after"]) == (4, 2, 1)
    assert row["permutation p"] == pytest.approx(1 / 4 + 3 / 8)  # of three flipped signs: all alike, or as seen
    assert (value(row["success before"]), value(row["success after"])) == (0.75, 0.5)
    assert value(row["success difference"]) == -0.25


def test_quantised_weights_are_compared_with_the_experiment_that_theirs_names(tmp_path: Path, make_run: Make) -> None:
    runs = [
        solve(make_run("symphony", problems=2), [0, 0]),
        solve(make_run("uniform", problems=2), [1, 1]),
        solve(make_run("nf4", problems=2), [1, 0]),
    ]
    plan = {"nf4": {"table": "quantisation", "against": "uniform"}}
    row = rows(tmp_path, "quantised_success", *runs, plan=plan)[0]
    assert (row["compared with"], value(row["success before"]), row["only before"]) == ("uniform", 1, 1)


def test_an_experiment_of_the_quantisation_table_stands_in_no_other(tmp_path: Path, make_run: Make) -> None:
    runs = [make_run("symphony"), make_run("symphony", seed=2), make_run("nf4")]
    found = rows(tmp_path, "success", *runs, plan={"nf4": {"table": "quantisation"}})
    assert {row["method"] for row in found} == {"symphony"}
    with open_study(tmp_path / "study.duckdb", tmp_path / "plan.json") as study:
        assert study.provenance.warnings == ()  # fewer seeds, and yet no unevenness in what is compared


# --------------------------------------------------------------------------- in words


def test_each_ablation_is_told_by_the_evidence_of_what_it_changes(synthetic_db: Path, plan_json: Path) -> None:
    with open_study(synthetic_db, plan_json) as study:
        tables = {name: read_table(study, name) for name in TABLES}

    def why(change: str) -> str:
        return mechanisms.why(change, tables, "SYMPHONY", "without scheduling (uniform)")

    assert "away from equal" in why("scheduler ucb → uniform")
    assert "lessons per problem" in why("memory fifo → none")
    assert "chance is not 50 %: shuffled values get" in why("scorer emcs → plain")
    both = why("scheduler ucb → uniform; scorer emcs → plain")
    assert "away from equal" in both
    assert "shuffled values get" in both


def test_a_method_without_rows_is_told_by_no_sentence(synthetic_db: Path, plan_json: Path) -> None:
    with open_study(synthetic_db, plan_json) as study:
        tables = {name: read_table(study, name) for name in TABLES}
    assert mechanisms.memory(tables["memory"], "nobody") == ""
    assert mechanisms.shape(tables["shape"], "SYMPHONY", "nobody") == ""
    assert mechanisms.pool(tables["members"], tables["diversity"], "SYMPHONY", "nobody", []) == ""
