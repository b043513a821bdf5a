"""Collects the model calls of concurrent searches into one batch per model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from symphony.models.devices import Device, LocalModel
from symphony.models.outside import outside
from symphony.models.sizes import sizing
from symphony.types import Completion, ModelBackend, Request, SymphonyError

# After this many passes of the event loop without a new request, every search is taken to be waiting for a model.
# From an answer to the same search's next call takes five (wake, gather, resume, start tasks, call); the rest is slack.
IDLE_PASSES = 8
_PATIENCE = 32  # batches of loaded models that may go before one whose model must be swapped in


@dataclass(slots=True)
class _Waiting:
    request: Request
    future: asyncio.Future[Completion]
    since: float


class Batcher:
    """An `AsyncModel` over a `ModelBackend`, with one queue per model.

    A batch holds every request made until the event loop has nothing more to do and no work is under way outside it
    (`outside`), in the order of the requests. It depends on the requests only, never on the clock.

    Args:
        backend: The model backend that answers. Its own limits may split the batch further.
        executor: Where the backend runs. None runs it inline, one model of a pool after another, which suits a CPU;
            with an executor the backends of several models can run at the same time.
        turns: Decides when a batch may go if the models do not all fit into memory together.
    """

    def __init__(self, backend: ModelBackend, *, executor: Executor | None = None, turns: Turns | None = None) -> None:
        self.backend = backend
        self.size = sizing(backend)
        self.counter: str | None = None  # the backend stores what is worth storing
        self._executor = executor
        self._turns = turns
        self._queue: list[_Waiting] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticking = False
        self._idle = 0
        self._seen = 0
        self._running: asyncio.Future[list[Completion]] | None = None

    def complete(self, request: Request) -> asyncio.Future[Completion]:
        """Returns the backend's answer, with the latency in seconds from this call; 0 if its batch came from the store.

        It returns a future rather than a coroutine, so that no task is made for each of the calls made together.

        Raises:
            Exception: Whatever the backend raised for the batch; every caller of the batch gets it.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a new run; requests from an earlier loop can no longer be answered
            self._loop, self._queue, self._ticking, self._running = loop, [], False, None
        waiting = _Waiting(request, loop.create_future(), time.perf_counter())
        self._queue.append(waiting)
        if not self._ticking and self._running is None:
            self._start(loop)
        return waiting.future

    def waits(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether any request of this loop is still unanswered."""
        return loop is self._loop and (self._running is not None or bool(self._queue))

    def resume(self, loop: asyncio.AbstractEventLoop) -> None:
        """Restarts the wait after a batch of another model, since its answers may lead the searches to new requests."""
        if self._ticking:
            self._idle = 0
        elif self._queue and self._running is None and loop is self._loop:
            self._start(loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticking, self._idle, self._seen = True, 0, 0
        loop.call_soon(self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs once per pass of the event loop while requests wait."""
        if loop is not self._loop:
            return
        count = len(self._queue)
        self._idle = self._idle + 1 if count == self._seen else 0
        self._seen = count
        if self._idle < IDLE_PASSES:
            loop.call_soon(self._tick, loop)
            return
        self._idle = 0
        if outside(loop).holds_up(lambda: self._tick(loop)):
            return
        self._ticking = False
        if self._turns is not None and not self._turns.may_go(self, loop):
            return  # until `resume`
        batch = [waiting for waiting in self._queue if not waiting.future.done()]  # the others were cancelled
        self._queue = []
        if not batch:
            self._ended(loop)
            return
        requests = [waiting.request for waiting in batch]
        if self._executor is not None:
            self._running = loop.run_in_executor(self._executor, self.backend.generate, requests)
            self._running.add_done_callback(lambda running: self._finish(loop, batch, running))
            return
        try:
            answers = self.backend.generate(requests)
        except Exception as error:
            _fail(batch, error)
        else:
            _deliver(batch, answers)
        self._ended(loop)

    def _finish(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting], running: asyncio.Future[list[Completion]]
    ) -> None:
        self._running = None
        if running.cancelled():
            _fail(batch, asyncio.CancelledError())
        elif (error := running.exception()) is not None:
            _fail(batch, error)
        else:
            _deliver(batch, running.result())
        if self._queue and loop is self._loop:
            self._start(loop)
        self._ended(loop)

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._turns is not None:
            self._turns.ended(self, loop)


class Turns:
    """Groups the batches of a device's models by model, so that models are rarely swapped.

    A batch goes at once if its model is loaded or fits beside the loaded ones. Otherwise it waits until the loaded
    models have answered all their requests, or until `_PATIENCE` of their batches have gone before it; so a search that
    keeps asking one model cannot hold up another for ever.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._models: dict[Batcher, LocalModel] = {}
        self._passed: dict[Batcher, int] = {}  # batches that went before each waiting one, longest wait first

    def join(self, batcher: Batcher, model: LocalModel) -> None:
        self._models[batcher] = model

    def may_go(self, batcher: Batcher, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the batcher's batch may go now; if not, it is resumed when another batch has ended."""
        if not self._device.has_room(self._models[batcher]) and self._passed.setdefault(batcher, 0) < _PATIENCE:
            loaded = [other for other, model in self._models.items() if self._device.holds(model)]
            if any(other.waits(loop) for other in loaded):
                return False
        self._passed.pop(batcher, None)
        return True

    def ended(self, batcher: Batcher, loop: asyncio.AbstractEventLoop) -> None:
        """Counts an answered batch and resumes the batchers that wait."""
        if not self._device.crowded:
            return
        for waiting in self._passed:
            self._passed[waiting] += 1
        for other in (*self._passed, *(candidate for candidate in self._models if candidate not in self._passed)):
            if other is not batcher:
                other.resume(loop)


def _fail(batch: Sequence[_Waiting], error: BaseException) -> None:
    for waiting in batch:
        if not waiting.future.done():
            waiting.future.set_exception(error)


def _deliver(batch: Sequence[_Waiting], answers: Sequence[Completion]) -> None:
    if len(answers) != len(batch):
        _fail(batch, SymphonyError(f"backend: found {len(answers)} answers, allowed: {len(batch)}"))
        return
    now = time.perf_counter()
    stored = all([answer.from_store for answer in answers])  # a stored answer takes no time; not copied
    for waiting, answer in zip(batch, answers, strict=True):
        if not waiting.future.done():
            waiting.future.set_result(answer if stored else replace(answer, latency_s=now - waiting.since))
