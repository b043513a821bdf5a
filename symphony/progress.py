"""How far a run is: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

QUIET_SECONDS = 30.0
"""Least time between two lines of the same run when nobody watches."""


class Progress(Protocol):
    """Told of what happens; a context manager."""

    def begin(self, label: str, problems: int) -> None:
        """A run starts."""
        ...

    def problem(self, *, success: bool, generated_tokens: int) -> None:
        """A problem of it is graded; tokens are those that a model really produced for it."""
        ...

    def end(self) -> None:
        """The run's records are written."""
        ...

    def note(self, text: str) -> None:
        """Something to know that is no step."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Counts:
    """Sums of the run in progress."""

    def begin(self, label: str, problems: int) -> None:
        self.label, self.problems = label, problems
        self.done = self.solved = self.tokens = 0
        self.started = time.monotonic()

    def problem(self, *, success: bool, generated_tokens: int) -> None:
        self.done += 1
        self.solved += success
        self.tokens += generated_tokens

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    def success(self) -> str:
        return f"success {self.solved / self.done:.2f}" if self.done else ""

    def speed(self) -> str:
        return f"{self.tokens / self.seconds:.0f} tokens/s" if self.tokens else "from the store"


class Lines(_Counts):
    """One line a run, and one at most every `QUIET_SECONDS` while it lasts."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.told = 0.0

    def begin(self, label: str, problems: int) -> None:
        super().begin(label, problems)
        self.told = self.started

    def problem(self, *, success: bool, generated_tokens: int) -> None:
        super().problem(success=success, generated_tokens=generated_tokens)
        if time.monotonic() - self.told >= QUIET_SECONDS:
            self.told = time.monotonic()
            left = self.seconds / self.done * (self.problems - self.done)
            self.note(f"{self._state()}, about {left:.0f} s left")

    def end(self) -> None:
        self.note(f"{self._state()}, {self.seconds:.1f} s")

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def _state(self) -> str:
        return f"{self.label}: {self.done}/{self.problems} problems, {self.success()}, {self.speed()}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Bar(_Counts):
    """A live bar: problems done, time left, tokens a second, success so far."""

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
        self._bar: Any = None

    def begin(self, label: str, problems: int) -> None:
        super().begin(label, problems)
        self._bar = self._rich.add_task(label, total=problems, state="")

    def problem(self, *, success: bool, generated_tokens: int) -> None:
        super().problem(success=success, generated_tokens=generated_tokens)
        self._rich.update(self._bar, advance=1, state=f"{self.success()}, {self.speed()}")

    def end(self) -> None:
        self._rich.refresh()

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
