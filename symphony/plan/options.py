"""Reads conf/ file by file to list studies, experiments and options, without composing anything."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from symphony.fields import shown
from symphony.files import write_atomic
from symphony.plan.model_spec import NOT_ARGUMENTS, ModelSpec, models
from symphony.plan.sweeps import KEY, Variant, apart, variants
from symphony.plan.targets import check_arguments
from symphony.plan.yaml_files import check_file, load
from symphony.types import SymphonyError

FULL = "full"
"""Size of a study as its experiments describe it."""
_EXCHANGED = ("pool", "preset")
"""Groups whose options a smaller size of a study may exchange."""
ALL_TASKS = "all tasks"
"""Name that a report gives to the rows that pool every task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What the report says about an experiment."""

    name: str
    title: str
    question: str
    table: str
    against: str = ""


def studies(conf: Path) -> list[str]:
    """Returns the names of the studies, sorted."""
    return sorted(path.name for path in (conf / "experiment").glob("*") if path.is_dir())


def experiments(conf: Path, study: str, overrides: Sequence[str] = ()) -> list[Variant]:
    """Returns a study's experiments, sorted by file; a swept file or override gives one for each combination.

    Raises:
        SymphonyError: The study does not exist, has no experiment, has a file whose name ends in .yml, or has a broken
            sweep.
    """
    if study not in studies(conf):
        raise SymphonyError(f"study: found {study!r}, allowed: {', '.join(studies(conf))}")
    folder = conf / "experiment" / study
    for path in sorted(folder.glob("*.yml")):
        raise SymphonyError(f"{path}: found a name that ends in .yml, allowed: .yaml")
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if not names:
        raise SymphonyError(f"{folder}: found no experiment, allowed: a folder with at least one .yaml file")
    _, sweeps = apart(overrides)
    expanded = []
    for name in names:
        path = folder / f"{name}.yaml"
        node = load(path)
        expanded += variants(name, str(path), node.get(KEY) if isinstance(node, Mapping) else None, sweeps)
    return expanded


def describe(study: str, overrides: Sequence[str] = (), *, conf: Path = Path("conf")) -> list[Experiment]:
    """Describes a study's experiments for the report, without composing them; those of the main table come first."""
    known = experiments(conf, study, overrides)
    names = {variant.name for variant in known}
    described = []
    for variant in known:
        node = load(conf / "experiment" / study / f"{variant.base}.yaml")
        words = {key: str(node.get(key) or "") for key in ("title", "question", "table", "against")}
        if variant.suffix:
            words["title"] = variant.titled(words["title"] or variant.base)
        if f"{words['against']}{variant.suffix}" in names:  # swept in the same way
            words["against"] += variant.suffix
        described.append(Experiment(name=variant.name, **words))
    return sorted(described, key=lambda experiment: (experiment.table != "main", experiment.table))


def reference(study: str, overrides: Sequence[str] = (), *, conf: Path = Path("conf")) -> str:
    """Returns the experiment that a study's report compares the others with.

    It is the value of `reference`: from an override, else the study's experiments, else conf/config.yaml. If none sets
    it, it is the first experiment by name that feeds the table main, or else the first of all.

    Raises:
        SymphonyError: The study has no experiment of that name, or its experiments name different ones.
    """
    names = {variant.name: None for variant in experiments(conf, study, overrides)}  # keeps the order, finds quickly
    overridden = [item.lstrip("+").partition("=")[2] for item in overrides if item.lstrip("+").startswith("reference=")]
    folder = conf / "experiment" / study
    files = sorted(path.stem for path in folder.glob("*.yaml"))
    named = {name: own for name in files if (own := _reference(folder / f"{name}.yaml")) is not None}
    references = list(named.values())
    if any(own != references[0] for own in references):
        several = ", ".join(f"{own!r} in {name}.yaml" for name, own in named.items())
        raise SymphonyError(f"{folder}: reference: found {several}, allowed: one for the whole study")
    for experiment in describe(study, overrides, conf=conf):
        if experiment.against and experiment.against not in names:
            path = folder / f"{experiment.name.partition('[')[0]}.yaml"
            raise SymphonyError(f"{path}: against: found {experiment.against!r}, allowed: {', '.join(names)}")
    for item in overrides:
        key, _, name = item.lstrip("+").partition("=")
        if key == "against" and name not in (*names, "null"):
            raise SymphonyError(f"against: found {name!r}, allowed: {', '.join(names)}")
    chosen = overridden[-1] if overridden else next(iter(references), _reference(conf / "config.yaml"))
    if chosen in (None, "null"):
        return describe(study, overrides, conf=conf)[0].name
    if not isinstance(chosen, str) or chosen not in names:
        raise SymphonyError(f"reference: found {chosen!r}, allowed: {', '.join(names)}")
    return chosen


def replaced(study: str, overrides: Sequence[str], *, conf: Path = Path("conf")) -> list[str]:
    """Returns what an override takes from experiments that choose the same option themselves, a line per override.

    Such experiments keep their names and titles: `pool=mine` makes "SYMPHONY on Qwen3 alone" a run of the pool `mine`.
    """
    chosen: dict[str, list[str]] = {}
    for path in sorted((conf / "experiment" / study).glob("*.yaml")):
        node = load(path)
        defaults = node.get("defaults") if isinstance(node, Mapping) else None
        for entry in defaults if isinstance(defaults, list) else ():
            for key in entry if isinstance(entry, Mapping) else ():
                group = str(key).removeprefix("override").strip(" /")
                chosen.setdefault(group, []).append(path.stem)
    lines = []
    for item in overrides:
        key = item.partition("=")[0]
        if names := chosen.get(key):
            lines.append(
                f"{item} replaces the {key} chosen by {', '.join(names)}; --experiment NAME overrides only one of them"
            )
    return lines


def sized(study: str, overrides: Sequence[str], conf: Path) -> list[str]:
    """Replaces `size=<name>` by the overrides in conf/experiment/<study>/sizes/<name>.yaml, wherever it occurs.

    `size=full` is the study as its experiments describe it.

    Raises:
        SymphonyError: The study has no such file.
    """
    known = [*_sizes(study, conf), FULL]
    sizes = _named(overrides)
    for size in sizes:
        if size not in known:
            raise SymphonyError(f"size: found {size!r}, allowed: {', '.join(known)}")
    others = [item for item in overrides if item.partition("=")[0] != "size"]
    return [*(f"+experiment/{study}/sizes={size}" for size in sizes if size != FULL), *others]


def _sizes(study: str, conf: Path) -> list[str]:
    return sorted(path.stem for path in (conf / "experiment" / study / "sizes").glob("*.yaml"))


def _named(overrides: Sequence[str]) -> list[str]:
    return [item.partition("=")[2] for item in overrides if item.partition("=")[0] == "size"]


def exchange(stand_ins: Mapping[str, Any], choices: Mapping[str, Any]) -> list[str]:
    """Returns overrides that put the stand-ins in the place of an experiment's own options.

    Args:
        stand_ins: Value of the key `stand_ins`: for a group, each option and the one that stands in for it.
        choices: The option of each group that the experiment chose.

    Raises:
        SymphonyError: `stand_ins` is not a mapping of groups to mappings of names.
    """
    for group, options in stand_ins.items():
        names = [*options, *options.values()] if isinstance(options, Mapping) else [None]
        if group not in _EXCHANGED or not all(isinstance(name, str) for name in names):
            found = shown({group: options})
            raise SymphonyError(f"stand_ins: found {found}, allowed: {{{' or '.join(_EXCHANGED)}: {{option: option}}}}")
    return [f"{group}={options[choices[group]]}" for group, options in stand_ins.items() if choices[group] in options]


def describe_stand_ins(study: str, overrides: Sequence[str], *, conf: Path = Path("conf")) -> list[str]:
    """Returns a line for each option that stands in for others in the study's size, for the report."""
    replaced: dict[str, list[str]] = {}
    for size in _named(overrides):
        path = conf / "experiment" / study / "sizes" / f"{size}.yaml"
        node = load(path) if size != FULL else {}
        for group, options in (node.get("stand_ins") or {}).items():
            for old, new in options.items():
                replaced.setdefault(f"{group} {new}", []).append(old)
    return [f"{new} instead of {' and '.join(old)}" for new, old in replaced.items()]


def _reference(path: Path) -> Any:
    node = load(path)
    return node.get("reference") if isinstance(node, dict) else None


def write_description(
    study: str,
    path: Path,
    overrides: Sequence[str] = (),
    *,
    conf: Path = Path("conf"),
    left_out: Sequence[str] = (),
    recorded: Sequence[str] = (),
    claims: Sequence[Mapping[str, Any]] = (),
    pools: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Writes `describe` and the reference for the report; an unchanged file is left alone, so that nothing is remade.

    Args:
        claims: What the report is to test (`claims.claims`).
        left_out: The lines that `needs.available` reported.
        pools: Bytes of each pool's weights (`needs.pool_sizes`).
        recorded: The origin of the replayed answers (`recordings.describe_origin`).
    """
    described = describe(study, overrides, conf=conf)
    words = {
        experiment.name: {key: value for key, value in asdict(experiment).items() if key != "name"}
        for experiment in described
    }
    chosen = reference(study, overrides, conf=conf)
    plan: dict[str, Any] = {"study": study, "reference": chosen, "experiments": words, "left_out": list(left_out)}
    stand_ins = describe_stand_ins(study, overrides, conf=conf)
    plan |= {"stand_ins": stand_ins} if stand_ins else {}
    plan |= {"recorded": list(recorded)} if recorded else {}
    plan |= {"claims": list(claims)} if claims else {}
    plan |= {"pools": dict(pools)} if pools else {}
    text = json.dumps(plan, indent=1, ensure_ascii=False) + "\n"
    if not path.is_file() or path.read_text() != text:
        write_atomic(path, text)


def model(name: str, *, conf: Path = Path("conf")) -> ModelSpec:
    """Returns one model of conf/model/, outside any pool.

    Raises:
        SymphonyError: It does not exist, or one of its keys is wrong.
    """
    check_place(conf)
    path = conf / "model" / f"{name}.yaml"
    known = sorted(file.stem for file in (conf / "model").glob("*.yaml"))
    if name not in known:
        raise SymphonyError(f"model: found {name!r}, allowed: {', '.join(known)}")
    node = load(path, resolve=True)
    try:
        check_arguments("model", node, extra=NOT_ARGUMENTS)
    except SymphonyError as error:
        raise SymphonyError(f"{path}: {error}") from error
    return models({"pool": {"agents": [{"name": name, **node}]}})[name]


def source(option: str, *, conf: Path = Path("conf")) -> Mapping[str, Any]:
    """Returns the `source` block of an option that needs a download, e.g. `model/mistral_7b`.

    Raises:
        SymphonyError: The option does not exist or has nothing to download.
    """
    check_place(conf)
    path = conf / f"{option}.yaml"
    if not path.is_file():
        raise SymphonyError(f"option: found {option!r}, allowed: {', '.join(sources(conf))}")
    whole = load(path)
    if "source" not in whole:
        raise SymphonyError(f"{option}: found nothing to download, allowed: {', '.join(sources(conf))}")
    block: Mapping[str, Any] = whole["source"]
    return block


def sources(conf: Path) -> list[str]:
    """Lists the options of tasks and models that have a `source` block."""
    files = [path for group in ("task", "model") for path in sorted((conf / group).glob("*.yaml"))]
    for path in files:
        check_file(path)
    return [f"{path.parent.name}/{path.stem}" for path in files if re.search(r"(?m)^source:", path.read_text("utf-8"))]


def check_place(conf: Path) -> None:
    """Raises SymphonyError if there is no conf/ to read."""
    if not (conf / "config.yaml").is_file():
        allowed = "the project's folder as working directory, or --conf"
        raise SymphonyError(f"conf: found no {conf}/config.yaml, allowed: {allowed}")


def check_files(conf: Path, study: str = "") -> None:
    """Checks each file that a composition may read: the root, the options, and one study.

    Raises:
        SymphonyError: There is no conf/, or one of its files is broken.
    """
    check_place(conf)
    groups = [path for path in sorted(conf.iterdir()) if path.is_dir() and path.name != "experiment"]
    files = [*sorted(conf.glob("*.yaml")), *(path for group in groups for path in sorted(group.rglob("*.yaml")))]
    if study:
        files += sorted((conf / "experiment" / study).glob("*.yaml"))
    for path in files:
        if path.parent == conf / "task" and path.stem == ALL_TASKS:
            raise SymphonyError(f"{path}: found the name {ALL_TASKS!r}, allowed: another (reports use it for all)")
        check_file(path)
