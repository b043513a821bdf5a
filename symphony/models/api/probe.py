"""Checks whether an endpoint answers, and which request parameters it silently ignores.

It pays for a handful of tiny completions; nothing else shows what a server does with a parameter.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from symphony.models.api.replies import SHOWN, usage_of
from symphony.models.endpoint import Secret, read_key

TOKENS = 16
"""Token limit of each completion."""
MOST_BYTES = 1 << 22
"""Maximum bytes of a reply; longer replies are rejected."""
QUICK_S = 0.1
"""A completion faster than this many seconds does not show whether several are answered in parallel."""
PROMPT = "Invent a name for a ship and say where it sails."
HOTTEST = 2
"""The highest temperature that APIs accept; hardly any model draws its greedy answer at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The findings about an endpoint.

    Attributes:
        answers: Whether it completed a prompt.
        problem: Why it did not; "" if it did.
        models: How many models its /models lists; None if it gives no readable list.
        kept: Parameters that it was seen to obey.
        ignored: Parameters that it ignored with HTTP 200.
        refused: Parameters that ended in an error of their own.
        unsure: Parameters on which its answers were inconclusive.
        repeats: Whether the prompt came back in its answer.
        prompt_tokens: Its count of the tokens of `PROMPT`; None if it gives none.
        sequential: Whether two requests together took as long as one after the other; None if unclear.
    """

    answers: bool
    problem: str = ""
    models: int | None = None
    kept: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()
    repeats: bool = False
    prompt_tokens: int | None = None
    sequential: bool | None = None


class _Refused(Exception):
    """Raised if the endpoint did not complete; the key is hidden in the message."""


class _Straight(HTTPRedirectHandler):
    """Follows no redirect, since one could lead the key anywhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def probe(settings: Mapping[str, Any], timeout_s: float = 30.0) -> Probe:
    """Probes one endpoint: asks for its list of models, then for at most twelve completions of `TOKENS` tokens.

    Args:
        settings: Constructor arguments of an `APIModel`, already checked by making one.
        timeout_s: Seconds for each request, > 0.

    Raises:
        SymphonyError: The key is not in the environment, or is not valid.
    """
    asked = _Endpoint(settings, read_key(settings.get("key_env")), timeout_s)
    models = asked.models()
    try:
        first = asked.text(temperature=1, seed=1)
    except _Refused as error:
        return Probe(answers=False, problem=str(error), models=models)
    seen: dict[str, str] = {}
    for names, look in (
        (("seed", "temperature"), lambda: _sampling(asked, first)),
        (("n",), lambda: {"n": "kept" if len(asked.choices(n=2)) == 2 else "ignored"}),
        (("stop",), lambda: {"stop": _stop(asked)}),
        (("logprobs",), lambda: {"logprobs": "kept" if asked.choices(logprobs=True)[0].get("logprobs") else "ignored"}),
    ):
        try:
            seen |= look()
        except _Refused:
            seen |= dict.fromkeys(names, "refused")
    seen = {name: how for name, how in seen.items() if name not in asked.omit}

    def those(wanted: str) -> tuple[str, ...]:
        return tuple(name for name, how in seen.items() if how == wanted)

    return Probe(
        answers=True,
        models=models,
        kept=those("kept"),
        ignored=those("ignored"),
        refused=those("refused"),
        unsure=those("unsure"),
        repeats=PROMPT in first,
        prompt_tokens=asked.counted,
        sequential=_sequential(asked),
    )


def _sequential(asked: _Endpoint) -> bool | None:
    """Whether two completions together take about twice as long as one."""

    def took(count: int) -> float:
        begin = time.perf_counter()
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda seed: asked.choices(temperature=1, seed=seed), range(11, 11 + count)))
        return time.perf_counter() - begin

    try:
        alone, together = took(1), took(2)
    except _Refused:
        return None
    return None if alone < QUICK_S else together > 1.7 * alone


def _sampling(asked: _Endpoint, first: str) -> dict[str, str]:
    """Tries one seed twice, then others: equal seeds should agree; at temperature 1 some of three seeds should differ.

    If all agree, the model may be sure of its answer, but hardly so at the highest temperature.
    """
    if asked.text(temperature=1, seed=1) != first:
        return {"seed": "ignored", "temperature": "kept"}
    if any(asked.text(temperature=1, seed=seed) != first for seed in (2, 3)):
        return {"seed": "kept", "temperature": "kept"}
    try:
        hottest = asked.text(temperature=HOTTEST, seed=1)
    except _Refused:  # above its maximum
        return {"seed": "unsure", "temperature": "unsure"}
    return {"seed": "unsure", "temperature": "ignored" if hottest == first else "kept"}


def _stop(asked: _Endpoint) -> str:
    """Repeats the greedy answer with a piece from its middle as stop string, which some servers leave in the text."""
    whole = asked.text(temperature=0, seed=1)
    piece = whole[len(whole) // 2 :][:3]
    if not piece.strip() or PROMPT in whole:  # the piece may be from the prompt
        return "unsure"
    cut = asked.text(temperature=0, seed=1, stop=[piece])
    if cut == whole:  # a token may reach beyond the piece, but hardly beyond the word
        return "ignored" if " " in whole.partition(piece)[2].strip() else "unsure"
    return "kept" if whole.startswith(cut.rstrip()) else "unsure"


class _Endpoint:
    """Plain HTTP access, so that no client library changes a parameter on its way to the server."""

    def __init__(self, settings: Mapping[str, Any], key: Secret, timeout_s: float) -> None:
        self._base = str(settings["base_url"]).rstrip("/")
        self._key, self._timeout_s = key, timeout_s
        self.omit = frozenset(settings.get("omit") or ())
        limit = str(settings.get("token_limit") or "max_tokens")
        messages = [{"role": "user", "content": PROMPT}]
        self._body = {"model": settings["model"], "messages": messages, limit: TOKENS}
        self._extra = dict(settings.get("extra") or {})
        self.counted: int | None = None  # tokens of the prompt in the last reply

    def models(self) -> int | None:
        """Returns how many models it lists; some servers that complete list none."""
        try:
            listed = self._json("/models", None).get("data")
        except _Refused:
            return None
        return len(listed) if isinstance(listed, list) else None

    def text(self, **parameters: Any) -> str:
        try:
            return str(self.choices(**parameters)[0]["message"]["content"] or "")
        except (KeyError, TypeError) as error:
            raise _Refused("found a reply without a message, allowed: a chat completion") from error

    def choices(self, **parameters: Any) -> list[Mapping[str, Any]]:
        """Returns the reply's choices: at least one, each an object."""
        sent = {name: value for name, value in parameters.items() if name not in self.omit}
        reply = self._json("/chat/completions", {**self._body, **sent, **self._extra})
        usage, choices = usage_of(reply.get("usage")), reply.get("choices")
        self.counted = usage.prompt if usage else None
        if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
            raise _Refused("found a reply without choices, allowed: a chat completion")
        return choices

    def _json(self, path: str, body: Mapping[str, Any] | None) -> Mapping[str, Any]:
        request = Request(self._base + path, headers={"Content-Type": "application/json"})
        if body is not None:
            request.data = json.dumps(body).encode()
        if self._key.text:
            request.add_unredirected_header("Authorization", f"Bearer {self._key.text}")
        try:
            with build_opener(_Straight).open(request, timeout=self._timeout_s) as answer:
                reply = json.loads(answer.read(MOST_BYTES))
        except HTTPError as error:
            # Replies to 401 and 403 are not shown: they repeat parts of the key.
            words = "" if error.code in (401, 403) else error.read(MOST_BYTES).decode(errors="replace")
            reason = f"HTTP {error.code} {words}"
        except (OSError, HTTPException) as error:
            reason = str(getattr(error, "reason", error))
        except ValueError:
            reason = "a reply that is not JSON"
        else:
            if isinstance(reply, dict):
                return reply
            reason = "a reply that is not a JSON object"
        raise _Refused(f"found {' '.join(self._key.hidden(reason).split())[:SHOWN]}")
