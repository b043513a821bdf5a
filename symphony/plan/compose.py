"""Composes conf/, checks it, and turns a study into runs named by their digests.

A study is a folder `conf/experiment/<study>/`; each file in it is a small change to conf/config.yaml. Its runs are
experiment x task x seed. A run's digest covers the names of study and experiment and everything else that can change
its records, and no more: a comment, a title or the number of problems in flight does not change it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from symphony.fields import check, kinds, shown
from symphony.files import write_atomic
from symphony.models.folder import PACKAGE
from symphony.plan import sweeps
from symphony.plan.composition import Composer, Composition, first_line, option_names
from symphony.plan.contents import named_by_contents, with_weights
from symphony.plan.model_spec import ModelSpec, models
from symphony.plan.needs import has_files
from symphony.plan.options import check_files, exchange, experiments, reference, sized
from symphony.plan.schema import (
    GROUPS,
    Root,
    check_parts,
    check_preset,
    check_root,
    limits_of,
    served,
)
from symphony.plan.specs import Run
from symphony.plan.targets import instantiate
from symphony.plan.yaml_files import load
from symphony.types import SymphonyError, canonical_json

UNSCIENTIFIC = ("title", "question", "table", "reference", "against", "sweep", "stand_ins", "execution", "data_dir")
"""Root keys that cannot change a run's records; the digest leaves them out."""
UNFOLDED = ("tasks", "seeds", "preset", "tokens")
"""Root keys whose values already appear where a run's config uses them."""
CHECKSUMS = "checksums.json"
"""File in conf/ that records what first downloads found."""
ALONE = {"task": "tasks", "seed": "seeds"}
"""Keys that a study's runs take from a list, and the list's name."""


def plan(
    study: str,
    overrides: Sequence[str] = (),
    *,
    experiment: str | None = None,
    conf: Path = Path("conf"),
    data: Path = Path("data"),
    cache: Path | None = None,
) -> list[Run]:
    """Returns every run of a study, in the order experiment, task, seed.

    Args:
        study: Folder under conf/experiment/.
        overrides: Hydra overrides for every experiment, e.g. `problems=4`; `size=quick` is a file in its `sizes`, and
            values separated by commas are a sweep (`plan.sweeps`).
        experiment: Returns only the runs of this experiment, or of the experiments that its sweep makes.
        conf: The folder with config.yaml.
        data: Folder of the data sets, unless `data_dir` in the config names another.
        cache: Folder for composed plans; None composes again. Entries are named by the digest of every input of the
            composition (files under `conf`, this package's sources, versions of the composer), so none can be stale.

    Raises:
        SymphonyError: A misspelt key, an unknown option, or a value out of range; the message names the full key.
    """
    check_files(conf, study)
    resized = sized(study, overrides, conf)
    overrides, _ = sweeps.apart(resized)
    _check_overrides(overrides, ALONE, "[{}]", conf)
    swept = experiments(conf, study, resized)
    names = [variant.name for variant in swept]
    if experiment is not None and experiment not in (*names, *(variant.base for variant in swept)):
        raise SymphonyError(f"experiment: found {experiment!r}, allowed: {', '.join(names)}")
    reference(study, resized, conf=conf)
    swept = [variant for variant in swept if experiment in (None, variant.name, variant.base)]
    entry = cache / f"{_inputs_digest(study, [*(spec.name for spec in swept), *resized], conf)}.json" if cache else None
    runs = _load_cached(entry)
    if runs is None:
        composer = Composer(conf)
        runs = [run for variant in swept for run in _experiment_runs(study, variant, overrides, composer, conf)]
        _check_study_budget(runs)
        if entry:
            text = json.dumps([asdict(run) for run in runs])
            write_atomic(entry, f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}")
    return named_by_contents(runs, data, conf / CHECKSUMS)


def _load_cached(entry: Path | None) -> list[Run] | None:
    """Returns a plan composed earlier; None if it is missing or damaged."""
    checksum, _, text = entry.read_bytes().partition(b"\n") if entry and entry.is_file() else (b"", b"", b"")
    whole = checksum == hashlib.sha256(text).hexdigest().encode()
    return [Run(**run) for run in json.loads(text)] if whole else None


def _check_overrides(overrides: Sequence[str], refused: Mapping[str, str], form: str, conf: Path) -> None:
    """Refuses keys that have no effect because another key decides, and options that are not plain names."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    for item in overrides:
        try:
            (override,) = OverridesParser.create().parse_overrides([item])
            key, value = override.key_or_group, override.value()
        except (HydraException, ValueError) as error:
            raise SymphonyError(f"{item:.80}: found {first_line(error)}, allowed: key=value") from error
        if key == "experiment":
            raise SymphonyError(f"experiment: found {item}, allowed: --experiment NAME for one experiment of the study")
        if key in refused:
            raise SymphonyError(
                f"{key}: found {item}, allowed: {refused[key]}={form.format('' if override.is_delete() else value)}"
            )
        if key in GROUPS and not isinstance(value, (str, dict)):
            raise SymphonyError(f"{key}: found {item}, allowed: {', '.join(option_names(conf, key))}")
        if value == {} and not override.is_add():
            raise SymphonyError(f"{key}: found {item}, which changes nothing, allowed: {key}.<name>=<value>")
        if not key or key.partition(".")[0] == "hydra":
            raise SymphonyError(f"{item}: found a key that is not in the config, allowed: those of conf/config.yaml")


def _check_study_budget(runs: Sequence[Run]) -> None:
    limits = {canonical_json(run.config["budget"].get("study", {})) for run in runs}
    if len(limits) > 1:
        raise SymphonyError(f"budget.study: found {' and '.join(sorted(limits))}, allowed: one for the whole study")


def pool(name: str, *, conf: Path = Path("conf")) -> dict[str, ModelSpec]:
    """Returns the models of an option of conf/pool/ by agent, in the pool's order.

    Raises:
        SymphonyError: The option does not exist or does not compose.
    """
    check_files(conf)
    config, _ = _alone([f"pool={name}"], conf)
    config["pool"]["agents"] = with_weights(config["pool"]["agents"], conf / CHECKSUMS)
    return models(config)


def task(overrides: Sequence[str], *, conf: Path = Path("conf"), data: Path = Path("data")) -> Any:
    """Makes one task outside any study; with all items if it reads them from files and `problems` is not given.

    Raises:
        SymphonyError: A misspelt key, an unknown option, or a value out of range.
    """
    check_files(conf)
    _check_overrides(overrides, {many: single for single, many in ALONE.items()}, "<one>", conf)
    config, execution = _alone(overrides, conf)
    if has_files(config["task"]) and not any(item.startswith(("problems=", "task.count=")) for item in overrides):
        config["task"]["count"] = None
    return instantiate("task", config["task"], Path(execution["data_dir"] or data))


def sample_prompts(conf: Path = Path("conf")) -> str:
    """Returns a few prompts of every task that needs no data, for comparing models."""
    check_files(conf)
    texts = []
    for path in sorted((conf / "task").glob("*.yaml")):
        config, _ = _alone([f"task={path.stem}", "problems=4"], conf)
        if has_files(config["task"]):  # its files may be missing
            continue
        sample = instantiate("task", config["task"])
        for problem in sample.problems():
            texts += [message.content for message in sample.prompts.expansion(problem, (), ())]
    return "\n".join(texts)


# --------------------------------------------------------------------------- composition


def _experiment_runs(
    study: str, variant: sweeps.Variant, study_overrides: Sequence[str], composer: Composer, conf: Path
) -> Iterator[Run]:
    """Composes once per task and resolves once per seed."""
    file = conf / "experiment" / study / f"{variant.base}.yaml"
    _check_experiment(file)
    _check_overrides(variant.overrides, ALONE, "[{}]", conf)
    chosen = f"+experiment={study}/{variant.base}"
    # The list of tasks does not depend on the keys of one task, and not every task has the overridden ones.
    general, own = _general(study_overrides), list(variant.overrides)
    first = composer.compose([chosen, *general], _general(own))
    if exchanged := exchange(first.value("stand_ins", {}), first.choices):
        own += exchanged
        first = composer.compose([chosen, *general], _general(own))
    for task in _read_list(first, "tasks", file):
        if task not in composer.options("task"):
            raise SymphonyError(f"{file}: task: found {task!r}, allowed: {', '.join(composer.options('task'))}")
        try:
            composed = first.choices["task"] == task and general == [*study_overrides] and _general(own) == own
            config = first if composed else composer.compose([chosen, *study_overrides, f"task={task}"], own)
            yield from _task_runs(study, variant.name, file, task, config, composer, conf)
        except SymphonyError as error:
            reason = str(error).removeprefix(f"{file}: ")
            raise SymphonyError(f"{file}, task {task}: {reason}") from error


def _general(overrides: Sequence[str]) -> list[str]:
    return [item for item in overrides if not item.lstrip("+~").startswith("task.")]


def _read_list(composition: Composition, key: str, file: Path) -> list[Any]:
    """Reads a study's tasks or seeds, before the rest of the config."""
    values: list[Any] = composition.value(key, [])
    check(f"{file}: {key}", values, kinds(Root)[key])
    return values


def _check_experiment(file: Path) -> None:
    if not re.search(r"^#\s*@package\s+_global_\s*$", file.read_text("utf-8"), re.MULTILINE):
        raise SymphonyError(f"{file}: found no line `# @package _global_`, allowed: a file that begins with it")
    node = load(file)
    defaults = node.get("defaults", [])
    if not isinstance(defaults, list):
        raise SymphonyError(f"{file}: defaults: found {shown(defaults)}, allowed: a list")
    entries = [entry for entry in defaults if isinstance(entry, Mapping)]
    named = {str(key).removeprefix("override").strip(" /") for entry in entries for key in entry}
    for key in ALONE:
        if key in named or (key == "seed" and key in node):
            raise SymphonyError(f"{file}: found a single {key}, allowed: {ALONE[key]}, a list")


def _task_runs(
    study: str, name: str, file: Path, task: str, composition: Composition, composer: Composer, conf: Path
) -> Iterator[Run]:
    chosen = _choices(composition, composer)
    choices = {group: chosen[group] for group in GROUPS}
    options = sorted(f"model/{name}" for group, name in chosen.items() if group.startswith("model@"))
    identity = {"study": study, "experiment": name, "choices": choices, "options": options}
    seeds = _read_list(composition, "seeds", file)
    for seed in seeds:
        composition.set("seed", seed)
        config, execution = _resolve(composition, identity, composer, conf, whole=seed == seeds[0])
        yield Run(
            study=study,
            experiment=name,
            task=task,
            pool=choices["pool"],
            seed=seed,
            config=config,
            execution=execution,
        )


def _choices(composition: Composition, composer: Composer) -> dict[str, str]:
    """Returns the option of each group in a composed config.

    Raises:
        SymphonyError: An option does not exist, or is a path: Hydra would accept one, which then names output folders.
    """
    chosen: dict[str, Any] = {**dict.fromkeys(GROUPS), **composition.choices}
    options = {group: name for group, name in chosen.items() if group.partition("@")[0] in (*GROUPS, "model")}
    for group, name in options.items():
        known = composer.options(group.partition("@")[0])
        if name not in known:
            raise SymphonyError(f"{group}: found {shown(name)}, allowed: {', '.join(known)}")
    return options


def _alone(overrides: Sequence[str], conf: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the scientific config and the execution settings outside any study."""
    composer = Composer(conf)
    composition = composer.compose(overrides)
    resolved = _resolve(composition, {}, composer, conf)
    _choices(composition, composer)
    return resolved


def _resolve(
    composition: Composition, identity: Mapping[str, Any], composer: Composer, conf: Path, *, whole: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the scientific config and the execution settings of a composed config; `whole` checks its parts, too."""
    plain = composition.plain()
    config, execution = settle(plain, identity, conf, checked=not whole)
    if whole:
        check_parts(config)
        if composer.first_time(plain["preset"]):
            check_preset(plain["preset"], conf)
    return config, execution


def settle(
    plain: Mapping[str, Any], identity: Mapping[str, Any], conf: Path, *, checked: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the scientific config and the execution settings for the output of `Composition.plain`.

    Args:
        checked: Whether it differs from one that was checked only in an allowed seed.

    Raises:
        SymphonyError: A value of the root or of an agent is not allowed (`check_parts` checks the other parts).
    """
    if not checked:
        check_root(plain)
    # A list, because its order is the order of the first calls.
    named = [{"name": name, **agent} for name, agent in plain["pool"]["agents"].items()]
    limits = limits_of(plain["budget"], identity.get("choices", {}).get("task"), option_names(conf, "task"))
    execution = {**plain["execution"], "data_dir": plain["data_dir"], **served(plain["pool"])}
    plain = {**plain, "pool": {"agents": named}, "budget": limits}
    config = {key: value for key, value in plain.items() if key not in (*UNSCIENTIFIC, *UNFOLDED)}
    return json.loads(canonical_json({**config, **identity})), execution


def _inputs_digest(study: str, overrides: Sequence[str], conf: Path) -> str:
    """Returns a digest of everything that the composition and its checks read; it names a composed plan."""
    versions = [version(package) for package in ("hydra-core", "omegaconf")]
    hashed = hashlib.sha256(canonical_json([study, *overrides, *versions]).encode())
    for path in [*sorted(conf.rglob("*.yaml")), *sorted(PACKAGE.rglob("*.py"))]:
        content = path.read_bytes()
        hashed.update(f"{os.fspath(path)}\x00{len(content)}\x00".encode() + content)
    return hashed.hexdigest()[:24]
