"""An endpoint's settings: address, key and price; checked, and never shown if they may be secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from symphony.types import Completion, SymphonyError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Dollars per million tokens; None means unknown.

    Attributes:
        prompt: Price of a prompt token that is not cached.
        cached: Price of a prompt token from the endpoint's cache; None means the same as `prompt`.
        completion: Price of a generated token.
    """

    prompt: float | None = None
    cached: float | None = None
    completion: float | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "cached", "completion"):
            check_number(f"price.{name}", getattr(self, name), 0, optional=True)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the prices that are missing to compute a cost."""
        return tuple(name for name in ("prompt", "completion") if getattr(self, name) is None)

    def dollars(self, completion: Completion) -> float | None:
        """Returns what a completion costs, failed or not, by its token counts; None if a price is unknown."""
        return self.of(completion.prompt_tokens, completion.cached_tokens, completion.completion_tokens)

    def of(self, prompt_tokens: float, cached_tokens: float, completion_tokens: float) -> float | None:
        """Returns what the tokens cost, with `cached_tokens` of the prompt cached; None if a price is unknown."""
        if self.prompt is None or self.completion is None:
            return None
        cached = self.prompt if self.cached is None else self.cached
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.prompt + cached_tokens * cached + completion_tokens * self.completion) / 1e6

    @property
    def dearest(self) -> float | None:
        """The highest price, in dollars per million tokens; None if a price is unknown."""
        if self.prompt is None or self.completion is None:
            return None
        return max(self.prompt, self.cached or 0.0, self.completion)


@dataclass(frozen=True, slots=True)
class Secret:
    """A key that is never shown by accident."""

    text: str = field(repr=False)

    def hidden(self, words: str) -> str:
        """Returns the words without the key, whether it is plain or escaped as in JSON or addresses."""
        if self.text:
            for form in (self.text, self.text.replace("/", "\\/"), quote(self.text), quote(self.text, safe="")):
                words = words.replace(form, "***")
        return words


def check_key_env(key_env: Any) -> None:
    """Raises SymphonyError if the value is neither the name of a variable nor None."""
    if key_env is not None and (not isinstance(key_env, str) or not _NAME.fullmatch(key_env)):
        # Not shown: it may be the key itself.
        raise SymphonyError("model.key_env: found no name of a variable, allowed: one, e.g. MY_API_KEY")


def read_key(key_env: str | None) -> Secret:
    """Reads the key from the environment variable of that name; returns an empty key if no name is given.

    Raises:
        SymphonyError: The variable is not set, or its value cannot be a key.
    """
    if key_env is None:
        return Secret("")
    key = os.environ.get(key_env, "").strip()
    if not key:
        raise SymphonyError(f"model.key_env: found no {key_env} in the environment, allowed: a key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise SymphonyError(f"{key_env}: found characters that no HTTP header can hold, allowed: a key in ASCII")
    return Secret(key)


def host_of(base_url: Any) -> str:
    """Returns the address's host, port and any path except /v1."""
    try:
        parts = urlsplit(base_url if isinstance(base_url, str) else "")
        odd = parts.username is not None or parts.password is not None or parts.query or parts.fragment
        host = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
    except ValueError:
        odd, host = True, None
    if odd or not host or parts.scheme not in ("http", "https"):
        # Not shown: it may hold a password.
        raise SymphonyError("model.base_url: found another form, allowed: http(s)://host[:port]/path, nothing more")
    path = parts.path.rstrip("/")
    return host if path in ("", "/v1") else f"{host}{path}"


def price_of(node: Any) -> Price:
    known = ("prompt", "cached", "completion")
    if node is not None and (not isinstance(node, Mapping) or not set(node) <= set(known)):
        raise SymphonyError(f"model.price: found {node!r}, allowed: {', '.join(known)}")
    return Price(**(node or {}))


def check_number(
    key: str, value: Any, low: float, *, above: bool = False, whole: bool = False, optional: bool = False
) -> None:
    kinds = (int,) if whole else (int, float)
    right = isinstance(value, kinds) and not isinstance(value, bool) and (value > low if above else value >= low)
    if not (right and value != float("inf")) and not (optional and value is None):
        wanted = f"{'a whole number ' if whole else ''}{'>' if above else '>='} {low:g}{' or null' if optional else ''}"
        raise SymphonyError(f"model.{key}: found {value!r}, allowed: {wanted}")


FREE = Price(prompt=0.0, completion=0.0)
"""Price of a model on this machine."""
