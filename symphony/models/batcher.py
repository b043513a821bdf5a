"""Collects the model calls of concurrent searches into one batch a model."""

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

# Passes of the event loop without a new request after which every search is taken to wait for a model. From an
# answer to the same search's next call it takes five (wake, gather, resume, start tasks, call); the rest is slack.
IDLE_PASSES = 8
_PATIENCE = 32  # batches of loaded models that go before one whose model has to be loaded in their place


@dataclass(slots=True)
class _Waiting:
    request: Request
    future: asyncio.Future[Completion]
    since: float


class Batcher:
    """An `AsyncModel` over a `ModelBackend`: one queue a model.

    A batch is everything asked until the event loop has nothing more to do and no work is under way outside it
    (`outside`), in the order of asking; it depends on the requests only, never on the clock.

    Args:
        backend: What answers. Its own limits cut the batch further.
        executor: Where the backend runs. None runs it inline, one model of a pool after another, which is right
            on a CPU; an executor lets the backends of several models run at the same time.
        turns: Decides when its batch may go, where not all models fit into memory together.
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
        """The backend's answer, with the latency in seconds from this call to it; 0 where the store held its batch.

        A future and no coroutine: no task has to be made for each of the calls that are asked together.

        Raises:
            Exception: Whatever the backend raised for the batch; every caller of the batch gets it.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a new run; what an earlier loop left behind can no longer be answered
            self._loop, self._queue, self._ticking, self._running = loop, [], False, None
        waiting = _Waiting(request, loop.create_future(), time.perf_counter())
        self._queue.append(waiting)
        if not self._ticking and self._running is None:
            self._start(loop)
        return waiting.future

    def waits(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether there are requests of this loop that have no answer yet."""
        return loop is self._loop and (self._running is not None or bool(self._queue))

    def resume(self, loop: asyncio.AbstractEventLoop) -> None:
        """A batch of another model has ended: waits anew for what its answers let the searches ask."""
        if self._ticking:
            self._idle = 0
        elif self._queue and self._running is None and loop is self._loop:
            self._start(loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticking, self._idle, self._seen = True, 0, 0
        loop.call_soon(self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs once a pass of the event loop while requests wait."""
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
    """Groups the batches of the models of a device by model, so that a model is loaded in place of another seldom.

    A batch whose model is loaded, or fits beside those that are, goes at once. Another one waits until the loaded
    models have answered everything that they are asked, or until `_PATIENCE` of their batches have gone before it: a
    search that keeps asking one model holds up no other for ever.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._models: dict[Batcher, LocalModel] = {}
        self._passed: dict[Batcher, int] = {}  # batches that went before the one that waits, longest wait first

    def join(self, batcher: Batcher, model: LocalModel) -> None:
        self._models[batcher] = model

    def may_go(self, batcher: Batcher, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether the batcher's batch may go now; if not, it is resumed when another one has ended."""
        if not self._device.has_room(self._models[batcher]) and self._passed.setdefault(batcher, 0) < _PATIENCE:
            loaded = [one for one, model in self._models.items() if self._device.holds(model)]
            if any(one.waits(loop) for one in loaded):
                return False
        self._passed.pop(batcher, None)
        return True

    def ended(self, batcher: Batcher, loop: asyncio.AbstractEventLoop) -> None:
        """A batch has been answered."""
        if not self._device.crowded:
            return
        for waiting in self._passed:
            self._passed[waiting] += 1
        for other in (*self._passed, *(one for one in self._models if one not in self._passed)):
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
    stored = all([answer.from_store for answer in answers])  # which takes no time to speak of, and a replay no copy
    for waiting, answer in zip(batch, answers, strict=True):
        if not waiting.future.done():
            waiting.future.set_result(answer if stored else replace(answer, latency_s=now - waiting.since))
