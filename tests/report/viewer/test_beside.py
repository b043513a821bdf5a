"""Trees that other processes write: the same bytes, and the same one error."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import pytest

from symphony.records.prompts import PROMPTS
from symphony.report.study import open_study
from symphony.report.viewer import beside
from symphony.types import SymphonyError
from tests.report.conftest import synthetic_run
from tests.report.viewer.conftest import publish


@pytest.fixture
def trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pages of three runs, written by this process; from here on, two more would share them."""
    made = publish(tmp_path, [synthetic_run(name) for name in ("symphony", "uniform", "lats")])
    monkeypatch.setattr(beside, "_LARGE", 1)
    monkeypatch.setattr(beside, "usable_cores", lambda: 3)
    return made


def write_again(trees: Path, folder: Path) -> Path:
    database = trees.parent / "records.duckdb"
    with open_study(database) as study, beside.trees_beside(study, database, trees.parents[1] / "runs", folder):
        pass
    return folder


@pytest.mark.slow
def test_processes_beside_write_the_same_bytes(trees: Path, tmp_path: Path) -> None:
    again = write_again(trees, tmp_path / "again")
    files = sorted(path.relative_to(trees) for path in trees.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((trees / name).read_bytes() == (again / name).read_bytes() for name in files)


@pytest.mark.slow
def test_what_a_process_beside_refuses_is_told_in_its_words(trees: Path, tmp_path: Path) -> None:
    prompts = trees.parents[1] / "runs" / "lats-gridworld-1" / PROMPTS
    prompts.write_bytes(gzip.compress(b"no prompt"))
    with pytest.raises(SymphonyError, match=r"prompts\.jsonl\.gz: found .*, allowed: the prompts of a finished run"):
        write_again(trees, tmp_path / "again")


@pytest.mark.slow
def test_a_folder_that_vanishes_is_told_as_the_system_says_it(trees: Path, tmp_path: Path) -> None:
    database, folder = trees.parent / "records.duckdb", tmp_path / "again"
    with (
        open_study(database) as study,
        pytest.raises(FileNotFoundError),
        beside.trees_beside(study, database, trees.parents[1] / "runs", folder),
    ):
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("cores", "nodes", "parts"),
    [
        (0, {"a": 10**6}, []),
        (1, {"a": 49_999}, []),
        (1, {"a": 60_000, "b": 1}, [["a", "b"]]),
        (2, {"a": 90_000, "b": 60_000, "c": 50_000}, [["a"], ["b", "c"]]),
        (3, {"a": 10**6}, [["a"]]),
    ],
)
def test_runs_are_shared_by_their_nodes(cores: int, nodes: dict[str, int], parts: list[list[str]]) -> None:
    identities = [{"run": run} for run in nodes]
    shared = beside._parts(identities, nodes, cores)
    assert [[identity["run"] for identity in part] for part in shared] == parts
