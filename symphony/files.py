"""Writes small files atomically, and checks and reads files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from symphony.types import SymphonyError

_HEAD = 1 << 13  # bytes, enough to recognise any file that a command makes


def write_atomic(path: Path, text: str) -> None:
    """Writes text as `write_bytes` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a temporary file next to `path`, flushes it to disk and renames it to `path`.

    Raises:
        SymphonyError: The disk is full or not writable; what was at `path` is unchanged.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SymphonyError(f"{path}: found {error.strerror}, allowed: a folder that can be written") from error
    finally:
        discard(temporary)


def discard(path: Path) -> None:
    """Removes a file if possible; ignores errors, so that an earlier error is the one reported."""
    with suppress(OSError):
        path.unlink()


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Reads the JSON object in a file.

    Args:
        what: What the file should be, for the error message.

    Raises:
        SymphonyError: The file does not exist, cannot be read, or holds something else.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise SymphonyError(f"{path}: found nothing, allowed: {what}") from error
    except OSError as error:
        raise SymphonyError(f"{path}: cannot be read ({error.strerror}), allowed: {what}") from error
    return parse_json(data, path, what)


def parse_json(data: bytes, where: object, what: str) -> dict[str, Any]:
    """Parses a JSON object.

    Args:
        where: Where it is from, and `what` it should be, for the error message.

    Raises:
        SymphonyError: It is something else.
    """
    try:
        content = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SymphonyError(f"{where}: found a file that is not JSON ({error}), allowed: {what}") from error
    if not isinstance(content, dict):
        raise SymphonyError(f"{where}: found {kind_of(content)}, allowed: {what}, a JSON object")
    return content


_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}


def kind_of(value: Any) -> str:
    """Names the kind of a value of JSON or YAML in an error message's words."""
    return "null" if value is None else _KINDS.get(type(value), f"a {type(value).__name__}")


def check_own(path: Path, own: Callable[[bytes], bool]) -> None:
    """Checks that a command is about to replace nothing, an empty file, or a file it made itself.

    Args:
        own: Whether a file that begins with these bytes was made by the command.

    Raises:
        SymphonyError: Something else is there; it is left alone.
    """
    try:
        if not path.is_dir():
            if not path.exists():
                return
            with path.open("rb") as stream:
                head = stream.read(_HEAD)
            if not head or own(head):
                return
    except OSError as error:
        raise SymphonyError(f"{path}: found {error.strerror}, allowed: a file that can be replaced") from error
    finding = "a folder" if path.is_dir() else "a file that this command did not make"
    raise SymphonyError(f"{path.absolute()}: found {finding}, allowed: a new path, or what this command made")


def check_own_folder(folder: Path, own: Collection[str]) -> None:
    """Checks that a folder which a command is about to replace holds only files with these names.

    Raises:
        SymphonyError: It holds something else; it is left alone.
    """
    try:
        others = [] if not folder.exists() else sorted(path.name for path in folder.iterdir() if path.name not in own)
    except OSError as error:
        raise SymphonyError(f"{folder.absolute()}: found {error.strerror}, allowed: a folder") from error
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise SymphonyError(
            f"{folder.absolute()}: found {others[0]}{more}, which this command did not make, "
            "allowed: a new folder, an empty one, or one that it made"
        )


def sha256(path: Path) -> str:
    """Returns the hash of the file's bytes, 64 hex digits; rereads it only when its size or time changes."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
