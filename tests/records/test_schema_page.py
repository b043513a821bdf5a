"""docs/records.md describes the database as it is, and its example queries run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from symphony.records.database import load, reading, schema
from symphony.records.records import TABLES
from tests.report.conftest import synthetic_run

PAGE = (Path(__file__).parents[2] / "docs" / "records.md").read_text()


@pytest.mark.parametrize("table", TABLES)
def test_the_page_lists_every_column_with_its_type(table: str) -> None:
    section = PAGE.partition(f"### {table}\n")[2].partition("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| ", section, re.MULTILINE)
    told = {name: kind.replace(", may be NULL", "") if "NULL" in kind else f"{kind} NOT NULL" for name, kind in rows}
    assert list(told.items()) == list(schema(TABLES[table]).items())


@pytest.mark.parametrize("query", re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL))
def test_an_example_query_runs(query: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # one query reads files of outputs/
    runs = {"ucb": synthetic_run("symphony"), "uniform": synthetic_run("uniform")}
    place = tmp_path / "outputs" / "runs"
    folders = [run.write(place, f"scheduler: {{_target_: {scheduler}}}\n") for scheduler, run in runs.items()]
    load(tmp_path / "study.duckdb", folders)
    with reading(tmp_path / "study.duckdb") as connection:
        assert connection.execute(query).fetchall()
