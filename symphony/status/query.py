"""Answers a question in SQL over a study's database, or over the records of runs that are not loaded yet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from symphony.records import database
from symphony.records.records import is_complete
from symphony.status import listing
from symphony.types import SymphonyError

Answer = tuple[list[str], list[tuple[Any, ...]]]
"""Names of the columns, and the rows."""


def ask(query: str, outputs: Path, study: str | None, say: Callable[[str], None]) -> Answer:
    """Returns what a query gives over a study, or over all finished runs if none is named.

    Nothing that the query says can write to the database or any other file, or read any other file.

    Args:
        say: Receives a message if the study has more finished runs than its database.

    Raises:
        SymphonyError: There is no such study, nothing is finished, records are damaged, or DuckDB refuses the query.
    """
    found = listing.entries(outputs)
    if study is not None:
        found = listing.of_study(found, study, outputs)
        loaded = outputs / study / listing.DATABASE
        if loaded.is_file():
            answer, count = _read(loaded, query)
            done = sum(entry.state == "done" for entry in found)
            if done > count:
                say(f"{loaded}: holds {count} of {done} finished runs; `symphony load {study}` adds the others")
            return answer
    folders = [outputs / "runs" / entry.run for entry in found if is_complete(outputs / "runs" / entry.run)]
    if not folders:
        raise SymphonyError(f"{outputs / 'runs'}: found no finished run, allowed: at least one")
    with tempfile.TemporaryDirectory() as scratch:
        temporary = Path(scratch) / listing.DATABASE
        database.load(temporary, folders, versions=True)
        return _read(temporary, query)[0]


def _read(path: Path, query: str) -> tuple[Answer, int]:
    """Returns the answer, and how many runs the database holds."""
    import duckdb

    with database.reading(path) as connection, tempfile.TemporaryDirectory() as spill:
        (count,) = connection.execute("SELECT count(*) FROM runs").fetchone()
        connection.execute("SET temp_directory = ?", [spill])
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        try:
            result = connection.execute(query)
            columns = [column[0] for column in result.description or ()]
            return (columns, result.fetchall() if columns else []), count
        except duckdb.Error as error:
            raise SymphonyError(f"the query: {' '.join(str(error).split()).rstrip(' ^')}") from error
