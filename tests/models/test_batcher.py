"""The batcher: everything that waits goes into one batch, and its composition is a matter of the requests alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event
from time import process_time

import pytest

from symphony.models.batcher import Batcher
from symphony.models.outside import run_outside
from symphony.models.scripted import ScriptedBackend
from symphony.types import Completion, Request, SymphonyError

Ask = Callable[..., Request]


class Watched(ScriptedBackend):
    """Notes the size of each batch."""

    def __init__(self) -> None:
        super().__init__(lambda request: f"{request.draw.problem} {request.draw.index}")
        self.batches: list[int] = []

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        self.batches.append(len(requests))
        return super().generate(requests)


async def search(batcher: Batcher, ask: Ask, name: str, steps: int = 3, draws: int = 2) -> list[str]:
    """Asks as a search does: some calls together, then the next step."""
    texts = []
    for step in range(steps):
        calls = [batcher.complete(ask(problem=name, index=10 * step + draw)) for draw in range(draws)]
        texts += [answer.text for answer in await asyncio.gather(*calls)]
    return texts


async def test_concurrent_searches_share_every_batch(ask: Ask) -> None:
    backend = Watched()
    batcher = Batcher(backend)
    await asyncio.gather(*(search(batcher, ask, str(number)) for number in range(5)))
    assert backend.batches == [10, 10, 10]


async def test_every_caller_gets_its_own_answer(ask: Ask) -> None:
    batcher = Batcher(Watched())
    results = await asyncio.gather(*(search(batcher, ask, str(number)) for number in range(3)))
    assert results == [[f"{number} {index}" for index in (0, 1, 10, 11, 20, 21)] for number in range(3)]


def test_the_same_searches_make_the_same_batches(ask: Ask) -> None:
    def order() -> list[Request]:
        backend = Watched()
        batcher = Batcher(backend)

        async def main() -> None:
            await asyncio.gather(*(search(batcher, ask, str(n), steps=1 + n, draws=1 + n % 3) for n in range(6)))

        asyncio.run(main())
        return backend.calls

    assert order() == order()


async def test_equal_concurrent_requests_are_all_answered(ask: Ask) -> None:
    answers = await asyncio.gather(*(Batcher(Watched()).complete(ask()) for _ in range(3)))
    assert [answer.text for answer in answers] == ["p 0"] * 3


async def test_a_backend_s_failure_reaches_every_caller_and_the_next_batch_works(ask: Ask) -> None:
    backend = ScriptedBackend(["only one"])
    batcher = Batcher(backend)
    results = await asyncio.gather(*(batcher.complete(ask(index=n)) for n in range(2)), return_exceptions=True)
    assert all(isinstance(result, SymphonyError) for result in results)
    backend._answers = lambda _: "again"
    assert (await batcher.complete(ask())).text == "again"


async def test_a_backend_that_answers_too_few_is_told(ask: Ask) -> None:
    class Short(ScriptedBackend):
        def generate(self, requests: Sequence[Request]) -> list[Completion]:
            return super().generate(requests)[:-1]

    with pytest.raises(SymphonyError, match="found 0 answers, allowed: 1"):
        await Batcher(Short(["a"])).complete(ask())


async def test_a_cancelled_caller_is_left_out(ask: Ask) -> None:
    backend = Watched()
    batcher = Batcher(backend)
    gone = asyncio.ensure_future(batcher.complete(ask(index=0)))
    stays = asyncio.ensure_future(batcher.complete(ask(index=1)))
    await asyncio.sleep(0)
    gone.cancel()
    assert (await stays).text == "p 1"
    assert backend.batches == [1]


def test_a_batcher_serves_one_event_loop_after_another(ask: Ask) -> None:
    batcher = Batcher(Watched())
    for _ in range(2):
        assert asyncio.run(search(batcher, ask, "a", steps=1)) == ["a 0", "a 1"]


async def test_latency_is_measured(ask: Ask) -> None:
    assert 0 < (await Batcher(Watched()).complete(ask())).latency_s < 5


async def test_models_in_an_executor_answer_like_inline_ones(ask: Ask) -> None:
    with ThreadPoolExecutor(2) as executor:
        backend = Watched()
        batcher = Batcher(backend, executor=executor)
        results = await asyncio.gather(*(search(batcher, ask, str(number)) for number in range(3)))
    assert results == [[f"{number} {index}" for index in (0, 1, 10, 11, 20, 21)] for number in range(3)]
    assert backend.batches == [6, 6, 6]


async def test_a_failure_in_an_executor_reaches_the_caller(ask: Ask) -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(SymphonyError, match="script"):
        await Batcher(ScriptedBackend([]), executor=executor).complete(ask())


async def test_a_request_costs_less_than_a_hundred_microseconds(ask: Ask) -> None:
    batcher = Batcher(ScriptedBackend(lambda _: "x"))
    request = ask()
    begin = process_time()
    for _ in range(100):
        await asyncio.gather(*(batcher.complete(request) for _ in range(20)))
    assert (process_time() - begin) / 2000 < 100e-6


async def test_an_answer_loses_nothing_on_its_way_but_gets_its_latency(ask: Ask) -> None:
    answer = Completion(
        text="a", finish_reason="length", prompt_tokens=1, cached_tokens=2, completion_tokens=3, logprob=-4.0,
        error="e", refused="tokens", dropped=5, latency_s=6.0,
    )  # fmt: skip
    got = await Batcher(ScriptedBackend([answer])).complete(ask())
    assert 0.0 < got.latency_s < 6.0
    assert replace(got, latency_s=6.0) == answer


async def test_an_answer_from_the_store_took_no_time(ask: Ask) -> None:
    answer = Completion(text="a", finish_reason="stop", prompt_tokens=1, from_store=True)
    assert await Batcher(ScriptedBackend([answer])).complete(ask()) == answer


async def test_an_answer_from_the_store_has_waited_for_those_of_its_batch_that_were_not(ask: Ask) -> None:
    stored = Completion(text="a", finish_reason="stop", prompt_tokens=1, from_store=True)
    batcher = Batcher(ScriptedBackend([stored, replace(stored, from_store=False)]))
    answers = await asyncio.gather(batcher.complete(ask(index=0)), batcher.complete(ask(index=1)))
    assert all(answer.latency_s > 0 for answer in answers)


async def test_a_batch_waits_for_work_outside_the_event_loop(ask: Ask) -> None:
    backend = Watched()
    batcher = Batcher(backend)
    asked = Event()

    async def one() -> None:
        await batcher.complete(ask(problem="quick"))

    async def other() -> None:
        await run_outside(lambda: asked.wait(0.2))
        await batcher.complete(ask(problem="slow"))

    await asyncio.gather(one(), other())
    assert backend.batches == [2]


async def test_waiting_for_work_outside_takes_no_processor_time(ask: Ask) -> None:
    batcher = Batcher(Watched())
    begin = process_time()
    await asyncio.gather(batcher.complete(ask()), run_outside(lambda: time.sleep(0.5)))
    assert process_time() - begin < 0.2
