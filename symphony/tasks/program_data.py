"""The rows of the code benchmarks as problems: typed MBPP (Python, Rust), MBPP, MBPP+ and HumanEval."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from symphony.tasks import python_suite, rust_suite
from symphony.tasks.extract import functions, parsed
from symphony.tasks.plus_suite import PlusSuite, inputs
from symphony.tasks.python_suite import Suite
from symphony.tasks.rust_suite import RustSuite
from symphony.types import SymphonyError

Dataset = Literal["mbpp_py", "mbpp_rs", "mbpp", "mbpp_plus", "humaneval"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a program is graded with; searches never read it (but see `Programs.internal`).

    Attributes:
        entry: Name of the function.
        hidden: The tests that decide.
        visible: The first of them as its own suite, for internal="first_assert"; None where there is none apart.
        reference: A program known to be right, to scale time limits by; "" where there is none.
    """

    entry: str
    hidden: Suite | RustSuite | PlusSuite = field(repr=False)
    visible: Suite | RustSuite | None = field(default=None, repr=False)
    reference: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a data set lies, and how its rows are read.

    Attributes:
        folder: Below the data folder.
        file: Its name, as published.
        read: Row -> (id, prompt, target).
    """

    folder: str
    file: str
    read: Callable[[Mapping[str, Any]], tuple[str, str, Target]]


def _typed_python(row: Mapping[str, Any]) -> tuple[str, str, Target]:
    entry = str(row["entry_point"])
    body = _function(str(row["test"]), "check")
    checks = python_suite.checks(body, entry, "candidate")
    if not checks:
        raise ValueError("a test that is no list of asserts")
    hidden = Suite(entry=entry, checks=checks)
    return str(row["name"]), str(row["prompt"]), Target(entry=entry, hidden=hidden, visible=_first(hidden))


def _typed_rust(row: Mapping[str, Any]) -> tuple[str, str, Target]:
    hidden = rust_suite.suite(str(row["entry_point"]), str(row["prompt"]), str(row["test"]))
    visible = rust_suite.of(hidden, hidden.checks[:1])
    return str(row["name"]), str(row["prompt"]), Target(entry=hidden.entry, hidden=hidden, visible=visible)


def _original(row: Mapping[str, Any]) -> tuple[str, str, Target]:
    code = str(row["code"]).replace("\r\n", "\n")
    tree = ast.parse(code)
    asserts = [statement for text in row["test_list"] for statement in ast.parse(text).body]
    called = [
        node.func.id for node in ast.walk(asserts[0]) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    entry = next(name for name in called if name in functions(tree))
    checks = python_suite.checks(asserts, entry)
    if not checks:
        raise ValueError("a test that is no list of asserts")
    setup = str(row.get("test_setup_code") or "")
    hidden = Suite(entry=entry, checks=checks, setup=setup, imports="import sys, math")
    (signature,) = [
        ast.unparse(node.args) for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == entry
    ][:1]
    prompt = f"{row['text']}\nIts signature is: def {entry}({signature}):"
    target = Target(entry=entry, hidden=hidden, visible=_first(hidden), reference=code)
    return str(row["task_id"]), prompt, target


def _plus(row: Mapping[str, Any]) -> tuple[str, str, Target]:
    entry, id = str(row["entry_point"]), str(row["task_id"])
    given = [*inputs(id, row["base_input"]), *inputs(id, row["plus_input"] or [])]
    reference = str(row["canonical_solution"])
    hidden = PlusSuite(
        entry=entry, arguments=tuple(map(repr, given)), reference=reference, atol=float(row["atol"] or 0)
    )
    checks = python_suite.checks(str(row["assertion"]), entry) or ()
    prompt = str(row["prompt"]).strip().strip("'\"").strip()
    (signature,) = re.findall(rf"(?m)^def\s+{re.escape(entry)}\s*\(.*$", reference)[:1]
    target = Target(entry=entry, hidden=hidden, visible=_first(Suite(entry=entry, checks=checks)), reference=reference)
    return id, f"{prompt}\nIts signature is: {signature}", target


def _humaneval(row: Mapping[str, Any]) -> tuple[str, str, Target]:
    entry, test, prompt = str(row["entry_point"]), str(row["test"]), str(row["prompt"])
    checks = python_suite.checks(_function(test, "check"), entry, "candidate")
    hidden = Suite(entry=entry, checks=checks or (), script="" if checks else test, imports="import math")
    visible = _first(hidden) if checks else None
    target = Target(entry=entry, hidden=hidden, visible=visible, reference=prompt + str(row["canonical_solution"]))
    return str(row["task_id"]), prompt, target


def _first(suite: Suite) -> Suite | None:
    called = [check for check in suite.checks if check.call]
    if not called:
        return None
    return Suite(entry=suite.entry, checks=(called[0],), setup=suite.setup, imports=suite.imports)


def _function(source: str, name: str) -> list[ast.stmt]:
    tree = parsed(source)
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node.body
    raise ValueError(f"no function {name}")


SOURCES: dict[Dataset, Source] = {
    "mbpp_py": Source(folder="mbpp", file="mbpp-py.jsonl", read=_typed_python),
    "mbpp_rs": Source(folder="mbpp", file="mbpp-rs.jsonl", read=_typed_rust),
    "mbpp": Source(folder="mbpp", file="mbpp.jsonl", read=_original),
    "mbpp_plus": Source(folder="mbpp", file="MbppPlus.jsonl", read=_plus),
    "humaneval": Source(folder="humaneval", file="HumanEval.jsonl", read=_humaneval),
}


def read(source: Source, path: Path, row: Mapping[str, Any]) -> tuple[str, str, Target]:
    """One row as id, prompt and target.

    Raises:
        SymphonyError: The row is none of this data set.
    """
    try:
        return source.read(row)
    except (KeyError, ValueError, StopIteration, TypeError, SyntaxError) as error:
        some = json.dumps(row)[:80]
        raise SymphonyError(
            f"{path}: found {some}... ({error}), allowed: rows of {source.file} as published"
        ) from error
