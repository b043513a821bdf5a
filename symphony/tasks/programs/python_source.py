"""Extracts the part of a Python answer that a function needs: imports, constants, classes, functions, and setup code.

This follows EvalPlus' sanitizer, with three additions: of several definitions the last that is not a stub counts; code
that changes a value the function reads is kept (a table filled in a loop, a recursion limit); names missing from the
function's own block come from the answer's other blocks.
"""

from __future__ import annotations

import ast
import builtins
import copy
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from itertools import pairwise

from symphony.tasks.programs.python_statements import (
    COMPLETE,
    FUNCTION,
    OTHER,
    Definition,
    Statement,
    first_line,
    is_main,
    is_stub,
    roots,
)

_START = re.compile(
    r"([ \t]*)(?:(?:async|def|class|import|from|assert|if|for|while|with|try)\b|@|[A-Za-z_][\w.]*(?:\[[^\]]*\])?[ \t]*"
    r"(?::[^=]*)?[-+*/|&]?=(?!=)|[A-Za-z_][\w.]*\()"
)
_FUTURE = re.compile(r"(?m)^from __future__ import .*\n?")
_DYNAMIC = {"eval", "exec", "globals", "vars", "locals", "__import__"}
_SETTERS = re.compile(r"(?:set|seed|stack_size)")


def parsed(source: str) -> ast.Module | None:
    """Returns the source's syntax tree; None if it can't be parsed."""
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
    """Returns where the longest program that starts on a line ends, without a last statement that was cut off."""
    end = start
    while end < len(lines) and (not lines[end][:indent].strip() or not lines[end].strip()):
        end += 1
    code = [line[indent:] for line in lines[start:end]]
    size = len(code)
    while size > 0:
        try:
            tree = ast.parse("\n".join(code[:size]))
        except SyntaxError as error:
            size = min(size - 1, max(0, (error.lineno or size) - 1))
            continue
        except (ValueError, MemoryError, RecursionError):
            return start
        below = next((line for line in code[size:] if line.strip()), "")
        if tree.body and below[:1] in (" ", "\t"):  # cut off in the middle of a statement
            size = first_line(tree.body[-1]) - 1
            continue
        return start + size if tree.body else start
    return start


def joined(*parts: str) -> str:
    """Joins sources, with their `from __future__` lines first, as Python requires."""
    future = dict.fromkeys(line.strip() for part in parts for line in _FUTURE.findall(part))
    return "\n".join((*future, *(_FUTURE.sub("", part).strip("\n") for part in parts if part.strip()))) + "\n"


def with_preamble(preamble: str, program: str) -> str:
    """Puts the prompt's definitions before a program, and removes the program's stubs of the same names."""
    own, tree = parsed(preamble), parsed(program)
    names = {node.name for node in own.body if isinstance(node, Definition)} if own is not None else set()
    lines: list[str | None] = list(program.split("\n"))
    for node in tree.body if tree is not None else ():
        if isinstance(node, Definition) and node.name in names and is_stub(node):
            first, end = first_line(node), node.end_lineno or node.lineno
            lines[first - 1 : end] = [None] * (end - first + 1)
    return joined(preamble, "\n".join(line for line in lines if line is not None))


class _Filled(ast.NodeTransformer):
    """Replaces names by their values."""

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
    """The parsable blocks of an answer, as statements."""

    def __init__(self, sources: Sequence[str]) -> None:
        self.sources = [source for source in sources if parsed(source) is not None]
        trees = [ast.parse(source) for source in self.sources]
        self.statements = [Statement(node, number) for number, tree in enumerate(trees) for node in tree.body]

    def definition(self, entry: str) -> Statement | None:
        """Returns the last statement that defines a function, among those of the surest kind."""
        rated = [
            (quality, at)
            for at, statement in enumerate(self.statements)
            if (quality := statement.quality(entry)) is not None
        ]
        return self.statements[max(rated)[1]] if rated else None

    def is_complete(self, entry: str) -> bool:
        """Whether a block defines a function that is not a stub."""
        chosen = self.definition(entry)
        return chosen is not None and chosen.quality(entry) != OTHER

    def other_name(self) -> str | None:
        """Returns the function's name in the last block that defines exactly one; None if there is no such block."""
        for number in reversed(range(len(self.sources))):
            names = [
                statement.node.name
                for statement in self.statements
                if statement.block == number and isinstance(statement.node, FUNCTION)
            ]
            names = [name for name in names if not name.startswith("test") and name != "main"]
            if len(names) == 1:
                return names[0]
        return None

    def method(self, entry: str) -> str | None:
        """Returns a function that calls the method of that name in the last class that has it; None if none has."""
        method = None
        for statement in self.statements:
            for part in statement.node.body if isinstance(statement.node, ast.ClassDef) else ():
                if (
                    isinstance(part, ast.FunctionDef)
                    and part.name == entry
                    and isinstance(statement.node, ast.ClassDef)
                ):
                    plain = any(ast.unparse(name) in ("staticmethod", "classmethod") for name in part.decorator_list)
                    method = f"{statement.node.name}{'' if plain else '()'}.{entry}(*args, **kwargs)"
        return method and f"def {entry}(*args, **kwargs):\n    return {method}\n"

    def asserts(self, entry: str) -> tuple[str, ...]:
        """Returns the top-level asserts about a function, each on one line, with constants replaced by their values."""
        asserts: dict[str, None] = {}
        for number in range(len(self.sources)):
            values: dict[str, ast.expr] = {}
            for statement in (statement for statement in self.statements if statement.block == number):
                if isinstance(statement.node, ast.Assert) and entry in statement.reads:
                    asserts[ast.unparse(_Filled(values).visit(copy.deepcopy(statement.node)))] = None
                for name in statement.binds:
                    values.pop(name, None)
                if (
                    isinstance(statement.node, ast.Assign)
                    and len(statement.node.targets) == 1
                    and _is_literal(statement.node.value)
                ):
                    values |= {
                        part.id: statement.node.value for part in statement.node.targets if isinstance(part, ast.Name)
                    }
        return tuple(asserts)

    def program(self, entry: str, also: Set[str] = frozenset()) -> str | None:
        """Returns the function with everything it needs; None if no block defines it.

        Args:
            also: Other names that its tests use.
        """
        chosen = self.definition(entry)
        if chosen is None:
            return None
        kept = {chosen, *self._earlier(chosen, entry)}
        home = {entry: chosen.block}
        tested = {
            name for statement in self.statements if isinstance(statement.node, ast.Assert) for name in statement.reads
        }
        also = also | {name for name in tested if self._is_fixed(name, chosen.block)}
        while more := self._find_needed(kept, home, entry, also) - kept:
            kept |= more
        return joined(*(self._text(number, kept) for number in self._order(chosen.block)))

    def _earlier(self, chosen: Statement, entry: str) -> Iterator[Statement]:
        """Yields the definitions that a later one wraps: `f = cache(f)`."""
        if isinstance(chosen.node, (ast.Assign, ast.AnnAssign)) and entry in chosen.reads:
            before = self.statements[: self.statements.index(chosen)]
            yield from (
                statement
                for statement in before
                if statement.block == chosen.block and statement.quality(entry) == COMPLETE
            )

    def _find_needed(self, kept: set[Statement], home: dict[str, int], entry: str, also: Set[str]) -> set[Statement]:
        """Returns the statements that those kept so far directly depend on."""
        reads = [
            *((name, statement.block) for statement in kept for name in statement.reads),
            *((name, home[entry]) for name in also),
        ]
        for name, block in sorted(reads):
            if name not in home and (number := self._home(name, block)) is not None:
                home[name] = number
        names = {name for name, _ in reads}
        needed = {
            statement for name in names - {entry} if name in home for statement in self._binding(name, home[name])
        }
        blocks = {statement.block for statement in kept}
        for statement in self.statements:
            left_out = entry in statement.binds or is_main(statement.node) or isinstance(statement.node, ast.Assert)
            if statement.block in blocks and not left_out and self._matters(statement, names | {entry}, home, entry):
                needed.add(statement)
        return needed

    def _binding(self, name: str, block: int) -> list[Statement]:
        """Returns the statements of a block that give a name its value, without examples that reuse a defined name."""
        own = [
            statement
            for statement in self.statements
            if statement.block == block and name in statement.binds and not is_main(statement.node)
        ]
        silent = [statement for statement in own if not statement.asks]
        sure = [statement for statement in silent if statement.quality(name) == COMPLETE]
        if name in vars(builtins) or any(statement.defines for statement in sure):
            return [statement for statement in silent if statement in sure or statement.imports]
        return silent

    def _home(self, name: str, block: int) -> int | None:
        """Returns the block that binds a name: the one that reads it, else the nearest before it, else one after it."""
        order = [block, *range(block - 1, -1, -1), *range(block + 1, len(self.sources))]
        return next((number for number in order if self._binding(name, number)), None)

    def _matters(self, statement: Statement, names: set[str], home: dict[str, int], entry: str) -> bool:
        """Whether a statement in a used block affects what is used, although it binds none of the used names."""
        if isinstance(statement.node, ast.ImportFrom) and (
            statement.node.module == "__future__" or statement.node.names[0].name == "*"
        ):
            return True
        if names & _DYNAMIC and (
            statement.imports or statement.defines or isinstance(statement.node, (ast.Assign, ast.AnnAssign))
        ):
            return True
        if statement.imports:
            return False
        # A statement that calls the function itself is only an example, whatever the call changes.
        effects = (
            self._registers(statement) if statement.defines else self._effects(statement, frozenset((entry, "main")))
        )
        changed = {name for name in effects & names if self._home(name, statement.block) == home.get(name)}
        sets = effects if statement.defines else statement.stores  # @f.register; f.count = 0
        return self._sets_up(statement) or any(
            not self._is_fixed(name, home[name]) or (name in sets and not self._is_imported(name, home[name]))
            for name in changed
        )

    def _effects(self, statement: Statement, seen: frozenset[str] = frozenset()) -> set[str]:
        """Returns the names that a statement changes, itself or through functions it calls."""
        changed = set(statement.changes)
        for name in statement.calls - seen:
            number = self._home(name, statement.block)
            for other in self._binding(name, number) if number is not None else ():
                changed |= self._effects(other, seen | {name}) if other.defines else set()
        return changed

    def _registers(self, statement: Statement) -> set[str]:
        """Returns the names that a definition's decorators change: `@f.register`, `@add_to_table`."""
        changed: set[str] = set()
        for node in statement.node.decorator_list if isinstance(statement.node, Definition) else ():
            called = node.func if isinstance(node, ast.Call) else node
            if isinstance(called, ast.Name):
                number = self._home(called.id, statement.block)
                for other in self._binding(called.id, number) if number is not None else ():
                    changed |= self._effects(other, frozenset([called.id])) if other.defines else set()
            else:
                changed |= set(roots(called))
        return changed

    def _is_imported(self, name: str, block: int) -> bool:
        return any(statement.imports for statement in self._binding(name, block))

    def _is_fixed(self, name: str, block: int) -> bool:
        """Whether a name refers to a definition or a module, which examples do not change."""
        return all(statement.imports or statement.defines for statement in self._binding(name, block))

    def _sets_up(self, statement: Statement) -> bool:
        """Whether it changes a module's state: `sys.setrecursionlimit(n)`, `seed(0)`, `getcontext().prec = 9`."""
        node = statement.node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = ast.unparse(node.value.func).rpartition(".")[2]
            names = set(roots(node.value)) if _SETTERS.match(name) else set()
        elif isinstance(node, ast.Assign):
            names = {root for part in node.targets if isinstance(part, ast.Attribute) for root in roots(part)}
        else:
            return False
        homes = ((root, self._home(root, statement.block)) for root in names)
        return any(
            self._has_star(statement.block) if number is None else self._is_imported(root, number)
            for root, number in homes
        )

    def _has_star(self, block: int) -> bool:
        """Whether a block imports names without listing them: `from decimal import *`."""
        return any(
            statement.block == block and statement.imports and ast.unparse(statement.node).endswith("*")
            for statement in self.statements
        )

    def _order(self, last: int) -> list[int]:
        return [*(number for number in range(len(self.sources)) if number != last), last]

    def _text(self, number: int, kept: set[Statement]) -> str:
        """Returns the kept statements of a block, with the comments between them."""
        own = [statement for statement in self.statements if statement.block == number]
        if not any(statement in kept for statement in own):
            return ""
        lines: list[str | None] = list(self.sources[number].split("\n"))
        spans = [(first_line(statement.node), statement.node.end_lineno or statement.node.lineno) for statement in own]
        if any(first <= end for (_, end), (first, _) in pairwise(spans)):  # a; b
            return "\n".join(ast.unparse(statement.node) for statement in own if statement in kept)
        for statement, (first, end) in zip(own, spans, strict=True):
            if statement not in kept:
                lines[first - 1 : end] = [None] * (end - first + 1)
        return "\n".join(line for line in lines if line is not None)
