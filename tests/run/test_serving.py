"""A server of models that runs share: one is started, all use it, and none is left, whatever ends whom."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from symphony.plan.compose import plan
from symphony.plan.schema import check_root
from symphony.plan.specs import Group, freeze, groups, thaw
from symphony.run import keeper, serving
from symphony.run.runner import Place, run_group
from symphony.types import SymphonyError
from tests.models.test_servers import free_port
from tests.own_pool import API, conf_with
from tests.plan.test_mutations import composed_root
from tests.scripted_pool import ROOT, Silent, records
from tests.stub_server import StubServer, said

QUICK = {"pause_s": 0.001, "pause_max_s": 0.002, "timeout_s": 5.0, "retries": 1, "breaker_pause_s": 0.01}
SOON_S = 20.0


PORT = free_port()


def planned(folder: Path, overrides: tuple[str, ...], seed: int, server: dict[str, Any]) -> Group:
    """The group of a pool `served`, which has such a server."""
    agent = {"_target_": API, "base_url": f"http://127.0.0.1:{PORT}/v1", **QUICK}
    agents = {name: {"model": name, **agent} for name in ("one", "two")}
    conf = conf_with(folder / "conf", "served", agents)
    (conf / "pool" / "served.yaml").write_text(json.dumps({"agents": agents, "serve": {"desk": server}}))
    given = ("tasks=[mini_qa]", f"seeds=[{seed}]", "pool=served", "problems=1", "search.iterations=2", *overrides)
    (group,) = groups(plan("quickstart", given, experiment="symphony", conf=conf))
    return group


@cache
def planned_once(overrides: tuple[str, ...], seed: int) -> Group:
    """The same for every server, since nothing else depends on it; planning takes a second."""
    with tempfile.TemporaryDirectory() as folder:
        return planned(Path(folder), overrides, seed, {"engine": "vllm", "port": PORT, "path": "x"})


@dataclass
class Desk:
    """A folder with an engine `vllm`, and pools that it serves."""

    folder: Path
    port: int = PORT

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def group(self, *overrides: str, options: tuple[str, ...] = (), seed: int = 0, **settings: Any) -> Group:
        """SYMPHONY on one problem of mini_qa by two agents that one server has."""
        words = ["--log", str(self.log), *options]
        server = {"engine": "vllm", "port": PORT, "path": str(self.folder), "options": words, **settings}
        group = planned_once(overrides, seed)
        (run,) = group.runs
        return replace(group, runs=(replace(run, execution={**run.execution, "serve": {"desk": server}}),))

    def lines(self, word: str) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(word)]

    def servers(self) -> list[int]:
        """Those that were started here and live."""
        return [int(pid) for pid in self.lines("start") if lives(int(pid))]

    def keeper(self) -> int:
        return int(json.loads((serving.folder(self.port) / keeper.STATE).read_text())["keeper"])


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def soon(holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + SOON_S
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    program = tmp_path / "bin" / "vllm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/stub_engine.py "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(serving, "_TURN_S", 0.02)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Desk(tmp_path)
    yield made
    left = not soon(lambda: not made.servers())
    for pid in made.servers():
        os.kill(pid, signal.SIGKILL)
    assert not left, "a server outlived its users"


def carry_out(group: Group, outputs: Path) -> dict[str, bytes]:
    run_group(group, Place(outputs=outputs), Silent())
    return records(outputs / "runs")


def told(group: Group, outputs: Path) -> str:
    with pytest.raises(SymphonyError) as error:
        carry_out(group, outputs)
    message = str(error.value)
    assert "\n" not in message
    assert "found " in message
    assert ", allowed: " in message
    return message


def test_groups_of_one_process_share_a_server_that_ends_after_the_last(desk: Desk) -> None:
    some = [desk.group(seed=seed) for seed in (0, 1)]
    with serving.held(run for group in some for run in group.runs):
        for group in some:
            carry_out(group, desk.folder / "out")
        assert len(desk.servers()) == 1
    assert len(desk.lines("start")) == 1
    assert soon(lambda: not desk.servers())


def test_answers_behind_a_server_are_replayed_without_it(desk: Desk) -> None:
    before = carry_out(desk.group(), desk.folder / "out")
    (desk.folder / "out" / "runs").rename(desk.folder / "before")
    asked = len(desk.lines("asked"))
    assert carry_out(desk.group("execution.store=replay"), desk.folder / "out") == before
    assert (len(desk.lines("start")), len(desk.lines("asked"))) == (1, asked)


def test_nothing_of_a_server_but_its_address_changes_the_name_of_a_run(desk: Desk) -> None:
    servers = ({"path": "x"}, {"path": "y", "options": ["--slow", "1"], "engine": "transformers", "start_s": 5.0})
    names = {
        planned(desk.folder, (), 0, {"engine": "vllm", "port": PORT, **server}).runs[0].digest for server in servers
    }
    assert len(names) == 1


def test_the_frozen_plan_of_a_group_keeps_its_servers(desk: Desk) -> None:
    group = desk.group()
    assert thaw(freeze(group, desk.folder)).runs[0].servers == group.runs[0].servers
    plain = planned(desk.folder, (), 0, {"engine": "vllm", "port": PORT, "path": "x"})
    assert plain.runs[0].servers["desk"].start_s == 600


@pytest.mark.slow
def test_processes_at_once_share_a_server(desk: Desk) -> None:
    plans = [freeze(desk.group(seed=seed), desk.folder / "groups").parent for seed in (0, 1, 2)]
    running = [start(plan, desk.folder / f"out{number}") for number, plan in enumerate(plans)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert len(desk.lines("start")) == 1
    assert soon(lambda: not desk.servers())


def start(frozen: Path, outputs: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "symphony", "run", "--group", str(frozen), "--outputs", str(outputs)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_pipeline_that_is_killed_leaves_no_server(desk: Desk, number: signal.Signals) -> None:
    frozen = freeze(desk.group(options=("--slow", "0.3"), seed=3), desk.folder / "groups").parent
    process = start(frozen, desk.folder / "out")
    assert soon(lambda: bool(desk.servers()))
    process.send_signal(number)
    process.wait(10)
    assert soon(lambda: not desk.servers())


@pytest.mark.slow
def test_a_keeper_that_is_killed_takes_its_server_with_it(desk: Desk) -> None:
    with serving.held(desk.group().runs):
        carry_out(desk.group(), desk.folder / "out")
        os.kill(desk.keeper(), signal.SIGKILL)
        assert soon(lambda: not desk.servers())
        carry_out(desk.group(seed=1), desk.folder / "out")  # and the next run starts another
    assert len(desk.lines("start")) == 2


def test_a_server_that_dies_is_told_with_its_last_line(desk: Desk) -> None:
    message = told(desk.group(options=("--die-after", "5")), desk.folder / "out")
    assert "pool.serve.desk.engine: found that its server ended (exit code 3: CUDA error: out of memory)" in message
    assert str(serving.folder(desk.port) / keeper.LOG) in message


def test_a_server_that_never_answers_is_told_and_ended(desk: Desk) -> None:
    message = told(desk.group(options=("--mute",), start_s=1.0), desk.folder / "out")
    assert "pool.serve.desk.start_s: found no answer within 1 s (loading)" in message
    assert soon(lambda: not desk.servers())


@pytest.mark.slow
def test_after_a_failure_the_next_start_tries_again(desk: Desk) -> None:
    told(desk.group(options=("--die-after", "0")), desk.folder / "out")
    assert carry_out(desk.group(), desk.folder / "out")


@pytest.mark.slow
def test_a_port_in_use_by_another_program_is_told(desk: Desk) -> None:
    with StubServer(lambda asked: "<html>", port=desk.port):
        message = told(desk.group(), desk.folder / "out")
    assert f"pool.serve.desk.port: found {desk.port} in use by no server of models, allowed: a free port" in message
    assert desk.lines("start") == []


def test_a_server_that_is_there_already_is_used_and_left_alone(desk: Desk) -> None:
    def script(asked: Any) -> Any:
        models = {"data": [{"id": "one"}, {"id": "two"}]}
        return models if asked.path.endswith("/models") else said("Action: search[Bo]\nValue: 0.5 Confidence: 0.5")

    with StubServer(script, port=desk.port) as server:
        assert carry_out(desk.group(), desk.folder / "out")
        assert soon(lambda: not lives(desk.keeper()))
        assert keeper.is_listening(desk.port)
        assert len(server.asked) > 5
    assert desk.lines("start") == []


@pytest.mark.slow
def test_a_server_of_other_models_is_not_taken(desk: Desk) -> None:
    with StubServer(lambda asked: {"data": [{"id": "three"}]}, port=desk.port):
        message = told(desk.group(), desk.folder / "out")
    assert f"found {desk.port} in use by a server of three, allowed: a free port, or a server of one, two" in message


def test_a_second_pipeline_with_other_settings_on_the_port_is_told(desk: Desk) -> None:
    with serving.held(desk.group().runs):
        carry_out(desk.group(), desk.folder / "out")
        message = told(desk.group(options=("--slow", "0.1"), seed=1), desk.folder / "other")
    assert f"pool.serve.desk.port: found {desk.port} in use by a server of other settings" in message


def test_an_engine_or_weights_that_are_not_there_are_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    message = told(desk.group(path=str(desk.folder / "nothing")), desk.folder / "out")
    assert "pool.serve.desk.path: found nothing at " in message
    monkeypatch.setenv("PATH", "/nothing")
    message = told(desk.group(), desk.folder / "out")
    assert "pool.serve.desk.engine: found vllm, which is not installed, allowed: pip install vllm" in message


def test_a_server_gets_no_key_and_no_limit_of_a_jobs_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-canary")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = serving._environment()
    assert "sk-canary" not in environment.values()
    assert "OMP_NUM_THREADS" not in environment


def test_a_folder_of_locks_that_others_can_write_is_refused(desk: Desk) -> None:
    root = desk.folder / f"symphony-{os.getuid()}"
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(SymphonyError, match="found a folder that others can write"):
        serving.folder(desk.port)


def test_the_log_of_a_server_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOG_BYTES", 1000)
    words = ["sh", "-c", "while true; do echo line; sleep 0.001; done"]
    job = {"command": words, "environment": dict(os.environ), "cwd": "/", "port": free_port(), "start_s": 60}
    kept = keeper.Keeper(tmp_path, job)
    ended = threading.Event()
    with (tmp_path / keeper.LOG).open("ab") as log:
        kept._server = kept._spawn(log, None)
    sizes = []
    for _ in range(30):
        time.sleep(0.03)
        kept._watch()
        sizes.append((tmp_path / keeper.LOG).stat().st_size)
    kept.end()
    ended.set()
    kept._lease.close()
    assert max(sizes) <= 1000


@pytest.fixture(scope="module")
def root() -> dict[str, Any]:
    agent = {"_target_": API, "base_url": "http://127.0.0.1:8911/v1/", "model": "one"}
    return {**composed_root(), "pool": {"agents": {"one": agent}}}


SERVER = {"engine": "vllm", "port": 8911, "path": "x"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"port": 80}, r"port: found 80, allowed: 1024 to 65535"),
        ({"port": "x"}, r"port: found 'x', allowed: 1024 to 65535"),
        ({"port": True}, r"port: found true, allowed: 1024 to 65535"),
        ({"engine": "sh"}, r"engine: found 'sh', allowed: llama_cpp, transformers, vllm"),
        ({"engine": None}, r"engine: found null, allowed: llama_cpp"),
        ({"path": ""}, r"path: found '', allowed: text that is not empty"),
        ({"path": ["x"]}, r'path: found \["x"\], allowed: text'),
        ({"options": "--x"}, r"options: found '--x', allowed: a list of text"),
        ({"options": [1]}, r"options: found \[1\], allowed: a list of text"),
        ({"options": ["a\0b"]}, r"options: found .*, allowed: a list of text"),
        ({"start_s": 0}, r"start_s: found 0, allowed: > 0"),
        ({"start_s": float("nan")}, r"start_s: found NaN, allowed: > 0"),
        ({"command": ["rm"]}, r"command: found an unknown key, allowed: engine, port, path"),
        ({"port": 1025}, r"port: found no agent with base_url http://127\.0\.0\.1:1025/v1, allowed: at least one"),
    ],
    ids=str,
)
def test_a_wrong_setting_of_a_server_is_refused_by_its_key(root: dict[str, Any], change: Any, message: str) -> None:
    servers = {"desk": {**SERVER, **change}}
    with pytest.raises(SymphonyError, match=rf"^pool\.serve\.desk\.{message}"):
        check_root({**root, "pool": {**root["pool"], "serve": servers}})


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ({"more": {"engine": "vllm"}}, r"pool\.serve\.more\.port: found nothing, allowed: a value"),
        (3, r"pool\.serve: found 3, allowed: a mapping"),
        (None, r"pool\.serve: found null, allowed: a mapping"),
        ({"more": 3}, r"pool\.serve\.more: found 3, allowed: a mapping"),
        ({7: SERVER}, r"pool\.serve: found 7, allowed: names of letters"),
        ({"a/b": SERVER}, r"pool\.serve: found 'a/b', allowed: names of letters, digits, _ and -"),
        ({"a": SERVER, "b": SERVER}, r"pool\.serve\.b\.port: found that of a, allowed: a port of its own"),
    ],
    ids=str,
)
def test_servers_that_are_none_are_refused_in_one_line(root: dict[str, Any], servers: Any, message: str) -> None:
    with pytest.raises(SymphonyError, match=message) as error:
        check_root({**root, "pool": {**root["pool"], "serve": servers}})
    assert "\n" not in str(error.value)
