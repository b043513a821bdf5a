"""The part of a Python answer that a function needs: imports, constants, classes and functions, and what fills them.

As EvalPlus' sanitizer does, with three more: of several definitions the last that is no stub counts; what changes a
value that the function reads is kept (a table filled in a loop, a recursion limit); names that the function's own
block lacks come from the answer's other blocks.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
import symtable
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

COMPLETE, CALL, OTHER = 2, 1, 0
"""How sure a statement is to define a function: a definition; perhaps (the result of a call); a stub, or hardly."""
_START = re.compile(
    r"([ \t]*)(?:(?:async|def|class|import|from|assert|if|for|while|with|try)\b|@|[A-Za-z_][\w.]*(?:\[[^\]]*\])?[ \t]*"
    r"(?::[^=]*)?[-+*/|&]?=(?!=)|[A-Za-z_][\w.]*\()"
)
_FUTURE = re.compile(r"(?m)^from __future__ import .*\n?")
_DYNAMIC = {"eval", "exec", "globals", "vars", "locals", "__import__"}
_SETTERS = re.compile(r"(?:set|seed)")
_NO_CHANGE = {"print", "assert", "len", "str", "repr", "sum", "min", "max", "sorted", "list", "set", "tuple", "input"}


def parsed(source: str) -> ast.Module | None:
    """Its syntax tree; None where it has none."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


class Python:
    """Python as `answer_blocks` reads it."""

    def is_program(self, source: str) -> bool:
        return parsed(source) is not None

    def programs(self, lines: list[str], stop: int) -> Iterator[tuple[str, int]]:
        at = 0
        while at < stop:
            start = _START.match(lines[at])
            end = _end(lines, at, len(start[1])) if start else at
            if end > at and start:
                yield "\n".join(line[len(start[1]) :] for line in lines[at:end]), end
            at = max(end, at + 1)


def _end(lines: list[str], start: int, indent: int) -> int:
    """Where the longest program from a line on ends, a last statement that goes on behind it aside."""
    end = start
    while end < len(lines) and (not lines[end][:indent].strip() or not lines[end].strip()):
        end += 1
    given = [line[indent:] for line in lines[start:end]]
    size = len(given)
    while size > 0:
        try:
            tree = ast.parse("\n".join(given[:size]))
        except SyntaxError as error:
            size = min(size - 1, max(0, (error.lineno or size) - 1))
            continue
        except (ValueError, MemoryError, RecursionError):
            return start
        below = next((line for line in given[size:] if line.strip()), "")
        if tree.body and below[:1] in (" ", "\t"):  # cut off in the middle of a statement
            size = _first_line(tree.body[-1]) - 1
            continue
        return start + size if tree.body else start
    return start


def joined(*parts: str) -> str:
    """Sources one after the other, with their `from __future__` lines first, where Python wants them."""
    future = dict.fromkeys(line.strip() for part in parts for line in _FUTURE.findall(part))
    return "\n".join((*future, *(_FUTURE.sub("", part).strip("\n") for part in parts if part.strip()))) + "\n"


# --------------------------------------------------------------------------- statements


@dataclass(frozen=True, eq=False)
class Statement:
    """One statement at the top level of a block.

    Attributes:
        node: Its tree.
        block: Number of the block.
    """

    node: ast.stmt
    block: int

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names that it gives a value."""
        return frozenset(_bound(self.node))

    @cached_property
    def reads(self) -> frozenset[str]:
        """Names of the module that it, or a function in it, refers to."""
        try:
            return frozenset(_read(symtable.symtable(ast.unparse(self.node), "<answer>", "exec"), top=True))
        except SyntaxError:  # what a parser lets through and a compiler does not
            return frozenset(node.id for node in ast.walk(self.node) if isinstance(node, ast.Name))

    @cached_property
    def changes(self) -> frozenset[str]:
        """Names whose values it changes without binding them: items, attributes, methods called for their effect."""
        return frozenset(_changed(self.node))

    @cached_property
    def calls(self) -> frozenset[str]:
        """Names that it calls."""
        return frozenset(
            node.func.id
            for node in ast.walk(self.node)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        )

    @property
    def imports(self) -> bool:
        return isinstance(self.node, (ast.Import, ast.ImportFrom))

    @property
    def defines(self) -> bool:
        return isinstance(self.node, Definition)

    def quality(self, entry: str) -> int | None:
        """How sure it is to define a function; None where it does not bind the name."""
        if entry not in self.binds or _is_main(self.node):
            return None
        return max((_quality(node, entry) for node in _branches(self.node)), default=OTHER)


def _branches(node: ast.stmt) -> Iterator[ast.stmt]:
    """A statement, or those in it where it is a condition, an attempt or the like."""
    if isinstance(node, (ast.If, ast.Try, ast.With, ast.For, ast.While)):
        for part in ast.iter_child_nodes(node):
            for inner in part.body if isinstance(part, ast.ExceptHandler) else [part]:
                if isinstance(inner, ast.stmt):
                    yield from _branches(inner)
    else:
        yield node


def _quality(node: ast.stmt, entry: str) -> int:
    if isinstance(node, Definition) and node.name == entry:
        return OTHER if _is_stub(node) else COMPLETE
    value = node.value if isinstance(node, (ast.Assign, ast.AnnAssign)) else None
    if value is None or entry not in _bound(node):
        return OTHER
    if isinstance(value, ast.Call):
        wraps = any(isinstance(part, ast.Name) and part.id == entry for given in value.args for part in ast.walk(given))
        applied = isinstance(value.func, ast.Name) and value.func.id == entry
        return OTHER if applied else COMPLETE if wraps else CALL
    return COMPLETE if isinstance(value, (ast.Lambda, ast.Name, ast.Attribute)) else OTHER


def _is_stub(node: Definition) -> bool:
    """Whether a body does nothing: a docstring, `...`, `pass`, `raise NotImplementedError`."""
    return all(
        isinstance(part, ast.Pass)
        or (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
        or (isinstance(part, ast.Raise) and part.exc is not None and "NotImplemented" in ast.unparse(part.exc))
        for part in node.body
    )


def _bound(node: ast.AST) -> Iterator[str]:
    """Names that a statement binds at the level of the module."""
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
    for part in ast.walk(node):
        if isinstance(part, (ast.Attribute, ast.Subscript)) and not isinstance(part.ctx, ast.Load):
            yield from _root(part)
        elif isinstance(part, ast.Expr) and isinstance(part.value, ast.Call):
            function, given = part.value.func, part.value.args
            if isinstance(function, ast.Attribute):
                yield from _root(function)
            if not (isinstance(function, ast.Name) and function.id in _NO_CHANGE):
                yield from (one.id for one in given if isinstance(one, ast.Name))
        elif isinstance(part, ast.Global):
            yield from part.names


def _root(node: ast.expr) -> Iterator[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    if isinstance(node, ast.Name):
        yield node.id


def _first_line(node: ast.stmt) -> int:
    decorators = node.decorator_list if isinstance(node, Definition) else []
    return min([node.lineno, *(one.lineno for one in decorators)])


class _Filled(ast.NodeTransformer):
    """Puts values in the places of names."""

    def __init__(self, values: Mapping[str, ast.expr]) -> None:
        self.values = values

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return self.values.get(node.id, node) if isinstance(node.ctx, ast.Load) else node


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError):
        return False
    return True


# --------------------------------------------------------------------------- what a function needs


class Answer:
    """The blocks of an answer that can be read, as statements."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.sources = [source for source in sources if parsed(source) is not None]
        trees = [ast.parse(source) for source in self.sources]
        self.statements = [Statement(node, number) for number, tree in enumerate(trees) for node in tree.body]

    def definition(self, entry: str) -> Statement | None:
        """The last statement that defines a function, the surest kind first."""
        rated = [(found, at) for at, one in enumerate(self.statements) if (found := one.quality(entry)) is not None]
        return self.statements[max(rated)[1]] if rated else None

    def other_name(self) -> str | None:
        """The name of the function in the last block that defines one only; None where there is no such block."""
        for number in reversed(range(len(self.sources))):
            names = [
                one.node.name for one in self.statements if one.block == number and isinstance(one.node, _FUNCTION)
            ]
            names = [name for name in names if not name.startswith("test") and name != "main"]
            if len(names) == 1:
                return names[0]
        return None

    def asserts(self, entry: str) -> tuple[str, ...]:
        """The top-level asserts about a function, each on one line, with the values of constants in their places."""
        found: dict[str, None] = {}
        for number in range(len(self.sources)):
            values: dict[str, ast.expr] = {}
            for one in (one for one in self.statements if one.block == number):
                if isinstance(one.node, ast.Assert) and entry in one.reads:
                    found[ast.unparse(_Filled(values).visit(copy.deepcopy(one.node)))] = None
                for name in one.binds:
                    values.pop(name, None)
                if isinstance(one.node, ast.Assign) and len(one.node.targets) == 1 and _is_literal(one.node.value):
                    values |= {part.id: one.node.value for part in one.node.targets if isinstance(part, ast.Name)}
        return tuple(found)

    def program(self, entry: str, also: Set[str] = frozenset()) -> str | None:
        """The function with all that it needs; None where no block defines it.

        Args:
            also: Names that its tests use besides.
        """
        chosen = self.definition(entry)
        if chosen is None:
            return None
        kept = {chosen, *self._earlier(chosen, entry)}
        home = {entry: chosen.block}
        tested = {name for one in self.statements if isinstance(one.node, ast.Assert) for name in one.reads}
        also = also | {name for name in tested if self._is_fixed(name, chosen.block)}
        while more := self._needed(kept, home, entry, also) - kept:
            kept |= more
        return joined(*(self._text(number, kept) for number in self._order(chosen.block)))

    def _earlier(self, chosen: Statement, entry: str) -> Iterator[Statement]:
        """The definitions that a later one wraps: `f = cache(f)`."""
        if isinstance(chosen.node, (ast.Assign, ast.AnnAssign)) and entry in chosen.reads:
            before = self.statements[: self.statements.index(chosen)]
            yield from (one for one in before if one.block == chosen.block and one.quality(entry) == COMPLETE)

    def _needed(self, kept: set[Statement], home: dict[str, int], entry: str, also: Set[str]) -> set[Statement]:
        """The statements that those kept so far depend on, directly."""
        reads = [*((name, one.block) for one in kept for name in one.reads), *((name, home[entry]) for name in also)]
        for name, block in sorted(reads):
            if name not in home and (number := self._home(name, block)) is not None:
                home[name] = number
        names = {name for name, _ in reads}
        found = {one for name in names - {entry} if name in home for one in self._binding(name, home[name])}
        blocks = {one.block for one in kept}
        for one in self.statements:
            left_out = entry in one.binds or _is_main(one.node) or isinstance(one.node, ast.Assert)
            if one.block in blocks and not left_out and self._matters(one, names, home):
                found.add(one)
        return found

    def _binding(self, name: str, block: int) -> list[Statement]:
        """The statements of a block that give a name its value, without examples that use the name of a definition."""
        found = [one for one in self.statements if one.block == block and name in one.binds and not _is_main(one.node)]
        sure = [one for one in found if one.quality(name) == COMPLETE]
        if name in vars(builtins) or any(one.defines for one in sure):
            return [one for one in found if one in sure or one.imports]
        return found

    def _home(self, name: str, block: int) -> int | None:
        """The block that a name comes from: that which reads it, those before it, the nearest first, those after it."""
        order = [block, *range(block - 1, -1, -1), *range(block + 1, len(self.sources))]
        return next((number for number in order if self._binding(name, number)), None)

    def _matters(self, one: Statement, names: set[str], home: dict[str, int]) -> bool:
        """Whether a statement of a block in use has an effect on what is in use, though it binds none of its names."""
        if isinstance(one.node, ast.ImportFrom) and (one.node.module == "__future__" or one.node.names[0].name == "*"):
            return True
        if names & _DYNAMIC and (one.imports or one.defines or isinstance(one.node, (ast.Assign, ast.AnnAssign))):
            return True
        if one.imports or one.defines:
            return False
        changed = {name for name in self._effects(one) & names if self._home(name, one.block) == home.get(name)}
        return self._sets_up(one) or not all(self._is_fixed(name, home.get(name, one.block)) for name in changed)

    def _effects(self, one: Statement, seen: frozenset[str] = frozenset()) -> set[str]:
        """Names that a statement changes, the functions it calls included."""
        found = set(one.changes)
        for name in one.calls - seen:
            number = self._home(name, one.block)
            for other in self._binding(name, number) if number is not None else ():
                found |= self._effects(other, seen | {name}) if other.defines else set()
        return found

    def _is_fixed(self, name: str, block: int) -> bool:
        """Whether a name stands for a definition or a module, which no example changes."""
        return all(one.imports or one.defines for one in self._binding(name, block))

    def _sets_up(self, one: Statement) -> bool:
        """Whether it sets what a module holds: `sys.setrecursionlimit(n)`, `seed(0)`, `getcontext().prec = 9`."""
        node = one.node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func).rpartition(".")[2]
            roots = set(_root(node.value)) if _SETTERS.match(name) else set()
        elif isinstance(node, ast.Assign):
            roots = {root for part in node.targets if isinstance(part, ast.Attribute) for root in _root(part)}
        else:
            return False
        homes = ((root, self._home(root, one.block)) for root in roots)
        return any(
            other.imports for root, number in homes if number is not None for other in self._binding(root, number)
        )

    def _order(self, last: int) -> list[int]:
        return [*(number for number in range(len(self.sources)) if number != last), last]

    def _text(self, number: int, kept: set[Statement]) -> str:
        """The kept statements of a block with the comments between them."""
        own = [one for one in self.statements if one.block == number]
        if not any(one in kept for one in own):
            return ""
        lines: list[str | None] = list(self.sources[number].split("\n"))
        spans = [(_first_line(one.node), one.node.end_lineno or one.node.lineno) for one in own]
        if any(first <= end for (_, end), (first, _) in pairwise(spans)):  # a; b
            return "\n".join(ast.unparse(one.node) for one in own if one in kept)
        for one, (first, end) in zip(own, spans, strict=True):
            if one not in kept:
                lines[first - 1 : end] = [None] * (end - first + 1)
        return "\n".join(line for line in lines if line is not None)


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
