"""Ctrl-C and SIGTERM end every command soon, with one line and the usual code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from symphony.plan.specs import freeze
from symphony.stop import MESSAGE, listening
from tests.scripted_pool import ROOT, one_group

LINE = f"symphony: {MESSAGE}\n"
PLAY = ["play", "task=gridworld", "problem=gridworld-test-0-0"]  # waits for its next line
REPORT = ["report", "--database", "no.duckdb", "--out", "no"]
GRADE = ["grade", "task=mini_code", "no.jsonl"]
FETCH = ["fetch", "model/qwen3"]
PLAN = ["plan", "quickstart"]
LOAD = ["load", "--database", "no.duckdb", "no"]

# In place of a model: a thread that can't be interrupted, as one that computes a batch.
BUSY = """
import sys
sys.argv[0] = "symphony"
import asyncio, time
from symphony import stop, __main__
from symphony.run import runner
def long(group, place, progress):
    async def work():
        {work}
    asyncio.run(work())
runner.run_group = long
sys.exit(__main__.main(sys.argv[1:]))
"""
WORKS = {
    "a thread": "await asyncio.to_thread(time.sleep, 60)",
    "a wait": "await asyncio.sleep(60)",
    "a library that swallows the signal": "\n".join(
        ["while True:", "            try: time.sleep(60)", "            except BaseException: pass"]
    ),
    # Python takes it for an interrupt that nobody caught, as while a dataclass is made, and would end by it.
    "a text that is executed": "exec('time.sleep(60)')",
    "an error of its own": "\n".join(
        ["try: time.sleep(60)", "        except BaseException as error: raise ValueError from error"]
    ),
}


@contextmanager
def started(arguments: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that has begun to listen; a test that is run in the background may be deaf to Ctrl-C, it is not."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        while process.poll() is None and not catches(process.pid, signal.SIGTERM):
            time.sleep(0.001)
        yield process
        process.kill()


def catches(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status")
    if not status.is_file():
        pytest.skip("no /proc that says when a process listens")
    mask = next((line.split()[1] for line in status.read_text().splitlines() if line.startswith("SigCgt")), "0")
    return bool(int(mask, 16) >> (number - 1) & 1)


def stopped(process: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> tuple[int, str, float]:
    began = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate()
    return process.returncode, told, time.monotonic() - began


@pytest.mark.parametrize("arguments", [PLAY, REPORT, GRADE, FETCH, PLAN, LOAD], ids=lambda words: words[0])
def test_a_signal_during_imports_is_one_line_and_no_traceback(arguments: list[str], tmp_path: Path) -> None:
    with started(["-m", "symphony", *arguments], tmp_path) as process:
        assert stopped(process)[:2] == (130, LINE)


@pytest.mark.parametrize("seconds", [0.1, 0.4, 1.5])
def test_a_signal_at_any_later_moment_is_the_same(seconds: float) -> None:
    with started(["-m", "symphony", *PLAY], ROOT) as process:
        time.sleep(seconds)
        code, told, lasted = stopped(process)
    assert (code, told) == (130, LINE)
    assert lasted < 2


@pytest.mark.parametrize("work", WORKS)
def test_whatever_a_run_is_doing_it_stops_within_two_seconds(work: str, tmp_path: Path) -> None:
    plan = freeze(one_group("react", "problems=1"), tmp_path)
    code = BUSY.format(work=WORKS[work])
    with started(["-c", code, "run", "--group", str(plan.parent)], tmp_path) as process:
        time.sleep(1)
        code_, told, lasted = stopped(process)
    assert (code_, told) == (130, LINE)
    assert lasted < 2


def test_sigterm_is_told_in_the_same_words_with_its_own_code() -> None:
    with started(["-m", "symphony", *PLAY], ROOT) as process:
        time.sleep(0.5)
        assert stopped(process, signal.SIGTERM)[:2] == (143, LINE)


@pytest.mark.parametrize("work", ["a thread", "a text that is executed"])
def test_two_signals_are_told_once(work: str, tmp_path: Path) -> None:
    plan = freeze(one_group("react", "problems=1"), tmp_path)
    with started(["-c", BUSY.format(work=WORKS[work]), "run", "--group", str(plan.parent)], tmp_path) as process:
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert stopped(process)[:2] == (143, LINE)


SLEEP = "    time.sleep(60)"
SWALLOW = "    try: time.sleep(60)\n    except BaseException as error: raise ValueError from error"


@pytest.mark.parametrize("work", [SLEEP, SWALLOW])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_is_not_ours_ends_alike_while_it_works_for_us(
    number: signal.Signals, work: str, tmp_path: Path
) -> None:
    code = f"import time\nfrom symphony.stop import listening\nwith listening():\n{work}"
    with started(["-c", code], tmp_path) as process:
        assert stopped(process, number)[:2] == (128 + number, LINE)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [0, 0.7])
def test_snakemake_says_the_same_while_it_plans(number: signal.Signals, seconds: float, tmp_path: Path) -> None:
    command = ["-m", "snakemake", "-n", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(tmp_path)]
    with started(command, tmp_path) as process:
        time.sleep(seconds)
        code, told, _ = stopped(process, number)
    own, line = told.splitlines(keepends=True)  # it tells of its profile
    assert own.startswith("Using workflow specific profile")
    assert (code, line) == (128 + number, LINE)


def test_a_program_that_is_not_ours_keeps_its_handlers() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with listening():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
def test_a_stopped_run_goes_on_when_it_is_started_again(tmp_path: Path) -> None:
    command = ["-m", "symphony", "run", "quickstart", "tasks=[gridworld]", "problems=2", "--experiment", "react"]
    command += ["--seed", "11", "--conf", str(ROOT / "conf"), "--outputs", str(tmp_path)]
    with started(command, tmp_path) as process:
        while process.poll() is None and not list(tmp_path.glob("runs/.*.tmp")):
            time.sleep(0.01)
        code, told, _ = stopped(process)
    if code:  # it may have come through
        assert (code, told) == (130, LINE)
    with started(command, tmp_path) as process:
        process.communicate()
    assert process.returncode == 0
    assert [path.name[0] for path in (tmp_path / "runs").iterdir()] != ["."]


def test_importing_the_command_line_changes_no_handler() -> None:
    code = "import signal, symphony.__main__; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout == "True\n"
