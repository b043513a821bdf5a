"""Figures and the page, from SYNTHETIC records."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from symphony.records.database import load
from symphony.report import FIGURES, TABLES, build, figure, render
from symphony.report.stats import Estimate
from symphony.report.study import open_study
from symphony.report.summary import summarise
from symphony.report.tables import read_table
from symphony.types import SymphonyError

VOID = {"meta", "br", "img", "hr", "link", "input"}


class Balance(HTMLParser):
    """Fails on a tag that is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(synthetic_db: Path, plan_json: Path, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(synthetic_db, tmp_path_factory.mktemp("report"), plan_json, [manifest])


def test_everything_is_written(page: Path) -> None:
    made = {str(path.relative_to(page.parent)) for path in page.parent.rglob("*") if path.is_file()}
    made -= {name for name in made if name.startswith("trees/")}  # tests/report/viewer
    tables = {f"tables/{name}.{suffix}" for name in TABLES for suffix in ("csv", "md", "tex")}
    figures = {f"figures/{name}.{suffix}" for name in FIGURES for suffix in ("svg", "png")}
    assert made == tables | figures | {"report.html"}


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<(script|link|iframe)|@import|src=|url\((?!#)", text)
    assert set(re.findall(r'href="([^#][^"]*)', text)) == {"trees/index.html"}  # a page beside it


def test_the_page_says_in_its_head_what_made_it(page: Path) -> None:
    assert b'content="symphony report"' in page.read_bytes()[:1000]


def test_the_page_is_well_formed(page: Path) -> None:
    parser = Balance()
    parser.feed(page.read_text())
    assert parser.open == []


def test_every_table_figure_and_chapter_stands_on_the_page(page: Path) -> None:
    text = page.read_text()
    for name in TABLES:
        assert text.count(f'id="table-{name}"') == 1
    for name in FIGURES:
        assert text.count(f'id="figure-{name}"') == 1


def test_no_two_drawings_share_a_clip_path(page: Path) -> None:
    clips = re.findall(r'<clipPath id="([^"]+)"', page.read_text())
    assert clips
    assert len(clips) == len(set(clips))


def test_text_of_the_models_is_escaped(page: Path) -> None:
    assert "And &lt;a door&gt;." in page.read_text()


def test_the_same_records_give_the_same_page(page: Path, synthetic_db: Path, plan_json: Path, manifest: Path) -> None:
    again = render(synthetic_db, page.parent / "figures", page.parent / "again.html", plan_json, [manifest])
    assert again.read_bytes() == page.read_bytes()
    again.unlink()


def test_the_page_tells_what_was_left_out_and_nothing_where_all_was_carried_out(
    page: Path, synthetic_db: Path, plan_json: Path, manifest: Path, tmp_path: Path
) -> None:
    told = tmp_path / "plan.json"
    told.write_text(json.dumps({**json.loads(plan_json.read_text()), "left_out": ["task mbpp_rs is left out: <why>"]}))
    shorter = render(synthetic_db, page.parent / "figures", tmp_path / "page.html", told, [manifest]).read_text()
    assert "<dt>Left out</dt><dd><span>task mbpp_rs is left out: &lt;why&gt;</span>" in shorter
    assert "<dt>Left out</dt>" not in page.read_text()


def test_the_page_of_a_replay_says_on_its_first_screen_what_made_the_answers(
    page: Path, synthetic_db: Path, plan_json: Path, manifest: Path, tmp_path: Path
) -> None:
    told = tmp_path / "plan.json"
    made = "2026-11-30, commit 1234567, a <slow> machine, 2 cores: 5,000 answers"
    told.write_text(json.dumps({**json.loads(plan_json.read_text()), "recorded": [made]}))
    replayed = render(synthetic_db, page.parent / "figures", tmp_path / "page.html", told, [manifest]).read_text()
    shown = made.replace("<", "&lt;").replace(">", "&gt;")
    line = f"Replayed from recorded answers; no model was asked. Recorded on {shown}."
    assert line in replayed[: replayed.index('<h2 id="summary">')]
    assert "Replayed" not in page.read_text()


def test_the_same_records_give_the_same_drawing(
    page: Path, synthetic_db: Path, plan_json: Path, tmp_path: Path
) -> None:
    svg, _ = figure(synthetic_db, "success", tmp_path, plan_json)
    assert svg.read_bytes() == (page.parent / "figures" / "success.svg").read_bytes()


def test_an_unknown_figure_is_refused(synthetic_db: Path, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="figure: found nonsense, allowed: success"):
        figure(synthetic_db, "nonsense", tmp_path)


def test_a_page_without_its_figures_is_refused(synthetic_db: Path, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="draw the figures first"):
        render(synthetic_db, tmp_path, tmp_path / "report.html")


def test_a_study_of_one_method_still_gives_a_page(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    load(tmp_path / "s.duckdb", [make_run("react", problems=2).write(tmp_path)])
    text = build(tmp_path / "s.duckdb", tmp_path / "report").read_text()
    assert "This study has no runs of the reference symphony." in text
    assert "No rows: this study has no runs for this table." in text


@pytest.mark.parametrize(
    ("reference", "variant", "words"),
    [
        (1, 0, "the component helps"),
        (0, 1, "the component hurts"),
        (1, 1, "no effect shown"),
    ],
)
def test_the_summary_says_which_way_the_interval_lies(
    tmp_path: Path, make_run: Callable[..., Any], reference: int, variant: int, words: str
) -> None:
    runs = [make_run("symphony", problems=12), make_run("no_memory", problems=12)]
    for run, solved in zip(runs, (reference, variant), strict=True):
        run.problems = [dataclasses.replace(p, success=bool(solved), score=float(solved)) for p in run.problems]
    load(tmp_path / "s.duckdb", [run.write(tmp_path / "runs") for run in runs])
    with open_study(tmp_path / "s.duckdb") as study:
        groups = dict(summarise({name: read_table(study, name) for name in TABLES}, "symphony"))
    (finding,) = groups["Does each component help?"]
    assert words in finding.text


def test_the_summary_names_a_method_that_shares_no_problem_with_the_reference(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    runs = [make_run("symphony", problems=4), make_run("react", problems=4), make_run("lats", problems=4, seed=99)]
    load(tmp_path / "s.duckdb", [run.write(tmp_path / "runs") for run in runs])
    with open_study(tmp_path / "s.duckdb") as study:
        groups = dict(summarise({name: read_table(study, name) for name in TABLES}, "symphony"))
    told = [finding.text for finding in groups["Against the other methods"]]
    assert "Not compared with symphony, as they share no problem (same task, data, seed): lats." in told


def test_a_difference_that_correction_takes_away_is_not_shown(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    """Six problems of 40 that only the reference solves: p is .016, and with twenty tests as good as nothing."""
    runs = [make_run("symphony", problems=40)]
    runs += [make_run("no_memory", problems=40, run=f"v{i}", experiment=f"v{i}") for i in range(20)]
    for run in runs:
        lost = 6 if run.run.experiment == "v0" else 0
        run.problems = [dataclasses.replace(p, success=i >= lost, score=0.0) for i, p in enumerate(run.problems)]
    load(tmp_path / "s.duckdb", [run.write(tmp_path / "runs") for run in runs])
    with open_study(tmp_path / "s.duckdb") as study:
        tables = {name: read_table(study, name) for name in TABLES}
    row = next(row for row in tables["ablation"].records() if row["variant"] == "v0")
    assert isinstance(row["gain of the component"], Estimate)
    assert row["gain of the component"].excludes_zero
    finding = next(f for f in dict(summarise(tables, "symphony"))["Does each component help?"] if "v0" in f.text)
    assert finding.verdict == "none"
    assert "no effect shown (p 0.31 after correction for the number of rows)" in finding.text


def first_screen(text: str) -> str:
    return text[text.index("<header>") : text.index("</header>")]


def test_the_first_screen_counts_the_calls_that_failed_by_agent(page: Path) -> None:
    head = first_screen(page.read_text())
    assert (
        "FAILED CALLS: llama 1 of " in head or "FAILED CALLS: neox 1 of " in head or "FAILED CALLS: qwen3 1 of " in head
    )
    assert "failed: <b>1 of " in head
    assert "(less than 0.1 %)" in head


def test_the_first_screen_says_where_every_call_failed(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    run = make_run("single_llama", problems=2)
    for index in range(2):
        count = sum(call.problem == run.problems[index].problem for call in run.calls)
        run.fail(index, ["auth: 401"] * count)
    load(
        tmp_path / "s.duckdb", [run.write(tmp_path / "runs"), make_run("symphony", problems=2).write(tmp_path / "runs")]
    )
    head = first_screen(build(tmp_path / "s.duckdb", tmp_path / "report").read_text())
    assert re.search(rf"FAILED CALLS: llama {len(run.calls)} of \d+ \(\d+\.\d %\)", head)
    assert "DEAD AGENT: llama answered no call in 1 of the 2 runs that asked it;" in head


def test_the_first_screen_says_that_no_call_failed(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    load(tmp_path / "s.duckdb", [make_run("symphony", problems=2).write(tmp_path / "runs")])
    head = first_screen(build(tmp_path / "s.duckdb", tmp_path / "report").read_text())
    assert "failed: <b>none</b>" in head
    assert "FAILED" not in head
    assert "DEAD" not in head


def test_the_first_screen_names_the_reference_and_the_page_says_where_problems_are_few(page: Path) -> None:
    text = page.read_text()
    assert "Reference for all comparisons: <b>SYMPHONY</b> (symphony)" in first_screen(text)
    assert "Few problems:" not in text  # 40 of each task


def test_the_page_says_which_tasks_have_few_problems(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    load(tmp_path / "s.duckdb", [make_run("symphony", problems=12).write(tmp_path / "runs")])
    text = build(tmp_path / "s.duckdb", tmp_path / "report").read_text()
    assert "Few problems: gridworld has fewer than 32 different problems" in text


def test_the_page_says_where_memory_was_short(make_run: Callable[..., Any], tmp_path: Path) -> None:
    folder = make_run("symphony").write(tmp_path / "runs")
    short = {"halvings": 3, "batch_tokens": 512, "swaps": 7, "swap_s": 2.25}
    wall = folder / "wall.json"
    wall.write_text(json.dumps(json.loads(wall.read_text()) | short) + "\n")
    load(tmp_path / "study.duckdb", [folder, make_run("lats").write(tmp_path / "runs")])
    text = build(tmp_path / "study.duckdb", tmp_path / "report").read_text()
    assert "In 1 of 2 runs memory ran out during a batch, which was split into smaller ones, down to 512 tokens" in text
    assert "In 1 of 2 runs models were swapped in memory, up to 7 times a run, which took up to 2.2 s." in text


def test_the_page_says_that_memory_was_enough(page: Path) -> None:
    assert "Enough: no batch was too large" in page.read_text()


@pytest.mark.parametrize(
    ("datasets", "counted"), [(["same", "same"], "6 runs of 3 problems"), (["one", "other"], "of 6 problems")]
)
def test_the_summary_counts_a_problem_once_whatever_the_seeds(
    make_run: Callable[..., Any], tmp_path: Path, datasets: list[str], counted: str
) -> None:
    runs = [make_run(seed=seed, problems=3, dataset=name) for seed, name in enumerate(datasets)]
    load(tmp_path / "study.duckdb", [run.write(tmp_path / "runs") for run in runs])
    with open_study(tmp_path / "study.duckdb") as study:
        groups = dict(summarise({name: read_table(study, name) for name in TABLES}, "symphony"))
    assert counted in groups["Overall"][0].text


def test_experiments_with_one_title_are_told_apart_by_their_names(make_run: Callable[..., Any], tmp_path: Path) -> None:
    names = ["symphony", "no_memory", "lats"]
    runs = [make_run(name, problems=3) for name in names]
    load(tmp_path / "study.duckdb", [run.write(tmp_path / "runs") for run in runs])
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"experiments": {name: {"title": "Ours"} for name in names[:2]}}))
    with open_study(tmp_path / "study.duckdb", plan) as study:
        assert [one.title for one in study.experiments] == ["Ours (symphony)", "Ours (no_memory)", "lats"]
