"""Writes data as scripts, because a page that was opened from `file://` may load scripts but fetch nothing.

A script calls `symphonyData(name, value)`. Long texts are compressed by gzip and written as base64 (`assets/common.js`
reads them), and cut so that no script is larger than `LARGEST`.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

from symphony.types import SymphonyError

LARGEST = 4_000_000
"""Bytes of a script, at most (plus a few for its frame)."""

Place = list[list[int]]
"""Where a text is: the number of a script, and the position in it, for each part."""

_LEVEL = 1  # of gzip: the pages of 10^6 nodes take minutes at the highest level
_NAME = re.compile(r"\w[\w.-]{0,120}", re.ASCII)


def pack_text(text: str) -> bytes:
    """Compresses a text; equal texts give equal bytes."""
    return gzip.compress(text.encode(), _LEVEL, mtime=0)


def script(name: str, value: Any) -> str:
    """Returns the script that hands a value to the page under a name."""
    return f"symphonyData({json.dumps(name)}, {json.dumps(value, separators=(',', ':'))});\n"


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def check_name(run: str) -> str:
    """Returns the name of a run if it can be part of a file's name.

    Raises:
        SymphonyError: It cannot.
    """
    if not _NAME.fullmatch(run):
        raise SymphonyError(
            f"run {run!r}: found a name that cannot be a file's, allowed: letters, digits, '.', '_', '-'"
        )
    return run


class Packs:
    """Collects the compressed texts of one run and writes them into as few scripts as their size allows.

    Args:
        stem: Where the scripts go; they are called `<stem>.0.js`, `<stem>.1.js`, ...
    """

    def __init__(self, stem: Path) -> None:
        self._stem = stem
        self._parts: list[str] = []
        self._size = 0
        self._number = 0

    def add(self, data: bytes) -> Place:
        """Adds a compressed text and returns where a page finds it."""
        text = as_base64(data)
        place: Place = []
        for begin in range(0, len(text), LARGEST):
            part = text[begin : begin + LARGEST]
            if self._parts and self._size + len(part) > LARGEST:
                self.end()
            place.append([self._number, len(self._parts)])
            self._parts.append(part)
            self._size += len(part)
        return place

    def end(self) -> None:
        """Writes the script that is not yet full."""
        if self._parts:
            name = f"{self._stem.name}.{self._number}"
            self._stem.with_name(f"{name}.js").write_text(script(name, self._parts), encoding="utf-8")
            self._parts, self._size, self._number = [], 0, self._number + 1
