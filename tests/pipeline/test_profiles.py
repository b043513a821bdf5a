"""The profiles for clusters and for several GPUs: their options exist, what they run, and what they never repeat."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from tests.pipeline.small_project import command, environment, jobs, small_project, snakemake
from tests.scripted_pool import ROOT

FETCHED = "data/model/tiny/manifest.json"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return small_project(tmp_path / "project")


@contextmanager
def tiny_download(project: Path, folder: Path) -> Iterator[None]:
    """Adds a model to conf/ whose one small file a server on this machine has: the cheapest job there is."""
    (served := folder / "served" / "v1").mkdir(parents=True)
    (served / "config.json").write_text("{}")
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        (project / "conf" / "model" / "tiny.yaml").write_text(
            "_target_: symphony.models.hf.backend.HFBackend\npath: model/tiny\nsource:\n"
            f"  address: http://127.0.0.1:{server.server_port}/{{revision}}\n  revision: v1\n  licence: MIT\n"
            f"  files: {{config.json: {hashlib.sha256(b'{}').hexdigest()}}}\n"
        )
        yield
        server.shutdown()


def test_every_key_of_a_profile_is_an_option_of_snakemake() -> None:
    from snakemake.cli import get_argument_parser

    known = {option for action in get_argument_parser()._actions for option in action.option_strings}
    profiles = [yaml.safe_load(path.read_text()) for path in (ROOT / "profiles").glob("*/config.yaml")]
    assert len(profiles) == 4
    assert [key for keys in profiles for key in keys if f"--{key}" not in known] == []


@pytest.mark.slow
def test_ten_thousand_problems_are_at_most_fifty_submissions_to_slurm(project: Path) -> None:
    seeds = ",".join(map(str, range(24)))
    problems = 140  # x 3 experiments x 24 seeds = 10,080
    overrides = f"overrides=problems={problems} seeds=[{seeds}]"
    planned = jobs(project, "--profile", "profiles/slurm", "--config", overrides)
    assert planned.pop("all") == 1  # has no command, and is not submitted
    assert planned == {"run": 48, "load": 1, "report": 1}


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["gpus", "kubernetes"])
def test_a_profile_plans_the_same_jobs_as_the_default_one(project: Path, profile: str) -> None:
    assert jobs(project, "--profile", f"profiles/{profile}") == jobs(project)


@pytest.mark.slow
def test_an_edit_of_code_or_comment_repeats_nothing_on_slurm(project: Path, tmp_path: Path) -> None:
    with tiny_download(project, tmp_path):
        local = command((), "--cores", "1", FETCHED)
        subprocess.run(local, cwd=project, env=environment(project), check=True, capture_output=True)
        rule = project / "workflow" / "rules" / "data.smk"
        rule.write_text(rule.read_text().replace("OMP_NUM_THREADS=", "LANG=C OMP_NUM_THREADS=") + "\n# a comment\n")
        assert jobs(project, FETCHED) == {"fetch": 1}  # the default profile does see the edit
        assert jobs(project, FETCHED, "--profile", "profiles/slurm") == {}


@pytest.mark.slow
def test_a_job_reads_what_was_planned_and_not_the_configs_of_its_time(project: Path) -> None:
    assert jobs(project)["run"] == 4
    group = next((project / "outputs" / "groups").iterdir()).name
    (project / "conf" / "experiment" / "quickstart" / "uniform.yaml").write_text("no: [yaml")
    asked = ("--dry-run", f"outputs/groups/{group}/done.json")
    assert snakemake(project, *asked).returncode != 0
    told = snakemake(project, "--mode", "subprocess", *asked)
    assert told.returncode == 0, told.stdout + told.stderr


KUBECTL = """#!/bin/sh
# A cluster of one machine: runs each job at once, as its manifest says, and remembers how it ended.
case "$1 $2" in
  "create -f")
    cat > "$CLUSTER/manifest.json"
    name=$(sed 's/.*"metadata": {"name": "\\([^"]*\\)".*/\\1/' "$CLUSTER/manifest.json")
    python3 -c 'import json, os, subprocess, sys
spec = json.load(open(sys.argv[1]))["spec"]["template"]["spec"]["containers"][0]
sys.exit(subprocess.run(spec["command"], cwd=spec["workingDir"]).returncode)' "$CLUSTER/manifest.json" >&2
    echo $? > "$CLUSTER/$name" ;;
  "get job")
    [ "$(cat "$CLUSTER/$3")" = 0 ] && echo "$3 s1 f" || echo "$3 s f1" ;;
  *) exit 1 ;;
esac
"""


@pytest.mark.slow
def test_jobs_go_through_kubectl(project: Path, tmp_path: Path) -> None:
    (cluster := tmp_path / "cluster").mkdir()
    (tools := tmp_path / "tools").mkdir()
    (tools / "kubectl").write_text(KUBECTL)
    (tools / "kubectl").chmod(0o755)
    own = {"CLUSTER": str(cluster), "SYMPHONY_IMAGE": "symphony:1", "SYMPHONY_CLAIM": "work"}
    path = {"PATH": f"{tools}:{os.environ['PATH']}"}
    with tiny_download(project, tmp_path):
        done = subprocess.run(
            command((), "--profile", "profiles/kubernetes", "--seconds-between-status-checks", "1", FETCHED),
            cwd=project,
            env={**environment(project), **own, **path},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / FETCHED).is_file()
    assert [path.name.rpartition("-")[0] for path in cluster.iterdir() if path.suffix != ".json"] == ["symphony-fetch"]


def submit(project: Path, tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Submits a jobscript to a kubectl that shows what it got."""
    (tmp_path / "kubectl").write_text("#!/bin/sh\ncat >&2\n")
    (tmp_path / "kubectl").chmod(0o755)
    properties = '{"rule": "run", "threads": 2, "resources": {"mem_mb": 6000, "runtime": 240, "gpu": 1}}'
    (tmp_path / "job.sh").write_text(f"#!/bin/sh\n# properties = {properties}\ntrue '$HOME'\n")
    path = f"{tmp_path}:{os.environ['PATH']}"
    asked = [str(ROOT / "profiles" / "kubernetes" / "submit"), str(tmp_path / "job.sh")]
    return subprocess.run(
        asked, cwd=project, env={**os.environ, "PATH": path, **variables}, capture_output=True, text=True
    )


def test_a_pod_asks_for_what_its_job_needs(tmp_path: Path) -> None:
    (project := tmp_path / "work" / "project").mkdir(parents=True)
    done = submit(project, tmp_path, SYMPHONY_IMAGE="symphony:1", SYMPHONY_CLAIM="mine")
    assert done.returncode == 0, done.stderr
    job = yaml.safe_load(done.stderr)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "2", "memory": "6000M", "nvidia.com/gpu": "1"}
    assert container["volumeMounts"] == [{"name": "work", "mountPath": str(tmp_path / "work")}]
    assert container["workingDir"] == str(project)
    assert container["command"][2].endswith("true '$HOME'\n")
    assert job["spec"]["activeDeadlineSeconds"] == 240 * 60
    assert done.stdout.strip() == job["metadata"]["name"]


def test_a_missing_image_is_said_in_one_line(tmp_path: Path) -> None:
    done = submit(tmp_path, tmp_path, SYMPHONY_CLAIM="mine")
    assert done.returncode == 1
    assert done.stderr == "SYMPHONY_IMAGE: found nothing, allowed: its value in the environment (docs/cluster.md)\n"


@pytest.mark.parametrize(
    ("answer", "status"),
    [("a s1 f", "success"), ("a s f1", "failed"), ("a s f", "running"), ("", "failed"), (None, "running")],
)
def test_the_status_of_a_job_is_one_word(tmp_path: Path, answer: str | None, status: str) -> None:
    """A job that is gone has failed; one of which nothing is known just now goes on."""
    (tmp_path / "kubectl").write_text("#!/bin/sh\nexit 1\n" if answer is None else f"#!/bin/sh\nprintf '{answer}'\n")
    (tmp_path / "kubectl").chmod(0o755)
    asked = [str(ROOT / "profiles" / "kubernetes" / "status"), "a"]
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(asked, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.stdout == f"{status}\n"
