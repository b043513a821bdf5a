"""Runs concurrent searches over a model that accepts requests at every step and answers each as soon as it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from symphony.models.batcher import IDLE_PASSES
from symphony.models.outside import outside
from symphony.types import Completion, Request

Answers = list[tuple[int, Completion]]


@runtime_checkable
class Stepped(Protocol):
    """A model backend that batches continuously."""

    revision: str

    def submit(self, requests: Sequence[Request], first: int = 0) -> Answers:
        """Accepts requests, numbered from `first`; returns the answers to those that are refused at once."""
        ...

    def step(self) -> Answers:
        """Computes one batch; returns the answers that ended with it."""
        ...


@dataclass(slots=True)
class _Asked:
    future: asyncio.Future[Completion]
    since: float


class Stepper:
    """An `Endpoint` over a `Stepped` backend.

    It takes a step once every search waits for an answer, so that all possible requests join it. Which requests join
    depends on the requests only, never on the clock.

    Args:
        backend: The backend that answers.
        executor: Where the backend computes; None means the event loop's own thread.
    """

    def __init__(self, backend: Stepped, *, executor: Executor | None = None) -> None:
        self.revision = backend.revision
        self._backend = backend
        self._executor = executor
        self._asked: dict[int, _Asked] = {}
        self._new: list[Request] = []
        self._next = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticking = False
        self._idle = self._seen = 0

    def ready(self) -> None:
        """Does nothing: a local model is always ready."""

    def complete(self, request: Request) -> asyncio.Future[Completion]:
        """Returns the backend's answer, with the latency in seconds from this call.

        Raises:
            Exception: Whatever the backend raised; every waiting caller gets it.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a new run; answers to an earlier loop's requests are dropped
            self._loop, self._asked, self._new, self._ticking = loop, {}, [], False
        asked = _Asked(loop.create_future(), time.perf_counter())
        self._asked[self._next] = asked
        self._next += 1
        self._new.append(request)
        if not self._ticking:
            self._ticking, self._idle, self._seen = True, 0, 0
            loop.call_soon(self._tick, loop)
        return asked.future

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs once per pass of the event loop while requests wait."""
        if loop is not self._loop:
            return
        count = len(self._new)
        self._idle = self._idle + 1 if count == self._seen else 0
        self._seen = count
        if self._idle < IDLE_PASSES:
            loop.call_soon(self._tick, loop)
            return
        if outside(loop).holds_up(lambda: self._resume(loop)):
            return
        new, self._new, self._seen = self._new, [], 0
        if self._executor is None:
            try:
                self._deliver(loop, self._step(new, self._next - len(new)))
            except Exception as error:
                self._fail(error)
            return
        running = loop.run_in_executor(self._executor, self._step, new, self._next - len(new))
        running.add_done_callback(lambda done: self._finish(loop, done))

    def _resume(self, loop: asyncio.AbstractEventLoop) -> None:
        """Restarts the wait after work outside the loop, since it may lead the searches to new requests."""
        self._idle = 0
        self._tick(loop)

    def _step(self, new: list[Request], first: int) -> Answers:
        refused = self._backend.submit(new, first) if new else []
        return refused + self._backend.step()

    def _finish(self, loop: asyncio.AbstractEventLoop, done: asyncio.Future[Answers]) -> None:
        if done.cancelled():
            self._fail(asyncio.CancelledError())
        elif (error := done.exception()) is not None:
            self._fail(error)
        else:
            self._deliver(loop, done.result())

    def _deliver(self, loop: asyncio.AbstractEventLoop, answers: Answers) -> None:
        if loop is not self._loop:
            return
        now = time.perf_counter()
        for number, answer in answers:
            asked = self._asked.pop(number, None)
            if asked is not None and not asked.future.done():
                asked.future.set_result(replace(answer, latency_s=now - asked.since))
        self._ticking = bool(self._asked)
        if self._ticking:
            # If nothing was answered, no search can have a new request.
            self._idle = 0 if answers or self._new else IDLE_PASSES
            loop.call_soon(self._tick, loop)

    def _fail(self, error: BaseException) -> None:
        asked, self._asked, self._new, self._ticking = self._asked, {}, [], False
        for pending in asked.values():
            if not pending.future.done():
                pending.future.set_exception(error)
