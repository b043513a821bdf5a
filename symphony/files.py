"""Small files that are whole or not there, and what a file is."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

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
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Of the file's bytes, 64 hex digits; read again only when its size or time changes."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
