"""Estimates what a study will take from problems already carried out. It is not a bound.

The problems are those of the study's finished runs, or of a pilot of three problems per experiment and task.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from symphony.forecast.bounds import at_most
from symphony.plan.model_spec import ModelSpec, models
from symphony.plan.specs import Run, groups
from symphony.records.records import CallRecord, ProblemRecord, TimingRecord, WallRecord, is_complete, read_records
from symphony.run.progress import Progress
from symphony.run.runner import MakeBackend, Place, run_group
from symphony.types import Phase

PILOT = 3
"""Problems of a pilot, for each experiment and task."""
Say = Callable[[str], None]
Cell = tuple[str, str]
"""Experiment and task."""


# --------------------------------------------------------------------------- estimates


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What some calls used.

    Attributes:
        cached_tokens: The prompt tokens that came from an endpoint's cache.
    """

    calls: float = 0
    prompt_tokens: float = 0
    cached_tokens: float = 0
    completion_tokens: float = 0

    def plus(self, other: Used, times: float = 1.0) -> Used:
        return Used(
            calls=self.calls + times * other.calls,
            prompt_tokens=self.prompt_tokens + times * other.prompt_tokens,
            cached_tokens=self.cached_tokens + times * other.cached_tokens,
            completion_tokens=self.completion_tokens + times * other.completion_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A problem that was carried out and not cut short by its run's or study's budget.

    Attributes:
        used: Usage by model.
        rounds: How often its search asked and waited; calls asked together count once.
        size: Bytes of its share of the records, and of the call store (counted as large as its calls' records).
    """

    used: Mapping[ModelSpec, Used]
    rounds: int
    size: float

    def total(self) -> Used:
        total = Used()
        for used in self.used.values():
            total = total.plus(used)
        return total

    def dollars(self) -> float | None:
        """Returns the cost by today's prices; None if a price is unknown."""
        costs = [spec.price.of(u.prompt_tokens, u.cached_tokens, u.completion_tokens) for spec, u in self.used.items()]
        known = [cost for cost in costs if cost is not None]
        return sum(known) if len(known) == len(costs) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """An estimate: from the samples' mean, and as if every problem were like its smallest or its largest sample."""

    mean: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the problems of the cells with samples are expected to take.

    Attributes:
        cells, problems: Number covered. samples: Number of problems it is based on.
        dollars: Cost; None if a price is unknown.
        size: Bytes.
        models: Expected usage of each model, by agent and model.
        hours: By pool: hours of generating if the store answers nothing. Absent if no sample gives the speed.
        speed: By pool: completion tokens per second, of all calls in flight together.
        rounds: By pool: how often its models are asked one after another, if the problems in flight wait for each other
            and each is as long as the longest finished one. Absent if an experiment or task has no sample.
    """

    cells: int
    problems: int
    samples: int
    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    dollars: Range | None
    size: Range
    models: Mapping[tuple[str, ModelSpec], Used]
    hours: Mapping[str, float]
    speed: Mapping[str, float]
    rounds: Mapping[str, int]


def pilots(runs: Sequence[Run]) -> dict[Cell, Run]:
    """Returns the first run of each experiment and task, cut to three problems.

    They are the run's first problems, so that it does not pay for their calls again.
    """
    first: dict[Cell, Run] = {}
    for run in runs:
        first.setdefault((run.experiment, run.task), run)
    return {cell: _shorten(run) for cell, run in first.items()}


def _shorten(run: Run) -> Run:
    if run.settings.problems <= PILOT:
        return run
    config = {**run.config, "problems": PILOT, "task": {**run.settings.task, "count": PILOT}}
    return replace(run, config=config)


def finished(runs: Sequence[Run], place: Place) -> dict[Cell, list[Run]]:
    """Returns the runs whose problems are samples: the study's own complete runs, else the pilot's."""
    complete: dict[Cell, list[Run]] = {}
    for run in runs:
        if is_complete(place.run(run)):
            complete.setdefault((run.experiment, run.task), []).append(run)
    for cell, run in pilots(runs).items():
        if cell not in complete and is_complete(place.run(run)):
            complete[cell] = [run]
    return complete


def carry_out_pilot(
    runs: Sequence[Run], place: Place, progress: Progress, say: Say, make_backend: MakeBackend | None = None
) -> None:
    """Carries out three problems of each experiment and task without samples; first reports what they take at most."""
    known = finished(runs, place)
    missing = [run for cell, run in pilots(runs).items() if cell not in known]
    if not missing:
        say("pilot: nothing to run, every experiment and task has finished problems")
        return
    say(f"pilot: {PILOT} problems in each of {len(missing)} pairs of experiment and task; at most {at_most(missing)}")
    for group in groups(missing):
        run_group(group, place, progress, make_backend)


def estimate(runs: Sequence[Run], place: Place) -> Estimate | None:
    """Estimates the whole study from the finished problems; None if there are none."""
    sources = finished(runs, place)
    samples = {
        cell: [sample for run in some for sample in _samples(run, place.run(run))] for cell, some in sources.items()
    }
    samples = {cell: some for cell, some in samples.items() if some}
    if not samples:
        return None
    problems: Counter[Cell] = Counter()
    for run in runs:
        problems[run.experiment, run.task] += run.settings.problems
    pools = {(run.experiment, run.task): run.pool for run in runs}
    weighed = [(problems[cell], some) for cell, some in samples.items()]
    speed = _speed([run for some in sources.values() for run in some], place)
    tokens: dict[str, float] = {}
    for cell, some in samples.items():
        expected = _range([(problems[cell], some)], lambda sample: sample.total().completion_tokens).mean
        tokens[pools[cell]] = tokens.get(pools[cell], 0.0) + expected
    priced = all(sample.dollars() is not None for some in samples.values() for sample in some)
    return Estimate(
        cells=len(samples),
        problems=sum(count for count, _ in weighed),
        samples=sum(len(some) for _, some in weighed),
        calls=_range(weighed, lambda sample: sample.total().calls),
        prompt_tokens=_range(weighed, lambda sample: sample.total().prompt_tokens),
        completion_tokens=_range(weighed, lambda sample: sample.total().completion_tokens),
        dollars=_range(weighed, lambda sample: sample.dollars() or 0.0) if priced else None,
        size=_range(weighed, lambda sample: sample.size),
        models=_by_model(weighed, [run for some in sources.values() for run in some]),
        hours={pool: tokens[pool] / speed[pool] / 3600 for pool in tokens if pool in speed},
        speed=speed,
        rounds=_rounds(runs, {cell: max(sample.rounds for sample in some) for cell, some in samples.items()}),
    )


def _rounds(runs: Sequence[Run], longest: Mapping[Cell, int]) -> dict[str, int]:
    """Counts rounds per pool; runs of a group are searched together, up to the number of problems in flight."""
    rounds: Counter[str] = Counter()
    pools = {run.pool for run in runs} - {run.pool for run in runs if (run.experiment, run.task) not in longest}
    for group in groups(run for run in runs if run.pool in pools):
        waves = math.ceil(
            sum(run.settings.problems for run in group.runs) / max(run.how.in_flight for run in group.runs)
        )
        rounds[group.runs[0].pool] += waves * max(longest[run.experiment, run.task] for run in group.runs)
    return dict(rounds)


def _by_model(
    weighed: Sequence[tuple[int, Sequence[Sample]]], runs: Iterable[Run]
) -> dict[tuple[str, ModelSpec], Used]:
    names = {spec: name for run in runs for name, spec in models(run.config).items()}
    asked: dict[tuple[str, ModelSpec], Used] = {}
    for count, some in weighed:
        for spec, used in (item for sample in some for item in sample.used.items()):
            asked[names[spec], spec] = asked.get((names[spec], spec), Used()).plus(used, count / len(some))
    return asked


def _range(weighed: Sequence[tuple[int, Sequence[Sample]]], value: Callable[[Sample], float]) -> Range:
    values = [(count, [value(sample) for sample in some]) for count, some in weighed]
    return Range(
        mean=sum(count * sum(some) / len(some) for count, some in values),
        least=sum(count * min(some) for count, some in values),
        most=sum(count * max(some) for count, some in values),
    )


def _samples(run: Run, folder: Path) -> list[Sample]:
    specs = models(run.config)
    problems = read_records(folder, ProblemRecord)
    used: dict[str, dict[ModelSpec, Used]] = {problem.problem: {} for problem in problems}
    calls = read_records(folder, CallRecord)
    rounds = Counter(problem for (problem, *_), _ in groupby(calls, _asked_together))
    for call, timing in zip(calls, read_records(folder, TimingRecord), strict=True):
        spec, own = specs[call.agent], used[call.problem]
        own[spec] = own.get(spec, Used()).plus(
            Used(
                calls=1,
                prompt_tokens=call.prompt_tokens,
                cached_tokens=timing.cached_tokens,
                completion_tokens=call.completion_tokens,
            )
        )
    size = sum(path.stat().st_size for path in folder.iterdir()) + (folder / "calls.jsonl").stat().st_size
    return [
        Sample(used=used[problem.problem], rounds=rounds[problem.problem], size=size / len(problems))
        for problem in problems
        if not problem.stop_reason.startswith(("run_", "study_"))
    ]


def _asked_together(call: CallRecord) -> tuple[str, int, str, int | None]:
    """Returns a key that is equal for ledger neighbours asked together: a node's proposals, or nodes' judgements."""
    return (
        call.problem,
        call.iteration,
        call.phase,
        call.node if call.phase in (Phase.EXPAND, Phase.SIM_EXPAND) else None,
    )


def _speed(runs: Iterable[Run], place: Place) -> dict[str, float]:
    """Returns completion tokens per second by pool; runs of a group go on together, so the longest gives the time."""
    tokens: Counter[str] = Counter()
    seconds: dict[str, float] = {}
    for group in groups(runs):
        walls = [wall for run in group.runs for wall in read_records(place.run(run), WallRecord)]
        generated = sum(wall.generated_tokens for wall in walls)
        if generated:  # otherwise all came from the store
            pool = group.runs[0].pool
            tokens[pool] += generated
            seconds[pool] = seconds.get(pool, 0.0) + max(wall.wall_s for wall in walls)
    return {pool: tokens[pool] / seconds[pool] for pool in seconds}
