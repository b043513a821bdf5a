"""Tests of a Python function, judged outside the program under test.

An assert is split: its calls of the function run in the program's process and return plain values; the assertion about
them is evaluated elsewhere, in this process if both sides are literals, else in a second sandboxed process that has
never seen the program. So a program can claim anything, but only the right values pass: `__eq__`, rebound builtins, an
early exit or a forged report do not help it.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from symphony.tasks.programs.python_source import joined
from symphony.tasks.programs.sandbox import Evaluation, Limits, PythonSandbox

Outcome = Literal["pass", "fail", "error", "timeout", "killed", "compile_error", "broken_test"]

ROUNDS = 1000
"""Maximum calls that a test with loops may make."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One assert.

    Attributes:
        text: The assert as people read it.
        call: The expression for the program's namespace; "" if the assert calls nothing.
        condition: What must be true: an expression in which `__result__` is the value of `call`.
        expected: The literal that the call must equal, if that is the whole condition; None otherwise.
    """

    text: str
    call: str
    condition: str
    expected: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """What a program is tested with.

    Attributes:
        entry: Name of the function.
        checks: Asserts, in order.
        script: A test with loops, instead of `checks`: a program that defines `check(candidate)`; "" means none.
        setup: Statements run in the program's namespace after the program (`test_setup_code`).
        imports: Statements for the conditions.
    """

    entry: str
    checks: tuple[Check, ...]
    script: str = ""
    setup: str = ""
    imports: str = ""

    @property
    def names(self) -> frozenset[str]:
        """Names of a program that the tests use, without builtins."""
        calls = "\n".join(check.call for check in self.checks)
        return frozenset(_free_names(f"{self.setup}\n{calls}\n{self.script}"))


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenSuite:
    """A published test that can't be run; no program passes it.

    Attributes:
        entry: Name of the function.
        why: What is wrong with it.
    """

    entry: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a program did on its tests.

    Attributes:
        outcome: The result in one word; "broken_test" if the test itself can't be run, whatever the program.
        passed: For each check, whether it passed.
        shown: For each check, the value obtained or the error, for people and models.
        detail: The error that ended the run; "" if none did.
    """

    outcome: Outcome
    passed: tuple[bool, ...]
    shown: tuple[str, ...]
    detail: str = ""

    def __post_init__(self) -> None:
        if len(self.passed) != len(self.shown):
            raise ValueError(f"shown: found {len(self.shown)} texts, allowed: {len(self.passed)}, one a check")


# --------------------------------------------------------------------------- reading tests


def checks(asserts: Sequence[ast.stmt] | str, entry: str, alias: str = "") -> tuple[Check, ...] | None:
    """Converts asserts to checks.

    Args:
        asserts: Statements, or their source.
        entry: Name of the function.
        alias: Another name that the asserts use for the function.

    Returns:
        The checks; None if a statement is not an assert.
    """
    statements = ast.parse(asserts).body if isinstance(asserts, str) else asserts
    converted = []
    for statement in statements:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # a docstring
        if not isinstance(statement, ast.Assert):
            return None
        converted.append(_check(statement, entry, alias))
    return tuple(converted)


class _Calls(ast.NodeTransformer):
    """Extracts the outermost calls of a function from an expression."""

    def __init__(self, names: set[str]) -> None:
        self.names, self.taken = names, list[ast.expr]()

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id in self.names:
            self.taken.append(node)
            index = ast.Constant(len(self.taken) - 1)
            return ast.Subscript(ast.Name("__result__", ast.Load()), index, ast.Load())
        return self.generic_visit(node)


class _Rename(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self.new, node.ctx) if node.id == self.old else node


def _check(statement: ast.Assert, entry: str, alias: str) -> Check:
    test = _Rename(alias, entry).visit(statement.test) if alias else statement.test
    text = f"assert {ast.unparse(test)}"
    calls = _Calls({entry})
    condition = ast.unparse(ast.fix_missing_locations(calls.visit(test)))
    taken = [ast.unparse(node) for node in calls.taken]
    call = f"({', '.join(taken)},)" if taken else ""
    expected = None
    tree = ast.parse(condition, mode="eval").body
    if len(taken) == 1 and isinstance(tree, ast.Compare) and ast.unparse(tree.left) == "__result__[0]":
        (operator, *others), (right, *_) = tree.ops, tree.comparators
        if isinstance(operator, ast.Eq) and not others and literal(ast.unparse(right)) is not None:
            expected = ast.unparse(right)
    return Check(text=text, call=call, condition=condition, expected=expected)


class _Floats(ast.NodeTransformer):
    """Replaces `float('nan')`, `float('inf')` and `float('-inf')`, as values are spelt, by constants."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        match node:
            case ast.Call(func=ast.Name(id="float"), args=[ast.Constant(value="nan" | "inf" | "-inf" as word)]):
                return ast.copy_location(ast.Constant(float(word)), node)
        return node


def literal(text: str) -> tuple[object] | None:
    """Returns the value of a literal in a 1-tuple; None if the text is not a literal."""
    try:
        tree = ast.parse(text, mode="eval")
        return (ast.literal_eval(_Floats().visit(tree) if "float(" in text else tree),)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


# --------------------------------------------------------------------------- judging


def judge(box: PythonSandbox, program: str, suite: Suite, limits: Limits) -> Report:
    """Runs a program against a suite, in one process for all calls (unless the suite has a script).

    Raises:
        SymphonyError: No interpreter can be started.
    """
    if suite.script:
        return _judge_script(box, program, suite, limits)
    source = joined(program, suite.setup)
    asked = [check for check in suite.checks if check.call]
    ran = box.evaluate(source, [check.call for check in asked], limits, needs=suite.entry)
    values = dict(zip((id(check) for check in asked), zip(ran.values, ran.errors, strict=True), strict=False))
    verdicts: list[bool | None] = []
    shown: list[str] = []
    late: list[str] = []
    for check in suite.checks:
        value, error = values.get(id(check), (None, ran.error)) if check.call else ("()", "")
        shown.append(_unwrap(value) if value is not None else error)
        verdicts.append(False if value is None else _equal(value, check.expected))
        if verdicts[-1] is None:
            late.append(f"bool(({check.condition.replace('__result__', f'({value})')}))")
    if late:
        result = box.evaluate(suite.imports, late, limits, known=True)
        true = iter([*(value == "True" for value in result.values), *[False] * len(late)])
        verdicts = [next(true) if verdict is None else verdict for verdict in verdicts]
    passed = tuple(bool(verdict) for verdict in verdicts)
    return Report(outcome=outcome_of(ran, all(passed)), passed=passed, shown=tuple(shown), detail=ran.error)


def broken(box: PythonSandbox, suite: Suite, limits: Limits) -> str:
    """Says why a test's expected values can't be computed, whatever a program returns; "" if they all can.

    Raises:
        SymphonyError: No interpreter can be started.
    """
    expected = [
        ast.unparse(side)
        for check in suite.checks
        for node in ast.walk(ast.parse(check.condition))
        if isinstance(node, ast.Compare)
        for side in node.comparators
        if not any(isinstance(part, ast.Name) and part.id == "__result__" for part in ast.walk(side))
    ]
    result = box.evaluate(suite.imports, [f"bool(({text},))" for text in expected], limits, known=True)
    return next((f"{error} in what it expects" for error in result.errors if error), "")


def _equal(value: str, expected: str | None) -> bool | None:
    """Whether a call's value, spelt as a 1-tuple, is the expected literal; None if Python must evaluate it."""
    actual = literal(value) if expected is not None else None
    wanted = literal(str(expected)) if actual is not None else None
    if actual is None or wanted is None:
        return None
    try:
        return bool(actual[0] == (wanted[0],))
    except RecursionError:
        return False


def _unwrap(value: str) -> str:
    """Returns the only item of a spelt 1-tuple."""
    return value[1:-2] if value.startswith("(") and value.endswith(",)") else value


def outcome_of(ran: Evaluation, passed: bool) -> Outcome:
    """Summarises a run in one word."""
    if ran.outcome in ("timeout", "killed"):
        return "timeout" if ran.outcome == "timeout" else "killed"
    if passed and ran.outcome == "ok":
        return "pass"
    return "error" if ran.outcome == "error" else "fail"


_SCRIPT = """
{script}
class __Needs__(BaseException): pass
def __stand_in__(name):
    def call(*given):
        key = spell((name, given))
        if key not in __known__: raise __Needs__(key)
        said = __known__[key]
        if said is None: raise RuntimeError("the call failed")
        return eval(said, globals())
    return call
def __verdict__():
    for name in {names!r}: globals()[name] = __stand_in__(name)
    try: check({entry})
    except __Needs__ as needs: return ("needs", needs.args[0])
    except BaseException as error: return ("fail", type(error).__name__ + ": " + str(error)[:200])
    return ("pass", "")
"""


def _judge_script(box: PythonSandbox, program: str, suite: Suite, limits: Limits) -> Report:
    """Reruns a test script with each new answer of the program, until the script finishes or fails.

    Names that the script does not define itself (helpers of the prompt) are also called in the program.
    """
    names = sorted({suite.entry, *_free_names(suite.script)})
    script = _SCRIPT.format(script=suite.script, names=names, entry=suite.entry)
    known: dict[str, str | None] = {}
    for _ in range(ROUNDS):
        result = box.evaluate(f"{script}\n__known__ = {known!r}", ["__verdict__()"], limits, known=True)
        verdict = literal(result.values[0] or "") if result.values else None
        kind, text = verdict[0] if verdict and isinstance(verdict[0], tuple) else ("fail", result.error)
        if kind == "pass" and not known:
            why = "a test that never calls the function"
            return Report(outcome="broken_test", passed=(False,), shown=(why,), detail=why)
        if kind != "needs":
            passed = kind == "pass"
            return Report(outcome="pass" if passed else "fail", passed=(passed,), shown=(str(text),), detail=str(text))
        key = literal(str(text))
        name, arguments = key[0] if key and isinstance(key[0], tuple) else ("", ())
        ran = box.evaluate(joined(program, suite.setup), [f"{name}(*{arguments!r})"], limits, needs=suite.entry)
        if ran.outcome != "ok":
            return Report(outcome=outcome_of(ran, False), passed=(False,), shown=(ran.error,), detail=ran.error)
        known[str(text)] = ran.values[0]
    return Report(outcome="fail", passed=(False,), shown=("too many calls",), detail="too many calls")


def _free_names(script: str) -> set[str]:
    """Returns the names that a test reads without binding them: those come from the program."""
    bound, read = set(dir(builtins)), set[str]()
    for node in ast.walk(ast.parse(script)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).partition(".")[0])
    return read - bound
