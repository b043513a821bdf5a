"""Prints rows as an aligned table, as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

FORMATS = ("table", "csv", "json")
WIDEST = 80
"""Most characters of a cell in a table; CSV and JSON show everything."""


def write(columns: Sequence[str], rows: Iterable[Sequence[Any]], form: str) -> str:
    """Returns rows as text, without a newline at its end.

    Args:
        form: One of `FORMATS`. JSON is a list with one object a row.
    """
    if form == "json":
        return as_json([dict(zip(columns, row, strict=True)) for row in rows])
    if form == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([["" if value is None else _plain(value) for value in row] for row in rows])
        return stream.getvalue().removesuffix("\n")
    return _table(columns, list(rows))


def as_json(value: Any) -> str:
    """Returns a value as JSON; values that JSON does not have (dates, decimals) become text."""
    return json.dumps(value, indent=1, default=str)


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    cells = [[printable(name) for name in columns], *([cell(value) for value in row] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    right = [_is_numeric([row[index] for row in rows]) for index in range(len(columns))]
    lines = []
    for line in cells:
        aligned = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def _is_numeric(values: Sequence[Any]) -> bool:
    numbers = [isinstance(value, int | float) for value in values if value is not None]
    return bool(numbers) and all(numbers)


def cell(value: Any) -> str:
    """Returns a value as one short line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 0.005 or value == 0 else f"{value:.2g}"
    text = printable(value if isinstance(value, str) else str(_plain(value)))
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


def printable(text: str) -> str:
    """Returns text without control characters, which a terminal would obey; a model may have written it."""
    return "".join([char if char.isprintable() else ascii(char)[1:-1] for char in text])


def _plain(value: Any) -> Any:
    """Writes lists and structs as JSON."""
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, list | dict | tuple) else value
