"""Turns rows of the code benchmarks into problems: typed MBPP (Python, Rust), MBPP, MBPP+ and HumanEval.

A row that does not belong to its data set is refused, with file and line. A row whose published test can't be run
becomes a problem that no program passes (`BrokenSuite`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import Field, StringConstraints

from symphony.tasks import datafiles
from symphony.tasks.programs import python_suite, rust_suite
from symphony.tasks.programs.function_body import python_signature, rust_signature
from symphony.tasks.programs.plus_suite import PlusSuite, inputs
from symphony.tasks.programs.python_source import Definition, parsed
from symphony.tasks.programs.python_suite import BrokenSuite, Suite
from symphony.tasks.programs.rust_suite import RustSuite
from symphony.types import SymphonyError

Dataset = Literal["mbpp_py", "mbpp_rs", "mbpp", "mbpp_plus", "humaneval"]


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""Name of a function."""
Hidden = Suite | RustSuite | PlusSuite | BrokenSuite


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a program is graded with; searches never read it (but see `Programs.internal`).

    Attributes:
        entry: Name of the function.
        hidden: The tests that decide.
        visible: The first of them as a separate suite, for internal="first_assert"; None if it can't be separated.
        reference: A program known to be right, used to scale time limits; "" if there is none.
        preamble: What the prompt defines besides the function (imports, helpers); it is put before every program.
        signature: The start of the prompt's function, for answers that are only its body.
    """

    entry: str
    hidden: Hidden = field(repr=False)
    visible: Suite | RustSuite | None = field(default=None, repr=False)
    reference: str = field(default="", repr=False)
    preamble: str = field(default="", repr=False)
    signature: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a data set is stored, and how its rows are read.

    Attributes:
        folder: Its folder below the data folder.
        file: Its file name, as published.
        row: The class of its rows.
    """

    folder: str
    file: str
    row: type[ProgramRow]


class ProgramRow(datafiles.Row):
    """A row of a programming data set."""

    @property
    def id(self) -> str:
        raise NotImplementedError

    def problem(self) -> tuple[str, Target]:
        """Returns the row's prompt and target.

        Raises:
            ValueError, SyntaxError: The row does not belong to this data set.
        """
        raise NotImplementedError


class TypedRow(ProgramRow):
    """Typed MBPP (MultiPL-E)."""

    name: datafiles.Text
    prompt: datafiles.Text
    entry_point: Name
    test: datafiles.Text

    @property
    def id(self) -> str:
        return self.name


class PythonRow(TypedRow):
    def problem(self) -> tuple[str, Target]:
        hidden = _read_asserts(self.test, self.entry_point, imports="")
        visible = _first(hidden) if isinstance(hidden, Suite) else None
        target = Target(
            entry=self.entry_point,
            hidden=hidden,
            visible=visible,
            preamble=_preamble(self.prompt, self.entry_point),
            signature=_signature(self.prompt, self.entry_point),
        )
        return self.prompt, target


class RustRow(TypedRow):
    def problem(self) -> tuple[str, Target]:
        try:
            hidden = rust_suite.suite(self.entry_point, self.prompt, self.test)
        except SymphonyError as error:
            broken = BrokenSuite(entry=self.entry_point, why=str(error))
            return self.prompt, Target(entry=self.entry_point, hidden=broken)
        visible = rust_suite.of(hidden, hidden.checks[:1])
        target = Target(
            entry=hidden.entry,
            hidden=hidden,
            visible=visible,
            preamble=self.prompt,
            signature=rust_signature(self.prompt, hidden.entry),
        )
        return self.prompt, target


class OriginalRow(ProgramRow):
    """MBPP (google-research)."""

    task_id: int
    text: datafiles.Text
    code: datafiles.Text
    test_list: Annotated[list[datafiles.Text], Field(min_length=1)]
    test_setup_code: str | None = None

    @property
    def id(self) -> str:
        return str(self.task_id)

    def problem(self) -> tuple[str, Target]:
        code = self.code.replace("\r\n", "\n")
        functions = {node.name: node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef)}
        tests = "\n".join(self.test_list)
        entry = next((name for name in re.findall(r"\b([A-Za-z_]\w*)\s*\(", tests) if name in functions), None)
        if entry is None:
            raise ValueError("tests that call no function of the code")
        prompt = f"{self.text}\nIts signature is: def {entry}({ast.unparse(functions[entry].args)}):"
        try:
            checks = python_suite.checks(tests, entry)
            ast.parse(self.test_setup_code or "")
            why = "" if checks else "a test that is no list of asserts"
        except SyntaxError as error:
            checks, why = None, f"{error.msg}, line {error.lineno} of the test"
        if not checks:
            return prompt, Target(entry=entry, hidden=BrokenSuite(entry=entry, why=why), reference=code)
        hidden = Suite(entry=entry, checks=checks, setup=self.test_setup_code or "", imports="import sys, math")
        target = Target(
            entry=entry, hidden=hidden, visible=_first(hidden), reference=code, signature=_signature(code, entry)
        )
        return prompt, target


class PlusRow(ProgramRow):
    """MBPP+ (EvalPlus)."""

    task_id: datafiles.Text
    prompt: datafiles.Text
    entry_point: Name
    canonical_solution: datafiles.Text
    assertion: str
    base_input: Annotated[list[list[Any]], Field(min_length=1)]
    plus_input: list[list[Any]] | Annotated[dict[str, Any], Field(max_length=0)] | None
    atol: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @property
    def id(self) -> str:
        return self.task_id

    def problem(self) -> tuple[str, Target]:
        entry, reference = self.entry_point, self.canonical_solution
        signature = re.search(rf"(?m)^def\s+{re.escape(entry)}\s*\(.*$", reference)
        if signature is None:
            raise ValueError(f"a canonical_solution without def {entry}")
        base = inputs(self.task_id, self.base_input)
        arguments = tuple(map(repr, [*base, *inputs(self.task_id, list(self.plus_input or []))]))
        hidden = PlusSuite(entry=entry, arguments=arguments, reference=reference, atol=self.atol, base=len(base))
        prompt = self.prompt.strip().strip("'\"").strip()
        visible = _read_asserts(self.assertion, entry, alias="")
        target = Target(
            entry=entry,
            hidden=hidden,
            visible=_first(visible) if isinstance(visible, Suite) else None,
            reference=reference,
            signature=_signature(reference, entry),
        )
        return f"{prompt}\nIts signature is: {signature[0]}", target


class HumanEvalRow(ProgramRow):
    """HumanEval (OpenAI)."""

    task_id: datafiles.Text
    prompt: datafiles.Text
    entry_point: Name
    canonical_solution: datafiles.Text
    test: datafiles.Text

    @property
    def id(self) -> str:
        return self.task_id

    def problem(self) -> tuple[str, Target]:
        hidden = _read_asserts(self.test, self.entry_point, imports="import math", looped=True)
        visible = _first(hidden) if isinstance(hidden, Suite) and hidden.checks else None
        target = Target(
            entry=self.entry_point,
            hidden=hidden,
            visible=visible,
            reference=self.prompt + self.canonical_solution,
            preamble=_preamble(self.prompt, self.entry_point),
            signature=_signature(self.prompt, self.entry_point),
        )
        return self.prompt, target


def _read_asserts(
    test: str, entry: str, *, alias: str = "candidate", imports: str = "", looped: bool = False
) -> Suite | BrokenSuite:
    """Reads a test as asserts: those of its function `check`, or, without an alias, those at its top level.

    Args:
        looped: Whether a test that is not a list of asserts may be run as a whole.
    """
    try:
        body: list[ast.stmt] | None = ast.parse(test).body
        if alias:
            body = next((node.body for node in body or () if _is_check(node)), None)
        if body is None:
            return BrokenSuite(entry=entry, why="a test without a function check")
        checks = python_suite.checks(body, entry, alias)
    except (SyntaxError, ValueError) as error:
        return BrokenSuite(entry=entry, why=f"a test that is no Python: {error}")
    if checks and any(check.call for check in checks):
        return Suite(entry=entry, checks=checks, imports=imports)
    if not any(isinstance(part, ast.Assert) for node in body for part in ast.walk(node)):
        return BrokenSuite(entry=entry, why="a test without an assert")
    if looped:
        return Suite(entry=entry, checks=(), script=test, imports=imports)
    return BrokenSuite(entry=entry, why=f"a test that is no list of asserts about {entry}")


def _preamble(prompt: str, entry: str) -> str:
    """Returns what a Python prompt defines besides its function, plus imports in the function; "" for other prompts."""
    tree = parsed(prompt)
    function = next((node for node in tree.body if _is_named(node, entry)), None) if tree is not None else None
    if tree is None or function is None:
        return ""
    inside = [node for node in ast.walk(function) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return "\n".join(ast.unparse(node) for node in [*tree.body, *inside] if not _is_named(node, entry))


def _is_named(node: ast.AST, entry: str) -> bool:
    return isinstance(node, Definition) and node.name == entry


def _signature(source: str, entry: str) -> str:
    tree = parsed(source)
    return "" if tree is None else python_signature(tree, entry)


def _is_check(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    return isinstance(node, ast.FunctionDef) and node.name == "check"


def _first(suite: Suite) -> Suite | None:
    called = [check for check in suite.checks if check.call]
    if not called:
        return None
    return Suite(entry=suite.entry, checks=(called[0],), setup=suite.setup, imports=suite.imports)


SOURCES: dict[Dataset, Source] = {
    "mbpp_py": Source(folder="mbpp", file="mbpp-py.jsonl", row=PythonRow),
    "mbpp_rs": Source(folder="mbpp", file="mbpp-rs.jsonl", row=RustRow),
    "mbpp": Source(folder="mbpp", file="mbpp.jsonl", row=OriginalRow),
    "mbpp_plus": Source(folder="mbpp", file="MbppPlus.jsonl", row=PlusRow),
    "humaneval": Source(folder="humaneval", file="HumanEval.jsonl", row=HumanEvalRow),
}


def read(source: Source, path: Path, first: int, count: int | None) -> Iterator[tuple[str, str, Target]]:
    """Yields rows as id, prompt and target; the whole file is checked.

    Args:
        first, count: Which rows; a count of None means all that follow.

    Raises:
        SymphonyError: The file does not belong to this data set; the message names the line.
    """
    rows = datafiles.typed(path, source.row, lambda row: row.id)
    for where, row in datafiles.items(path, rows, first, count):
        try:
            yield row.id, *row.problem()
        except SyntaxError as error:
            why = f"code that is not Python ({error.msg}, its line {error.lineno})"
            raise SymphonyError(f"{where}: found {why}, allowed: rows of {source.file} as published") from error
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            why = str(error).partition("\n")[0]
            raise SymphonyError(f"{where}: found {why}, allowed: rows of {source.file} as published") from error
        except RecursionError as error:
            raise SymphonyError(f"{where}: found values nested too deep, allowed: rows as published") from error
