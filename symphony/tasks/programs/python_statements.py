"""Statements of a Python program: the names that each binds, reads, calls and changes."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

COMPLETE, CALL, OTHER = 2, 1, 0
"""How certain it is that a statement defines a function: surely, perhaps (the result of a call), or a stub/hardly."""
_NO_CHANGE = {"print", "assert", "len", "str", "repr", "sum", "min", "max", "sorted", "list", "set", "tuple", "input"}


@dataclass(frozen=True, eq=False)
class Statement:
    """One statement at the top level of a block.

    Attributes:
        node: Its syntax tree.
        block: Number of its block.
    """

    node: ast.stmt
    block: int

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names that it gives a value."""
        return frozenset(_bound(self.node))

    @cached_property
    def reads(self) -> frozenset[str]:
        """Module-level names that it, or a function in it, refers to."""
        try:
            return frozenset(_read(symtable.symtable(ast.unparse(self.node), "<answer>", "exec"), top=True))
        except SyntaxError:  # accepted by the parser but not by the compiler
            return frozenset(node.id for node in ast.walk(self.node) if isinstance(node, ast.Name))

    @cached_property
    def changes(self) -> frozenset[str]:
        """Names whose values it changes without binding them: items, attributes, methods called for their effect."""
        return frozenset(_changed(self.node))

    @cached_property
    def stores(self) -> frozenset[str]:
        """Names whose attributes or items it sets when executed; empty for a definition."""
        return frozenset(() if self.defines else _stored(self.node))

    @cached_property
    def calls(self) -> frozenset[str]:
        """Names that it calls, except inside a `print`."""
        return frozenset(_called(self.node))

    @property
    def imports(self) -> bool:
        return isinstance(self.node, (ast.Import, ast.ImportFrom))

    @property
    def defines(self) -> bool:
        return isinstance(self.node, Definition)

    @property
    def asks(self) -> bool:
        """Whether it reads user input: `n = int(input())`."""
        calls = [part.func for part in ast.walk(self.node) if isinstance(part, ast.Call)]
        return not self.defines and any(
            re.fullmatch(r"input|(?:sys\.)?stdin\.read\w*", ast.unparse(call)) for call in calls
        )

    def quality(self, entry: str) -> int | None:
        """Rates how certain it is that this defines a function; None if it does not bind the name."""
        if entry not in self.binds or is_main(self.node):
            return None
        return max((_quality(node, entry) for node in _branches(self.node)), default=OTHER)


def _branches(node: ast.stmt) -> Iterator[ast.stmt]:
    """Yields a statement, or the statements inside it if it is an `if`, `try`, `with` or loop."""
    if isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
        for part in ast.iter_child_nodes(node):
            for inner in part.body if isinstance(part, ast.ExceptHandler) else [part]:
                if isinstance(inner, ast.stmt):
                    yield from _branches(inner)
    else:
        yield node


def _quality(node: ast.stmt, entry: str) -> int:
    if isinstance(node, Definition) and node.name == entry:
        return OTHER if is_stub(node) else COMPLETE
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    if value is None or entry not in _bound(node):
        return OTHER
    if isinstance(value, ast.Call):
        wraps = any(
            isinstance(part, ast.Name) and part.id == entry for argument in value.args for part in ast.walk(argument)
        )
        applied = isinstance(value.func, ast.Name) and value.func.id == entry
        return OTHER if applied else COMPLETE if wraps else CALL
    return COMPLETE if isinstance(value, (ast.Lambda, ast.Name, ast.Attribute)) else OTHER


def is_stub(node: Definition) -> bool:
    """Whether a body does nothing: a docstring, `...`, `pass`, `raise`, `assert False`, `return None`, a `print`."""
    return all(map(_does_nothing, node.body))


def _does_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Return):
        return node.value is None or ast.unparse(node.value) in ("None", "NotImplemented", "...")
    if isinstance(node, ast.Expr):
        called = node.value.func if isinstance(node.value, ast.Call) else None
        return isinstance(node.value, ast.Constant) or (isinstance(called, ast.Name) and called.id == "print")
    never = isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and not node.test.value
    return never or isinstance(node, (ast.Pass, ast.Raise, ast.Import, ast.ImportFrom))


def _bound(node: ast.AST) -> Iterator[str]:
    """Yields the names that a statement binds at module level."""
    if isinstance(node, Definition):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif not isinstance(node, (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        if isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)


def _read(table: symtable.SymbolTable, *, top: bool) -> Iterator[str]:
    for symbol in table.get_symbols():
        if symbol.is_referenced() if top else symbol.is_global():
            yield symbol.get_name()
    for inner in table.get_children():
        yield from _read(inner, top=False)


def _changed(node: ast.AST) -> Iterator[str]:
    yield from _stored(node)
    for part in ast.walk(node):
        done = part.value if isinstance(part, ast.Expr) else None
        if isinstance(done, (ast.ListComp, ast.SetComp, ast.GeneratorExp)):  # used for the side effects of its elements
            done = done.elt
        if isinstance(done, ast.Call):
            function, arguments = done.func, done.args
            if isinstance(function, ast.Attribute):
                yield from roots(function)
            if not (isinstance(function, ast.Name) and function.id in _NO_CHANGE):
                yield from (argument.id for argument in arguments if isinstance(argument, ast.Name))
        elif isinstance(part, ast.Global):
            yield from part.names


def _stored(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, (ast.Attribute, ast.Subscript)) and not isinstance(part.ctx, ast.Load):
            yield from roots(part)
        elif isinstance(part, ast.Call) and ast.unparse(part.func) == "setattr" and part.args:
            yield from roots(part.args[0])


def _called(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        yield node.func.id
    for part in ast.iter_child_nodes(node):
        if not (isinstance(part, ast.Call) and isinstance(part.func, ast.Name) and part.func.id == "print"):
            yield from _called(part)


def roots(node: ast.expr) -> Iterator[str]:
    """Yields the name that a chain of attributes, items and calls starts with, if any."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id


def first_line(node: ast.stmt) -> int:
    """Returns the line where a statement begins, decorators included."""
    decorators = node.decorator_list if isinstance(node, Definition) else []
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def is_main(node: ast.stmt) -> bool:
    """Whether it is the `if __name__ == ...` part of a script."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
