"""Whole runs by a tiny GGUF model: searched, stored, replayed, planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.forecast.doctor import _weights
from symphony.forecast.estimate import memory
from symphony.models.gguf.files import MODELS_VARIABLE, file_sha256
from symphony.plan.compose import plan
from symphony.plan.model_spec import NotThere, models
from symphony.plan.specs import Run, groups
from symphony.records.records import CallRecord, ProblemRecord, TimingRecord, read_records
from symphony.run.pools import PoolFactory
from symphony.run.progress import watch
from symphony.run.runner import Place, run_group
from symphony.types import SymphonyError
from tests.own_pool import conf_with

TARGET = "symphony.models.gguf.backend.GGUFBackend"


def planned(tmp_path: Path, file: Path, *overrides: str, **settings: object) -> Run:
    agent = {"_target_": TARGET, "path": "model/tiny", "file": file.name, "cells": 4096, "threads": 1, **settings}
    source = {
        "address": "https://example.org",
        "revision": "1",
        "licence": "none",
        "files": {file.name: file_sha256(file)},
    }
    conf = conf_with(tmp_path / "conf", "tiny", {"tiny": {**agent, "source": source}})
    few = ("pool=tiny", "tasks=[mini_qa]", "seeds=[0]", "problems=2", "search.iterations=2", "search.expand_tokens=8")
    (run,) = plan("quickstart", (*few, *overrides), experiment="symphony", conf=conf)
    return run


def carry_out(run: Run, place: Path) -> Path:
    (group,) = groups([run])
    with watch() as progress:
        run_group(group, Place(outputs=place, data=place), progress)
    return Place(outputs=place).run(run)


def test_a_run_is_replayed_without_the_file(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(file.parent))
    folder = carry_out(planned(tmp_path, file), tmp_path / "outputs")
    calls = read_records(folder, CallRecord)
    assert calls
    assert all(call.error is None for call in calls)
    assert sum(timing.cached_tokens for timing in read_records(folder, TimingRecord)) > 0
    monkeypatch.delenv(MODELS_VARIABLE)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for path in (*folder.iterdir(), *(tmp_path / "outputs" / "groups").rglob("done.json")):
        path.unlink()
    folder.rmdir()
    again = carry_out(planned(tmp_path, file, "execution.store=replay"), tmp_path / "outputs")
    assert (again / "calls.jsonl").read_bytes() == before["calls.jsonl"]
    assert (again / "nodes.jsonl").read_bytes() == before["nodes.jsonl"]


def test_a_limit_of_tokens_holds_to_the_token(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(file.parent))
    long = "search.expand_tokens=200"
    whole = read_records(carry_out(planned(tmp_path, file, long), tmp_path / "whole"), ProblemRecord)
    limit = min(one.prompt_tokens + one.completion_tokens for one in whole) * 2 // 3
    run = planned(tmp_path, file, long, f"budget.problem.tokens={limit}")
    for one in read_records(carry_out(run, tmp_path / "outputs"), ProblemRecord):
        assert limit // 2 < one.prompt_tokens + one.completion_tokens <= limit
        assert one.stop_reason == "tokens"


def test_how_the_engine_computes_is_no_part_of_a_runs_name(tmp_path: Path, file: Path) -> None:
    one = planned(tmp_path, file)
    assert planned(tmp_path, file, threads=2, rows=8, chunk=64).digest == one.digest
    assert planned(tmp_path, file, exact=True).digest != one.digest


def test_strict_needs_exact_models(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(file.parent))
    with pytest.raises(SymphonyError, match=r"execution\.store: found strict .*`exact: true`"):
        carry_out(planned(tmp_path, file, "execution.store=strict"), tmp_path / "outputs")


def test_an_exact_run_is_the_same_again(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(file.parent))
    settings = {"exact": True}
    folder = carry_out(planned(tmp_path, file, **settings), tmp_path / "outputs")
    for path in (*folder.iterdir(), *(tmp_path / "outputs" / "groups").rglob("done.json")):
        path.unlink()
    folder.rmdir()
    carry_out(planned(tmp_path, file, "execution.store=strict", **settings), tmp_path / "outputs")


def test_a_missing_file_names_its_command_and_is_planned_from_its_option(tmp_path: Path, file: Path) -> None:
    takes = {"weights": 4_000_000_000, "parameters": 7_000_000_000, "cache_per_token": 131072}
    run = planned(tmp_path, file, takes=takes)
    (spec,) = models(run.config).values()
    with pytest.raises(NotThere, match="get it with `symphony fetch model/tiny`"):
        spec.folder(tmp_path)
    lines: list[str] = []
    memory([run], tmp_path, [16e9], 4096, lines.append)
    assert any("counted as `takes` in its option says" in line for line in lines)
    assert any("weights 4.0 GB" in line for line in lines)


@pytest.mark.parametrize("takes", [{}, {"weights": 1}, {"weights": 1, "parameters": 1, "cache_per_token": 0}])
def test_what_a_model_takes_is_said_whole(takes: dict[str, int], tmp_path: Path, file: Path) -> None:
    with pytest.raises(SymphonyError, match="takes: found"):
        models(planned(tmp_path, file, takes=takes).config)


def test_a_footprint_is_read_from_the_file(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(file.parent))
    (spec,) = models(planned(tmp_path, file).config).values()
    found = spec.footprint(tmp_path)
    assert found.weights == file.stat().st_size
    assert found.cache_per_token == 2 * 2 * 2 * 16 * 2  # keys and values, layers, heads, head size, bytes


@pytest.mark.parametrize("wrong", [{"cells": 100}, {"rows": 300}, {"chunk": 8}, {"gpu_layers": -5}, {"cells": 2**32}])
def test_a_setting_out_of_its_range_is_told_before_anything_is_loaded(wrong, tmp_path: Path, file: Path) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(SymphonyError, match=rf"pool\.agents\.tiny.*{name}: found '?{value}"):
        planned(tmp_path, file, **wrong)


def test_memory_is_counted_with_the_caches_of_all_that_are_loaded(tmp_path: Path, file: Path, monkeypatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(file.parent))
    run = planned(tmp_path, file)
    (spec,) = models(run.config).values()
    found = spec.footprint(tmp_path)
    whole = found.weights + 4096 * found.cache_per_token
    with PoolFactory(None, tmp_path, memory_gb=whole / 1e9) as factory:
        need = factory._need(spec)
    assert (need.weights, need.cache) == (whole, 0)


def test_a_file_in_a_folder_of_the_users_own_is_not_to_be_downloaded(tmp_path: Path, file: Path, monkeypatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(file.parent))
    (spec,) = models(planned(tmp_path, file).config).values()
    assert _weights(spec, tmp_path) == (True, f"present: {file}", "")


def test_two_checksums_that_differ_are_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(SymphonyError, match=r"sha256: found '0{64}', allowed: the one in its source"):
        models(planned(tmp_path, file, sha256="0" * 64).config)
