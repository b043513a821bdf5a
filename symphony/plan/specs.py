"""A run, the group it is carried out with, and the objects that its config stands for. Nothing is composed here."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from symphony.fields import shown
from symphony.files import read_json, write_atomic
from symphony.models.devices import CPU, check_device
from symphony.models.endpoint import FREE, Price, price_of
from symphony.models.folder import MANIFEST, check_folder, locate
from symphony.models.footprint import Footprint, footprint
from symphony.models.revision import check_format
from symphony.plan.former import with_former_names
from symphony.plan.targets import class_of, instantiate
from symphony.types import Endpoint, SymphonyError, canonical_json

SHARED = ("task", "pool", "seed")
"""What the runs of one process have in common, unless less is asked for; a model is loaded once a process."""
PARTS = ("task", "scheduler", "scorer", "memory", "search")
"""Plug points of a run with a `_target_` of their own; a pool's agents are the others."""
NOT_ARGUMENTS = ("name", "_target_", "source", "made_from", "weights", "takes")
"""Keys of an agent that its model's constructor does not take."""
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
"""Keys of an agent that say how its endpoint is reached: they decide no answer and are left out of a run's digest (the
price is not where a limit of money stands: it then decides where searches end)."""
COMPUTING = ("takes", "threads", "rows", "chunk", "gpu_layers", "cache_tokens")
"""Keys of an agent that say how a local engine computes; they are left out of a run's digest, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One method on one task with one pool and one seed.

    Attributes:
        digest: 16 hex digits of the sha256 of `config`; names the folder of its records.
        config: The resolved scientific config: JSON values only.
        execution: What changes no record (`Execution`).
    """

    digest: str
    study: str
    experiment: str
    task: str
    pool: str
    seed: int
    config: Mapping[str, Any]
    execution: Mapping[str, Any]

    def data(self, given: Path) -> Path:
        """Folder of its data sets: what its config names, else `given`."""
        return Path(self.execution.get("data_dir") or given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that share what `shared` names, and so a process, its loaded models and a call store."""

    name: str
    runs: tuple[Run, ...]
    shared: tuple[str, ...] = SHARED

    @property
    def store(self) -> str:
        """Name of the call store; the same whatever the runs, so that changed runs find what was paid for."""
        return _shared(self.runs[0], self.shared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The objects of a run, from its config."""

    task: Any
    scheduler: Any
    scorer: Any
    memory: Any
    search: Any


class NotThere(SymphonyError):
    """Weights that a command can bring, and has not brought, or not wholly.

    Attributes:
        command: That brings them.
    """

    def __init__(self, told: str, command: str) -> None:
        super().__init__(f"{told}; `{command}` brings it")
        self.command = command


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model that is not loaded yet: equal specs are one model.

    Attributes:
        origin: Digest of the weights that a quantised checkpoint has to be made from; "" where it is not made here.
        pinned: Whether its option has a `source` to download it from; no part of what it is.
        takes: What its option says that it takes of memory, for a plan without its files; None where it says nothing.
    """

    target: str
    arguments: str
    origin: str = ""
    pinned: bool = field(default=False, compare=False)
    takes: Footprint | None = field(default=None, compare=False)

    @property
    def is_endpoint(self) -> bool:
        """Whether making it gives an `Endpoint`, which answers each request by itself."""
        return is_endpoint(class_of("model", self.target))

    @property
    def is_stepped(self) -> bool:
        """Whether making it gives a `Stepped` backend, which takes requests in at every step."""
        return hasattr(class_of("model", self.target), "step")

    @property
    def price(self) -> Price:
        """What its tokens cost; nothing where it runs on this machine."""
        return price_of(json.loads(self.arguments).get("price")) if self.is_endpoint else FREE

    @property
    def device(self) -> str:
        """Where a local model is to compute: see `devices.check_device`."""
        found: str = json.loads(self.arguments).get("device", CPU)
        return found

    def on(self, device: str) -> ModelSpec:
        """The same model on a device."""
        return replace(self, arguments=canonical_json({**json.loads(self.arguments), "device": device}))

    def footprint(self, data: Path) -> Footprint:
        """What a local model takes of memory, by its files' headers.

        Raises:
            SymphonyError: Its weights are not there, or are not safetensors.
        """
        found: Footprint = self._ask("footprint", self.folder(data), default=footprint)
        return found

    @property
    def has_weights(self) -> bool:
        """Whether it is loaded from a folder."""
        return not self.is_endpoint and "path" in json.loads(self.arguments)

    @property
    def brought_by(self) -> str:
        """The command that downloads or makes its weights; "" where none does."""
        path = str(json.loads(self.arguments).get("path"))
        if path.startswith("outputs:quantised/"):
            return f"snakemake outputs/{path.removeprefix('outputs:')}/{MANIFEST}"
        return f"symphony fetch {path}" if self.pinned and path.startswith("model/") else ""

    def check(self) -> None:
        """Raises SymphonyError where its arguments are none of a model; nothing is loaded, and no key is needed."""
        if self.is_endpoint:
            self.build(Path())
            return
        check_device(self.device)
        self._ask("check_settings", default=check_format)

    def folder(self, data: Path) -> Path:
        """Where its weights lie, as a whole model.

        Raises:
            NotThere: They are not there, or not whole, and a command brings them.
            SymphonyError: The same where none does, or they were made from other weights than the config says.
        """
        if self.is_endpoint:
            raise SymphonyError("model: found one behind an API, allowed: one with weights")
        path = json.loads(self.arguments).get("path")
        folder = locate(path, data)
        try:
            self._ask("check_weights", folder, default=check_folder)
        except SymphonyError as error:
            if self.brought_by and not (folder / MANIFEST).is_file():
                raise NotThere(str(error), self.brought_by) from error
            raise
        if self.origin and (found := _origin(folder)) != self.origin:
            raise SymphonyError(f"model.path: found {path!r} made from weights {found}, allowed: from {self.origin}")
        return folder

    def file(self, data: Path) -> Path | None:
        """The one file that its weights are, where that is what it is loaded from."""
        found = self._ask("check_weights", self.folder(data))
        return found if isinstance(found, Path) else None

    def build(self, data: Path) -> Any:
        """Constructs the backend. `data` is where downloads lie."""
        arguments = json.loads(self.arguments)
        if "path" in arguments:
            arguments["path"] = str(self.folder(data))
        if arguments.get("tokenizer"):
            arguments["tokenizer"] = str(locate(arguments["tokenizer"], data))
        return class_of("model", self.target)(**arguments)

    def sizing(self, data: Path, revision: str) -> Any:
        """What knows the sizes of a local model's prompts without loading its weights; None where its kind has none."""
        return self._ask("sizing", self.folder(data), revision)

    def revision(self, data: Path) -> str | None:
        """What answers, without loading it; None where only the loaded model can tell."""
        if self.is_endpoint:
            return str(self.build(data).revision)
        if not hasattr(class_of("model", self.target), "revision_of"):
            return None
        known = json.loads(self.arguments).get("sha256")  # then a replay needs no file
        folder = locate(json.loads(self.arguments)["path"], data) if known else self.folder(data)
        return str(self._ask("revision_of", folder))

    def _ask(self, name: str, *given: Any, default: Callable[..., Any] | None = None) -> Any:
        """What a static function of the model's class says, handed those of the arguments that it takes; without such
        a function, what `default` says.
        """
        function = getattr(class_of("model", self.target), name, default)
        if function is None:
            return None
        known = list(inspect.signature(function).parameters)[len(given) :]
        settings = {key: value for key, value in json.loads(self.arguments).items() if key in known}
        return function(*given, **settings)


# --------------------------------------------------------------------------- naming and grouping


def digest(config: Mapping[str, Any]) -> str:
    """Names a run: 16 hex digits of the sha256 of its resolved scientific config, without `ACCESS` and `COMPUTING`."""
    pool = config.get("pool") or {}
    left_out = {*ACCESS, *COMPUTING} - ({"price"} if money_limits(config) else set())
    agents = [{key: agent[key] for key in agent if key not in left_out} for agent in pool.get("agents", ())]
    named = with_former_names({**config, "pool": {**pool, "agents": agents}} if agents else dict(config))
    return _sha(named)[:16]


def money_limits(config: Mapping[str, Any]) -> list[str]:
    """Keys of the limits of money in a run's config."""
    budget = config.get("budget") or {}
    return [f"budget.{scope}.money" for scope, limits in budget.items() if limits.get("money") is not None]


def groups(runs: Iterable[Run], shared: Sequence[str] = SHARED) -> list[Group]:
    """Runs by what they share, in order of first appearance; a group's name holds the digest of its runs.

    Args:
        shared: Some of `SHARED`, "task" and "pool" at least. Fewer make fewer and larger jobs: less time for imports
            and larger batches, but less to do at the same time.

    Raises:
        SymphonyError: Something else is named.
    """
    keys = tuple(name for name in SHARED if name in shared)
    if set(shared) - set(SHARED) or not {"task", "pool"} <= set(keys):
        raise SymphonyError(f"share: found {','.join(shared)}, allowed: task,pool or {','.join(SHARED)}")
    members: dict[str, list[Run]] = {}
    for run in runs:
        members.setdefault(_shared(run, keys), []).append(run)
    return [
        Group(name=f"{name}-{_sha(sorted(run.digest for run in some))[:12]}", runs=tuple(some), shared=keys)
        for name, some in members.items()
    ]


def _shared(run: Run, keys: Sequence[str]) -> str:
    return "-".join(str(getattr(run, name)) for name in keys)


def freeze(group: Group, folder: Path) -> Path:
    """Writes the group's plan to `folder/<name>/plan.json`, unless it is there already, and returns its path."""
    path = folder / group.name / "plan.json"
    plain = asdict(group)
    text = json.dumps({**plain, "sha256": _sha(plain)}, indent=1)
    if not path.is_file() or path.read_bytes() != text.encode():
        write_atomic(path, text)
    return path


def thaw(path: Path) -> Group:
    """The group that was frozen at `path`.

    Raises:
        SymphonyError: It is not there, or not as it was frozen.
    """
    plain = read_json(path, "the plan.json of a group")
    if plain.pop("sha256", None) != _sha(plain):
        raise _damaged(path, "other contents than it was frozen with")
    try:
        runs = tuple(Run(**run) for run in plain["runs"])
        group = Group(name=plain["name"], runs=runs, shared=tuple(plain["shared"]))
        whole = bool(runs) and all(run.digest == digest(run.config) for run in runs)
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, str(error)) from error
    if not whole:
        raise _damaged(path, "runs whose configs are not those of their digests, or none")
    return group


def _damaged(path: Path, found: str) -> SymphonyError:
    advice = "delete it and start snakemake again, which writes it anew"
    return SymphonyError(f"{path}: found {found}, allowed: the plan of a group as it was frozen; {advice}")


# --------------------------------------------------------------------------- objects


def build(config: Mapping[str, Any], data: Path = Path("data")) -> Parts:
    """Constructs a run's task, scheduler, scorer, memory and search; their constructors check ranges.

    Args:
        data: Folder of the data sets, for a task that reads files.
    """
    return Parts(**{part: instantiate(part, config[part], data) for part in PARTS})


def models(config: Mapping[str, Any]) -> dict[str, ModelSpec]:
    """The models of a run's pool by agent name, in the pool's order; nothing is loaded."""
    specs = {}
    for agent in config["pool"]["agents"]:
        arguments = {key: value for key, value in agent.items() if key not in NOT_ARGUMENTS}
        pinned = _pinned_sha256(agent)
        if pinned and arguments.setdefault("sha256", pinned) != pinned:
            told = f"{agent['name']}.sha256: found {shown(arguments['sha256'])}"
            raise SymphonyError(f"{told}, allowed: the one in its source.files, or none")
        origin = agent["weights"] if "made_from" in agent and "weights" in agent else ""
        specs[agent["name"]] = ModelSpec(
            target=agent["_target_"],
            arguments=canonical_json(arguments),
            origin=origin,
            pinned=agent.get("source") is not None,
            takes=_takes(agent),
        )
    return specs


def _takes(agent: Mapping[str, Any]) -> Footprint | None:
    given = agent.get("takes")
    if given is None:
        return None
    names = list(Footprint.__slots__)
    wrong = not isinstance(given, Mapping) or set(given) != set(names)
    if wrong or not all(type(number) is int and number > 0 for number in given.values()):
        raise SymphonyError(f"{agent['name']}.takes: found {given}, allowed: {', '.join(names)}, each a number > 0")
    return Footprint(**given)


def _pinned_sha256(agent: Mapping[str, Any]) -> str:
    """The checksum that an agent's `source` has for its one `file`; "" where it has none."""
    entry = ((agent.get("source") or {}).get("files") or {}).get(agent.get("file"))
    return str((entry.get("sha256") if isinstance(entry, Mapping) else entry) or "")


def is_endpoint(model: Any) -> TypeGuard[Endpoint]:
    """Whether a model, or a class of models, has what makes an `Endpoint`."""
    return all(hasattr(model, name) for name in ("complete", "ready"))


def _origin(folder: Path) -> str:
    """What the manifest of a quantised checkpoint says it was made from."""
    manifest = folder / MANIFEST
    found = read_json(manifest, "the manifest of a quantised checkpoint") if manifest.is_file() else {}
    return str(found.get("source_digest", "that it does not name"))


def _sha(value: Any) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
