"""Budgets of a problem, a run and a study, and the ledger of what a study asked of its models.

The budgets of a problem and a run count what was consumed, whether a model or the call store answered: so methods are
compared at equal cost, and a repeated run ends where it ended before. The budget of a study counts only new calls to
models, by all of its processes: it limits real spending, and never refuses a stored answer.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, cast, get_args

from symphony.fields import FromZero, NotNegative, check_fields, shown
from symphony.models.endpoint import Price
from symphony.models.sizes import Size
from symphony.records.records import check_keys
from symphony.types import Completion, Limit, SymphonyError

LIMITS: tuple[Limit, ...] = get_args(Limit)
USEFUL_TOKENS = 16
"""A call is refused if fewer tokens than this are left for its completion (or than its own limit, if smaller)."""
LimitScope = Literal["problem", "run", "study"]
BudgetReason = Literal[
    "calls",
    "tokens",
    "money",
    "seconds",
    "run_calls",
    "run_tokens",
    "run_money",
    "run_seconds",
    "study_calls",
    "study_tokens",
    "study_money",
    "study_seconds",
]
"""Which limit ended a search: one of the problem's own budget, the run's or the study's."""


def reason(scope: LimitScope, limit: Limit) -> BudgetReason:
    """Returns the stop reason for a limit that is reached."""
    return cast(BudgetReason, limit if scope == "problem" else f"{scope}_{limit}")


def money(dollars: float) -> str:
    """Formats dollars for people: two decimals, or two significant digits below a tenth of a dollar."""
    digits = 2 if dollars >= 0.1 or dollars <= 0 else 1 - math.floor(math.log10(dollars))
    return f"{dollars:,.{digits}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A set of limits; None means no limit.

    Attributes:
        calls: Model calls, failed ones included; kept exactly, as calls in flight count.
        tokens: Prompt and completion tokens; kept exactly, as calls in flight count with the most they may take.
        money: Dollars; no new call once this much is spent (calls in flight finish).
        seconds: Wall-clock time; no new call after that.
    """

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in LIMITS:
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise SymphonyError(f"budget.{name}: found {limit}, allowed: > 0, or null for no limit")

    def reached(self, calls: int, tokens: int, money: float, seconds: Callable[[], float]) -> Limit | None:
        """Returns the first limit that is spent; None if another call may be made."""
        if self.calls is not None and calls >= self.calls:
            return "calls"
        if self.tokens is not None and tokens >= self.tokens:
            return "tokens"
        if self.money is not None and money >= self.money:
            return "money"
        if self.seconds is not None and seconds() >= self.seconds:
            return "seconds"
        return None


class Meter:
    """Tracks consumption against a budget; a problem's meter also charges its run's meter.

    Attributes:
        calls: Calls made, in flight included.
        tokens: Prompt and completion tokens of finished calls.
        reserved: Tokens that calls in flight may take.
        money: Cost of finished calls in dollars, as far as known.
    """

    __slots__ = (
        "_clock", "_closed", "_scope", "_started", "budget", "calls", "money", "parent", "reserved", "tokens",
    )  # fmt: skip

    def __init__(
        self,
        budget: Budget,
        parent: Meter | None = None,
        *,
        scope: LimitScope = "problem",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self.parent = parent
        self.calls = 0
        self.tokens = 0
        self.reserved = 0
        self.money = 0.0
        self._scope = scope
        self._closed: BudgetReason | None = None
        self._clock = clock
        self._started = clock()

    def exceeded(self) -> BudgetReason | None:
        """Returns the reason why no further call may be made, from this meter or its parents; None if one may."""
        if self._closed is not None:
            return self._closed
        taken = self.tokens + self.reserved
        limit = self.budget.reached(self.calls, taken, self.money, lambda: self._clock() - self._started)
        if limit is not None:
            return reason(self._scope, limit)
        return None if self.parent is None else self.parent.exceeded()

    def left(self) -> tuple[int, BudgetReason] | None:
        """Returns the tokens neither taken nor reserved, and the limit that applies; None if nothing limits tokens.

        The tightest limit of this meter and its parents applies; the number is negative if more was taken than
        reserved.
        """
        above = None if self.parent is None else self.parent.left()
        if self.budget.tokens is None:
            return above
        own = self.budget.tokens - self.tokens - self.reserved, reason(self._scope, "tokens")
        return own if above is None or own[0] <= above[0] else above

    def charge(self, *, calls: int = 0, tokens: int = 0, money: float = 0.0, reserved: int = 0) -> None:
        """Adds to what is consumed and reserved, in this meter and its parents."""
        self.calls += calls
        self.tokens += tokens
        self.reserved += reserved
        self.money += money
        if self.parent is not None:
            self.parent.charge(calls=calls, tokens=tokens, money=money, reserved=reserved)

    def overrun(self) -> BudgetReason | None:
        """Returns the token limit that is exceeded, of this meter or its parents; None if none is."""
        if self.budget.tokens is not None and self.tokens > self.budget.tokens:
            return reason(self._scope, "tokens")
        return None if self.parent is None else self.parent.overrun()

    def close(self, why: BudgetReason) -> None:
        """Forbids this problem any further call: one was refused, or did not finish within what was left for it."""
        self._closed = self._closed or why


def useful(size: Size) -> int:
    """Returns the fewest completion tokens with which a call is still made."""
    return min(USEFUL_TOKENS, size.completion)


class Needs:
    """Computes how large a token budget the calls of a problem need, one after another.

    Attributes:
        least: For each booked call, the smallest token budget under which the search is the same up to its answer.
    """

    __slots__ = ("_reserved", "_spent", "least")

    def __init__(self) -> None:
        self.least: list[int] = []
        self._spent, self._reserved = [0], [0]  # sums over the calls booked

    def book(self, before: int, size: Size, completion: Completion) -> None:
        """Books the next call once it has ended.

        Calls in flight at the same time count with all they might have taken: of calls asked together, one whose limit
        must be cut is the last.

        Args:
            before: Number of calls already booked when this one was asked; the rest before it were in flight.
            size: Size of the call with its full completion limit.
        """
        used = completion.prompt_tokens + completion.completion_tokens
        taken = self._spent[before] + self._reserved[-1] - self._reserved[before]
        asked = taken + size.prompt + max(completion.completion_tokens, useful(size))
        ended = self._spent[-1] + used
        self.least.append(max(asked, ended, self.least[-1] if self.least else 0))
        self._spent.append(ended)
        self._reserved.append(self._reserved[-1] + size.prompt + size.completion)


# --------------------------------------------------------------------------- the study's ledger


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
        text = (json.dumps(asdict(line)) + "\n").encode()
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
        check_keys(str(path), values, Spent.__slots__)
        entry = Spent(**values)
        check_fields(f"{path}: entry", entry)
        yield entry
