"""Reads prompts from files: `prompts/<task>/<version>.yaml` next to this module, or a file of the user's own.

A published version never changes: runs are named by the digest of its wording. A better wording is a new version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from symphony.chat.prompts import APART, ChatPrompts, Shot
from symphony.files import kind_of
from symphony.types import SymphonyError, Turn

FOLDER = Path(__file__).parent / "prompts"
_TEXTS = ("instructions", "lessons", "evaluate", "reflect", "turn", "problem", "next", "verify", "again")
_PHASES = ("expand", "refine", "evaluate", "reflect")


@lru_cache(maxsize=16)
def read_prompts(task: str, wording: str) -> ChatPrompts:
    """Reads the prompts of a task.

    Args:
        task: A folder of prompts/.
        wording: A version there, e.g. "v1", or the path of a file that ends in .yaml.

    Raises:
        SymphonyError: There is no such file, or it does not hold prompts.
    """
    own = str(wording).endswith(".yaml")
    path = Path(wording) if own else FOLDER / task / f"{wording}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in (FOLDER / task).glob("*.yaml")))
        raise SymphonyError(f"task.wording: found {wording!r}, allowed: {known}, or a file that ends in .yaml")
    return _prompts(str(path), _load(path))


def _load(path: Path) -> Any:
    """Loads a file; with `like: <version>`, missing texts come from that version in the same folder."""
    node = _read(path)
    if not isinstance(node, dict) or "like" not in node:
        return node
    whole = [file for file in sorted(path.parent.glob("*.yaml")) if file != path and "like" not in (_read(file) or ())]
    if node["like"] not in [file.stem for file in whole]:
        allowed = ", ".join(file.stem for file in whole) or "a complete version"
        raise SymphonyError(f"{path}: like: found {node['like']!r}, allowed: {allowed}")
    return {**_read(path.parent / f"{node.pop('like')}.yaml"), **node}


def _read(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SymphonyError(f"{path}: found {' '.join(str(error).split())}, allowed: YAML") from error


def _prompts(where: str, node: Any) -> ChatPrompts:
    content = _node(where, node, _TEXTS[:4], (*_TEXTS[4:], *APART, "shots"))
    texts = {name: _text(f"{where}: {name}", content[name]) for name in (*_TEXTS, *APART) if name in content}
    phases = _node(f"{where}: shots", content.get("shots", {}), (), _PHASES)
    shots = {f"{phase}_shots": _shots(f"{where}: shots.{phase}", examples) for phase, examples in phases.items()}
    prompts = ChatPrompts(**texts, **shots)  # type: ignore[arg-type]
    try:
        prompts.turn.format(thought="", action="")
    except (LookupError, ValueError, AttributeError, TypeError) as error:
        places = "only {thought} and {action} in braces"
        raise SymphonyError(f"{where}: turn: found {prompts.turn!r}, allowed: {places}") from error
    if "{action}" not in prompts.turn:
        raise SymphonyError(
            f"{where}: turn: found {prompts.turn!r}, allowed: text with {{action}}, after any {{thought}}"
        )
    if "{problem}" not in prompts.problem:
        raise SymphonyError(f"{where}: problem: found {prompts.problem!r}, allowed: text with {{problem}}")
    if "{number}" not in prompts.compare:
        raise SymphonyError(f"{where}: compare: found {prompts.compare!r}, allowed: text with {{number}}")
    return prompts


def _shots(where: str, node: Any) -> tuple[Shot, ...]:
    shots = []
    for number, entry in enumerate(_list(where, node)):
        at = f"{where}[{number}]"
        content = _node(at, entry, ("problem", "answer"), ("path",))
        path = [
            Turn(**{name: _text(f"{at}: {name}", text) for name, text in step.items()})
            for step in (
                _node(f"{at}: path", step, ("thought", "action", "observation"), ())
                for step in _list(f"{at}: path", content.get("path", []))
            )
        ]
        problem, answer = (_text(f"{at}: {name}", content[name]) for name in ("problem", "answer"))
        shots.append(Shot(problem=problem, path=tuple(path), answer=answer))
    return tuple(shots)


def _node(where: str, node: Any, needed: Sequence[str], others: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(node, Mapping):
        raise SymphonyError(f"{where}: found {kind_of(node)}, allowed: the keys {', '.join((*needed, *others))}")
    for key in node:
        if key not in (*needed, *others):
            raise SymphonyError(f"{where}: found the key {key!r}, allowed: {', '.join((*needed, *others))}")
    for key in needed:
        if key not in node:
            raise SymphonyError(f"{where}: found no {key}, allowed: text for each of {', '.join(needed)}")
    return node


def _list(where: str, node: Any) -> Sequence[Any]:
    if not isinstance(node, list):
        raise SymphonyError(f"{where}: found {kind_of(node)}, allowed: a list")
    return node


def _text(where: str, node: Any) -> str:
    """Returns the text without the newline that ends a YAML block."""
    if not isinstance(node, str):
        raise SymphonyError(f"{where}: found {node!r}, allowed: text")
    return node.removesuffix("\n")
