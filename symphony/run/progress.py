"""Shows the progress of runs: a live bar on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import math
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self, TextIO

QUIET_SECONDS = 30.0
"""Minimum seconds between two lines of the same run when nobody watches."""


_BUDGET = "budget"
"""Kind of error of calls that were not made because the study has spent its budget."""
_PROMPT = "prompt"
"""Kind of error of calls that were not made because the prompt is too long for a local model."""
_BREAKER = "breaker"
"""Kind of error of calls that were not made because others had failed; it does not give the cause."""
_LONGEST = 120


class Calls:
    """Counts how many calls of a run failed, and why.

    Attributes:
        count: Calls, answered or failed. failed: Calls without an answer. asked: Calls by agent.
        silent: Problems that made calls and got no answer at all.
    """

    def __init__(self) -> None:
        self.count = self.failed = self.silent = 0
        self.asked: Counter[str] = Counter()
        self._kinds: dict[str, Counter[str]] = {}  # kinds of errors by agent
        self._examples: dict[str, str] = {}

    def add(self, calls: Sequence[tuple[str, str | None]]) -> None:
        """Adds the calls of one problem: each call's agent, and why it failed (None if it was answered)."""
        failures = [(agent, error) for agent, error in calls if error is not None]
        self.count += len(calls)
        self.failed += len(failures)
        self.silent += 0 < len(calls) == len(failures)
        self.asked.update(agent for agent, _ in calls)
        for agent, error in failures:
            # Error texts that name what was asked all differ; their beginning gives the kind.
            kind = ":".join(error.split(":")[:2])[:_LONGEST]
            self._kinds.setdefault(agent, Counter())[kind] += 1
            self._examples.setdefault(kind, textwrap.shorten(error, _LONGEST, placeholder="...").rstrip(" :"))

    @property
    def mute(self) -> tuple[str, ...]:
        """Names of agents that were asked and never answered. A refusal by the study's budget is not asking."""
        return self._failing(_BUDGET)

    @property
    def unanswered(self) -> bool:
        """Whether agents were asked and none answered."""
        return self.count == self.failed and bool(self.mute)

    @property
    def unmeasured(self) -> bool:
        """Whether the run does not measure its pool: nobody answered, or some agent never did.

        An agent for which every prompt was too long does not count: it would fail again.
        """
        return self.unanswered or bool(self._failing(_BUDGET, _PROMPT))

    def _failing(self, *but: str) -> tuple[str, ...]:
        """Returns agents of which every call failed, with at least one failure of another kind than these."""
        agents = []
        for agent, kinds in self._kinds.items():
            left_out = sum(count for kind, count in kinds.items() if kind.startswith(but))
            if self.asked[agent] == kinds.total() > left_out:
                agents.append(agent)
        return tuple(sorted(agents))

    def trouble(self) -> str:
        """Describes failed calls: silent agents, the number of failures, the main cause; "" if none failed."""
        if not self.failed:
            return ""
        mute = [] if self.unanswered else self.mute
        parts = [f"{agent} answered none of its {self.asked[agent]} calls: {self._why([agent])}" for agent in mute]
        silent = f"{self.silent} problem{'s' * (self.silent > 1)} got no answer at all, " if self.silent else ""
        others = [agent for agent in self._kinds if agent not in mute]
        why = f": {self._why(others)}" if others else ""
        return "; ".join([*parts, f"{silent}{self.failed} of {self.count} calls failed{why}"])

    def _why(self, agents: Iterable[str]) -> str:
        """Returns the most frequent error of these agents; an open breaker counts only if there is no other error."""
        kinds = sum((self._kinds[agent] for agent in agents), Counter[str]())
        causes = Counter({kind: count for kind, count in kinds.items() if not kind.startswith(_BREAKER)})
        ((kind, _),) = (causes or kinds).most_common(1)
        return self._examples[kind]


class Made:
    """What models really computed, without answers from the call store.

    Attributes:
        generated: Completion tokens by agent, 0 if its answers were empty.
        prompt, cached: Prompt tokens, and how many of them a cache held.
    """

    def __init__(self) -> None:
        self.generated: Counter[str] = Counter()
        self.prompt = self.cached = 0

    def add(self, agent: str, prompt: int, cached: int, generated: int) -> None:
        """Adds one call."""
        self.generated[agent] += generated
        self.prompt += prompt
        self.cached += cached

    def update(self, other: Made) -> None:
        self.generated.update(other.generated)
        self.prompt += other.prompt
        self.cached += other.cached

    @property
    def asked(self) -> bool:
        """Whether a model answered any call, even with an empty text."""
        return bool(self.generated)

    def describe(self, seconds: float) -> str:
        """Describes tokens per second, by agent if several, and the cached share; "" if nothing was generated."""
        total = self.generated.total()
        if not total:
            return ""
        each = ", ".join(f"{agent} {count / seconds:.0f}" for agent, count in sorted(self.generated.items()))
        cached = f", {self.cached / self.prompt:.0%} of the prompts from a cache" if self.cached else ""
        return f"{total / seconds:.0f} tokens/s{f' ({each})' if len(self.generated) > 1 else ''}{cached}"


class Tally(Protocol):
    """Receives what happens in one run."""

    def problem(self, *, success: bool, calls: Calls, made: Made, share: float = 0.0) -> None:
        """Reports that one of its problems was graded.

        Args:
            calls: All calls of the run so far.
            made: What models really computed for the problem.
            share: Share of the run's work that is done or begun, in [0, 1].
        """
        ...

    def end(self) -> None:
        """Reports that the run's records are written, or that it leaves none because an agent never answered."""
        ...


class Progress(Protocol):
    """Receives what happens in all runs, as a context manager. Runs of a group are in progress at the same time."""

    def begin(self, label: str, problems: int) -> Tally:
        """Starts a run."""
        ...

    def note(self, text: str) -> None:
        """Reports a message that is not a step of a run."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def seconds_left(seconds: float, done: int, problems: int, share: float) -> float:
    """Returns the seconds that a run may still take: the geometric mean of two bounds.

    The first problems to end are short ones, and others began beside them. So finished problems alone give too long a
    time, and counting the work begun in problems as short as these gives too short a time.

    Args:
        seconds: Seconds since the run began.
        done: Problems that have ended, >= 1.
        share: Share of the run's work that is done or begun, in [0, 1].
    """
    most = seconds * (problems - done) / done
    least = seconds * (1 - share) / share if 0 < share < 1 else most
    return math.sqrt(most * min(most, least))


class Counts:
    """Totals of one run; calls `show` on every change, saying whether it was the last."""

    def __init__(self, label: str, problems: int, show: Callable[[Counts, bool], None]) -> None:
        self.label, self.problems, self._show = label, problems, show
        self.done = self.solved = 0
        self.share = 0.0
        self.calls, self.made = Calls(), Made()
        self.started = time.monotonic()

    def problem(self, *, success: bool, calls: Calls, made: Made, share: float = 0.0) -> None:
        self.done += 1
        self.solved += success
        self.made.update(made)
        self.share = share
        self.calls = calls
        self._show(self, False)

    def end(self) -> None:
        self._show(self, True)

    @property
    def seconds(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    @property
    def left(self) -> float:
        """Seconds that the run may still take."""
        return seconds_left(self.seconds, self.done, self.problems, self.share)

    def state(self, seconds: str = "") -> str:
        """Describes the run's state; `seconds` come before the failures."""
        parts = []
        if self.calls.unanswered:
            parts.append("no call was answered")
        elif self.done and not self.calls.unmeasured:
            parts.append(f"success {self.solved / self.done:.2f}")
        speed = self.made.describe(self.seconds)
        if speed or self.made.asked:
            parts.append(", ".join(filter(None, [f"{self.calls.count} calls", speed or "empty answers"])))
        elif self.calls.count and not self.calls.failed:
            parts.append("from the store")
        return "; ".join(filter(None, (", ".join([*parts, *filter(None, [seconds])]), self.calls.trouble())))


class Lines:
    """Prints one line when a run ends, and at most one every `QUIET_SECONDS` before."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.last_shown = time.monotonic()

    def begin(self, label: str, problems: int) -> Counts:
        return Counts(label, problems, self._show)

    def _show(self, run: Counts, ended: bool) -> None:
        done = f"{run.label}: {run.done}/{run.problems} problems"
        if ended:
            self.note(f"{done}, {run.state(f'{run.seconds:.1f} s')}")
        elif time.monotonic() - self.last_shown >= QUIET_SECONDS:
            self.last_shown = time.monotonic()
            self.note(f"{done}, {run.state(f'about {run.left:.0f} s left')}")

    def note(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Bar:
    """A live bar per run: problems done, time left, success so far, calls, tokens per second."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            # An endpoint's message may hold brackets; text that does not fit is cut off.
            TextColumn(
                "{task.fields[state]}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            ),
        )
        self._rich = RichProgress(*columns, console=Console(file=stream), expand=True)

    def begin(self, label: str, problems: int) -> Counts:
        bar = self._rich.add_task(label, total=problems, state="")

        def show(run: Counts, ended: bool) -> None:
            left = "" if ended else f"about {run.left:.0f} s left"
            self._rich.update(bar, completed=run.done, state=run.state(left))

        return Counts(label, problems, show)

    def note(self, text: str) -> None:
        self._rich.console.print(text, markup=False)

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rich.stop()


def watch(stream: TextIO | None = None) -> Progress:
    """Returns the bar if somebody may watch it, else lines; on the error stream unless another is given."""
    stream = stream or sys.stderr
    return Bar(stream) if stream.isatty() else Lines(stream)
