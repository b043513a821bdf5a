"""The largest number of tokens a call can take, known before it is made."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from symphony.types import Request

LETTERS_A_TOKEN = 3
"""Letters per token for estimating a prompt's tokens if nothing counts them; rather too many tokens than too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """The number of tokens a request will take.

    Attributes:
        prompt: Tokens of the prompt that will be sent, after shortening to the model's context.
        completion: Maximum tokens of the completion: the request's limit, or the room that the context leaves; 0 if the
            call will fail.
        dropped: Parts left out of the prompt.
    """

    prompt: int
    completion: int
    dropped: int = 0


@runtime_checkable
class Sizing(Protocol):
    """Gives a request's size without asking, loading or waiting for a model.

    Attributes:
        counter: Name of what counts, part of the key under which a size is stored; None if sizes are not worth storing.
    """

    counter: str | None

    def size(self, request: Request) -> Size: ...


def estimate(texts: Iterable[str]) -> int:
    """Estimates the tokens of a prompt's texts from their number of letters."""
    return -(-sum(map(len, texts)) // LETTERS_A_TOKEN)


def sizing(model: object) -> Callable[[Request], Size]:
    """Returns the model's own `size` if it has one (`Sizing`), else the estimate."""
    # isinstance() with a protocol takes long, and this is asked for every problem.
    own: Callable[[Request], Size] | None = getattr(model, "size", None)
    return own or _estimate


def size_key(counter: str, request: Request) -> bytes:
    """Returns a digest of everything that decides the size: the counter, the whole prompt, the completion's limit."""
    parts = [counter, str(request.sampling.max_tokens)]
    for message in request.messages:
        parts += (message.role, str(len(message.content)), message.content)
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).digest()


def _estimate(request: Request) -> Size:
    prompt = estimate([message.content for message in request.messages])
    return Size(prompt=prompt, completion=request.sampling.max_tokens)
