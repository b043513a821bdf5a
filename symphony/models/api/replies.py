"""Turns the reply of an OpenAI-compatible endpoint into a completion; anything wrong becomes a typed error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any, Literal, TypeGuard

from symphony.chat.reasoning import ends_inside, joined, stop_at
from symphony.files import kind_of
from symphony.types import Completion

SHOWN = 200
"""Characters of an endpoint's own message that an error text repeats."""
_MOST_TOKENS = 2**31  # a larger count is a mistake and would not fit into a record
_ENDED: dict[str, Literal["stop", "length"]] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_str"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), "length"),
}
"""Endpoints' names for the end of a completion. Any other reason is an error: the text may be incomplete."""
_REASONING = ("reasoning_content", "reasoning")


class Fault(StrEnum):
    """Why a call failed; the error text begins with this and a colon."""

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    STATUS = "status"
    REPLY = "reply"
    BREAKER = "breaker"
    CLIENT = "client"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts from the endpoint."""

    prompt: int
    cached: int
    completion: int


def failure(fault: Fault, what: str, usage: Usage | None = None) -> Completion:
    """Returns a failed call; tokens that were used are still counted."""
    return Completion(
        text="",
        finish_reason="error",
        prompt_tokens=usage.prompt if usage else 0,
        cached_tokens=usage.cached if usage else 0,
        completion_tokens=usage.completion if usage else 0,
        error=f"{fault}: {what}",
    )


def understand(content: str, stop: Sequence[str], *, sent: bool = False) -> Completion:
    """Returns the completion in a chat reply with HTTP status 200; never raises.

    Args:
        stop: Strings that end it, outside its reasoning.
        sent: Whether the endpoint got the stop strings: it may have cut off the reasoning at one, which is an error.
    """
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        return failure(Fault.REPLY, f"found no JSON, but {words(content) or 'nothing'}")
    if not isinstance(reply, dict):
        return failure(Fault.REPLY, f"found no object, but {words(content)}")
    usage = usage_of(reply.get("usage"))
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        reported = _message(reply.get("error"))
        return failure(Fault.REPLY, f"found no choices{f', but {reported}' if reported else ''}", usage)
    choice = choices[0] if isinstance(choices[0], dict) else {}
    if broken := reply.get("error") or choice.get("error"):
        return failure(
            Fault.REPLY, f"found an error beside the choices: {_message(broken) or clean(repr(broken))}", usage
        )
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    reason = choice.get("finish_reason")
    ended = "stop" if reason is None else _ENDED.get(str(reason).lower())  # some leave the field out
    if ended is None:
        return failure(Fault.REPLY, f"found finish_reason {clean(repr(reason))}, allowed: stop, length", usage)
    text = _whole(message, text)
    if not isinstance(text, str):
        return failure(Fault.REPLY, f"found {kind_of(text)} as content, allowed: text", usage)
    if usage is None or (text and not usage.completion):  # uncounted tokens would escape every budget
        allowed = "prompt_tokens and completion_tokens, whole numbers, not 0 for text"
        return failure(Fault.REPLY, f"found no usable `usage`, allowed: {allowed}", usage)
    if ended == "stop" and stop and sent and ends_inside(text):
        return failure(
            Fault.REPLY,
            "found a stop string in the reasoning, allowed: after it (set omit: [stop] for a model that reasons)",
            usage,
        )
    at = stop_at(text, stop)
    if at is not None:  # some servers ignore `stop`
        text, ended = text[:at], "stop"
    return Completion(
        text=clean(text),
        finish_reason=ended,
        prompt_tokens=usage.prompt,
        cached_tokens=usage.cached,
        completion_tokens=usage.completion,
        logprob=_logprob(choice.get("logprobs")),
    )


def _whole(message: Any, content: Any) -> Any:
    """Joins reasoning from its own field with the content; without reasoning returns the content as it is."""
    fields = message if isinstance(message, dict) else {}
    apart = next((text for name in _REASONING if isinstance(text := fields.get(name), str) and text.strip()), None)
    return joined(apart, content) if apart is not None and isinstance(content, str | None) else content


def _logprob(node: Any) -> float | None:
    """Returns the sum over the tokens of the choice; None if one is missing or invalid."""
    tokens = node.get("content") if isinstance(node, dict) else None
    values = (
        [token.get("logprob") if isinstance(token, dict) else None for token in tokens]
        if isinstance(tokens, list)
        else []
    )
    known = [
        float(value)
        for value in values
        if isinstance(value, (int, float)) and not isinstance(value, bool) and -inf < value <= 0
    ]
    return sum(known) if values and len(known) == len(values) else None


def words(content: str) -> str:
    """Returns the message of an error reply if it has one, else the beginning of the reply."""
    try:
        reply = json.loads(content)
    except (ValueError, RecursionError):
        reply = None
    message = _message(reply.get("error", reply)) if isinstance(reply, dict) else ""
    return message or clean(content)


def clean(text: str) -> str:
    """Removes what UTF-8 cannot encode (half a surrogate pair) and NUL, at which databases end a text."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def _message(error: Any) -> str:
    text = error.get("message", error.get("detail")) if isinstance(error, dict) else error
    return clean(text) if isinstance(text, str) else ""


def usage_of(node: Any) -> Usage | None:
    """Reads the token counts; None if missing or impossible. An unknown number of cached tokens is 0."""
    if not isinstance(node, dict):
        return None
    prompt, completion = node.get("prompt_tokens"), node.get("completion_tokens")
    if not (_is_count(prompt) and _is_count(completion) and prompt > 0):  # no prompt is empty
        return None
    details = node.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else node.get("prompt_cache_hit_tokens")
    return Usage(prompt=prompt, cached=cached if _is_count(cached) and cached <= prompt else 0, completion=completion)


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TOKENS
