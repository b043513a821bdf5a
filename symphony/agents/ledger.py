"""The ledger of what a study asked of its models: it limits real spending, over all of the study's processes."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from symphony.agents.budget import Budget
from symphony.fields import FromZero, NotNegative, check_fields, shown
from symphony.models.endpoint import Price
from symphony.records.records import check_keys
from symphony.types import Completion, Limit, SymphonyError, canonical_json

_SUM = "crc32"
"""Key of a line's checksum; lines of older versions have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """One line of a study's ledger: what one answer, or one batch of a local model, consumed.

    Attributes:
        began: Unix time at which the asking process started. ended: Unix time at which the answer arrived.
        model: Revision of the model that answered.
        calls: New calls, failed ones included.
        tokens: Prompt and completion tokens, as far as known.
        money: Dollars; None if a price is unknown.
    """

    began: NotNegative
    ended: NotNegative
    model: str
    calls: FromZero
    tokens: FromZero
    money: NotNegative | None


def read_ledger(path: Path) -> list[Spent]:
    """Returns what a study has asked of its models so far; empty if no process kept a ledger.

    A last line without its end does not count: it is being written, or was cut off by a power failure.

    Raises:
        SymphonyError: A line is not a valid entry.
    """
    return list(ledger_lines(path, whole_lines(path.read_bytes()))) if path.is_file() else []


def whole_lines(content: bytes) -> bytes:
    """Returns the content up to the end of its last whole line."""
    return content[: content.rfind(b"\n") + 1]


def busy_seconds(intervals: Iterable[tuple[float, float]]) -> float:
    """Returns the wall-clock seconds during which at least one process was working; overlaps count once."""
    busy, until = 0.0, float("-inf")
    for began, ended in sorted(intervals):
        busy += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return busy


def _steady_clock() -> Callable[[], float]:
    """Returns a clock of Unix time that goes on steadily from now."""
    began, start = time.time(), time.monotonic()
    return lambda: began + time.monotonic() - start


class Ledger:
    """Tracks a study's spending against its budget, in a file to which all of its processes add lines.

    A line is written when an answer arrives, before the answer goes into the call store. So whenever a process is
    killed, everything stored is in the ledger, and a call that must be asked again is paid for again and counted again.
    Once written, a line survives SIGKILL; after a power failure the last ones may be missing.

    Args:
        path: The ledger file; it and its folder are created if missing.
        budget: The study's budget.
        clock: Returns Unix time; by default the time at which the ledger was opened and the seconds since then, so that
            a jump of the machine's clock neither uses up a limit nor lifts it.

    Raises:
        SymphonyError: The file cannot be read or written, or a line is not a valid entry.
    """

    def __init__(self, path: Path, budget: Budget, *, clock: Callable[[], float] | None = None) -> None:
        self._path, self._budget, self._clock = path, budget, clock or _steady_clock()
        self._alone = threading.Lock()  # local models may answer in a worker thread
        self._calls, self._tokens, self._money = 0, 0, 0.0
        self._read = 0
        self._intervals: dict[float, float] = {}
        self._began = self._clock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise SymphonyError(f"{path}: found {error.strerror}, allowed: a ledger that can be written") from error
        with self._locked():  # nobody is writing, so anything after the last line was cut off by a power failure
            content = os.pread(self._file, os.fstat(self._file).st_size, 0)
            os.ftruncate(self._file, content.rfind(b"\n") + 1)

    def refusal(self) -> Limit | None:
        """Returns the limit that the study has reached; None if more may be asked."""
        if self._budget == Budget():
            return None
        with self._alone:
            self._catch_up()
            now = {**self._intervals, self._began: self._clock()}
            return self._budget.reached(
                self._calls, self._tokens, self._money, lambda: busy_seconds((b, e) for b, e in now.items())
            )

    def charge(self, model: str, price: Price, answers: Sequence[Completion]) -> None:
        """Adds new calls to a model, in one line."""
        costs = [price.dollars(answer) for answer in answers]
        known = [cost for cost in costs if cost is not None]
        line = Spent(
            began=self._began,
            ended=self._clock(),
            model=model,
            calls=len(answers),
            tokens=sum(answer.prompt_tokens + answer.completion_tokens for answer in answers),
            money=sum(known) if len(known) == len(costs) else None,
        )
        text = (json.dumps({**asdict(line), _SUM: _checksum(asdict(line))}) + "\n").encode()
        with self._alone, self._locked():
            size = os.fstat(self._file).st_size
            if os.write(self._file, text) < len(text):
                os.ftruncate(self._file, size)
                raise SymphonyError(f"{self._path}: found a full disk, allowed: a ledger that can be written")

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _catch_up(self) -> None:
        """Reads the lines added since the last look, including this process's own."""
        size = os.fstat(self._file).st_size
        if size == self._read:
            return
        content = os.pread(self._file, size - self._read, self._read)
        whole = whole_lines(content)
        self._read += len(whole)
        for entry in ledger_lines(self._path, whole):
            self._calls += entry.calls
            self._tokens += entry.tokens
            self._money += entry.money or 0.0
            self._intervals[entry.began] = max(entry.ended, self._intervals.get(entry.began, 0.0))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        except OSError as error:
            raise SymphonyError(
                f"{self._path}: found {error.strerror}, allowed: a ledger that can be written"
            ) from error


@dataclass(frozen=True, slots=True)
class Purse:
    """One model's access to its study's ledger (`symphony.models.store.Purse`)."""

    ledger: Ledger
    price: Price

    def refusal(self) -> Limit | None:
        return self.ledger.refusal()

    def charge(self, revision: str, answers: Sequence[Completion]) -> None:
        self.ledger.charge(revision, self.price, answers)


def _checksum(values: Mapping[str, Any]) -> int:
    return zlib.crc32(canonical_json(values).encode())


def ledger_lines(path: Path, content: bytes) -> Iterator[Spent]:
    """Yields the lines of a ledger, each checked: with a wrong line the sum would not limit anything."""
    for line in content.splitlines():
        text = shown(line.decode(errors="replace"))
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SymphonyError(f"{path}: found {text}, allowed: one JSON object a line") from error
        if not isinstance(values, dict):
            raise SymphonyError(f"{path}: found {text}, allowed: one JSON object a line")
        known = values.pop(_SUM, None)
        check_keys(str(path), values, Spent.__slots__)
        entry = Spent(**values)
        check_fields(f"{path}: entry", entry)
        if known is not None and known != _checksum(values):
            raise SymphonyError(f"{path}: found {text}, allowed: a line with its own {_SUM}, as it was written")
        yield entry
