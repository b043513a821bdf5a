"""The resolved config of each run as tables, so that queries can group by any key.

`configs` has a run's whole config as JSON. `settings` has one row per run and one column for each key whose value
differs between runs, by its full name: `SELECT "scheduler.alpha", ... FROM settings JOIN problems USING (run)`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from symphony.files import kind_of
from symphony.records.manifest import damaged
from symphony.records.records import CONFIG

CONFIGS, SETTINGS = "configs", "settings"
MOST_COLUMNS = 1000
"""Keys that may vary; of more, the first by name have columns (`configs` has all)."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_configs(connection: Any, folders: Sequence[Path]) -> None:
    """Makes both tables in a database from the run folders' config files.

    Raises:
        SymphonyError: A config is missing or not a mapping.
    """
    configs = {folder.name: read_config(folder) for folder in folders}
    connection.execute(f"CREATE TABLE {CONFIGS} (run VARCHAR NOT NULL, config JSON NOT NULL)")
    texts = [json.dumps(config, ensure_ascii=False) for config in configs.values()]
    _insert(connection, CONFIGS, [list(configs), texts])
    by_run = {run: dict(flat(config)) for run, config in configs.items()}
    keys = sorted({key for settings in by_run.values() for key in settings} - {"run"})
    varying = [key for key in keys if len({settings.get(key) for settings in by_run.values()}) > 1][:MOST_COLUMNS]
    columns = "".join(f", {_quoted(key)} VARCHAR" for key in varying)
    connection.execute(f"CREATE TABLE {SETTINGS} (run VARCHAR NOT NULL{columns})")
    _insert(
        connection, SETTINGS, [list(by_run), *([settings.get(key) for settings in by_run.values()] for key in varying)]
    )


def _insert(connection: Any, table: str, columns: Sequence[Sequence[str | None]]) -> None:
    """Inserts whole columns, since thousands of single rows would take minutes."""
    numbered = {f"column{number}": list(column) for number, column in enumerate(columns)}
    connection.execute(f"INSERT INTO {table} SELECT {', '.join(f'unnest(${name})' for name in numbered)}", numbered)


def read_config(folder: Path) -> Mapping[str, Any]:
    """Reads the resolved config in a run's folder.

    Raises:
        SymphonyError: It is missing or not a mapping.
    """
    path = folder / CONFIG
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise damaged(path, str(error).splitlines()[0], "the run's config") from error
    if not isinstance(config, dict):
        raise damaged(path, kind_of(config), "the run's config, a mapping")
    return config


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Yields the keys of a config and their values as text; agents of a pool go by their names."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{prefix}{key}.")
    elif isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        for item in value:
            yield from flat(item, f"{prefix}{item['name']}.")
    else:
        text = value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
        yield prefix.removesuffix("."), text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
