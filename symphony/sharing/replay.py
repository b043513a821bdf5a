"""Repeats the runs of an unpacked bundle from its recorded answers, without models, and compares their records.

The configs come from somebody else. They may name only classes of this package; a run whose config would ask a network,
read a file of this machine or run programs without isolation is not repeated.
"""

from __future__ import annotations

import io
import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from symphony.models.sizes import Size
from symphony.plan.contents import data_files
from symphony.plan.model_spec import ModelSpec, models
from symphony.plan.needs import has_data, has_files, unavailable, unplayed
from symphony.plan.specs import Group, Run, thaw
from symphony.records.records import ProblemRecord, RunRecord, read_records
from symphony.run import progress, recordings, runner
from symphony.sharing.archive import GROUPS, RECORDINGS, REPLAYED, RUNS, SHARED, Index, is_name
from symphony.sharing.compare import differing_records
from symphony.types import Completion, Request, SymphonyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What became of the runs.

    Attributes:
        equal: How many were repeated with equal records. difference: The first one that was not; "" if there is none.
        left: Why runs were not repeated -> how many.
    """

    equal: int
    difference: str
    left: Mapping[str, int]


class Absent:
    """A model that is not here (`ModelBackend`): it has a revision, and every answer is in the call store."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.counter: str | None = revision

    def size(self, request: Request) -> Size:
        raise self._error()

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        raise self._error()

    def _error(self) -> SymphonyError:
        return SymphonyError(f"model {self.revision}: found a call that is not recorded, allowed: recorded calls")


def thaw_groups(folder: Path, index: Index) -> list[Group]:
    """Reads the groups of an unpacked bundle; their runs are those of its index.

    Raises:
        SymphonyError: A group is damaged, or a run of the index is in none or in two.
    """
    groups = [thaw(path) for path in sorted(folder.glob(f"{GROUPS}/*/plan.json"))]
    for group in groups:
        if set(group.shared) != set(SHARED):
            raise SymphonyError(f"{folder / GROUPS}: found groups that share {group.shared!r}, allowed: {SHARED!r}")
        for run in group.runs:  # these become parts of paths
            for name in (group.name, run.study, run.task, run.pool):
                if not is_name(name):
                    raise SymphonyError(f"{folder / GROUPS}: found the name {name!r:.100}, allowed: one of a file")
            if run.study != index.study or type(run.seed) is not int:
                raise SymphonyError(f"{folder / GROUPS}: found a run of {run.study}, allowed: {index.study}")
    named = sorted(run.digest for group in groups for run in group.runs)
    if named != sorted(index.runs):
        raise SymphonyError(
            f"{folder / GROUPS}: found {len(named)} configs of {len(index.runs)} runs, allowed: one of each run"
        )
    return groups


def replay(folder: Path, groups: Sequence[Group], data: Path, processes: int) -> Replayed:
    """Repeats the runs of the groups into `<folder>/replayed` and compares them with those in `<folder>/runs`.

    Args:
        folder: An unpacked bundle.
        data: Folder of the data sets, for tasks that read files.
        processes: How many processes to use.

    Raises:
        SymphonyError: A run's answers are not all recorded, or its config is not one of this version.
    """
    left: dict[str, int] = {}
    work = []
    for group in groups:
        kept = []
        for run in group.runs:
            why = hindrance(run, folder, data)
            if why:
                left[why] = left.get(why, 0) + 1
            else:
                kept.append(_here(run, folder))
        if kept:
            work.append(replace(group, runs=tuple(kept)))
    told = _carry_out(work, folder, data, processes)
    equal = sum(not why for why in told)
    return Replayed(equal=equal, difference=next(filter(None, told), ""), left=left)


def _carry_out(work: Sequence[Group], folder: Path, data: Path, processes: int) -> list[str]:
    """Returns what is different of each run, "" if nothing; the groups are dealt to the processes, largest first."""
    lanes: list[list[Group]] = [[] for _ in range(max(1, min(processes, len(work))))]
    for group in sorted(work, key=lambda group: -len(group.runs)):
        min(lanes, key=lambda lane: sum(len(dealt.runs) for dealt in lane)).append(group)
    context = get_context("spawn")  # no copy of this process's threads and connections
    with ExitStack() as stack:
        ends = []
        for lane in lanes[1:]:
            end, others_end = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(others_end, lane, folder, data), daemon=True)
            process.start()
            stack.callback(process.terminate)
            others_end.close()
            ends.append(end)
        told = carry_out(lanes[0], folder, data, watched=sys.stderr.isatty())
        for end in ends:
            try:
                answer = end.recv()
            except EOFError as error:
                raise SymphonyError("found a process that ended early, allowed: enough memory for it") from error
            if isinstance(answer, SymphonyError):
                raise answer
            told += answer
    return told


def _work(end: Connection, lane: Sequence[Group], folder: Path, data: Path) -> None:
    """Carries out a lane in a process of its own, which any signal ends at once and without a word."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        end.send(carry_out(lane, folder, data, watched=False))
    except Exception as error:
        end.send(error if isinstance(error, SymphonyError) else SymphonyError(f"{type(error).__name__}: {error}"))


def carry_out(groups: Sequence[Group], folder: Path, data: Path, *, watched: bool) -> list[str]:
    """Repeats the runs of some groups; returns for each run what is different of it, "" if nothing.

    Args:
        watched: Whether somebody sees the progress.
    """
    place = runner.Place(outputs=folder / REPLAYED, data=data)
    told = []
    with progress.watch(None if watched else io.StringIO()) as bar:
        for group in groups:
            try:
                runner.run_group(group, place, bar, _absent(group, folder, data))
            except SymphonyError as error:  # a search that took another way asks what was never asked
                first = group.runs[0]
                told.append(f"the runs of {first.pool} on {first.task} cannot be repeated: {error}")
                continue
            for run in group.runs:
                why = differing_records(folder / RUNS / run.digest, place.run(run))
                told.append(why and f"run {run.digest} ({run.experiment}, {run.task}, seed {run.seed}), {why}")
    return told


def _absent(group: Group, folder: Path, data: Path) -> Callable[[ModelSpec], Any]:
    """Returns the function that makes the models of a group; it loads no weights."""
    known: dict[ModelSpec, str] = {}
    for run in group.runs:
        (record,) = read_records(folder / RUNS / run.digest, RunRecord)
        revisions = json.loads(record.models)
        for name, spec in models(run.config).items():
            if known.setdefault(spec, revisions[name]) != revisions[name]:
                raise SymphonyError(
                    f"run {run.digest}: found revision {revisions[name]} of {name}, allowed: {known[spec]}, as in the "
                    "other runs"
                )

    def make(spec: ModelSpec) -> Any:
        return spec.build(data) if spec.is_endpoint or spec.is_simulated else Absent(known[spec])

    return make


def _here(run: Run, folder: Path) -> Run:
    return replace(run, execution={"store": "replay", "recordings": str(folder / RECORDINGS)})


def hindrance(run: Run, folder: Path, data: Path) -> str:
    """Returns why a run cannot or must not be repeated here; "" if it can."""
    budget, task = run.settings.budget, run.settings.task
    if any(limits.seconds is not None for limits in (budget.problem, budget.run, budget.study)):
        return "their searches end by the clock"
    if task.get("unprotected"):
        return f"task {run.task} would run programs without isolation"
    if task.get("pages") == "live":
        return f"task {run.task} would ask a network"
    if str(task.get("wording", "")).endswith(".yaml"):
        return f"the prompts of task {run.task} are a file that is not in the bundle"
    if any(record.errors for record in read_records(folder / RUNS / run.digest, ProblemRecord)):
        return "calls failed, and failed calls are not recorded"
    if not recordings.holds(folder / RECORDINGS, run.task, run.pool):
        return "their answers were not recorded"
    if has_files(task) and not has_data(run.config, data):
        return f"the data of task {run.task} are not here"
    if has_files(task) and data_files(run.config, data) != run.config.get("data"):
        return f"the data or prompts of task {run.task} are others here"
    return unavailable(run) or unplayed(run)
