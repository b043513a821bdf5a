"""The page in a real browser: Debian's Chromium, driven by Playwright. Skipped where there is none."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from symphony.records.database import load
from symphony.report import build
from tests.report.chromium import DESKTOP, PHONE, opened_browser, serious_faults
from tests.report.conftest import synthetic_run

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright (pip install -e '.[dev]')")
expect = sync_api.expect  # waits: a browser tells a page of some events later, of a new address for one


@pytest.fixture(scope="module")
def page_file(synthetic_db: Path, plan_json: Path, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(synthetic_db, tmp_path_factory.mktemp("report"), plan_json, [manifest])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, page_file: Path) -> Iterator[Any]:
    """Opens the page (at a fragment); what it writes to the console, or asks of a network, fails the test."""
    told: list[str] = []
    contexts = []

    def opened(fragment: str = "", *, scheme: str = "light", size: dict[str, int] = DESKTOP) -> Any:
        contexts.append(browser.new_context(color_scheme=scheme, viewport=size, reduced_motion="reduce"))
        page = contexts[-1].new_page()
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: told.extend({request.url} if not request.url.startswith("file:") else ()))
        page.goto(page_file.as_uri() + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert told == []


def names(page: Any, table: str) -> list[str]:
    """The first cells of the rows that are seen."""
    rows = page.locator(f"#table-{table} tbody tr").filter(visible=True)
    return [str(text) for text in rows.locator("td:first-child").all_inner_texts()]


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_the_screen_and_its_first_paint_takes_less_than_a_second(
    visit: Any, size: dict[str, int]
) -> None:
    page = visit(size=size)
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]
    paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
    page.wait_for_function(f"{paint} > 0")
    assert page.evaluate(paint) < 1000
    page.click("#every")
    assert page.locator("details.chapter:not([open])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_the_answer_and_the_claims_stand_on_the_first_screen(visit: Any) -> None:
    page = visit()
    for text in (".answer", ".rates .own", ".claims li"):
        box = page.locator(text).first.bounding_box()
        assert box["y"] + box["height"] < DESKTOP["height"]


def test_a_table_sorts_by_click_and_by_key(visit: Any) -> None:
    page = visit("#table-success")
    head = page.locator("#table-success th", has_text="success").first
    before = names(page, "success")
    values = page.locator("#table-success tbody tr").filter(visible=True).locator("td:nth-child(4)")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    falling = [float(text.split()[0]) for text in values.all_inner_texts()]
    assert falling == sorted(falling, reverse=True)
    page.keyboard.press("Enter")  # the button kept the focus
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(text.split()[0]) for text in values.all_inner_texts()] == falling[::-1]
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "none"
    assert names(page, "success") == before


def test_a_table_is_filtered_by_task_and_by_words(visit: Any) -> None:
    page = visit("#table-methods")
    whole = names(page, "methods")
    page.select_option("#table-methods select", "gridworld")
    assert names(page, "methods") == whole
    assert page.locator("#table-methods output").inner_text() == f"{len(whole)} of {3 * len(whole)} rows"
    page.fill("#table-methods input", "without EMC")
    assert names(page, "methods") == ["without EMCS"]
    page.select_option("#table-methods select", "")
    assert names(page, "methods") == ["without EMCS"] * 3


def test_a_long_table_is_folded_until_its_button_is_pressed(visit: Any) -> None:
    page = visit("#table-success")
    page.select_option("#table-success select", "")
    assert len(names(page, "success")) == 20
    page.click("#table-success button.all")
    assert len(names(page, "success")) == 24


@pytest.mark.parametrize("way", ["click", "key", "fragment", "link"])
def test_a_chapter_opens(visit: Any, way: str) -> None:
    page = visit("#table-cost" if way == "fragment" else "")
    table = page.locator("#table-cost" if way != "link" else "#table-success")
    if way != "fragment":
        assert not table.is_visible()
    if way == "link":
        page.click("text=By task")
    if way == "click":
        page.click("#chapter-cost > summary")
    if way == "key":
        page.focus("#chapter-cost > summary")
        page.keyboard.press("Enter")
    expect(table).to_be_visible()


def test_a_column_says_what_it_holds_on_hover_and_on_focus(visit: Any) -> None:
    page = visit("#table-success")
    tooltip = page.locator("#tooltip")
    page.hover("#table-success th button:text-is('Holm p')")
    expect(tooltip).to_have_text("Permutation p, corrected for the number of rows of the table.")
    page.keyboard.press("Escape")
    expect(tooltip).to_be_hidden()
    page.focus("#table-success th button:text-is('n')")
    expect(tooltip).to_have_text("Problems, times seeds.")


def test_a_mark_of_a_figure_says_its_value(visit: Any) -> None:
    page = visit("#figure-success")
    page.locator("#figure-success .wide .tip").first.hover()
    expect(page.locator("#tooltip")).to_have_text(re.compile(r"^SYMPHONY 0\."))


def test_a_phone_gets_the_narrow_drawings(visit: Any) -> None:
    page = visit("#figure-success", size=PHONE)
    expect(page.locator("#figure-success .phone svg")).to_be_visible()
    expect(page.locator("#figure-success .wide svg")).to_be_hidden()


def test_printing_shows_everything(visit: Any) -> None:
    page = visit()
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert len(names(page, "success")) == 24
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.chapter[open]").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_axe_finds_no_serious_fault(visit: Any, scheme: str, size: dict[str, int]) -> None:
    page = visit(scheme=scheme, size=size)
    page.click("#every")
    assert serious_faults(page) == []


HOSTILE = (
    '</script><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"`${1}{{7*7}}&amp;\u2028\u202e'
)


def test_what_a_model_or_a_config_wrote_is_text_in_the_report_and_never_runs(browser: Any, tmp_path: Path) -> None:
    run, other = synthetic_run("symphony", problems=8), synthetic_run("uniform", problems=8)
    for one in (run, other):
        one.nodes[:] = [
            dataclasses.replace(node, action=HOSTILE, thought=HOSTILE, observation=HOSTILE) for node in one.nodes
        ]
        one.calls[:] = [dataclasses.replace(call, text=HOSTILE) for call in one.calls]
        one.reflections[:] = [dataclasses.replace(lesson, text=HOSTILE) for lesson in one.reflections]
        one.problems[:] = [
            dataclasses.replace(problem, kind=HOSTILE, detail=HOSTILE, stop_reason=HOSTILE) for problem in one.problems
        ]
        one.run = dataclasses.replace(
            one.run, task=HOSTILE, pool=HOSTILE, preset=HOSTILE, commit=HOSTILE, hardware=HOSTILE, scorer=HOSTILE
        )
        one.fail(0, [f"status: {HOSTILE}"])
    names = [one.run.experiment for one in (run, other)]
    described = {name: {"title": HOSTILE, "question": HOSTILE, "table": "main"} for name in names}
    plan = {"study": HOSTILE, "experiments": described, "left_out": [HOSTILE]}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    load(tmp_path / "records.duckdb", [one.write(tmp_path / "runs") for one in (run, other)])
    page_file = build(tmp_path / "records.duckdb", tmp_path / "report", tmp_path / "plan.json", [])
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(page_file.as_uri())
    page.click("#every")
    assert "</script><img src=x" in page.locator("body").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src='x']").count() == 0
    assert [address for address in asked if not address.startswith(("file:", "data:", "blob:"))] == []
    page.close()


def test_the_readme_shows_the_first_screen(visit: Any, tmp_path: Path) -> None:
    """With SCREENSHOT=1 the picture in the README is taken anew, from the results of `make run`."""
    taken = ROOT / "docs" / "report.png"
    made = ROOT / "outputs" / "quickstart" / "report.html"
    path = taken if os.environ.get("SCREENSHOT") and made.is_file() else tmp_path / "report.png"
    page = visit(size={"width": 1280, "height": 850})
    if path == taken:
        page.goto(made.as_uri())
    page.screenshot(path=path)
    head = slice(16, 24)  # width and height in a PNG file
    assert path.read_bytes()[head] == taken.read_bytes()[head]
