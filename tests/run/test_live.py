"""live.json: what a group at work writes about its runs, and what it leaves behind."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from symphony.models.scripted import ScriptedBackend
from symphony.plan.model_spec import ModelSpec
from symphony.plan.specs import Group
from symphony.run import live
from symphony.run.live import GroupState, Live
from symphony.run.runner import Place, Unanswered, run_group
from symphony.types import Completion, Proposal, Request, SymphonyError
from tests.scripted_pool import Silent, answer, backend, one_group


@cache
def group() -> Group:
    return one_group("symphony", "problems=1")


class Watched(ScriptedBackend):
    """Answers when the file has been renewed, and keeps what it says."""

    def __init__(self, spec: ModelSpec, path: Path, seen: list[GroupState]) -> None:
        super().__init__(answer, revision=str(spec.settings["path"]))
        self.path, self.seen = path, seen

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        begun = self.seen[-1].beat if self.seen else 0
        until = time.monotonic() + 10
        while time.monotonic() < until:
            state = live.read(self.path)
            if state is not None and state.beat >= begun + 2:  # the one before may have been composed earlier
                self.seen.append(state)
                break
            time.sleep(0.001)
        return super().generate(requests)


def test_a_group_at_work_says_how_its_runs_do_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PERIOD_S", 0.005)
    two, place, seen = one_group("symphony", "problems=2"), Place(outputs=tmp_path), list[GroupState]()
    path = place.group(two) / live.LIVE
    run_group(two, place, Silent(), lambda spec: Watched(spec, path, seen))
    (run,) = seen[-1].runs
    assert (run.run, run.state, run.problems) == (two.runs[0].digest, "running", 2)
    assert sum(run.calls.values()) > 0
    assert 0 < run.generated <= run.tokens
    assert [state.beat for state in seen] == sorted(state.beat for state in seen)
    assert not path.exists()


def test_a_run_without_answers_leaves_its_reason(tmp_path: Path) -> None:
    def mute(request: Request) -> str:
        raise SymphonyError("no weights")

    place = Place(outputs=tmp_path)
    with pytest.raises((SymphonyError, Unanswered)):
        run_group(group(), place, Silent(), lambda spec: ScriptedBackend(mute, revision="x"))
    state = live.read(place.group(group()) / live.LIVE)
    assert state is not None
    assert state.ended == "no weights"
    run_group(group(), place, Silent(), backend)
    assert live.read(place.group(group()) / live.LIVE) is None


def test_a_file_that_cannot_be_written_stops_no_run(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    (place.group(group()) / live.LIVE / "in the way").mkdir(parents=True)
    run_group(group(), place, Silent(), backend)
    assert (place.group(group()) / "done.json").is_file()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"group": "x"}', '{"runs": [{"run": 1}]}', '{"runs": 3}'])
def test_a_file_that_is_half_written_or_of_another_version_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / live.LIVE).write_text(content)
    assert live.read(tmp_path / live.LIVE) is None


class Session:
    """A problem in flight with answers of one agent."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = list(texts)

    @property
    def calls(self) -> list[Any]:
        return [
            SimpleNamespace(agent="llama", error=None, completion_tokens=5, phase="expand", text=text)
            for text in self.texts
        ]

    @property
    def timings(self) -> list[Any]:
        return [SimpleNamespace(from_store=False) for _ in self.texts]


def looked(texts: Sequence[Sequence[str]]) -> list[live.RunState]:
    """What is seen of a run at each of several looks; its only problem has these answers by then."""
    run = group().runs[0]
    session = Session([])

    def parse(text: str) -> Proposal | None:
        return Proposal(thought="", action=text) if text == "go" else None

    driver: Any = SimpleNamespace(
        run=run,
        open=[session],
        calls=SimpleNamespace(asked=Counter(), failed=0),
        meter=SimpleNamespace(tokens=0, money=0.0),
        done=0,
        solved=0,
        generated_tokens=0,
        parse=parse,
        share=lambda: 0.0,
    )
    look, states = live._Look(run), []
    look.driver = driver
    for some in texts:
        session.texts += some
        states.append(look.now())
    return states


def test_answers_without_an_action_count_in_a_row_and_an_action_begins_anew() -> None:
    states = looked([["x", "y"], ["z"], ["go"], ["x"]])
    assert [state.misses["llama"] for state in states] == [2, 3, 0, 1]


def test_agents_that_were_not_asked_are_named_too() -> None:
    (state,) = looked([["x", "y"]])
    assert state.calls == {"llama": 2, "qwen3": 0, "neox": 0}
    assert state.generated == 10


def test_a_run_is_idle_since_its_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([float(second) for second in range(0, 1000, 10)])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    states = looked([["x"], [], [], ["y"]])
    assert [state.idle_s for state in states] == [0, 10, 20, 0]


def test_a_gpu_is_told_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, Some GPU, 87 %, 1 MiB, 2 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert live._gpus() == ["0, Some GPU, 87 %, 1 MiB, 2 MiB"]
    program.write_text("#!/bin/sh\nexit 9\n")
    assert live._gpus() == []


def test_the_last_version_says_why_the_group_ended(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Live(tmp_path / live.LIVE, group(), group().runs, gpus=lambda: []):
        raise KeyboardInterrupt
    state = live.read(tmp_path / live.LIVE)
    assert state is not None
    assert state.ended == "it was stopped"
    assert replace(state.runs[0], seconds=0) == state.runs[0]
    assert json.loads((tmp_path / live.LIVE).read_text())["pid"] > 0
