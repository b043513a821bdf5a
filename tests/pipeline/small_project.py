"""The project's workflow over a small study, in a folder of its own, and what snakemake says of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.scripted_pool import ROOT

KEPT = ("symphony", "uniform", "single_llama")


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs snakemake in the project on one core, or as a `--profile` among the arguments says."""
    told = command([] if "--profile" in arguments else ["--cores", "1"], *arguments)
    return subprocess.run(told, cwd=project, env=environment(project), capture_output=True, text=True)


def command(first: Sequence[str], *arguments: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", *first, *arguments]


def environment(project: Path) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name != "SYMPHONY_DATA"}  # it has its own data/
    return {**own, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(project / ".cache")}


def jobs(project: Path, *arguments: str) -> dict[str, int]:
    """Rule -> number of jobs that would run."""
    told = snakemake(project, "--dry-run", *arguments)
    assert told.returncode == 0, told.stdout + told.stderr
    stats = re.search(r"^job +count\n-[- ]+\n(.*?)^total", told.stdout, re.MULTILINE | re.DOTALL)
    lines = stats[1].splitlines() if stats else []
    return {name: int(count) for name, count in (line.split() for line in lines if line.strip())}


def project_copy(folder: Path) -> Path:
    """Makes the project's workflow and configs in a folder of its own; the package is linked."""
    folder.mkdir()
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, folder)
    for name in ("workflow", "profiles", "conf"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "symphony").symlink_to(ROOT / "symphony")
    return folder


def small_project(folder: Path) -> Path:
    """Makes the project with three experiments on mini_qa, two seeds and two problems each: four groups."""
    project_copy(folder)
    for path in (folder / "conf" / "experiment" / "quickstart").glob("*.yaml"):
        if path.stem not in KEPT:
            path.unlink()
    config = folder / "conf" / "config.yaml"
    text = re.sub(r"(?m)^tasks: .*", "tasks: [mini_qa]", config.read_text())
    text = re.sub(r"(?m)^seeds: .*", "seeds: [0, 1]", text)
    config.write_text(re.sub(r"(?m)^problems: .*", "problems: 2", text))
    return folder
