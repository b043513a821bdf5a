"""Each run's whole config is in the database, as JSON and with one column for each key that varies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from symphony.records.configs import load_configs
from symphony.types import SymphonyError


def folders(tmp_path: Path, *configs: str) -> list[Path]:
    made = [tmp_path / f"run{number}" for number in range(len(configs))]
    for folder, text in zip(made, configs, strict=True):
        folder.mkdir()
        (folder / "config.yaml").write_text(text)
    return made


@pytest.fixture
def query(tmp_path: Path) -> Callable[..., list[Any]]:
    def asked(sql: str, *configs: str) -> list[Any]:
        connection = duckdb.connect()
        load_configs(connection, folders(tmp_path, *configs))
        return connection.execute(sql).fetchall()

    return asked


def test_a_key_that_varies_is_a_column_and_one_that_does_not_is_none(query: Callable[..., list[Any]]) -> None:
    sql = "SELECT column_name FROM duckdb_columns() WHERE table_name = 'settings' ORDER BY column_index"
    assert query(sql, "a: 1\nb: {c: 2, d: x}\n", "a: 1\nb: {c: 3, d: x}\n") == [("run",), ("b.c",)]


def test_an_agents_keys_go_by_its_name(query: Callable[..., list[Any]]) -> None:
    one, two = (f"pool: {{agents: [{{name: {name}, skill: [0.5]}}]}}\n" for name in ("a", "b"))
    sql = 'SELECT "pool.agents.a.skill", "pool.agents.b.skill" FROM settings ORDER BY run'
    assert query(sql, one, two) == [("[0.5]", None), (None, "[0.5]")]


def test_the_whole_config_is_json(query: Callable[..., list[Any]]) -> None:
    ((text,),) = query("SELECT config FROM configs", "a: [1, {b: null}]\nword: é\n")
    assert json.loads(text) == {"a": [1, {"b": None}], "word": "é"}


def test_a_key_with_quotation_marks_is_a_column(query: Callable[..., list[Any]]) -> None:
    assert query('SELECT "a""b" FROM settings ORDER BY run', 'a"b: 1\n', 'a"b: 2\n') == [("1",), ("2",)]


@pytest.mark.parametrize("text", ["- a\n", "a: [\n", ""])
def test_a_config_that_is_none_is_told_with_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(SymphonyError, match=r"run0.config.yaml: found"):
        load_configs(duckdb.connect(), folders(tmp_path, text))


def test_a_missing_config_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(SymphonyError, match=r"run.config.yaml: found .*No such file"):
        load_configs(duckdb.connect(), [tmp_path / "run"])
