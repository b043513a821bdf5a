"""One table from several databases, such as those of a study on several machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from symphony.report.study import open_study
from symphony.report.tables import Table, read_table, write_table


def write_joined(
    databases: Sequence[Path],
    name: str,
    out_dir: Path,
    plan_json: Path | None = None,
    quantised: Sequence[Path] = (),
) -> tuple[Path, Path, Path]:
    """Writes one table with the rows of each database as CSV, Markdown and LaTeX.

    Raises:
        SymphonyError: There is no such table, or a file is missing or malformed.
    """
    tables = []
    for database in databases:
        with open_study(database, plan_json, quantised) as study:
            tables.append(read_table(study, name))
    return write_table(joined(tables), out_dir)


def joined(tables: Sequence[Table]) -> Table:
    """Returns one table with the rows of all; a column that a table left out is empty in its rows.

    Each row keeps its own estimates: nothing is computed over several databases. Corrected p are those of each.
    """
    columns = tuple(dict.fromkeys(name for table in tables for name in table.columns))
    rows = [tuple(record.get(name) for name in columns) for table in tables for record in table.records()]
    return replace(
        tables[0],
        columns=columns,
        rows=tuple(rows),
        feedback=_each(table.feedback for table in tables),
        commit=_each(table.commit for table in tables),
        warnings=tuple(dict.fromkeys(warning for table in tables for warning in table.warnings)),
    )


def _each(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(part for value in values for part in value.split(", ")))
