"""A run, the group in which it is carried out, and the objects that its config describes. Nothing is composed here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from symphony.files import read_json, write_atomic
from symphony.plan.former import with_former_names
from symphony.plan.run_config import Execution, RunConfig, Server
from symphony.plan.targets import instantiate
from symphony.types import SymphonyError, canonical_json

SHARED = ("task", "pool", "seed")
"""What the runs of one process share, unless fewer keys are requested; each process loads a model once."""
PARTS = ("task", "scheduler", "scorer", "memory", "search")
"""Parts of a run with a `_target_` of their own; a pool's agents also have one."""
ACCESS = (
    "key_env",
    "price",
    "tokenizer",
    "requests_per_minute",
    "tokens_per_minute",
    "at_once",
    "timeout_s",
    "retries",
    "pause_s",
    "pause_max_s",
    "breaker_failures",
    "breaker_pause_s",
)
"""Keys of an agent that say how its endpoint is reached. They affect no answer, so a run's digest leaves them out
(except the price if there is a limit of money, since it then decides where searches end)."""
COMPUTING = ("takes", "threads", "rows", "chunk", "gpu_layers", "cache_tokens")
"""Keys of an agent that say how a local engine computes; a run's digest leaves them out, too."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One method on one task with one pool and one seed.

    Attributes:
        config: The resolved scientific config, JSON values only; `settings` has it as typed values.
        execution: Settings that change no record: `Execution` and, if set, `data_dir` and the pool's `serve`.
    """

    study: str
    experiment: str
    task: str
    pool: str
    seed: int
    config: Mapping[str, Any]
    execution: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """Its name, which is also that of the folder of its records (`digest`)."""
        return digest(self.config)

    @cached_property
    def settings(self) -> RunConfig:
        """The config as typed values."""
        return RunConfig.parse(self.config)

    @cached_property
    def how(self) -> Execution:
        """The `execution` settings as typed values."""
        return Execution(**{key: value for key, value in self.execution.items() if key not in ("data_dir", "serve")})

    @cached_property
    def servers(self) -> Mapping[str, Server]:
        """The servers of its pool, by name."""
        return {name: Server(**node) for name, node in self.execution.get("serve", {}).items()}

    def data(self, default: Path) -> Path:
        """Returns the folder of its data sets: the one its config names, else `default`."""
        return Path(self.execution.get("data_dir") or default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs with the same values of the `shared` keys, and so one process, its loaded models and a call store."""

    name: str
    runs: tuple[Run, ...]
    shared: tuple[str, ...] = SHARED

    @property
    def store(self) -> str:
        """Name of the call store; it does not depend on the runs, so that changed runs find what was paid for."""
        return _join_values(self.runs[0], self.shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The objects of a run, built from its config."""

    task: Any
    scheduler: Any
    scorer: Any
    memory: Any
    search: Any


# --------------------------------------------------------------------------- naming and grouping


def digest(config: Mapping[str, Any]) -> str:
    """Returns a run's name: 16 hex digits of the sha256 of its scientific config, without `ACCESS` and `COMPUTING`."""
    pool = config.get("pool") or {}
    left_out = {*ACCESS, *COMPUTING} - ({"price"} if money_limits(config) else set())
    agents = [{key: agent[key] for key in agent if key not in left_out} for agent in pool.get("agents", ())]
    named = with_former_names({**config, "pool": {**pool, "agents": agents}} if agents else dict(config))
    return _sha(named)[:16]


def money_limits(config: Mapping[str, Any]) -> list[str]:
    """Returns the keys of the limits of money in a run's config."""
    budget = config.get("budget") or {}
    return [f"budget.{scope}.money" for scope, limits in budget.items() if limits.get("money") is not None]


def groups(runs: Iterable[Run], shared: Sequence[str] = SHARED) -> list[Group]:
    """Groups runs by what they share, in order of first appearance; a group's name contains the digest of its runs.

    Args:
        shared: Some of `SHARED`, at least "task" and "pool". Fewer make fewer and larger jobs: less time for imports
            and larger batches, but less work in parallel.

    Raises:
        SymphonyError: Another key is named, or "task" or "pool" is missing.
    """
    keys = tuple(name for name in SHARED if name in shared)
    if set(shared) - set(SHARED) or not {"task", "pool"} <= set(keys):
        raise SymphonyError(f"share: found {','.join(shared)}, allowed: task,pool or {','.join(SHARED)}")
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_join_values(run, keys), []).append(run)
    return [
        Group(name=f"{name}-{_sha(sorted(run.digest for run in some))[:12]}", runs=tuple(some), shared=keys)
        for name, some in members.items()
    ]


def _join_values(run: Run, keys: Sequence[str]) -> str:
    return "-".join(str(getattr(run, name)) for name in keys)


def freeze(group: Group, folder: Path) -> Path:
    """Writes the group's plan to `folder/<name>/plan.json`, unless it exists, and returns its path."""
    path = folder / group.name / "plan.json"
    plain = asdict(group)
    plain["runs"] = [{"digest": run.digest, **node} for run, node in zip(group.runs, plain["runs"], strict=True)]
    text = json.dumps({**plain, "sha256": _sha(plain)}, indent=1)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomic(path, text)
    return path


def thaw(path: Path) -> Group:
    """Reads the group that was frozen at `path`.

    Raises:
        SymphonyError: The file is missing, or is not as it was frozen.
    """
    plain = read_json(path, "the plan.json of a group")
    if plain.pop("sha256", None) != _sha(plain):
        raise _damage_error(path, "contents that have changed since it was frozen")
    try:
        digests = [run.pop("digest") for run in plain["runs"]]
        runs = tuple(Run(**run) for run in plain["runs"])
        group = Group(name=plain["name"], runs=runs, shared=tuple(plain["shared"]))
        whole = bool(runs) and [run.digest for run in runs] == digests
    except (KeyError, TypeError, AttributeError) as error:
        raise _damage_error(path, str(error)) from error
    if not whole:
        raise _damage_error(path, "no runs, or runs whose configs do not match their digests")
    return group


def _damage_error(path: Path, finding: str) -> SymphonyError:
    advice = "delete it and start snakemake again, which rewrites it"
    return SymphonyError(f"{path}: found {finding}, allowed: the unchanged plan of a frozen group; {advice}")


# --------------------------------------------------------------------------- objects


def build(config: Mapping[str, Any], data: Path = Path("data")) -> Components:
    """Constructs a run's task, scheduler, scorer, memory and search; their constructors check ranges.

    Args:
        data: Folder of the data sets, for a task that reads files.
    """
    return Components(**{part: instantiate(part, config[part], data) for part in PARTS})


def _sha(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
