"""The paper's tables beside the study's numbers, from SYNTHETIC records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony.plan.sweeps import variants
from symphony.plan.yaml_files import load as load_yaml
from symphony.records.database import load
from symphony.report.paper import layouts, reported, shown
from symphony.report.study import open_study
from symphony.report.tables import as_latex, as_markdown, read_table

CONF = Path(__file__).parents[2] / "conf" / "experiment"


def played(make_run: Callable[..., Any], method: str, task: str, feedback: str = "oracle") -> Any:
    """A synthetic run as if it had played a benchmark of the paper."""
    run = make_run(method)
    run.run = dataclasses.replace(run.run, task=task, feedback=feedback)
    return run


def tables(tmp_path: Path, *runs: Any) -> dict[str, Any]:
    load(tmp_path / "study.duckdb", [run.write(tmp_path / "runs") for run in runs])
    with open_study(tmp_path / "study.duckdb") as study:
        return {name: read_table(study, name) for name in layouts()}


def test_every_table_of_the_paper_has_a_counterpart() -> None:
    mirrored = [table["mirrors"] for table in reported()["tables"]]
    assert mirrored == [*(f"Table {number}" for number in range(1, 10)), "Figure 2", "Figure 3"]


def test_a_row_has_a_number_for_each_column_and_shares_are_shares() -> None:
    for table in reported()["tables"]:
        for row in table["rows"]:
            for column, value in zip(table["columns"], row["values"], strict=True):
                assert value is None or value <= 1 or column["measure"] in ("tokens", "nodes")


def test_the_counterparts_are_experiments_of_the_project() -> None:
    known = {
        file.stem + variant.suffix
        for file in CONF.glob("*/*.yaml")
        for variant in variants(file.stem, str(file), load_yaml(file).get("sweep"), ())
    }
    named = {name for table in reported()["tables"] for row in table["rows"] for name in row["experiments"]}
    assert named <= known


def test_what_was_run_stands_beside_what_was_reported_and_the_rest_was_not_run(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    run = played(make_run, "symphony", "mbpp_py")
    solved = sum(problem.success for problem in run.problems) / len(run.problems)
    found = tables(tmp_path, run, played(make_run, "no_memory", "webshop"))
    rows = {row["variant"]: row for row in found["paper_table_5"].records()}
    assert rows["full"]["MBPP pass@1 here"].value == pytest.approx(solved)
    assert (rows["full"]["MBPP pass@1 reported"], rows["full"]["pool here"]) == (0.927, "trio")
    assert rows["full"]["WebShop success here"] is None
    assert rows["without memory sharing"]["WebShop success here"] is not None
    assert rows["without EMCS"]["n here"] is None
    for text in (as_markdown(found["paper_table_5"]), as_latex(found["paper_table_5"])):
        assert "not run" in text
        assert "0.927" in text
    hotpotqa = found["paper_table_1"].records()
    assert len(hotpotqa) == 11
    assert {row["exact match here"] for row in hotpotqa} == {None}


@pytest.mark.parametrize(
    ("task", "column"),
    [
        ("hotpotqa_context", "HotpotQA exact match here"),
        ("webshop_sample", "WebShop success here"),
        ("mbpp_py_hidden_asserts", "MBPP pass@1 here"),
    ],
)
def test_the_tasks_of_the_laptop_fill_the_paper_s_tables(
    task: str, column: str, tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    found = tables(tmp_path, played(make_run, "symphony", task))
    rows = {row["variant"]: row for row in found["paper_table_5"].records()}
    assert rows["full"][column] is not None


def test_other_feedback_than_the_papers_is_no_counterpart(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    found = tables(tmp_path, played(make_run, "symphony", "mbpp_py", feedback="none"))
    assert not any(table.rows for table in found.values())


def test_reported_numbers_are_written_as_in_the_paper() -> None:
    rows = {row[0]: row[1:] for table in shown()["tables"] for row in table["rows"] if "Size" in table["title"]}
    assert rows["ToT, K = 10"] == [".34", "33.97"]
    first = next(table for table in shown()["tables"] if "Tokens" in table["title"])
    assert first["rows"][0] == ["ToT", "210,215", ".49"]
