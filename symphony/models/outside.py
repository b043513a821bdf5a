"""Runs long work that asks no model, such as a program, in a thread, so that the event loop stays free.

Meanwhile, calls to endpoints go on and their timeouts hold. Batches of local models wait for it, so that a batch
depends on the requests only and never on the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_thread = ThreadPoolExecutor(1, "outside")  # one thread: work ends in the order in which it began


class Outside:
    """Work done outside one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Callable[[], None]] = []

    async def run(self, function: Callable[[], T]) -> T:
        """Runs the function after those given earlier; returns or raises what it does."""
        self._count += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(_thread, function)
        finally:
            self._count -= 1
            if not self._count:
                waiting, self._waiting = self._waiting, []
                for resume in waiting:
                    resume()

    def holds_up(self, resume: Callable[[], None]) -> bool:
        """Whether work is under way; if so, `resume` is called once there is none left."""
        if self._count:
            self._waiting.append(resume)
        return self._count > 0


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Outside] = WeakKeyDictionary()


def outside(loop: asyncio.AbstractEventLoop) -> Outside:
    """Returns the work outside an event loop."""
    return _of_loop.setdefault(loop, Outside())


async def run_outside(function: Callable[[], T]) -> T:
    """Runs a function outside the running event loop, see `Outside.run`."""
    return await outside(asyncio.get_running_loop()).run(function)
