"""Small files that are whole or not there."""

from __future__ import annotations

import os
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
