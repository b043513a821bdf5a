"""Whole runs by pools with API agents: faults of every kind, replay, mixed pools."""

from __future__ import annotations

import base64
import collections
import gzip
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symphony.agents.ledger import read_ledger
from symphony.models.scripted import ScriptedBackend
from symphony.models.store import CallStore
from symphony.plan.compose import plan
from symphony.plan.model_spec import ModelSpec
from symphony.plan.specs import Group, groups
from symphony.records.database import load, reading
from symphony.records.prompts import PROMPTS
from symphony.records.records import AnswerRecord, CallRecord, ProblemRecord, TimingRecord, read_records
from symphony.report import build
from symphony.run.progress import Counts
from symphony.run.runner import Place, run_group
from symphony.types import SymphonyError
from tests.own_pool import API, conf_with
from tests.scripted_pool import ROOT, Silent, records
from tests.scripted_pool import answer as scripted
from tests.stub_server import Asked, Reply, StubServer, said

CANARY = "sk-canary-0123456789abcdefghijklmnopqrstuvwxyz"
QUICK = {"pause_s": 0.001, "pause_max_s": 0.002, "timeout_s": 0.5, "retries": 5, "breaker_pause_s": 0.01}


def talk(asked: Asked) -> str:
    """Valid texts for whatever the phase, drawn from what was asked."""
    rng = random.Random(hashlib.sha256(json.dumps(asked.body, sort_keys=True).encode()).digest())
    last = asked.body["messages"][-1]["content"]
    action = rng.choice(["search[Bo]", "lookup[weds]", "finish[Bo]", "finish[Ka]"])
    if "Lesson" in last:
        return f"Lesson: {rng.randrange(1000)} was wrong."
    return f"Thought: {rng.randrange(1000)}.\nAction: {action}\nValue: 0.{rng.randrange(10)} Confidence: 0.5"


FAULTS = {
    "429": Reply(status=429, headers={"retry-after": "0"}),
    "500": Reply(status=500),
    "503": Reply(status=503, content="x"),
    "400": Reply(status=400, content={"error": {"message": "no"}}),
    "timeout": Reply(delay_s=2.0),
    "cut before": Reply(content=said("lost"), cut="before"),
    "cut within": Reply(content=said("lost"), cut="middle"),
    "malformed": Reply(content="{not json"),
    "no choices": Reply(content={"choices": []}),
    "no text": Reply(content=said(None, prompt=40)),
    "no usage": Reply(content={"choices": said("x")["choices"]}),
    "wrong usage": Reply(content=said("x", prompt=-4)),
}
TYPED = {"timeout", "connection", "status", "reply", "breaker"}
"""Kinds of errors that an endpoint can cause."""


class Faulty:
    """Three replies in ten are faults, of every kind alike; which ones depends on what is asked, not on when.

    Attributes:
        sent: How often each kind was.
        answered: Requests that an answer arrived for whole, usable or not.
        usable: Those that had a usable one.
        tokens: Prompt and completion tokens that arrived answers told of.
    """

    def __init__(self) -> None:
        self.sent: collections.Counter[str] = collections.Counter()
        self.answered: collections.Counter[str] = collections.Counter()
        self.usable: set[str] = set()
        self.tokens = 0
        self._tries: collections.Counter[str] = collections.Counter()

    def __call__(self, asked: Asked) -> Reply:
        name = named(asked)
        self._tries[name] += 1
        rng = random.Random(f"{name} {self._tries[name]}")
        if rng.random() < 0.3:
            kind = rng.choice(list(FAULTS))
            self.sent[kind] += 1
            if kind in ("malformed", "no choices", "no text", "no usage", "wrong usage"):
                self.answered[name] += 1
                self.tokens += 43 if kind == "no text" else 0
            return FAULTS[kind]
        return self.whole(asked)

    def whole(self, asked: Asked) -> Reply:
        name = named(asked)
        rng = random.Random(name)
        prompt, completion = rng.randrange(20, 60), rng.randrange(1, 20)
        self.answered[name] += 1
        self.usable.add(name)
        self.tokens += prompt + completion
        return Reply(content=said(talk(asked), prompt=prompt, completion=completion))


def api_group(
    tmp_path: Path, url: str, *overrides: str, local: bool = False, third: str = "", **settings: Any
) -> Group:
    """SYMPHONY on mini_qa by two API agents, or by one beside a local one; `third` is where one more is served."""
    agent = {"_target_": API, "base_url": url, **QUICK, **settings}
    agents = {"one": {"model": "one", **agent}, "two": {"model": "two", **agent}}
    if local:
        agents["one"] = {"_target_": "symphony.models.hf.backend.HFBackend", "path": "package:embedded/weights/llama"}
    if third:
        agents["third"] = {"model": "third", **agent, "base_url": third}
    conf = conf_with(tmp_path / "conf", "api", agents)
    given = ("tasks=[mini_qa]", "seeds=[0]", "pool=api", *overrides)
    (group,) = groups(plan("quickstart", given, experiment="symphony", conf=conf))
    return group


def carry_out(group: Group, outputs: Path) -> Path:
    run_group(group, Place(outputs=outputs), Silent())
    return outputs / "runs" / group.runs[0].digest


def named(asked: Asked) -> str:
    return json.dumps(asked.body, sort_keys=True)


Run = tuple[Faulty, Path, int, set[str]]
"""The faults, the folder of records, how many requests there were, and what was asked when the run was repeated."""


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """By two agents with faults and one that dies after an answer; repeated without faults and without its records."""
    tmp_path = tmp_path_factory.mktemp("faulty")
    script = Faulty()

    def dying(asked: Asked) -> Reply:
        return script.whole(asked) if asked.number == 0 else Reply(cut="before")

    with StubServer(script) as server, StubServer(dying) as third:
        given = ("problems=8", "budget.problem.tokens=2000")
        group = api_group(tmp_path, server.url, *given, third=third.url, timeout_s=1)
        folder = carry_out(group, tmp_path / "out")
        first = len(server.asked)
        folder.rename(tmp_path / "records")
        server.script = lambda asked: said(talk(asked))
        carry_out(group, tmp_path / "out")
    return script, tmp_path / "records", first, {named(asked) for asked in server.asked[first:]}


@pytest.mark.slow
def test_every_kind_of_fault_is_met_at_30_percent(faulty: Run) -> None:
    script, _, asked, _ = faulty
    assert set(script.sent) == set(FAULTS)
    assert 0.25 < script.sent.total() / asked < 0.35


def test_under_faults_every_problem_ends_with_a_result_or_a_typed_reason(faulty: Run) -> None:
    problems = read_records(faulty[1], ProblemRecord)
    assert len(problems) == 8
    assert {problem.stop_reason for problem in problems} <= {"solved", "iterations", "exhausted", "tokens", "error"}
    assert sum(problem.nodes_tree > 0 for problem in problems) > 4
    calls = read_records(faulty[1], CallRecord)
    errors: dict[str, set[str]] = {call.agent: set() for call in calls}
    for call in calls:
        if call.error is not None:
            errors[call.agent].add(call.error.partition(":")[0])
    assert errors["one"] | errors["two"] <= TYPED
    assert errors["third"] <= {"connection", "breaker"}
    assert sum(call.error is None for call in calls if call.agent == "third") == 1


def test_under_faults_the_ledger_is_that_of_the_endpoint(faulty: Run, tmp_path: Path) -> None:
    script, folder, _, _ = faulty
    calls = read_records(folder, CallRecord)
    assert sum(call.prompt_tokens + call.completion_tokens for call in calls) == script.tokens
    assert sum(call.error is None for call in calls) == len(script.usable)
    load(tmp_path / "db.duckdb", [folder])  # checks that calls add up to each problem's totals
    with reading(tmp_path / "db.duckdb") as connection:
        (failed,) = connection.execute("SELECT sum(errors) FROM problems").fetchone()
    assert failed == sum(call.error is not None for call in calls) > 0


def test_under_faults_nothing_is_asked_twice_that_was_answered(faulty: Run) -> None:
    script, _, _, again = faulty
    assert set(script.answered.values()) == {1}
    assert again
    assert not again & script.usable


def test_a_dead_endpoint_ends_the_problems_that_it_leaves_without_an_answer_with_a_reason(tmp_path: Path) -> None:
    answered: set[str] = set()

    def script(asked: Asked) -> Any:
        if asked.body["model"] in answered:
            return Reply(status=503)
        answered.add(asked.body["model"])
        return said(talk(asked))

    with StubServer(script) as server:
        group = api_group(tmp_path, server.url, "problems=5", "execution.in_flight=1", retries=0)
        folder = carry_out(group, tmp_path / "out")
    calls = read_records(folder, CallRecord)
    assert {problem.stop_reason for problem in read_records(folder, ProblemRecord)[1:]} == {"error"}
    assert sum(call.error is None for call in calls) == 2


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


@pytest.mark.slow
def test_a_key_is_in_no_record_log_or_report_and_in_no_list_of_processes(tmp_path: Path) -> None:
    """Of a run as a user starts it, by an endpoint that repeats the key in answers and errors."""
    processes: set[bytes] = set()

    def repeats(asked: Asked) -> Any:
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it ended meanwhile
                processes.add(path.read_bytes())
        sent = asked.headers["authorization"]
        if asked.number % 5 == 0:
            return Reply(status=500, content=f"you sent {sent}")
        return said(f"Thought: {sent}.\n{talk(asked)} {sent}")

    agent = {"_target_": API, **QUICK, "retries": 0, "key_env": "SOME_KEY", "model": "one"}
    with StubServer(repeats) as server:
        conf = conf_with(tmp_path / "conf", "api", {"one": {**agent, "base_url": server.url}})
        given = ["quickstart", "tasks=[mini_qa]", "seeds=[0]", "pool=api", "problems=2", "--experiment", "symphony"]
        places = ["--conf", str(conf), "--outputs", str(tmp_path / "out")]
        done = subprocess.run(
            [sys.executable, "-m", "symphony", "run", *given, *places],
            env={**os.environ, "SOME_KEY": CANARY, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    load(tmp_path / "out" / "records.duckdb", [folder])
    build(tmp_path / "out" / "records.duckdb", tmp_path / "out")
    assert "***" in (folder / "calls.jsonl").read_text()
    assert "***" in (tmp_path / "out" / "report.html").read_text()
    assert CANARY not in done.stdout + done.stderr
    for path in (tmp_path / "out").rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path
    assert any(b"--experiment" in words for words in processes)
    assert not any(CANARY.encode() in words for words in processes)


@pytest.mark.slow
def test_a_key_is_in_no_progress_file_prompt_tree_or_command_that_looks(tmp_path: Path) -> None:
    """Of an endpoint that repeats the key in every answer, so that later prompts would hold it."""
    outputs = tmp_path / "out"
    seen: list[str] = []

    def repeats(asked: Asked) -> Any:
        if asked.number == 60:  # the run is on its way for more than two seconds then
            time.sleep(2.5)
        seen.extend(path.read_text() for path in outputs.glob("groups/*/live.json"))
        sent = asked.headers["authorization"]
        if asked.number % 5 == 0:
            return Reply(status=500, content=f"you sent {sent}")
        return said(f"Thought: {sent}.\n{talk(asked)} {sent}")

    agent = {"_target_": API, **QUICK, "timeout_s": 10.0, "retries": 0, "key_env": "SOME_KEY", "model": "one"}
    environment = {**os.environ, "SOME_KEY": CANARY, "PYTHONPATH": str(ROOT)}
    printed = ""

    def symphony(*words: str) -> str:
        command = [sys.executable, "-m", "symphony", *words]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    with StubServer(repeats) as server:
        conf = conf_with(tmp_path / "conf", "api", {"one": {**agent, "base_url": server.url}})
        study = ["quickstart", "tasks=[mini_qa]", "seeds=[0]", "pool=api", "problems=3"]
        places = ["--conf", str(conf), "--outputs", str(outputs)]
        printed += symphony("run", *study, "--experiment", "symphony", *places)
    (folder,) = (outputs / "runs").iterdir()
    load(outputs / "quickstart" / "records.duckdb", [folder])
    build(outputs / "quickstart" / "records.duckdb", outputs / "quickstart")
    looks = (["ls", "--runs"], ["show", folder.name], ["watch", "--once"], ["diff", folder.name, folder.name])
    for words in (*looks, ["sql", "SELECT text, error FROM calls", "--study", "quickstart"]):
        printed += symphony(*words, "--outputs", str(outputs))
    printed += symphony("plan", *study, *places)
    assert "***" in printed
    assert seen
    assert any('"running"' in text for text in seen)
    prompts = gzip.decompress((folder / PROMPTS).read_bytes()).decode()
    assert "***" in prompts
    files = [path for path in (outputs / "quickstart" / "trees").rglob("*") if path.is_file()]
    trees = "".join(
        (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode() for path in files
    )
    packed = [gzip.decompress(base64.b64decode(text)).decode() for text in re.findall(r"H4sI[A-Za-z0-9+/=]+", trees)]
    assert any("***" in text for text in packed)
    for text in (printed, prompts, trees, *packed, *seen):
        assert CANARY not in text
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


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
DETAILS: dict[str, Any] = {"prompt_tokens_details": {"cached_tokens": 4}}
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


@pytest.mark.slow
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


# ------------------------------------------------------------------ tokens


def test_answers_of_an_endpoint_that_pass_the_limit_of_tokens_are_paid_for_and_bring_nothing(tmp_path: Path) -> None:
    """It counts its prompts as 900 tokens more than was estimated; a replay stops where the run did."""
    with StubServer(lambda asked: said(talk(asked), prompt=1200)) as server:
        group = api_group(tmp_path, server.url, "problems=3", "budget.problem.tokens=6000")
        folder = carry_out(group, tmp_path / "out")
    before = records(folder)
    spent = dict.fromkeys([problem.problem for problem in read_records(folder, ProblemRecord)], 0)
    stood = dict(spent)
    for call in read_records(folder, CallRecord):
        spent[call.problem] += call.prompt_tokens + call.completion_tokens
        stood[call.problem] += spent[call.problem] <= 6000
    assert all(tokens > 6000 for tokens in spent.values())
    for problem in read_records(folder, ProblemRecord):
        assert problem.stop_reason == "tokens"
        assert problem.calls > stood[problem.problem] == 4
    for answer in read_records(folder, AnswerRecord):
        assert answer.calls <= stood[answer.problem]
        assert answer.tokens <= 6000
    folder.rename(tmp_path / "before")
    (run,) = group.runs
    again = replace(group, runs=(replace(run, execution={**run.execution, "store": "replay"}),))
    assert records(carry_out(again, tmp_path / "out")) == before
