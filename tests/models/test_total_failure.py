"""A run in which no model answered is no measurement: it is told, it is not done, and it is asked again."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.models.scripted import ScriptedBackend
from symphony.plan.model_spec import ModelSpec
from symphony.plan.specs import Group, freeze, groups
from symphony.records.records import CallRecord, ProblemRecord, is_complete, read_records
from symphony.run import runner
from symphony.run.progress import Bar, Calls, Counts, Lines, Made
from symphony.run.runner import Place, Unanswered, run_group
from symphony.types import Completion, Request
from tests.models.test_api_runs import DETAILS, DOLLARS, PRICE, api_group, talk
from tests.scripted_pool import CONF, Silent, backend, one_group
from tests.stub_server import Asked, Reply, StubServer, said

REPLIES = {
    "401": Reply(status=401, content={"error": {"message": "no such key [/red]"}}),
    "500": Reply(status=500),
    "404": Reply(status=404, content="x"),
    "malformed": Reply(content="{not json"),
    "no text": Reply(content=said(None)),
    "cut": Reply(content=said("lost"), cut="before"),
}


def command(group: Group, outputs: Path) -> int:
    """`symphony run` on a group."""
    plan = freeze(group, outputs / "groups")
    return main(["run", "--group", str(plan.parent), "--outputs", str(outputs)])


@pytest.mark.parametrize("reply", REPLIES)
def test_an_endpoint_that_answers_nothing_is_an_error_and_leaves_no_run(
    reply: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StubServer(lambda _: REPLIES[reply]) as server:
        group = api_group(tmp_path, server.url, "problems=2", retries=0)
        code = command(group, tmp_path / "out")
    told = capsys.readouterr().err
    assert code == 1
    assert list((tmp_path / "out" / "runs").iterdir()) == []
    assert not (tmp_path / "out" / "groups" / group.name / "done.json").exists()
    end, error = told.splitlines()
    assert "no call was answered" in end
    assert "from the store" not in told
    assert "success" not in told
    assert error.startswith("symphony run: not done: mini_qa symphony seed 0: 2 problems got no answer at all, ")


def test_such_a_run_is_asked_again_when_the_endpoint_works(tmp_path: Path) -> None:
    with StubServer(lambda _: Reply(status=500)) as server:
        group = api_group(tmp_path, server.url, "problems=2", retries=0)
        assert command(group, tmp_path / "out") == 1
        server.script = lambda asked: said(talk(asked))
        assert command(group, tmp_path / "out") == 0
    folder = tmp_path / "out" / "runs" / group.runs[0].digest
    assert is_complete(folder)
    assert not any(call.error for call in read_records(folder, CallRecord))


def test_a_dead_agent_beside_a_live_one_is_named_and_the_run_is_not_done_until_it_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_lives(asked: Asked) -> Any:
        return said(talk(asked)) if asked.body["model"] == "one" else Reply(status=500)

    with StubServer(one_lives) as server:
        group = api_group(tmp_path, server.url, "problems=2", retries=0, breaker_failures=1_000)
        folder = tmp_path / "out" / "runs" / group.runs[0].digest
        assert command(group, tmp_path / "out") == 1
        end, error = capsys.readouterr().err.splitlines()
        assert "; two answered none of its 8 calls: status: HTTP 500; 8 of " in end
        assert "success" not in end
        assert error.startswith("symphony run: not done: mini_qa symphony seed 0: two answered none of its 8 calls: ")
        assert not is_complete(folder)
        first = len(server.asked)
        assert command(group, tmp_path / "out") == 1  # still dead: what the other one said is paid for
        assert {asked.body["model"] for asked in server.asked[first:]} == {"two"}
        server.script = lambda asked: said(talk(asked))
        assert command(group, tmp_path / "out") == 0
    assert is_complete(folder)
    assert {call.agent for call in read_records(folder, CallRecord)} == {"one", "two"}


@pytest.mark.parametrize(
    ("calls", "mute", "unmeasured"),
    [
        ([("a", None), ("b", "status: HTTP 500")], ("b",), True),
        ([("a", None), ("b", "status: HTTP 500"), ("b", None)], (), False),
        ([("a", None), ("b", "budget: the study's limit of money is reached")], (), False),
        ([("a", "timeout: x"), ("b", "breaker: not asked")], ("a", "b"), True),
        ([("a", "timeout: x"), ("b", "budget: the study's limit of money is reached")], ("a",), True),
        # Asked again it would refuse them again: the run would never be done.
        ([("a", None), ("b", "prompt: found 906 tokens, allowed: 1 to 767")], ("b",), False),
        ([("a", "prompt: found 906 tokens, allowed: 1 to 767")], ("a",), True),
    ],
)
def test_an_agent_is_mute_where_it_was_asked_and_never_answered(
    calls: list[tuple[str, str | None]], mute: tuple[str, ...], unmeasured: bool
) -> None:
    found = Calls()
    for call in calls:
        found.add([call])
    assert (found.mute, found.unmeasured) == (mute, unmeasured)
    assert all(f"{agent} answered none of its" in found.trouble() for agent in mute if not found.unanswered)


def test_a_body_that_can_not_be_decoded_was_answered_and_is_not_asked_for_again(tmp_path: Path) -> None:
    with StubServer(lambda _: Reply(content=b"no gzip", headers={"content-encoding": "gzip"})) as server:
        group = api_group(tmp_path, server.url, "problems=1", retries=3)
        with pytest.raises(Unanswered, match="8 of 8 calls failed: reply: found a body that is not encoded as"):
            run_group(group, Place(outputs=tmp_path / "out"), Silent())
        assert len(server.asked) == 8


class Dumb:
    """A local model that refuses everything it is asked for one run's temperature, and answers the others."""

    def __init__(self, spec: ModelSpec, refused: float) -> None:
        self._inner, self._refused = backend(spec), refused
        self.revision = self._inner.revision

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        return [self._one(request) for request in requests]

    def _one(self, request: Request) -> Completion:
        if request.sampling.temperature == self._refused:
            return Completion(text="", finish_reason="error", prompt_tokens=0, error="room: found none")
        return self._inner.generate([request])[0]


def test_the_other_runs_of_the_group_are_kept(tmp_path: Path) -> None:
    (dumb,) = one_group("react", "problems=2", "search.temperature=0.3").runs
    (fine,) = one_group("react", "problems=2").runs
    (group,) = groups([dumb, fine])
    place = Place(outputs=tmp_path)
    with pytest.raises(Unanswered, match=r"not done: mini_qa react seed 0: .* failed: room: found none\. A pool is"):
        run_group(group, place, Silent(), lambda spec: Dumb(spec, 0.3))
    assert [is_complete(place.run(run)) for run in (dumb, fine)] == [False, True]
    run_group(group, place, Silent(), backend)
    assert is_complete(place.run(dumb))


def test_a_run_in_which_some_calls_failed_is_kept_and_its_line_counts_them(tmp_path: Path) -> None:
    stream = io.StringIO()
    with StubServer(lambda asked: Reply(status=500) if asked.number % 5 == 4 else said(talk(asked))) as server:
        group = api_group(tmp_path, server.url, "problems=2", retries=0)
        run_group(group, Place(outputs=tmp_path / "out"), Lines(stream))
    folder = tmp_path / "out" / "runs" / group.runs[0].digest
    failed = sum(problem.errors for problem in read_records(folder, ProblemRecord))
    assert failed
    (line,) = stream.getvalue().splitlines()
    assert f"; {failed} of {len(read_records(folder, CallRecord))} calls failed: status: HTTP 500" in line


def test_what_came_from_the_store_is_not_said_where_calls_failed(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    fails = iter([True] + [False] * 10_000)

    def flaky(spec: ModelSpec) -> ScriptedBackend:
        def say(request: Request) -> Completion | str:
            if next(fails):
                return Completion(text="", finish_reason="error", prompt_tokens=0, error="room: found none")
            return str(backend(spec).generate([request])[0].text)

        return ScriptedBackend(say, revision=backend(spec).revision)

    run_group(one_group("react", "problems=1"), place, Silent(), flaky)
    stream = io.StringIO()
    run_group(one_group("react", "problems=1", "budget.run.calls=1000"), place, Lines(stream), backend)
    assert "from the store" not in stream.getvalue()  # the failed call was asked again


def test_a_run_that_the_studys_budget_refused_everything_is_done_and_says_so(tmp_path: Path) -> None:
    """Nobody was asked: the budget is part of the run, and asking again would change nothing."""
    with StubServer(lambda asked: said(talk(asked), **DETAILS)) as server:
        overrides = ("problems=4", f"budget.study.money={DOLLARS}")
        first = api_group(tmp_path, server.url, *overrides, price=PRICE)
        run_group(first, Place(outputs=tmp_path / "out"), Silent())
        asked = len(server.asked)
        second = api_group(tmp_path, server.url, *overrides, "search.temperature=0.9", price=PRICE)
        stream = io.StringIO()
        run_group(second, Place(outputs=tmp_path / "out"), Lines(stream))
        assert len(server.asked) == asked
    problems = read_records(tmp_path / "out" / "runs" / second.runs[0].digest, ProblemRecord)
    assert {problem.stop_reason for problem in problems} == {"study_money"}
    assert "calls failed: budget: the study's limit of money is reached" in stream.getvalue()
    assert "from the store" not in stream.getvalue()


@pytest.mark.parametrize(
    ("errors", "unanswered"),
    [
        ([], False),
        ([None], False),
        ([None, "status: HTTP 500"], False),
        (["status: HTTP 500"], True),
        (["budget: the study's limit of money is reached"], False),
        (["budget: the study's limit of money is reached", "status: HTTP 500"], True),
        (["status: HTTP 500", "breaker: not asked"], True),
    ],
)
def test_a_run_is_unanswered_where_somebody_was_asked_and_nobody_answered(
    errors: list[str | None], unanswered: bool
) -> None:
    calls = Calls()
    calls.add([("a", error) for error in errors])
    calls.add([])  # a problem for which its method asked nothing
    assert calls.unanswered is unanswered


def test_the_reason_is_the_most_frequent_one_that_says_why() -> None:
    calls = Calls()
    timeout = "timeout: no answer within 3 s"
    calls.add([("a", error) for error in ("status: HTTP 500", timeout, timeout, None)])
    calls.add([("a", "breaker: not asked, since 8 calls failed")] * 6)
    assert calls.trouble() == "1 problem got no answer at all, 9 of 10 calls failed: timeout: no answer within 3 s"


def test_reasons_that_name_what_was_asked_are_counted_as_one() -> None:
    calls = Calls()
    errors = ["timeout: no answer"] * 2 + [f"status: HTTP 500: request {number}" for number in range(1_000)]
    calls.add([("a", error) for error in errors])
    assert "status: HTTP 500: request 0" in calls.trouble()


def test_an_endpoints_words_are_no_markup_of_the_bar() -> None:
    stream = io.StringIO()
    with Bar(stream) as bar:
        calls = Calls()
        calls.add([("a", "status: HTTP 500: [/red] [bold")])
        tally: Counts = bar.begin("a run", 1)
        tally.problem(success=False, calls=calls, made=Made())
        tally.end()
        bar.note("[/red]")
    assert "[/red]" in stream.getvalue()


def test_an_error_of_many_runs_names_some() -> None:
    assert str(Unanswered([f"run {number}" for number in range(60)])).startswith(
        "not done: run 0; run 1; run 2; and 57 more runs. "
    )


def test_other_groups_are_carried_out_and_the_exit_code_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    carried = []

    def carry_out(group: Group, *given: object) -> None:
        carried.append(group.name)
        if len(carried) < 3:
            raise Unanswered([f"run {len(carried)}"])

    monkeypatch.setattr(runner, "run_group", carry_out)
    study = ["quickstart", "tasks=[mini_qa]", "--experiment", "react", "--conf", str(CONF)]
    assert main(["run", *study, "seeds=[0,1,2]", "--outputs", str(tmp_path)]) == 1
    assert len(carried) == 3
    assert "symphony run: not done: run 1; run 2. A pool" in capsys.readouterr().err
