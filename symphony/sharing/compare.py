"""Where two sets of tables, or two folders of records, first differ."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from symphony.records.prompts import PROMPTS
from symphony.records.records import APART, CONFIG, FILES, RunRecord
from symphony.report.viewer.difference import around_difference

OF_MACHINE = ("commit", "versions", "hardware")
"""Keys of `RunRecord` that tell of the machine and the code, not of the run."""
_NAMED = 3  # cells of a row that name it


def differing_tables(before: Path, after: Path) -> str:
    """Tells the first table, and the row in it, that two folders do not have in common; "" if all files are equal.

    Args:
        before: The tables of a bundle. after: Those derived here.
    """
    names = {path.name for folder in (before, after) if folder.is_dir() for path in folder.iterdir()}
    for name in sorted(names, key=lambda name: (Path(name).stem, not name.endswith(".csv"), name)):
        texts = [_read(folder / name) for folder in (before, after)]
        if texts[0] == texts[1]:
            continue
        if where := next((place for place, text in zip(_PLACES, texts, strict=True) if text is None), None):
            return f"table {name}: not {where}"
        one, other = (text or "" for text in texts)
        return f"table {name}, {_in_csv(one, other) if name.endswith('.csv') else _in_lines(one, other)}"
    return ""


_PLACES = ("in the bundle", "here")


def _read(path: Path) -> str | None:
    return path.read_bytes().decode(errors="surrogateescape") if path.is_file() else None


def _in_csv(one: str, other: str) -> str:
    tables = [list(csv.reader(io.StringIO(text, newline=""))) for text in (one, other)]
    heads = [table[0] if table else [] for table in tables]
    if heads[0] != heads[1]:
        return f"columns: {_both(', '.join(heads[0]), ', '.join(heads[1]))}"
    for number, (row, now) in enumerate(zip_longest(tables[0][1:], tables[1][1:]), 1):
        if row is None or now is None:
            return f"row {number} ({_name(now or row)}): not {_PLACES[now is None]}"
        for column, cell, new in zip_longest(heads[0], row, now, fillvalue=""):
            if cell != new:
                return f"row {number} ({_name(row)}), {column}: {_both(cell, new)}"
    return _in_lines(one, other)


def _name(row: Sequence[str]) -> str:
    return ", ".join(row[:_NAMED])


def _in_lines(one: str, other: str) -> str:
    for number, (line, now) in enumerate(zip_longest(one.split("\n"), other.split("\n")), 1):
        if line != now:
            return f"line {number}: {_both(line or '', now or '')}"
    return "the ends of lines"


def differing_records(before: Path, after: Path) -> str:
    """Tells the first record that two folders of the same run do not have in common; "" if they are equal.

    Times and costs (`APART`) are not compared, nor is what `RunRecord` says of the machine and the code; prompts are
    if both kept them.
    """
    for name in (*(name for name in FILES.values() if name not in APART), CONFIG):
        one, other = ((folder / name).read_bytes() for folder in (before, after))
        if one != other and (told := _in_records(one, other, name)):
            return f"{name}, {told}"
    kept = [folder / PROMPTS for folder in (before, after) if (folder / PROMPTS).is_file()]
    if len(kept) > 1 and kept[0].read_bytes() != kept[1].read_bytes():
        return f"{PROMPTS}: other prompts"
    return ""


def _in_records(one: bytes, other: bytes, name: str) -> str:
    lines = [data.decode(errors="replace").split("\n") for data in (one, other)]
    for number, (line, now) in enumerate(zip_longest(*lines, fillvalue=""), 1):
        if line == now:
            continue
        values = [_keys(text) for text in (line, now)]
        if name == FILES[RunRecord]:
            values = [{key: value for key, value in some.items() if key not in OF_MACHINE} for some in values]
            if values[0] == values[1] != {}:
                continue
        key = next((key for key in {**values[0], **values[1]} if values[0].get(key) != values[1].get(key)), "")
        shown = [some.get(key, "nothing") if key else text for some, text in zip(values, (line, now), strict=True)]
        return f"line {number}{key and f', {key}'}: {_both(*(_as_text(value) for value in shown))}"
    return ""


def _keys(line: str) -> Mapping[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _both(one: str, other: str) -> str:
    """Shows two texts around their first difference, without control characters."""
    before, after = around_difference(one, other)
    return f"{before!r} in the bundle, {after!r} here"
