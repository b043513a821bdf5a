"""Runs on disk and in the database: whole or not at all, and nothing wrong goes in silently."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from symphony.records.database import TABLES, load, reading, schema
from symphony.records.records import (
    FILES,
    AnswerRecord,
    CallRecord,
    NodeRecord,
    PickRecord,
    ProblemRecord,
    ReflectionRecord,
    RunRecord,
    TimingRecord,
    WallRecord,
    is_complete,
    read_records,
)
from symphony.types import SymphonyError
from tests.run_writer import write_run

RUN = RunRecord(
    run="r1", study="s", experiment="symphony", task="qa", feedback="oracle", search="symphony", scheduler="ucb",
    scorer="emcs", memory="pool_fifo", preset="default", pool="trio", agents=["a", "b"], models="{}", seed=1,
    problems=1, call_limit=None, token_limit=60, prompts="p", dataset="d", commit="c", versions="{}", hardware="h",
)  # fmt: skip
PROBLEM = ProblemRecord(
    run="r1", problem="p1", index=0, kind="", success=True, score=1, detail="2020-01-01", stop_reason="solved",
    iterations=1, nodes_tree=1, nodes_simulated=0, guesses=1, calls=1, prompt_tokens=10, completion_tokens=5,
    cost=0.25, unparsed=0, invalid=0, fallbacks=0, errors=0, answer_node=1,
)  # fmt: skip
NOTHING = AnswerRecord(run="r1", problem="p1", calls=0, tokens=0, node=0, success=False, score=0)
ANSWER = AnswerRecord(run="r1", problem="p1", calls=1, tokens=1, node=1, success=True, score=1)
ROOT = NodeRecord(
    run="r1", problem="p1", node=0, parent=None, depth=0, origin="root", agent=None, iteration=0, thought="", action="",
    observation="line\nbreak \u2028 \x00 \"quoted\" é", value=None, confidence=None, prior=None, fallback=False,
    visits=1, value_sum=0.1, reward=None, terminal=False, solved=False, invalid=False, closed=False,
)  # fmt: skip
CHILD = dataclasses.replace(ROOT, node=1, parent=0, origin="expand", agent="a", value=0.5, confidence=0.5, prior=0.1)
CALL = CallRecord(
    run="r1", problem="p1", call=0, iteration=0, node=0, phase="expand", draw=0, agent="a", temperature=0.8, seed=2**62,
    prompt="x", dropped_lessons=0, dropped_shots=0, prompt_tokens=10, completion_tokens=5, cost=0.25,
    finish_reason="stop", text="Action: a[b]", error=None,
)  # fmt: skip
PICK = PickRecord(
    run="r1", problem="p1", pick=0, iteration=0, node=0, phase="expand", agent="a", counts=[0, 0], means=[0.0, 0.5],
    bonuses=[1.0, 2],
)  # fmt: skip
LESSON = ReflectionRecord(run="r1", problem="p1", reflection=0, iteration=0, node=1, agent="a", key="k", text="Lesson.")
TIMING = TimingRecord(run="r1", problem="p1", call=0, latency_s=0.1, cached_tokens=0, from_store=False)
WALL = WallRecord(run="r1", wall_s=1.5, cpu_s=2, generated_tokens=5, halvings=1, batch_tokens=64, swaps=2, swap_s=0.5)


def write(
    folder: Path,
    *,
    problem: ProblemRecord = PROBLEM,
    call: CallRecord = CALL,
    run: RunRecord = RUN,
    answers: Sequence[AnswerRecord] = (NOTHING, ANSWER),
    lessons: Sequence[ReflectionRecord] = (LESSON,),
) -> Path:
    nodes = [ROOT, CHILD]
    tables = [[problem], answers, nodes, [call], [PICK], lessons, [TIMING]]
    write_run(folder / "r1", run, tables, WALL, "a: 1\n")
    return folder / "r1"


def edit(folder: Path, file: str, old: str, new: str) -> None:
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


@contextmanager
def small_files(limit: int = 100) -> Iterator[None]:
    """A disk that is full after a number of bytes a file, for as long as the test itself writes nothing else."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert read_records(folder, NodeRecord) == [ROOT, CHILD]
    assert read_records(folder, PickRecord) == [PICK]
    assert read_records(folder, WallRecord) == [WALL]


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "one"), write(tmp_path / "two")
    for name in (*FILES.values(), "config.yaml"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_run_is_complete_only_with_every_file(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert is_complete(folder)
    (folder / "picks.jsonl").unlink()
    assert not is_complete(folder)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with small_files(), pytest.raises(SymphonyError, match="r1: the run could not be written"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_run_that_was_there(tmp_path: Path) -> None:
    folder = write(tmp_path)
    with small_files(), pytest.raises(SymphonyError, match="nothing was kept"):
        write(tmp_path)
    assert read_records(folder, RunRecord) == [RUN]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_run_is_replaced_by_its_repetition(tmp_path: Path) -> None:
    write(tmp_path, run=dataclasses.replace(RUN, commit="old"))
    folder = write(tmp_path)
    assert [record.commit for record in read_records(folder, RunRecord)] == ["c"]
    assert list(tmp_path.iterdir()) == [folder]


def test_a_value_that_json_can_not_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="JSON cannot hold"):
        write(tmp_path, problem=dataclasses.replace(PROBLEM, score=float("nan")))
    assert list(tmp_path.iterdir()) == []


def test_reading_refuses_a_misspelt_key(tmp_path: Path) -> None:
    folder = write(tmp_path)
    edit(folder, "calls.jsonl", '"draw":', '"drawn":')
    with pytest.raises(SymphonyError, match=r"calls.jsonl:1: found missing key draw; unknown key drawn"):
        read_records(folder, CallRecord)


def test_the_schema_is_that_of_the_dataclasses() -> None:
    columns = schema(PickRecord) | schema(NodeRecord)
    assert columns["counts"] == "BIGINT[] NOT NULL"
    assert columns["bonuses"] == "DOUBLE[] NOT NULL"
    assert columns["parent"] == "BIGINT"
    assert columns["agent"] == "VARCHAR"
    assert columns["closed"] == "BOOLEAN NOT NULL"


def test_the_database_holds_what_the_files_hold(tmp_path: Path) -> None:
    load(tmp_path / "study.duckdb", [write(tmp_path)])
    with reading(tmp_path / "study.duckdb") as connection:
        assert connection.execute("FROM nodes ORDER BY node").fetchall() == [
            dataclasses.astuple(ROOT),
            dataclasses.astuple(CHILD),
        ]
        assert connection.execute("FROM calls").fetchall() == [dataclasses.astuple(CALL)]
        assert connection.execute("FROM walls").fetchall() == [dataclasses.astuple(WALL)]


def test_text_that_looks_like_a_date_stays_text(tmp_path: Path) -> None:
    load(tmp_path / "study.duckdb", [write(tmp_path)])
    with reading(tmp_path / "study.duckdb") as connection:
        assert connection.execute("SELECT detail FROM problems").fetchall() == [("2020-01-01",)]


def test_a_table_without_a_line_is_loaded(tmp_path: Path) -> None:
    folder = write(tmp_path, lessons=())
    load(tmp_path / "study.duckdb", [folder])
    with reading(tmp_path / "study.duckdb") as connection:
        assert connection.execute("SELECT count(*) FROM reflections").fetchall() == [(0,)]


def test_loading_again_replaces_the_database(tmp_path: Path) -> None:
    folder = write(tmp_path)
    for _ in range(2):
        load(tmp_path / "study.duckdb", [folder])
    with reading(tmp_path / "study.duckdb") as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("calls.jsonl", '"error":', '"eror":', r"calls.jsonl: found missing key error; unknown key eror"),
        ("nodes.jsonl", '"parent":null,', "", r"nodes.jsonl: found missing key parent"),
        ("picks.jsonl", '"pick":0', '"pick":0,"extra":1', r"picks.jsonl: found unknown key extra"),
        ("problems.jsonl", '"calls":1', '"calls":"1"', r"problems.jsonl: calls: found \"VARCHAR\", allowed: BIGINT"),
        ("problems.jsonl", '"calls":1', '"calls":1.5', r"problems.jsonl: calls: found \"DOUBLE\", allowed: BIGINT"),
        ("problems.jsonl", '"score":1', '"score":null', r"problems.jsonl: score: found \"NULL\", allowed: DOUBLE"),
        ("picks.jsonl", "[0.0,0.5]", '["a"]', r"picks.jsonl: means: .*allowed: DOUBLE\[\]"),
        ("timings.jsonl", "}", "", r"timings.jsonl: found a line that is not JSON"),
    ],
)
def test_a_slip_in_a_file_is_named_with_its_key(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    folder = write(tmp_path)
    edit(folder, file, old, new)
    with pytest.raises(SymphonyError, match=message):
        load(tmp_path / "study.duckdb", [folder])


@pytest.mark.parametrize(
    "total", ["calls", "prompt_tokens", "completion_tokens", "errors", "nodes_tree", "nodes_simulated"]
)
def test_a_total_that_differs_from_the_ledger_is_refused(tmp_path: Path, total: str) -> None:
    wrong: dict[str, Any] = {total: 7}
    folder = write(tmp_path, problem=dataclasses.replace(PROBLEM, **wrong))
    with pytest.raises(SymphonyError, match=f"run r1, problem p1: {total}: found 7 in the total"):
        load(tmp_path / "study.duckdb", [folder])


@pytest.mark.parametrize(
    "answers",
    [
        (ANSWER,),
        (NOTHING,),
        (NOTHING, dataclasses.replace(ANSWER, node=0)),
        (NOTHING, dataclasses.replace(ANSWER, success=False)),
        (NOTHING, NOTHING, ANSWER),
        (dataclasses.replace(NOTHING, problem="p2"), ANSWER),
    ],
)
def test_answers_that_do_not_lead_from_no_call_to_the_graded_one_are_refused(
    answers: tuple[AnswerRecord, ...], tmp_path: Path
) -> None:
    folder = write(tmp_path, answers=answers)
    with pytest.raises(SymphonyError, match="found answers that do not lead from 0 calls to node"):
        load(tmp_path / "study.duckdb", [folder])


@pytest.mark.parametrize(("total", "told"), [(0.5, "0.5"), (None, "unknown")])
def test_a_cost_that_differs_from_the_ledger_is_refused(tmp_path: Path, total: float | None, told: str) -> None:
    folder = write(tmp_path, problem=dataclasses.replace(PROBLEM, cost=total))
    with pytest.raises(SymphonyError, match=f"run r1, problem p1: cost: found {told} in the total and 0.25 in the led"):
        load(tmp_path / "study.duckdb", [folder])


def test_a_problem_with_a_call_of_unknown_cost_has_an_unknown_cost(tmp_path: Path) -> None:
    folder = write(tmp_path, problem=dataclasses.replace(PROBLEM, cost=None), call=dataclasses.replace(CALL, cost=None))
    load(tmp_path / "study.duckdb", [folder])
    with reading(tmp_path / "study.duckdb") as connection:
        assert connection.execute("SELECT cost FROM problems").fetchall() == [(None,)]


def test_calls_of_a_problem_that_is_not_there_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    edit(folder, "calls.jsonl", '"problem":"p1"', '"problem":"p2"')
    edit(folder, "timings.jsonl", '"problem":"p1"', '"problem":"p2"')
    with pytest.raises(SymphonyError, match="run r1, problem p"):
        load(tmp_path / "study.duckdb", [folder])


def test_a_run_with_fewer_problems_than_it_says_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, run=dataclasses.replace(RUN, problems=2))
    with pytest.raises(SymphonyError, match=r"found 1 problems, runs.jsonl says 2"):
        load(tmp_path / "study.duckdb", [folder])


def test_one_folder_given_twice_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    with pytest.raises(SymphonyError, match="r1: found more than once, allowed: each run folder once"):
        load(tmp_path / "study.duckdb", [folder, folder])


def test_a_run_in_two_folders_is_refused(tmp_path: Path) -> None:
    folders = [write(tmp_path / "one"), write(tmp_path / "two")]
    with pytest.raises(SymphonyError, match="run r1: found 2 rows in runs, allowed: 1"):
        load(tmp_path / "study.duckdb", folders)


def test_two_runs_of_one_experiment_task_and_seed_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "one")
    second = write(tmp_path / "two")
    for path in second.glob("*.json*"):
        path.write_text(path.read_text().replace('"run":"r1"', '"run":"r2"'))
    with pytest.raises(SymphonyError, match="experiment symphony, task qa, seed 1: found the runs r1, r2"):
        load(tmp_path / "study.duckdb", [first, second])


def test_a_refused_load_leaves_the_old_database_and_no_other_file(tmp_path: Path) -> None:
    good = write(tmp_path / "good")
    load(tmp_path / "db" / "study.duckdb", [good])
    before = (tmp_path / "db" / "study.duckdb").read_bytes()
    bad = write(tmp_path / "bad", problem=dataclasses.replace(PROBLEM, calls=2))
    with pytest.raises(SymphonyError):
        load(tmp_path / "db" / "study.duckdb", [bad])
    assert (tmp_path / "db" / "study.duckdb").read_bytes() == before
    assert [path.name for path in (tmp_path / "db").iterdir()] == ["study.duckdb"]


@pytest.mark.parametrize("file", [*FILES.values(), "config.yaml"])
@pytest.mark.parametrize("damage", ["emptied", "cut within a line", "a line twice"])
def test_a_damaged_table_is_told_with_what_to_do(file: str, damage: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    text = (folder / file).read_text()
    damaged = {"emptied": "", "cut within a line": text[: len(text) // 3], "a line twice": text + text}[damage]
    (folder / file).write_text(damaged)
    told = f"r1/{file}: found .*; delete .*r1 and repeat its run with `symphony run` or snakemake"
    with pytest.raises(SymphonyError, match=told):
        load(tmp_path / "study.duckdb", [folder])
    for record, name in FILES.items():
        if name == file:  # as `symphony plan` reads it
            with pytest.raises(SymphonyError, match=told):
                read_records(folder, record)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("calls.jsonl", "Action: a[b]", "Action: a[c]"),
        ("nodes.jsonl", '"value":0.5', '"value":0.7'),
        ("picks.jsonl", '"means":[0.0,0.5]', '"means":[0.0,0.6]'),
        ("reflections.jsonl", "Lesson.", "Lessen."),
        ("answers.jsonl", '"tokens":1', '"tokens":2'),
        ("problems.jsonl", '"score":1', '"score":0'),
        ("runs.jsonl", '"seed":1', '"seed":2'),
        ("config.yaml", "a: 1", "a: 2"),
    ],
)
def test_a_changed_figure_or_text_is_told(file: str, old: str, new: str, tmp_path: Path) -> None:
    folder = write(tmp_path)
    edit(folder, file, old, new)
    with pytest.raises(SymphonyError, match=f"{file}: found contents that have changed since it was written"):
        load(tmp_path / "study.duckdb", [folder])


def test_a_run_without_a_manifest_is_not_complete_and_not_loaded(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "manifest.json").unlink()
    assert not is_complete(folder)
    with pytest.raises(SymphonyError, match=r"manifest.json: found nothing, .* repeat its run with `symphony run`"):
        load(tmp_path / "study.duckdb", [folder])


def read_all(path: Path) -> None:
    with reading(path) as connection:
        for table in TABLES:
            connection.execute(f"FROM {table}").fetchall()


def damages(whole: bytes) -> Iterator[bytes]:
    """What a database's file may be in its place."""
    rng = random.Random(0)
    yield from (b"", b"\0", b"<html></html>" * 1000)
    yield from (whole[:size] for size in (100, 4096, 12_288, len(whole) // 2, len(whole) - 1))
    for _ in range(4):
        at = rng.randrange(len(whole))
        yield whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


def test_a_damaged_database_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "study.duckdb"
    load(path, [write(tmp_path)])
    for damaged in damages(path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(SymphonyError) as told:
            read_all(path)
        assert str(told.value).startswith(f"{path}: cannot be read (")
        assert str(told.value).endswith("; rebuild it with `symphony load`")
        assert "\n" not in str(told.value)


def test_a_database_that_another_program_writes_to_is_told_and_loaded_when_it_is_closed(tmp_path: Path) -> None:
    folder = write(tmp_path)
    path = tmp_path / "study.duckdb"
    load(path, [folder])
    hold = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(SymphonyError, match=rf"found it open in another program \(.*PID {holder.pid}\)"):
            load(path, [folder])
        holder.communicate("")
    load(path, [folder])


@pytest.mark.parametrize("damage", [lambda whole: whole[:5000], lambda whole: whole[:4096] + b"x" + whole[4097:]])
def test_a_damaged_database_in_the_way_of_a_new_one_is_told_with_what_to_do(damage: Any, tmp_path: Path) -> None:
    folder = write(tmp_path)
    path = tmp_path / "study.duckdb"
    load(path, [folder])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SymphonyError, match=r"found a damaged database \(.*delete it and load again"):
        load(path, [folder])
    path.unlink()
    load(path, [folder])


def test_records_of_another_version_are_told_with_what_to_do(tmp_path: Path) -> None:
    folder = write(tmp_path)
    path = folder / "problems.jsonl"
    content = path.read_bytes().replace(b'"unparsed":', b'"unread":')
    path.write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["problems.jsonl"]["sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    said = (
        rf"missing key unparsed; unknown key unread, .*; another version wrote them: delete {folder} and repeat its run"
    )
    with pytest.raises(SymphonyError, match=said):
        load(tmp_path / "study.duckdb", [folder])
    with pytest.raises(SymphonyError, match=said):
        read_records(folder, ProblemRecord)


def test_a_database_of_something_else_is_told_by_what_it_lacks(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE runs (run VARCHAR)")
    told = r"other.duckdb: runs: found no study, .* allowed: a database built by this version's `symphony load`"
    with pytest.raises(SymphonyError, match=told), reading(tmp_path / "other.duckdb"):
        pass


def test_a_column_of_another_type_is_told(tmp_path: Path) -> None:
    load(tmp_path / "study.duckdb", [write(tmp_path)])
    with duckdb.connect(str(tmp_path / "study.duckdb")) as connection:
        connection.execute("ALTER TABLE problems ALTER success TYPE VARCHAR")
    told = r"problems: found no success of type BOOLEAN, allowed: a database built by"
    with pytest.raises(SymphonyError, match=told), reading(tmp_path / "study.duckdb"):
        pass


def test_the_wall_clock_of_another_run_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path)
    wall = folder / "wall.json"
    wall.write_text(wall.read_text().replace('"run":"', '"run":"x'))
    (folder / "apart.json").unlink()  # as a run of an older version
    with pytest.raises(SymphonyError, match=r"found its wall\.json, but no run"):
        load(tmp_path / "study.duckdb", [folder])


def test_a_mistake_in_a_query_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    load(tmp_path / "study.duckdb", [write(tmp_path)])
    with pytest.raises(duckdb.BinderException), reading(tmp_path / "study.duckdb") as connection:
        connection.execute("SELECT nothing FROM runs")


@pytest.mark.parametrize("place", ["/proc/study.duckdb", "/proc/folder/study.duckdb", "/dev/null/study.duckdb"])
def test_a_place_that_can_not_be_written_is_one_line(place: str, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match=rf"^{place}: cannot be written \(.*\), allowed: a folder that can be"):
        load(place, [write(tmp_path)])


@pytest.mark.parametrize("kilobytes", [1, 30, 100, 300, 1000, 2000, 8000])
def test_a_database_on_a_full_disk_is_whole_or_told(kilobytes: int, tmp_path: Path) -> None:
    folder, database = write(tmp_path), tmp_path / "study.duckdb"
    load(database, [folder])
    size = database.stat().st_size
    database.unlink()
    with small_files(kilobytes << 10):
        if kilobytes << 10 < size:
            with pytest.raises(SymphonyError, match=r"cannot be written \(.*\), allowed: a folder that can be written"):
                load(database, [folder])
        else:
            load(database, [folder])
    assert database.exists() == (kilobytes << 10 >= size)


@pytest.mark.parametrize("name", ["timings.jsonl", "wall.json", "apart.json"])
def test_a_changed_digit_is_found_in_files_that_may_differ_between_runs_too(tmp_path: Path, name: str) -> None:
    folder = write(tmp_path)
    text = (folder / name).read_text()
    at = max(place for place, letter in enumerate(text) if letter.isdigit())
    (folder / name).write_text(text[:at] + ("7" if text[at] != "7" else "8") + text[at + 1 :])
    with pytest.raises(SymphonyError, match=r"(timings\.jsonl|wall\.json): found contents that have changed since"):
        load(tmp_path / "study.duckdb", [folder])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "wall.json").unlink()
    with pytest.raises(SymphonyError, match=r"wall.json: found nothing"):
        load(tmp_path / "study.duckdb", [folder])


def test_a_line_is_one_json_object_a_record_with_the_fields_in_order(tmp_path: Path) -> None:
    (line,) = (write(tmp_path) / "runs.jsonl").read_text().splitlines()
    assert list(json.loads(line)) == [field.name for field in dataclasses.fields(RunRecord)]


@pytest.mark.parametrize("text", ["},{", '},{"run":', '"},{"run":"', "a\nb", "\\", '\\"},{\\"run":'])
def test_no_text_breaks_a_line(text: str, tmp_path: Path) -> None:
    call = dataclasses.replace(CALL, text=text)
    other = dataclasses.replace(call, call=call.call + 1, prompt=text)
    folder = tmp_path / "run"
    write_run(folder, RUN, [[PROBLEM], [call, other]], WALL, "")
    assert read_records(folder, CallRecord) == [call, other]
    assert read_records(folder, NodeRecord) == []
