"""Loads run folders into one fresh DuckDB file and checks them. The record dataclasses define the schema."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args, get_origin

from symphony.files import check_own, discard
from symphony.records.configs import CONFIGS, SETTINGS, load_configs
from symphony.records.manifest import Part, check_contents, check_lines, damaged, other_version
from symphony.records.records import (
    FILES,
    TABLES,
    check_keys,
    field_types,
    read_manifest,
)
from symphony.types import SymphonyError

_SQL_TYPES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", bool: "BOOLEAN"}
_INTEGERS = ("UBIGINT", "BIGINT")
_JSON_TYPES: dict[Any, tuple[str, ...]] = {
    str: ("VARCHAR",),
    int: _INTEGERS,
    float: ("DOUBLE", *_INTEGERS),
    bool: ("BOOLEAN",),
}

# One config for each experiment, task and seed.
_VERSIONS = """SELECT 'experiment ' || experiment || ', task ' || task || ', seed ' || seed,
          'found the runs ' || string_agg(run, ', ' ORDER BY run) || ', allowed: one run'
   FROM runs GROUP BY study, experiment, task, seed HAVING count(*) > 1"""
# Each row of a query names a run and its fault; a check holds if its query gives no row.
_CHECKS = (
    # One row per key.
    """SELECT 'run ' || run, 'found ' || count(*) || ' rows in runs, allowed: 1'
       FROM runs GROUP BY run HAVING count(*) > 1""",
    _VERSIONS,
    """SELECT 'run ' || run || ', problem ' || problem, 'found ' || count(*) || ' rows in problems, allowed: 1'
       FROM problems GROUP BY run, problem HAVING count(*) > 1""",
    """SELECT 'run ' || run || ', problem ' || problem,
              'found node ' || node || ' ' || count(*) || ' times, allowed: once'
       FROM nodes GROUP BY run, problem, node HAVING count(*) > 1""",
    """SELECT 'run ' || run || ', problem ' || problem,
              'found call ' || call || ' ' || count(*) || ' times, allowed: once'
       FROM calls GROUP BY run, problem, call HAVING count(*) > 1""",
    """SELECT 'run ' || run || ', problem ' || problem, 'found timing ' || call || ' without its call, or twice'
       FROM timings GROUP BY run, problem, call
       HAVING count(*) > 1 OR NOT bool_or((run, problem, call) IN (SELECT (run, problem, call) FROM calls))""",
    """SELECT 'run ' || run, 'found its wall.json, but no run' FROM walls WHERE run NOT IN (SELECT run FROM runs)""",
    # The answers under smaller limits begin before any call and end with the graded one.
    """WITH ends AS (
           SELECT run, problem, min(calls) AS first, count(*) - count(DISTINCT calls) AS twice,
                  arg_max({'node': node, 'success': success}, calls) AS last
           FROM answers GROUP BY run, problem
       )
       SELECT 'run ' || e.run || ', problem ' || e.problem,
              'found answers that do not lead from 0 calls to node ' || coalesce(p.answer_node::VARCHAR, 'none')
       FROM ends e LEFT JOIN problems p USING (run, problem)
       WHERE p.run IS NULL OR first <> 0 OR twice <> 0 OR last.node <> p.answer_node OR last.success <> p.success""",
    # Every problem of a run is present.
    """SELECT 'run ' || r.run, 'found ' || count(p.problem) || ' problems, runs.jsonl says ' || any_value(r.problems)
       FROM runs r LEFT JOIN problems p USING (run) GROUP BY r.run HAVING count(p.problem) <> any_value(r.problems)""",
    # The call ledger and the tree add up to the totals.
    """WITH ledger AS (
           SELECT run, problem, count(*) AS calls, sum(prompt_tokens) AS prompt_tokens,
                  sum(completion_tokens) AS completion_tokens, count(error) AS errors
           FROM calls GROUP BY run, problem
       ), tree AS (
           SELECT run, problem, count(*) FILTER (origin = 'expand') AS nodes_tree,
                  count(*) FILTER (origin = 'simulate') AS nodes_simulated
           FROM nodes GROUP BY run, problem
       ), compared AS (
           SELECT coalesce(p.run, l.run, t.run) AS run, coalesce(p.problem, l.problem, t.problem) AS problem,
                  [('calls', p.calls, coalesce(l.calls, 0)),
                   ('prompt_tokens', p.prompt_tokens, coalesce(l.prompt_tokens, 0)),
                   ('completion_tokens', p.completion_tokens, coalesce(l.completion_tokens, 0)),
                   ('errors', p.errors, coalesce(l.errors, 0)),
                   ('nodes_tree', p.nodes_tree, coalesce(t.nodes_tree, 0)),
                   ('nodes_simulated', p.nodes_simulated, coalesce(t.nodes_simulated, 0))] AS sums
           FROM problems p
           FULL JOIN ledger l ON p.run = l.run AND p.problem = l.problem
           FULL JOIN tree t ON coalesce(p.run, l.run) = t.run AND coalesce(p.problem, l.problem) = t.problem
       ), flat AS (SELECT run, problem, unnest(sums) AS s FROM compared)
       SELECT 'run ' || run || ', problem ' || problem,
              s[1] || ': found ' || coalesce(s[2]::VARCHAR, 'no problem') || ' in the total and '
                  || s[3] || ' in the ledger'
       FROM flat WHERE s[2] IS DISTINCT FROM s[3]""",
    """WITH ledger AS (
           SELECT run, problem, CASE WHEN count(*) = count(cost) THEN sum(cost) END AS cost FROM calls GROUP BY ALL
       ), compared AS (
           SELECT run, problem, p.cost AS told, CASE WHEN p.calls = 0 THEN 0 ELSE l.cost END AS added
           FROM problems p LEFT JOIN ledger l USING (run, problem)
       )
       SELECT 'run ' || run || ', problem ' || problem,
              'cost: found ' || coalesce(told::VARCHAR, 'unknown') || ' in the total and '
                  || coalesce(added::VARCHAR, 'unknown') || ' in the ledger'
       FROM compared WHERE (told IS NULL) <> (added IS NULL) OR abs(told - added) > 1e-9 * (1 + abs(added))""",
)


def load(db_path: str | Path, run_folders: Sequence[str | Path], *, versions: bool = False) -> None:
    """Builds the database from scratch. The file appears only after everything was read and checked.

    Args:
        db_path: The file to write; replaced if it exists and was made here.
        run_folders: Folders made by `symphony.records.recorder`.
        versions: Whether an experiment may be there with several configs, e.g. from before a change and after it.

    Raises:
        SymphonyError: Another file is at `db_path`; a file is missing, malformed (names file and key) or changed
            since it was written; a key is missing, misspelt or unknown; a value has the wrong type; a row occurs twice;
            or the call ledger does not add up to a problem's totals.
    """
    import duckdb

    folders = [Path(folder) for folder in run_folders]
    if not folders:
        raise SymphonyError(f"{db_path}: found no run folders to load, allowed: at least one")
    twice = [folder for folder, count in Counter(folders).items() if count > 1]
    if twice:
        raise SymphonyError(f"{twice[0]}: found more than once, allowed: each run folder once")
    manifests = {folder: read_manifest(folder) for folder in folders}
    target = Path(db_path)
    check_own(target, lambda head: head[8:12] == b"DUCK" and _made_here(target))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with duckdb.connect(str(temporary)) as connection:
            for table, record in TABLES.items():
                _load_table(connection, table, record, manifests)
            load_configs(connection, folders)
            for check in _CHECKS:
                if not (versions and check is _VERSIONS):
                    _hold(connection, check, target)
            connection.execute("CHECKPOINT")  # closing would do it too, but hides an error, e.g. a full disk
        for folder, parts in manifests.items():
            for name, part in parts.items():
                check_contents(folder / name, part)
        os.replace(temporary, target)
    except (OSError, duckdb.Error) as error:
        reason = str(error).splitlines()[0]
        if isinstance(error, duckdb.Error) and "Could not write" not in reason and "IO Error" not in reason:
            raise SymphonyError(f"{target}: the database could not be built ({reason})") from error
        raise SymphonyError(f"{target}: cannot be written ({reason}), allowed: a folder that can be written") from error
    finally:
        discard(temporary)
        discard(temporary.with_name(temporary.name + ".wal"))


def _made_here(path: Path) -> bool:
    """Whether a DuckDB file holds only this module's tables.

    Raises:
        SymphonyError: It cannot be opened: another program writes to it, or it is damaged.
    """
    import duckdb

    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            tables = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    except duckdb.Error as error:
        reason = str(error).splitlines()[0].partition(". See also")[0]
        if "Could not set lock" in reason:
            raise SymphonyError(
                f"{path}: found it open in another program ({reason}), allowed: a database that no other program has "
                "open for writing; close it there and load again"
            ) from error
        raise SymphonyError(
            f"{path}: found a damaged database ({reason}), allowed: a new path, or what `symphony load` made; "
            "delete it and load again"
        ) from error
    return not tables or {"runs", "problems", "calls"} <= tables <= {*TABLES, CONFIGS, SETTINGS}


@contextmanager
def reading(db_path: str | Path) -> Iterator[Any]:
    """Opens a read-only connection to a database that `load` built.

    Raises:
        SymphonyError: The file is missing, cannot be read, or has other tables than `load` makes.
    """
    import duckdb

    if not Path(db_path).is_file():
        raise SymphonyError(f"{db_path}: found nothing, allowed: a database built by `symphony load`")
    # Attached to its own instance: connections that name the same file would share their functions and views.
    connection = duckdb.connect()
    try:
        quoted = str(db_path).replace("'", "''")
        connection.execute(f"ATTACH '{quoted}' AS loaded (READ_ONLY); USE loaded")
        _check_schema(db_path, connection)
        yield connection
    except duckdb.ProgrammingError:  # a mistake in a query, not in the file
        raise
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise SymphonyError(f"{db_path}: cannot be read ({reason}); rebuild it with `symphony load`") from error
    finally:
        connection.close()


def _check_schema(db_path: str | Path, connection: Any) -> None:
    """Rejects a database of another version or kind here, since it would fail at a query that names no file."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE database_name = 'loaded'"
    ).fetchall()
    present = {(table, column): kind for table, column, kind in rows}
    for table, record in TABLES.items():
        wanted = {column: kind.removesuffix(" NOT NULL") for column, kind in schema(record).items()}
        missing = [
            column if (table, column) not in present else f"{column} of type {kind}"
            for column, kind in wanted.items()
            if present.get((table, column)) != kind
        ]
        if missing:
            raise SymphonyError(
                f"{db_path}: {table}: found no {', '.join(missing)}, allowed: a database built by this version's "
                "`symphony load`"
            )


def schema(record: type[Any]) -> dict[str, str]:
    """Returns column -> DuckDB type of a record's table, in order; a column's NOT NULL is part of its type."""
    return {
        name: _sql_type(kind) + ("" if optional else " NOT NULL")
        for name, (kind, optional) in field_types(record).items()
    }


def _sql_type(kind: Any) -> str:
    if get_origin(kind) is list:
        return _sql_type(get_args(kind)[0]) + "[]"
    return _SQL_TYPES[kind]


def _load_table(connection: Any, table: str, record: type[Any], manifests: Mapping[Path, Mapping[str, Part]]) -> None:

    files = [str(folder / FILES[record]) for folder in manifests]
    for file in files:
        if not Path(file).is_file():
            raise damaged(Path(file), "nothing", "the records of a finished run")
    columns = schema(record)
    connection.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    lines = dict.fromkeys(files, 0)
    fitting: set[str] = set()
    for file, shape, count in _shapes(connection, files):
        if shape not in fitting:
            _check_shape(file, json.loads(shape), record)
            fitting.add(shape)
        lines[file] += count
    for file, line_count in lines.items():
        check_lines(Path(file), line_count, manifests[Path(file).parent][FILES[record]])
    plain = {name: kind.removesuffix(" NOT NULL") for name, kind in columns.items()}
    connection.execute(
        f"INSERT INTO {table} SELECT {', '.join(plain)} "
        "FROM read_json($files, format = 'newline_delimited', columns = $columns)",
        {"files": files, "columns": plain},
    )


def _shapes(connection: Any, files: Sequence[str]) -> list[tuple[str, str, int]]:
    """Returns the shapes of each file's lines, and how many lines have each."""
    import duckdb

    query = """SELECT filename, json_structure(json)::VARCHAR, count(*)
               FROM read_ndjson_objects($files, filename = true) GROUP BY ALL ORDER BY ALL"""
    try:
        shapes: list[tuple[str, str, int]] = connection.execute(query, {"files": list(files)}).fetchall()
    except duckdb.Error as error:
        if len(files) > 1:  # one by one, so that the error names the file
            return [shape for file in files for shape in _shapes(connection, [file])]
        finding = f"a line that is not JSON ({str(error).splitlines()[0]})"
        raise damaged(Path(files[0]), finding, "a JSON object a line") from error
    return shapes


def _check_shape(file: str, shape: Any, record: type[Any]) -> None:
    """Compares the shape of a file's lines with the dataclass, since `read_json` alone would turn a slip into NULL."""
    if not isinstance(shape, dict):
        raise SymphonyError(f"{file}: found a line that is a {shape}, allowed: a JSON object")
    kinds = field_types(record)
    advice = f"; {other_version(Path(file).parent)}"
    check_keys(file, shape, kinds, advice)
    for key, (kind, optional) in kinds.items():
        if not _fits(shape[key], kind, optional):
            allowed = _sql_type(kind) + (" or null" if optional else "")
            raise SymphonyError(f"{file}: {key}: found {json.dumps(shape[key])}, allowed: {allowed}{advice}")


def _fits(seen: Any, kind: Any, optional: bool) -> bool:
    if seen == "NULL":
        return optional
    if get_origin(kind) is list:
        return isinstance(seen, list) and (seen == ["NULL"] or _fits(seen[0], get_args(kind)[0], False))
    return isinstance(seen, str) and seen in _JSON_TYPES[kind]


def _hold(connection: Any, check: str, target: Path) -> None:
    broken = connection.execute(check).fetchall()
    if broken:
        where, what = min(broken)
        more = f" (and {len(broken) - 1} more like it)" if len(broken) > 1 else ""
        raise SymphonyError(f"{target}: {where}: {what}{more}")
