"""One page about all live runs, from their progress files and their studies' ledgers.

Files are looked at again and again, so it works over a shared file system. No time of another machine is compared with
one of this machine: a process on another machine lives as long as its file changes.
"""

from __future__ import annotations

import math
import shutil
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from symphony.agents.budget import LIMITS, busy_seconds, ledger_lines, money, whole_lines
from symphony.run.live import GroupState, RunState
from symphony.run.progress import seconds_left
from symphony.status import formats, listing
from symphony.types import SymphonyError

EVERY_S = 5.0
"""Seconds between two pages."""
STUCK_S = 300.0
"""Seconds without an answer after which a run counts as stuck."""
SILENT_S = 90.0
"""Seconds without a new version of a file after which its process is doubted; a shared folder may be a minute late."""
MISSES = 20
"""Answers in a row without an action, from which on a warning is shown."""
MOST_SHARE = 0.9
"""Share of the calls from which on an agent's part is a warning; likewise for a budget that is spent."""
MOST_FAILED = 0.1
_FEW_CALLS = 20  # with fewer, shares say nothing
_COLUMNS = ("run", "study", "experiment", "task", "seed", "problems", "success", "left", "tokens/s", "calls by agent")


@dataclass(slots=True)
class _Beat:
    number: int
    seen: float  # on this process's own clock


@dataclass(slots=True)
class _Spent:
    """What a study has spent, as far as its ledger was read."""

    offset: int = 0
    calls: int = 0
    tokens: int = 0
    money: float = 0.0
    intervals: dict[float, float] | None = None


class Watcher:
    """Makes pages; remembers from one to the next which files have changed.

    Args:
        outputs: Folder of everything that is made.
        clock: Seconds on a clock of this process, which never goes back.
        wall: Unix time.
    """

    def __init__(
        self,
        outputs: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._outputs, self._clock, self._wall = outputs, clock, wall
        self._beats: dict[tuple[str, str, int], _Beat] = {}
        self._spent: dict[str, _Spent] = {}

    def page(self, *, only: bool = False) -> list[str]:
        """Looks at all files and returns the page's lines.

        Args:
            only: Whether there will be no other page, so that nothing is known of processes on other machines.
        """
        states = listing.groups(self._outputs)
        gone = {id(state): listing.is_gone(state) for state in states}
        live = [state for state in states if not gone[id(state)]]
        running = [run for state in live for run in state.runs if run.state == "running"]
        lines = [_heading(live, running), ""]
        if running:
            lines += [formats.write(_COLUMNS, [_row(run) for run in running], "table"), ""]
        lines += _part("gpus", [f"{state.host}: {use}" for state in live for use in state.gpus])
        lines += _part("spent", self._budgets([run for state in live for run in state.runs]))
        lines += _part("warnings", [text for state in live for text in self._warnings(state, only)])
        ended = [state for state in states if gone[id(state)]]
        lines += _part("ended before they were done", [text for state in ended for text in _endings(state)])
        return [formats.printable(line) for line in "\n".join(lines).rstrip("\n").split("\n")]

    def _warnings(self, state: GroupState, only: bool) -> list[str]:
        texts, silence = [], self._silence(state)
        if silence >= SILENT_S:
            texts.append(f"{_where(state)}: no sign of life {_for(silence)}")
        elif only and state.host != socket.gethostname():
            texts.append(f"{_where(state)}: one look cannot say whether a process of another machine lives; more can")
        for run in state.runs:
            texts += [f"{_name(run)}: {text}" for text in warnings(run)]
        return texts

    def _silence(self, state: GroupState) -> float:
        """Returns the seconds for which a group's file has not changed, as far as this process knows."""
        now, key = self._clock(), (state.host, state.group, state.pid)
        beat = self._beats.get(key)
        if beat is None or beat.number != state.beat:
            beat = self._beats[key] = _Beat(state.beat, now)
        silence = now - beat.seen
        if state.host == socket.gethostname():  # its clock is ours
            silence = max(silence, self._wall() - state.at)
        return silence

    def _budgets(self, runs: Sequence[RunState]) -> list[str]:
        limits = {run.study: run.study_limits for run in runs}
        return [text for study in sorted(limits) if (text := self._budget(study, limits[study]))]

    def _budget(self, study: str, limits: dict[str, float | None]) -> str:
        spent = self._spent.setdefault(study, _Spent(intervals={}))
        try:
            self._read_ledger(study, spent)
        except (OSError, SymphonyError) as error:
            return f"{study}: its ledger cannot be read ({error})"
        if not spent.offset and not any(limits.values()):
            return ""
        seconds = busy_seconds((spent.intervals or {}).items())
        used = {"calls": spent.calls, "tokens": spent.tokens, "money": spent.money, "seconds": seconds}
        parts = []
        for name in LIMITS:
            limit = limits.get(name)
            figure = f"${money(used[name])}" if name == "money" else f"{used[name]:,.0f} {name}"
            of = "" if limit is None else f" of {limit:,g}"
            near = limit is not None and used[name] >= MOST_SHARE * limit
            parts.append(figure + of + (" (nearly all)" if near else ""))
        return f"{study}: {', '.join(parts)}"

    def _read_ledger(self, study: str, spent: _Spent) -> None:
        path = self._outputs / study / "spent.jsonl"
        if not path.is_file():
            return
        if path.stat().st_size < spent.offset:  # deleted, and begun anew
            spent.offset = spent.calls = spent.tokens = 0
            spent.money, spent.intervals = 0.0, {}
        with path.open("rb") as stream:
            stream.seek(spent.offset)
            content = stream.read()
        whole = whole_lines(content)
        spent.offset += len(whole)
        for line in ledger_lines(path, whole):
            spent.calls += line.calls
            spent.tokens += line.tokens
            spent.money += line.money or 0.0
            if spent.intervals is not None:
                spent.intervals[line.began] = max(line.ended, spent.intervals.get(line.began, 0.0))


def warnings(run: RunState) -> list[str]:
    """Returns what looks wrong with a run, a short sentence each."""
    texts = []
    if run.state == "failed":
        texts.append(f"failed: {run.reason}")
    if run.store == "live":
        texts.append("store disabled: if it is stopped, its calls are paid for again")
    if run.state != "running":
        return texts
    if run.idle_s >= STUCK_S:
        texts.append(f"stuck {_for(run.idle_s)}: no answer in that time")
    for agent, misses in run.misses.items():
        if misses >= MISSES:
            texts.append(f"no parsable action for {misses} calls by {agent}")
    total = sum(run.calls.values())
    if total >= _FEW_CALLS:
        if run.failed >= MOST_FAILED * total:
            texts.append(f"{run.failed} of {total} calls failed")
        for agent, calls in run.calls.items():
            if len(run.calls) > 1 and calls >= MOST_SHARE * total:
                texts.append(f"one agent takes {calls / total:.0%} of the calls: {agent}")
    consumed = {"calls": total, "tokens": run.tokens, "money": run.money, "seconds": run.seconds}
    for name, limit in run.limits.items():
        if limit is not None and consumed[name] >= MOST_SHARE * limit:
            texts.append(f"{consumed[name]:,.6g} of {limit:,g} {name} of its budget are spent")
    return texts


def _heading(live: Sequence[GroupState], running: Sequence[RunState]) -> str:
    runs = [run for state in live for run in state.runs]
    counts = {name: sum(run.state == name for run in runs) for name in ("running", "waiting", "done", "failed")}
    if not live:
        return "no live runs"
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "running")
    ended, solved = sum(run.done for run in runs), sum(run.solved for run in runs)
    success = f", success so far {solved / ended:.2f} ({solved} of {ended} problems)" if ended else ""
    return f"{told}{success}, {sum(run.tokens_per_s for run in running):,.0f} tokens/s"


def _row(run: RunState) -> list[str | float | None]:
    total = sum(run.calls.values())
    shares = [f"{agent} {calls / total:.0%}" for agent, calls in run.calls.items()] if total else []
    return [
        run.run[:8],
        run.study,
        run.experiment,
        run.task,
        str(run.seed),
        f"{run.done}/{run.problems}",
        run.solved / run.done if run.done else None,
        _span(seconds_left(run.seconds, run.done, run.problems, run.share)) if run.done else None,
        f"{run.tokens_per_s:,.0f}",
        f"{total:,}: {', '.join(shares)}" if shares else "0",
    ]


def _endings(state: GroupState) -> list[str]:
    left = [run for run in state.runs if run.state != "done"]
    reasons = [f"{_name(run)}: {run.reason}" for run in left if run.reason]
    return reasons or [f"{_where(state)}, {len(left)} runs left: {state.ended or 'its process was killed'}"]


def _where(state: GroupState) -> str:
    return f"{state.group} (process {state.pid} on {state.host})"


def _name(run: RunState) -> str:
    return f"{run.run[:8]} {run.experiment} {run.task} seed {run.seed}"


def _part(title: str, lines: Sequence[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines), ""] if lines else []


def _for(seconds: float) -> str:
    return f"for {_span(seconds)}"


def _span(seconds: float) -> str:
    """Returns a time for people: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def run(outputs: Path, *, once: bool, every_s: float = EVERY_S, stream: TextIO | None = None) -> None:
    """Shows page after page until it is interrupted.

    Args:
        once: Ends after one page.
        every_s: Seconds between two pages.

    Raises:
        SymphonyError: `every_s` is not a time.
    """
    if not 0 < every_s < math.inf:
        raise SymphonyError(f"--every: found {every_s}, allowed: > 0, and finite")
    stream = stream or sys.stdout
    watcher = Watcher(outputs)
    while True:
        lines = watcher.page(only=once)
        print("\n".join(_fitted(lines) if stream.isatty() and not once else lines), file=stream, flush=True)
        if once:
            return
        time.sleep(every_s)


def _fitted(lines: Sequence[str]) -> list[str]:
    """Returns a page that fills the terminal from its top, without lines that do not fit; titles are bold."""
    size = shutil.get_terminal_size()
    kept = [line[: size.columns] for line in lines]
    if len(kept) >= size.lines:
        kept = [*kept[: size.lines - 2], f"... and {len(kept) - size.lines + 2} more lines"]
    return ["\x1b[H\x1b[J" + kept[0], *kept[1:]]
