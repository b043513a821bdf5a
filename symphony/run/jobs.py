"""What a workflow must know of each group's job: its inputs, and what it takes of a machine.

The snakemake that plans a study writes this down once. A job on another machine reads it back, so that it composes no
config, and an edit of conf/ while jobs wait in a queue cannot change them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from symphony.files import read_json, write_atomic
from symphony.models.devices import CPU
from symphony.plan.model_spec import ModelSpec, models
from symphony.plan.needs import has_data
from symphony.plan.options import model
from symphony.plan.specs import Group, Run
from symphony.types import SymphonyError, canonical_json

QUANTISED = "outputs:quantised/"
"""How the path of a checkpoint begins that rule `quantise` makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The job of one group.

    Attributes:
        inputs: Files that must be there first: manifests of downloads and of quantised checkpoints.
        engine: Whether a model of it uses as many threads as it gets.
        gpus: GPUs that it can use: 1 if a model of it may be on a GPU, else 0.
    """

    inputs: tuple[str, ...]
    engine: bool
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """All jobs of a study by the names of their groups, and the manifests of its quantised checkpoints."""

    groups: Mapping[str, Job]
    quantised: tuple[str, ...]

    @classmethod
    def of(cls, groups: Sequence[Group], sources: Collection[str], *, data: Path, outputs: Path, conf: Path) -> Jobs:
        """Finds out what the groups' jobs need.

        Args:
            sources: Options that can be downloaded (`plan.options.sources`).
            data, outputs, conf: Folders of the downloads, of everything made here, and of the configs.
        """
        finder = _Finder(frozenset(sources), data, outputs, conf)
        jobs = {group.name: finder.job(group) for group in groups}
        quantised = manifests((run for group in groups for run in group.runs), outputs)
        return cls(groups=jobs, quantised=tuple(map(str, quantised)))

    def job(self, group: str) -> Job:
        """Returns a group's job; a small one for a group that a later plan has dropped while its job was waiting."""
        return self.groups.get(group, Job(inputs=(), engine=False, gpus=0))

    def freeze(self, path: Path) -> None:
        """Writes them to `path`, unless the same are there."""
        text = json.dumps(asdict(self), indent=1) + "\n"
        if not path.is_file() or path.read_text("utf-8") != text:
            write_atomic(path, text)

    @classmethod
    def thaw(cls, path: Path) -> Jobs:
        """Reads what `freeze` wrote.

        Raises:
            SymphonyError: The file is missing or has other contents.
        """
        plain = read_json(path, "the jobs of a study, as the snakemake wrote them that submitted this job")
        try:
            groups = {name: Job(**{**job, "inputs": tuple(job["inputs"])}) for name, job in plain["groups"].items()}
            return cls(groups=groups, quantised=tuple(plain["quantised"]))
        except (KeyError, TypeError, AttributeError) as error:
            allowed = "the jobs of a study; start snakemake again, which rewrites the file"
            raise SymphonyError(f"{path}: found {error}, allowed: {allowed}") from error


def jobs_file(settings: Mapping[str, Any], folder: Path) -> Path:
    """Returns where the jobs of a workflow with these settings (`--config`) are written down."""
    text = canonical_json({str(key): str(value) for key, value in settings.items()})
    return folder / f"jobs-{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"


def manifests(runs: Iterable[Run], outputs: Path) -> list[Path]:
    """Returns where the manifests of the runs' quantised checkpoints are, or will be."""
    paths = {str(agent.get("path")) for run in runs for agent in run.config["pool"]["agents"]}
    names = sorted(path.removeprefix("outputs:") for path in paths if path.startswith(QUANTISED))
    return [outputs / name / "manifest.json" for name in names]


def is_there(option: str, *, data: Path, conf: Path) -> bool:
    """Whether a model's one file is in the user's own folder, so that nothing must be downloaded."""
    kind, _, name = option.partition("/")
    try:
        spec = model(name, conf=conf) if kind == "model" else None
        return bool(spec and spec.is_stepped and spec.folder(data))
    except SymphonyError:
        return False


class _Finder:
    """Finds what jobs need; asks once for each task, pool and option, since thousands of runs share a few of them."""

    def __init__(self, sources: frozenset[str], data: Path, outputs: Path, conf: Path) -> None:
        self._sources, self._data, self._outputs, self._conf = sources, data, outputs, conf
        self._has_data: dict[str, bool] = {}
        self._models: dict[str, Sequence[ModelSpec]] = {}
        self._there: dict[str, bool] = {}

    def job(self, group: Group) -> Job:
        specs = {spec for run in group.runs if run.execution["store"] != "replay" for spec in self._pool(run)}
        return Job(
            inputs=tuple([*self._downloads(group), *map(str, manifests(group.runs, self._outputs))]),
            engine=any(spec.is_stepped for run in group.runs for spec in self._pool(run)),
            gpus=int(any(_may_use_gpu(spec) for spec in specs)),
        )

    def _downloads(self, group: Group) -> list[str]:
        options = {f"task/{run.task}" for run in group.runs if not self._is_complete(run)}
        for run in group.runs:
            if run.execution["store"] != "replay":
                options |= {option for option in run.config["options"] if not self._is_there(option)}
        return [f"{self._data}/{option}/manifest.json" for option in sorted(options & self._sources)]

    def _is_complete(self, run: Run) -> bool:
        node = {key: value for key, value in run.config["task"].items() if key != "seed"}
        key = canonical_json([node, str(run.data(self._data))])
        if key not in self._has_data:
            self._has_data[key] = has_data(run.config, run.data(self._data))
        return self._has_data[key]

    def _is_there(self, option: str) -> bool:
        if option not in self._there:
            self._there[option] = is_there(option, data=self._data, conf=self._conf)
        return self._there[option]

    def _pool(self, run: Run) -> Sequence[ModelSpec]:
        key = canonical_json(run.config["pool"])
        if key not in self._models:
            self._models[key] = tuple(models(run.config).values())
        return self._models[key]


def _may_use_gpu(spec: ModelSpec) -> bool:
    return not spec.is_endpoint and (spec.device != CPU or bool(spec.settings.get("gpu_layers")))
