"""`live.json`: how the runs of a group are doing, for other programs and other machines to read.

A thread of its own rewrites the file every `PERIOD_S` seconds, so the search takes no part in it; a group that is done
before that has none. The times in it are differences on the writer's own clock; readers need not have the same time.
The file goes when the group is done. It stays, with the reason, if the group ended otherwise; if the process was killed
it stays as it was.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

from symphony.agents.budget import Meter
from symphony.agents.session import Session
from symphony.files import discard, read_json, write_atomic
from symphony.plan.model_spec import models
from symphony.plan.specs import Group, Run
from symphony.run.progress import Calls
from symphony.types import Phase, Proposal, SymphonyError

LIVE = "live.json"
STOPPED = "it was stopped"
"""Why a group ended after Ctrl-C or SIGTERM."""
PERIOD_S = 2.0
"""Seconds between two versions of the file."""
RATE_S = 60.0
"""Seconds over which tokens a second are counted."""
_READ = 20  # answers of an agent that are read at each look
_GPU_S = 10.0
State = Literal["waiting", "running", "done", "failed"]


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How one run is doing.

    Attributes:
        problems, done, solved: Problems of the run, those that have ended, and those of them that are solved.
        share: Share of the run's work that is done or begun, in [0, 1].
        seconds: Seconds since it began. idle_s: Seconds since its last answer.
        calls: Calls answered or failed, by agent of the pool. failed: Calls without an answer.
        misses: By agent, how many of its last answers in a row had no action, as far as they were looked at.
        tokens, money: Consumed, whether a model or the store answered. generated: Tokens that a model generated.
        tokens_per_s: Generated tokens a second over the last `RATE_S` seconds.
        limits: Budget of the run, as in its config. study_limits: Budget of its study.
        store: Mode of the call store.
        reason: Why it failed; "" otherwise.
    """

    run: str
    study: str
    experiment: str
    task: str
    pool: str
    seed: int
    problems: int
    store: str
    limits: dict[str, float | None]
    study_limits: dict[str, float | None]
    state: State = "waiting"
    done: int = 0
    solved: int = 0
    share: float = 0.0
    seconds: float = 0.0
    idle_s: float = 0.0
    calls: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    misses: dict[str, int] = field(default_factory=dict)
    tokens: int = 0
    generated: int = 0
    tokens_per_s: float = 0.0
    money: float = 0.0
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class GroupState:
    """How a group is doing.

    Attributes:
        beat: Grows with every version of the file, while the process lives.
        at: Unix time of this version, by the writer's clock.
        ended: Why it ended without being done; "" while it goes on.
        gpus: Use of the writer's GPUs, a line each; empty if it has none.
    """

    group: str
    host: str
    pid: int
    beat: int
    at: float
    ended: str
    gpus: list[str]
    runs: list[RunState]


def read(path: Path) -> GroupState | None:
    """Reads a file; returns None if it is gone or was written by another version."""
    try:
        content = read_json(path, "the progress of a group")
        return GroupState(**{**content, "runs": [RunState(**run) for run in content["runs"]]})
    except (SymphonyError, TypeError, KeyError):
        return None


class Driver(Protocol):
    """What is read of a run that is being carried out."""

    @property
    def run(self) -> Run: ...
    @property
    def open(self) -> Sequence[Session]:
        """Problems in flight."""

    @property
    def calls(self) -> Calls:
        """Calls of the problems that have ended."""

    @property
    def meter(self) -> Meter: ...
    @property
    def done(self) -> int: ...
    @property
    def solved(self) -> int: ...
    @property
    def generated_tokens(self) -> int:
        """Of the problems that have ended."""

    @property
    def parse(self) -> Callable[[str], Proposal | None]:
        """`Task.parse`."""

    def share(self) -> float: ...


class Live:
    """Writes the file of a group while the `with` block lasts. A file that cannot be written stops no run.

    Args:
        path: The file.
        runs: Runs of the group that are not complete.
        gpus: Gives the use of the GPUs, a line each.
    """

    def __init__(
        self, path: Path, group: Group, runs: Sequence[Run], gpus: Callable[[], list[str]] | None = None
    ) -> None:
        self._path, self._group = path, group
        self._looks = {run.digest: _Look(run) for run in runs}
        self._gpus = gpus or _gpus
        self._uses: list[str] = []
        self._asked = float("-inf")
        self._beat = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="live", daemon=True)

    def begin(self, driver: Driver) -> None:
        self._looks[driver.run.digest].driver = driver

    def end(self, run: Run, reason: str = "") -> None:
        """Says that a run is done, or why it failed."""
        self._looks[run.digest].end(reason)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        failed = any(look.state == "failed" for look in self._looks.values())
        if error is None and not failed:
            discard(self._path)
            return
        self._write(_reason(error) if error else "some runs failed")

    def _work(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            self._write()

    def _write(self, ended: str = "") -> None:
        self._beat += 1
        if time.monotonic() - self._asked >= _GPU_S and not ended:
            self._asked, self._uses = time.monotonic(), self._gpus()
        state = GroupState(
            group=self._group.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            beat=self._beat,
            at=time.time(),
            ended=ended,
            gpus=self._uses,
            runs=[look.now() for look in self._looks.values()],
        )
        with suppress(SymphonyError):  # the records will say so, if the disk is full
            write_atomic(self._path, json.dumps(asdict(state), indent=1) + "\n")


def _reason(error: BaseException) -> str:
    if isinstance(error, SymphonyError):
        return str(error)
    return STOPPED if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


class _Look:
    """Looks at one run from another thread: reads counters, and copies every list before it goes through it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._agents = tuple(models(run.config))
        self.driver: Driver | None = None
        self.state: State = "waiting"
        self._began = self._changed = time.monotonic()
        self._last: RunState | None = None
        self._count = -1
        self._rates: deque[tuple[float, int]] = deque()
        self._misses: Counter[str] = Counter()
        self._read: dict[int, int] = {}  # answers read, by session

    def end(self, reason: str) -> None:
        self._last = self.now(reason)
        self.state, self.driver = self._last.state, None

    def now(self, reason: str = "") -> RunState:
        if self._last is not None:
            return self._last
        run, limits = self.run, self.run.settings.budget
        fixed: dict[str, Any] = {
            "run": run.digest,
            "study": run.study,
            "experiment": run.experiment,
            "task": run.task,
            "pool": run.pool,
            "seed": run.seed,
            "problems": run.settings.problems,
            "store": run.how.store,
            "calls": dict.fromkeys(self._agents, 0),
            "limits": asdict(limits.run),
            "study_limits": asdict(limits.study),
        }
        if self.driver is None:
            self._began = self._changed = time.monotonic()
            return RunState(**fixed)
        ended = reason != "" or self.driver.done >= run.settings.problems
        state: State = "failed" if reason else "done" if ended else "running"
        return RunState(**{**fixed, **self._counted(self.driver)}, state=state, reason=reason)

    def _counted(self, driver: Driver) -> dict[str, Any]:
        now, sessions = time.monotonic(), list(driver.open)
        calls = Counter(dict.fromkeys(self._agents, 0))
        calls.update(dict(driver.calls.asked))
        generated, failed = driver.generated_tokens, driver.calls.failed
        for session in sessions:
            booked = list(session.timings)
            for call, timing in zip(session.calls, booked, strict=False):
                calls[call.agent] += 1
                failed += call.error is not None
                generated += 0 if timing.from_store else call.completion_tokens
        self._find_misses(sessions, driver.parse)
        if calls.total() != self._count:
            self._count, self._changed = calls.total(), now
        self._rates.append((now, generated))
        while len(self._rates) > 2 and now - self._rates[1][0] >= RATE_S:
            self._rates.popleft()
        since, before = self._rates[0] if len(self._rates) > 1 else (self._began, 0)
        return {
            "done": driver.done,
            "solved": driver.solved,
            "share": driver.share(),
            "seconds": now - self._began,
            "idle_s": now - self._changed,
            "calls": dict(calls),
            "failed": failed,
            "misses": dict(self._misses),
            "tokens": driver.meter.tokens,
            "generated": generated,
            "tokens_per_s": max(0.0, generated - before) / max(now - since, 1e-9),
            "money": driver.meter.money,
        }

    def _find_misses(self, sessions: Sequence[Session], parse: Callable[[str], Proposal | None]) -> None:
        """Reads the newest answers that should be actions; an agent's count begins anew at an action."""
        read, self._read = self._read, {}
        for session in sessions:
            calls = list(session.calls)
            self._read[id(session)] = len(calls)
            news = [call for call in calls[read.get(id(session), 0) :] if call.phase == Phase.EXPAND and not call.error]
            for call in news[-_READ:]:
                self._misses[call.agent] += 1
                if parse(call.text) is not None:
                    self._misses[call.agent] = 0


def _gpus() -> list[str]:
    """Returns the use of this machine's GPUs by nvidia-smi; nothing if there is no such program or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=index,name,utilization.gpu,memory.used,memory.total"
    with suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(
            [program, query, "--format=csv,noheader"], capture_output=True, text=True, timeout=2, check=True
        )
        return [line.strip() for line in told.stdout.splitlines() if line.strip()]
    return []
