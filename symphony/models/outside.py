"""Work that takes long and asks no model, such as running a program: in a thread, so that the event loop stays free.

While it lasts, calls to endpoints go on and their timeouts are kept. Batches of local models wait for it, so that what
is in a batch depends on the requests only and never on the clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_thread = ThreadPoolExecutor(1, "outside")  # one: what is begun first ends first, as it would without a thread


class Outside:
    """The work outside one event loop."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Callable[[], None]] = []

    async def run(self, function: Callable[[], T]) -> T:
        """What the function returns or raises; it runs after those that were given before it."""
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
        """Whether there is work under way; `resume` is called when there is none any more."""
        if self._count:
            self._waiting.append(resume)
        return self._count > 0


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Outside] = WeakKeyDictionary()


def outside(loop: asyncio.AbstractEventLoop) -> Outside:
    """The work outside an event loop."""
    return _of_loop.setdefault(loop, Outside())


async def run_outside(function: Callable[[], T]) -> T:
    """See `Outside.run`; outside the running event loop."""
    return await outside(asyncio.get_running_loop()).run(function)
