"""Benchmark files on disk: where they lie, what they are, and their rows."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symphony.types import SymphonyError


def find(data: Path, folder: str, names: Sequence[str], option: str = "") -> Path:
    """The first of `names` that is there, in `data/<folder>/` (files laid there) or `data/task/<option>/` (downloads).

    Args:
        option: Of conf/task/; "" is the folder's name.

    Raises:
        SymphonyError: None is there.
    """
    option = option or folder
    for place in (data / folder, data / "task" / option):
        for name in names:
            for file in (place / name, place / f"{name}.gz"):
                if file.is_file():
                    return file
    raise SymphonyError(
        f"{data / folder}: found none of {', '.join(names)}, allowed: one of them "
        f"(`symphony fetch task/{option}` downloads, SYMPHONY_DATA or data_dir= name a folder that has them)"
    )


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON array or of JSON lines, in a plain or gzipped file, or the rows of a Parquet file.

    Raises:
        SymphonyError: The file can't be read or holds something else; the message names the line.
    """
    if path.suffix == ".parquet":
        return _parquet(path)
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise SymphonyError(f"{path}: found {error}, allowed: a readable UTF-8 file") from error
    found: list[Any] = []
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except json.JSONDecodeError as error:
            raise SymphonyError(f"{path}:{error.lineno}: found {error.msg}, allowed: a JSON array") from error
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    found.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise SymphonyError(f"{path}:{number}: found {error.msg}, allowed: a JSON object") from error
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict):
            raise SymphonyError(f"{path}: row {number}: found {type(row).__name__}, allowed: a JSON object")
    return found


def items(path: Path, found: Sequence[dict[str, Any]], first: int, count: int | None) -> Sequence[dict[str, Any]]:
    """`count` rows from `first` on; None is all that follow.

    Raises:
        SymphonyError: The file has fewer.
    """
    last = len(found) if count is None else first + count
    if not 0 <= first < last <= len(found):
        raise SymphonyError(
            f"task.problems: found {count} from item {first} on, allowed: 1 to {len(found)} items ({path} has no more)"
        )
    return found[first:last]


def _parquet(path: Path) -> list[dict[str, Any]]:
    import duckdb

    try:
        with duckdb.connect() as connection:
            found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        raise SymphonyError(f"{path}: found {str(error).splitlines()[0]}, allowed: a Parquet file") from error
