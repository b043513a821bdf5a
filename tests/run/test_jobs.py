"""What a workflow knows of its jobs, and how a job on another machine reads it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from symphony.plan.compose import plan
from symphony.plan.options import sources
from symphony.plan.specs import groups
from symphony.run.jobs import Job, Jobs, jobs_file
from symphony.types import SymphonyError
from tests.scripted_pool import CONF


def found(tmp_path: Path, *overrides: str) -> Jobs:
    """The jobs of one experiment with one seed."""
    runs = plan("quickstart", ("tasks=[mini_qa]", "seeds=[0]", *overrides), experiment="symphony", conf=CONF)
    return Jobs.of(groups(runs), sources(CONF), data=tmp_path, outputs=Path("outputs"), conf=CONF)


def only(jobs: Jobs) -> Job:
    (job,) = jobs.groups.values()
    return job


def test_a_pool_that_may_be_on_a_gpu_asks_for_one(tmp_path: Path) -> None:
    assert only(found(tmp_path)).gpus == 1


def test_a_pool_on_the_cpu_asks_for_no_gpu(tmp_path: Path) -> None:
    agents = ("llama", "qwen3", "neox")
    assert only(found(tmp_path, *(f"pool.agents.{name}.device=cpu" for name in agents))).gpus == 0


def test_a_replay_asks_for_no_gpu(tmp_path: Path) -> None:
    assert only(found(tmp_path, "execution.store=replay")).gpus == 0


def test_endpoints_ask_for_no_gpu(tmp_path: Path) -> None:
    assert only(found(tmp_path, "pool=single_gpt_4")).gpus == 0


def test_a_quantised_pool_has_its_checkpoints_among_its_inputs(tmp_path: Path) -> None:
    jobs = found(tmp_path, "pool=embedded_trio_nf4")
    assert only(jobs).inputs == jobs.quantised
    assert jobs.quantised == tuple(
        f"outputs/quantised/embedded_{name}-nf4/manifest.json" for name in ("llama", "neox", "qwen3")
    )


def test_a_missing_download_is_an_input(tmp_path: Path) -> None:
    assert f"{tmp_path}/model/llama_3_1_8b/manifest.json" in only(found(tmp_path, "pool=single_llama_3_1_8b")).inputs


def test_jobs_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    jobs = found(tmp_path, "pool=embedded_trio_nf4")
    jobs.freeze(tmp_path / "jobs.json")
    assert Jobs.thaw(tmp_path / "jobs.json") == jobs


def test_unchanged_jobs_are_not_written_again(tmp_path: Path) -> None:
    jobs = found(tmp_path)
    jobs.freeze(tmp_path / "jobs.json")
    before = (tmp_path / "jobs.json").stat().st_mtime_ns
    jobs.freeze(tmp_path / "jobs.json")
    assert (tmp_path / "jobs.json").stat().st_mtime_ns == before


def test_a_group_that_a_later_plan_dropped_is_a_small_job(tmp_path: Path) -> None:
    assert found(tmp_path).job("gone") == Job(inputs=(), engine=False, gpus=0)


@pytest.mark.parametrize("content", [{}, {"groups": []}, {"groups": {"a": {}}, "quantised": []}, {"groups": {"a": 1}}])
def test_a_damaged_file_of_jobs_is_refused_in_one_line(tmp_path: Path, content: object) -> None:
    (tmp_path / "jobs.json").write_text(json.dumps(content))
    with pytest.raises(SymphonyError, match="start snakemake again"):
        Jobs.thaw(tmp_path / "jobs.json")


def test_each_setting_of_a_workflow_has_a_file_of_its_own(tmp_path: Path) -> None:
    names = {
        jobs_file(settings, tmp_path) for settings in ({}, {"study": "plus"}, {"study": "plus", "share": "task,pool"})
    }
    assert len(names) == 3
    assert jobs_file({"size": 1}, tmp_path) == jobs_file({"size": "1"}, tmp_path)
