"""What a composed config may hold: the types and ranges of its root, and that its parts can be made.

Types and ranges stand at the fields here and in the constructors that a `_target_` names; `symphony.fields` reads both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, MinLen

from symphony.fields import Count, Words, allowed, check, kinds, shown
from symphony.plan.model_spec import NOT_ARGUMENTS, models
from symphony.plan.run_config import Execution, Limits
from symphony.plan.specs import PARTS, money_limits
from symphony.plan.targets import check_arguments, class_of, instantiate
from symphony.plan.yaml_files import whole
from symphony.types import Feedback, SymphonyError

Seed = Annotated[int, Interval(ge=0, le=2**63 - 1)]
"""As large as the database holds."""
GIVEN = ("name", "weights")
"""Keys of an agent that a run's config has and that no YAML sets."""


@dataclass
class Budgets:
    problem: Limits = field(default_factory=Limits)
    run: Limits = field(default_factory=Limits)
    study: Limits = field(default_factory=Limits)
    tasks: dict[str, Any] = field(default_factory=dict)
    """Limits of a problem of single tasks, in place of `problem`. (Hydra adds no key to a dict of Limits.)"""


@dataclass
class Tokens:
    """Completion tokens at most, for every search that names none of its own."""

    action: Count = 48
    evaluation: Count = 40
    lesson: Count = 64


@dataclass
class Root:
    """Schema of the composed config: a key that is not here is refused with its full name.

    Hydra knows of `Annotated` and of no `Literal`, so a choice is written `Annotated[str, Literal[...]]`.
    """

    title: Words = ""
    question: Words = ""
    table: Words = ""
    reference: str | None = None
    against: str | None = None
    sweep: dict[str, Any] = field(default_factory=dict)
    tasks: Annotated[list[str], MinLen(1)] = field(default_factory=list)
    seeds: Annotated[list[Seed], MinLen(1)] = field(default_factory=list)
    seed: Seed = 0
    problems: Count = 1
    feedback: Annotated[str, Feedback] = "oracle"
    data_dir: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    budget: Budgets = field(default_factory=Budgets)
    execution: Execution = field(default_factory=Execution)
    task: Any = None
    pool: Any = None
    scheduler: Any = None
    scorer: Any = None
    memory: Any = None
    search: Any = None
    preset: Any = None


GROUPS = (*PARTS, "pool", "preset")
"""Keys of the root that are an option of a folder in conf/."""


def allowed_at(key: str) -> str:
    """What a key of the root may hold, in words; "" where the root does not say."""
    kind: Any = Root
    for name in key.partition("[")[0].split("."):
        known: Mapping[str, Any] = kinds(kind) if is_dataclass(kind) else {}  # type: ignore[arg-type]
        kind = known.get(name)
    return "" if kind in (None, Any) else "a mapping" if is_dataclass(kind) else allowed(kind)


def check_option(group: str, found: Any) -> None:
    """Raises SymphonyError where what stands at a group's key is not what an option of it holds."""
    if not isinstance(found, Mapping):
        told = f"an option of conf/{group}/, chosen in an experiment by `- override /{group}: <name>` below `defaults:`"
        raise SymphonyError(f"{group}: found {shown(found)}, allowed: {told}")


def check_root(root: Mapping[str, Any]) -> None:
    """Checks the root of a composed config, and that each of its options is a mapping.

    Raises:
        SymphonyError: A key is unknown, missing, or holds what its field does not allow.
    """
    _check_node("", root, Root)
    for key in ("tasks", "seeds"):
        if twice := [value for value, count in Counter(root[key]).items() if count > 1]:
            raise SymphonyError(f"{key}: found {twice[0]} twice, allowed: each once")
    for task, limits in root["budget"]["tasks"].items():
        key = f"budget.tasks.{task}"
        check(key, limits, dict[str, Any])
        _check_node(f"{key}.", {**dict.fromkeys(kinds(Limits)), **limits}, Limits)
    for key in GROUPS:
        check_option(key, root[key])
    _check_pool(root["pool"])


def _check_node(prefix: str, node: Mapping[str, Any], schema: type) -> None:
    known = kinds(schema)
    for key in (*node, *known):
        if key not in known:  # what Hydra's `+key=value` adds past the schema
            raise SymphonyError(f"{prefix}{key}: found an unknown key, allowed: {', '.join(known)}")
        if key not in node:
            raise SymphonyError(f"{prefix}{key}: found nothing, allowed: a value")
        kind = known[key]
        if not is_dataclass(kind):
            if kind is not Any:
                check(f"{prefix}{key}", node[key], kind)
        elif isinstance(node[key], Mapping):
            _check_node(f"{prefix}{key}.", node[key], kind)  # type: ignore[arg-type]
        else:
            raise SymphonyError(f"{prefix}{key}: found {shown(node[key])}, allowed: a mapping")


def _check_pool(pool: Mapping[str, Any]) -> None:
    for key in pool:
        if key != "agents":
            raise SymphonyError(f"pool.{key}: found an unknown key, allowed: agents")
    agents = pool.get("agents")
    if not isinstance(agents, Mapping) or not agents:
        raise SymphonyError(f"pool.agents: found {shown(agents)}, allowed: at least one agent, `<name>: <its model>`")
    for name, agent in agents.items():
        check("pool.agents", name, str)
        key = f"pool.agents.{name}"
        if not isinstance(agent, Mapping):
            raise SymphonyError(f"{key}: found {shown(agent)}, allowed: an option of conf/model/")
        for given in GIVEN:
            if given in agent:
                raise SymphonyError(f"{key}.{given}: found a value, allowed: none (it follows from the model)")
        check_arguments(key, agent, extra=NOT_ARGUMENTS)
        if "made_from" in agent:
            check(f"{key}.made_from", agent["made_from"], str)


NAMED_LIMITS = {scope: ("calls", "tokens", "seconds") for scope in ("problem", "run")}
"""Limits that a config holds even where they are null. The others came later, and runs keep their names."""


def limits_of(budget: Mapping[str, Any], task: str | None, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The limits that hold for a run's task, without those of other tasks and without nulls that say nothing.

    Args:
        known: The tasks that there are.

    Raises:
        SymphonyError: There is no task of a name in `tasks`.
    """
    for name in budget["tasks"]:
        if name not in known:
            raise SymphonyError(f"budget.tasks: found {name!r}, allowed: {', '.join(known)}")
    own = budget["tasks"].get(task, {})
    scopes = {scope: limits for scope, limits in budget.items() if scope != "tasks"}
    scopes["problem"] = {**scopes["problem"], **own}
    kept = {
        scope: {
            name: limit for name, limit in limits.items() if limit is not None or name in NAMED_LIMITS.get(scope, ())
        }
        for scope, limits in scopes.items()
    }
    return {scope: limits for scope, limits in kept.items() if limits}


TASK_KEYS = ("repeats",)
"""Keys of a preset that some tasks alone read: known, too, where a conf/ holds none of these tasks."""


def check_preset(preset: Mapping[str, Any], conf: Path) -> None:
    """Checks that each key of a preset is read by an option, and allowed by every field that reads it.

    Raises:
        SymphonyError: One is not.
    """
    read, found = list(_preset_fields(conf)), _leaves(preset)
    known = {key for key, _ in read} | set(TASK_KEYS)
    for key in sorted(found.keys() - known):
        raise SymphonyError(f"preset.{key}: found an unknown key, allowed: {', '.join(sorted(known))}")
    for key, kind in read:
        if key in found:
            check(f"preset.{key}", found[key], kind)


def _leaves(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of nested mappings, by its key in full."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def _preset_fields(conf: Path) -> Iterator[tuple[str, Any]]:
    """Key of a preset and the annotation of a field that reads it, for each option of conf/."""
    for part in PARTS:
        for path in sorted((conf / part).glob("*.yaml")):
            node = whole(path)
            for name, value in node.items():
                key = re.fullmatch(r"\$\{preset\.([\w.]+)\}", str(value))
                if key and "_target_" in node:
                    yield key[1], kinds(class_of(part, node["_target_"])).get(name, Any)


def check_parts(config: Mapping[str, Any]) -> None:
    """Makes of a run's config what is cheap to make, so that errors come before any job.

    Raises:
        SymphonyError: A part's constructor refuses what it is given, or parts do not go together.
    """
    agents = models(config)
    for part in PARTS:
        made = instantiate(part, config[part])
        if hasattr(made, "check_pool"):
            made.check_pool(len(agents))
    for name, spec in agents.items():
        try:
            spec.check()
        except SymphonyError as error:
            raise SymphonyError(f"pool.agents.{name}: {error}") from error
        if money_limits(config) and spec.price.unknown:
            key, limit = spec.price.unknown[0], money_limits(config)[0]
            needed = f"dollars per million tokens, because {limit} is set"
            raise SymphonyError(f"pool.agents.{name}.price.{key}: found no price, allowed: {needed}")
