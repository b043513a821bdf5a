"""How many tokens a call will take at most, known before it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from symphony.types import Request

LETTERS_A_TOKEN = 3
"""Estimates a prompt's tokens where nothing counts them; rather too many than too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """What a request will take.

    Attributes:
        prompt: Tokens of the prompt that will be sent, after shortening to the model's context.
        completion: The most that the completion may take: the request's limit, or what room the context leaves; 0 where
            the call will fail.
        dropped: Parts left out of the prompt.
    """

    prompt: int
    completion: int
    dropped: int = 0


@runtime_checkable
class Sizing(Protocol):
    """What can say a request's size without asking, loading or waiting for a model.

    Attributes:
        counter: Names what counts, as part of the key under which a size is stored; None where none is worth storing.
    """

    counter: str | None

    def size(self, request: Request) -> Size: ...


def estimate(texts: Iterable[str]) -> int:
    """Tokens of a prompt's texts, by their letters."""
    return -(-sum(map(len, texts)) // LETTERS_A_TOKEN)


def sizing(model: object) -> Callable[[Request], Size]:
    """The model's own `size` where it has one, else the estimate."""
    return model.size if isinstance(model, Sizing) else _estimated


def size_key(counter: str, request: Request) -> bytes:
    """Digest of everything that decides the size: what counts, the whole prompt, the completion's limit."""
    parts = [counter, str(request.sampling.max_tokens)]
    for message in request.messages:
        parts += (message.role, str(len(message.content)), message.content)
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).digest()


def _estimated(request: Request) -> Size:
    prompt = estimate([message.content for message in request.messages])
    return Size(prompt=prompt, completion=request.sampling.max_tokens)
