"""Models behind an OpenAI-compatible endpoint, over real HTTP and with the real client."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from symphony.chat.reasoning import spoken
from symphony.models.api.backend import SEED_RANGE, APIModel
from symphony.models.api.limits import PrefixQueue, Timing
from symphony.models.chats import prompt_tokens
from symphony.models.endpoint import Price
from symphony.models.store import CallStore, StoredModel
from symphony.plan.model_spec import is_endpoint
from symphony.plan.options import model as option
from symphony.plan.specs import ACCESS, digest
from symphony.types import Completion, Message, Request, SymphonyError
from tests.stub_server import Asked, Reply, Script, StubServer, said

CONF = Path(__file__).parents[2] / "conf"
Ask = Callable[..., Request]
CANARY = "sk-canary/0123456789+abcdefghijklmnopqrstuvwxyz=ABCDEFG"


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def timing(self) -> Timing:
        return Timing(clock=lambda: self.now, sleep=self.sleep, jitter=lambda: 0.5)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def in_turn(*replies: Any) -> Script:
    """The replies in order, the last one for ever."""
    return lambda asked: replies[min(asked.number, len(replies) - 1)]


def run(model: APIModel | StoredModel, *requests: Request) -> list[Completion]:
    """In a loop of their own, all at once."""

    async def together() -> list[Completion]:
        return await asyncio.gather(*(model.complete(request) for request in requests))

    return asyncio.run(together())


def answer(script: Script, request: Request, **settings: Any) -> tuple[Completion, StubServer]:
    settings.setdefault("timing", Clock().timing())
    with StubServer(script) as server:
        (completion,) = run(APIModel(server.url, "m", **settings), request)
    return completion, server


# --------------------------------------------------------------------------- what is sent, what comes back


def test_a_reply_becomes_a_completion(ask: Ask) -> None:
    reply = said("ü ok", prompt=9, completion=4, prompt_tokens_details={"cached_tokens": 5})
    completion, _ = answer(lambda _: reply, ask())
    assert (completion.text, completion.finish_reason, completion.error) == ("ü ok", "stop", None)
    assert (completion.prompt_tokens, completion.cached_tokens, completion.completion_tokens) == (9, 5, 4)


def test_messages_sampling_and_seed_are_sent(ask: Ask) -> None:
    request = ask("how?", temperature=0.7, max_tokens=11, stop=("\n\n", "END"))
    _, server = answer(in_turn(said("so")), request)
    (asked,) = server.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "how?"}],
        "temperature": 0.7,
        "max_tokens": 11,
        "stop": ["\n\n", "END"],
        "seed": request.draw.rng_seed() % SEED_RANGE,
    }


def test_another_draw_sends_another_seed(ask: Ask) -> None:
    seeds = {answer(in_turn(said("so")), ask(index=index))[1].asked[0].body["seed"] for index in range(5)}
    assert len(seeds) == 5


def test_the_limit_of_tokens_goes_by_the_name_in_the_config(ask: Ask) -> None:
    _, server = answer(in_turn(said("so")), ask(max_tokens=5), token_limit="max_completion_tokens")
    assert server.asked[0].body["max_completion_tokens"] == 5
    assert "max_tokens" not in server.asked[0].body


def test_what_an_endpoint_refuses_is_omitted_and_what_it_wants_besides_is_sent(ask: Ask) -> None:
    _, server = answer(in_turn(said("so")), ask(), omit=["seed", "temperature"], extra={"top_k": 4})
    assert set(server.asked[0].body) == {"model", "messages", "max_tokens", "top_k"}


@pytest.mark.parametrize(
    ("node", "logprob"),
    [
        ({"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]}, -1.5),
        ({"content": [{"token": "a", "logprob": -0.5}, {"token": "b"}]}, None),
        ({"content": [{"token": "a", "logprob": "much"}]}, None),
        ({"content": [{"token": "a", "logprob": 1.0}]}, None),
        ({"content": []}, None),
        ({"content": "none"}, None),
        (None, None),
        ([], None),
    ],
)
def test_log_probabilities_are_asked_for_where_wanted_and_summed_where_all_are_there(
    node: Any, logprob: float | None, ask: Ask
) -> None:
    reply = said("so")
    reply["choices"][0]["logprobs"] = node
    completion, server = answer(in_turn(reply), ask(), logprobs=True)
    assert server.asked[0].body["logprobs"] is True
    assert (completion.error, completion.logprob) == (None, logprob)


def long_prompt(ask: Ask, max_tokens: int) -> Request:
    """Of 30, 20 and 10 letters a message with 0, 1 and 2 parts dropped."""

    def shorten(dropped: int) -> tuple[Message, ...]:
        return (Message(role="user", content="x" * (30 - 10 * dropped)),) if dropped < 3 else ()

    return replace(ask(max_tokens=max_tokens), messages=shorten(0), shorten=shorten)


@pytest.mark.parametrize(
    ("context", "dropped"), [(None, 0), (20, 0), (19, 1), (17, 1), (16, 2), (14, 2), (13, 2), (1, 2)]
)
def test_a_prompt_that_is_too_long_by_estimate_is_sent_without_its_first_parts(
    context: int | None, dropped: int, ask: Ask
) -> None:
    completion, server = answer(in_turn(said("so")), long_prompt(ask, max_tokens=10), context=context)
    assert completion.dropped == dropped
    assert len(server.asked[0].body["messages"][0]["content"]) == 30 - 10 * dropped


def test_a_size_is_the_estimate_of_the_prompt_that_is_sent(ask: Ask) -> None:
    for context, dropped in [(None, 0), (19, 1), (14, 2), (1, 2)]:
        model = APIModel("http://127.0.0.1:1/v1", "m", context=context)
        size = model.size(long_prompt(ask, max_tokens=10))
        assert (size.prompt, size.completion, size.dropped) == (-(-(30 - 10 * dropped) // 3), 10, dropped)
    assert model.counter is None


def test_a_size_is_counted_by_the_tokenizer_where_there_is_one(ask: Ask) -> None:
    path = Path(__file__).parents[2] / "symphony" / "embedded" / "weights" / "llama"
    model = APIModel("http://127.0.0.1:1/v1", "m", tokenizer=str(path))
    assert model.size(ask()).prompt == prompt_tokens(path, ask().messages)
    assert model.counter is not None


def test_stop_holds_where_a_server_ignores_it(ask: Ask) -> None:
    completion, _ = answer(in_turn(said("one\ntwo\nthree", reason="length")), ask(stop=("three", "\n")))
    assert (completion.text, completion.finish_reason) == ("one", "stop")


@pytest.mark.parametrize("reason", ["length", "max_tokens", "MAX_TOKENS", "max_output_tokens", "model_length"])
def test_a_cut_answer_ends_by_length(reason: str, ask: Ask) -> None:
    assert answer(in_turn(said("one", reason=reason)), ask())[0].finish_reason == "length"


@pytest.mark.parametrize("reason", ["stop", "STOP", "eos", "end_turn", "stop_sequence", None])
def test_a_whole_answer_ends_by_itself(reason: Any, ask: Ask) -> None:
    assert answer(in_turn(said("one", reason=reason)), ask())[0].finish_reason == "stop"


def test_a_stop_string_in_the_reasoning_ends_nothing(ask: Ask) -> None:
    text = "<think>Observation: no</think>Action: search[X]\nObservation: yes"
    completion, _ = answer(in_turn(said(text)), ask(stop=("Observation",)))
    assert completion.text == "<think>Observation: no</think>Action: search[X]\n"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_that_comes_apart_is_kept_in_the_text(field: str, ask: Ask) -> None:
    reply = said("so")
    reply["choices"][0]["message"][field] = "why"
    completion, _ = answer(in_turn(reply), ask())
    assert (completion.text, spoken(completion.text).strip()) == ("<think>\nwhy\n</think>\nso", "so")


def test_an_answer_that_was_cut_in_its_reasoning_is_an_answer(ask: Ask) -> None:
    reply = said(None, reason="length")
    reply["choices"][0]["message"]["reasoning_content"] = "why"
    completion, _ = answer(in_turn(reply), ask())
    assert (completion.error, completion.finish_reason, spoken(completion.text)) == (None, "length", "")


@pytest.mark.parametrize("omit", [(), ("stop",)])
def test_an_endpoint_that_stops_within_the_reasoning_is_told_how_to_be_asked(omit: tuple[str, ...], ask: Ask) -> None:
    completion, _ = answer(in_turn(said("<think>I saw the ")), ask(stop=("Observation",)), omit=omit)
    assert ("omit: [stop]" in (completion.error or "")) == (not omit)
    assert completion.completion_tokens == 3


def test_a_key_is_sent_as_a_bearer_and_none_where_none_is_wanted(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", CANARY)
    monkeypatch.setenv("OPENAI_API_KEY", "of another endpoint")
    monkeypatch.setenv("OPENAI_ORG_ID", "of another endpoint")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer of another endpoint")
    _, server = answer(in_turn(said("so")), ask(), key_env="SOME_KEY")
    assert server.asked[0].headers["authorization"] == f"Bearer {CANARY}"
    _, server = answer(in_turn(said("so")), ask())
    assert "of another endpoint" not in str(server.asked[0])


def test_text_that_no_file_can_hold_is_mended(ask: Ask) -> None:
    content = json.dumps(said("a\ud800b\0c"))
    assert answer(in_turn(content), ask())[0].text == "a\ufffdb\ufffdc"


# --------------------------------------------------------------------------- what fails, and what is tried again


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_overload_and_server_errors_are_tried_again(status: int, ask: Ask) -> None:
    completion, server = answer(in_turn(Reply(status=status), Reply(status=status), said("now")), ask())
    assert completion.text == "now"
    assert len(server.asked) == 3


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404, 408, 409, 413, 422])
def test_other_statuses_are_not(status: int, ask: Ask) -> None:
    completion, server = answer(lambda _: Reply(status=status, content={"error": {"message": "no"}}), ask())
    assert completion.error is not None
    assert completion.error.startswith(f"status: HTTP {status}")
    assert len(server.asked) == 1


@pytest.mark.parametrize("cut", ["before", "middle"])
def test_a_cut_connection_is_tried_again(cut: str, ask: Ask) -> None:
    completion, server = answer(in_turn(Reply(content=said("lost"), cut=cut), said("now")), ask())
    assert completion.text == "now"
    assert len(server.asked) == 2


def test_a_timeout_is_tried_again(ask: Ask) -> None:
    completion, server = answer(in_turn(Reply(content=said("late"), delay_s=5), said("now")), ask(), timeout_s=0.3)
    assert completion.text == "now"
    assert len(server.asked) == 2


def test_what_keeps_failing_is_a_failed_call_with_its_reason(ask: Ask) -> None:
    completion, server = answer(in_turn(Reply(status=503, content="busy")), ask(), retries=2)
    assert completion == Completion(
        text="",
        finish_reason="error",
        prompt_tokens=0,
        error="status: HTTP 503: busy",
        latency_s=completion.latency_s,
    )
    assert len(server.asked) == 3


def test_a_timeout_is_told_with_its_length(ask: Ask) -> None:
    completion, _ = answer(in_turn(Reply(delay_s=5)), ask(), timeout_s=0.2, retries=0)
    assert completion.error == "timeout: no answer within 0.2 s"


def test_a_server_that_is_not_there_is_told(ask: Ask) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = APIModel(f"http://127.0.0.1:{port}/v1", "m", retries=1, timing=Clock().timing())
    (completion,) = run(model, ask())
    assert completion.error == f"connection: ConnectError at 127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{not json", "found no JSON"),
        (b"\xff\xfe", "found no JSON"),
        ("", "found no JSON"),
        ("<html>login</html>", "found no JSON"),
        ("[" * 100_000, "found no JSON"),
        ("[]", "found no object"),
        ("null", "found no object"),
        ({}, "found no choices"),
        ({"choices": []}, "found no choices"),
        ({"choices": {"a": 1}}, "found no choices"),
        ({"error": {"message": "overloaded", "code": 502}}, "found no choices, but overloaded"),
        ({**said("x"), "choices": ["text"]}, "found null as content"),
        ({**said("x"), "choices": [{"message": None}]}, "found null as content"),
        (said(None), "found null as content"),
        (said([{"type": "text", "text": "x"}]), "found a list as content"),
        (said("x", reason="content_filter"), "found finish_reason 'content_filter'"),
        (said(None, reason="tool_calls"), "found finish_reason 'tool_calls'"),
        (said("x", reason="insufficient_system_resource"), "found finish_reason 'insufficient_system_resource'"),
        (said("x", reason="abort"), "found finish_reason 'abort'"),
        ({**said("x"), "error": {"message": "overloaded"}}, "found an error beside the choices: overloaded"),
        (said("x", reason=""), "found finish_reason ''"),
        (said("x", reason=["stop"]), "found finish_reason ['stop']"),  # type: ignore[arg-type]
        ({"choices": said("x")["choices"]}, "no usable `usage`"),
        ({**said("x"), "usage": None}, "no usable `usage`"),
        ({**said("x"), "usage": {}}, "no usable `usage`"),
        (said("x", prompt=-1), "no usable `usage`"),
        (said("x", prompt=0), "no usable `usage`"),
        (said("x", completion=0), "no usable `usage`"),
        (said("x", completion=2**40), "no usable `usage`"),
        ({**said("x"), "usage": {"prompt_tokens": "7", "completion_tokens": 3}}, "no usable `usage`"),
        ({**said("x"), "usage": {"prompt_tokens": True, "completion_tokens": 3}}, "no usable `usage`"),
        ({**said("x"), "usage": {"prompt_tokens": 7.5, "completion_tokens": 3}}, "no usable `usage`"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else None,
)
def test_an_answer_that_is_not_usable_is_a_failed_call_and_not_asked_again(content: Any, told: str, ask: Ask) -> None:
    completion, server = answer(lambda _: Reply(content=content), ask())
    assert completion.finish_reason == "error"
    assert completion.error is not None
    assert completion.error.startswith("reply: ")
    assert told in completion.error
    assert len(server.asked) == 1


def test_tokens_of_an_unusable_answer_are_counted(ask: Ask) -> None:
    completion, _ = answer(in_turn(said(None, prompt=9, completion=4)), ask())
    assert (completion.prompt_tokens, completion.completion_tokens) == (9, 4)


@pytest.mark.parametrize("cached", [None, -1, 8, "5", {"a": 1}])
def test_an_unknown_number_of_cached_tokens_is_0(cached: Any, ask: Ask) -> None:
    completion, _ = answer(in_turn(said("x", prompt=7, prompt_tokens_details={"cached_tokens": cached})), ask())
    assert (completion.error, completion.cached_tokens) == (None, 0)


# --------------------------------------------------------------------------- pauses


def test_pauses_double_and_are_jittered(ask: Ask, clock: Clock) -> None:
    answer(in_turn(Reply(status=500)), ask(), retries=4, pause_s=2.0, pause_max_s=9.0, timing=clock.timing())
    assert clock.slept == [1.5, 3.0, 6.0, 6.75]  # 75 % of 2, 4, 8, 9


def test_retry_after_is_waited_for(ask: Ask, clock: Clock) -> None:
    replies = (Reply(status=429, headers={"Retry-After": "17"}), Reply(status=503, headers={"retry-after-ms": "4500"}))
    answer(in_turn(*replies, said("now")), ask(), timing=clock.timing())
    assert clock.slept == [17.0, 4.5]


def test_retry_after_may_be_a_date(ask: Ask, clock: Clock) -> None:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    answer(in_turn(Reply(status=429, headers={"Retry-After": date}), said("now")), ask(), timing=clock.timing())
    assert clock.slept == [pytest.approx(30, abs=5)]


@pytest.mark.parametrize("header", ["soon", "-3", "nan", "inf", "Wed, 99 Foo"])
def test_a_senseless_retry_after_is_passed_over(header: str, ask: Ask, clock: Clock) -> None:
    replies = in_turn(Reply(status=429, headers={"Retry-After": header}), said("now"))
    assert answer(replies, ask(), timing=clock.timing())[0].text == "now"
    assert clock.slept == [0.75]


def test_a_retry_after_beyond_the_longest_pause_ends_the_call(ask: Ask, clock: Clock) -> None:
    replies = in_turn(Reply(status=429, headers={"Retry-After": "3600"}))
    completion, server = answer(replies, ask(), timing=clock.timing())
    assert completion.error is not None
    assert "asked to wait 3600 s" in completion.error
    assert (len(server.asked), clock.slept) == (1, [])


# --------------------------------------------------------------------------- breaker


def test_the_breaker_opens_after_failures_in_a_row_and_says_why(ask: Ask, clock: Clock) -> None:
    with StubServer(in_turn(Reply(status=404, content="gone"))) as server:
        model = APIModel(server.url, "m", breaker_failures=3, timing=clock.timing())
        errors = [run(model, ask(index=index))[0].error for index in range(5)]
    assert len(server.asked) == 3
    assert errors[3] == errors[4]
    assert str(errors[3]).startswith("breaker: 3 calls in a row failed, the last with status: HTTP 404: gone")


def test_an_answer_in_between_keeps_the_breaker_closed(ask: Ask, clock: Clock) -> None:
    with StubServer(lambda asked: said("x") if asked.number % 3 == 2 else Reply(status=404)) as server:
        model = APIModel(server.url, "m", breaker_failures=3, timing=clock.timing())
        for index in range(9):
            run(model, ask(index=index))
    assert len(server.asked) == 9


def test_requests_that_are_refused_for_their_own_sake_do_not_open_it(ask: Ask, clock: Clock) -> None:
    with StubServer(lambda _: Reply(status=400, content="too long")) as server:
        model = APIModel(server.url, "m", breaker_failures=2, timing=clock.timing())
        for index in range(5):
            run(model, ask(index=index))
    assert len(server.asked) == 5


def test_after_the_pause_one_trial_closes_the_breaker(ask: Ask, clock: Clock) -> None:
    with StubServer(lambda asked: Reply(status=404) if asked.number < 2 else said("back")) as server:
        model = APIModel(server.url, "m", breaker_failures=2, breaker_pause_s=30, timing=clock.timing())
        for index in range(3):
            run(model, ask(index=index))
        clock.now += 31
        both = run(model, ask(index=3), ask(index=4))
        assert [one.error is None for one in both] == [True, False]  # one trial at a time
        assert "a trial call is under way" in str(both[1].error)
        assert run(model, ask(index=5))[0].text == "back"
    assert len(server.asked) == 4


def test_a_failed_trial_opens_the_breaker_again(ask: Ask, clock: Clock) -> None:
    with StubServer(lambda _: Reply(status=404)) as server:
        model = APIModel(server.url, "m", breaker_failures=2, breaker_pause_s=30, timing=clock.timing())
        for index in range(2):
            run(model, ask(index=index))
        clock.now += 31
        run(model, ask(index=2))
        run(model, ask(index=3))
    assert len(server.asked) == 3


def test_a_cancelled_trial_leaves_room_for_the_next(ask: Ask, clock: Clock) -> None:
    async def give_up(model: APIModel, request: Request) -> None:
        call = asyncio.create_task(model.complete(request))
        await asyncio.sleep(0.2)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    with StubServer(in_turn(Reply(status=404), Reply(delay_s=9), said("back"))) as server:
        model = APIModel(server.url, "m", breaker_failures=1, timing=clock.timing())
        run(model, ask())
        clock.now += 31
        asyncio.run(give_up(model, ask(index=1)))
        assert run(model, ask(index=2))[0].text == "back"


# --------------------------------------------------------------------------- rate limits


def test_requests_are_spaced_by_their_limit(ask: Ask, clock: Clock) -> None:
    times: list[float] = []

    def script(_: Asked) -> Any:
        times.append(clock.now)
        return said("x")

    with StubServer(script) as server:
        model = APIModel(server.url, "m", requests_per_minute=60, timing=clock.timing())
        for index in range(70):
            run(model, ask(index=index))
    most = max(sum(begin <= one < begin + 60 for one in times) for begin in times)
    assert 58 <= most <= 60


def test_a_server_that_answers_one_at_a_time_is_asked_in_the_order_of_shared_prefixes(ask: Ask) -> None:
    prompts = [f"{path} {step}" for step in "123" for path in ("aaaa", "bbbb", "cccc")]
    with StubServer(lambda _: Reply(content=said("x"), delay_s=0.01)) as server:
        model = APIModel(server.url, "m", at_once=1)
        answers = run(model, *[ask(prompt) for prompt in prompts])
    assert [answer.error for answer in answers] == [None] * 9
    assert server.most == 1
    sent = [asked.body["messages"][0]["content"][0] for asked in server.asked]
    assert sum(one != next for one, next in itertools.pairwise(sent)) == 2  # each path whole


@pytest.mark.parametrize("at_once", [1, 3])
async def test_no_more_are_under_way_than_are_let_through_and_a_cancelled_one_keeps_no_place(at_once: int) -> None:
    queue = PrefixQueue(at_once)
    under_way, most, ended = 0, 0, 0

    async def one(number: int) -> None:
        nonlocal under_way, most, ended
        async with queue.turn(f"prompt {number}"):
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.001)
            under_way -= 1
            ended += 1

    tasks = [asyncio.create_task(one(number)) for number in range(12)]
    await asyncio.sleep(0)
    for task in tasks[5:8]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (most, ended) == (at_once, 9)
    await one(12)
    assert ended == 10


async def test_a_place_goes_on_where_it_is_left_just_as_one_that_waits_is_cancelled() -> None:
    queue = PrefixQueue(1)

    async def one(number: int) -> int:
        async with queue.turn(f"prompt {number}"):
            await asyncio.sleep(0.001)
            if number == 0:
                tasks[1].cancel()
            return number

    tasks = [asyncio.create_task(one(number)) for number in range(3)]
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, third) == (0, 2)
    assert isinstance(second, asyncio.CancelledError)
    assert await asyncio.wait_for(one(3), 5) == 3


def test_tokens_are_spaced_by_their_limit_and_what_was_not_used_is_given_back(ask: Ask, clock: Clock) -> None:
    def seconds(used: int) -> float:
        clock = Clock()
        with StubServer(in_turn(said("x", prompt=used, completion=0))) as server:
            model = APIModel(server.url, "m", tokens_per_minute=6000, timing=clock.timing())
            for index in range(10):
                run(model, ask("abc" * 500, index=index, max_tokens=500))  # taken for 1000 tokens
        return clock.now - 1000.0

    assert seconds(1000) == pytest.approx(9 * 1000 / 98.3, rel=0.05)
    assert seconds(500) == pytest.approx(9 * 500 / 98.3, rel=0.05)


def test_a_request_above_the_limit_of_tokens_is_not_waited_for_for_ever(ask: Ask) -> None:
    completion, _ = answer(in_turn(said("x")), ask("abc" * 9000), tokens_per_minute=100)
    assert completion.text == "x"


# --------------------------------------------------------------------------- concurrency and loops


def test_calls_run_side_by_side(ask: Ask) -> None:
    with StubServer(lambda _: Reply(content=said("x"), delay_s=0.2)) as server:
        model = APIModel(server.url, "m")
        run(model, ask(index=99))  # imports the client
        began = time.monotonic()
        run(model, *(ask(index=index) for index in range(20)))
        assert time.monotonic() - began < 1.0
        assert server.most == 20


def test_a_model_serves_one_loop_after_another_and_leaves_nothing_open(ask: Ask) -> None:
    with StubServer(in_turn(said("x"))) as server:
        model = APIModel(server.url, "m")
        texts = [run(model, ask(index=loop), ask(index=-loop))[0].text for loop in range(1, 4)]
        assert texts == ["x", "x", "x"]
        assert model._connection is not None
        assert all(line.client.is_closed() for line in model._connection._lines)


def test_a_loop_that_fails_leaves_nothing_open(ask: Ask) -> None:
    async def fail(model: APIModel) -> None:
        calls = asyncio.gather(model.complete(ask()), model.complete(ask(index=1)))
        await asyncio.sleep(0.2)
        assert not calls.done()
        raise SymphonyError("something else")

    with StubServer(in_turn(Reply(delay_s=9))) as server:
        model = APIModel(server.url, "m")
        with pytest.raises(SymphonyError, match="something else"):
            asyncio.run(fail(model))
        assert model._connection is not None
        assert all(line.client.is_closed() for line in model._connection._lines)


def test_the_latency_is_that_of_the_call(ask: Ask) -> None:
    with StubServer(lambda _: Reply(content=said("x"), delay_s=0.2)) as server:
        model = APIModel(server.url, "m")
        run(model, ask())
        (completion,) = run(model, ask(index=1))
    assert 0.2 <= completion.latency_s < 1.0


# --------------------------------------------------------------------------- store


def test_a_recorded_call_is_replayed_without_network_and_without_a_key(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", CANARY)
    requests = [ask(index=index) for index in range(3)]
    with CallStore(tmp_path / "a.sqlite") as store:
        with StubServer(lambda asked: said(f"answer {asked.number}")) as server:
            model = APIModel(server.url, "m", key_env="SOME_KEY")
            recorded = run(StoredModel(model, store), *requests)
            again = run(StoredModel(model, store), *requests)
        assert len(server.asked) == 3
        monkeypatch.delenv("SOME_KEY")
        unarmed = APIModel(server.url, "m", key_env="SOME_KEY")
        replayed = run(StoredModel(unarmed, store, "replay"), *requests)
    assert [one.text for one in recorded] == [one.text for one in again] == [one.text for one in replayed]
    assert [one.from_store for one in recorded + replayed] == [False] * 3 + [True] * 3


def test_a_miss_in_replay_asks_nothing_and_names_the_call(ask: Ask, tmp_path: Path) -> None:
    with CallStore(tmp_path / "a.sqlite") as store, StubServer(in_turn(said("x"))) as server:
        with pytest.raises(SymphonyError, match=r"problem p, node 0, expand 4"):
            run(StoredModel(APIModel(server.url, "m"), store, "replay"), ask(index=4))
        assert server.asked == []


def test_live_uses_no_store(ask: Ask) -> None:
    with StubServer(in_turn(said("x"))) as server:
        run(StoredModel(APIModel(server.url, "m"), None, "live"), ask(), ask())
        assert len(server.asked) == 2


def test_strict_asks_again_and_refuses_another_answer(ask: Ask, tmp_path: Path) -> None:
    with CallStore(tmp_path / "a.sqlite") as store, StubServer(in_turn(said("x"), said("x"), said("y"))) as server:
        model = APIModel(server.url, "m")
        run(StoredModel(model, store, "record"), ask())
        assert run(StoredModel(model, store, "strict"), ask())[0].text == "x"
        with pytest.raises(SymphonyError, match="mode strict"):
            run(StoredModel(model, store, "strict"), ask())


def test_equal_requests_in_flight_are_asked_once(ask: Ask, tmp_path: Path) -> None:
    with CallStore(tmp_path / "a.sqlite") as store:
        with StubServer(lambda _: Reply(content=said("x"), delay_s=0.1)) as server:
            answers = run(StoredModel(APIModel(server.url, "m"), store), ask(), ask(), ask(index=1), ask())
        assert len(server.asked) == 2
        assert [one.from_store for one in answers] == [False, True, False, True]


def test_an_answer_is_stored_though_its_asker_was_cancelled(ask: Ask, tmp_path: Path) -> None:
    async def leave(model: StoredModel) -> Completion:
        first = asyncio.create_task(model.complete(ask()))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(model.complete(ask()))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    slow = Reply(content=said("x"), delay_s=0.3)
    with CallStore(tmp_path / "a.sqlite") as store, StubServer(in_turn(slow)) as server:
        assert asyncio.run(leave(StoredModel(APIModel(server.url, "m"), store))).text == "x"
        assert len(server.asked) == len(store) == 1


def test_failed_calls_are_not_stored(ask: Ask, tmp_path: Path) -> None:
    with CallStore(tmp_path / "a.sqlite") as store, StubServer(in_turn(said(None), said("now"))) as server:
        model = StoredModel(APIModel(server.url, "m"), store)
        assert run(model, ask())[0].error
        assert run(model, ask())[0].text == "now"


# --------------------------------------------------------------------------- secrets


ECHOES = {
    "status 400": Reply(status=400, content={"error": {"message": f"you sent {CANARY}"}}),
    "status 401": Reply(status=401, content={"error": {"message": f"Incorrect API key provided: {CANARY}"}}),
    "status 500": Reply(status=500, content=f"headers: Bearer {CANARY}"),
    "cut in two by shortening": Reply(status=500, content="x" * 150 + CANARY),
    "escaped": Reply(status=500, content=json.dumps({"error": CANARY}).replace("/", "\\/").replace("+", "\\u002b")),
    "no json": Reply(content=f"<html>{CANARY}</html>"),
    "broken json": Reply(content='{"error": "' + CANARY.replace("/", "\\/")),
    "address": Reply(content=f"see http://host/?key={quote(CANARY, safe='')}"),
    "no choices": {"error": {"message": CANARY}},
    "reason": said("x", reason="content_filter"),
    "text": said(f"My key is {CANARY}."),
    "cut": Reply(cut="before"),
    "timeout": Reply(delay_s=5),
    "retry after": Reply(status=429, headers={"retry-after": "9999"}, content=CANARY),
    "redirect": Reply(status=302, headers={"location": f"http://127.0.0.1:9/{CANARY}"}),
}


@pytest.mark.parametrize("name", ECHOES)
def test_a_key_shows_up_nowhere(
    name: str, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SOME_KEY", CANARY)
    caplog.set_level(logging.DEBUG)
    with CallStore(tmp_path / "a.sqlite") as store, StubServer(in_turn(ECHOES[name])) as server:
        settings: dict[str, Any] = {"retries": 1, "timeout_s": 0.3, "breaker_failures": 2, "timing": Clock().timing()}
        model = APIModel(server.url, "m", key_env="SOME_KEY", **settings)
        shown = [repr(run(StoredModel(model, store), ask(index=index))) for index in range(3)]
        shown += [repr(model), str(vars(model)), caplog.text]
        assert server.asked[0].headers["authorization"].endswith(CANARY)
    shown += [path.read_bytes().decode("latin-1") for path in tmp_path.iterdir()]
    for text in shown:
        assert CANARY not in text
        assert CANARY[:16] not in text


def test_a_missing_key_is_told_by_its_variable_before_anything_is_asked(ask: Ask) -> None:
    with StubServer(in_turn(said("x"))) as server:
        model = APIModel(server.url, "m", key_env="ABSENT_KEY")
        with pytest.raises(SymphonyError, match=r"found no ABSENT_KEY in the environment, allowed: a key"):
            run(model, ask())
        assert server.asked == []


@pytest.mark.parametrize("odd", [f"{CANARY}\r\nX: y", f"{CANARY}ü", f"{CANARY} b"])
def test_a_key_that_no_header_takes_is_told_without_it(odd: str, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", odd)
    with pytest.raises(SymphonyError, match="SOME_KEY: found characters") as raised:
        run(APIModel("http://127.0.0.1:9/v1", "m", key_env="SOME_KEY"), ask())
    assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [{"key_env": CANARY}, {"base_url": f"https://me:{CANARY}@host/v1"}, {"base_url": f"https://host/v1?key={CANARY}"}],
)
def test_a_secret_put_into_a_config_is_refused_unshown(settings: dict[str, Any]) -> None:
    with pytest.raises(SymphonyError, match=r"model\.(key_env|base_url): ") as raised:
        APIModel(**{"base_url": "http://host/v1", "model": "m", **settings})
    assert "canary" not in str(raised.value)


# --------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "127.0.0.1:8000"}, "model.base_url: found another form"),
        ({"base_url": "http://host:port/v1"}, "model.base_url: found another form"),
        ({"base_url": None}, "model.base_url: found another form"),
        ({"model": ""}, "model.model: found ''"),
        ({"token_limit": "tokens"}, "model.token_limit: found 'tokens', allowed: max_tokens, max_completion_tokens"),
        ({"context": 0}, "model.context: found 0, allowed: a whole number >= 1 or null"),
        ({"omit": ["top_p"]}, "model.omit: found"),
        ({"extra": {"seed": 3}}, "model.extra: found 'seed'"),
        ({"timeout_s": 0}, "model.timeout_s: found 0, allowed: > 0"),
        ({"timeout_s": float("nan")}, "model.timeout_s: found nan, allowed: > 0"),
        ({"retries": -1}, "model.retries: found -1, allowed: a whole number >= 0"),
        ({"retries": 1.5}, "model.retries: found 1.5, allowed: a whole number >= 0"),
        ({"pause_s": "1"}, "model.pause_s: found '1', allowed: >= 0"),
        ({"at_once": 0}, "model.at_once: found 0, allowed: "),
        ({"requests_per_minute": 0}, "model.requests_per_minute: found 0, allowed: >= 1 or null"),
        ({"tokens_per_minute": True}, "model.tokens_per_minute: found True, allowed: >= 1 or null"),
        ({"breaker_failures": 0}, "model.breaker_failures: found 0, allowed: a whole number >= 1"),
        ({"tokenizer": 3}, "model.tokenizer: found 3, allowed: a folder, or null"),
        ({"price": {"promt": 1}}, "model.price: found {'promt': 1}, allowed: prompt, cached, completion"),
        ({"price": {"prompt": -1}}, "model.price.prompt: found -1, allowed: >= 0 or null"),
        ({"timing": 3}, "model.timing: found a value"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SymphonyError) as raised:
        APIModel(**{"base_url": "http://host/v1", "model": "m", **settings})
    assert str(raised.value).startswith(message)


def test_the_revision_names_what_decides_the_answer() -> None:
    def named(url: str = "http://host:8000/v1", model: str = "m", **settings: Any) -> str:
        return APIModel(url, model, **settings).revision

    assert named() == named("http://host:8000/v1/") == "api:host:8000:m"
    assert named(price={"prompt": 1.0}, retries=9, key_env="OTHER", timeout_s=1) == named()
    different = [
        named(),
        named("http://other/v1"),
        named("http://host:8000/eu/v1"),
        named(model="n"),
        named(extra={"top_k": 1}),
        named(extra={"top_k": 2}),
        named(omit=["seed"]),
        named(context=4096),
        named(context=8192),
        named(logprobs=True),
    ]
    assert len(set(different)) == len(different)


def test_a_price_is_that_of_the_three_kinds_of_tokens() -> None:
    used = Completion(text="", finish_reason="stop", prompt_tokens=1000, cached_tokens=400, completion_tokens=100)
    assert Price(prompt=2.0, cached=1.0, completion=10.0).dollars(used) == pytest.approx(2.6e-3)
    assert Price(prompt=2.0, completion=10.0).dollars(used) == pytest.approx(3e-3)
    assert Price(prompt=2.0).dollars(used) is None


def test_an_api_model_is_an_endpoint() -> None:
    assert is_endpoint(APIModel("http://host/v1", "m"))
    assert is_endpoint(APIModel)


def test_how_an_endpoint_is_reached_is_no_part_of_a_runs_digest() -> None:
    parameters = inspect.signature(APIModel).parameters
    assert set(ACCESS) < set(parameters)
    agent = {"name": "a", "base_url": "http://host/v1", "model": "m"}

    def named(**change: Any) -> str:
        return digest({"pool": {"agents": [{**agent, **change}]}})

    assert {named(**{key: 1}) for key in ACCESS} == {named()}
    assert named(model="n") != named()


@pytest.mark.parametrize("name", sorted(path.stem for path in (CONF / "model").glob("api_*.yaml")))
def test_every_example_is_made_without_a_key_or_a_network(name: str) -> None:
    made = option(name, conf=CONF).build(Path())
    assert is_endpoint(made)
    assert made.revision.startswith("api:")
