"""Tasks for people: grades predictions made elsewhere, and plays an episode action by action."""

from __future__ import annotations

import json
import re
import reprlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TextIO, runtime_checkable

from symphony.chat.prompts import read_action
from symphony.files import check_own, write_atomic
from symphony.report.stats import rate
from symphony.tasks import jsonrows
from symphony.types import Problem, Prompts, State, SymphonyError, Task

LINE = '{"id": ..., "prediction": a text or a list of actions}'
"""Format of a line of predictions."""
UNCOUNTED = ("unknown_id", "malformed", "duplicate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """One graded line of predictions.

    Attributes:
        id: The problem's id; None if the line has none.
        outcome: As in `Grade`, or one of `UNCOUNTED`, which no metric counts.
        seconds: Time that grading took.
    """

    id: str | None
    passed: bool
    score: float
    outcome: str
    seconds: float
    detail: str

    @property
    def counts(self) -> bool:
        return self.outcome not in UNCOUNTED


# --------------------------------------------------------------------------- grading


_FIELDS = ("id", "passed", "score", "outcome", "seconds", "detail")
"""Fields of a line that is written for a prediction."""


def _is_graded_file(head: bytes) -> bool:
    """Whether a file begins like one that `grade_file` wrote."""
    return re.match(rb'\{"id": [^\n]*, "passed": (true|false), "score": ', head) is not None


def grade_file(task: Task, predictions: Path, out: Path | None, say: Callable[[str], None]) -> list[Graded]:
    """Grades a file of `{"id": ..., "prediction": ...}` lines, reports the metrics, and writes a line for each.

    Raises:
        SymphonyError: The file cannot be read, or `out` cannot be written.
    """
    if out is not None:
        check_own(out, _is_graded_file)
    lines = jsonrows.read_text(predictions).split("\n")
    if not any(map(str.strip, lines)):
        raise SymphonyError(f"{predictions}: found no lines, allowed: {LINE} on each line")
    problems = {problem.id: problem for problem in task.problems()}
    if protection := getattr(task, "protection", ""):
        say(f"programs run under {protection}")
    graded: list[Graded] = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            result = _grade_line(task, problems, line, predictions, number, say)
            if result.counts and any(result.id == other.id for other in graded if other.counts):
                say(f"{predictions}:{number}: found id {result.id!r} again, allowed: one prediction a problem")
                result = replace(result, outcome="duplicate")
            elif result.outcome == "broken_test":
                say(f"{predictions}:{number}: problem {result.id}: {result.detail}; no program passes it")
            graded.append(result)
    if out is not None:
        write_atomic(out, "".join(json.dumps({f: getattr(result, f) for f in _FIELDS}) + "\n" for result in graded))
    _tell(graded, problems, say)
    return graded


def _grade_line(
    task: Task, problems: Mapping[str, Problem], line: str, path: Path, number: int, say: Callable[[str], None]
) -> Graded:
    where = f"{path}:{number}"
    try:
        row = jsonrows.parse_json(line, path, number)
        why = _find_fault(row)
        message = f"{where}: found {why}, allowed: {LINE}" if why else ""
    except SymphonyError as error:
        row, message = None, str(error)
    id = str(row["id"]) if isinstance(row, dict) and _is_id(row.get("id")) else None
    if message or id is None:
        say(message)
        return Graded(id=id, passed=False, score=0.0, outcome="malformed", seconds=0.0, detail=message)
    prediction = row["prediction"]
    if id not in problems:
        say(f"{where}: found id {id!r}, allowed: an item of the task")
        return Graded(id=id, passed=False, score=0.0, outcome="unknown_id", seconds=0.0, detail="")
    began = time.monotonic()
    grade = task.grade(problems[id], _end(task, problems[id], prediction))
    seconds = round(time.monotonic() - began, 4)
    return Graded(
        id=id, passed=grade.success, score=grade.score, outcome=grade.outcome, seconds=seconds, detail=grade.detail
    )


def _find_fault(row: Any) -> str:
    """Returns what is wrong with a line; "" if nothing is."""
    if not isinstance(row, dict):
        return "no JSON object"
    if missing := [name for name in ("id", "prediction") if row.get(name) is None]:
        return "no " + " and no ".join(missing)
    if not _is_id(row["id"]):
        return f"an id that is {reprlib.repr(row['id'])}"
    prediction = row["prediction"]
    actions = prediction if isinstance(prediction, list) else [prediction]
    fine = all(isinstance(action, str) for action in actions)
    return "" if fine else f"a prediction that is {reprlib.repr(prediction)}"


def _is_id(value: Any) -> bool:
    """Whether it is a text that is not blank, or a whole number."""
    return bool(value.strip()) if isinstance(value, str) else isinstance(value, int) and not isinstance(value, bool)


def _end(task: Task, problem: Problem, prediction: str | list[str]) -> State:
    """Returns the state that a prediction leads to: by the actions of a list, or by those that submit a text."""
    state = task.reset(problem)
    actions = (
        task.submission(prediction) if isinstance(prediction, str) else [read_action(x, task.parse) for x in prediction]
    )
    for action in actions:
        state = task.step(state, action)
    return state


def _tell(graded: list[Graded], problems: Mapping[str, Problem], say: Callable[[str], None]) -> None:
    counted = [result for result in graded if result.counts]
    missing = len(problems.keys() - {result.id for result in counted})
    say(f"graded {len(counted)} predictions for {len(problems)} problems; {missing} problems have none")
    if len(counted) < len(graded):
        say(f"{len(graded) - len(counted)} lines are counted in no metric: see above")
    if broken := sum(result.outcome == "broken_test" for result in counted):
        say(f"{broken} of them are for problems whose published test can't be run, so no program passes")
    ids = [str(result.id) for result in counted]
    success = rate([float(result.passed) for result in counted], ids)
    score = rate([result.score for result in counted], ids)
    for name, estimate in (("success", success), ("score", score)):
        if estimate is not None:
            say(f"{name} {estimate.value:.4f} (95 % interval {estimate.low:.4f} to {estimate.high:.4f})")
    say(
        "outcomes: "
        + ", ".join(f"{name} {count}" for name, count in sorted(Counter(o.outcome for o in graded).items()))
    )


# --------------------------------------------------------------------------- playing


@runtime_checkable
class Verbal(Protocol):
    """A task whose actions are written `verb[argument]` with one of these verbs."""

    @property
    def verbs(self) -> tuple[str, ...]: ...


def play(task: Task, id: str, actions: Iterable[str], out: TextIO, *, as_json: bool) -> None:
    """Plays one episode, one action per line, until the episode or the lines end.

    The first observation, and the one after an invalid action, lists the verbs of the task's actions.

    Raises:
        SymphonyError: There is no such problem.
    """
    problems = task.problems()
    problem = next((item for item in problems if item.id == id), None)
    if problem is None:
        some = ", ".join(item.id for item in problems[:3])
        raise SymphonyError(f"problem: found {id!r}, allowed: an id of the task, such as {some}")
    state = task.reset(problem)
    actions_are = "Actions: " + ", ".join(f"{verb}[...]" for verb in task.verbs) if isinstance(task, Verbal) else ""
    _show(out, state, as_json, first="\n".join(filter(None, (_opening(task.prompts, problem), actions_are))))
    for line in actions:
        if not line.strip():
            continue
        state = task.step(state, read_action(line, task.parse))
        _show(out, state, as_json, first=actions_are if state.invalid else "")
        if state.done:
            break
    grade = task.grade(problem, state)
    result = {"success": grade.success, "score": grade.score, "outcome": grade.outcome, "detail": grade.detail}
    words = ", ".join(f"{name} {value}" for name, value in result.items() if value != "")
    out.write(json.dumps({"grade": result}) + "\n" if as_json else f"\ngrade: {words}\n")
    out.flush()


def _opening(prompts: Prompts, problem: Problem) -> str:
    """Returns the instructions and the problem, without worked examples."""
    dropped = 0
    while prompts.expansion(problem, (), (), dropped + 1):
        dropped += 1
    return prompts.expansion(problem, (), (), dropped)[-1].content


def _show(out: TextIO, state: State, as_json: bool, first: str = "") -> None:
    observation = "\n".join(filter(None, (first, state.observation)))
    if as_json:
        shown: dict[str, Any] = {
            "observation": observation,
            "reward": state.reward,
            "terminated": state.terminated,
            "truncated": state.truncated,
            "invalid": state.invalid,
        }
        out.write(json.dumps(shown, ensure_ascii=False) + "\n")
    else:
        end = (
            ""
            if not state.done
            else f" [{'ended' if state.terminated else 'cut by the horizon'}, reward {state.reward}]"
        )
        out.write(f"{observation}{end}\n> " if not state.done else f"{observation}{end}\n")
    out.flush()
