"""Reads the YAML files of conf/, each checked on its own: UTF-8, a mapping, and names that are unique texts."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from symphony.types import SymphonyError

MAX_DEPTH = 50
MAX_NODES = 100_000
"""Maximum nodes in a file, counting those that aliases repeat."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER = yaml.resolver.Resolver()
_TEXT = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")
"""Allowed tags of a name; a date counts as text in conf/."""


@dataclass(slots=True)
class _Open:
    """An unfinished mapping or list. `names` is None for a list; `named` means that a value comes next."""

    anchor: str | None
    names: set[str] | None
    named: bool = False
    nodes: int = 1


@dataclass(slots=True)
class _Reader:
    """Checks a file's events one after another, so that deep nesting cannot overflow the stack."""

    path: str
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, int] = field(default_factory=dict)
    """Nodes of each finished anchor."""
    documents: int = 0
    line: int = 1

    def read(self, events: Iterable[Any]) -> None:
        for event in events:
            self.line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                self.documents += 1
                self.allow(self.documents == 1, "a second document", "one")
            elif isinstance(event, yaml.NodeEvent):
                self.node(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self.end()

    def node(self, event: Any) -> None:
        opens = isinstance(event, yaml.CollectionStartEvent)
        mapping = isinstance(event, yaml.MappingStartEvent)
        self.allow(bool(self.open) or mapping, "a list" if opens else "a single value", "a mapping, `key: value`")
        tag = getattr(event, "tag", None)
        self.allow(tag in (None, "!", _TEXT[0]), f"the tag {tag}", "values without tags")
        if self.open and self.open[-1].names is not None:
            if not self.open[-1].named:
                self.name(event)
            self.open[-1].named = not self.open[-1].named
        if opens:
            self.allow(len(self.open) < MAX_DEPTH, f"more than {MAX_DEPTH} levels", "fewer")
            self.open.append(_Open(event.anchor, set() if mapping else None))
        elif isinstance(event, yaml.AliasEvent):
            inside = event.anchor in [parent.anchor for parent in self.open]
            self.allow(not inside, f"the alias *{event.anchor} inside its own value", "an alias after that value")
            self.allow(event.anchor in self.anchors, f"the unknown alias *{event.anchor}", "one with an anchor above")
            self.count(self.anchors[event.anchor])
        else:
            self.count(1)
            if event.anchor:
                self.anchors[event.anchor] = 1

    def name(self, event: Any) -> None:
        names = self.open[-1].names
        assert names is not None
        scalar = isinstance(event, yaml.ScalarEvent)
        self.allow(scalar, "a name that is not text", "text")
        text = scalar and (not event.implicit[0] or _RESOLVER.resolve(yaml.ScalarNode, event.value, (True, False)))
        self.allow(text is True or text in _TEXT, f"the name {event.value}", f'text, e.g. "{event.value}"')
        self.allow(event.value not in names, f"{event.value} twice", "once")
        names.add(event.value)

    def end(self) -> None:
        ended = self.open.pop()
        if ended.anchor:
            self.anchors[ended.anchor] = ended.nodes
        if self.open:
            self.count(ended.nodes)

    def count(self, nodes: int) -> None:
        self.open[-1].nodes += nodes
        self.allow(self.open[-1].nodes <= MAX_NODES, f"more than {MAX_NODES} values", "fewer")

    def allow(self, right: bool, finding: str, allowed: str) -> None:
        if not right:
            raise SymphonyError(f"{self.path}:{self.line}: found {finding}, allowed: {allowed}")


def check_file(path: Path) -> None:
    """Checks that a file is UTF-8 and YAML, that it is a mapping or empty, and that its names are unique texts.

    Raises:
        SymphonyError: A check fails; the message names the file and the line.
    """
    plain(path)


def plain(path: Path) -> Mapping[str, Any]:
    """Returns one file's content, with interpolations as written.

    Raises:
        SymphonyError: As in `check_file`.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SymphonyError(f"{path}: found {error.strerror or error}, allowed: a readable file") from error
    return _plain(str(path), content)


def whole(path: Path, above: Sequence[Path] = ()) -> dict[str, Any]:
    """Returns an option's file merged with the files of its group in its list of defaults, not composed further.

    Args:
        above: Files that include this one; in a circle, which Hydra refuses, each file is read once.

    Raises:
        SymphonyError: As in `check_file`, for any of them.
    """
    own = dict(plain(path))
    defaults = own.pop("defaults", None)
    names = [name for name in defaults if isinstance(name, str)] if isinstance(defaults, list) else []
    merged: dict[str, Any] = {}
    for name in names if "_self_" in names else [*names, "_self_"]:
        file = path.parent / f"{name.removesuffix('@_here_')}.yaml"
        if name == "_self_":
            merged |= own
        elif file not in (*above, path):
            merged |= whole(file, (*above, path))
    return merged


@lru_cache(maxsize=1024)
def _plain(path: str, content: bytes) -> Mapping[str, Any]:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise SymphonyError(f"{path}:{line}: found bytes that are not UTF-8, allowed: UTF-8") from error
    try:
        _Reader(path).read(list(yaml.parse(text, Loader=_LOADER)))  # a list, so that invalid YAML is reported first
        return yaml.load(text, Loader=_LOADER) or {}
    except (yaml.YAMLError, ValueError) as error:
        raise broken(error, path) from error


def load(path: Path, *, resolve: bool = False) -> dict[str, Any]:
    """Returns one file's content, not composed.

    Args:
        resolve: Whether to replace interpolations by their values.

    Raises:
        SymphonyError: As in `check_file`, or an interpolation without a target.
    """
    check_file(path)
    return copy.deepcopy(_loaded(str(path), path.read_bytes(), resolve))


@lru_cache(maxsize=1024)
def _loaded(path: str, content: bytes, resolve: bool) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        whole = OmegaConf.to_container(OmegaConf.load(io.StringIO(content.decode())), resolve=resolve)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError) as error:
        raise broken(error, path) from error
    return {str(key): value for key, value in whole.items()} if isinstance(whole, dict) else {}


def broken(error: Exception, path: object = "conf") -> SymphonyError:
    """Turns a parser's error into a message with file and line."""
    mark = getattr(error, "problem_mark", None)
    where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
    text = getattr(error, "problem", None) or str(error).strip().splitlines()[0]
    return SymphonyError(f"{where}: found invalid YAML ({text}), allowed: YAML")


def to_yaml(config: Mapping[str, Any]) -> str:
    """The config as a file for people."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))
