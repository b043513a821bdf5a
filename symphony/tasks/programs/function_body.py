"""Reads answers that continue where the prompt ends: the body of a function, without its signature."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Iterator

from symphony.tasks.programs.answer_blocks import pieces
from symphony.tasks.programs.python_source import parsed
from symphony.tasks.programs.python_statements import FUNCTION
from symphony.tasks.programs.rust_source import is_body

_HEAD = re.compile(
    r"\s*(?:async|def|class|if|elif|else|for|while|with|try|except|finally|match|case|fn|impl|mod|pub|struct|trait)\b"
    r"|.*[)\]}'\"]\s*(?:->[^:]*)?:\s*$|.*[{(\[,;]\s*$"
)
"""A line that owns the indented lines below it."""


def python_signature(tree: ast.Module, entry: str) -> str:
    """Returns the first line of a function, preceded by its decorators; "" if it is not defined."""
    for node in tree.body:
        if isinstance(node, FUNCTION) and node.name == entry:
            return ast.unparse(ast.Module([_empty(node)], type_ignores=[])).rpartition("\n")[0]
    return ""


def _empty(node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt:
    kind = type(node)
    return kind(
        name=node.name,
        args=node.args,
        body=[ast.Pass()],
        decorator_list=node.decorator_list,
        returns=node.returns,
        lineno=1,
        col_offset=0,
    )


def rust_signature(prompt: str, entry: str) -> str:
    """Returns the end of a prompt from its function to the opening brace; "" if it does not end with that brace."""
    match = re.search(rf"(?m)^[ \t]*(?:pub\s+)?fn\s+{re.escape(entry)}\b[^{{}}]*\{{\s*\Z", prompt)
    return match[0].strip() if match else ""


def python_body(text: str, signature: str) -> str | None:
    """Returns the last function body in an answer, placed below the signature; None if there is none.

    A body returns or yields something at its top level, which no program does.
    """
    return _last(text, lambda lines: _python(lines, signature))


def rust_body(text: str, signature: str) -> str | None:
    """Returns the last body in an answer, with or without closing brace, below the signature; None if there is none."""
    return _last(text, lambda lines: _rust(lines, signature))


def has_body(text: str, language: str) -> bool:
    """Whether an answer may be the body of a function."""
    body = python_body(text, "def f():") if language == "python" else rust_body(text, "fn f() {")
    return body is not None


def _last(text: str, read: Callable[[list[str]], str | None]) -> str | None:
    last = None
    for lines in pieces(text):
        last = next((program for program in map(read, _candidates(lines)) if program is not None), last)
    return last


def _candidates(lines: list[str]) -> Iterator[list[str]]:
    """Yields lines of a piece that may be a body: all of them, or indented ones that belong to no line above."""
    yield lines
    at = 0
    while at < len(lines):
        end = at + 1
        while end < len(lines) and (not lines[end].strip() or lines[end][0] in " \t" or lines[end].strip() == "}"):
            end += 1
        above = next((line for line in reversed(lines[:at]) if line.strip()), "")
        indented = lines[at][:1] in (" ", "\t")
        if (indented or "".join(lines[at + 1 : end]).strip()) and not _HEAD.match(above):
            yield lines[at:end]
        at = end if indented else at + 1


def _python(lines: list[str], signature: str) -> str | None:
    body = "\n".join(lines).strip("\n").rstrip()
    first, _, rest = body.partition("\n")
    less = min((len(line) - len(line.lstrip()) for line in rest.split("\n") if line.strip()), default=0)
    for text in (f"{' ' * less}{first}\n{rest}", body):  # leading blanks of a completion are often stripped
        source = f"{signature}\n{textwrap.indent(textwrap.dedent(text), '    ')}"
        tree = parsed(source)
        if tree is not None and len(tree.body) == 1 and any(map(_returns, getattr(tree.body[0], "body", ()))):
            return source
    return None


def _returns(node: ast.AST) -> bool:
    """Whether a statement returns or yields something to the caller of its function."""
    if isinstance(node, (*FUNCTION, ast.ClassDef, ast.Lambda)):
        return False
    if isinstance(node, (ast.Return, ast.Yield, ast.YieldFrom)):
        return True
    return any(map(_returns, ast.iter_child_nodes(node)))


def _rust(lines: list[str], signature: str) -> str | None:
    body = "\n".join(lines).strip("\n").rstrip()
    if not re.match(r"[ \t]", body) and not re.search(r"(?m)[;{}]$", body):
        return None
    return next((source for end in ("", "\n}") if is_body(source := f"{signature}\n{body}{end}")), None)
