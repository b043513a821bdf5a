"""The paper's tables in the paper's layout: its reported numbers beside those of the study, which are never mixed.

reported.json lists the tables: rows with the experiments that are their counterparts (the first that was run counts),
columns with a benchmark and a measure of the view `paper_cells`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

NOT_RUN = "not run"
HERE = " here"
"""Ends the name of a column with the study's own numbers; an empty cell in it was not run."""
_CAPTION = (
    "The paper's layout: its reported numbers, and beside them what this study measured on the same benchmark under "
    "oracle feedback, with 95 % intervals (in some studies a smaller form of it, such as webshop_sample, see "
    "docs/tasks.md). Rows are matched by the names of the experiments. The paper's baselines use "
    'GPT-4, those here the pool in "pool here", which need not be the one that a row names. "n here" counts problems '
    "times seeds, over the columns."
)


@cache
def reported() -> Mapping[str, Any]:
    """Returns the content of reported.json."""
    content: dict[str, Any] = json.loads((resources.files("symphony.report") / "reported.json").read_text("utf-8"))
    return content


def layouts() -> tuple[str, ...]:
    """Returns the names of the tables, in the paper's order."""
    return tuple(table["name"] for table in reported()["tables"])


def query(name: str) -> str:
    """Returns the SQL of one table with its head, as `symphony.report.tables` reads it.

    It gives no rows if the study played none of the paper's benchmarks.
    """
    (table,) = (table for table in reported()["tables"] if table["name"] == name)
    columns = table["columns"]
    benchmarks = ", ".join(sorted({_text(column["benchmark"]) for column in columns}))
    values = ",\n    ".join(
        f"({at}, {_text(row['label'])}, {[*map(str, row['experiments'])]}::VARCHAR[], "
        f"{', '.join('NULL::DOUBLE' if value is None else f'{value}::DOUBLE' for value in row['values'])})"
        for at, row in enumerate(table["rows"])
    )
    names = ", ".join(f"v{at}" for at in range(len(columns)))
    cells = ",\n       ".join(
        f'any_value(v{at}) AS "{column["name"]} reported", any_value({column["measure"]}) '
        f'FILTER (benchmark = {_text(column["benchmark"])}) AS "{column["name"]}{HERE}"'
        for at, column in enumerate(columns)
    )
    return f"""-- title: {table["title"]}: reported and here
-- mirrors: {table["mirrors"]}
-- caption: {" ".join((_CAPTION, table.get("note", ""))).strip()}
WITH reported(position, label, experiments, {names}) AS (VALUES
    {values}),
run AS (SELECT * FROM paper_cells WHERE benchmark IN ({benchmarks})),
chosen AS (
    SELECT r.*, (SELECT arg_min(experiment, list_position(r.experiments, experiment)) FROM run
                 WHERE list_contains(r.experiments, experiment)) AS experiment
    FROM reported r
)
SELECT label AS {table["first"]}, any_value(pool) AS "pool{HERE}", sum(n)::BIGINT AS "n{HERE}",
       {cells}
FROM chosen LEFT JOIN run USING (experiment)
WHERE (SELECT count(*) FROM paper_cells) > 0
GROUP BY position, label ORDER BY position
"""


def shown() -> dict[str, Any]:
    """Returns the reported numbers alone, as text: `citation` and `tables` with title, columns and rows."""
    return {
        "citation": reported()["citation"],
        "tables": [
            {
                "title": f"{table['title']} ({table['mirrors']})",
                "columns": [table["first"], *(column["name"] for column in table["columns"])],
                "rows": [[row["label"], *map(_number, row["values"])] for row in table["rows"]],
            }
            for table in reported()["tables"]
        ],
    }


def _number(value: float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.3f}".removeprefix("0").removesuffix("0") if value < 1 else f"{value:,.2f}".removesuffix(".00")


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
