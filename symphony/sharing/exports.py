"""`symphony export`: a study's records in the formats of other tools."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from symphony.files import check_own_folder, discard
from symphony.records.configs import CONFIGS, SETTINGS
from symphony.records.database import reading
from symphony.records.prompts import PROMPTS
from symphony.records.records import TABLES
from symphony.sharing import inspect_logs, treequest_trees
from symphony.types import SymphonyError

Export = Callable[[Path, Sequence[Path], Path, Callable[[str], None]], None]
"""Takes the database, the runs' folders, the folder to write, and a function that tells what was written."""

_PROMPTS = {"run": "VARCHAR", "problem": "VARCHAR", "prompt": "VARCHAR"}
_MESSAGES = "STRUCT(role VARCHAR, content VARCHAR)[]"


def export_parquet(database: Path, folders: Sequence[Path], out: Path, say: Callable[[str], None]) -> None:
    """Writes every table of the database as `<table>.parquet`, and the prompts that were kept as `prompts.parquet`.

    Rows and columns are those of docs/records.md, in the order of the database.
    """
    import duckdb

    tables = (*TABLES, CONFIGS, SETTINGS)
    kept = [str(folder / PROMPTS) for folder in folders if (folder / PROMPTS).is_file()]
    names = [f"{table}.parquet" for table in (*tables, "prompts")]
    check_own_folder(out, names)
    out.mkdir(parents=True, exist_ok=True)
    with reading(database) as connection:

        def write(name: str, query: str, parameters: Mapping[str, object]) -> None:
            temporary = out / f".{name}.{os.getpid()}.tmp"
            quoted = str(temporary).replace("'", "''")
            try:
                connection.execute(f"COPY ({query}) TO '{quoted}' (FORMAT parquet, COMPRESSION zstd)", parameters)
                os.replace(temporary, out / name)
            except (OSError, duckdb.Error) as error:
                reason = str(error).splitlines()[0]
                raise SymphonyError(f"{out}: found {reason}, allowed: a folder that can be written") from error
            finally:
                discard(temporary)

        for table in tables:
            write(f"{table}.parquet", f"FROM {table}", {})
        if kept:
            columns = {**_PROMPTS, "messages": _MESSAGES}
            query = "FROM read_json($files, format = 'newline_delimited', columns = $columns)"
            write("prompts.parquet", query, {"files": kept, "columns": columns})
        else:
            discard(out / "prompts.parquet")
    say(f"{out}: {len(list(out.glob('*.parquet')))} tables")


FORMATS: Mapping[str, Export] = {
    "parquet": export_parquet,
    "inspect": inspect_logs.export,
    "treequest": treequest_trees.export,
}
"""Name of a format -> what writes it."""
_NEEDS = {"inspect": ("inspect_ai", "inspect"), "treequest": ("treequest", "ab-mcts")}
"""Name of a format -> the module that writes it, and the extra of this project that brings it."""


def export(name: str, database: Path, folders: Sequence[Path], out: Path, say: Callable[[str], None]) -> None:
    """Writes the runs in a format, into a folder that is new, empty, or was written by an earlier export of them.

    Raises:
        SymphonyError: The format's library is not installed, other files are in the folder, or it cannot be written.
    """
    module, extra = _NEEDS.get(name, ("", ""))
    if module and find_spec(module) is None:
        raise SymphonyError(f"--format {name}: found no {module}, allowed: after pip install -e '.[{extra}]'")
    FORMATS[name](database, folders, out, say)
