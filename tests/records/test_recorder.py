"""A run's folder while it is written: in the order of the problems, nothing in memory, nothing left by killed ones."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from contextlib import suppress
from itertools import permutations
from pathlib import Path

import pytest

from symphony.plan.model_spec import ModelSpec
from symphony.records.recorder import Recorder
from symphony.records.records import FILES, CallRecord, ProblemRecord, read_manifest, read_records
from symphony.run.progress import Counts
from symphony.run.runner import Place, run_group
from symphony.types import Completion, Request, SymphonyError
from tests.records.test_records import CALL, PROBLEM, RUN, WALL
from tests.scripted_pool import ROOT, Silent, answer, one_group


def write(folder: Path, order: Sequence[int]) -> Path:
    """Problems that end in this order, each with one call."""
    with Recorder(folder) as recorder:
        for index in order:
            name = f"p{index}"
            problem = dataclasses.replace(PROBLEM, problem=name, index=index)
            recorder.add(index, [problem], [dataclasses.replace(CALL, problem=name)])
        recorder.finish(RUN, WALL, "a: 1\n")
    return folder


def test_whatever_the_order_in_which_problems_end_the_records_are_in_that_of_the_problems(tmp_path: Path) -> None:
    straight = write(tmp_path / "straight", range(3))
    for order in permutations(range(3)):
        folder = write(tmp_path / "mixed", order)
        assert [record.index for record in read_records(folder, ProblemRecord)] == [0, 1, 2]
        for path in straight.iterdir():
            assert (folder / path.name).read_bytes() == path.read_bytes()


def test_the_manifest_has_the_lines_of_every_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", range(3))
    lines = {name: part.lines for name, part in read_manifest(folder).items()}
    for name in (*FILES.values(), "config.yaml"):
        assert lines[name] == len((folder / name).read_text().splitlines())
    assert lines["calls.jsonl"] == 3


def test_equal_runs_that_took_another_time_have_equal_manifests(tmp_path: Path) -> None:
    first = write(tmp_path / "first", range(2))
    with Recorder(tmp_path / "second") as recorder:
        for index, name in enumerate(("p0", "p1")):
            recorder.add(
                index,
                [dataclasses.replace(PROBLEM, problem=name, index=index)],
                [dataclasses.replace(CALL, problem=name)],
            )
        recorder.finish(RUN, dataclasses.replace(WALL, wall_s=99.0), "a: 1\n")
    assert read_manifest(first) == read_manifest(tmp_path / "second")


def test_an_error_within_a_run_leaves_nothing(tmp_path: Path) -> None:
    with suppress(RuntimeError), Recorder(tmp_path / "run") as recorder:
        recorder.add(0, [PROBLEM])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom symphony.records.recorder import Recorder\nRecorder(sys.argv[1]).__enter__()\nos._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "killed")], env=environment, check=False)
    assert len(list(tmp_path.glob(".killed.*"))) == 1
    with Recorder(tmp_path / "living"), Recorder(tmp_path / "other"):
        assert [path.name.split(".")[1] for path in sorted(tmp_path.glob(".*"))] == ["living", "other"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found a file that is not JSON"),
        ("{", "found a file that is not JSON"),
        ("[" * 100_000, "found a file that is not JSON"),
        ("[]", "found a list"),
        ('{"calls.jsonl": {"lines": 3}}', "found a malformed entry"),
        ('{"calls.jsonl": 3}', "found a malformed entry"),
        ("{}", "found entries for no file, "),
    ],
)
def test_a_damaged_manifest_is_named(content: str, message: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "run", range(1))
    (folder / "manifest.json").write_text(content)
    with pytest.raises(SymphonyError, match=f"manifest.json: {message}"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("calls.jsonl", {"sha256": None}),
        ("calls.jsonl", {"sha256": 5}),
        ("calls.jsonl", {"sha256": "AB" * 32}),
        ("calls.jsonl", {"lines": "1"}),
        ("calls.jsonl", {"lines": True}),
        ("calls.jsonl", {"lines": 1.0}),
        ("calls.jsonl", {"lines": -1}),
        ("config.yaml", {"lines": None}),
        ("timings.jsonl", {"sha256": "ab" * 32}),
    ],
)
def test_an_entry_of_a_manifest_that_says_too_little_is_named(
    name: str, change: dict[str, object], tmp_path: Path
) -> None:
    folder = write(tmp_path / "run", range(1))
    parts = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**parts, name: {**parts[name], **change}}))
    with pytest.raises(SymphonyError, match=f"manifest.json: found lines .* of {name}, allowed: a count, and 64 hex"):
        read_manifest(folder)


def test_a_process_killed_while_it_began_does_not_stop_the_next_of_its_number(tmp_path: Path) -> None:
    (tmp_path / f".run.{os.getpid()}.new").mkdir()
    assert read_records(write(tmp_path / "run", range(1)), ProblemRecord)


# --------------------------------------------------------------------------- memory


class Quick:
    """Answers at once and keeps nothing."""

    def __init__(self, spec: ModelSpec) -> None:
        self.revision = str(spec.settings["path"])

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return [Completion(text=answer(request), finish_reason="stop", prompt_tokens=9) for request in requests]


def growth(tmp_path: Path, problems: int, warm: int) -> float:
    """Bytes a problem by which memory grows after the first `warm` of a run's problems."""
    at: dict[int, int] = {}

    class Weighed(Silent):
        def _show(self, run: Counts, ended: bool) -> None:
            if not ended and run.done in (warm, problems):
                gc.collect()
                at[run.done] = tracemalloc.get_traced_memory()[0]

    overrides = (f"problems={problems}", "search.iterations=1", "execution.store=live", "execution.in_flight=4")
    group = one_group("symphony", *overrides, task="gridworld")
    tracemalloc.start()
    try:
        run_group(group, Place(outputs=tmp_path), Weighed(), Quick)
    finally:
        tracemalloc.stop()
    assert len(read_records(tmp_path / "runs" / group.runs[0].digest, CallRecord)) > 5 * problems
    return (at[problems] - at[warm]) / (problems - warm)


def test_memory_does_not_grow_with_the_problems_of_a_run(tmp_path: Path) -> None:
    assert growth(tmp_path, 80, 20) < 2_000  # 16,000 where records stay until the run ends


@pytest.mark.slow
def test_memory_does_not_grow_over_many_problems(tmp_path: Path) -> None:
    assert growth(tmp_path, 1_500, 300) < 300
