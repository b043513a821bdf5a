"""Writes the trees of a large study in processes of their own, while this one makes the tables and figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from symphony.cores import usable_cores
from symphony.records.database import reading
from symphony.report.study import Study
from symphony.report.viewer.pages import begin_trees, write_runs
from symphony.types import SymphonyError

_LARGE = 50_000
"""Nodes for which a process is worth its start, about a second."""
_REFUSED, _FAILED = 3, 4
"""Exit statuses of a process that prints a `SymphonyError`, or the parts of an `OSError`."""


@contextmanager
def trees_beside(study: Study, database: Path, runs: Path, folder: Path) -> Iterator[None]:
    """Writes the trees while the block is carried out, or after it; they are there when it is left.

    Args:
        database: That of the study; the processes read it, too.
        runs, folder: As for `pages.write_trees`.

    Raises:
        SymphonyError: As for `pages.write_trees`.
    """
    identities = begin_trees(study, folder)
    sizes = dict(study.rows("SELECT run, count(*) FROM nodes GROUP BY run"))
    processes: list[subprocess.Popen[str]] = []
    try:
        for part in _parts(identities, sizes, usable_cores() - 1):
            processes.append(
                _start({"database": str(database), "runs": str(runs), "folder": str(folder), "part": part})
            )
        yield
        for process in processes:
            _finish(process)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.communicate()
    if not processes:
        write_runs(study.connection, identities, runs, folder)


def _parts(identities: Sequence[dict[str, Any]], sizes: dict[str, int], processes: int) -> list[list[dict[str, Any]]]:
    """Splits runs among at most so many processes, each with about as many nodes and none with few."""
    count = min(processes, sum(sizes.values()) // _LARGE, len(identities))
    parts: list[list[dict[str, Any]]] = [[] for _ in range(max(0, count))]
    loads = [0] * len(parts)
    for identity in sorted(identities, key=lambda identity: -sizes.get(identity["run"], 0)) if parts else ():
        least = loads.index(min(loads))
        parts[least].append(identity)
        loads[least] += sizes.get(identity["run"], 0)
    return parts


def _start(order: dict[str, Any]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", f"import sys, {__name__} as beside; sys.exit(beside.carry_out())"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin:  # one that has ended already says why in `_finish`
        json.dump(order, process.stdin)
    process.stdin = None
    return process


def _finish(process: subprocess.Popen[str]) -> None:
    said, trouble = process.communicate()
    if process.returncode == _REFUSED:
        raise SymphonyError(said.strip())
    if process.returncode == _FAILED:
        raise OSError(*json.loads(said))
    if process.returncode:
        raise RuntimeError(f"a process that writes trees ended with status {process.returncode}: {trouble.strip()}")


def carry_out() -> int:
    """Writes the part named on the standard input; else prints why not and returns `_REFUSED` or `_FAILED`."""
    order = json.load(sys.stdin)
    try:
        with reading(order["database"]) as connection:
            connection.execute("SET threads = 1")  # one for each process
            write_runs(connection, order["part"], Path(order["runs"]), Path(order["folder"]))
    except SymphonyError as error:
        print(error)
        return _REFUSED
    except OSError as error:
        print(json.dumps([error.errno, error.strerror, error.filename]))
        return _FAILED
    return 0
