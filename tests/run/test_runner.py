"""Runs: all or nothing, equal when repeated, resumed or replayed, and graded once."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import pytest

from symphony.models.scripted import ScriptedBackend
from symphony.plan.model_spec import ModelSpec
from symphony.records.records import (
    AnswerRecord,
    CallRecord,
    ProblemRecord,
    RunRecord,
    WallRecord,
    is_complete,
    read_records,
)
from symphony.run.progress import Bar, Lines, watch
from symphony.run.runner import Place, run_group
from symphony.types import SymphonyError, Task
from tests.scripted_pool import Silent, backend, carry_out, one_group, records

EXPERIMENTS = ("symphony", "uniform", "no_memory", "no_emcs", "lats", "react", "best_of_n")


@pytest.mark.parametrize("task", ["gridworld", "mini_qa", "mini_shop", "mini_code"])
def test_the_same_run_twice_is_byte_identical(task: str, tmp_path: Path) -> None:
    group = one_group("symphony", "problems=3", task=task)
    first = carry_out(group, tmp_path / "a")
    assert first == carry_out(group, tmp_path / "b")
    assert len(first) > 5


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_method_leaves_complete_records_whose_sums_agree(experiment: str, tmp_path: Path) -> None:
    group = one_group(experiment, "problems=2", "budget.problem.tokens=3000")
    carry_out(group, tmp_path)
    folder = tmp_path / "runs" / group.runs[0].digest
    calls = read_records(folder, CallRecord)
    for problem in read_records(folder, ProblemRecord):
        own = [call for call in calls if call.problem == problem.problem]
        assert problem.calls == len(own) > 0
        assert problem.prompt_tokens == sum(call.prompt_tokens for call in own)
        assert problem.completion_tokens == sum(call.completion_tokens for call in own)


@pytest.mark.parametrize("limit", ["calls", "tokens"])
def test_a_run_with_less_to_spend_ends_as_the_prefixes_of_a_longer_one_say(limit: str, tmp_path: Path) -> None:
    """Cut for real, over the call store of the longer run; a call whose own limit had to be cut is asked anew."""
    whole = one_group("symphony", "problems=4", "feedback=none")
    carry_out(whole, tmp_path)
    answers = read_records(tmp_path / "runs" / whole.runs[0].digest, AnswerRecord)
    for spend in {"calls": (1, 9, 20, 31), "tokens": (500, 1500, 3000, 5999)}[limit]:
        overrides = ("problems=4", "feedback=none", f"budget.problem.{limit}={spend}")
        cut = one_group("symphony", *overrides)
        carry_out(cut, tmp_path)
        for problem in read_records(tmp_path / "runs" / cut.runs[0].digest, ProblemRecord):
            own = [one for one in answers if one.problem == problem.problem and getattr(one, limit) <= spend]
            assert (problem.answer_node, problem.success, problem.score) == (
                own[-1].node,
                own[-1].success,
                own[-1].score,
            )


def test_a_run_says_where_it_came_from(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=2")
    carry_out(group, tmp_path)
    (run,) = read_records(tmp_path / "runs" / group.runs[0].digest, RunRecord)
    assert (run.experiment, run.task, run.pool, run.seed) == ("symphony", "mini_qa", "embedded_trio", 0)
    assert (run.search, run.scheduler, run.scorer, run.memory) == ("symphony", "ucb", "emcs", "fifo")
    assert (run.call_limit, run.token_limit) == (None, 6000)
    assert run.agents == ["llama", "qwen3", "neox"]
    assert set(json.loads(run.models)) == set(run.agents)
    assert json.loads(run.versions)["torch"]
    assert run.commit
    assert run.hardware
    assert run.prompts
    assert run.dataset


def test_the_number_of_problems_in_flight_changes_no_record(tmp_path: Path) -> None:
    many = one_group("symphony", "problems=4", "execution.in_flight=4")
    one = one_group("symphony", "problems=4", "execution.in_flight=1")
    assert many.name == one.name
    assert carry_out(many, tmp_path / "many") == carry_out(one, tmp_path / "one")


def test_a_complete_run_is_skipped(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=2")
    carry_out(group, tmp_path)

    def refuse(spec: ModelSpec) -> ScriptedBackend:
        raise AssertionError("a model was asked for")

    run_group(group, Place(outputs=tmp_path), Silent(), refuse)


def test_what_another_experiment_paid_for_is_not_generated_again(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=2")
    carry_out(group, tmp_path)
    twin = one_group("symphony", "problems=2", "task.max_steps=9", "budget.run.calls=100000")
    assert twin.runs[0].digest != group.runs[0].digest
    carry_out(twin, tmp_path)
    (wall,) = read_records(tmp_path / "runs" / twin.runs[0].digest, WallRecord)
    assert wall.generated_tokens == 0


def test_replay_touches_no_model_and_leaves_the_same_records(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=2")
    before = carry_out(group, tmp_path)
    replayed = one_group("symphony", "problems=2", "execution.store=replay")
    for folder in (tmp_path / "runs").iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    asked: list[ScriptedBackend] = []

    def watched(spec: ModelSpec) -> ScriptedBackend:
        asked.append(backend(spec))
        return asked[-1]

    run_group(replayed, Place(outputs=tmp_path), Silent(), watched)
    assert records(tmp_path / "runs") == before
    assert not any(one.calls for one in asked)


def test_replay_without_a_store_says_which_call_is_missing(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=2", "execution.store=replay")
    with pytest.raises(SymphonyError, match="allowed in mode replay: stored calls only"):
        carry_out(group, tmp_path)
    assert not is_complete(tmp_path / "runs" / group.runs[0].digest)


def test_scope_run_carries_arms_and_lessons_from_problem_to_problem(tmp_path: Path) -> None:
    fresh = one_group("symphony", "problems=3", "search.n=2")
    carried = one_group("symphony", "problems=3", "search.n=2", "memory.scope=run", "scheduler.scope=run")
    carry_out(fresh, tmp_path)
    carry_out(carried, tmp_path)

    def first_counts(digest: str) -> list[list[int]]:
        lines = (tmp_path / "runs" / digest / "picks.jsonl").read_text().splitlines()
        return [json.loads(line)["counts"] for line in lines if json.loads(line)["pick"] == 0]

    assert first_counts(fresh.runs[0].digest) == [[0, 0, 0]] * 3
    counts = [sum(one) for one in first_counts(carried.runs[0].digest)]
    assert counts[0] == 0
    assert counts[0] < counts[1] < counts[2]


def test_each_answer_of_a_problem_is_graded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from symphony.tasks.mini.mini_qa import MiniQA

    graded: list[str] = []
    truth = MiniQA.grade

    def counted(self: MiniQA, problem: object, state: object) -> object:
        graded.append(problem.id)  # type: ignore[attr-defined]
        return truth(self, problem, state)  # type: ignore[arg-type]

    monkeypatch.setattr(MiniQA, "grade", counted)
    group = one_group("symphony", "problems=3")
    carry_out(group, tmp_path)
    answers = read_records(tmp_path / "runs" / group.runs[0].digest, AnswerRecord)
    assert len(graded) == len({(answer.problem, answer.node) for answer in answers}) > 3


def test_missing_weights_are_named_before_anything_is_written(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=2", "pool.agents.llama.path=package:embedded/weights/nothing")
    with pytest.raises(SymphonyError, match="embedded/weights/nothing: found no such folder"):
        run_group(group, Place(outputs=tmp_path), Silent())
    assert not list((tmp_path / "runs").glob("*"))


def test_a_full_disk_is_one_clear_error_and_leaves_no_run(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=2", "execution.store=live")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(SymphonyError, match="nothing was kept"):
            carry_out(group, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not list((tmp_path / "runs").iterdir())
    assert not (tmp_path / "groups" / group.name / "done.json").exists()


def test_off_a_terminal_progress_is_one_line_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    group = one_group("symphony", "problems=2")
    run_group(group, Place(outputs=tmp_path), Lines(sys.stderr), backend)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mini_qa symphony seed 0: 2/2 problems, success ")


def test_on_a_terminal_progress_is_a_bar_with_success_and_speed(tmp_path: Path) -> None:
    import io

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    bar = watch(stream)
    assert isinstance(bar, Bar)
    with bar:
        run_group(one_group("symphony", "problems=2"), Place(outputs=tmp_path), bar, backend)
    assert "2/2" in stream.getvalue()
    assert "success" in stream.getvalue()


def test_every_task_is_a_task() -> None:
    from symphony.plan.specs import build

    for name in ("gridworld", "mini_qa", "mini_shop", "mini_code"):
        task: Task = build(one_group("react", "problems=2", task=name).runs[0].config).task
        assert task.name == name
