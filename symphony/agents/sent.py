"""The prompts that a problem's calls were sent, each distinct one once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from symphony.records.prompts import PromptRecord, prompt_record
from symphony.types import Message


class SentPrompts:
    """Keeps the distinct prompts of one problem, in the order in which they were first booked."""

    def __init__(self, run: str, problem: str) -> None:
        self._run, self._problem = run, problem
        self._records: dict[str, PromptRecord] = {}

    def keep(self, messages: Sequence[Message]) -> str:
        """Keeps a prompt and returns its digest."""
        name = digest(messages)
        if name not in self._records:
            self._records[name] = prompt_record(self._run, self._problem, name, messages)
        return name

    def records(self) -> list[PromptRecord]:
        return list(self._records.values())


def digest(messages: Sequence[Message]) -> str:
    """Returns the digest of a prompt, 32 hexadecimal digits."""
    text = "\x1e".join([f"{message.role}\x1f{message.content}" for message in messages])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
