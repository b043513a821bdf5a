"""Small files that are whole or not there, and what a file is."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from symphony.types import SymphonyError


def write_atomic(path: Path, text: str) -> None:
    """Writes a temporary sibling, forces it to disk and renames it.

    Raises:
        SymphonyError: The disk is full or may not be written; what was at `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SymphonyError(f"{path}: found {error.strerror}, allowed: a folder that can be written") from error
    finally:
        discard(temporary)


def discard(path: Path) -> None:
    """Removes a file if it is there and can be removed; what went wrong before is what is to be told."""
    with suppress(OSError):
        path.unlink()


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        what: What the file should be, for the error.

    Raises:
        SymphonyError: It is not there, can not be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SymphonyError(f"{path}: found nothing, allowed: {what}") from error
    except OSError as error:
        raise SymphonyError(f"{path}: can not be read ({error.strerror}), allowed: {what}") from error
    except (ValueError, RecursionError) as error:
        raise SymphonyError(f"{path}: found a file that is not JSON ({error}), allowed: {what}") from error
    if not isinstance(found, dict):
        raise SymphonyError(f"{path}: found a {type(found).__name__}, allowed: {what}, a JSON object")
    return found


def sha256(path: Path) -> str:
    """Of the file's bytes, 64 hex digits; read again only when its size or time changes."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
