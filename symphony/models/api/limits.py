"""Rate limit, order of requests, back-off and circuit breaker for an endpoint."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

_MINUTE = 60.0
_NEARLY = 1e-6  # of a unit; rounding may end a sleep that much too early


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The source of time; tests provide their own clock.

    Attributes:
        clock: Returns seconds that never decrease.
        sleep: Waits the given seconds.
        jitter: Returns a new number in [0, 1) each time; it affects pauses but no result.
    """

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    jitter: Callable[[], float] = random.random


class RateLimit:
    """A token bucket: first come, first served, evenly spaced.

    In any 60 seconds it lets through less than `limit` plus one taking; requests, which are takings of 1, never
    exceed `limit`. It holds one taking plus one second's inflow, so that a late wake-up costs nothing; the inflow is
    smaller by as much, so that 59/60 of the limit can be used in the long run.

    Args:
        limit: Units per minute; None means no limit.
    """

    def __init__(self, limit: float | None, timing: Timing) -> None:
        self._limit, self._timing = limit, timing
        self._level: float | None = None  # nothing taken yet
        self._largest = 0.0
        self._filled = 0.0
        self._turn: asyncio.Lock | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def take(self, amount: float) -> None:
        """Waits until `amount` may be used; more than a minute's worth counts as a minute's worth."""
        if self._limit is None:
            return
        loop = asyncio.get_running_loop()
        if self._turn is None or loop is not self._loop:  # a lock serves one loop
            self._turn, self._loop = asyncio.Lock(), loop
        amount = min(amount, self._limit)
        async with self._turn:
            self._largest = max(self._largest, amount)
            if self._level is None:
                self._level, self._filled = amount, self._timing.clock()
            while (lacking := amount - self._fill()) > _NEARLY:
                await self._timing.sleep(lacking / self._inflow)
            self._level -= amount

    def give_back(self, amount: float) -> None:
        """Returns the unused part of a taking; a negative amount takes what was used beyond it."""
        if self._limit is not None and self._level is not None:
            self._level = self._fill() + amount

    @property
    def _inflow(self) -> float:
        """Units per second."""
        assert self._limit is not None
        return (self._limit - self._limit / _MINUTE) / _MINUTE

    def _fill(self) -> float:
        assert self._limit is not None
        assert self._level is not None
        now = self._timing.clock()
        room = self._largest + self._limit / _MINUTE
        self._level = min(room, self._level + (now - self._filled) * self._inflow)
        self._filled = now
        return self._level


class PrefixQueue:
    """Limits the requests under way; the waiting request whose prompt begins most like the last one goes next.

    A server that answers one request at a time keeps the last prompt in its cache, so the shared beginning is free.

    Args:
        at_once: Maximum number of requests under way, >= 1; None means no limit.
    """

    def __init__(self, at_once: int | None) -> None:
        self._at_once = at_once
        self._under_way = 0
        self._last = ""
        self._waiting: list[tuple[str, asyncio.Future[None]]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    @asynccontextmanager
    async def turn(self, prompt: str) -> AsyncIterator[None]:
        """Waits until the prompt may be sent, and holds its place until it is answered."""
        if self._at_once is None:
            yield
            return
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # requests from an earlier loop wait for nothing
            self._loop, self._under_way, self._waiting = loop, 0, []
        if self._under_way < self._at_once:
            self._under_way += 1
        else:
            await self._wait(prompt, loop)
        self._last = prompt
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, prompt: str, loop: asyncio.AbstractEventLoop) -> None:
        """Waits until another request hands over its place."""
        entry = (prompt, loop.create_future())
        self._waiting.append(entry)
        try:
            await entry[1]
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            else:
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        waiting = [entry for entry in self._waiting if not entry[1].done()]  # a cancelled one may still be listed
        if not waiting:
            self._under_way -= 1
            return
        best = max(waiting, key=lambda entry: _shared_length(entry[0], self._last))
        self._waiting.remove(best)
        best[1].set_result(None)


def _shared_length(text: str, other: str) -> int:
    """Returns the length of the common beginning of two texts."""
    return next((at for at, (a, b) in enumerate(zip(text, other, strict=False)) if a != b), min(len(text), len(other)))


class Breaker:
    """A circuit breaker that makes calls to a dead endpoint fail at once.

    Closed, it counts failed calls in a row; at `failures` it opens and refuses calls. After `pause_s` seconds it is
    half open: it lets one trial call through, which closes it with any answer or opens it again by failing.
    """

    def __init__(self, failures: int, pause_s: float, clock: Callable[[], float]) -> None:
        self._failures, self._pause_s, self._clock = failures, pause_s, clock
        self._row = 0
        self._reason = ""
        self._opened: float | None = None
        self._trying = False

    @property
    def refusal(self) -> str | None:
        """Why a call would be refused; None if it would not be, or only a trial would pass."""
        if self._opened is None:
            return None
        message = f"{self._row} calls in a row failed, the last with {self._reason}"
        if self._trying:
            return f"{message}; a trial call is under way"
        left = self._opened + self._pause_s - self._clock()
        return f"{message}; the next trial call comes {self._pause_s:g} s later" if left > 0 else None

    def enter(self) -> bool:
        """Registers a call that is not refused; returns whether it is a trial."""
        self._trying = self._opened is not None
        return self._trying

    def answered(self) -> None:
        """Records that the endpoint is alive."""
        self._row, self._opened, self._trying = 0, None, False

    def failed(self, reason: str, *, trial: bool) -> None:
        self._row, self._reason = self._row + 1, reason
        self._trying = self._trying and not trial
        if trial or self._row >= self._failures:
            self._opened = self._clock()

    def left(self, *, trial: bool) -> None:
        """Records that a call was cancelled, which shows nothing about the endpoint."""
        self._trying = self._trying and not trial


def pause(attempt: int, first_s: float, most_s: float, jitter: float) -> float:
    """Returns the seconds before another try: doubled per attempt (0, 1, ...) up to `most_s`, then 50 to 100 % of it.

    Args:
        jitter: A number in [0, 1); keeps calls that failed together from returning together.
    """
    return min(most_s, first_s * 2.0 ** min(attempt, 60)) * (0.5 + jitter / 2)


def retry_after(header: str | None, milliseconds: str | None = None) -> float:
    """Returns the seconds that a `Retry-After` header asks for (a number or a date); 0 if it makes no sense."""
    for text, unit in ((milliseconds, 1e-3), (header, 1.0)):
        try:
            seconds = float(text or "") * unit
        except ValueError:
            continue
        return seconds if 0 <= seconds < float("inf") else 0.0
    try:
        return max(0.0, parsedate_to_datetime(header or "").timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0
