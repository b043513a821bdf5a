"""What a run needs of this machine: a task that can be played here, a method that can play it, and its data files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from symphony.plan.model_spec import models
from symphony.plan.specs import Run
from symphony.plan.targets import class_of, instantiate
from symphony.types import SymphonyError


def available(runs: Iterable[Run], say: Callable[[str], None]) -> list[Run]:
    """Returns the runs that this machine can carry out; reports the others with the reason."""
    missing: dict[str, str] = {}
    lacking: dict[tuple[str, str], list[str]] = {}  # experiment and reason -> tasks
    kept = []
    for run in runs:
        if run.task not in missing:
            missing[run.task] = unavailable(run)
            if missing[run.task]:
                say(f"task {run.task} is left out: {missing[run.task]}")
        if missing[run.task]:
            continue
        if why := unplayed(run):
            lacking.setdefault((run.experiment, why), []).append(run.task)
        else:
            kept.append(run)
    for (experiment, why), tasks in lacking.items():
        say(f"experiment {experiment} is left out on {', '.join(dict.fromkeys(tasks))}: {why}")
    return kept


def pool_sizes(runs: Iterable[Run], data: Path) -> dict[str, int]:
    """Returns the bytes of each pool's weights on a device; a pool whose files are not here is left out.

    An agent behind an endpoint takes no memory here; agents of the same model share it.
    """
    sizes: dict[str, int] = {}
    for run in {run.pool: run for run in runs}.values():
        local = {spec for spec in models(run.config).values() if not spec.is_endpoint}
        try:
            sizes[run.pool] = sum((spec.takes or spec.footprint(data)).weights for spec in local)
        except SymphonyError:
            continue
    return sizes


def unplayed(run: Run) -> str:
    """Returns why the run's method cannot be used on its task; "" if it can."""
    if not hasattr(class_of("search", run.settings.search["_target_"]), "unavailable"):
        return ""
    return str(instantiate("search", run.settings.search).unavailable(instantiate("task", run.settings.task)))


def unavailable(run: Run) -> str:
    """Returns why this machine cannot carry out a run's task; "" if it can."""
    node = run.settings.task
    asks = hasattr(class_of("task", node["_target_"]), "unavailable")
    return str(instantiate("task", node).unavailable()) if asks else ""


def has_files(node: Mapping[str, Any]) -> bool:
    """Whether a task reads its problems from files."""
    return hasattr(class_of("task", node["_target_"]), "files")


def has_data(config: Mapping[str, Any], data: Path) -> bool:
    """Whether the files that a run's task reads exist; also true if it reads none."""
    if not has_files(config["task"]):
        return True
    try:
        return bool(instantiate("task", config["task"], data).files())
    except SymphonyError:
        return False
