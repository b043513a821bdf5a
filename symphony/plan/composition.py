"""One composed config: composes it by Hydra, changes single values of it, and returns it as plain values.

Composing takes 0.1 s, so runs that differ only in a seed or in single values share a composition. Interpolations are
resolved again only where a changed value can matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from symphony.plan.former import MOVED_KEYS
from symphony.plan.schema import Root, allowed_at, check_option
from symphony.plan.yaml_files import broken
from symphony.types import SymphonyError, canonical_json

_WORDS = {"Infinity": "inf"}
"""On the command line Hydra reads `inf` as a number, which JSON lacks; here it is the name of an option."""
_REFERENCE = re.compile(r"\$\{([^}]*)\}?")
_ABSOLUTE = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
_SINGLE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


class Composition:
    """A composed config.

    Args:
        cfg: What Hydra composed.
    """

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg
        self._plain: dict[str, Any] = {}
        self._leads_to: dict[str, frozenset[str]] | None = None

    @cached_property
    def choices(self) -> Mapping[str, Any]:
        """The chosen option of each group, by Hydra's name of the group."""
        return dict(self._cfg.hydra.runtime.choices)

    def set(self, key: str, value: Any) -> None:
        """Changes the value of a key that is there, as an override does. The value is a scalar without interpolations.

        Raises:
            OmegaConfBaseException: There is no such key, or it does not take the value.
        """
        from omegaconf import OmegaConf

        root, *path = key.split(".")
        node = self._node(key)
        if node is not None and type(node._value()) is type(value) and node._value() == value:
            return
        OmegaConf.update(self._cfg, key, value)
        is_alone = node is not None and root not in self._reach(root)  # nothing else below the root key changes
        for other in list(self._plain):
            if other == root and is_alone:
                self._plain[root] = _replace(self._plain[root], path, _as_json(OmegaConf.select(self._cfg, key)))
            elif other == root or root in self._reach(other):
                del self._plain[other]

    def _node(self, key: str) -> Any:
        """Returns the node at a key; None if there is none, or if the key leads through an interpolation."""
        node = self._cfg
        for name in key.split("."):
            if node is None or not isinstance(node._value(), dict):
                return None
            node = node._get_node(name)
        return node

    def value(self, key: str, default: Any) -> Any:
        """Returns the value of a root key as JSON values; `default` if there is no such key."""
        return self._resolve(key) if key in self._cfg else default

    def plain(self) -> dict[str, Any]:
        """Returns all as JSON values, without Hydra's own part, with interpolations resolved. Nobody may change them.

        Raises:
            SymphonyError: An interpolation has no target, or a value is missing.
        """
        if "preset" in self._cfg and "preset" not in self._plain:  # the other keys refer to it
            check_option("preset", self._get("preset"))
        return {str(key): self._resolve(str(key)) for key in self._cfg if key != "hydra"}

    def _get(self, key: str, *, resolve: bool = False) -> Any:
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            value = self._cfg[key]
            whole = resolve and OmegaConf.is_config(value)
            return OmegaConf.to_container(value, resolve=True, throw_on_missing=True) if whole else value
        except (OmegaConfBaseException, RecursionError) as error:
            raise SymphonyError(_explain(error, ())) from error

    def _resolve(self, key: str) -> Any:
        if key not in self._plain:
            self._plain[key] = _as_json(self._get(key, resolve=True))
        return self._plain[key]

    def _reach(self, root: str) -> frozenset[str]:
        """Returns the root keys to which the value of one refers, by way of others, too; all if that is unclear."""
        if self._leads_to is None:
            self._leads_to = _close({str(key): self._references(str(key)) for key in self._cfg if key != "hydra"})
        return self._leads_to[root]

    def _references(self, key: str) -> frozenset[str] | None:
        """Returns the root keys that one refers to directly; None if that is unclear."""
        from omegaconf import OmegaConf

        node = self._cfg._get_node(key)
        raw = OmegaConf.to_container(node, resolve=False) if OmegaConf.is_config(node) else node._value()
        found = set()
        for text in _texts(raw):
            if text.count("${") != len(_REFERENCE.findall(text)):
                return None
            for reference in _REFERENCE.findall(text):
                if not _ABSOLUTE.fullmatch(reference):  # relative, nested, or a function
                    return None
                found.add(reference.partition(".")[0])
        return frozenset(found)


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value), parse_constant=lambda name: _WORDS.get(name, float("nan")))


def _replace(node: Any, path: Sequence[str], value: Any) -> Any:
    """Returns a copy of nested mappings with another value at the end of the path."""
    return {**node, path[0]: _replace(node[path[0]], path[1:], value)} if path else value


def _texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for item in value.items() for part in item for text in _texts(part)]
    if isinstance(value, (list, tuple)):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) and "${" in value else []


def _close(direct: Mapping[str, frozenset[str] | None]) -> dict[str, frozenset[str]]:
    """Returns the transitive closure of the references between root keys."""
    everything = frozenset(direct)
    closed = {}
    for key in direct:
        reached: set[str] = set()
        waiting = [key]
        while waiting:
            others = direct.get(waiting.pop(), frozenset())
            new = (everything if others is None else others) - reached
            reached |= new
            waiting += new
        closed[key] = frozenset(reached)
    return closed


class Composer:
    """Composes the configs of a study; those that differ only in single values share a composition.

    Args:
        conf: The folder with config.yaml.
    """

    def __init__(self, conf: Path) -> None:
        self._conf = conf
        self._kept: dict[tuple[str, ...], Composition] = {}
        self._seen: set[str] = set()
        self._options: dict[str, list[str]] = {}

    def options(self, group: str) -> list[str]:
        """Returns the names of a group's options, sorted; looks for them once."""
        if group not in self._options:
            self._options[group] = option_names(self._conf, group)
        return self._options[group]

    def first_time(self, content: Any) -> bool:
        """Whether it is asked about these contents (JSON values) for the first time, so that they are checked once."""
        text = canonical_json(content)
        known = text in self._seen
        self._seen.add(text)
        return not known

    def compose(self, overrides: Sequence[str], values: Sequence[str] = ()) -> Composition:
        """Returns the composition of all overrides. It may change when another is asked for.

        Args:
            overrides: Hydra's overrides.
            values: Those applied after them, of which single values are applied to a composition that is kept.
        """
        parsed = [_single(item, self._conf) for item in values]
        keys = [single[0] for single in parsed if single]
        others = [item for item, single in zip(values, parsed, strict=True) if single is None]
        name = (*overrides, "", *others, "", *keys)
        kept = self._kept.get(name)
        if kept is not None and self._applied(kept, [single for single in parsed if single]):
            return kept
        self._kept[name] = Composition(hydra_compose(self._conf, [*overrides, *values]))
        return self._kept[name]

    def _applied(self, kept: Composition, values: Sequence[tuple[str, Any]]) -> bool:
        """Applies single values; returns whether all fitted (if not, composing anew tells the user why)."""
        from omegaconf.errors import OmegaConfBaseException

        try:
            for key, value in values:
                kept.set(key, value)
        except OmegaConfBaseException:
            return False
        return True


@lru_cache(maxsize=100_000)
def _single(item: str, conf: Path) -> tuple[str, Any] | None:
    """Returns key and value of an override that sets a single value: no option, no new key, no reference to others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    key = item.partition("=")[0]
    if not _SINGLE.fullmatch(key) or (conf / key).is_dir():
        return None
    (override,) = OverridesParser.create().parse_overrides([item])
    value = override.value()
    is_plain = value is None or (isinstance(value, (bool, int, float, str)) and "${" not in str(value))
    return (key, value) if is_plain else None


def hydra_compose(conf: Path, overrides: list[str]) -> Any:
    """Composes conf/ with these overrides.

    Raises:
        SymphonyError: A misspelt key, an unknown option, or a value of the wrong kind.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    OmegaConf.register_new_resolver("min", min, replace=True)  # a config can say ${min:${problems},5}
    ConfigStore.instance().store(name="root_schema", node=Root)
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            return compose("config", overrides, return_hydra_config=True)
    except MissingConfigException as error:
        group, _, option = str(error.missing_cfg_file or "").rpartition("/")
        raise SymphonyError(f"{group}: found {option!r}, allowed: {', '.join(option_names(conf, group))}") from error
    except YAMLError as error:
        raise broken(error) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise SymphonyError(_explain(error, overrides)) from error
    except (ValueError, TypeError, AttributeError, AssertionError, KeyError, RecursionError) as error:
        # Hydra's own checks have gaps, e.g. for the contents of a list of defaults.
        raise SymphonyError(f"{_place(overrides)}: found {first_line(error)}, allowed: a config for Hydra") from error


def option_names(conf: Path, group: str) -> list[str]:
    """Returns the names of a group's options, sorted."""
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))


def _place(overrides: Sequence[str]) -> str:
    """Returns the file that a composition begins with."""
    chosen = [item.partition("=")[2] for item in overrides if item.startswith("+experiment=")]
    return f"conf/experiment/{chosen[0]}.yaml" if chosen else "conf"


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's text, or its kind."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _explain(error: Exception, overrides: Sequence[str]) -> str:
    """Turns Hydra's and OmegaConf's reports into one line with the full name of the key."""
    chain: list[BaseException] = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(deeper)
    named = [link for link in chain if getattr(link, "full_key", None)]
    cause = named[-1] if named else error.__cause__ or chain[min(1, len(chain) - 1)]
    key = getattr(cause, "full_key", None) or ""
    override = next((item for item in overrides if key and item.lstrip("+~").partition("=")[0] == key), "")
    where = override or (_place(overrides) if overrides else "")
    text = first_line(cause)
    text = re.sub(r"is not in struct|not in '\w+'", "is not in the config", text)
    siblings = getattr(cause, "parent_node", None)
    misspelt = siblings is not None and "not in the config" in text
    known = [str(name) for name in siblings or () if name != "hydra"] if misspelt else []
    allowed = ", ".join(known) or allowed_at(key)
    if misspelt and key in MOVED_KEYS:
        allowed = MOVED_KEYS[key]
    elif misspelt and "." in key and not override.startswith("+"):
        allowed = "; ".join(filter(None, (allowed, f"+{override or f'{key}=<value>'} adds a new key")))
    if allowed and not known:
        text = f"found a value that is not allowed ({text.rstrip('.')})"
    return ": ".join(filter(None, (where, key, text))) + f", allowed: {allowed or 'a value, or ${<another key>}'}"
