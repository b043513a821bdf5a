"""Prepares tables for the page: what varies as a grid with legends, what never varies as one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from symphony.report.tables import Table, numeric_columns, shown

ALL = "all tasks"
_WIDE = 44
"""Characters from which a cell's text may wrap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column on the page.

    Attributes:
        legend: What it holds, in a sentence; "" if nobody has said it.
        number: Id of the legend in the page's list of columns; 0 without one.
        wide: Whether its text may wrap.
    """

    name: str
    legend: str
    number: int
    numeric: bool
    wide: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table on the page.

    Attributes:
        rows: The cells for readers, of `columns`; the value of the column `part`, or ""; whether it is the reference's.
        part: Position of the column by whose values the rows can be chosen, or None. parts: Its values.
        constant: Columns with the same value in every row, and the value.
        equal: Columns whose cells are those of an earlier column in every row, and that column.
    """

    table: Table
    columns: tuple[Column, ...]
    rows: tuple[tuple[list[str], str, bool], ...]
    part: int | None
    parts: tuple[str, ...]
    constant: tuple[tuple[str, str], ...]
    equal: tuple[tuple[str, str], ...]


class Legends:
    """The legends of a page's columns; equal ones are kept once."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, str], int] = {}

    def number(self, name: str, legend: str) -> int:
        return self._numbers.setdefault((name, legend), len(self._numbers) + 1) if legend else 0

    def listed(self) -> list[tuple[str, list[tuple[int, str]]]]:
        """Returns each column's name and its legends with their numbers, by name."""
        by_name: dict[str, list[tuple[int, str]]] = {}
        for (name, legend), number in self._numbers.items():
            by_name.setdefault(name, []).append((number, legend))
        return sorted(by_name.items(), key=lambda item: item[0].lower())


def legend(table: str, column: str) -> str:
    """Returns what a column of a table holds, from `columns.json`; "" if it is not there.

    A table's own entry comes first, then that for all tables. Columns that are named by the data have the table's "*"
    or, in the paper's tables, "* reported" and "* here".
    """
    known = _known()
    own, every = known.get(table, {}), known["all tables"]
    return own.get(column) or every.get(column) or own.get("*") or every.get(f"* {column.rpartition(' ')[2]}", "")


@cache
def _known() -> dict[str, dict[str, str]]:
    text = (resources.files("symphony.report") / "columns.json").read_text("utf-8")
    known: dict[str, dict[str, str]] = json.loads(text)
    return known


def grid(table: Table, reference: str, legends: Legends) -> Grid:
    """Prepares a table.

    Rows of a single task are left out where the same rows stand under "all tasks". Columns after the first that have
    the same value in every row leave the grid, and so do columns of numbers that repeat another one.

    Args:
        reference: Title of the experiment whose rows are marked.
    """
    texts = shown(table)
    task = table.columns.index("task") if "task" in table.columns else None
    tasks = tuple(dict.fromkeys(row[task] for row in texts)) if task is not None else ()
    if len(tasks) == 2 and ALL in tasks:
        table = replace(table, rows=tuple(row for row in table.rows if row[task or 0] == ALL))
        texts, tasks = [row for row in texts if row[task or 0] == ALL], (ALL,)
    numeric, cells = numeric_columns(table), list(zip(*table.rows, strict=True))
    several = range(1, len(table.columns)) if len(texts) > 1 else range(0)
    same = [i for i in several if len({row[i] for row in texts}) == 1]
    equal = {i: cells.index(cells[i]) for i in several if numeric[i] and i not in same and cells.index(cells[i]) < i}
    kept = [i for i in range(len(table.columns)) if i not in same and i not in equal]
    part = kept.index(task) if task in kept and len(tasks) > 1 and ALL in tasks and task is not None else None
    columns = tuple(
        Column(
            name=table.columns[i],
            legend=(words := legend(table.name, table.columns[i])),
            number=legends.number(table.columns[i], words),
            numeric=numeric[i],
            wide=not numeric[i] and any(len(row[i]) > _WIDE for row in texts),
        )
        for i in kept
    )
    return Grid(
        table=table,
        columns=columns,
        rows=tuple(
            ([row[i] for i in kept], row[task] if task is not None else "", row[0] == reference) for row in texts
        ),
        part=part,
        parts=_all_first(tasks) if part is not None else (),
        constant=tuple((table.columns[i], texts[0][i]) for i in same),
        equal=tuple((table.columns[i], table.columns[first]) for i, first in equal.items()),
    )


def _all_first(tasks: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted(tasks, key=lambda task: task != ALL))
