"""Describes one run: what it was, what came out, what it consumed, and what failed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from symphony.records.configs import flat, read_config
from symphony.records.records import CallRecord, ProblemRecord, RunRecord, TimingRecord, WallRecord, read_records
from symphony.report.stats import rate
from symphony.status import formats
from symphony.status.listing import Entry, add_costs

Sections = dict[str, dict[str, Any]]
_PARTS = ("choices", "task", "search", "scheduler", "scorer", "memory", "budget")
"""Keys of a config that decide what a run does, besides its pool."""


def describe(entry: Entry, outputs: Path) -> Sections:
    """Returns title -> name -> value, from the records of a finished run, or what is known of another.

    Raises:
        SymphonyError: The records are damaged.
    """
    named = ("run", "study", "experiment", "task", "pool", "seed", "state", "date", "note")
    known = {name: value for name in named if (value := getattr(entry, name)) not in ("", None)}
    if entry.state != "done":
        progress = {name: getattr(entry, name) for name in ("problems", "ended", "success", "calls", "tokens")}
        return {"run": known, "progress": {name: value for name, value in progress.items() if value is not None}}
    folder = outputs / "runs" / entry.run
    (run,) = read_records(folder, RunRecord)
    (wall,) = read_records(folder, WallRecord)
    problems, calls = read_records(folder, ProblemRecord), read_records(folder, CallRecord)
    kept = {"folder": str(folder), "bytes": entry.bytes, "feedback": run.feedback, "commit": run.commit}
    return {
        "run": {**known, **kept, "hardware": run.hardware},
        "models": json.loads(run.models),
        "config": _settings(folder),
        "results": _results(problems),
        "use": {**_use(calls, read_records(folder, TimingRecord)), "wall_s": wall.wall_s, "cpu_s": wall.cpu_s},
        "agents": _by(calls, "agent"),
        "phases": _by(calls, "phase"),
        "failures": _failures(problems, calls),
    }


def _settings(folder: Path) -> dict[str, Any]:
    """Returns the settings of the parts that are not null; a part's class is named by its option in `choices`."""
    config = read_config(folder)
    parts = {name: config[name] for name in _PARTS if name in config}
    values = ((key, value) for key, value in flat(parts) if value is not None and value != "null")
    return {key: value for key, value in values if not key.endswith("_target_")}


def _results(problems: Sequence[ProblemRecord]) -> dict[str, Any]:
    success = rate([float(problem.success) for problem in problems], [problem.problem for problem in problems])
    results: dict[str, Any] = {"problems": len(problems), "solved": sum(problem.success for problem in problems)}
    if success is not None:
        results |= {"success": success.value, "low": success.low, "high": success.high}
        results |= {"score": sum(problem.score for problem in problems) / len(problems)}
    ends = Counter(problem.stop_reason for problem in problems)
    return {**results, **{f"ended by {reason}": count for reason, count in ends.most_common()}}


def _use(calls: Sequence[CallRecord], timings: Sequence[TimingRecord]) -> dict[str, Any]:
    return {**_sums(calls), "from_store": sum(timing.from_store for timing in timings)}


def _sums(calls: Sequence[CallRecord]) -> dict[str, Any]:
    return {
        "calls": len(calls),
        "prompt_tokens": sum(call.prompt_tokens for call in calls),
        "completion_tokens": sum(call.completion_tokens for call in calls),
        "cost": add_costs(call.cost for call in calls),
        "failed": sum(call.error is not None for call in calls),
    }


def _by(calls: Sequence[CallRecord], key: str) -> dict[str, Any]:
    parts: dict[str, list[CallRecord]] = {}
    for call in calls:
        parts.setdefault(getattr(call, key), []).append(call)
    return {name: {"share": len(own) / len(calls), **_sums(own)} for name, own in sorted(parts.items())}


def _failures(problems: Sequence[ProblemRecord], calls: Sequence[CallRecord]) -> dict[str, Any]:
    counted = {
        name: sum(getattr(problem, name) for problem in problems)
        for name in ("unparsed", "invalid", "fallbacks", "errors")
    }
    kinds = Counter(call.error for call in calls if call.error is not None)
    return {**counted, **{error: count for error, count in kinds.most_common(5)}}


def write(sections: Sections, form: str) -> str:
    """Returns the sections as text: a paragraph each, CSV with a line a value, or one JSON object."""
    if form == "json":
        return formats.as_json(sections)
    if form == "csv":
        leaves = [(title, name, value) for title, values in sections.items() for name, value in _leaves(values)]
        return formats.write(("section", "name", "value"), leaves, form)
    paragraphs = []
    for title, values in sections.items():
        if all(isinstance(value, dict) for value in values.values()):
            columns = (title, *next(iter(values.values()), {}))
            rows = [[name, *value.values()] for name, value in values.items()]
            paragraphs.append(formats.write(columns, rows, form))
            continue
        width = max(map(len, map(formats.printable, values)), default=0)
        texts = [f"  {formats.printable(name).ljust(width)}  {formats.cell(value)}" for name, value in values.items()]
        paragraphs.append("\n".join([title, *texts]))
    return "\n\n".join(paragraphs)


def _leaves(values: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value
