"""The first table and row, or the first record, in which two folders differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.records.records import CONFIG
from symphony.sharing.compare import differing_records, differing_tables
from tests.report.conftest import synthetic_run

TABLE = "method,task,success,feedback\nA,x,0.5,oracle\nB,x,0.25,oracle\n"


def tables(folder: Path, **texts: str) -> Path:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"a_csv": TABLE}, {"a_csv": TABLE}, ""),
        (
            {"a_csv": TABLE, "b_csv": TABLE},
            {"a_csv": TABLE, "b_csv": TABLE.replace("0.25", "0.26")},
            "table b.csv, row 2 (B, x, 0.25), success: '0.25' in the bundle, '0.26' here",
        ),
        ({"a_csv": TABLE}, {"a_csv": TABLE + "C,x,1,oracle\n"}, "table a.csv, row 3 (C, x, 1): not in the bundle"),
        ({"a_csv": TABLE + "C,x,1,oracle\n"}, {"a_csv": TABLE}, "table a.csv, row 3 (C, x, 1): not here"),
        ({"a_csv": TABLE}, {"a_csv": TABLE.replace("task", "tasks")}, "table a.csv, columns: 'method, task, success"),
        ({"a_csv": TABLE}, {}, "table a.csv: not here"),
        ({}, {"a_csv": TABLE}, "table a.csv: not in the bundle"),
        ({"a_md": "1\n2\n"}, {"a_md": "1\n3\n"}, "table a.md, line 2: '2' in the bundle, '3' here"),
        ({"a_csv": TABLE}, {"a_csv": TABLE.replace("\n", "\r\n")}, "table a.csv, line 1: "),
        ({"a_csv": TABLE, "a_tex": "1"}, {"a_csv": TABLE + "D,x,1,", "a_tex": "2"}, "table a.csv, row 3 (D, x, 1)"),
    ],
)
def test_the_first_difference_of_tables_is_named(
    before: dict[str, str], after: dict[str, str], told: str, tmp_path: Path
) -> None:
    found = differing_tables(tables(tmp_path / "1", **before), tables(tmp_path / "2", **after))
    assert found.startswith(told)
    assert bool(found) == bool(told)


def test_tables_that_are_nowhere_are_not_there(tmp_path: Path) -> None:
    assert differing_tables(tmp_path / "none", tables(tmp_path / "1", a_csv=TABLE)) == "table a.csv: not in the bundle"


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of the same run."""
    one, other = (synthetic_run().write(tmp_path / name) for name in ("before", "after"))
    return one, other


def edit(folder: Path, name: str, before: str, after: str) -> None:
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after))


def test_equal_runs_have_no_difference(runs: tuple[Path, Path]) -> None:
    assert differing_records(*runs) == ""


@pytest.mark.parametrize(
    ("name", "before", "after", "told"),
    [
        ("problems.jsonl", '"index":1', '"index":9', "problems.jsonl, line 2, index: '1' in the bundle, '9' here"),
        ("nodes.jsonl", '"depth":0', '"depth":0.0', "nodes.jsonl, line 1: "),
        ("runs.jsonl", '"seed":1', '"seed":2', "runs.jsonl, line 1, seed: '1' in the bundle, '2' here"),
        (CONFIG, "synthetic: true", "synthetic: false", "config.yaml, line 1: 'synthetic: true' in the bundle"),
        ("runs.jsonl", '"hardware":', '"hardware": ', ""),
        ("wall.json", '"wall_s":12.5', '"wall_s":13.5', ""),
        ("prompts.jsonl.gz", "", "", "prompts.jsonl.gz: other prompts"),
    ],
)
def test_the_first_difference_of_records_is_named(
    name: str, before: str, after: str, told: str, runs: tuple[Path, Path]
) -> None:
    if before:
        edit(runs[1], name, before, after)
    else:
        (runs[1] / name).write_bytes(b"others")
    found = differing_records(*runs)
    assert found.startswith(told)
    assert bool(found) == bool(told)


@pytest.mark.parametrize("key", ["commit", "versions", "hardware"])
def test_what_a_record_says_of_the_machine_is_not_compared(key: str, runs: tuple[Path, Path]) -> None:
    edit(runs[1], "runs.jsonl", f'"{key}":"', f'"{key}":"other ')
    assert differing_records(*runs) == ""
