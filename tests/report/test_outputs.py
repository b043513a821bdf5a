"""No command writes over a file that it did not make: it stays, and is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony.byhand import grade_file
from symphony.embedded.pool import Budget, make
from symphony.records.database import load
from symphony.report.figures import KINDS, figure
from symphony.report.page import render
from symphony.report.tables import table
from symphony.tasks.mini.gridworld import GridWorld
from symphony.types import SymphonyError

WORK = b"years of work\n"


def grade(out: Path) -> None:
    predictions = out.parent / "predictions.jsonl"
    if not predictions.exists():
        problem = GridWorld(seed=0, count=1).problems()[0].id
        predictions.write_text(f'{{"id": "{problem}", "prediction": ["go[east]"]}}\n')
    grade_file(GridWorld(seed=0, count=1), predictions, out, lambda _: None)


@pytest.mark.parametrize("suffix", ["csv", "md", "tex"])
def test_a_table_replaces_its_own_files_only(synthetic_db: Path, tmp_path: Path, suffix: str) -> None:
    for _ in range(2):
        table(synthetic_db, "methods", tmp_path)
    (tmp_path / f"methods.{suffix}").write_bytes(WORK)
    with pytest.raises(SymphonyError, match=rf"{tmp_path}/methods\.{suffix}: found a file that this command did not"):
        table(synthetic_db, "methods", tmp_path)
    assert (tmp_path / f"methods.{suffix}").read_bytes() == WORK


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_replaces_its_own_files_only(synthetic_db: Path, tmp_path: Path, kind: str) -> None:
    for _ in range(2):
        figure(synthetic_db, "skills", tmp_path)
    (tmp_path / f"skills{kind}").write_bytes(WORK)
    with pytest.raises(SymphonyError, match=rf"{tmp_path}/skills{kind}: found a file that this command did not"):
        figure(synthetic_db, "skills", tmp_path)
    assert (tmp_path / f"skills{kind}").read_bytes() == WORK


@pytest.mark.slow
def test_a_page_replaces_its_own_page_only(synthetic_db: Path, tmp_path: Path) -> None:
    for name in ("README.html", "README.json"):
        (tmp_path / name).write_bytes(WORK)
        with pytest.raises(SymphonyError, match=rf"{tmp_path / name}: found a file that this command did not make"):
            render(synthetic_db, tmp_path, tmp_path / "README.html")
        assert (tmp_path / name).read_bytes() == WORK
        (tmp_path / name).unlink()


def test_grades_replace_grades_only(tmp_path: Path) -> None:
    for _ in range(2):
        grade(tmp_path / "graded.jsonl")
    with pytest.raises(SymphonyError, match=r"predictions\.jsonl: found a file that this command did not make"):
        grade(tmp_path / "predictions.jsonl")


def test_a_database_replaces_databases_of_records_only(make_run: Callable[..., Any], tmp_path: Path) -> None:
    import duckdb

    run = make_run("symphony", "gridworld", 1, problems=2).write(tmp_path / "runs")
    for _ in range(2):
        load(tmp_path / "own.duckdb", [run])
    with duckdb.connect(str(tmp_path / "foreign.duckdb")) as connection:
        connection.execute("CREATE TABLE thesis AS SELECT 1 AS chapter")
    (tmp_path / "text").write_bytes(WORK)
    for name in ("foreign.duckdb", "text"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(SymphonyError, match=f"{name}: found a file that this command did not make"):
            load(tmp_path / name, [run])
        assert (tmp_path / name).read_bytes() == before


def test_a_trained_model_takes_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(WORK)
    with pytest.raises(SymphonyError, match=r"found model\.safetensors, which this command did not make"):
        make("llama", tmp_path, 0, Budget())
    assert (tmp_path / "model.safetensors").read_bytes() == WORK
