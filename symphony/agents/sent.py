"""The prompts that a problem's calls were sent, each distinct one once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from symphony.records.prompts import message_text, prompt_line
from symphony.types import Message


class SentPrompts:
    """Keeps the distinct prompts of one problem, in the order in which they were first booked."""

    def __init__(self, run: str, problem: str) -> None:
        self._run, self._problem = run, problem
        self._chats: dict[str, Sequence[Message]] = {}  # by digest

    def keep(self, messages: Sequence[Message]) -> str:
        """Keeps a prompt and returns its digest."""
        name = digest(messages)
        self._chats.setdefault(name, messages)
        return name

    def lines(self) -> str:
        """Returns the lines of `prompts.jsonl.gz`."""
        texts, lines = _Texts(), []
        for name, messages in self._chats.items():
            chat = [texts[message.role, message.content] for message in messages]
            lines.append(prompt_line(self._run, self._problem, name, chat))
        return "".join(lines)


class _Texts(dict[tuple[str, str], str]):
    """Role and content -> the encoded message, made once, since the prompts of a problem share most messages."""

    def __missing__(self, message: tuple[str, str]) -> str:
        text = self[message] = message_text(*message)
        return text


def digest(messages: Sequence[Message]) -> str:
    """Returns the digest of a prompt, 32 hexadecimal digits."""
    text = "\x1e".join([f"{message.role}\x1f{message.content}" for message in messages])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
