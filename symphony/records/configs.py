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
    configs = {folder.name: _read(folder / CONFIG) for folder in folders}
    connection.execute(f"CREATE TABLE {CONFIGS} (run VARCHAR NOT NULL, config JSON NOT NULL)")
    rows = [(run, json.dumps(config, ensure_ascii=False)) for run, config in configs.items()]
    connection.executemany(f"INSERT INTO {CONFIGS} VALUES (?, ?)", rows)
    flat = {run: dict(flat_config(config)) for run, config in configs.items()}
    keys = sorted({key for settings in flat.values() for key in settings} - {"run"})
    varying = [key for key in keys if len({settings.get(key) for settings in flat.values()}) > 1][:MOST_COLUMNS]
    columns = "".join(f", {_quoted(key)} VARCHAR" for key in varying)
    connection.execute(f"CREATE TABLE {SETTINGS} (run VARCHAR NOT NULL{columns})")
    places = ", ".join("?" * (1 + len(varying)))
    values = [(run, *(settings.get(key) for key in varying)) for run, settings in flat.items()]
    connection.executemany(f"INSERT INTO {SETTINGS} VALUES ({places})", values)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise damaged(path, str(error).splitlines()[0], "the run's config") from error
    if not isinstance(config, dict):
        raise damaged(path, type(config).__name__, "the run's config, a mapping")
    return config


def flat_config(value: Any, prefix: str = "") -> Iterator[tuple[str, str | None]]:
    """Yields the keys of a config and their values as text; agents of a pool go by their names."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat_config(inner, f"{prefix}{key}.")
    elif isinstance(value, list) and value and all(isinstance(item, dict) and "name" in item for item in value):
        for item in value:
            yield from flat_config(item, f"{prefix}{item['name']}.")
    else:
        text = value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
        yield prefix.removesuffix("."), text


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
