"""Compares the searches of two runs and finds where they first differ (`symphony diff`)."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from symphony.records.configs import CONFIGS, flat_config
from symphony.records.database import load, reading
from symphony.records.manifest import MANIFEST
from symphony.records.prompts import read_packs
from symphony.report.viewer.data import read_runs, read_searches
from symphony.types import SymphonyError

_LEAST = 4  # digits of a digest that may stand for a run

EVENTS: dict[str, tuple[str, ...]] = {
    "pick": ("phase", "node", "agent", "iteration"),
    "call": (
        "phase", "node", "agent", "iteration", "draw", "prompt", "temperature", "error", "text", "finish_reason",
        "prompt_tokens", "completion_tokens", "cost",
    ),
    "node": (
        "parent", "origin", "agent", "action", "thought", "observation", "reward", "terminal", "solved", "invalid",
    ),
    "score": ("value", "confidence", "prior", "fallback", "visits", "value_sum", "closed"),
    "lesson": ("node", "agent", "text"),
    "end": ("stop_reason", "answer_node", "success", "score", "detail"),
}  # fmt: skip
"""Kind of event -> the fields that are compared, those that cause others first.

The sampler's seed is not compared: it differs between runs with different seeds, and what it decides is the answer.
"""

_INPUTS = ("counts", "means", "bonuses")
"""Of a pick: what the scheduler saw. Compared only if all else is equal: other inputs may lead to the same search."""

_WORDS = {
    ("pick", "agent"): "the agent that was picked",
    ("pick", "phase"): "what is asked next",
    ("pick", "node"): "the node that is asked about next",
    ("call", "phase"): "what is asked next",
    ("call", "node"): "the node that is asked about next",
    ("call", "agent"): "the agent that was asked",
    ("call", "prompt"): "the prompt",
    ("call", "text"): "the answer",
    ("node", "reward"): "the reward",
    ("end", "success"): "the grade",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened in a search.

    Attributes:
        kind: A key of `EVENTS`.
        index: Number of the pick, call, node or lesson; 0 for the end.
        call: How many calls were made before it.
        values: Its fields, of which those in `EVENTS` are compared.
    """

    kind: str
    index: int
    call: int
    values: Mapping[str, Any]

    def fields(self, inputs: bool) -> tuple[str, ...]:
        """Names the fields that are compared; `inputs` adds those of `_INPUTS` to a pick."""
        return EVENTS[self.kind] + (_INPUTS if inputs and self.kind == "pick" else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """Where two searches first differ.

    Attributes:
        position: Number of equal events before it.
        sides: The event of each search there; None where a search has ended.
        fields: Names of the fields that differ; empty if the events are of different kinds, or one is missing.
        what: The first difference in words.
    """

    position: int
    sides: tuple[Event | None, Event | None]
    fields: tuple[str, ...]
    what: str

    @property
    def event(self) -> Event:
        return next(event for event in self.sides if event is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two compared runs.

    Attributes:
        run: What identifies it (`read_runs`).
        settings: Its config, one text a key.
        problems: Id -> the search (`problem.sql`), in the order of the run.
        folder: Its folder, where the prompts are.
    """

    run: dict[str, Any]
    settings: dict[str, str | None]
    problems: dict[str, dict[str, Any]] = field(repr=False)
    folder: Path

    def prompts(self, problem: str) -> dict[str, list[dict[str, str]]]:
        """Returns the messages of a problem's prompts, by digest; nothing if they were not kept."""
        return next((pack.read() for pack in read_packs(self.folder) if pack.problem == problem), {})


def find_run(text: str, outputs: Path) -> tuple[Path, str | None]:
    """Finds the folder of RUN or RUN/PROBLEM, where RUN is a folder or the first digits of a digest.

    Raises:
        SymphonyError: There is no such run, or more than one.
    """
    parts = text.rstrip("/").split("/")
    for count in range(len(parts), 0, -1):
        folder = Path("/".join(parts[:count]) or "/")
        if (folder / MANIFEST).is_file():
            return folder, "/".join(parts[count:]) or None
    runs, begin = outputs / "runs", parts[0]
    found = [path for path in sorted(runs.glob(f"{begin}*")) if (path / MANIFEST).is_file()] if begin.isalnum() else []
    if len(begin) >= _LEAST and len(found) == 1:
        return found[0], "/".join(parts[1:]) or None
    finding = f"{len(found)} runs" if len(found) > 1 else "no finished run"
    raise SymphonyError(
        f"{text}: found {finding} there or in {runs}, allowed: RUN or RUN/PROBLEM, where RUN is the folder of a "
        f"finished run or at least {_LEAST} digits of its digest"
    )


def open_side(folder: Path, problem: str | None) -> Side:
    """Reads a run, or one problem of it.

    Raises:
        SymphonyError: Its records are damaged, or it has no such problem.
    """
    with tempfile.TemporaryDirectory() as temporary:
        database = Path(temporary) / "records.duckdb"
        load(database, [folder])
        with reading(database) as connection:
            (run,) = read_runs(connection)
            ((config,),) = connection.execute(f"SELECT config FROM {CONFIGS}").fetchall()
            problems = {one.problem: json.loads(one.text) for one in read_searches(connection, [run["run"]])}
    if problem is not None:
        if problem not in problems:
            some = ", ".join(list(problems)[:3])
            raise SymphonyError(
                f"{folder}: found no problem {problem}, allowed: {some}, ... ({len(problems)} problems)"
            )
        problems = {problem: problems[problem]}
    return Side(run=run, settings=dict(flat_config(json.loads(config))), problems=problems, folder=folder)


def pair_problems(one: Side, other: Side) -> list[tuple[str, str]]:
    """Pairs the problems to compare: those named, else those that both runs have.

    Raises:
        SymphonyError: They have none in common.
    """
    if len(one.problems) == len(other.problems) == 1:
        return [(next(iter(one.problems)), next(iter(other.problems)))]
    common = [(name, name) for name in one.problems if name in other.problems]
    if not common:
        raise SymphonyError(
            f"{one.run['run']} and {other.run['run']}: found no problem in common, allowed: runs of the same problems, "
            "or RUN/PROBLEM for each"
        )
    return common


def list_events(problem: Mapping[str, Any]) -> list[Event]:
    """Lists what happened in a search, in order: each pick before its call, and after it the nodes that it made."""
    calls, picks, nodes = problem["calls"], problem["picks"], problem["nodes"]
    made: dict[int, list[Event]] = {}
    for node in nodes:
        made.setdefault(node["made"], []).append(Event("node", node["node"], node["made"], node))
    events = made.pop(0, [])
    used = set()
    for number, call in enumerate(calls):
        if call["pick"] is not None:
            used.add(call["pick"])
            events.append(Event("pick", call["pick"], number, picks[call["pick"]]))
        events.append(Event("call", number, number, call))
        events += made.get(number + 1, [])
    last = len(calls)
    events += [Event("pick", pick["pick"], last, pick) for pick in picks if pick["pick"] not in used]
    events += [Event("lesson", lesson["reflection"], last, lesson) for lesson in problem["lessons"]]
    events += [Event("score", node["node"], last, node) for node in nodes]
    return [*events, Event("end", 0, last, problem)]


def first_divergence(one: Sequence[Event], other: Sequence[Event]) -> Divergence | None:
    """Returns where two searches first differ; None if they are equal, in what their scheduler saw, too."""
    return _first(one, other, inputs=False) or _first(one, other, inputs=True)


def _first(one: Sequence[Event], other: Sequence[Event], *, inputs: bool) -> Divergence | None:
    for position, (a, b) in enumerate(zip_longest(one, other)):
        if a is None or b is None or a.kind != b.kind:
            kinds = [event.kind if event else "nothing" for event in (a, b)]
            return Divergence(position=position, sides=(a, b), fields=(), what=f"{kinds[0]} against {kinds[1]}")
        fields = tuple(name for name in a.fields(inputs) if a.values[name] != b.values[name])
        if fields:
            what = _WORDS.get((a.kind, fields[0]), f"{fields[0]} of the {a.kind}")
            return Divergence(position=position, sides=(a, b), fields=fields, what=what)
    return None


def differing_settings(one: Side, other: Side) -> Iterator[tuple[str, str | None, str | None]]:
    """Yields the keys whose values differ between the two configs, with both values."""
    for key in sorted({*one.settings, *other.settings} - {"run"}):
        values = one.settings.get(key), other.settings.get(key)
        if values[0] != values[1]:
            yield key, *values
