"""Turns queries into tables: CSV for programs, Markdown for reading, LaTeX (booktabs) for papers.

A table is one file `queries/<name>.sql`. Its first comment lines may set, as `-- key: value`: its title, the paper's
table that it mirrors, its caption, its optional columns (left out if every cell is 0 or empty), the column of p values
to correct for the number of rows (by Holm, in a column beside it), the column of estimates that decide a verdict (in a
column at the end), the column by which it is split into several tables for readers, and the columns that a LaTeX table
has room for ("paper", separated by commas; all if it is missing). Rows keep the query's order. A column of type
STRUCT(value, low, high) is an estimate with its interval.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from symphony.files import check_own
from symphony.report.cells import DASH, MINUS, Cell, as_text, short, size
from symphony.report.kept import keep_views
from symphony.report.stats import Estimate, holm, verdict
from symphony.report.study import Study, open_study, query_names, query_text
from symphony.types import SymphonyError

TABLES = query_names()
"""Every table; a new file in `queries/` adds a table here, on the page and in the command line."""

_OWN_COLUMNS = ("feedback", "commit")
_MARKDOWN = "<!-- made by `symphony table` -->"
_LATEX = "% made by `symphony table`; needs \\usepackage{booktabs}"
"""First line of its LaTeX files; only files with it are replaced. A CSV file is recognised by its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with the conditions under which its rows were made.

    Attributes:
        mirrors: The corresponding table or figure of the paper.
        feedback: Feedback modes of the study. commit: Commits of the study.
        warnings: Problems with comparing the rows; shown prominently.
        split: Column by which it is split into several tables for readers; "" if it is not split.
        paper: Columns of its LaTeX form; all if empty.
    """

    name: str
    title: str
    mirrors: str
    caption: str
    feedback: str
    commit: str
    warnings: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    split: str = ""
    paper: tuple[str, ...] = ()

    def records(self) -> list[dict[str, Cell]]:
        """Returns the rows as column -> cell."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def parts(self) -> list[Table]:
        """Returns the tables for readers: one per value of the column `split`, in the order of the rows."""
        if not self.split or not self.rows:
            return [self]
        at = self.columns.index(self.split)
        return [
            replace(
                self,
                name=f"{self.name}-{value}".replace(" ", "-"),
                title=f"{self.title}: {value}",
                columns=(*self.columns[:at], *self.columns[at + 1 :]),
                rows=tuple((*row[:at], *row[at + 1 :]) for row in self.rows if row[at] == value),
            )
            for value in dict.fromkeys(row[at] for row in self.rows)
        ]

    @property
    def conditions(self) -> str:
        return f"Feedback: {self.feedback}. Commit: {short(self.commit)}. In the paper: {self.mirrors}."


def heading(name: str) -> dict[str, str]:
    """Returns the settings of a table's file by key; missing ones get defaults."""
    return _head(name, query_text(name))


def read_table(study: Study, name: str) -> Table:
    """Runs one query.

    Raises:
        SymphonyError: There is no such table, or its query cannot be run.
    """
    if name not in TABLES:
        raise SymphonyError(f"table: found {name}, allowed: {', '.join(TABLES)}")
    text = query_text(name)
    head = _head(name, text)
    columns, rows = _rows(study, name, text)
    for key in ("corrected", "split", "verdict"):
        if head[key] and head[key] not in columns:
            raise SymphonyError(f"queries/{name}.sql: {key}: found {head[key]!r}, allowed: {', '.join(columns)}")
    if head["corrected"]:
        columns, rows = _corrected(columns, rows, head["corrected"])
    if head["verdict"]:
        records = [dict(zip(columns, row, strict=True)) for row in rows]
        verdicts = [_verdict(record, head["verdict"]) for record in records]
        columns, rows = (*columns, "verdict"), [(*row, verdict) for row, verdict in zip(rows, verdicts, strict=True)]
    paper = tuple(filter(None, head["paper"].split(", ")))
    if unknown := [column for column in paper if column not in columns]:
        raise SymphonyError(f"queries/{name}.sql: paper: found {unknown[0]!r}, allowed: {', '.join(columns)}")
    optional = head["optional"].split(", ")
    kept = [i for i, name in enumerate(columns) if name not in optional or any(row[i] not in (0, None) for row in rows)]
    return Table(
        name=name,
        title=head["title"],
        mirrors=head["mirrors"],
        caption=head["caption"],
        feedback=study.provenance.feedback,
        commit=study.provenance.commit,
        warnings=study.provenance.warnings,
        columns=tuple(columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in rows),
        split=head["split"],
        paper=paper,
    )


def _rows(study: Study, name: str, text: str) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
    """Returns the columns and rows of a query."""
    import duckdb

    try:
        keep_views(study.connection, text)
        result = study.connection.execute(text)
        if result is None:
            raise SymphonyError(f"queries/{name}.sql: found no query, allowed: one SELECT")
        columns = tuple(column[0] for column in result.description)
        rows = [tuple(map(_cell, row)) for row in result.fetchall()]
    except (duckdb.ProgrammingError, duckdb.DataError, duckdb.NotSupportedError) as error:  # others: a bad database
        raise SymphonyError(f"queries/{name}.sql: cannot be run ({str(error).splitlines()[0]})") from error
    except (TypeError, ValueError) as error:
        allowed = "texts, numbers and STRUCT(value, low, high)"
        raise SymphonyError(
            f"queries/{name}.sql: found a cell that a table cannot show ({error}), allowed: {allowed}"
        ) from error
    return columns, rows


def _corrected(
    columns: tuple[str, ...], rows: list[tuple[Cell, ...]], named: str
) -> tuple[tuple[str, ...], list[tuple[Cell, ...]]]:
    """Adds a column "Holm p" to the right of the corrected one; the tests of all rows are one family."""
    at = columns.index(named)
    ps = holm([float(p) if isinstance(p := row[at], (int, float)) else None for row in rows])
    return (
        (*columns[: at + 1], "Holm p", *columns[at + 1 :]),
        [(*row[: at + 1], p, *row[at + 1 :]) for row, p in zip(rows, ps, strict=True)],
    )


def _verdict(row: Mapping[str, Cell], decided: str) -> str:
    gain, p, least, within = (row.get(name) for name in (decided, "Holm p", "least", "within"))
    numbers = [float(number) if isinstance(number, (int, float)) else None for number in (p, least, within)]
    return verdict(gain, numbers[0], numbers[1] or 0.0, numbers[2]) if isinstance(gain, Estimate) else "not run"


def read_view(study: Study, name: str) -> list[dict[str, Cell]]:
    """Returns the rows of a view of `views.sql` as column -> cell, for a figure whose data no table shows."""
    keep_views(study.connection, name)
    result = study.connection.execute(f"FROM {name}")
    columns = [column[0] for column in result.description]
    return [dict(zip(columns, map(_cell, row), strict=True)) for row in result.fetchall()]


def write_table(table: Table, out_dir: str | Path) -> tuple[Path, Path, Path]:
    """Writes `<name>.csv`, `<name>.md` and `<name>.tex` into `out_dir` and returns their paths.

    Raises:
        SymphonyError: One of the files exists and was not written by this command.
    """
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    csv_path, markdown, latex = (folder / f"{table.name}.{suffix}" for suffix in ("csv", "md", "tex"))
    check_own(csv_path, lambda head: {*_OWN_COLUMNS} <= {*head.partition(b"\n")[0].decode(errors="replace").split(",")})
    check_own(markdown, lambda head: head.startswith(_MARKDOWN.encode()))
    check_own(latex, lambda head: head.startswith(_LATEX.encode()))
    csv_path.write_text(as_csv(table), encoding="utf-8")
    markdown.write_text(f"{_MARKDOWN}\n\n{as_markdown(table)}", encoding="utf-8")
    latex.write_text(as_latex(table), encoding="utf-8")
    return csv_path, markdown, latex


def table(
    db_path: str | Path,
    name: str,
    out_dir: str | Path,
    plan_json: str | Path | None = None,
    quantised: Sequence[str | Path] = (),
) -> tuple[Path, Path, Path]:
    """Writes one table of a loaded database as CSV, Markdown and LaTeX.

    Raises:
        SymphonyError: There is no such table, or a file is missing or malformed.
    """
    with open_study(db_path, plan_json, quantised) as study:
        return write_table(read_table(study, name), out_dir)


def as_csv(table: Table) -> str:
    """Returns the table as CSV: numbers in full, three columns per estimate, feedback and commit in every row."""
    own = [name for name in _OWN_COLUMNS if name not in table.columns]
    wide = {name for i, name in enumerate(table.columns) if any(isinstance(row[i], Estimate) for row in table.rows)}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header: list[str] = []
    for name in table.columns:
        header += [name, f"{name} low", f"{name} high"] if name in wide else [name]
    writer.writerow([*header, *own])
    for row in table.rows:
        line: list[Any] = []
        for name, value in zip(table.columns, row, strict=True):
            cells = (value.value, value.low, value.high) if isinstance(value, Estimate) else (value,)
            line += [_plain(cell) for cell in cells] + [""] * (2 * (name in wide) + 1 - len(cells))
        writer.writerow([*line, *({"feedback": table.feedback, "commit": table.commit}[name] for name in own)])
    return out.getvalue()


def _plain(cell: Cell) -> Any:
    """Returns a cell for programs: empty for None, and no negative zero."""
    return "" if cell is None else cell + 0.0 if isinstance(cell, float) else cell


def as_markdown(table: Table) -> str:
    """Returns one pipe table per part, with the warnings above, and the caption and conditions below."""
    return _render("table.md.j2", table)


def as_latex(table: Table) -> str:
    """Returns one booktabs table environment per part, with the columns for papers; no other package is needed."""
    kept = [at for at, name in enumerate(table.columns) if not table.paper or name in (*table.paper, table.split)]
    rows = tuple(tuple(row[at] for at in kept) for row in table.rows)
    return _render("table.tex.j2", replace(table, columns=tuple(table.columns[at] for at in kept), rows=rows))


def _render(template: str, table: Table) -> str:
    return _templates().get_template(template).render(table=table, parts=table.parts(), begin=_LATEX)


@cache
def _templates() -> Any:
    """Returns the template environment for Markdown and LaTeX; its delimiters occur in neither."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("symphony.report", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters |= {
        "pipes": _pipes,
        "tex": _tex,
        "shown": shown,
        "numeric": numeric_columns,
        "alignments": _alignments,
    }
    return environment


def numeric_columns(table: Table) -> tuple[bool, ...]:
    """Returns which columns hold numbers (and are right-aligned)."""
    return tuple(
        all(isinstance(row[i], (int, float, Estimate, type(None))) for row in table.rows)
        for i in range(len(table.columns))
    )


def _alignments(table: Table) -> list[str]:
    """Returns the columns' alignments in Markdown syntax."""
    return ["---:" if number else "---" for number in numeric_columns(table)]


def shown(table: Table) -> list[list[str]]:
    """Returns the cells for readers: digits in a column as its largest number needs, a dash for None."""
    sizes = [max((size(row[i]) for row in table.rows), default=0.0) for i in range(len(table.columns))]
    return [[as_text(*cell) for cell in zip(table.columns, row, sizes, strict=True)] for row in table.rows]


def _cell(value: Any) -> Cell:
    if isinstance(value, dict):
        return Estimate(**value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    return float(value)


def _head(name: str, text: str) -> dict[str, str]:
    """Returns the `-- key: value` lines at a query's beginning, with defaults for missing ones."""
    head = {
        "title": name.replace("_", " ").capitalize(),
        "mirrors": "no counterpart",
        "caption": "",
        "optional": "",
        "corrected": "",
        "verdict": "",
        "split": "",
        "paper": "",
    }
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        key, _, value = line.removeprefix("--").strip().partition(":")
        if key in head and value.strip():
            head[key] = value.strip()
    return head


def _pipes(cells: Any) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


_TEX = {
    "\\": "\\textbackslash{}",
    "&": "\\&",
    "%": "\\%",
    "$": "\\$",
    "#": "\\#",
    "_": "\\_",
    "{": "\\{",
    "}": "\\}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "<": "\\textless{}",
    ">": "\\textgreater{}",
    "|": "\\textbar{}",
    "→": "$\\to$",
    MINUS: "$-$",
    DASH: "--",
}


def _tex(text: str) -> str:
    quoted = re.sub(r'"([^"]*)"', r"``\1''", text)
    return "".join(_TEX.get(character, character) for character in quoted)
