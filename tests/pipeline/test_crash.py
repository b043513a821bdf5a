"""SIGKILL at any moment, then again: the records are those of an undisturbed run, and no call is paid for twice."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from symphony.plan.specs import freeze
from tests.scripted_pool import ROOT, carry_out, one_group, records

CHILD = """
import sys
from pathlib import Path
from symphony.run.runner import Place, run_group
from symphony.plan.specs import thaw
from tests.scripted_pool import Logged, Silent
plan, outputs, log, seconds = sys.argv[1:]
place = Place(outputs=Path(outputs))
run_group(thaw(Path(plan)), place, Silent(), lambda spec: Logged(spec, Path(log), float(seconds)))
"""


def start(arguments: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, env=environment, cwd=ROOT, start_new_session=True)


def stored(outputs: Path) -> set[str]:
    """Keys of the calls in the group's store."""
    (path,) = (outputs / "calls").glob("*.sqlite")
    with sqlite3.connect(path) as connection:
        keys = {bytes(key).hex() for (key,) in connection.execute("SELECT key FROM calls")}
    connection.close()
    return keys


def wait_for_calls(outputs: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None and not list((outputs / "calls").glob("*.sqlite")):
        time.sleep(0.01)


def kill_and_resume(tmp_path: Path, kills: int, rng: random.Random) -> None:
    group = one_group("symphony", "problems=4")
    expected = carry_out(group, tmp_path / "undisturbed")
    outputs, log = tmp_path / "outputs", tmp_path / "paid.txt"
    plan = freeze(group, outputs / "groups")
    log.touch()
    done = False
    for _ in range(kills):
        before = stored(outputs) if list((outputs / "calls").glob("*.sqlite")) else set()
        paid = len(log.read_text().splitlines())
        process = start([sys.executable, "-c", CHILD, str(plan), str(outputs), str(log), "0.02"])
        wait_for_calls(outputs, process)
        time.sleep(rng.uniform(0.0, 0.6))
        done = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not before & set(log.read_text().splitlines()[paid:]), "a stored call was paid for again"
        if done:
            break
    process = start([sys.executable, "-c", CHILD, str(plan), str(outputs), str(log), "0"])
    assert process.wait() == 0
    assert records(outputs / "runs") == expected
    assert not list((outputs / "runs").glob(".*"))
    assert (plan.parent / "done.json").is_file()


def test_a_killed_run_ends_with_the_records_of_an_undisturbed_one(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 3, random.Random(1))


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    for trial in range(5):
        kill_and_resume(tmp_path / str(trial), 4, random.Random(trial))


@pytest.mark.slow
def test_eight_kills_of_the_embedded_pool_change_nothing(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=3", "search.iterations=3")
    plan = freeze(group, tmp_path / "groups")
    command = [sys.executable, "-m", "symphony", "run", "--group", str(plan.parent), "--outputs"]
    assert start([*command, str(tmp_path / "undisturbed")]).wait() == 0
    rng = random.Random(0)
    killed = 0
    outputs = tmp_path / "first"
    for number in range(100):
        process = start([*command, str(outputs)])
        wait_for_calls(outputs, process)
        time.sleep(rng.uniform(0.0, 8.0))
        if process.poll() is None:
            killed += 1
        process.send_signal(signal.SIGKILL)
        process.wait()
        if killed == 8:
            break
        if list((outputs / "runs").glob("[!.]*")):  # it came through: begin anew
            assert records(outputs / "runs") == records(tmp_path / "undisturbed" / "runs")
            outputs = tmp_path / f"again{number}"
    assert start([*command, str(outputs)]).wait() == 0
    assert killed == 8
    assert records(outputs / "runs") == records(tmp_path / "undisturbed" / "runs")
