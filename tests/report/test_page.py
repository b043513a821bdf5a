"""Figures and the page, from SYNTHETIC records."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from symphony.records.database import load
from symphony.report import FIGURES, TABLES, build, figure, render
from symphony.report.figures import EXPECTED, KINDS
from symphony.report.first import first_screen, setting
from symphony.report.grids import Legends, grid, legend
from symphony.report.paper import layouts
from symphony.report.stats import Estimate
from symphony.report.study import Study, open_study
from symphony.report.summary import answer, summarise
from symphony.report.tables import Table, read_table
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


@pytest.fixture(scope="module")
def study(synthetic_db: Path, plan_json: Path) -> Iterator[Study]:
    with open_study(synthetic_db, plan_json) as opened:
        yield opened


def test_everything_is_written(page: Path) -> None:
    made = {str(path.relative_to(page.parent)) for path in page.parent.rglob("*") if path.is_file()}
    made -= {name for name in made if name.startswith("trees/")}  # tests/report/viewer
    tables = {f"tables/{name}.{suffix}" for name in TABLES for suffix in ("csv", "md", "tex")}
    figures = {f"figures/{name}{kind}" for name in FIGURES for kind in KINDS}
    assert made == tables | figures | {"report.html", "report.json"}


def test_the_page_needs_nothing_but_itself(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"<(link|iframe)|@import|src=|url\((?!#)", text)
    assert set(re.findall(r'href="([^#][^"]*)', text)) == {"trees/index.html"}  # a page beside it


def test_the_page_runs_its_own_script_and_no_other(page: Path) -> None:
    """So that text of a model that looks like a script stays text, even if escaping failed."""
    text = page.read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'\"" in text


def test_the_page_is_small(page: Path) -> None:
    assert page.stat().st_size < 5_000_000


def test_the_page_says_in_its_head_what_made_it(page: Path) -> None:
    assert b'content="symphony report"' in page.read_bytes()[:1000]


def test_the_page_is_well_formed(page: Path) -> None:
    parser = Balance()
    parser.feed(page.read_text())
    assert parser.open == []


def test_every_table_figure_and_chapter_stands_on_the_page(page: Path) -> None:
    text = page.read_text()
    for name in TABLES:  # those of the paper only where one of its benchmarks was played
        places = text.count(f'id="table-{name}"') + text.count(f'id="figure-{name}"')
        assert (places >= 1) == (name not in layouts())
        assert text.count(f'id="table-{name}"') <= 1
    for name in FIGURES:
        assert text.count(f'id="figure-{name}"') == 1


def test_no_id_stands_twice_on_the_page(page: Path) -> None:
    ids = re.findall(r'[ <]id="([^"]+)"', page.read_text())
    assert len(ids) == len(set(ids))


def test_every_link_inside_the_page_leads_somewhere(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r'<a [^>]*href="#([^"]+)"', text))
    assert {"chapter-success", "chapter-claims"} <= targets
    assert targets <= set(re.findall(r'id="([^"]+)"', text))


def test_no_two_drawings_share_a_clip_path(page: Path) -> None:
    clips = re.findall(r'<clipPath id="([^"]+)"', page.read_text())
    assert clips
    assert len(clips) == len(set(clips))


def test_text_of_the_models_is_escaped(page: Path) -> None:
    assert "And &lt;a door&gt;." in page.read_text()


def test_the_same_records_give_the_same_page(page: Path, synthetic_db: Path, plan_json: Path, manifest: Path) -> None:
    again = render(synthetic_db, page.parent / "figures", page.parent / "again.html", plan_json, [manifest])
    twin = again.with_suffix(".json")
    assert again.read_bytes() == page.read_bytes()
    assert twin.read_bytes() == page.with_suffix(".json").read_bytes()
    again.unlink()
    twin.unlink()


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
    assert line in header(replayed)
    assert "Replayed" not in page.read_text()


def test_the_same_records_give_the_same_drawing(
    page: Path, synthetic_db: Path, plan_json: Path, tmp_path: Path
) -> None:
    for drawn in figure(synthetic_db, "success", tmp_path, plan_json):
        assert drawn.read_bytes() == (page.parent / "figures" / drawn.name).read_bytes()


def test_an_unknown_figure_is_refused(synthetic_db: Path, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="figure: found nonsense, allowed: success"):
        figure(synthetic_db, "nonsense", tmp_path)


def test_a_page_without_its_figures_is_refused(synthetic_db: Path, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="draw the figures first"):
        render(synthetic_db, tmp_path, tmp_path / "report.html")


@pytest.mark.slow
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


@pytest.mark.slow
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


def header(text: str) -> str:
    return text[text.index("<header>") : text.index("</header>")]


def test_the_first_screen_counts_the_calls_that_failed_by_agent(page: Path) -> None:
    head = header(page.read_text())
    assert (
        "FAILED CALLS: llama 1 of " in head or "FAILED CALLS: neox 1 of " in head or "FAILED CALLS: qwen3 1 of " in head
    )
    assert "failed: <b>1 of " in head
    assert "(less than 0.1 %)" in head


@pytest.mark.slow
def test_the_first_screen_says_where_every_call_failed(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    run = make_run("single_llama", problems=2)
    for index in range(2):
        count = sum(call.problem == run.problems[index].problem for call in run.calls)
        run.fail(index, ["auth: 401"] * count)
    load(
        tmp_path / "s.duckdb", [run.write(tmp_path / "runs"), make_run("symphony", problems=2).write(tmp_path / "runs")]
    )
    head = header(build(tmp_path / "s.duckdb", tmp_path / "report").read_text())
    assert re.search(rf"FAILED CALLS: llama {len(run.calls)} of \d+ \(\d+\.\d %\)", head)
    assert "DEAD AGENT: llama answered no call in 1 of the 2 runs that asked it;" in head


@pytest.mark.slow
def test_the_first_screen_says_that_no_call_failed(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    load(tmp_path / "s.duckdb", [make_run("symphony", problems=2).write(tmp_path / "runs")])
    head = header(build(tmp_path / "s.duckdb", tmp_path / "report").read_text())
    assert "failed: <b>none</b>" in head
    assert "FAILED" not in head
    assert "DEAD" not in head


def test_the_first_screen_names_the_reference_and_the_page_says_where_problems_are_few(page: Path) -> None:
    text = page.read_text()
    assert "reference for all comparisons: <b>SYMPHONY</b> (symphony)" in header(text)
    assert "Few problems:" not in text  # 40 of each task


@pytest.mark.slow
def test_the_page_says_which_tasks_have_few_problems(tmp_path: Path, make_run: Callable[..., Any]) -> None:
    load(tmp_path / "s.duckdb", [make_run("symphony", problems=12).write(tmp_path / "runs")])
    text = build(tmp_path / "s.duckdb", tmp_path / "report").read_text()
    assert "Few problems: gridworld has fewer than 32 different problems" in text


@pytest.mark.slow
def test_the_page_says_where_memory_was_short(make_run: Callable[..., Any], tmp_path: Path) -> None:
    folder = make_run("symphony").write(tmp_path / "runs")
    short = {"halvings": 3, "batch_tokens": 512, "swaps": 7, "swap_s": 2.25}
    wall = folder / "wall.json"
    wall.write_text(json.dumps(json.loads(wall.read_text()) | short) + "\n")
    (folder / "apart.json").unlink()  # as a run of an older version
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


# --------------------------------------------------------------------------- what the page says, and how


def rates(**solved: float) -> dict[str, Table]:
    """A table of success over all tasks, of ten problems; "symphony" is the reference."""
    rows = tuple(
        (name, "all tasks", 10, 10, Estimate(value=rate, low=rate - 0.05, high=rate + 0.05), None, None)
        for name, rate in solved.items()
    )
    columns = ("method", "task", "n", "problems", "success", "success difference", "Holm p")
    return {"success": made("success", columns, *rows)}


def made(name: str, columns: tuple[str, ...], *rows: tuple[Any, ...]) -> Table:
    return Table(
        name=name, title="t", mirrors="m", caption="c", feedback="oracle", commit="x", warnings=(), columns=columns,
        rows=rows,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("solved", "said", "counted"),
    [
        ({"symphony": 0.5, "a": 0.8, "b": 0.1}, "symphony solves 50 %, a the most (80 %) and b the fewest (10 %).",
         "On 10 problems, 1 of the other 2 methods solves more, 1 fewer and 0 as many."),
        ({"symphony": 0.8, "a": 0.8, "b": 0.1},
         "symphony solves 80 % and no other method more; b solves the fewest (10 %).",
         "On 10 problems, 0 of the other 2 methods solve more, 1 fewer and 1 as many."),
        ({"symphony": 0.1, "a": 0.8, "b": 0.4},
         "symphony solves 10 % and no other method fewer; a solves the most (80 %).",
         "On 10 problems, 2 of the other 2 methods solve more, 0 fewer and 0 as many."),
        ({"symphony": 0.5}, "symphony solves 50 % of 10 problems.", ""),
        ({"a": 0.5}, "This study has no runs of the reference symphony.", ""),
    ],
)  # fmt: skip
def test_the_answer_says_what_the_reference_the_best_and_the_worst_solve(
    solved: dict[str, float], said: str, counted: str
) -> None:
    text, rest = answer(rates(**solved), "symphony")
    assert text.replace("\N{NO-BREAK SPACE}", " ") == said
    assert rest == counted


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ({"a": (0.2, 0.001), "b": (-0.3, 0.001), "c": (0.2, 0.9)},
         "symphony is shown to be better than b. It is shown to be worse than a. One difference is undecided."),
        ({"a": (0.2, 0.9)}, "No difference from symphony is shown."),
        ({name: (-0.3, 0.001) for name in "abcdefg"},
         "symphony is shown to be better than a; b; c; d; e and 2 more. It is not shown to be worse than any method. "
         "No difference is undecided."),
    ],
)  # fmt: skip
def test_the_answer_names_the_methods_from_which_a_difference_is_shown(
    differences: dict[str, tuple[float, float]], said: str
) -> None:
    table = rates(symphony=0.5, **dict.fromkeys(differences, 0.4))["success"]
    rows = [(*row[:5], None, None) for row in table.rows[:1]]
    for row, (gain, p) in zip(table.rows[1:], differences.values(), strict=True):
        rows.append((*row[:5], Estimate(value=gain, low=gain - 0.1, high=gain + 0.1), p))
    assert answer({"success": dataclasses.replace(table, rows=tuple(rows))}, "symphony")[1].endswith(said)


def claimed(*claims: tuple[str, Estimate | None]) -> Table:
    columns = ("claim", "source", "success difference", "verdict")
    return made(
        "claims", columns, *((f"{verdict} {at}", "me", gain, verdict) for at, (verdict, gain) in enumerate(claims))
    )


def test_the_first_screen_shows_the_highest_rates_and_the_decided_claims_first() -> None:
    gain = Estimate(value=0.2, low=0.1, high=0.34)
    claims = claimed(("undecided", gain), ("not run", None), ("contradicted", -gain), ("reproduced", gain))
    screen = first_screen({**rates(b=0.1, symphony=0.5, a=0.8), "claims": claims}, "symphony")
    assert [(bar.name, bar.own, bar.value) for bar in screen.rates] == [
        ("a", False, "80\N{NO-BREAK SPACE}%"), ("symphony", True, "50\N{NO-BREAK SPACE}%"),
        ("b", False, "10\N{NO-BREAK SPACE}%"),
    ]  # fmt: skip
    assert [bar.verdict for bar in screen.compared] == ["reproduced", "contradicted", "undecided", "not run"]
    assert screen.counted == "1 reproduced, 1 contradicted, 1 undecided, 1 not run"
    assert screen.bound == 40  # points, the next ten above the farthest end
    assert [bar.at for bar in screen.compared] == pytest.approx([75, 25, 75, 0])


def test_a_long_first_screen_is_folded_and_keeps_the_reference() -> None:
    solved = {f"m{at:02d}": 0.9 - at / 100 for at in range(30)} | {"symphony": 0.2}
    shown_bars, folded_bars = first_screen({**rates(**solved), "claims": claimed()}, "symphony").shown_rates
    assert [bar.name for bar in shown_bars] == [f"m{at:02d}" for at in range(16)] + ["symphony"]
    assert len(folded_bars) == 14


def test_a_study_without_claims_shows_the_differences_from_the_reference(
    tmp_path: Path, make_run: Callable[..., Any]
) -> None:
    runs = [make_run("symphony", problems=12), make_run("lats", problems=12)]
    for run, solved in zip(runs, (True, False), strict=True):
        run.problems = [dataclasses.replace(p, success=solved, score=float(solved)) for p in run.problems]
    load(tmp_path / "s.duckdb", [run.write(tmp_path / "runs") for run in runs])
    with open_study(tmp_path / "s.duckdb") as study:
        screen = first_screen({name: read_table(study, name) for name in TABLES}, "symphony")
    (bar,) = screen.compared
    assert (bar.name, bar.verdict, bar.value) == ("symphony against lats", "better", "+100.0")


def test_the_setting_names_tasks_models_and_limits(synthetic_db: Path, plan_json: Path) -> None:
    with open_study(synthetic_db, plan_json) as study:
        assert (
            setting(study)
            == "Tasks: gridworld, mini_qa. 3 models (llama, neox, qwen3), at most 4,000 tokens a problem."
        )


def test_every_figure_says_what_to_expect(page: Path) -> None:
    assert EXPECTED.keys() == set(FIGURES)
    assert page.read_text().count("What to expect.") == len(FIGURES)


def test_the_answer_leaves_out_methods_that_met_other_problems() -> None:
    tables = rates(symphony=0.5, a=0.9, b=0.1)
    rows = tables["success"].rows
    fewer = dataclasses.replace(tables["success"], rows=(rows[0], (*rows[1][:2], 4, 4, *rows[1][4:]), rows[2]))
    text, rest = answer({"success": fewer}, "symphony")
    assert "a the most" not in text
    assert "Left out, for other problems: 1 method." in rest


def test_the_first_screen_has_the_question_the_answer_every_rate_and_every_claim(page: Path) -> None:
    text = page.read_text()
    screen = text[text.index("<main>") : text.index('<details class="chapter"')]
    assert '<p class="question">What of SYMPHONY?</p>' in screen
    assert re.search(r'<h1 class="answer">SYMPHONY solves \d', screen)
    for method in ("SYMPHONY", "without memory", "LATS", "react"):
        assert f"<span>{method}</span>" in screen
    assert re.search(r'class="chip (reproduced|undecided|contradicted)">\1</span><span>SYMPHONY beats LATS', screen)


def test_everything_but_the_first_screen_is_folded(page: Path) -> None:
    text = page.read_text()
    rest = text[text.index('<details class="chapter"') :]
    assert not re.search(r'<details class="chapter"[^>]* open', rest)
    assert rest.count("<section") == text.count("<section") - 2


def test_columns_that_never_vary_stand_in_one_line() -> None:
    found = grid(made("t", ("method", "n", "x", "y"), ("a", 40, 1.0, 1.0), ("b", 40, 2.0, 2.0)), "a", Legends())
    assert [column.name for column in found.columns] == ["method", "x"]
    assert found.constant == (("n", "40"),)
    assert found.equal == (("y", "x"),)
    assert [(cells, own) for cells, _, own in found.rows] == [(["a", "1.000"], True), (["b", "2.000"], False)]


def test_columns_that_only_look_alike_both_stay() -> None:
    rows = (("a", 0.0001, 0.0002), ("b", 0.5, 0.5))
    found = grid(made("t", ("method", "permutation p", "Holm p"), *rows), "a", Legends())
    assert [column.name for column in found.columns] == ["method", "permutation p", "Holm p"]
    assert found.rows[0][0] == ["a", "<0.001", "<0.001"]


def test_a_table_of_one_row_keeps_its_columns() -> None:
    found = grid(made("t", ("method", "n"), ("a", 40)), "a", Legends())
    assert [column.name for column in found.columns] == ["method", "n"]
    assert found.constant == ()


def test_rows_of_one_task_do_not_stand_twice() -> None:
    table = made("t", ("method", "task"), ("a", "maze"), ("b", "maze"), ("a", "all tasks"), ("b", "all tasks"))
    assert [cells for cells, _, _ in grid(table, "a", Legends()).rows] == [["a"], ["b"]]


def test_rows_of_several_tasks_are_chosen_from_with_all_tasks_first() -> None:
    table = made("t", ("method", "task"), *(("a", task) for task in ("maze", "shop", "all tasks")))
    assert grid(table, "a", Legends()).parts == ("all tasks", "maze", "shop")


@pytest.mark.parametrize("name", TABLES)
def test_every_column_has_a_legend(study: Study, name: str) -> None:
    columns = read_table(study, name).columns
    assert [column for column in columns if not legend(name, column)] == []


def test_the_twin_says_what_the_page_says(page: Path, synthetic_db: Path, plan_json: Path, manifest: Path) -> None:
    twin = json.loads(page.with_suffix(".json").read_text())
    text = page.read_text()
    assert twin["answer"][0].replace("\N{NO-BREAK SPACE}", " ") in text.replace("\N{NO-BREAK SPACE}", " ")
    assert set(twin["tables"]) == set(TABLES)
    with open_study(synthetic_db, plan_json, [manifest]) as study:
        table = read_table(study, "success")
    rows, rate = twin["tables"]["success"]["rows"], table.records()[0]["success"]
    assert isinstance(rate, Estimate)
    assert len(rows) == len(table.rows)
    assert rows[0]["success"] == dataclasses.asdict(rate)
    assert {finding["text"] for finding in twin["findings"]["Claims"]}
    assert (twin["feedback"], twin["commit"]) == ("oracle", "0123456789abcdef")


@pytest.mark.slow
def test_a_page_links_to_every_tree_where_there_is_one(
    page: Path, synthetic_db: Path, plan_json: Path, tmp_path: Path
) -> None:
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "index.html").write_text("trees")
    linked = render(synthetic_db, page.parent / "figures", tmp_path / "report.html", plan_json).read_text()
    assert 'href="trees/index.html"' in linked
    alone = render(synthetic_db, page.parent / "figures", tmp_path / "alone" / "report.html", plan_json).read_text()
    assert "trees/index.html" not in alone


def test_marks_of_a_drawing_say_their_value(page: Path) -> None:
    text = (page.parent / "figures" / "success.svg").read_text()
    titles = re.findall(r'<g class="tip"><title>([^<]+)</title>', text)
    assert any(re.fullmatch(r"SYMPHONY \d\.\d\d \[\d\.\d\d, \d\.\d\d\] n = 40", title) for title in titles)
