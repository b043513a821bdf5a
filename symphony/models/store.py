"""The durable record of model calls, to resume after a crash, replay without a model, and share between ablations."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from typing import Generic, Literal, Protocol, TypeVar

from symphony.models.calls import CallStore
from symphony.models.sizes import Size, Sizing, size_key, sizing
from symphony.types import Completion, Endpoint, Limit, ModelBackend, Request, SymphonyError

__all__ = ["CallStore", "Mode", "Purse", "StoredBackend", "StoredModel", "call_key"]

M = TypeVar("M", ModelBackend, Endpoint)
Mode = Literal["live", "record", "replay", "strict"]
_MODES = ("live", "record", "replay", "strict")


def call_key(revision: str, request: Request) -> bytes:
    """Returns the sha256 of everything that decides the answer: model revision, messages, sampling and draw.

    The messages are those of the whole prompt; what a model drops for lack of room follows from them. The hash is of
    `canonical_json` of all this, built by hand here because a replay would otherwise spend a tenth of its time on keys.
    """
    sampling, draw = request.sampling, request.draw
    messages = ",".join([_message(message.role, message.content) for message in request.messages])
    stop = ",".join([_quoted(text) for text in sampling.stop])
    text = (
        f'{{"draw":[{draw.seed},{_quoted(draw.problem)},{draw.node},{_quoted(draw.phase)},{draw.index}],'
        f'"messages":[{messages}],"model":{_quoted(revision)},'
        # float(): 1 and 1.0 are the same temperature and must be the same key.
        f'"sampling":[{float(sampling.temperature)!r},{sampling.max_tokens},[{stop}]]}}'
    )
    return hashlib.sha256(text.encode()).digest()


@lru_cache(maxsize=1024)  # the prompts of a problem share most messages
def _message(role: str, content: str) -> str:
    return f"[{_quoted(role)},{_quoted(content)}]"


class Purse(Protocol):
    """Pays for the answers that are not stored."""

    def refusal(self) -> Limit | None:
        """Returns the limit that forbids asking the model; None if it may be asked."""
        ...

    def charge(self, revision: str, answers: Sequence[Completion]) -> None:
        """Charges for the answers of the model of that revision."""
        ...


class _Kept(Generic[M]):
    """A model behind the store: the common part of `StoredBackend` and `StoredModel`."""

    def __init__(
        self,
        model: M | Callable[[], M],
        store: CallStore | None,
        mode: Mode,
        revision: str | None,
        purse: Purse | None,
        sizes: object,
    ) -> None:
        if mode not in _MODES:
            raise SymphonyError(f"mode: found {mode!r}, allowed: {', '.join(_MODES)}")
        if store is None and mode != "live":
            raise SymphonyError(f"store: found none, allowed in mode {mode}: a call store")
        self.store = None if mode == "live" else store
        self.mode = mode
        self._model: M | None = None
        self._make: Callable[[], M] | None = None
        if callable(model):
            self._make = model
        else:
            self._model = model
            revision = revision or model.revision
        if revision is None:
            raise SymphonyError("revision: found none, allowed: that of the backend, which is made later")
        self.revision = revision
        self._purse = purse
        counts = model if sizes is None else sizes
        self._count = sizing(counts)
        self.counter: str | None = counts.counter if isinstance(counts, Sizing) else None

    def size(self, request: Request) -> Size:
        """Returns a request's size, see `Sizing`. Counts are stored, so that a replay needs no tokenizer.

        Raises:
            SymphonyError: The mode is "replay", and the size was not counted before.
        """
        if self.counter is None or self.store is None or self.mode == "strict":
            return self._count(request)
        problem, key = request.draw.problem, size_key(self.counter, request)
        size = self.store.size(problem, key)
        if size is None:
            self._refuse([request], "count of the prompt's tokens")
            size = self._count(request)
            self.store.keep_size(problem, key, size)
        return size

    @property
    def model(self) -> M:
        """The model, made on first use."""
        if self._model is None:
            assert self._make is not None
            model = self._make()
            if model.revision != self.revision:
                raise SymphonyError(f"revision: found {model.revision}, allowed: {self.revision}")
            self._model = model
        return self._model

    def unpaid(self, requests: Sequence[Request]) -> Completion | None:
        """Returns the answer each request gets if a limit forbids asking the model; None if the model may be asked.

        Raises:
            SymphonyError: The mode is "replay", in which no model may be asked.
        """
        limit = None if self._purse is None else self._purse.refusal()
        if limit is None:
            self._refuse(requests)
            return None
        message = f"budget: the study's limit of {limit} is reached"
        return Completion(text="", finish_reason="error", prompt_tokens=0, error=message, refused=limit)

    def pay(self, answers: Sequence[Completion]) -> None:
        """Pays for the model's answers, before they are stored, so that every stored answer was paid for."""
        if self._purse is not None:
            self._purse.charge(self.revision, answers)

    def _refuse(self, requests: Sequence[Request], what: str = "answer") -> None:
        if self.mode == "replay":
            assert self.store is not None
            missing = f"found no {what} for {_name(requests[0])}"
            if self.store.damaged:
                missing += f" ({self.store.damaged} damaged rows were dropped)"
            raise SymphonyError(
                f"{self.store.path}: {missing}, allowed in mode replay: stored calls only"
                " (execution.store=record asks the models for the others)"
            )

    def keep(self, fresh: dict[bytes, Completion]) -> None:
        """Stores the answers; failed calls are never stored."""
        assert self.store is not None
        self.store.put({key: completion for key, completion in fresh.items() if completion.error is None})

    def compare(self, request: Request, before: Completion | None, answer: Completion) -> None:
        """Raises SymphonyError if an answer differs from the stored one."""
        if answer.refused is not None or (before is None and answer.error is not None):
            return
        if before is None or _content(before) != _content(answer):
            assert self.store is not None
            was = "nothing" if before is None else repr(_content(before))
            raise SymphonyError(
                f"{self.store.path}: found {was} for {_name(request)}, allowed in mode strict: {_content(answer)!r}"
            )


class StoredBackend:
    """A backend behind the call store (`ModelBackend`).

    Modes: "live" uses no store; "record" answers from the store, and generates and stores what is missing; "replay"
    never loads a model; "strict" generates everything again and compares it with the store (text, finish reason, token
    counts; the last digits of log-probabilities may differ with the batch).

    Args:
        backend: A backend, or a function that makes one on first use.
        store: The call store; None in mode "live" only.
        mode: See above.
        revision: The backend's revision; needed with a function, so that computing a key loads nothing.
        purse: Pays for generated answers; None if nothing limits or counts them.
        sizes: Gives the requests' sizes (`Sizing`); None means the backend itself.

    Raises:
        SymphonyError: Unknown mode; store or revision missing.
    """

    def __init__(
        self,
        backend: ModelBackend | Callable[[], ModelBackend],
        store: CallStore | None,
        mode: Mode = "record",
        *,
        revision: str | None = None,
        purse: Purse | None = None,
        sizes: object = None,
    ) -> None:
        self._kept: _Kept[ModelBackend] = _Kept(backend, store, mode, revision, purse, sizes)
        self.revision = self._kept.revision
        self.size, self.counter = self._kept.size, self._kept.counter

    @property
    def backend(self) -> ModelBackend:
        """The backend, made on first use."""
        return self._kept.model

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Returns one answer per request, in the same order.

        Raises:
            SymphonyError: A miss in "replay", a difference in "strict", or a store that cannot be read or written.
        """
        kept = self._kept
        if kept.store is None:
            return self._generate(requests)
        keys = [call_key(self.revision, request) for request in requests]
        stored = kept.store.get(dict.fromkeys(keys))
        if kept.mode == "strict":
            answers = self._generate(requests)
            for request, key, answer in zip(requests, keys, answers, strict=True):
                kept.compare(request, stored.get(key), answer)
            return answers
        missing = {key: request for key, request in zip(keys, requests, strict=True) if key not in stored}
        if not missing:
            return [stored[key] for key in keys]
        fresh = dict(zip(missing, self._generate(list(missing.values())), strict=True))
        kept.keep(fresh)
        answers = []
        for key in keys:
            if key in stored:
                answers.append(stored[key])
            else:  # the same request twice in one batch is generated once
                answers.append(fresh[key])
                stored[key] = _again(fresh[key])
        return answers

    def _generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Generates and pays for the answers."""
        kept = self._kept
        unpaid = kept.unpaid(requests)
        if unpaid is not None:
            return [unpaid] * len(requests)
        answers = self.backend.generate(requests)
        kept.pay(answers)
        return answers


class StoredModel:
    """An endpoint behind the call store (`AsyncModel`), with the modes and arguments of `StoredBackend`.

    Equal requests in flight at the same time are asked once, except in the modes that ask everything ("live",
    "strict"). An answer is stored even if nobody waits for it any more.
    """

    def __init__(
        self,
        model: Endpoint | Callable[[], Endpoint],
        store: CallStore | None,
        mode: Mode = "record",
        *,
        revision: str | None = None,
        purse: Purse | None = None,
        sizes: object = None,
    ) -> None:
        self._kept: _Kept[Endpoint] = _Kept(model, store, mode, revision, purse, sizes)
        self.revision = self._kept.revision
        self.size, self.counter = self._kept.size, self._kept.counter
        self._asked: dict[bytes, asyncio.Task[Completion]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def model(self) -> Endpoint:
        """The endpoint, made on first use."""
        return self._kept.model

    async def complete(self, request: Request) -> Completion:
        """Returns the answer.

        Raises:
            SymphonyError: A miss in "replay", a difference in "strict", a store that cannot be read or written, or an
                endpoint that is not ready.
        """
        kept = self._kept
        if kept.store is None:
            return kept.unpaid([request]) or await self._complete(request)
        key = call_key(self.revision, request)
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # requests from an earlier loop can no longer be answered
            self._loop, self._asked = loop, {}
        if kept.mode != "strict" and key in self._asked:
            return _again(await asyncio.shield(self._asked[key]))
        before = kept.store.get([key]).get(key)
        if kept.mode == "strict":
            answer = kept.unpaid([request]) or await self._complete(request)
            kept.compare(request, before, answer)
            return answer
        if before is not None:
            return before
        unpaid = kept.unpaid([request])
        if unpaid is not None:
            return unpaid
        self._asked[key] = asyncio.create_task(self._ask(key, request))
        return await asyncio.shield(self._asked[key])

    async def _ask(self, key: bytes, request: Request) -> Completion:
        try:
            answer = await self._complete(request)
            self._kept.keep({key: answer})
            return answer
        finally:
            self._asked.pop(key, None)

    async def _complete(self, request: Request) -> Completion:
        """Asks the endpoint and pays for the answer."""
        answer = await self.model.complete(request)
        self._kept.pay([answer])
        return answer


def _again(completion: Completion) -> Completion:
    """Returns the completion for one more equal request."""
    return replace(completion, from_store=completion.error is None)


def _content(completion: Completion) -> tuple[str, str, int, int, int]:
    c = completion
    return c.text, c.finish_reason, c.prompt_tokens, c.completion_tokens, c.dropped


def _name(request: Request) -> str:
    draw = request.draw
    return f"problem {draw.problem}, node {draw.node}, {draw.phase.value} {draw.index}, seed {draw.seed}"
