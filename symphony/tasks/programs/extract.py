"""Extracts the program in a model's answer, and the tests below it. docs/tasks.md has the grammar of answers."""

from __future__ import annotations

import re
from collections.abc import Set
from functools import lru_cache

from symphony.tasks.programs.answer_blocks import Block, Tongue, read_blocks
from symphony.tasks.programs.function_body import has_body, python_body, rust_body
from symphony.tasks.programs.python_source import Answer, Python, parsed
from symphony.tasks.programs.rust_source import Rust, other_function, rust_defines, rust_items, without_main

_TONGUES: dict[str, Tongue] = {"python": Python(), "rust": Rust()}


@lru_cache(maxsize=256)
def blocks(text: str, language: str) -> tuple[Block, ...]:
    """Returns the pieces of an answer that are code, or that are fenced like code."""
    return tuple(read_blocks(text, _TONGUES[language]))


def may_define(source: str, language: str) -> bool:
    """Whether a source may define a function."""
    return bool(re.search(r"\b(?:def|lambda|class)\b" if language == "python" else r"\bfn\b", source))


def python_program(text: str, entry: str, also: Set[str] = frozenset(), signature: str = "") -> str | None:
    """Returns the last definition of `entry` in an answer that is not a stub, with what it needs from other blocks.

    If no block defines it, this is the answer as a function body below the signature, a class's method of that name, or
    the only function of the last block that has exactly one, renamed.

    Args:
        also: Other names that its tests use.
        signature: The first line of the prompt's function.

    Returns:
        The program; None if there is none.
    """
    answer = _answer(text)
    try:
        if not answer.is_complete(entry):
            body = python_body(text, signature) if signature else None
            if more := body or answer.method(entry):
                answer = Answer([*answer.sources, more])
        program = answer.program(entry, also)
        if program is None and (other := answer.other_name()):
            renamed = [re.sub(rf"\b{re.escape(other)}\b", entry, source) for source in answer.sources]
            program = Answer(renamed).program(entry, also)
    except RecursionError:
        return None
    return program


def asserts(text: str, entry: str) -> tuple[str, ...]:
    """Returns the top-level `assert` statements about `entry` in an answer, each on one line."""
    try:
        return _answer(text).asserts(entry)
    except RecursionError:
        return ()


def rust_program(text: str, entry: str, signature: str = "") -> str | None:
    """Returns the last `fn entry` that is not a stub, with its block's items except `main`, and what these need.

    If no block defines it, this is the answer as a function body, or the only function of the last block that has
    exactly one, renamed.

    Args:
        signature: The prompt from its function on.

    Returns:
        The program; None if there is none.
    """
    sources = [block.source for block in blocks(text, "rust")]
    if signature and not rust_defines(sources, entry) and (body := rust_body(text, signature)):
        sources.append(body)
    program = rust_items(sources, entry) or rust_items([text.replace("\r\n", "\n")], entry)  # e.g. cut off
    if program is None and (other := other_function(sources)):
        program = rust_items([re.sub(rf"\b{re.escape(other)}\b", entry, source) for source in sources], entry)
    return program


@lru_cache(maxsize=256)
def _answer(text: str) -> Answer:
    return Answer([block.source for block in blocks(text, "python")])


__all__ = ["asserts", "blocks", "has_body", "parsed", "python_program", "rust_program", "without_main"]
