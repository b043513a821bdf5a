"""Whole runs by pools with API agents: faults of every kind, replay, mixed pools."""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symphony.budget import read_ledger
from symphony.config import plan
from symphony.database import load, reading
from symphony.models.scripted import ScriptedBackend
from symphony.models.store import CallStore
from symphony.progress import Counts
from symphony.records import CallRecord, ProblemRecord, TimingRecord, read_records
from symphony.runner import Place, run_group
from symphony.runs import Group, ModelSpec, groups
from symphony.types import SymphonyError
from tests.scripted_pool import CONF, Silent, records
from tests.scripted_pool import answer as scripted
from tests.stub_server import Asked, Reply, StubServer, said

CANARY = "sk-canary-0123456789abcdefghijklmnopqrstuvwxyz"
QUICK = {"pause_s": 0.001, "pause_max_s": 0.002, "timeout_s": 0.5, "retries": 5, "breaker_pause_s": 0.01}


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("OPENAI_"):
            monkeypatch.delenv(name)


def talk(asked: Asked) -> str:
    """Valid texts for whatever the phase, drawn from what was asked."""
    rng = random.Random(hashlib.sha256(json.dumps(asked.body, sort_keys=True).encode()).digest())
    last = asked.body["messages"][-1]["content"]
    action = rng.choice(["search[Bo]", "lookup[weds]", "finish[Bo]", "finish[Ka]"])
    if "Lesson" in last:
        return f"Lesson: {rng.randrange(1000)} was wrong."
    return f"Thought: {rng.randrange(1000)}.\nAction: {action}\nValue: 0.{rng.randrange(10)} Confidence: 0.5"


def fault(rng: random.Random) -> Reply | None:
    """Three replies in ten are faults, of every kind alike."""
    if rng.random() >= 0.3:
        return None
    kinds = [
        Reply(status=429, headers={"retry-after": "0"}),
        Reply(status=500),
        Reply(status=503, content="x"),
        Reply(delay_s=1.0),
        Reply(content=said("lost"), cut="before"),
        Reply(content=said("lost"), cut="middle"),
        Reply(content="{not json"),
        Reply(content={"choices": []}),
        Reply(content={"choices": said("x")["choices"]}),
        Reply(content=said(None)),
        Reply(content=said("x", prompt=-4)),
        Reply(status=400, content={"error": {"message": "no"}}),
    ]
    return rng.choice(kinds)


def api_group(tmp_path: Path, url: str, *overrides: str, local: bool = False, **settings: Any) -> Group:
    """SYMPHONY on mini_qa by two API agents, or by one beside a local one."""
    agent = {"_target_": "symphony.models.api.APIModel", "base_url": url, **QUICK, **settings}
    conf = tmp_path / "conf"
    if not conf.exists():
        conf.mkdir()
        for path in CONF.iterdir():
            if path.name not in ("pool", "model"):
                (conf / path.name).symlink_to(path)
        (conf / "pool").mkdir()
        (conf / "model").symlink_to(CONF / "model")
    agents = {"one": {"model": "one", **agent}, "two": {"model": "two", **agent}}
    if local:
        agents["one"] = {"_target_": "symphony.models.hf.HFBackend", "path": "package:embedded/weights/llama"}
    (conf / "pool" / "api.yaml").write_text(json.dumps({"agents": agents}))
    given = ("tasks=[mini_qa]", "seeds=[0]", "pool=api", *overrides)
    (group,) = groups(plan("quickstart", given, experiment="symphony", conf=conf))
    return group


def carry_out(group: Group, outputs: Path) -> Path:
    run_group(group, Place(outputs=outputs), Silent())
    return outputs / "runs" / group.runs[0].digest


def named(asked: Asked) -> str:
    return json.dumps(asked.body, sort_keys=True)


def test_a_run_against_an_endpoint_with_every_fault_ends_with_an_exact_ledger(tmp_path: Path) -> None:
    rng = random.Random(5)
    answered: collections.Counter[str] = collections.Counter()
    faults = 0

    def script(asked: Asked) -> Any:
        nonlocal faults
        reply = fault(rng)
        faults += reply is not None
        sent = Reply(content=said(talk(asked))) if reply is None else reply
        if sent.status == 200 and not sent.cut and not sent.delay_s:
            answered[named(asked)] += 1  # usable or not, it was answered
        return sent

    with StubServer(script) as server:
        group = api_group(tmp_path, server.url, "problems=6", "budget.problem.tokens=400")
        folder = carry_out(group, tmp_path / "out")
    problems = read_records(folder, ProblemRecord)
    calls = read_records(folder, CallRecord)
    assert len(problems) == 6
    assert all(problem.stop_reason for problem in problems)
    assert 0.2 < faults / len(server.asked) < 0.4
    assert max(answered.values()) == 1
    errors = [call.error for call in calls if call.error is not None]
    assert errors
    assert {error.partition(":")[0] for error in errors} <= {"timeout", "connection", "status", "reply", "breaker"}
    assert len(calls) - len(errors) > 50
    load(tmp_path / "db.duckdb", [folder])  # checks the sums
    with reading(tmp_path / "db.duckdb") as connection:
        (failed,) = connection.execute("SELECT sum(errors) FROM problems").fetchone()
    assert failed == len(errors)


def test_a_dead_endpoint_ends_every_problem_with_a_reason(tmp_path: Path) -> None:
    with StubServer(lambda _: Reply(status=503)) as server:
        folder = carry_out(api_group(tmp_path, server.url, "problems=5", retries=0), tmp_path / "out")
    assert {problem.stop_reason for problem in read_records(folder, ProblemRecord)} == {"error"}
    assert all(call.error for call in read_records(folder, CallRecord))


def test_a_run_is_replayed_without_network_and_key_and_leaves_the_same_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", CANARY)
    with StubServer(lambda asked: said(talk(asked))) as server:
        group = api_group(tmp_path, server.url, "problems=3", key_env="SOME_KEY")
        before = records(carry_out(group, tmp_path / "out"))
    monkeypatch.delenv("SOME_KEY")
    again = api_group(tmp_path, server.url, "problems=3", "execution.store=replay", key_env="SOME_KEY")
    assert again.runs[0].digest == group.runs[0].digest
    (tmp_path / "out" / "runs").rename(tmp_path / "before")
    folder = carry_out(again, tmp_path / "out")
    assert records(folder) == before
    assert all(timing.from_store for timing in read_records(folder, TimingRecord))
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes()


def test_an_interrupted_run_asks_for_nothing_again_that_was_stored(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job is born deaf to it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    class Interrupted(Silent):
        def _show(self, run: Counts, ended: bool) -> None:
            signal.raise_signal(signal.SIGINT)

    def stored(group: Group) -> int:
        with CallStore(tmp_path / "out" / "calls" / f"{group.store}.sqlite") as store:
            return len(store)

    with StubServer(lambda asked: said(talk(asked))) as server:
        group = api_group(tmp_path, server.url, "problems=4")
        with pytest.raises(KeyboardInterrupt):
            run_group(group, Place(outputs=tmp_path / "out"), Interrupted())
        paid, kept = len(server.asked), stored(group)
        carry_out(group, tmp_path / "out")
        assert len(server.asked) - paid == stored(group) - kept > 0
    assert kept > 5


# ------------------------------------------------------------------ money

PRICE = {"prompt": 2.0, "cached": 0.5, "completion": 10.0}
DETAILS = {"prompt_tokens_details": {"cached_tokens": 4}}
DOLLARS = ((7 - 4) * 2.0 + 4 * 0.5 + 3 * 10.0) / 1e6
"""Of one call of the stub server: 7 prompt tokens, 4 of them cached, and 3 completion tokens."""


def test_the_ledgers_cost_is_the_sum_computed_by_hand_and_failed_calls_cost_what_they_used(tmp_path: Path) -> None:
    def script(asked: Asked) -> Any:
        match asked.number % 7:
            case 5:
                return said(None, **DETAILS)  # unusable, but paid for
            case 6:
                return Reply(status=400)  # refused, and not paid for
        return said(talk(asked), **DETAILS)

    with StubServer(script) as server:
        group = api_group(tmp_path, server.url, "problems=3", price=PRICE)
        folder = carry_out(group, tmp_path / "out")
    calls = read_records(folder, CallRecord)
    for call in calls:
        paid = call.error is None or call.error.startswith("reply")
        assert call.cost == pytest.approx(DOLLARS if paid else 0.0)
    for problem in read_records(folder, ProblemRecord):
        paid_calls = sum(
            call.problem == problem.problem and not (call.error or "").startswith("status") for call in calls
        )
        assert problem.cost == pytest.approx(paid_calls * DOLLARS)
    assert any(call.error and call.cost for call in calls)
    assert any(call.error and not call.cost for call in calls)
    asked = read_ledger(Place(outputs=tmp_path / "out").ledger("quickstart"))
    assert sum(spent.money or 0.0 for spent in asked) == pytest.approx(sum(call.cost or 0.0 for call in calls))
    load(tmp_path / "db.duckdb", [folder])  # checks the sums


def test_an_unknown_price_is_an_unknown_cost_and_never_0(tmp_path: Path) -> None:
    with StubServer(lambda asked: said(talk(asked))) as server:
        folder = carry_out(api_group(tmp_path, server.url, "problems=1", price={"prompt": 1.0}), tmp_path / "out")
    assert {call.cost for call in read_records(folder, CallRecord)} == {None}
    assert {problem.cost for problem in read_records(folder, ProblemRecord)} == {None}
    load(tmp_path / "db.duckdb", [folder])


@pytest.mark.parametrize("scope", ["problem", "run", "study"])
def test_a_limit_of_money_refuses_an_agent_of_unknown_price_by_its_key(scope: str, tmp_path: Path) -> None:
    told = rf"pool\.agents\.one\.price\.completion: found no price, allowed: .* because budget\.{scope}\.money is set"
    with pytest.raises(SymphonyError, match=told):
        api_group(tmp_path, "http://127.0.0.1:9/v1", f"budget.{scope}.money=1", price={"prompt": 1.0})


def test_a_problem_exceeds_its_money_by_its_calls_in_flight_at_most(tmp_path: Path) -> None:
    limit = 10 * DOLLARS
    with StubServer(lambda asked: said(talk(asked), **DETAILS)) as server:
        overrides = ("problems=4", "budget.problem.tokens=null", f"budget.problem.money={limit}")
        folder = carry_out(api_group(tmp_path, server.url, *overrides, price=PRICE), tmp_path / "out")
    problems = read_records(folder, ProblemRecord)
    stopped = [problem for problem in problems if problem.stop_reason == "money"]
    assert stopped
    assert all(limit <= (problem.cost or 0.0) < limit + 4 * DOLLARS for problem in stopped)  # n = 4 at once
    assert all((problem.cost or 0.0) < limit + 4 * DOLLARS for problem in problems)


def test_a_limit_of_money_makes_the_price_a_part_of_a_runs_name_and_nothing_else_does(tmp_path: Path) -> None:
    def named(*overrides: str, completion: float = 10.0) -> str:
        group = api_group(tmp_path, "http://127.0.0.1:9/v1", *overrides, price={**PRICE, "completion": completion})
        return group.runs[0].digest

    assert named() == named(completion=11.0)
    for scope in ("problem", "run", "study"):
        limited = f"budget.{scope}.money=1"
        assert len({named(), named(limited), named(limited, completion=11.0)}) == 3


def test_a_study_that_spends_its_money_is_cut_and_pays_nothing_twice(tmp_path: Path) -> None:
    overrides = ("problems=4", f"budget.study.money={40 * DOLLARS}")
    with StubServer(lambda asked: said(talk(asked), **DETAILS)) as server:
        group = api_group(tmp_path, server.url, *overrides, price=PRICE)
        folder = carry_out(group, tmp_path / "out")
        asked = len(server.asked)
        assert 40 <= asked < 40 + 4 * 4
        assert "study_money" in {problem.stop_reason for problem in read_records(folder, ProblemRecord)}
        before = records(folder)
        (tmp_path / "out" / "runs").rename(tmp_path / "before")
        assert records(carry_out(group, tmp_path / "out")) == before
        assert len(server.asked) == asked
    spent = read_ledger(Place(outputs=tmp_path / "out").ledger("quickstart"))
    assert sum(one.money or 0.0 for one in spent) == pytest.approx(asked * DOLLARS)


def test_a_missing_key_stops_a_run_before_any_endpoint_is_asked(tmp_path: Path) -> None:
    with StubServer(lambda asked: said(talk(asked))) as server:
        group = api_group(tmp_path, server.url, "problems=2", "search.n=1")  # the first call is agent one's
        config = json.loads(json.dumps(group.runs[0].config))
        config["pool"]["agents"][1]["key_env"] = "ABSENT_KEY"
        lacking = replace(group, runs=(replace(group.runs[0], config=config),))
        with pytest.raises(SymphonyError, match="found no ABSENT_KEY in the environment"):
            carry_out(lacking, tmp_path / "out")
        assert server.asked == []


def test_a_pool_mixes_local_and_remote_agents(tmp_path: Path) -> None:
    threads = set()

    class Local(ScriptedBackend):
        def generate(self, requests: Any) -> Any:
            threads.add(threading.current_thread() is threading.main_thread())
            return super().generate(requests)

    def make(spec: ModelSpec) -> Any:
        return spec.build(Path()) if spec.is_endpoint else Local(scripted)

    with StubServer(lambda asked: said(talk(asked))) as server:
        group = api_group(tmp_path, server.url, "problems=3", local=True)
        run_group(group, Place(outputs=tmp_path / "out"), Silent(), make)
    calls = read_records(tmp_path / "out" / "runs" / group.runs[0].digest, CallRecord)
    assert {call.agent for call in calls} == {"one", "two"}
    assert not any(call.error for call in calls)
    assert threads == {False}  # else its batches would hold up the answers of the endpoint


def test_settings_out_of_range_are_told_when_a_study_is_planned(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match=r"pool\.agents\.one: model\.retries: found -1"):
        api_group(tmp_path, "http://127.0.0.1:9/v1", retries=-1)
