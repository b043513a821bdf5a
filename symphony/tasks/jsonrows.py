"""Reads rows from JSON, JSON lines (plain or gzipped) or Parquet files, without checking what they hold."""

from __future__ import annotations

import gzip
import json
import re
import reprlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from symphony.types import SymphonyError

_GAP = re.compile(r"[\s,]*")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


def parse_json(text: str, path: Path, line: int = 1) -> Any:
    """Parses a JSON text.

    Args:
        path, line: Where the text begins; error messages start with "file:line".

    Raises:
        SymphonyError: It is not JSON, or not usable: nested too deep, an integer with too many digits, a duplicate key,
            or half of a surrogate pair.
    """
    try:
        value = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_object)  # if files were concatenated
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        line, why = line + error.lineno - 1, f"{error.msg} at character {error.colno}"
    except RecursionError:
        why = "values nested too deep"
    except UnicodeEncodeError:
        why = "half of a surrogate pair (\\ud...)"
    except ValueError as error:  # a duplicate key, or more digits than Python reads
        why = "an integer with too many digits" if "digits" in str(error) else str(error)
    raise SymphonyError(f"{path}:{line}: found {why}, allowed: JSON")


def rows(path: Path) -> list[dict[str, Any]]:
    """Reads the objects of a JSON array or JSON lines from a plain or gzipped file, or the rows of a Parquet file.

    Raises:
        SymphonyError: The file can't be read or holds something else; the message names the line.
    """
    return [row for _, row in numbered(path)]


def numbered(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Reads rows as `rows` does, each with its place: "file:line", or "file: row n" in Parquet.

    Raises:
        SymphonyError: As `rows`.
    """
    if path.suffix == ".parquet":
        placed = [(f"{path}: row {number}", row) for number, row in enumerate(_parquet(path), 1)]
    elif (text := read_text(path)).lstrip().startswith("["):
        placed = list(_array(text, path))
    else:
        lines = enumerate(text.split("\n"), 1)
        placed = [(f"{path}:{n}", parse_json(line, path, n)) for n, line in lines if line.strip()]
    for where, row in placed:
        if not isinstance(row, dict):
            raise SymphonyError(f"{where}: found {short(row)}, allowed: a JSON object")
        yield where, row


def read_text(path: Path) -> str:
    """Reads a plain or gzipped UTF-8 text file, without the byte-order mark that some editors put at the start.

    Raises:
        SymphonyError: It can't be read, or is not such a file.
    """
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise SymphonyError(f"{path}: found {why}, allowed: a readable UTF-8 file") from error


def _array(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Yields the items of a JSON array, each with the line it begins on."""
    decoder, at, line, counted = json.JSONDecoder(), text.find("[") + 1, 1, 0
    for number, item in enumerate(parse_json(text, path), 1):
        at = _GAP.match(text, at).end()  # type: ignore[union-attr]
        line, counted = line + text.count("\n", counted, at), at
        yield f"{path}:{line}: row {number}", item
        _, at = decoder.raw_decode(text, at)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key twice in one object")
    return content


DECODER = json.JSONDecoder(object_pairs_hook=_object)
"""Decoder for texts too long for `parse_json`: it also refuses duplicate keys, but the caller reports the place."""


def short(value: Any) -> str:
    """Formats a value on one line, however long or deep it is."""
    return "null" if value is None else _REPR.repr(value)


def _parquet(path: Path) -> list[dict[str, Any]]:
    import duckdb

    try:
        with duckdb.connect() as connection:
            result = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
    except duckdb.Error as error:
        raise SymphonyError(f"{path}: found {str(error).splitlines()[0]}, allowed: a Parquet file") from error
