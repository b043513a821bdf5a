"""The program in a model's answer."""

from __future__ import annotations

import ast
import re

_FENCE = re.compile(r"^[ \t]*```[ \t]*([\w+-]*)[^\n]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE)
_OPEN = re.compile(r"^[ \t]*```[^\n]*\n(.*)\Z", re.DOTALL | re.MULTILINE)


def python_program(text: str, entry: str) -> str | None:
    """The Python program in a text that defines `entry`, imports kept.

    Of several fenced blocks (any tag, CRLF allowed) the first that defines it; without fences the text itself, from its
    first top-level statement to the last line that can still be parsed. Where only one function is defined, under
    another name, it is renamed.

    Returns:
        None where there is no such program.
    """
    found = [block for _, block in blocks(text)] or [_unfenced(text)]
    trees = [(block, tree) for block in found if (tree := parsed(block)) is not None]
    for block, tree in trees:
        if entry in functions(tree):
            return block.strip("\n") + "\n"
    for block, tree in trees:
        defined = functions(tree)
        if len(defined) == 1:
            return re.sub(rf"\b{re.escape(defined[0])}\b", entry, block.strip("\n")) + "\n"
    return None


def rust_program(text: str, entry: str) -> str | None:
    """The Rust program in a text that defines `fn entry`, without its `main`.

    Returns:
        None where there is no such program.
    """
    found = [block for _, block in blocks(text)] or [text.replace("\r\n", "\n")]
    for block in found:
        if re.search(rf"\bfn\s+{re.escape(entry)}\b", block):
            return without_main(block).strip("\n") + "\n"
    return None


def blocks(text: str) -> list[tuple[str, str]]:
    """(tag, content) of the fenced blocks; one that was cut off counts to the end."""
    text = text.replace("\r\n", "\n")
    found = [(match[1].lower(), match[2]) for match in _FENCE.finditer(text)]
    if not found and (match := _OPEN.search(text)):
        found = [("", match[1])]
    return found


def parsed(source: str) -> ast.Module | None:
    """Its syntax tree; None where it has none."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def functions(tree: ast.Module) -> list[str]:
    """Names of the functions at top level."""
    return [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def asserts(text: str, entry: str) -> tuple[str, ...]:
    """The top-level `assert` statements about `entry` in the blocks of a text, each on one line."""
    found: dict[str, None] = {}
    for source in [block for _, block in blocks(text)] or [_unfenced(text)]:
        tree = parsed(source)
        for node in tree.body if tree else ():
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            if isinstance(node, ast.Assert) and entry in names:
                found[ast.unparse(node)] = None
    return tuple(found)


def _unfenced(text: str) -> str:
    """From the first line that can begin a program to the last with which the whole still parses."""
    lines = text.replace("\r\n", "\n").split("\n")
    starts = [i for i, line in enumerate(lines) if re.match(r"(def|async def|class|import|from|@)\b|@", line)]
    for start in starts:
        for end in range(len(lines), start, -1):
            source = "\n".join(lines[start:end])
            if parsed(source) is not None:
                return source
    return ""


def without_main(source: str) -> str:
    """A Rust source without `fn main`, whose body is found by its braces (those in strings and comments aside)."""
    match = re.search(r"(?m)^[ \t]*(?:pub\s+)?fn\s+main\s*\(\s*\)[^{]*\{", source)
    if match is None:
        return source
    depth, at = 1, match.end()
    token = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])'|[{}]", re.DOTALL)
    for found in token.finditer(source, match.end()):
        depth += {"{": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            at = found.end()
            break
    else:
        return source
    return source[: match.start()] + source[at:]
