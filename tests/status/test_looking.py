"""`symphony ls`, `show` and `sql`: they tell what the records hold, in three formats, and write nothing."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.records import database
from symphony.records.records import CallRecord, ProblemRecord, read_records
from symphony.run.live import LIVE, GroupState, RunState
from symphony.status import formats
from tests.scripted_pool import carry_out, one_group

DEAD = 2**22 + 7
"""No process has this number."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs of the quickstart, by a scripted pool."""
    outputs = tmp_path_factory.mktemp("finished")
    for name, task in (("symphony", "mini_qa"), ("uniform", "mini_qa"), ("symphony", "gridworld")):
        carry_out(one_group(name, "problems=2", "search.iterations=2", task=task), outputs)
    return outputs


@pytest.fixture
def outputs(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "outputs"))


def told(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    """What a command prints, or its one line of error."""
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    if code:
        (line,) = captured.err.splitlines()
        return line
    return captured.out


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(told(capsys, *arguments, "--format", "json"))


def state_of(outputs: Path, **changes: Any) -> None:
    """Writes the progress file of a group with one run that is not finished."""
    run = RunState(
        run="feed0000feed0000", study="quickstart", experiment="symphony", task="mini_qa", pool="p", seed=0, problems=5,
        store="record", limits={}, study_limits={}, state="running", done=2, solved=1, calls={"llama": 7},
    )  # fmt: skip
    names = changes.pop("names", (run.run,))
    given = {name: changes.pop(name) for name in ("state", "reason") if name in changes}
    state = GroupState(
        group="a group", host=socket.gethostname(), pid=os.getpid(), beat=1, at=0.0, ended="", gpus=[],
        runs=[replace(run, run=name, **given) for name in names],
    )  # fmt: skip
    path = outputs / "groups" / "a group" / LIVE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(replace(state, **changes))))


def test_a_study_is_one_row_whose_sums_are_those_of_its_records(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = rows(capsys, "ls", "--outputs", str(finished))
    problems = [p for folder in (finished / "runs").iterdir() for p in read_records(folder, ProblemRecord)]
    assert (row["study"], row["done"], row["problems"]) == ("quickstart", 3, len(problems))
    assert row["success"] == sum(problem.success for problem in problems) / len(problems)
    assert row["calls"] == sum(problem.calls for problem in problems)
    assert row["bytes"] == sum(path.stat().st_size for path in (finished / "runs").glob("*/*"))


def test_the_runs_of_a_study_are_a_row_each(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = rows(capsys, "ls", "quickstart", "--outputs", str(finished))
    assert {row["run"] for row in listed} == {folder.name for folder in (finished / "runs").iterdir()}
    assert listed == rows(capsys, "ls", "--runs", "--outputs", str(finished))
    assert {(row["experiment"], row["task"]) for row in listed} == {
        ("symphony", "mini_qa"), ("uniform", "mini_qa"), ("symphony", "gridworld"),
    }  # fmt: skip


def test_a_folder_without_runs_is_an_empty_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rows(capsys, "ls", "--outputs", str(tmp_path / "none")) == []


@pytest.mark.parametrize("command", [["ls", "nope"], ["sql", "FROM runs", "--study", "nope"]])
def test_an_unknown_study_is_told_with_those_that_exist(
    command: list[str], finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = told(capsys, *command, "--outputs", str(finished), code=1)
    assert line.endswith("found no runs of study 'nope', allowed: quickstart")


@pytest.mark.parametrize(
    ("changes", "state", "note"),
    [
        ({}, "running", ""),
        ({"pid": DEAD}, "stopped", "its process was killed"),
        ({"ended": "it was stopped"}, "stopped", "it was stopped"),
        ({"ended": "some runs failed", "state": "failed", "reason": "a answered none"}, "failed", "a answered none"),
        ({"ended": "x.sqlite: found a full disk"}, "failed", "x.sqlite: found a full disk"),
        ({"host": "elsewhere", "pid": DEAD}, "running", ""),  # nothing is known of its processes
        ({"state": "waiting"}, "waiting", ""),
    ],
)
def test_a_run_that_is_not_finished_is_listed_as_what_is_known_of_it(
    changes: dict[str, Any], state: str, note: str, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state_of(outputs, **changes)
    (row,) = [row for row in rows(capsys, "ls", "--runs", "--outputs", str(outputs)) if row["run"][:4] == "feed"]
    assert (row["state"], row["note"], row["ended"], row["success"]) == (
        state,
        note,
        2,
        None if state == "failed" else 0.5,
    )
    shown = rows(capsys, "show", "feed", "--outputs", str(outputs))
    assert shown["run"]["state"] == state
    assert shown["progress"]["problems"] == 5


def test_damaged_and_foreign_records_are_listed_as_unreadable_beside_the_others(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, old, empty = sorted((outputs / "runs").iterdir())
    (cut / "problems.jsonl").write_bytes((cut / "problems.jsonl").read_bytes()[:-5])
    (old / "runs.jsonl").write_text((old / "runs.jsonl").read_text().replace('"preset":', '"flavour":'))
    (empty / "wall.json").unlink()
    listed = {row["run"]: row for row in rows(capsys, "ls", "--runs", "--outputs", str(outputs))}
    assert [listed[folder.name]["state"] for folder in (cut, old, empty)] == ["unreadable"] * 3
    assert "problems.jsonl" in listed[cut.name]["note"]
    assert "missing key preset; unknown key flavour" in listed[old.name]["note"]
    assert listed[empty.name]["note"] == "files are missing"


def test_a_run_is_shown_by_the_beginning_of_its_digest_with_the_sums_of_its_records(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (finished / "runs").iterdir():
        calls, problems = read_records(folder, CallRecord), read_records(folder, ProblemRecord)
        shown = rows(capsys, "show", folder.name[:12], "--outputs", str(finished))
        assert shown["run"]["run"] == folder.name
        assert shown["use"]["calls"] == len(calls) == sum(agent["calls"] for agent in shown["agents"].values())
        assert shown["results"]["solved"] == sum(problem.success for problem in problems)
        assert shown["failures"]["unparsed"] == sum(problem.unparsed for problem in problems)
        assert shown["config"]["search.iterations"] == "2"


def test_an_ambiguous_beginning_lists_the_candidates(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state_of(outputs, names=("feed0000feed0000", "feed1111feed1111"))
    line = told(capsys, "show", "feed", "--outputs", str(outputs), code=1)
    assert line == (
        "symphony show: run 'feed': found 2 runs, allowed: a beginning of only one of feed0000feed0000 (quickstart "
        "symphony mini_qa seed 0); feed1111feed1111 (quickstart symphony mini_qa seed 0)"
    )


def test_a_folder_that_holds_another_runs_records_is_unreadable(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = sorted((outputs / "runs").iterdir())[0]
    folder.rename(folder.with_name("abc1"))
    shown = rows(capsys, "show", "abc1", "--outputs", str(outputs))
    assert shown["run"]["state"] == "unreadable"
    assert f"found the records of run {folder.name}" in shown["run"]["note"]


@pytest.mark.parametrize("prefix", ["nope", "", "../runs", "*"])
def test_what_begins_no_digest_is_told(prefix: str, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"found no run {prefix!r}" in told(capsys, "show", prefix, "--outputs", str(finished), code=1)


QUESTION = "SELECT experiment, task, count(*) AS n, sum(calls) AS calls FROM problems JOIN runs USING (run) " \
    "GROUP BY ALL ORDER BY ALL"  # fmt: skip


def load(outputs: Path, count: int) -> Path:
    database.load(outputs / "quickstart" / "records.duckdb", sorted((outputs / "runs").iterdir())[:count])
    return outputs / "quickstart" / "records.duckdb"


def test_a_question_has_the_same_answer_over_the_files_and_over_the_database(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from_files = rows(capsys, "sql", QUESTION, "--outputs", str(outputs))
    assert [row["n"] for row in from_files] == [2, 2, 2]
    assert rows(capsys, "sql", QUESTION, "--study", "quickstart", "--outputs", str(outputs)) == from_files
    load(outputs, 3)
    assert rows(capsys, "sql", QUESTION, "--study", "quickstart", "--outputs", str(outputs)) == from_files


def test_a_database_that_lacks_finished_runs_is_told(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(outputs, 2)
    assert main(["sql", "FROM runs", "--study", "quickstart", "--outputs", str(outputs)]) == 0
    assert "holds 2 of 3 finished runs; `symphony load quickstart` adds the others" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT nope FROM runs", 'Binder Error: Referenced column "nope" not found'),
        ("SELEC", "Parser Error"),
        ("FROM nowhere", "Catalog Error"),
        ("SELECT 'x'::INT", "Conversion Error"),
        ("DELETE FROM runs", "read-only mode"),
        ("CREATE TABLE more AS FROM runs", "read-only mode"),
        ("COPY runs TO 'written.csv'", "file system operations are disabled"),
        ("FROM read_text('/etc/hostname')", "file system operations are disabled"),
        ("ATTACH 'written.duckdb'", "disabled"),
        ("SET enable_external_access = true", "locked"),
    ],
)
@pytest.mark.parametrize("loaded", [False, True])
def test_a_query_that_is_wrong_or_reaches_outside_is_one_line_of_duckdbs_own(
    query: str, message: str, loaded: bool, outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if loaded:
        load(outputs, 3)
    line = told(capsys, "sql", query, "--study", "quickstart", "--outputs", str(outputs), code=1)
    assert line.startswith("symphony sql: the query: ")
    assert message in line


def test_a_question_without_finished_runs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "found no finished run" in told(capsys, "sql", "FROM runs", "--outputs", str(tmp_path), code=1)


@pytest.mark.parametrize(
    "command",
    [["ls"], ["ls", "--runs"], ["show", ""], ["sql", QUESTION], ["sql", QUESTION, "--study", "quickstart"]],
    ids=" ".join,
)
@pytest.mark.parametrize("form", formats.FORMATS)
def test_looking_changes_nothing(
    command: list[str], form: str, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(outputs, 3)
    run = sorted((outputs / "runs").iterdir())[0].name
    monkeypatch.chdir(tmp_path)
    before = snapshot(tmp_path)
    assert main([*(word or run for word in command), "--outputs", str(outputs), "--format", form]) == 0
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")
    }


VALUES: list[list[Any]] = [[1, 0.5, None, True, 'a "b", c\nd', ["x", 1]], [1000, 1e-9, "\x1b[31m", False, "é", []]]
NAMES = ("n", "x", "e\x07", "b", "t", "l")


def test_csv_holds_every_value() -> None:
    head, *lines = csv.reader(io.StringIO(formats.write(NAMES, VALUES, "csv")))
    assert head == list(NAMES)
    assert [line[4] for line in lines] == ['a "b", c\nd', "é"]
    assert lines[0][2] == ""
    assert json.loads(lines[0][5]) == ["x", 1]


def test_json_holds_every_value() -> None:
    assert [list(row.values()) for row in json.loads(formats.write(NAMES, VALUES, "json"))] == VALUES


def test_a_table_is_one_line_a_row_and_obeyed_by_no_terminal() -> None:
    text = formats.write(NAMES, VALUES, "table")
    assert len(text.splitlines()) == 3
    assert all(char.isprintable() for line in text.splitlines() for char in line)
    assert "\\x1b[31m" in text
    assert max(map(len, formats.write(["t"], [["x" * 1000]], "table").splitlines())) == formats.WIDEST


def test_no_rows_are_a_head_and_an_empty_list() -> None:
    assert formats.write(NAMES, [], "table").splitlines() == ["n  x  e\\x07  b  t  l"]
    assert formats.write(NAMES, [], "json") == "[]"
