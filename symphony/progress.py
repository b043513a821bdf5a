"""How far a run is: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

QUIET_SECONDS = 30.0
"""Least time between two lines of the same run when nobody watches."""


class Tally(Protocol):
    """Told of what happens in one run."""

    def problem(self, *, success: bool, generated_tokens: int) -> None:
        """A problem of it is graded; tokens are those that a model really produced for it."""
        ...

    def end(self) -> None:
        """The run's records are written."""
        ...


class Progress(Protocol):
    """Told of what happens; a context manager. Runs of a group are in progress at the same time."""

    def begin(self, label: str, problems: int) -> Tally:
        """A run starts."""
        ...

    def note(self, text: str) -> None:
        """Something to know that is no step."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Counts:
    """Sums of one run; `show` is told of every change, and whether it was the last."""

    def __init__(self, label: str, problems: int, show: Callable[[Counts, bool], None]) -> None:
        self.label, self.problems, self._show = label, problems, show
        self.done = self.solved = self.tokens = 0
        self.started = time.monotonic()

    def problem(self, *, success: bool, generated_tokens: int) -> None:
        self.done += 1
        self.solved += success
        self.tokens += generated_tokens
        self._show(self, False)

    def end(self) -> None:
        self._show(self, True)

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    def state(self) -> str:
        success = f"success {self.solved / self.done:.2f}, " if self.done else ""
        return success + (f"{self.tokens / self.seconds:.0f} tokens/s" if self.tokens else "from the store")


class Lines:
    """One line a run, and one at most every `QUIET_SECONDS` while runs last."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.told = time.monotonic()

    def begin(self, label: str, problems: int) -> Counts:
        return Counts(label, problems, self._show)

    def _show(self, run: Counts, ended: bool) -> None:
        state = f"{run.label}: {run.done}/{run.problems} problems, {run.state()}"
        if ended:
            self.note(f"{state}, {run.seconds:.1f} s")
        elif time.monotonic() - self.told >= QUIET_SECONDS:
            self.told = time.monotonic()
            left = run.seconds / run.done * (run.problems - run.done)
            self.note(f"{state}, about {left:.0f} s left")

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Bar:
    """A live bar a run: problems done, time left, tokens a second, success so far."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[state]}"),
        )
        self._rich = RichProgress(*columns, console=Console(file=stream))

    def begin(self, label: str, problems: int) -> Counts:
        bar = self._rich.add_task(label, total=problems, state="")
        return Counts(label, problems, lambda run, _: self._rich.update(bar, completed=run.done, state=run.state()))

    def note(self, text: str) -> None:
        self._rich.console.print(text)

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rich.stop()


def watch(stream: TextIO = sys.stderr) -> Progress:
    """The bar where somebody may watch it, lines elsewhere."""
    return Bar(stream) if stream.isatty() else Lines(stream)
