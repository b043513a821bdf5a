"""Steps that take long are played in a thread: the event loop stays free, and the records are the same."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from symphony.tasks.mini.mini_code import MiniCode
from symphony.tasks.programs.task import Programs
from symphony.types import State, plays_slowly
from tests.scripted_pool import carry_out, one_group


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the threads in which steps and grades of mini_code are made from now on, as if they took long."""
    found: list[str] = []
    step, grade = MiniCode.step, MiniCode.grade

    def noted(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            found.append(threading.current_thread().name.partition("_")[0])
            return function(*arguments)

        return call

    monkeypatch.setattr(MiniCode, "slow_steps", True, raising=False)
    monkeypatch.setattr(MiniCode, "step", noted(step))
    monkeypatch.setattr(MiniCode, "grade", noted(grade))
    return found


@pytest.mark.parametrize("experiment", ["symphony", "search=symphony_parallel", "lats", "best_of_n"])
def test_a_run_with_slow_steps_leaves_the_records_of_one_without(
    experiment: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    experiment, *overrides = ["symphony", experiment] if "=" in experiment else [experiment]
    group = one_group(experiment, "problems=4", "budget.problem.tokens=3000", *overrides, task="mini_code")
    quick = carry_out(group, tmp_path / "quick")
    threads = request.getfixturevalue("threads")
    assert carry_out(group, tmp_path / "slow") == quick
    assert set(threads) == {"outside"}


def test_a_failing_step_ends_the_run_as_it_does_without_a_thread(
    tmp_path: Path, threads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: MiniCode, state: State, action: str) -> State:
        raise RuntimeError("broken step")

    monkeypatch.setattr(MiniCode, "step", broken)
    with pytest.raises(RuntimeError, match="broken step"):
        carry_out(one_group("symphony", "problems=1", task="mini_code"), tmp_path)


def test_programs_have_slow_steps_and_generated_tasks_have_not(tmp_path: Path) -> None:
    assert Programs(dataset="mbpp_py", count=1, data=tmp_path).slow_steps
    assert not plays_slowly(MiniCode(count=1, seed=0))
