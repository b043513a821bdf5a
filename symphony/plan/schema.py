"""The schema of a composed config: types and ranges of its root, and the check that its parts can be made.

Types and ranges are given at the fields here and in the constructors that a `_target_` names; `symphony.fields`
reads both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval, MinLen

from symphony.fields import Count, Words, allowed, check, kinds, required, shown
from symphony.plan.model_spec import NOT_ARGUMENTS, models
from symphony.plan.run_config import Execution, Limits, Server, StudyLimits
from symphony.plan.specs import PARTS, money_limits
from symphony.plan.targets import check_arguments, class_of, instantiate
from symphony.plan.yaml_files import whole
from symphony.types import Feedback, SymphonyError

Seed = Annotated[int, Interval(ge=0, le=2**63 - 1)]
"""The largest value that the database can store."""
DERIVED = ("name", "weights")
"""Keys of an agent that a run's config has and no YAML file sets."""


@dataclass
class Budgets:
    problem: Limits = field(default_factory=Limits)
    run: Limits = field(default_factory=Limits)
    study: StudyLimits = field(default_factory=StudyLimits)
    tasks: dict[str, Any] = field(default_factory=dict)
    """Limits of a problem for single tasks, replacing `problem`. (Hydra adds no key to a dict of Limits.)"""


@dataclass
class Tokens:
    """Maximum completion tokens, for every search that sets none of its own."""

    action: Count = 48
    evaluation: Count = 40
    lesson: Count = 64


@dataclass
class Root:
    """Schema of the composed config: any other key is refused with its full name.

    Hydra supports `Annotated` but not `Literal`, so a choice is written `Annotated[str, Literal[...]]`.
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
"""Root keys whose value is an option from a folder in conf/."""


def allowed_at(key: str) -> str:
    """Describes what a root key may hold; "" if the root does not say."""
    kind: Any = Root
    for name in key.partition("[")[0].split("."):
        known: Mapping[str, Any] = kinds(kind) if is_dataclass(kind) else {}  # type: ignore[arg-type]
        kind = known.get(name)
    return "" if kind in (None, Any) else "a mapping" if is_dataclass(kind) else allowed(kind)


def check_option(group: str, content: Any) -> None:
    """Raises SymphonyError if the value at a group's key is not an option's content."""
    if not isinstance(content, Mapping):
        wanted = (
            f"an option of conf/{group}/, chosen in an experiment by `- override /{group}: <name>` below `defaults:`"
        )
        raise SymphonyError(f"{group}: found {shown(content)}, allowed: {wanted}")


def check_root(root: Mapping[str, Any]) -> None:
    """Checks the root of a composed config, and that each of its options is a mapping.

    Raises:
        SymphonyError: A key is unknown, missing, or holds a value that its field does not allow.
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
        if key not in known:  # Hydra's `+key=value` can add keys outside the schema
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
        if key not in ("agents", "serve"):
            raise SymphonyError(f"pool.{key}: found an unknown key, allowed: agents, serve")
    agents = pool.get("agents")
    if not isinstance(agents, Mapping) or not agents:
        raise SymphonyError(f"pool.agents: found {shown(agents)}, allowed: at least one agent, `<name>: <its model>`")
    for name, agent in agents.items():
        check("pool.agents", name, str)
        key = f"pool.agents.{name}"
        if not isinstance(agent, Mapping):
            raise SymphonyError(f"{key}: found {shown(agent)}, allowed: an option of conf/model/")
        for derived in DERIVED:
            if derived in agent:
                raise SymphonyError(f"{key}.{derived}: found a value, allowed: none (it follows from the model)")
        check_arguments(key, agent, extra=NOT_ARGUMENTS)
        if "made_from" in agent:
            check(f"{key}.made_from", agent["made_from"], str)
    _check_servers(pool.get("serve", {}), {str(agent.get("base_url", "")).rstrip("/") for agent in agents.values()})


_SERVER = re.compile(r"[A-Za-z0-9_-]+")
_DEFAULTS = Server(engine="vllm", port=1024, path="any")


def served(pool: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what a run's execution says of its pool's servers: `serve`, or nothing if there are none."""
    return {"serve": pool["serve"]} if pool.get("serve") else {}


def _check_servers(servers: Any, asked: Collection[str]) -> None:
    """Checks the servers of a pool: their keys, and that each has its own port, which an agent of the pool asks."""
    if not isinstance(servers, Mapping):
        raise SymphonyError(f"pool.serve: found {shown(servers)}, allowed: a mapping")
    ports: dict[int, str] = {}
    for name, node in servers.items():
        key = f"pool.serve.{name}"
        if not isinstance(name, str) or not _SERVER.fullmatch(name):
            raise SymphonyError(f"pool.serve: found {shown(name)}, allowed: names of letters, digits, _ and -")
        if not isinstance(node, Mapping):
            raise SymphonyError(f"{key}: found {shown(node)}, allowed: a mapping")
        optional = {one: getattr(_DEFAULTS, one) for one in kinds(Server).keys() - set(required(Server))}
        _check_node(f"{key}.", {**optional, **node}, Server)
        server = Server(**node)
        if server.port in ports:
            raise SymphonyError(f"{key}.port: found that of {ports[server.port]}, allowed: a port of its own")
        ports[server.port] = name
        if server.url not in asked:
            raise SymphonyError(f"{key}.port: found no agent with base_url {server.url}, allowed: at least one")


NAMED_LIMITS = {scope: ("calls", "tokens", "seconds") for scope in ("problem", "run")}
"""Limits that a config contains even if null. Others came later and are left out, so that runs keep their names."""


def limits_of(budget: Mapping[str, Any], task: str | None, known: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the limits for a run's task, without those of other tasks and without later-added limits that are null.

    Args:
        known: Names of all tasks.

    Raises:
        SymphonyError: A name in `tasks` is not a task.
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
"""Keys of a preset that only some tasks read; they are known even if conf/ has none of these tasks."""


def check_preset(preset: Mapping[str, Any], conf: Path) -> None:
    """Checks that an option reads each key of a preset and that every field reading it allows its value.

    Raises:
        SymphonyError: A key fails the check.
    """
    read, values = list(_preset_fields(conf)), _leaves(preset)
    known = {key for key, _ in read} | set(TASK_KEYS)
    for key in sorted(values.keys() - known):
        raise SymphonyError(f"preset.{key}: found an unknown key, allowed: {', '.join(sorted(known))}")
    for key, kind in read:
        if key in values:
            check(f"preset.{key}", values[key], kind)


def _leaves(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns every value of nested mappings by its full key."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        leaves |= _leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return leaves


def _preset_fields(conf: Path) -> Iterator[tuple[str, Any]]:
    """Yields each preset key with the annotation of a field that reads it, for each option of conf/."""
    for part in PARTS:
        for path in sorted((conf / part).glob("*.yaml")):
            node = whole(path)
            for name, value in node.items():
                key = re.fullmatch(r"\$\{preset\.([\w.]+)\}", str(value))
                if key and "_target_" in node:
                    yield key[1], kinds(class_of(part, node["_target_"])).get(name, Any)


def check_parts(config: Mapping[str, Any]) -> None:
    """Makes the parts of a run's config that are cheap to make, so that errors come before any job.

    Raises:
        SymphonyError: A part's constructor refuses its arguments, or parts do not fit together.
    """
    agents = models(config)
    for part in PARTS:
        instance = instantiate(part, config[part])
        if hasattr(instance, "check_pool"):
            instance.check_pool(len(agents))
    for name, spec in agents.items():
        try:
            spec.check()
        except SymphonyError as error:
            raise SymphonyError(f"pool.agents.{name}: {error}") from error
        if money_limits(config) and spec.price.unknown:
            key, limit = spec.price.unknown[0], money_limits(config)[0]
            needed = f"dollars per million tokens, because {limit} is set"
            raise SymphonyError(f"pool.agents.{name}.price.{key}: found no price, allowed: {needed}")
