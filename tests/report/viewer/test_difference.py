"""`symphony diff` finds the first difference of two searches, names it, and says it with its exit code."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.report.viewer.compare import first_divergence, list_events, open_side
from tests.report.conftest import SyntheticRun, synthetic_run
from tests.report.viewer.conftest import drop_prompts

NAME = "symphony-gridworld-1"


def change(rows: list[Any], at: int, **fields: Any) -> None:
    rows[at] = dataclasses.replace(rows[at], **fields)


def write_pair(tmp_path: Path, spoil: Callable[[SyntheticRun], None]) -> tuple[str, str]:
    """Two equal runs, the second changed."""
    first, second = synthetic_run(), synthetic_run()
    spoil(second)
    return str(first.write(tmp_path / "a")), str(second.write(tmp_path / "b"))


def compare(*arguments: str) -> int:
    return main(["diff", *arguments])


def pick_another(run: SyntheticRun) -> None:
    """Another agent is asked in the fourth call, and proposes the same."""
    change(run.picks, 3, agent="x")
    change(run.calls, 3, agent="x")
    change(
        run.nodes,
        next(at for at, node in enumerate(run.nodes) if node.action and node.action in run.calls[3].text),
        agent="x",
    )


CHANGES: dict[str, Callable[[SyntheticRun], None]] = {
    "the agent that was picked": pick_another,
    "the prompt": lambda run: change(run.calls, 3, prompt="another"),
    "the answer": lambda run: change(run.calls, 3, text="Action: stop[]"),
    "temperature of the call": lambda run: change(run.calls, 3, temperature=0.1),
    "the reward": lambda run: change(run.nodes, 2, reward=0.5),
    "observation of the node": lambda run: change(run.nodes, 2, observation="fog"),
    "value_sum of the score": lambda run: change(run.nodes, 2, value_sum=0.9),
    "text of the lesson": lambda run: change(run.reflections, 0, text="Another."),
    "stop_reason of the end": lambda run: change(run.problems, 0, stop_reason="error"),
    "means of the pick": lambda run: change(run.picks, 0, means=[0.5, 0.0, 0.0]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_first_difference_is_named(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(*write_pair(tmp_path, CHANGES[what])) == 1
    told = capsys.readouterr().out
    assert "1 of 6 problems differ; the first is gridworld-0\n" in told
    assert f"; then {what} at " in told


def test_equal_runs_are_told_as_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(*write_pair(tmp_path, lambda run: None)) == 0
    assert capsys.readouterr().out.endswith("equal: 6 problems, event by event\n")


def test_of_two_differences_the_first_is_told(tmp_path: Path) -> None:
    def spoil(run: SyntheticRun) -> None:
        change(run.calls, 5, text="late")
        change(run.nodes, 1, value_sum=7.0)  # known only at the end
        change(run.calls, 2, text="early")

    sides = [open_side(Path(folder), "gridworld-0") for folder in write_pair(tmp_path, spoil)]
    found = first_divergence(*(list_events(side.problems["gridworld-0"]) for side in sides))
    assert found is not None
    assert (found.event.kind, found.event.index, found.fields) == ("call", 2, ("text",))


def test_a_call_more_is_where_the_other_search_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def spoil(run: SyntheticRun) -> None:
        last = max(index for index, call in enumerate(run.calls) if call.problem == "gridworld-0")
        calls = run.problems[0].calls
        more = dataclasses.replace(run.calls[last], call=calls, node=0, phase="reflect")
        run.calls.insert(last + 1, more)
        tokens = {
            name: getattr(run.problems[0], name) + getattr(more, name)
            for name in ("prompt_tokens", "completion_tokens")
        }
        change(run.problems, 0, calls=calls + 1, **tokens)
        run.timings.insert(last + 1, dataclasses.replace(run.timings[last], call=calls))

    assert compare(*write_pair(tmp_path, spoil)) == 1
    assert re.search(
        r"  A  lesson at lesson 0\n  B  call at call \d+ \(iteration \d, node 0, reflect\)", capsys.readouterr().out
    )


def test_only_the_named_problem_is_compared(tmp_path: Path) -> None:
    first, second = write_pair(tmp_path, CHANGES["the answer"])
    assert compare(f"{first}/gridworld-0", second) == 1
    assert compare(first, f"{second}/gridworld-1") == 0
    assert compare(f"{first}/gridworld-1", f"{first}/gridworld-2") == 1


def test_a_run_is_found_by_the_first_digits_of_its_digest(tmp_path: Path) -> None:
    for name in ("ab12cd34", "ab12ff00"):
        synthetic_run(run=name).write(tmp_path / "runs")
    place = ["--outputs", str(tmp_path)]
    assert compare("ab12c", "ab12cd34/gridworld-0", *place) == 0
    assert compare("ab12c", "ab12ff/gridworld-0", *place) == 1
    assert compare("ab12", "ab12f", *place) == 2  # two runs begin so


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere", "nowhere"), "nowhere: found no finished run"),
        (("", "nowhere"), ""),
        ((f"{{folder}}/a/{NAME}/nothing", f"{{folder}}/a/{NAME}"), "found no problem nothing, allowed: gridworld-0, "),
        ((f"{{folder}}/a/{NAME}", f"{{folder}}/c/{NAME}"), "picks.jsonl: found nothing, allowed: the records of a"),
        ((f"{{folder}}/a/{NAME}", "{folder}/d/symphony-mini_qa-1"), "found no problem in common"),
        ((f"{{folder}}/a/{NAME}",) * 2 + ("--out", "{folder}/mine.html"), "mine.html: found a file that this command"),
    ],
)
def test_bad_input_has_exit_code_2_and_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthetic_run().write(tmp_path / "a")
    (synthetic_run().write(tmp_path / "c") / "picks.jsonl").unlink()
    synthetic_run(task="mini_qa").write(tmp_path / "d")
    (tmp_path / "mine.html").write_text("years of work")
    try:
        code = compare(*(argument.format(folder=tmp_path) for argument in arguments))
    except SystemExit as error:  # as argparse ends
        code = int(str(error.code))
    told = capsys.readouterr().err
    assert code == 2
    assert message in told
    assert "Traceback" not in told


def test_no_control_character_of_a_model_reaches_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(*write_pair(tmp_path, lambda run: change(run.calls, 3, text="\x1b]0;owned\x07 \x9b31m\u202e")))
    told = capsys.readouterr().out
    assert "owned" in told
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", told)


def test_a_prompt_that_was_kept_is_shown_where_it_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = write_pair(tmp_path, CHANGES["the prompt"])
    compare(first, second)
    assert "A  'user: Find the key." in (told := capsys.readouterr().out)
    assert "B  digest another (prompts were not kept)" in told
    drop_prompts(Path(first))
    compare(first, second)
    assert "A  digest digest (prompts were not kept)" in capsys.readouterr().out


def test_the_page_has_a_twin_with_the_same_content(tmp_path: Path) -> None:
    page = tmp_path / "diff.html"
    for _ in range(2):  # its own page is replaced
        assert compare(*write_pair(tmp_path, CHANGES["the answer"]), "--out", str(page)) == 1
    twin = json.loads((tmp_path / "diff.json").read_text())
    assert (twin["what"], twin["differing"][0]["problems"]) == ("the answer", ["gridworld-0"])
    at = twin["position"] - twin["begin"]
    assert [events[at] for events in twin["events"]] == [["call", 3], ["call", 3]]
    assert not re.search(r'(src|href)="', page.read_text().partition("<script>")[0])
