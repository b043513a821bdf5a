"""Extracts the part of a Rust answer that a function needs: its block's items except `main`, and what these lack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import tree_sitter_rust
from tree_sitter import Language, Node, Parser

_PARSER = Parser(Language(tree_sitter_rust.language()))
_START = re.compile(
    r"([ \t]*)(?:#!?\[|//|/\*|(?:pub(?:\([^)]*\))?\s+)?(?:(?:const|async|unsafe|extern)\s+)*"
    r"(?:fn|use|struct|enum|impl|trait|mod|type|const|static|macro_rules!|union)\b|macro_rules!)"
)
_ITEM = (
    *("function_item", "use_declaration", "struct_item", "enum_item", "union_item", "impl_item", "trait_item"),
    *("mod_item", "type_item", "const_item", "static_item", "macro_definition", "extern_crate_declaration"),
    *("macro_invocation", "foreign_mod_item"),
)
_BESIDE = ("attribute_item", "inner_attribute_item", "line_comment", "block_comment", "empty_statement")
_GIVES_UP = re.compile(r"(?:std::|core::)?(?:todo|unimplemented|panic|unreachable)")
_NAMES = ("identifier", "type_identifier")
_OWN = ("struct_item", "enum_item", "union_item", "trait_item")
_STANDARD = re.compile(r"\buse\s+(?:::)?(?:std|core|alloc)\b")


class Rust:
    """Rust as `answer_blocks` reads it."""

    def is_program(self, source: str) -> bool:
        root = _PARSER.parse(source.encode(errors="replace")).root_node
        return not root.has_error and all(node.type in (*_ITEM, *_BESIDE) for node in root.children)

    def programs(self, lines: list[str], stop: int) -> Iterator[tuple[str, int]]:
        at = 0
        while at < stop:
            end = _end(lines, at) if _START.match(lines[at]) else at
            if end > at:
                yield "\n".join(lines[at:end]), end
            at = max(end, at + 1)


def _end(lines: list[str], start: int) -> int:
    """Returns where the items that begin on a line end."""
    end = start
    for node in _PARSER.parse("\n".join(lines[start:]).encode(errors="replace")).root_node.children:
        if node.type not in (*_ITEM, *_BESIDE) or node.has_error:
            break
        if node.type in _ITEM and not (node.type == "macro_invocation" and node.start_point.row == 0):
            end = start + node.end_point.row + 1
    return end


# --------------------------------------------------------------------------- items


@dataclass(frozen=True, eq=False)
class Item:
    """One item of a block.

    Attributes:
        node: Its syntax tree.
        block: Number of its block.
        start: Byte where it begins in the block, attributes and documentation included.
        text: Its source from there.
    """

    node: Node
    block: int
    start: int
    text: str

    @cached_property
    def defines(self) -> frozenset[str]:
        """Names that it brings into the module."""
        if self.node.type == "use_declaration":
            argument = self.node.child_by_field_name("argument")
            return frozenset(name for name, _ in _imports(argument, "")) if argument else frozenset()
        name = self.node.child_by_field_name("name")
        return frozenset([_text(name)]) if name is not None and self.node.type != "impl_item" else frozenset()

    @cached_property
    def names(self) -> frozenset[str]:
        """All names in it, except those of fields and methods."""
        return frozenset(_names(self.node, *_NAMES))

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of fields and methods in it."""
        return frozenset(_names(self.node, "field_identifier"))

    @cached_property
    def methods(self) -> frozenset[str]:
        """The functions that a trait declares."""
        body = self.node.child_by_field_name("body") if self.node.type == "trait_item" else None
        names = [child.child_by_field_name("name") for child in body.named_children] if body is not None else []
        return frozenset(_text(name) for name in names if name is not None)

    @cached_property
    def owners(self) -> frozenset[str]:
        """Names in the type and the trait of an `impl`."""
        fields = ("type", "trait") if self.node.type == "impl_item" else ()
        nodes = [self.node.child_by_field_name(name) for name in fields]
        return frozenset(name for node in nodes if node is not None for name in _names(node, *_NAMES))

    @property
    def is_test(self) -> bool:
        return bool(re.search(r"#\[\s*(?:cfg\s*\(\s*test\s*\)|test)\s*\]", self.text))

    def is_stub(self) -> bool:
        """Whether its body is empty or gives up at once: `todo!()`, `panic!("not implemented")`."""
        body = self.node.child_by_field_name("body")
        return self.node.type == "function_item" and body is not None and all(map(_does_nothing, body.named_children))


def _does_nothing(node: Node) -> bool:
    """Whether a statement is a comment, an unused binding (`let _ = x`), or gives up."""
    if node.type in ("expression_statement", "return_expression") and node.named_children:
        return all(map(_does_nothing, node.named_children))
    if node.type == "macro_invocation":
        name = node.child_by_field_name("macro")
        return name is not None and bool(_GIVES_UP.fullmatch(_text(name)))
    unused = node.type == "let_declaration" and _text(node).replace(" ", "").startswith("let_=")
    return unused or node.type in (*_BESIDE, "return_expression")


def is_body(source: str) -> bool:
    """Whether a source is one complete function, not a stub, whose last statement may be its value."""
    root = _PARSER.parse(source.encode(errors="replace")).root_node
    items = list(_items(source, 0))
    if root.has_error or len(items) != 1 or items[0].node.type != "function_item" or items[0].is_stub():
        return False
    body = items[0].node.child_by_field_name("body")
    statements = [node for node in body.named_children if node.type not in _BESIDE] if body is not None else []
    return bool(statements) and statements[-1].type not in _ITEM


def _items(source: str, block: int) -> Iterator[Item]:
    data = source.encode(errors="replace")
    start = None
    for node in _PARSER.parse(data).root_node.children:
        if node.type in ("attribute_item", "line_comment", "block_comment"):
            start = node.start_byte if start is None else start
            continue
        if node.type in (*_ITEM, "inner_attribute_item"):
            first = node.start_byte if start is None else start
            yield Item(node, block, first, data[first : node.end_byte].decode(errors="replace"))
        start = None


def _only(source: str, starts: set[int]) -> str:
    """Returns a source without the items that begin elsewhere, and without non-items (statements of an example)."""
    data = source.encode(errors="replace")
    spans = [(item.start, item.node.end_byte) for item in _items(source, 0) if item.start not in starts]
    nodes = _PARSER.parse(data).root_node.children
    spans += [(node.start_byte, node.end_byte) for node in nodes if node.type not in (*_ITEM, *_BESIDE)]
    for first, last in sorted(spans, reverse=True):
        data = data[:first] + data[last:]
    return data.decode(errors="replace")


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def _names(node: Node, *types: str) -> Iterator[str]:
    if node.type in types:
        yield _text(node)
    for child in node.children:
        yield from _names(child, *types)


def _imports(node: Node, path: str) -> Iterator[tuple[str, str]]:
    """Yields (name, path) of each name that a `use` imports; a wildcard's name is "*"."""
    inner = node.child_by_field_name("path")
    below = f"{path}{_text(inner)}::" if inner is not None else path
    if node.type == "scoped_use_list":
        node = node.child_by_field_name("list") or node
    if node.type == "use_list":
        for child in node.named_children:
            yield from _imports(child, below)
    elif node.type == "use_as_clause":
        alias = node.child_by_field_name("alias")
        yield (_text(alias) if alias is not None else "_", f"{path}{_text(node)}")
    elif node.type == "use_wildcard":
        yield "*", f"{path}{_text(node)}"
    elif node.type == "self":
        yield path.rstrip(":").rpartition("::")[2], path.rstrip(":")
    else:
        yield _text(node).rpartition("::")[2], f"{path}{_text(node)}"


# --------------------------------------------------------------------------- what a function needs


def rust_defines(sources: Sequence[str], entry: str) -> bool:
    """Whether a source has a function of that name that is not a stub."""
    return any(
        item.node.type == "function_item" and entry in item.defines and not item.is_stub()
        for source in sources
        for item in _items(source, 0)
    )


def other_function(sources: Sequence[str]) -> str | None:
    """Returns the function's name in the last source that has exactly one, not counting `main`, tests and stubs."""
    for source in reversed(sources):
        items = [
            item
            for item in _items(source, 0)
            if item.node.type == "function_item" and not (item.is_test or item.is_stub())
        ]
        names = [name for item in items for name in item.defines - {"main"}]
        if len(names) == 1:
            return names[0]
    return None


def rust_items(sources: Sequence[str], entry: str) -> str | None:
    """Returns the last complete definition of a function, with its block's items and what they need from other blocks.

    Returns:
        The source; None if no block has a definition.
    """
    items = [item for number, source in enumerate(sources) for item in _items(source, number)]
    definitions = [item for item in items if item.node.type == "function_item" and entry in item.defines]
    if not definitions:
        holds = [source for source in sources if re.search(rf"\bfn\s+{re.escape(entry)}\b", source)]
        return without_main(holds[-1]).strip("\n") + "\n" if holds else None
    chosen = max(definitions, key=lambda item: (not item.is_stub(), not item.node.has_error, items.index(item)))
    kept = [
        item
        for item in items
        if item.block == chosen.block and (item is chosen or not (item.defines & {entry, "main"} or item.is_test))
    ]
    kept = [item for item in kept if item is chosen or not _is_replaced(item, kept)]
    order = [*range(chosen.block - 1, -1, -1), *range(chosen.block + 1, len(sources))]
    others = [item for number in order for item in items if item.block == number]
    while (more := _lacking(kept, others, entry)) is not None:
        kept.append(more)
    joined = [item.text for item in sorted(kept, key=items.index) if item.block != chosen.block]
    return "\n".join([*joined, _only(sources[chosen.block], {item.start for item in kept})]).strip("\n") + "\n"


def with_preamble(prompt: str, program: str, entry: str) -> str:
    """Puts the prompt's `use` lines and helpers before a program, except for names the program defines itself."""
    own = {name for item in _items(program, 0) for name in item.defines}
    head = []
    for item in _items(prompt, 0):
        if item.node.type == "use_declaration":
            argument = item.node.child_by_field_name("argument")
            paths = _imports(argument, "") if argument is not None else ()
            head += [f"use {path};" for name, path in paths if name == "*" or name not in own]
        elif not item.defines & {*own, entry, "main"}:
            head.append(item.text)
    return "\n".join([*head, program])


def _is_replaced(item: Item, kept: list[Item]) -> bool:
    """Whether a later item of the block has the same name, as in a corrected draft."""
    if item.node.type in ("use_declaration", "impl_item", "macro_invocation") or not item.defines:
        return False
    later = kept[kept.index(item) + 1 :]
    return any(other.node.type == item.node.type and other.defines == item.defines for other in later)


def _lacking(kept: list[Item], others: list[Item], entry: str) -> Item | None:
    """Finds an item of another block that the kept items refer to and lack.

    Imports of the standard library are taken too, since a trait is used without its name. An `impl` comes with its type
    or its trait, unless these are from another draft.
    """
    defined = {name for item in kept for name in item.defines} - {"*"}
    names = {name for item in kept for name in item.names} - defined - {entry, "main"}
    own = {name: item.block for item in kept if item.node.type in _OWN for name in item.defines}
    called = names.union(*(item.fields for item in kept))
    for item in others:
        if item in kept or item.is_test or item.node.has_error or item.defines & defined:
            continue
        drafts = {
            name for other in others if other.block == item.block and other.node.type in _OWN for name in other.defines
        }
        of_ours = any(own[name] == item.block or name not in drafts for name in item.owners & own.keys())
        standard = item.node.type == "use_declaration" and _STANDARD.search(item.text)
        again = any(other.block != item.block and other.owners and _head(other) == _head(item) for other in kept)
        if item.defines & names or item.methods & called or standard or (of_ours and not again):
            return item
    return None


def _head(item: Item) -> str:
    """Returns the part of an `impl` before its body."""
    return " ".join(item.text.partition("{")[0].split())


def without_main(source: str) -> str:
    """Removes `fn main` from a Rust source; its braces mark its body, ignoring those in strings and comments."""
    match = re.search(r"(?m)^[ \t]*(?:pub\s+)?fn\s+main\s*\(\s*\)[^{]*\{", source)
    if match is None:
        return source
    depth, at = 1, match.end()
    token = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])'|[{}]", re.DOTALL)
    for part in token.finditer(source, match.end()):
        depth += {"{": 1, "}": -1}.get(part[0], 0)
        if depth == 0:
            at = part.end()
            break
    else:
        return source
    return source[: match.start()] + source[at:]
