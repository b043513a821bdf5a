"""Finds what runs there are, and how far each is."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from symphony.records.manifest import MANIFEST
from symphony.records.records import ProblemRecord, RunRecord, is_complete, read_records
from symphony.run import live
from symphony.types import SymphonyError

Status = Literal["done", "running", "waiting", "failed", "stopped", "unreadable"]
STATES: tuple[Status, ...] = ("done", "running", "waiting", "failed", "stopped", "unreadable")
DATABASE = "records.duckdb"
NAMED = 10
"""Most candidates that an error names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run that is there, finished or not.

    Attributes:
        state: "stopped" if its process was stopped or killed, "failed" if it ended by an error, "unreadable" if its
            records are damaged or were written by another version.
        problems: Problems of the run. ended: Those that have ended.
        success: Share of the ended problems that are solved; None if none has ended or the run failed.
        cost: Dollars; None if a price is unknown.
        bytes: Size of its folder.
        date: When it was finished, or last heard of (UTC).
        note: Why it failed, stopped or cannot be read; "" otherwise.
    """

    run: str
    study: str = "?"
    experiment: str = "?"
    task: str = "?"
    pool: str = "?"
    seed: int | None = None
    state: Status
    problems: int | None = None
    ended: int | None = None
    success: float | None = None
    calls: int | None = None
    tokens: int | None = None
    cost: float | None = None
    bytes: int = 0
    date: str = ""
    note: str = ""

    def name(self) -> str:
        """Returns its digest, and what it is."""
        seed = "" if self.seed is None else f" seed {self.seed}"
        return f"{self.run} ({self.study} {self.experiment} {self.task}{seed})"


def entries(outputs: Path) -> list[Entry]:
    """Returns every run under `outputs`, ordered by study, experiment, task and seed."""
    finished = {folder.name: _finished(folder) for folder in folders(outputs)}
    begun = {entry.run: entry for entry in _begun(outputs) if entry.run not in finished}
    everything = [*finished.values(), *begun.values()]
    return sorted(everything, key=lambda e: (e.study, e.experiment, e.task, -1 if e.seed is None else e.seed, e.run))


def folders(outputs: Path) -> list[Path]:
    """Returns the folders of finished runs, and of those whose files were lost."""
    runs = outputs / "runs"
    return sorted(path for path in runs.glob("[!.]*") if path.is_dir())


def groups(outputs: Path) -> list[live.GroupState]:
    """Returns the groups that are at work, or whose process ended before they were done."""
    states = [live.read(path) for path in sorted((outputs / "groups").glob(f"*/{live.LIVE}"))]
    return [state for state in states if state is not None]


def is_gone(state: live.GroupState) -> bool:
    """Whether a group's process is known to have ended; of another machine's processes nothing is known."""
    if state.ended:
        return True
    if state.host != socket.gethostname():
        return False
    try:
        os.kill(state.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it exists, but belongs to somebody else
        return False
    return False


def _finished(folder: Path) -> Entry:
    try:
        if not is_complete(folder):
            return Entry(run=folder.name, state="unreadable", note="files are missing", bytes=_size(folder))
        (run,) = read_records(folder, RunRecord)
        problems = read_records(folder, ProblemRecord)
        if run.run != folder.name:
            raise SymphonyError(f"{folder}: found the records of run {run.run}, allowed: those of the folder's name")
    except (SymphonyError, OSError, ValueError) as error:
        return Entry(run=folder.name, state="unreadable", note=" ".join(str(error).split()), bytes=_size(folder))
    costs = [problem.cost for problem in problems]
    return Entry(
        run=run.run,
        study=run.study,
        experiment=run.experiment,
        task=run.task,
        pool=run.pool,
        seed=run.seed,
        state="done",
        problems=run.problems,
        ended=len(problems),
        success=sum(problem.success for problem in problems) / len(problems) if problems else None,
        calls=sum(problem.calls for problem in problems),
        tokens=sum(problem.prompt_tokens + problem.completion_tokens for problem in problems),
        cost=add_costs(costs),
        bytes=_size(folder),
        date=_date((folder / MANIFEST).stat().st_mtime),
    )


def _begun(outputs: Path) -> Iterator[Entry]:
    for group in groups(outputs):
        gone = is_gone(group)
        for run in group.runs:
            state: Status = "running" if run.state == "done" else run.state  # its folder is about to appear
            if gone and state != "failed":
                state = "failed" if group.ended not in ("", live.STOPPED) else "stopped"
            yield Entry(
                run=run.run,
                study=run.study,
                experiment=run.experiment,
                task=run.task,
                pool=run.pool,
                seed=run.seed,
                state=state,
                problems=run.problems,
                ended=run.done,
                success=run.solved / run.done if run.done and state != "failed" else None,
                calls=sum(run.calls.values()),
                tokens=run.tokens,
                date=_date(group.at),
                note=run.reason or group.ended or ("its process was killed" if gone else ""),
            )


def add_costs(costs: Iterable[float | None]) -> float | None:
    """Returns the sum; None if any is unknown."""
    known: list[float] = []
    for cost in costs:
        if cost is None:
            return None
        known.append(cost)
    return sum(known)


def _size(folder: Path) -> int:
    size = 0
    for path in folder.iterdir():
        with suppress(OSError):
            size += path.stat().st_size
    return size


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


COLUMNS = tuple(field.name for field in fields(Entry))
STUDY_COLUMNS = ("study", *STATES, "problems", "success", "calls", "tokens", "cost", "bytes", "date", "database")


def rows(found: Sequence[Entry]) -> list[list[Any]]:
    return [[getattr(entry, name) for name in COLUMNS] for entry in found]


def study_rows(found: Sequence[Entry], outputs: Path) -> list[list[Any]]:
    """Returns a row for each study: how many of its runs are in each state, and sums over the finished ones."""
    by_study: dict[str, list[Entry]] = {}
    for entry in found:
        by_study.setdefault(entry.study, []).append(entry)
    return [_study_row(study, own, outputs) for study, own in by_study.items()]


def _study_row(study: str, own: Sequence[Entry], outputs: Path) -> list[Any]:
    done = [entry for entry in own if entry.state == "done"]
    problems = sum(entry.ended or 0 for entry in done)
    solved = sum((entry.success or 0.0) * (entry.ended or 0) for entry in done)
    counts = [sum(entry.state == state for entry in own) for state in STATES]
    return [
        study,
        *counts,
        problems,
        solved / problems if problems else None,
        sum(entry.calls or 0 for entry in done),
        sum(entry.tokens or 0 for entry in done),
        add_costs(entry.cost for entry in done),
        sum(entry.bytes for entry in own),
        max((entry.date for entry in own), default=""),
        (outputs / study / DATABASE).is_file(),
    ]


def of_study(found: Sequence[Entry], study: str, outputs: Path) -> list[Entry]:
    """Returns a study's runs.

    Raises:
        SymphonyError: There are none.
    """
    own = [entry for entry in found if entry.study == study]
    if not own:
        names = sorted({entry.study for entry in found if entry.study != "?"})
        raise SymphonyError(
            f"{outputs}: found no runs of study {study!r}, allowed: {', '.join(names) or 'none is there yet'}"
        )
    return own


def resolve(found: Sequence[Entry], prefix: str, outputs: Path) -> Entry:
    """Returns the run whose digest begins with `prefix`.

    Raises:
        SymphonyError: There is none, or several; the error lists these.
    """
    matching = [entry for entry in found if prefix and entry.run.startswith(prefix)]
    if not matching:
        raise SymphonyError(
            f"{outputs}: found no run {prefix!r}, allowed: the digest of a run or its beginning; `symphony ls --runs` "
            "lists them"
        )
    exact = [entry for entry in matching if entry.run == prefix]
    if len(matching) > 1 and not exact:
        names = [entry.name() for entry in matching[:NAMED]]
        more = [f"{len(matching) - NAMED} more"] if len(matching) > NAMED else []
        raise SymphonyError(
            f"run {prefix!r}: found {len(matching)} runs, allowed: a beginning of only one of {'; '.join(names + more)}"
        )
    return exact[0] if exact else matching[0]
