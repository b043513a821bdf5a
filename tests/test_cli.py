"""The command line: quick to answer, one clear message and a code that is not 0 when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from symphony.__main__ import main

ROOT = Path(__file__).parent.parent
COMMANDS = ("plan", "run", "load", "table", "figure", "report", "quantise", "train-pool", "fetch", "doctor")


def call(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "symphony", *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_help_names_every_command_in_an_instant() -> None:
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        answer = call("--help")
        seconds.append(time.perf_counter() - begin)
        assert answer.returncode == 0
        assert all(command in answer.stdout for command in COMMANDS)
    assert min(seconds) < 0.4


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert "usage: symphony" in capsys.readouterr().out


def test_no_heavy_library_is_imported_before_it_is_needed() -> None:
    heavy = ("torch", "transformers", "hydra", "omegaconf", "duckdb", "matplotlib", "jinja2", "rich", "numpy")
    code = f"import sys, symphony.__main__; print([name for name in {heavy} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "quikstart"), "study: found 'quikstart'"),
        (("plan", "quickstart", "serach=1"), "serach"),
        (("plan", "quickstart", "--task", "chess"), "--task: found 'chess', allowed: gridworld"),
        (("run",), "allowed: one of them"),
        (("run", "--group", "nowhere"), "nowhere/plan.json: found nothing"),
        (("fetch", "model/nothing"), "found 'model/nothing'"),
        (("quantise", "nothing", "nf4", "--out", "nowhere"), "model: found 'nothing', allowed: "),
        (("quantise", "api_local", "nf4", "--out", "nowhere"), "model: found one behind an API, allowed"),
        (("load", "--database", "/nowhere/x.duckdb", "nowhere"), "nowhere"),
    ],
)
def test_an_error_is_one_line_and_a_code(arguments: tuple[str, ...], message: str) -> None:
    answer = call(*arguments)
    assert answer.returncode == 1
    assert message in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert answer.stdout == ""


def test_plan_lists_a_studys_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["plan", "quickstart", "tasks=[mini_qa]", "--experiment", "symphony", "--seed", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split("\t")[1:] == ["symphony", "mini_qa", "embedded_trio", "1"]
