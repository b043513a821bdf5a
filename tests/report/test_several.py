"""Seconds by machine and by what they were spent on, and one table from several databases; SYNTHETIC records."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.records.database import load
from symphony.report.study import open_study
from symphony.report.tables import read_table


def database(folder: Path, *runs: Any, machine: str = "synthetic CPU, 2 cores") -> Path:
    for run in runs:
        run.run = dataclasses.replace(run.run, hardware=machine)
    load(folder / "study.duckdb", [run.write(folder / "runs") for run in runs])
    return folder / "study.duckdb"


def hardware(path: Path) -> list[dict[str, Any]]:
    with open_study(path) as study:
        return read_table(study, "hardware").records()


def test_calls_that_are_asked_together_wait_once_and_the_rest_is_what_remains(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    run = make_run("symphony")  # every call takes 0.01 s; the run takes 12.5 s
    rows = {row["spent on"]: row for row in hardware(database(tmp_path, run))}
    n = len(run.problems)
    batches = {(call.problem, call.iteration, call.phase) for call in run.calls}
    expansions = sum(phase == "expand" for *_, phase in batches)
    assert rows["expansion"]["seconds a problem"].value == pytest.approx(0.01 * expansions / n)
    assert rows["everything else"]["seconds a problem"].value == pytest.approx((12.5 - 0.01 * len(batches)) / n)
    assert sum(row["share"] for row in rows.values()) == pytest.approx(1)
    tokens = sum(call.completion_tokens for call in run.calls if call.phase == "expand")
    assert rows["expansion"]["tokens a second"] == pytest.approx(tokens / (0.01 * expansions))


def test_methods_that_share_a_process_have_no_seconds_of_their_own(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    rows = hardware(database(tmp_path, make_run("symphony"), make_run("no_memory")))
    rest = [row for row in rows if row["spent on"] == "everything else"]
    assert [row["seconds a problem"] for row in rest] == [None, None]
    assert {row["wall seconds"] for row in rows} == {None}


def test_results_from_several_machines_become_one_table(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    one = database(tmp_path / "one", make_run("symphony"), machine="one")
    two = database(tmp_path / "two", make_run("symphony"), machine="two")
    main(["table", "hardware", "--database", str(one), "--and", str(two), "--out", str(tmp_path / "out")])
    rows = list(csv.DictReader((tmp_path / "out" / "hardware.csv").read_text().splitlines()))
    assert {row["machine"] for row in rows} == {"one", "two"}
    assert len(rows) == len(hardware(one)) + len(hardware(two))
