"""Reads what the pages show from a loaded database: the searches of a run, and the list of all problems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

_PROBLEM = (resources.files("symphony.report.viewer") / "problem.sql").read_text(encoding="utf-8")
_AT_ONCE = 30_000  # nodes; 100 MB
_RUNS = """
SELECT run, study, experiment, task, feedback, search, scheduler, scorer, memory, preset, pool, agents, models, seed,
       call_limit, token_limit, commit, hardware
FROM runs ORDER BY experiment, task, seed
"""
_INDEX = """
SELECT run, problem, kind, success, score, stop_reason, nodes_tree + nodes_simulated AS nodes, calls,
       prompt_tokens + completion_tokens AS tokens, cost
FROM problems ORDER BY run, "index"
"""


@dataclass(frozen=True, slots=True)
class Searched:
    """A problem of a run.

    Attributes:
        run, problem: Digest of the run, and the problem's id.
        text: The JSON object that `problem.sql` describes.
    """

    run: str
    problem: str
    text: str


def read_runs(connection: Any) -> list[dict[str, Any]]:
    """Returns what identifies each run: study, experiment, task, seed, commit, settings."""
    return _rows(connection, _RUNS)


def read_index(connection: Any) -> list[dict[str, Any]]:
    """Returns one row per problem: its outcome and its size."""
    return _rows(connection, _INDEX)


def read_searches(connection: Any, runs: Sequence[str]) -> Iterator[Searched]:
    """Yields the problems of some runs, sorted by run, and of each run in their order.

    One query reads as many runs as have `_AT_ONCE` nodes together: a query costs the same for one run as for several,
    and its answer is in memory as a whole.
    """
    sizes = dict(connection.execute("SELECT run, count(*) FROM nodes GROUP BY run").fetchall())
    some: list[str] = []
    for run in sorted(runs):
        if some and sum(sizes.get(name, 0) for name in (*some, run)) > _AT_ONCE:
            yield from _read_some(connection, some)
            some = []
        some.append(run)
    yield from _read_some(connection, some)


def _read_some(connection: Any, runs: list[str]) -> Iterator[Searched]:
    result = connection.execute(_PROBLEM, {"runs": runs})
    while (row := result.fetchone()) is not None:
        yield Searched(*row)


def _rows(connection: Any, query: str) -> list[dict[str, Any]]:
    result = connection.execute(query)
    names = [column[0] for column in result.description]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
