"""A backend for any OpenAI-compatible chat endpoint, with one request per call: no batch, no barrier.

`openai` is imported at the first call. Its own retries are off, because those here are counted, paced and limited.
The key is read from the environment, and nothing that leaves this module contains it.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from symphony.models.api.limits import Breaker, PrefixQueue, RateLimit, Timing, pause, retry_after
from symphony.models.api.replies import SHOWN, Fault, failure, understand, words
from symphony.models.chats import NO_LIMIT, ChatTokenizer, load_chats
from symphony.models.endpoint import Secret, check_key_env, check_number, host_of, price_of, read_key
from symphony.models.sizes import Size, estimate
from symphony.types import Completion, Message, Request, SymphonyError, canonical_json

SEED_RANGE = 2**31
"""Seeds sent are below this: the largest range that every API accepts."""
CROWD = 24
"""Calls in flight that share one client."""
_REFUSED = (400, 413, 422)  # the request's own fault; the endpoint is alive
_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")
_OMITTED = ("seed", "stop", "temperature")
_SENT = ("model", "messages", "stream", "n", "logprobs", *_OMITTED, *_TOKEN_LIMITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """The result of one try.

    Attributes:
        again: Whether another try may help.
        wait_s: Seconds that the endpoint asks us to wait before it.
        lives: Whether the endpoint showed that it is alive.
    """

    completion: Completion
    again: bool = False
    wait_s: float = 0.0
    lives: bool = False


class APIModel:
    """A model behind an OpenAI-compatible endpoint (`Endpoint`). The constructor sends nothing and needs no key.

    Args:
        base_url: Address including the version, e.g. "http://127.0.0.1:8000/v1", without user name, password or query.
        model: The endpoint's name for the model.
        key_env: Name of the environment variable with the key; None if the endpoint needs none.
        token_limit: Name under which the limit of completion tokens is sent.
        context: Tokens that the model takes, prompt and completion; a prompt that is longer by the estimate of three
            letters a token is shortened before it is sent. None: prompts are sent as they are.
        logprobs: Whether to ask for log-probabilities, if the endpoint has them (scorer `token_probability`).
        omit: Those of seed, stop and temperature that the endpoint refuses. `stop` is still applied here.
        extra: Additional fields of the request's body, sent as they are.
        price: prompt, cached, completion: dollars per million tokens, None if unknown.
        tokenizer: Folder of the model's tokenizer, given like the `path` of a local model; it counts the tokens of a
            prompt, and `symphony doctor` compares the endpoint's count with it.
        requests_per_minute, tokens_per_minute: Rate limits; every try counts. None means no limit.
        at_once: Maximum number of requests under way, >= 1; None means no limit. Of the waiting requests, the next one
            is the one whose prompt begins most like the last: 1 suits a server that answers one at a time.
        timeout_s: Seconds for one try, > 0.
        retries: Tries after the first, >= 0; only for HTTP 429 and 5xx, timeouts and broken connections.
        pause_s: Seconds before the first retry, doubled for each later one; 50 to 100 % of this is waited.
        pause_max_s: The longest pause. A longer `Retry-After` ends the call.
        breaker_failures: Failed calls in a row that open the breaker, >= 1.
        breaker_pause_s: Seconds until the open breaker lets a trial call through.
        timing: Clock and sleep; not a key of a config.

    Attributes:
        revision: "api:<host>:<model>", with the path if it is not /v1, and a digest of `extra`, `omit`, `context` and
            `logprobs` if used.

    Raises:
        SymphonyError: A value out of range.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_env: str | None = None,
        token_limit: str = "max_tokens",
        context: int | None = None,
        logprobs: bool = False,
        omit: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
        price: Mapping[str, float | None] | None = None,
        tokenizer: str | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        at_once: int | None = None,
        timeout_s: float = 60.0,
        retries: int = 4,
        pause_s: float = 1.0,
        pause_max_s: float = 60.0,
        breaker_failures: int = 8,
        breaker_pause_s: float = 30.0,
        timing: Timing | None = None,
    ) -> None:
        check_key_env(key_env)
        if not isinstance(model, str) or not model:
            raise SymphonyError(f"model.model: found {model!r}, allowed: the model's name at the endpoint")
        if token_limit not in _TOKEN_LIMITS:
            raise SymphonyError(f"model.token_limit: found {token_limit!r}, allowed: {', '.join(_TOKEN_LIMITS)}")
        if isinstance(omit, str) or not set(omit) <= set(_OMITTED):
            raise SymphonyError(f"model.omit: found {omit!r}, allowed: a list of {', '.join(_OMITTED)}")
        extra = dict(extra or {})
        if tokenizer is not None and (not isinstance(tokenizer, str) or not tokenizer):
            raise SymphonyError(f"model.tokenizer: found {tokenizer!r}, allowed: a folder, or null")
        for name in extra:
            if name in _SENT:
                raise SymphonyError(f"model.extra: found {name!r}, allowed: fields that no other key sets")
        if not isinstance(logprobs, bool):
            raise SymphonyError(f"model.logprobs: found {logprobs!r}, allowed: true, false")
        check_number("context", context, 1, whole=True, optional=True)
        check_number("requests_per_minute", requests_per_minute, 1, optional=True)
        check_number("tokens_per_minute", tokens_per_minute, 1, optional=True)
        check_number("at_once", at_once, 1, whole=True, optional=True)
        check_number("timeout_s", timeout_s, 0, above=True)
        check_number("retries", retries, 0, whole=True)
        check_number("pause_s", pause_s, 0)
        check_number("pause_max_s", pause_max_s, 0)
        check_number("breaker_failures", breaker_failures, 1, whole=True)
        check_number("breaker_pause_s", breaker_pause_s, 0)
        if timing is not None and not isinstance(timing, Timing):
            raise SymphonyError("model.timing: found a value, allowed: none in a config")
        host = host_of(base_url)
        decides: dict[str, Any] = {"extra": extra, "omit": sorted(omit)} if extra or omit else {}
        if context is not None:
            decides["context"] = context
        if logprobs:
            decides["logprobs"] = True
        suffix = f":{hashlib.sha256(canonical_json(decides).encode()).hexdigest()[:12]}" if decides else ""
        self.revision = f"api:{host}:{model}{suffix}"
        self.counter = f"{self.revision}:{tokenizer}" if tokenizer else None
        self._tokenizer = tokenizer
        self._chats: ChatTokenizer | None = None
        self.price = price_of(price)
        self.timeout_s, self.retries, self.pause_s, self.pause_max_s = timeout_s, retries, pause_s, pause_max_s
        self._base_url, self._model, self._key_env = base_url.rstrip("/"), model, key_env
        self._token_limit, self._context, self._logprobs = token_limit, context, logprobs
        self._omit, self._extra = frozenset(omit), extra
        self._timing = timing or Timing()
        self._requests = RateLimit(requests_per_minute, self._timing)
        self._tokens = RateLimit(tokens_per_minute, self._timing)
        self._queue = PrefixQueue(at_once)
        self._breaker = Breaker(breaker_failures, breaker_pause_s, self._timing.clock)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._holder: AsyncGenerator[_Connection, None] | None = None
        self._connection: _Connection | None = None

    def __repr__(self) -> str:
        return f"APIModel({self.revision!r})"

    def ready(self) -> None:
        """Checks what a call needs, without sending anything.

        Raises:
            SymphonyError: The environment variable with the key is not set, or its value cannot be a key.
        """
        read_key(self._key_env)

    async def complete(self, request: Request) -> Completion:
        """Returns the endpoint's answer, with the seconds from this call; any failure gives a failed completion.

        Raises:
            SymphonyError: As in `ready`.
        """
        began = self._timing.clock()
        connection = await self._connect()
        refusal = self._breaker.refusal
        if refusal is not None:
            return failure(Fault.BREAKER, refusal)
        trial = self._breaker.enter()
        try:
            messages, dropped = self._fit(request)
            outcome = await self._tries(connection, self._body(request, messages), request.sampling.stop, trial)
        except BaseException:
            self._breaker.left(trial=trial)
            raise
        completion = outcome.completion
        hidden = connection.key.hidden
        completion = replace(
            completion, text=hidden(completion.text), dropped=dropped, latency_s=self._timing.clock() - began
        )
        if completion.error is not None:
            completion = replace(completion, error=_short(hidden(completion.error)))
        if outcome.lives:
            self._breaker.answered()
        else:
            self._breaker.failed(completion.error or "", trial=trial)
        return completion

    def size(self, request: Request) -> Size:
        """Returns a request's size (`Sizing`), counted by the tokenizer if there is one, else estimated.

        Raises:
            SymphonyError: The tokenizer's folder holds none, or its template rejects the messages.
        """
        messages, dropped = self._fit(request)
        if self._tokenizer is None:
            prompt = estimate(message.content for message in messages)
        else:
            if self._chats is None:
                self._chats = load_chats(Path(self._tokenizer), context=NO_LIMIT)
            prompt = self._chats.count(messages)
        return Size(prompt=prompt, completion=request.sampling.max_tokens, dropped=dropped)

    # ---- one call

    async def _tries(self, connection: _Connection, body: dict[str, Any], stop: Sequence[str], trial: bool) -> _Outcome:
        for attempt in range(self.retries + 1):
            outcome = await self._try_paced(connection, body, stop)
            if not outcome.again or attempt == self.retries:
                break
            if outcome.wait_s > self.pause_max_s:
                message = (
                    f"{outcome.completion.error}; asked to wait {outcome.wait_s:g} s, allowed: {self.pause_max_s:g}"
                )
                return replace(outcome, completion=replace(outcome.completion, error=message))
            waiting = pause(attempt, self.pause_s, self.pause_max_s, self._timing.jitter())
            await self._timing.sleep(max(waiting, outcome.wait_s))
            if not trial and self._breaker.refusal is not None:  # other calls opened it meanwhile
                break
        return outcome

    async def _try_paced(self, connection: _Connection, body: dict[str, Any], stop: Sequence[str]) -> _Outcome:
        """Makes one try within the rate limits. Afterwards unused tokens are returned, if the usage is known."""
        expected = estimate(message["content"] for message in body["messages"]) + body[self._token_limit]
        await self._tokens.take(expected)
        await self._requests.take(1)
        async with self._queue.turn("\n".join(message["content"] for message in body["messages"])):
            outcome = await self._try(connection, body, stop)
        used = outcome.completion.prompt_tokens + outcome.completion.completion_tokens
        if used:
            self._tokens.give_back(expected - used)
        return outcome

    async def _try(self, connection: _Connection, body: dict[str, Any], stop: Sequence[str]) -> _Outcome:
        import openai

        try:
            # The client's own timeout applies to each step (connecting, reading a piece), so a trickle would never end.
            async with asyncio.timeout(self.timeout_s):
                reply = await connection.post(body)
            return _Outcome(completion=understand(reply, stop, sent="stop" in body), lives=True)
        except openai.APIStatusError as error:
            return self._status(error)
        except (openai.APITimeoutError, TimeoutError):
            return _Outcome(completion=failure(Fault.TIMEOUT, f"no answer within {self.timeout_s:g} s"), again=True)
        except openai.APIConnectionError as error:
            kind = type(error.__cause__ or error).__name__
            if kind == "DecodingError":  # it was answered, and paid for
                finding = "found a body that is not encoded as its content-encoding says"
                return _Outcome(completion=failure(Fault.REPLY, finding), lives=True)
            return _Outcome(completion=failure(Fault.CONNECTION, f"{kind} at {host_of(self._base_url)}"), again=True)
        except Exception as error:  # from the client itself; its text may contain what was sent
            return _Outcome(completion=failure(Fault.CLIENT, type(error).__name__))

    def _status(self, error: Any) -> _Outcome:
        code, headers = int(error.status_code), error.response.headers
        message = f"HTTP {code}"
        if code in (401, 403):  # such replies repeat parts of the key
            message += (
                f", allowed: a key in {self._key_env}" if self._key_env else ", allowed: model.key_env, with a key"
            )
        elif detail := words(error.response.text):
            message += f": {detail}"
        again = code == 429 or code >= 500
        wait = retry_after(headers.get("retry-after"), headers.get("retry-after-ms")) if again else 0.0
        return _Outcome(completion=failure(Fault.STATUS, message), again=again, wait_s=wait, lives=code in _REFUSED)

    def _fit(self, request: Request) -> tuple[tuple[Message, ...], int]:
        return request.fitted(lambda messages: self._fits(messages, request.sampling.max_tokens))

    def _fits(self, messages: Sequence[Message], completion: int) -> bool:
        return self._context is None or estimate(message.content for message in messages) + completion <= self._context

    def _body(self, request: Request, messages: Sequence[Message]) -> dict[str, Any]:
        sampling = request.sampling
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            self._token_limit: sampling.max_tokens,
            "temperature": sampling.temperature,
            "seed": request.draw.rng_seed() % SEED_RANGE,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if self._logprobs:
            body["logprobs"] = True
        body = {name: value for name, value in body.items() if name not in self._omit}
        return {**body, **self._extra}

    async def _connect(self) -> _Connection:
        """Returns this loop's connection; a new run makes a new one."""
        loop = asyncio.get_running_loop()
        if self._connection is None or loop is not self._loop:
            self._holder = _hold(_Connection(self._base_url, read_key(self._key_env), self.timeout_s))
            self._connection, self._loop = await anext(self._holder), loop
        return self._connection


# --------------------------------------------------------------------------- the connection


@dataclass(slots=True)
class _Line:
    """A client with its own connections.

    Attributes:
        busy: Calls in flight.
    """

    client: Any
    busy: int = 0


class _Connection:
    """The clients of one event loop: one, and one more for every `CROWD` calls in flight.

    Each request makes a client look at all of its connections, so n calls on a client take work of order n squared.
    """

    def __init__(self, base_url: str, key: Secret, timeout_s: float) -> None:
        self.key = key
        self._base_url, self._timeout_s = base_url, timeout_s
        self._lines: list[_Line] = []

    async def post(self, body: dict[str, Any]) -> str:
        """Returns the reply's text for HTTP status 200; raises an exception of `openai` otherwise."""
        line = next((line for line in self._lines if line.busy < CROWD), None)
        if line is None:
            line = _Line(self._client())
            self._lines.append(line)
        line.busy += 1
        try:
            # As text: the reply may be anything, and is parsed elsewhere.
            options = {"headers": self._headers()}
            return str(await line.client.post("/chat/completions", body=body, cast_to=str, options=options))
        finally:
            line.busy -= 1

    async def close(self) -> None:
        for line in self._lines:
            await line.client.close()

    def _client(self) -> Any:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient

        for name in ("httpcore", "httpcore2"):  # at DEBUG they log an endpoint's headers, which may repeat the key
            logging.getLogger(name).setLevel(logging.INFO)
        http_client = DefaultAsyncHttpxClient(
            timeout=self._timeout_s,
            follow_redirects=False,  # a redirect could lead the prompt, and parts of the key, anywhere
            verify=self._base_url.startswith("https:"),  # otherwise certificates are loaded that nothing uses, 30 ms
        )
        return AsyncOpenAI(
            base_url=self._base_url,
            api_key=self.key.text or "none",  # never sent: see `_headers`
            admin_api_key="",
            timeout=self._timeout_s,
            max_retries=0,
            http_client=http_client,
        )

    def _headers(self) -> dict[str, Any]:
        """Returns all headers, so that values in the environment for another endpoint are never sent to this one."""
        from openai import Omit

        named = ("OpenAI-Organization", "OpenAI-Project")
        key = f"Bearer {self.key.text}" if self.key.text else Omit()
        return {"Authorization": key, **{name: Omit() for name in named}}


async def _hold(connection: _Connection) -> AsyncGenerator[_Connection, None]:
    """Holds a connection open until its loop ends.

    A loop closes its generators when it ends (`asyncio.run`), and so the connection, after the cancelled calls.
    """
    try:
        yield connection
    finally:
        await connection.close()


def _short(text: str) -> str:
    """Shortens a text; only after hiding the key, since half a key would not be found."""
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."
