"""The program in a model's answer, and the tests written below it. docs/tasks.md has the grammar of answers."""

from __future__ import annotations

import re
from collections.abc import Set
from functools import lru_cache

from symphony.tasks.answer_blocks import Block, Tongue, read_blocks
from symphony.tasks.python_source import Answer, Python, parsed
from symphony.tasks.rust_source import Rust, rust_items, without_main

_TONGUES: dict[str, Tongue] = {"python": Python(), "rust": Rust()}


@lru_cache(maxsize=256)
def blocks(text: str, language: str) -> tuple[Block, ...]:
    """The pieces of an answer that are code, or stood in a fence as if they were."""
    return tuple(read_blocks(text, _TONGUES[language]))


def may_define(source: str, language: str) -> bool:
    """Whether a source may define a function."""
    return bool(re.search(r"\b(?:def|lambda|class)\b" if language == "python" else r"\bfn\b", source))


def python_program(text: str, entry: str, also: Set[str] = frozenset()) -> str | None:
    """The last definition of `entry` in an answer that is no stub, with what it needs from the answer's blocks.

    Where no block defines it, the only function of the last block that has one is renamed.

    Args:
        also: Names that its tests use besides.

    Returns:
        None where there is no such program.
    """
    answer = _answer(text)
    try:
        program = answer.program(entry, also)
        if program is None and (other := answer.other_name()):
            renamed = [re.sub(rf"\b{re.escape(other)}\b", entry, source) for source in answer.sources]
            program = Answer(renamed).program(entry, also)
    except RecursionError:
        return None
    return program


def asserts(text: str, entry: str) -> tuple[str, ...]:
    """The top-level `assert` statements about `entry` in an answer, each on one line."""
    try:
        return _answer(text).asserts(entry)
    except RecursionError:
        return ()


def rust_program(text: str, entry: str) -> str | None:
    """The last `fn entry` in an answer that is no stub, with the items of its block but `main`, and what these lack.

    Returns:
        None where there is no such program.
    """
    found = rust_items([block.source for block in blocks(text, "rust")], entry)
    return found or rust_items([text.replace("\r\n", "\n")], entry)  # a bare program that does not compile


@lru_cache(maxsize=256)
def _answer(text: str) -> Answer:
    return Answer([block.source for block in blocks(text, "python")])


__all__ = ["asserts", "blocks", "parsed", "python_program", "rust_program", "without_main"]
