"""The pages in a real browser: they load from files, run nothing that a model wrote, and are quick with large trees."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.report.viewer.pages import INDEX
from tests.report.chromium import DESKTOP, PHONE, opened_browser, serious_faults
from tests.report.conftest import SyntheticRun, synthetic_run
from tests.report.viewer.conftest import publish, publish_folders, write_large_run

pytestmark = pytest.mark.slow
sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright (pip install -e '.[dev]')")
expect = sync_api.expect
RUN = "symphony-gridworld-1"
HOSTILE = '</script><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"`${1}&amp;\u2028\u202e'


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails its test if it says anything in the console, or asks for anything but files."""
    context = browser.new_context(viewport=DESKTOP)
    opened = context.new_page()
    trouble: list[str] = []
    opened.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    requests: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    yield opened
    context.close()
    assert not trouble
    assert not [address for address in requests if not address.startswith(("file:", "blob:"))]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = [synthetic_run("symphony"), synthetic_run("lats"), synthetic_run("react", task="mini_qa")]
    return publish(tmp_path_factory.mktemp("trees"), runs)


@pytest.fixture(scope="module")
def differing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two runs whose second node got another observation."""
    folder = tmp_path_factory.mktemp("diff")
    first, second = synthetic_run(), synthetic_run()
    at = next(index for index, node in enumerate(second.nodes) if node.node == 2)
    second.nodes[at] = dataclasses.replace(second.nodes[at], observation=HOSTILE)
    out = folder / "diff.html"
    assert main(["diff", str(first.write(folder / "a")), str(second.write(folder / "b")), "--out", str(out)]) == 1
    return out


def until(page: Any, expression: str, seconds: float = 20) -> None:
    """Waits until an expression is true; the pages allow no `eval`, which playwright's own way of waiting needs."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(sync_api.Error):  # the page is being loaded
            if page.evaluate(f"!!({expression})"):
                return
        page.wait_for_timeout(20)
    raise AssertionError(f"{expression} is not true after {seconds} s")


def open_tree(page: Any, trees: Path, fragment: str) -> None:
    page.goto(f"{(trees / 'tree.html').as_uri()}#{fragment}")
    until(page, "window.page || document.querySelector('.error')")


def spot(page: Any, node: int) -> tuple[float, float]:
    """Where a node is on the screen, once the map has taken the size that the page leaves it."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    box = page.locator("#map").bounding_box()
    x, y = page.evaluate("id => [page.map.x(id), page.map.y(id)]", node)
    return box["x"] + x, box["y"] + y


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_loads_and_none_is_wider_than_the_screen(
    page: Any, trees: Path, size: dict[str, int], scheme: str
) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme)
    for address in (INDEX, f"tree.html#{RUN}/gridworld-0/1"):
        page.goto((trees / "x").as_uri().removesuffix("x") + address)
        until(page, "window.page || window.index")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_in_the_list_and_the_tree(
    page: Any, trees: Path, size: dict[str, int], scheme: str
) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto((trees / INDEX).as_uri())
    until(page, "window.index")
    assert serious_faults(page) == []
    open_tree(page, trees, f"{RUN}/gridworld-0/1")
    until(page, "page.promptsKnown")
    for tab in ("Calls", "Lessons", "Node"):
        page.locator(".tabs button", has_text=tab).click()
        assert serious_faults(page) == []
    # A call's prompt comes into being when it is opened.
    page.evaluate("document.querySelectorAll('#panel details').forEach(part => { part.open = true })")
    page.evaluate("page.goTo(1)")
    assert serious_faults(page) == []
    page.click("#help")
    assert serious_faults(page) == []


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_in_a_diff(page: Any, differing: Path, size: dict[str, int], scheme: str) -> None:
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(differing.as_uri())
    until(page, "window.maps")
    for summary in page.locator("summary").all():
        summary.click()
    assert serious_faults(page) == []


def test_a_row_of_the_index_opens_its_tree(page: Any, trees: Path) -> None:
    page.goto((trees / INDEX).as_uri())
    page.select_option("#experiment", "lats")
    page.locator("#list a.row").nth(2).click()
    until(page, "window.page")
    assert page.evaluate("page.problem.problem") == "gridworld-2"
    assert page.evaluate("page.run.experiment") == "lats"


def test_the_address_filters_the_index(page: Any, trees: Path) -> None:
    page.goto(f"{(trees / INDEX).as_uri()}#experiment=symphony&task=gridworld&outcome=solved")
    until(page, "window.index")
    shown = page.evaluate("index.shown.map((row) => [row.run.experiment, row.success])")
    assert shown
    assert all(row == ["symphony", True] for row in shown)
    page.fill("#text", "no such problem")
    assert page.inner_text("#count") == "no problem"


def test_a_column_of_the_index_sorts(page: Any, trees: Path) -> None:
    page.goto((trees / INDEX).as_uri())
    for way in (1, -1):
        page.click("#list .head .calls")
        calls = page.evaluate("index.shown.map((row) => row.calls)")
        assert calls == sorted(calls, key=lambda count: way * count)


def test_a_clicked_node_shows_its_texts_and_the_calls_with_their_prompts(page: Any, trees: Path) -> None:
    open_tree(page, trees, f"{RUN}/gridworld-0")
    page.mouse.click(*spot(page, 2))
    panel = page.locator("#panel")
    expect(panel.locator("h2.name")).to_have_text("Node 2")
    assert page.evaluate("page.problem.nodes[2].action") in panel.inner_text()
    panel.locator("details.call").first.locator("summary").first.click()
    panel.locator("details.message pre").first.wait_for()
    assert "Find the key." in panel.inner_text()
    assert "Thought: try it." in panel.inner_text()
    until(page, "location.hash.endsWith('/gridworld-0/2')")


def test_an_address_opens_its_node(page: Any, trees: Path) -> None:
    open_tree(page, trees, f"{RUN}/gridworld-3/2")
    assert page.evaluate("[page.problem.problem, page.selected]") == ["gridworld-3", 2]
    page.evaluate("location.hash = location.hash.replace(/2$/, '1')")
    until(page, "page.selected === 1")
    page.evaluate("location.hash = location.hash.replace(/gridworld-3.*/, 'gridworld-4')")
    until(page, "window.page && page.problem.problem === 'gridworld-4'")


def test_an_address_opened_right_after_a_click_is_kept(page: Any, trees: Path) -> None:
    open_tree(page, trees, f"{RUN}/gridworld-3/2")
    page.wait_for_timeout(300)  # the page has written the address of its own selection
    page.evaluate(
        """() => {
            const later = setTimeout;
            const waiting = [];
            window.setTimeout = (act) => waiting.push(act);
            window.page.select(0);
            location.hash = location.hash.replace(/2$/, '1');
            waiting.forEach((act) => act()); // the wait ends before the browser tells of the new address
            window.setTimeout = later;
        }"""
    )
    until(page, "page.selected === 1")
    assert page.evaluate("location.hash").endswith("/gridworld-3/1")


@pytest.mark.parametrize(
    "fragment",
    ["", "nothing/gridworld-0", f"{RUN}/nothing", "..%2F..%2Fevil/p", f"{RUN}/%3Cimg src=x onerror=alert(1)%3E"],
)
def test_an_address_that_leads_nowhere_is_told(browser: Any, trees: Path, fragment: str) -> None:
    opened = browser.new_page()
    open_tree(opened, trees, fragment)
    assert opened.locator(".error").inner_text()
    assert opened.locator("img").count() == 0
    opened.close()


def test_the_page_says_which_run_it_shows(page: Any, trees: Path) -> None:
    open_tree(page, trees, f"{RUN}/gridworld-1")
    told = page.inner_text("#identity")
    for part in ("synthetic", "symphony", "gridworld", "gridworld-1", "seed 1", RUN, "0123456789"):
        assert part in told


def test_the_slider_and_the_keys_step_through_the_calls(page: Any, trees: Path) -> None:
    open_tree(page, trees, f"{RUN}/gridworld-0")
    calls = page.evaluate("page.problem.calls.length")
    page.locator("#step").evaluate("slider => { slider.value = 2; slider.dispatchEvent(new Event('input')); }")
    assert page.inner_text("#moment").startswith(f"2 / {calls} ")
    later = "page.problem.nodes.filter((node) => node.made > page.map.step).length"
    assert page.evaluate(later) > 0
    page.focus("#map")
    page.keyboard.press(".")
    assert page.evaluate("page.step") == 3
    page.keyboard.press(",")
    page.keyboard.press(",")
    assert page.evaluate("page.step") == 1
    page.keyboard.press(" ")
    until(page, "page.step >= 2")
    page.keyboard.press(" ")
    assert page.evaluate("page.playing") is None


def test_arrow_keys_move_between_nodes(page: Any, trees: Path) -> None:
    open_tree(page, trees, f"{RUN}/gridworld-0/0")
    page.focus("#map")
    page.keyboard.press("ArrowRight")
    child = page.evaluate("page.selected")
    assert page.evaluate("page.problem.nodes[page.selected].parent") == 0
    page.keyboard.press("ArrowDown")
    assert page.evaluate("page.selected") != child
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("page.selected") == 0
    page.keyboard.press("a")
    assert page.evaluate("page.selected === page.problem.answer_node")


def test_search_finds_texts_of_nodes_and_prompts(page: Any, trees: Path) -> None:
    open_tree(page, trees, f"{RUN}/gridworld-0")
    action = page.evaluate("page.problem.nodes[1].action")
    page.keyboard.press("/")
    page.keyboard.type(action)
    page.keyboard.press("Enter")
    until(page, "page.selected > 0")
    assert action in page.inner_text("#panel")
    page.fill("#search", "prompt: find the key")
    until(page, "page.hits.length > 1")
    page.fill("#search", "nothing says this")
    until(page, "document.querySelector('#hits').textContent === 'nothing'")


def test_a_lesson_shows_where_it_was_born_and_read(page: Any, trees: Path) -> None:
    open_tree(page, trees, f"{RUN}/gridworld-0/1")
    until(page, "page.promptsKnown")
    assert "Lesson: synthetic." in page.inner_text("#panel")  # born at node 1
    page.keyboard.press("3")
    assert "Read in prompts at nodes" in page.inner_text("#panel")
    assert page.evaluate("[page.map.born.has(1), page.map.read.has(0)]") == [True, True]


def test_a_run_without_prompts_says_so_at_its_calls(page: Any, tmp_path: Path) -> None:
    trees = publish(tmp_path, [synthetic_run("symphony")], prompts=False)
    open_tree(page, trees, f"{RUN}/gridworld-0/1")
    page.locator("#panel details.call summary").first.click()
    page.get_by_text("The prompts of this run were not kept").first.wait_for()


def hostile_run() -> SyntheticRun:
    """A run in which every text is an attack."""
    run = synthetic_run("symphony", problems=1)
    spoilt = HOSTILE
    name = f"{spoilt}/#?%"
    tables: list[list[Any]] = [run.problems, run.nodes, run.calls, run.picks, run.reflections, run.timings]
    for rows in tables:
        rows[:] = [dataclasses.replace(row, problem=name) for row in rows]
    run.problems[0] = dataclasses.replace(run.problems[0], detail=spoilt, kind=spoilt, stop_reason=spoilt)
    run.nodes[:] = [
        dataclasses.replace(node, action=spoilt, thought=spoilt, observation=spoilt, agent=node.agent and spoilt)
        for node in run.nodes
    ]
    run.calls[:] = [dataclasses.replace(call, text=spoilt, agent=spoilt, finish_reason=spoilt) for call in run.calls]
    run.picks[:] = [dataclasses.replace(pick, agent=spoilt) for pick in run.picks]
    run.reflections[:] = [dataclasses.replace(one, text=spoilt, agent=spoilt) for one in run.reflections]
    run.run = dataclasses.replace(run.run, agents=[spoilt, "b", "c"], experiment=spoilt, task=spoilt, commit=spoilt)
    return run


def test_what_a_model_wrote_is_text_and_never_runs(page: Any, tmp_path: Path) -> None:
    trees = publish(tmp_path, [hostile_run()])
    page.goto((trees / INDEX).as_uri())
    until(page, "window.index")
    assert HOSTILE.split("\u2028")[0] in page.locator("#list a.row .experiment").text_content()
    page.locator("#list a.row").first.click()
    until(page, "window.page && page.promptsKnown")
    for tab in ("1", "2", "3"):
        page.keyboard.press(tab)
    page.keyboard.press("1")
    page.keyboard.press("ArrowRight")
    for summary in page.locator("#panel summary").all():
        summary.click()
    assert HOSTILE in page.locator("#panel pre.action").text_content()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0


def test_the_page_of_a_diff_marks_the_node_that_differs(page: Any, differing: Path) -> None:
    page.goto(differing.as_uri())
    until(page, "window.maps")
    assert page.evaluate("maps.map((map) => map.marked)") == [2, 2]
    cells = page.locator("#divergence .event")
    assert cells.count() == 2
    assert "You see a wall." in cells.nth(0).text_content()
    assert cells.nth(1).locator("mark").text_content().startswith("</script>")
    assert page.evaluate("window.hacked") is None


def test_the_page_of_equal_runs_says_so(page: Any, tmp_path: Path) -> None:
    folder, out = str(synthetic_run().write(tmp_path)), tmp_path / "diff.html"
    assert main(["diff", folder, folder, "--out", str(out)]) == 0
    page.goto(out.as_uri())
    page.get_by_text("Equal: 6 problems").wait_for()


def test_5000_nodes_are_painted_within_a_second_and_a_click_takes_less_than_100_ms(
    browser: Any, large_trees: Path
) -> None:
    paints, clicks = [], []
    for _ in range(3):  # of three, since others may use this machine, too
        opened = browser.new_page(viewport=DESKTOP)
        open_tree(opened, large_trees, "r1/p1")
        until(opened, "performance.getEntriesByName('painted').length && page.promptsKnown")
        paints.append(opened.evaluate("performance.getEntriesByName('painted')[0].startTime"))
        for key in ("f", "+"):  # all 5,000 at once, then some of them
            opened.keyboard.press(key)
            clicks.append(opened.evaluate(_CLICK))
        opened.close()
    assert min(paints) < 1_000
    assert min(clicks[::2]) < 100
    assert min(clicks[1::2]) < 100


_CLICK = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  await frame();
  const begin = performance.now();
  page.select(4000);
  page.map.paint();
  document.body.getBoundingClientRect(); // the layout is part of it
  return performance.now() - begin;
}"""


def test_a_list_of_10000_problems_makes_few_elements(page: Any, trees: Path) -> None:
    page.goto((trees / INDEX).as_uri())
    until(page, "window.index")
    page.evaluate("index.rows = Array.from({ length: 10000 }, () => index.rows[0]); index.draw()")
    assert page.inner_text("#count").startswith("10,000 problems")
    assert page.locator("#list a.row").count() < 100


def test_the_json_of_a_page_holds_its_nodes_and_prompts(page: Any, tmp_path: Path) -> None:
    trees = publish_folders(tmp_path, [write_large_run(tmp_path / "runs", 3, text="treasure")])
    open_tree(page, trees, "r1/p1")
    with page.expect_download() as waiting:
        page.click("#json")
    text = Path(waiting.value.path()).read_text()
    assert '"nodes"' in text
    assert "treasure 3" in text
