"""What the workflow makes again, and what it leaves alone; from the dry run, which is what snakemake would do."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from symphony.models.hf.backend import HFBackend
from symphony.plan.compose import plan
from symphony.plan.specs import freeze, groups
from symphony.records.records import is_complete
from symphony.run.runner import Place, run_group
from tests.pipeline.small_project import jobs, small_project, snakemake
from tests.scripted_pool import ROOT, Silent, backend


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return small_project(tmp_path / "project")


def finish_runs(project: Path) -> list[str]:
    """Carries out every run of the study by a scripted pool; the digests of those that were not complete before."""
    carried = []
    for group in groups(plan("quickstart", conf=project / "conf")):
        freeze(group, project / "outputs" / "groups")
        place = Place(outputs=project / "outputs")
        carried += [run.experiment for run in group.runs if not is_complete(place.run(run))]
        run_group(group, place, Silent(), backend)
    return carried


def append(project: Path, experiment: str, line: str) -> None:
    with (project / "conf" / "experiment" / "quickstart" / f"{experiment}.yaml").open("a") as stream:
        stream.write(line + "\n")


def test_there_is_one_run_job_a_task_pool_and_seed(project: Path) -> None:
    assert jobs(project)["run"] == 4  # (trio, llama alone) x 2 seeds


@pytest.mark.slow
def test_the_pool_is_trained_only_when_asked_for(project: Path) -> None:
    assert "train_model" not in jobs(project)
    assert jobs(project, "train_pool")["train_model"] == 3


def test_a_study_without_quantised_models_quantises_nothing(project: Path) -> None:
    assert "quantise" not in jobs(project)


@pytest.mark.slow
def test_runs_of_a_quantised_pool_have_its_checkpoints_made_first(project: Path) -> None:
    shutil.copy(
        ROOT / "conf" / "experiment" / "quickstart" / "nf4.yaml", project / "conf" / "experiment" / "quickstart"
    )
    wanted = jobs(project)
    assert wanted["quantise"] == 3
    assert wanted["run"] == 4 + 1  # one seed only
    (group,) = [g for g in groups(plan("quickstart", conf=project / "conf")) if g.runs[0].pool == "embedded_trio_nf4"]
    assert jobs(project, f"outputs/groups/{group.name}/done.json") == {"quantise": 3, "run": 1}


def test_finished_runs_are_not_run_again(project: Path) -> None:
    finish_runs(project)
    assert "run" not in jobs(project)


@pytest.mark.slow
def test_a_run_whose_folder_was_deleted_is_run_again(project: Path) -> None:
    finish_runs(project)
    shutil.rmtree(next((project / "outputs" / "runs").iterdir()))
    assert jobs(project)["run"] == 1


@pytest.mark.slow
def test_a_comment_and_a_title_rerun_nothing(project: Path) -> None:
    finish_runs(project)
    append(project, "uniform", "# a comment")
    option = project / "conf" / "search" / "symphony.yaml"
    option.write_text(option.read_text() + "# another\n")
    assert "run" not in jobs(project)
    assert finish_runs(project) == []


@pytest.mark.slow
def test_one_changed_ablation_reruns_its_own_runs_only(project: Path) -> None:
    finish_runs(project)
    append(project, "uniform", "search: {n: 3}")
    assert jobs(project)["run"] == 2  # its pool's jobs, one a seed
    assert finish_runs(project) == ["uniform", "uniform"]


def test_a_misspelt_key_stops_before_any_job(project: Path) -> None:
    append(project, "uniform", "serach: {n: 3}")
    told = snakemake(project, "--dry-run")
    assert told.returncode != 0
    assert "uniform.yaml: serach" in told.stdout + told.stderr


@pytest.mark.slow
def test_a_pinned_download_is_fetched_by_its_rule(project: Path, tmp_path: Path) -> None:
    served = tmp_path / "served" / "v1"
    served.mkdir(parents=True)
    (served / "config.json").write_text("{}")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        (project / "conf" / "model" / "tiny.yaml").write_text(
            "_target_: symphony.models.hf.backend.HFBackend\npath: model/tiny\nsource:\n"
            f"  address: http://127.0.0.1:{server.server_port}/{{revision}}\n  revision: v1\n  licence: MIT\n"
            f"  files: {{config.json: {hashlib.sha256(b'{}').hexdigest()}}}\n"
        )
        done = snakemake(project, "data/model/tiny/manifest.json")
        server.shutdown()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (project / "data" / "model" / "tiny" / "config.json").read_text() == "{}"
    assert "MIT" in (project / "outputs" / "logs" / "fetch" / "model" / "tiny.log").read_text()


def test_the_snakefile_is_a_short_table_of_contents() -> None:
    lines = (ROOT / "Snakefile").read_text().splitlines()
    assert len(lines) <= 40


def test_every_rule_has_log_benchmark_resources_threads_and_a_shell() -> None:
    for path in (ROOT / "workflow" / "rules").glob("*.smk"):
        for rule in re.split(r"(?m)^rule ", path.read_text())[1:]:
            name, body = rule.split(":", 1)
            assert "run:\n" not in body, name
            if "shell:" not in body:
                continue  # a name for several targets
            for part in ("log:", "benchmark:", "resources:", "threads:"):
                assert f"\n    {part}" in body, f"{name} has no {part}"


@pytest.mark.slow
def test_the_whole_workflow_ends_in_a_report_and_then_has_nothing_to_do(project: Path) -> None:
    done = snakemake(project)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (project / "outputs" / "quickstart" / "report.html").read_text()
    assert "SYMPHONY" in page
    assert jobs(project) == {}
    append(project, "uniform", "# a comment")
    assert jobs(project) == {}


@pytest.mark.slow
def test_one_rule_makes_the_pool_from_nothing(project: Path) -> None:
    done = snakemake(project, "train_pool", "--config", "train_scale=0.004")
    assert done.returncode == 0, done.stdout + done.stderr
    for model in ("llama", "qwen3", "neox"):
        folder = project / "outputs" / "trained" / model
        assert "calibration" in (folder / "MODEL_CARD.md").read_text()
        assert HFBackend(folder).context > 0


def test_a_killed_workflow_leaves_no_lock_that_stops_the_next_one(project: Path) -> None:
    locks = project / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    # What SIGKILL leaves behind: locks over everything that is made.
    made = "\n".join(str(path) for path in ("outputs/groups", "outputs/quickstart/records.duckdb"))
    for name in ("0.input.lock", "0.output.lock"):
        (locks / name).write_text(made)
    told = snakemake(project, "--forcerun", "nothing_of_that_name", "--touch")
    assert "LockException" not in told.stdout + told.stderr
    assert "Using workflow specific profile" in told.stdout + told.stderr


@pytest.mark.slow
def test_the_lock_that_a_killed_snakemake_of_another_profile_left_is_told_with_what_to_type(project: Path) -> None:
    locks = project / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").write_text("outputs/quickstart/report.html\n")
    without_profile = ("--workflow-profile", "none")
    hint = "type `snakemake --unlock`, then start again"
    told = snakemake(project, *without_profile, "--touch")
    assert told.returncode != 0
    assert "LockException" in told.stderr
    assert told.stderr.count(hint) == 1
    told = snakemake(project, *without_profile, "--unlock")
    assert told.returncode == 0
    assert hint not in told.stderr
    assert not list(locks.glob("*.lock"))
    assert hint not in snakemake(project, *without_profile, "--dry-run", "--quiet").stderr


def test_a_misspelt_config_key_of_snakemake_is_refused(project: Path) -> None:
    told = snakemake(project, "--dry-run", "--config", "stdy=presets")
    assert told.returncode != 0
    assert "--config stdy: found an unknown key, allowed: overrides, share, size, study" in told.stdout + told.stderr


@pytest.mark.slow
def test_a_dry_run_prints_short_lines(project: Path) -> None:
    printed = snakemake(project, "--dry-run")
    assert printed.returncode == 0, printed.stderr
    lines = (printed.stdout + printed.stderr).splitlines()
    assert max(len(line.replace(str(project), "")) for line in lines) <= 160
    assert any(line.startswith("Job ") and " run mini_qa-" in line for line in lines)


@pytest.mark.slow
def test_a_zipped_report_of_snakemake_has_the_page_figures_and_trees_and_they_open(
    project: Path, tmp_path: Path
) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright (pip install -e '.[dev]')")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no Chromium (apt install chromium)")
    finish_runs(project)
    for arguments in ((), ("--report", "study.zip"), ("--report", "study.html")):
        done = snakemake(project, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    shutil.unpack_archive(project / "study.zip", tmp_path)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {"success.svg", "success.csv", "report.html", "tree.html"} <= names
    (page,) = tmp_path.glob("study/data/raw/*/report.html")
    told: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        # Snakemake's own page advises on its style sheet.
        tab.on("console", lambda message: told.extend([message.text] if "/data/" in tab.url else []))
        tab.on("pageerror", lambda error: told.append(str(error)))
        tab.on("request", lambda request: told.extend([] if request.url.startswith("file:") else [request.url]))
        tab.goto(page.as_uri())
        tab.locator("a[href='trees/index.html']").first.evaluate("link => link.click()")
        tab.locator(".problems a").first.click()
        tab.wait_for_url(re.compile(r"/trees/tree\.html#"))
        tab.wait_for_selector("svg .node, svg circle, canvas")
        tab.goto((tmp_path / "study" / "report.html").as_uri())
        tab.get_by_text("Figures").first.wait_for()
        browser.close()
    assert told == []
