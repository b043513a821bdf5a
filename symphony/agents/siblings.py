"""Splits an evaluator's answer about several siblings into what it says of each (docs/tasks.md, "What is read").

    answer    = { prose | head judgement }
    head      = begin ["Candidate"] number separator
    judgement = a score up to the next head, or two bare numbers on the line: the value, then the confidence

A sibling with no judgement, with more than one, or with one that cannot be read is left out.
"""

from __future__ import annotations

import re

from symphony.agents.scores import parse_score
from symphony.chat.reasoning import plain

SIBLINGS = 16
"""Siblings that one call may judge."""

_NAMES = r"(?:candidates?|options?|steps?|actions?|programs?|attempts?|answers?|nodes?|numbers?|no\.?)[ \t*_]*+"
_NUMBER = r"[#(\[*_]*[\"']?(?P<{}>[0-9]{{1,3}})(?![0-9]|[.,][0-9]|[ \t]*(?:/|%|of\b|out\b))[\"'*_`)\]]*[ \t]*"
_SEPARATOR = r"(?:[:.)\]|=,\uff1a]|[-\u2013\u2014]++>?|\u2192)"
_LABEL = r"[^\w\n]*+(?:value|score|correctness)\b"
_HEAD = re.compile(
    # At the beginning of a line; or within it, directly before the label of a value.
    rf"^[^\w\n<]*+(?:{_NAMES})?{_NUMBER.format('number')}(?:{_SEPARATOR}|$|(?={_LABEL}))"
    rf"|(?<=[\s;,|{{\[])(?:{_NAMES})?{_NUMBER.format('within')}{_SEPARATOR}(?={_LABEL})",
    re.IGNORECASE | re.MULTILINE,
)
_SHARE = r"(0?[.,][0-9]{1,6}|[01](?:[.,]0{1,6})?)"
_BARE = re.compile(rf"[^\w\n.]*{_SHARE}(?:[ \t]*[,;|(][ \t]*|[ \t]+){_SHARE}[^\w\n]*(?:\n|\Z)")
"""Value and confidence without labels, and nothing else on the line."""


def split_siblings(text: str, count: int) -> list[str | None]:
    """Splits an answer about `count` siblings, numbered from 1, ignoring its reasoning.

    Returns:
        For each sibling a text that `parse_score` reads; None if the answer holds no judgement of it, or several.
    """
    said = plain(text)
    heads = [head for head in _HEAD.finditer(said) if not _is_value(said, head)]
    found: dict[int, list[str | None]] = {}
    for at, head in enumerate(heads):
        end = heads[at + 1].start() if at + 1 < len(heads) else len(said)
        judgement = _labelled(said[head.end() : end])
        if judgement:
            found.setdefault(int(head["number"] or head["within"]), []).append(judgement)
    return [judgements[0] if len(judgements := found.get(n, [])) == 1 else None for n in range(1, count + 1)]


def _is_value(text: str, head: re.Match[str]) -> bool:
    """Whether the number of a head within a line is that of a score instead: "Confidence: 1. Value: 0.7"."""
    return head["within"] is not None and text[: head.start()].rstrip(" \t*_\"'")[-1:] in (":", "=")


def _labelled(text: str) -> str | None:
    """Returns a text with exactly one score; None if there is none, or more than one."""
    bare = _BARE.match(text)
    if bare is not None:
        text = f"Value: {bare[1]} Confidence: {bare[2]}"
    return None if parse_score(text, once=True) is None else text
