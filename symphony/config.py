"""What is to be run: composes conf/, checks it, and turns a study into runs named by their digests.

A study is a folder `conf/experiment/<study>/`; each file in it is a small diff against conf/config.yaml. Its runs are
experiment x task x seed. The digest of a run is taken of everything that can change its records and of nothing else:
a comment, a title or the number of problems in flight does not change it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from symphony.fetch import recorded_revision
from symphony.files import read_json, write_atomic
from symphony.models.revision import weights_digest
from symphony.options import broken, check_place, experiments
from symphony.runs import (
    NOT_ARGUMENTS,
    PACKAGE,
    PARTS,
    ModelSpec,
    Run,
    check_arguments,
    data_files,
    digest,
    has_files,
    instantiate,
    models,
    money_limits,
)
from symphony.types import SymphonyError, canonical_json

GROUPS = ("task", "model", "pool", "scheduler", "scorer", "memory", "search", "preset")
UNSCIENTIFIC = ("title", "question", "table", "execution", "data_dir")
"""Root keys that cannot change a run's records; they are left out of its digest."""
CHECKSUMS = "checksums.json"
"""File in conf/ of what first downloads found."""
STORE_MODES = ("live", "record", "replay", "strict")


# --------------------------------------------------------------------------- schema


@dataclass
class Limits:
    """A budget; null is no limit. Units: model calls, tokens (prompt + completion), dollars, seconds of wall-clock."""

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None


@dataclass
class Budgets:
    problem: Limits = field(default_factory=Limits)
    run: Limits = field(default_factory=Limits)
    study: Limits = field(default_factory=Limits)


NAMED_LIMITS = {scope: ("calls", "tokens", "seconds") for scope in ("problem", "run")}
"""Limits that a config holds even where they are null. The others came later, and runs keep their names."""


@dataclass
class Execution:
    """How runs are carried out; changes no record."""

    in_flight: int = 64
    store: str = "record"
    memory_gb: float | None = None


@dataclass
class Root:
    """Schema of the composed config: a key that is not here is refused with its full name."""

    title: str = ""
    question: str = ""
    table: str = ""
    tasks: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    seed: int = 0
    problems: int = 1
    feedback: str = "oracle"
    data_dir: str | None = None
    budget: Budgets = field(default_factory=Budgets)
    execution: Execution = field(default_factory=Execution)
    task: Any = None
    pool: Any = None
    scheduler: Any = None
    scorer: Any = None
    memory: Any = None
    search: Any = None
    preset: Any = None


# --------------------------------------------------------------------------- plan


def plan(
    study: str,
    overrides: Sequence[str] = (),
    *,
    experiment: str | None = None,
    conf: Path = Path("conf"),
    data: Path = Path("data"),
    cache: Path | None = None,
) -> list[Run]:
    """Every run of a study, in the order experiment, task, seed.

    Args:
        study: Folder under conf/experiment/.
        overrides: Hydra overrides for every experiment, e.g. `problems=4`.
        experiment: Only this one of the study.
        conf: The folder with config.yaml.
        data: Folder of the data sets, unless `data_dir` in the config names another.
        cache: Folder for composed plans; None composes anew. Entries are named by the digest of every input of the
            composition (files under `conf`, this package's sources, versions of the composer), so none can be stale.

    Raises:
        SymphonyError: A misspelt key, an unknown option, a value out of range: with the key's full name.
    """
    check_place(conf)
    names = experiments(conf, study)
    if experiment is not None and experiment not in names:
        raise SymphonyError(f"experiment: found {experiment!r}, allowed: {', '.join(names)}")
    names = [name for name in names if experiment in (None, name)]
    entry = cache / f"{_inputs_digest(study, [*names, *overrides], conf)}.json" if cache else None
    if entry and entry.is_file():
        runs = [Run(**run) for run in read_json(entry, "a composed plan, or no file")["runs"]]
    else:
        runs = [run for name in names for run in _experiment_runs(study, name, overrides, conf)]
        if entry:
            write_atomic(entry, json.dumps({"runs": [asdict(run) for run in runs]}))
    _check_study_budget(runs)
    return [_named_by_data(run, data) for run in runs]


def _check_study_budget(runs: Sequence[Run]) -> None:
    found = {canonical_json(run.config["budget"].get("study", {})) for run in runs}
    if len(found) > 1:
        raise SymphonyError(f"budget.study: found {' and '.join(sorted(found))}, allowed: one for the whole study")


def _named_by_data(run: Run, data: Path) -> Run:
    """The run under the digest that counts the contents of its data files, too: other data are another run."""
    files = data_files(run.config, run.data(data))
    if not files:
        return run
    config = {**run.config, "data": files}
    return replace(run, config=config, digest=digest(config))


def pool(name: str, *, conf: Path = Path("conf")) -> dict[str, ModelSpec]:
    """The models of an option of conf/pool/ by agent, in the pool's order.

    Raises:
        SymphonyError: No such option, or one that does not compose.
    """
    return models(_resolve(_compose(conf, [f"pool={name}"]), {}, conf)[0])


def task(overrides: Sequence[str], *, conf: Path = Path("conf"), data: Path = Path("data")) -> Any:
    """One task outside any study; all of its items where it reads them from files and `problems` is not given.

    Raises:
        SymphonyError: A misspelt key, an unknown option, a value out of range.
    """
    cfg = _compose(conf, list(overrides))
    config, execution = _resolve(cfg, {})
    _check(config, execution)
    if has_files(config["task"]) and not any(item.startswith(("problems=", "task.count=")) for item in overrides):
        config["task"]["count"] = None
    return instantiate("task", config["task"], Path(execution["data_dir"] or data))


def sample_prompts(conf: Path = Path("conf")) -> str:
    """A few prompts of every task that needs no data, to compare models on."""
    texts = []
    for path in sorted((conf / "task").glob("*.yaml")):
        config, _ = _resolve(_compose(conf, [f"task={path.stem}", "problems=4"]), {})
        if has_files(config["task"]):  # which may not be there
            continue
        sample = instantiate("task", config["task"])
        for problem in sample.problems():
            texts += [message.content for message in sample.prompts.expansion(problem, (), ())]
    return "\n".join(texts)


def to_yaml(config: Mapping[str, Any]) -> str:
    """The config as a file for people."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


# --------------------------------------------------------------------------- composition


def _experiment_runs(study: str, name: str, overrides: Sequence[str], conf: Path) -> Iterator[Run]:
    """Composes once a task, and resolves once a seed."""
    file = conf / "experiment" / study / f"{name}.yaml"
    if not re.search(r"^#\s*@package\s+_global_\s*$", file.read_text(), re.MULTILINE):
        raise SymphonyError(f"{file}: found no line `# @package _global_`, allowed: a file that begins with it")
    first = _compose(conf, [f"+experiment={study}/{name}", *overrides])
    tasks = list(first.tasks)
    if not tasks or not first.seeds:
        raise SymphonyError(f"{file}: found no tasks or no seeds, allowed: at least one of each")
    for task in tasks:
        chosen = first.hydra.runtime.choices.task == task
        cfg = first if chosen else _compose(conf, [f"+experiment={study}/{name}", *overrides, f"task={task}"])
        chosen_options = cfg.hydra.runtime.choices
        choices = {group: str(chosen_options[group]) for group in GROUPS if group != "model"}
        options = sorted(f"model/{name}" for group, name in chosen_options.items() if group.startswith("model@"))
        identity = {"study": study, "experiment": name, "choices": choices, "options": options}
        for seed in cfg.seeds:
            cfg.seed = seed
            config, execution = _resolve(cfg, identity, conf)
            try:
                if seed == cfg.seeds[0]:
                    _check(config, execution)
                    _check_preset(cfg.preset, conf / "preset" / "default.yaml")
            except SymphonyError as error:
                raise SymphonyError(f"{file}, task {task}: {error}") from error
            yield Run(
                digest=digest(config),
                study=study,
                experiment=name,
                task=task,
                pool=choices["pool"],
                seed=seed,
                config=config,
                execution=execution,
            )


def _compose(conf: Path, overrides: list[str]) -> Any:
    check_place(conf)
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    ConfigStore.instance().store(name="root_schema", node=Root)
    try:
        with initialize_config_dir(str(conf.resolve()), version_base="1.3"):
            return compose("config", overrides, return_hydra_config=True)
    except MissingConfigException as error:
        group, _, option = str(error.missing_cfg_file or "").rpartition("/")
        allowed = sorted(path.stem for path in (conf / group).glob("*.yaml"))
        raise SymphonyError(f"{group}: found {option!r}, allowed: {', '.join(allowed)}") from error
    except YAMLError as error:
        raise broken(error) from error
    except (HydraException, OmegaConfBaseException) as error:
        raise SymphonyError(_explain(error, overrides)) from error


def _explain(error: Exception, overrides: Sequence[str]) -> str:
    """One line out of Hydra's and OmegaConf's reports, with the full name of the key."""
    chain: list[BaseException] = [error]
    while (deeper := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(deeper)
    named = [one for one in chain if getattr(one, "full_key", None)]
    cause = named[-1] if named else error.__cause__ or error
    experiment = next((item.partition("=")[2] for item in overrides if item.startswith("+experiment=")), "")
    key = getattr(cause, "full_key", None) or ""
    given = next((item for item in overrides if key and item.lstrip("+~").partition("=")[0] == key), "")
    where = given or (f"conf/experiment/{experiment}.yaml" if experiment else "conf")
    text = str(cause).strip().splitlines()[0]
    text = re.sub(r"is not in struct|not in '\w+'", "is not in the config", text)
    siblings = getattr(cause, "parent_node", None)
    misspelt = siblings is not None and "not in the config" in text
    known = [str(name) for name in siblings or () if name != "hydra"] if misspelt else []
    allowed = f", allowed: {', '.join(known)}" if known else ""
    return f"{where}: {key + ': ' if key else ''}{text}{allowed}"


def _resolve(cfg: Any, identity: Mapping[str, Any], conf: Path = Path("conf")) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scientific config and the execution settings, interpolations resolved, as plain JSON values."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain: dict[str, Any] = {
            str(key): OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
            for key, node in cfg.items_ex(resolve=True)
            if key != "hydra"
        }
    except OmegaConfBaseException as error:
        raise SymphonyError(_explain(error, ())) from error
    agents = plain["pool"].get("agents") or {}
    # A list, because the order is the order of the first calls; with the digest of the shipped weights that a model is
    # or was made from, or the commit that its download is pinned to, so that new weights are new runs.
    named = [{"name": name, **_weights(agent, conf / CHECKSUMS), **agent} for name, agent in agents.items()]
    plain["pool"] = {**plain["pool"], "agents": named}
    execution = {**plain["execution"], "data_dir": plain["data_dir"]}
    plain["budget"] = _named_limits(plain["budget"])
    config = {key: value for key, value in plain.items() if key not in (*UNSCIENTIFIC, "tasks", "seeds", "preset")}
    # On the command line Hydra reads `inf` as a number, which JSON has no form for; the option of that name is a word.
    words = {"Infinity": "inf"}
    text = canonical_json({**config, **identity})
    return json.loads(text, parse_constant=lambda name: words.get(name, name)), execution


def _named_limits(budget: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    kept = {
        scope: {
            name: limit for name, limit in limits.items() if limit is not None or name in NAMED_LIMITS.get(scope, ())
        }
        for scope, limits in budget.items()
    }
    return {scope: limits for scope, limits in kept.items() if limits}


def _weights(agent: Mapping[str, Any], checksums: Path) -> dict[str, str]:
    if "source" in agent:
        commit = recorded_revision(agent["source"], checksums)
        return {"weights": commit} if commit else {}
    scheme, _, folder = str(agent.get("made_from", agent.get("path", ""))).partition(":")
    there = scheme == "package" and (PACKAGE / folder / "config.json").is_file()
    return {"weights": weights_digest(PACKAGE / folder)} if there else {}


def _check_preset(preset: Any, schema: Path) -> None:
    """Every key of the preset is one of the default option's: nothing would read another."""
    from omegaconf import OmegaConf

    def keys(node: Any) -> set[str]:
        inner = {str(key): node[key] for key in node}
        deeper = {f"{key}.{below}" for key, value in inner.items() if OmegaConf.is_dict(value) for below in keys(value)}
        return {*inner, *deeper}

    known = keys(OmegaConf.load(schema))
    for key in sorted(keys(preset) - known):
        raise SymphonyError(f"preset.{key}: found an unknown key, allowed: {', '.join(sorted(known))}")


def _check_keys(prefix: str, found: Mapping[str, Any], known: Sequence[str]) -> None:
    """Catches what Hydra's `+key=value` adds past the schema."""
    for key in found:
        if key not in known:
            raise SymphonyError(f"{prefix}{key}: found an unknown key, allowed: {', '.join(known)}")


def _check(config: Mapping[str, Any], execution: Mapping[str, Any]) -> None:
    """Constructs what is cheap and checks the signatures of the rest, so that errors come before any job."""
    for part in PARTS:
        instantiate(part, config[part])
    known = [*Root.__annotations__, "study", "experiment", "choices", "options"]
    _check_keys("", config, known)
    for scope, limits in config["budget"].items():
        _check_keys(f"budget.{scope}.", limits, list(Limits.__annotations__))
        for name, limit in limits.items():
            if limit is not None and not limit > 0:
                raise SymphonyError(f"budget.{scope}.{name}: found {limit}, allowed: > 0, or null for no limit")
    if not config["pool"]["agents"]:
        raise SymphonyError("pool.agents: found none, allowed: at least one")
    for agent in config["pool"]["agents"]:
        check_arguments(f"pool.agents.{agent['name']}", agent, extra=NOT_ARGUMENTS)
    for name, spec in models(config).items():
        if spec.is_endpoint:  # making one loads nothing and needs no key
            try:
                spec.build(Path())
            except SymphonyError as error:
                raise SymphonyError(f"pool.agents.{name}: {error}") from error
        if money_limits(config) and spec.price.unknown:
            key, limit = spec.price.unknown[0], money_limits(config)[0]
            needed = f"dollars per million tokens, because {limit} is set"
            raise SymphonyError(f"pool.agents.{name}.price.{key}: found no price, allowed: {needed}")
    if config["problems"] < 1:
        raise SymphonyError(f"problems: found {config['problems']}, allowed: >= 1")
    if config["feedback"] not in ("oracle", "none"):
        raise SymphonyError(f"feedback: found {config['feedback']!r}, allowed: oracle, none")
    if execution["in_flight"] < 1:
        raise SymphonyError(f"execution.in_flight: found {execution['in_flight']}, allowed: >= 1")
    if execution["memory_gb"] is not None and not execution["memory_gb"] > 0:
        raise SymphonyError(f"execution.memory_gb: found {execution['memory_gb']}, allowed: > 0, or null")
    if execution["store"] not in STORE_MODES:
        raise SymphonyError(f"execution.store: found {execution['store']!r}, allowed: {', '.join(STORE_MODES)}")


def _inputs_digest(study: str, overrides: Sequence[str], conf: Path) -> str:
    """Names a composed plan by everything that its composition and its checks read."""
    versions = [version(package) for package in ("hydra-core", "omegaconf")]
    hashed = hashlib.sha256(canonical_json([study, *overrides, *versions]).encode())
    files = [*sorted(conf.rglob("*.yaml")), *sorted(conf.glob(CHECKSUMS)), *sorted(PACKAGE.rglob("*.py"))]
    files += sorted(path for path in (PACKAGE / "embedded" / "weights").rglob("*") if path.is_file())
    for path in files:
        content = path.read_bytes()
        hashed.update(f"{os.fspath(path)}\x00{len(content)}\x00".encode() + content)
    return hashed.hexdigest()[:24]
