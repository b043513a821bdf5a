"""Computes views that several tables read once a report, instead of once a mention."""

from __future__ import annotations

import re
from typing import Any

KEPT = (
    "traces", "success_cells", "paired_cells", "anytime_answers", "anytime_cells", "counterparts", "leads", "reached",
    "evaluations", "judgements", "paper_cells",
)  # fmt: skip
"""Views of `views.sql` that take long to compute, each after those that it reads."""


def keep_views(connection: Any, query: str) -> None:
    """Computes the views of `KEPT` that a query reads, itself or through other views, unless they were before.

    A query so finds the same rows in the same order, whatever ran before it.

    Args:
        connection: That of an open study.
        query: SQL, without a list of what it reads.
    """
    rows = connection.execute("SELECT view_name, sql FROM duckdb_views() WHERE temporary").fetchall()
    views = {name: sql.partition(" AS ")[2] for name, sql in rows}
    read, texts = set[str](), [query]
    while texts:
        words = set(re.findall(r"\w+", texts.pop())) & views.keys() - read
        read |= words
        texts += [views[name] for name in words]
    for name in KEPT:
        if name in read and f"kept_{name}" not in views[name]:
            connection.execute(f"CREATE TEMP TABLE kept_{name} AS FROM {name}")
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS FROM kept_{name}")
