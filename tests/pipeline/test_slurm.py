"""A study on a real Slurm of several virtual nodes on this machine, which `bash bench/slurm.sh test` sets up.

One node is lost in the middle of a job, and a job of another is killed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pipeline.small_project import command, environment, jobs, small_project
from tests.scripted_pool import ROOT, records

pytestmark = pytest.mark.slow

ON_SLURM = ("--profile", "profiles/slurm", "--slurm-no-account", "--slurm-status-command", "squeue")
QUICK = (
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--seconds-between-status-checks",
    "2",
    "--latency-wait",
    "5",
)
LONGEST_S = 420.0


def ask(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def cluster() -> dict[str, str]:
    """The settings of the virtual cluster."""
    if not shutil.which("scontrol"):
        pytest.skip("no Slurm is installed: bash bench/slurm.sh test")
    pairs = (line.partition("=") for line in ask("scontrol", "show", "config").splitlines())
    settings = {key.strip(): value.strip() for key, _, value in pairs}
    if settings.get("ClusterName") != "symphony":
        pytest.skip("the virtual cluster does not answer: bash bench/slurm.sh test")
    return settings


def processes(**variables: str) -> Iterator[int]:
    """Processes with these variables in their environment."""
    wanted = {f"{name}={value}".encode() for name, value in variables.items()}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted <= set((folder / "environ").read_bytes().split(b"\0")):
                yield int(folder.name)
        except OSError:  # it has ended
            continue


def kill(pids: Iterator[int] | list[int]) -> None:
    for pid in list(pids):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def stored(project: Path) -> dict[str, int]:
    """Call store -> answers in it."""
    counts = {}
    for path in (project / "outputs" / "calls").glob("*.sqlite"):
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
                ((counts[path.stem],),) = connection.execute("SELECT count(*) FROM calls")
            connection.close()
        except sqlite3.Error:  # it is being made
            continue
    return counts


def at_work(project: Path) -> Iterator[tuple[str, str]]:
    """Slurm's number and node of each job whose models have answered."""
    begun = {store for store, count in stored(project).items() if count > 0}
    for line in ask("squeue", "-h", "-t", "R", "-o", "%i|%N|%k").splitlines():
        number, node, comment = line.split("|")
        if any(f"wildcards_{store}-" in comment for store in begun):
            yield number, node


def lose_node(cluster: dict[str, str], node: str, number: str) -> None:
    """Ends everything on a node at once, as a power cut does, and lets the controller find out."""
    daemon = Path(cluster["SlurmdPidFile"].replace("%n", node))
    kill([int(daemon.read_text())])
    own = list(processes(SLURM_JOB_ID=number, SLURMD_NODENAME=node))
    parents = {int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1]) for pid in own}
    steps = [pid for pid in parents if "slurmstepd" in (Path("/proc") / str(pid) / "comm").read_text()]
    kill([*steps, *own])
    ask("scontrol", "update", f"nodename={node}", "state=down", "reason=lost")


def kill_job(number: str) -> None:
    """Ends the processes of a job's run, but not Slurm's own."""
    named = [pid for pid in processes(SLURM_JOB_ID=number) if b"symphony" in _command_line(pid)]
    kill(named)


def _command_line(pid: int) -> bytes:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def disturb(process: subprocess.Popen[bytes], project: Path, faults: list[Callable[[str, str], None]]) -> list[str]:
    """Applies each fault to another job at work, until snakemake ends; returns the jobs that were disturbed."""
    hit: list[str] = []
    until = time.monotonic() + LONGEST_S
    while process.poll() is None and time.monotonic() < until:
        for number, node in at_work(project):
            if len(hit) < len(faults) and number not in hit:
                faults[len(hit)](number, node)
                hit.append(number)
                break
        time.sleep(0.05)
    if process.poll() is None:
        process.terminate()
        process.wait()
        pytest.fail("snakemake did not end")
    return hit


def edit(project: Path) -> None:
    """Edits a comment of a config, and the commands of every rule."""
    option = project / "conf" / "search" / "symphony.yaml"
    option.write_text(option.read_text() + "# a comment\n")
    for path in (project / "workflow" / "rules").glob("*.smk"):
        path.write_text(path.read_text().replace('"OMP_NUM_THREADS', '"LANG=C OMP_NUM_THREADS') + "\n# a comment\n")


def test_a_study_on_slurm_survives_a_lost_node_and_a_killed_job(cluster: dict[str, str], tmp_path: Path) -> None:
    project = small_project(tmp_path / "project")
    undisturbed = tmp_path / "undisturbed"
    local = [sys.executable, "-m", "symphony", "run", "quickstart", "--conf", str(project / "conf")]
    quiet = environment(project) | {"PYTHONPATH": str(ROOT)}
    subprocess.run([*local, "--outputs", str(undisturbed)], env=quiet, check=True, capture_output=True)

    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command((), *ON_SLURM, *QUICK), cwd=project, env=environment(project), stdout=stream, stderr=stream
        )
        faults = [lambda number, node: lose_node(cluster, node, number), lambda number, node: kill_job(number)]
        hit = disturb(process, project, faults)
    told = log.read_text()
    assert process.returncode == 0, told[-3000:]
    assert len(hit) == 2, told[-3000:]
    assert records(project / "outputs" / "runs") == records(undisturbed / "runs")
    assert (project / "outputs" / "quickstart" / "report.html").is_file()
    assert "Trying to restart job" in told  # the killed one
    submitted = re.findall(r"submitted with SLURM jobid (\d+)", told)
    assert len(submitted) == 4 + 2 + 1, submitted  # four groups, load and report; the killed job twice
    # Answers that were stored before a fault were not asked for again.
    files = [path.read_text() for path in project.glob("outputs/runs/*/timings.jsonl")]
    assert any(json.loads(line)["from_store"] for text in files for line in text.splitlines())
    edit(project)
    assert jobs(project, *ON_SLURM) == {}
