"""Carries out runs: problems concurrently, ground truth at the end, records all or nothing.

The runs of a group share a process, its loaded models and a call store, and are searched together, so that their calls
form large batches; a run's records depend on the run alone. A complete run is skipped; an interrupted one is repeated,
and the store answers what was already paid for. If an agent was asked and never answered, the run has not measured its
pool: it leaves no folder, and is repeated.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from symphony.agents.budget import Budget, Meter
from symphony.agents.ledger import Ledger
from symphony.agents.memory import Lessons
from symphony.agents.scheduler import ArmStats
from symphony.agents.session import AgentPool, Session
from symphony.files import discard, read_json, write_atomic
from symphony.models.outside import run_outside
from symphony.models.store import CallStore
from symphony.plan.model_spec import models
from symphony.plan.specs import Components, Group, Run, build
from symphony.plan.yaml_files import to_yaml
from symphony.records import provenance
from symphony.records.recorder import Recorder
from symphony.records.records import RunRecord, WallRecord, is_complete
from symphony.run import recordings
from symphony.run.garbage import rare_collections
from symphony.run.live import LIVE, Live
from symphony.run.pools import MakeBackend, PoolFactory
from symphony.run.progress import Calls, Made, Progress, Tally
from symphony.search.result import answer_records, node_records, problem_record
from symphony.search.tree import Tree
from symphony.types import Grade, Problem, SymphonyError, canonical_json, plays_slowly

_NAMED = 3  # runs that an error names, of many


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where files are kept.

    Attributes:
        outputs: Folder of records, call stores and everything made from them.
        data: Folder of the downloads.
    """

    outputs: Path = Path("outputs")
    data: Path = Path("data")

    def run(self, run: Run) -> Path:
        return self.outputs / "runs" / run.digest

    def group(self, group: Group) -> Path:
        return self.outputs / "groups" / group.name

    def ledger(self, study: str) -> Path:
        return self.outputs / study / "spent.jsonl"


class Unanswered(SymphonyError):
    """Raised for runs in which some or all agents never answered: they measured no pool. The other runs are done.

    Attributes:
        runs: Name and reason of each run.
    """

    def __init__(self, runs: Sequence[str]) -> None:
        names = "; ".join([*runs[:_NAMED], *([f"and {len(runs) - _NAMED} more runs"] if runs[_NAMED:] else [])])
        super().__init__(
            f"not done: {names}. A pool is not measured if an agent never answers: fix the agent or leave it out; "
            "the same command asks again only what was not answered"
        )
        self.runs = tuple(runs)


def run_group(group: Group, place: Place, progress: Progress, make_backend: MakeBackend | None = None) -> None:
    """Carries out every run of the group that is not complete, then writes the group's done.json.

    Args:
        make_backend: Makes a model that is needed; by default as the config says.

    Raises:
        Unanswered: In some runs an agent never answered; the others are done, but not the group.
        SymphonyError: An error that the user can fix; runs that ended before it are kept.
    """
    silent: list[str] = []
    with ExitStack() as stack:
        stack.enter_context(rare_collections())
        stores = place.outputs / "calls"
        stack.enter_context(_only_one(stores / f"{group.store}.lock", progress))
        missing = [run for run in group.runs if not is_complete(place.run(run))]
        if not missing:
            discard(place.group(group) / LIVE)  # of a process that was killed
        else:
            live = stack.enter_context(Live(place.group(group) / LIVE, group, missing))
            modes = {run.how.store for run in missing}
            file = stores / f"{group.store}.sqlite"
            store = None if modes == {"live"} else stack.enter_context(CallStore(file, progress.note))
            if store is not None:
                _take_recorded(store, missing)
            ledger = _ledger(missing, place)
            if ledger:
                stack.enter_context(ledger)
            limits = [run.how.memory_gb for run in missing if run.how.memory_gb is not None]
            memory = min(limits, default=None)
            factory = stack.enter_context(PoolFactory(store, place.data, make_backend, ledger=ledger, memory_gb=memory))
            silent = asyncio.run(_carry_out_all(missing, factory, place, progress, live))
    if silent:
        raise Unanswered(silent)
    write_atomic(place.group(group) / "done.json", json.dumps({"runs": [run.digest for run in group.runs]}, indent=1))


def _take_recorded(store: CallStore, runs: Sequence[Run]) -> None:
    for folder in dict.fromkeys(run.how.recordings for run in runs):
        if folder:
            needed = any(run.how.store == "replay" for run in runs)
            recordings.read_into(store, Path(folder), runs[0].task, runs[0].pool, needed=needed)


def withdraw(group: Group, place: Place) -> None:
    """Deletes the group's done.json if some of its runs are no longer complete, so that they are repeated."""
    if not all(is_complete(place.run(run)) for run in group.runs):
        discard(place.group(group) / "done.json")


def run_folders(path: Path) -> list[Path]:
    """Returns the run folders for `path`: itself, or all of the group if it is a done.json."""
    if path.name != "done.json":
        return [path]
    digests = read_json(path, "the done.json of a group").get("runs")
    if not isinstance(digests, list) or not digests or not all(type(one) is str and one.isalnum() for one in digests):
        raise SymphonyError(
            f"{path}: runs: found {digests!r}, allowed: a list of digests; delete the file and start the study again"
        )
    return [path.parents[2] / "runs" / digest for digest in digests]


@dataclass(frozen=True, slots=True)
class _Turns:
    """Limits which problems are searched at the same time.

    Attributes:
        free: Slots for problems in flight, of all runs together.
        entry: Held by a run while it waits to begin its next problem, so that a run begins all of its problems before
            the next run begins one, and no problem takes memory before its turn.
    """

    free: asyncio.Semaphore
    entry: asyncio.Lock


async def _carry_out_all(
    runs: Sequence[Run], factory: PoolFactory, place: Place, progress: Progress, live: Live
) -> list[str]:
    """Carries out all runs together, sharing the largest `in_flight`; runs with a limit in seconds go one by one.

    Returns:
        Name and reason of each run in which an agent never answered.
    """
    turns = _Turns(asyncio.Semaphore(max(run.how.in_flight for run in runs)), asyncio.Lock())
    timed = [run for run in runs if _is_timed(run)]
    try:
        async with asyncio.TaskGroup() as together:
            tasks = [
                together.create_task(_carry_out(run, factory, place, progress, live, turns))
                for run in runs
                if not _is_timed(run)
            ]
    except BaseExceptionGroup as errors:  # the first ended the others
        raise _first(errors) from None
    reasons = [task.result() for task in tasks]
    for run in timed:
        reasons.append(await _carry_out(run, factory, place, progress, live, turns))
    return [why for why in reasons if why]


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _is_timed(run: Run) -> bool:
    return any(limits.seconds is not None for limits in (run.settings.budget.problem, run.settings.budget.run))


async def _carry_out(
    run: Run, factory: PoolFactory, place: Place, progress: Progress, live: Live, turns: _Turns
) -> str:
    """Carries out one run, from config to folder; returns why it has none if an agent never answered, else ""."""
    parts = build(run.config, run.data(place.data))
    pool, revisions = factory.pool(run)
    problems = parts.task.problems()
    if protection := getattr(parts.task, "protection", ""):
        progress.note(f"{run.task}: programs run under {protection}")
    label = f"{run.task} {run.experiment} seed {run.seed}"
    bar = progress.begin(label, len(problems))
    with Recorder(place.run(run)) as recorder:
        wall, cpu, before = time.monotonic(), time.process_time(), factory.memory_cost()
        driver = _Driver(run, parts, pool, recorder, bar, turns)
        live.begin(driver)
        await driver.solve_all(problems)
        wall, cpu, after = time.monotonic() - wall, time.process_time() - cpu, factory.memory_cost()
        if not driver.calls.unmeasured:
            cost = WallRecord(
                run=run.digest,
                wall_s=wall,
                cpu_s=cpu,
                generated_tokens=driver.generated_tokens,
                halvings=after.halvings - before.halvings,
                batch_tokens=after.batch_tokens,
                swaps=after.swaps - before.swaps,
                swap_s=after.swap_s - before.swap_s,
            )
            record = _run_record(run, parts, problems, revisions, factory.devices(run))
            recorder.finish(record, cost, to_yaml(run.config))
    bar.end()
    trouble = driver.calls.trouble() if driver.calls.unmeasured else ""
    live.end(run, trouble)
    return f"{label}: {trouble}" if trouble else ""


class _Driver:
    """Solves the problems of one run.

    Attributes:
        calls: Calls of all problems that have ended; the token counts are of the same problems.
    """

    def __init__(
        self, run: Run, parts: Components, pool: AgentPool, recorder: Recorder, bar: Tally, turns: _Turns
    ) -> None:
        self.run, self.parts, self.pool, self.recorder, self.bar, self.turns = run, parts, pool, recorder, bar, turns
        self.meter = Meter(Budget(**asdict(run.settings.budget.run)), scope="run")
        self.arms: list[ArmStats] | None = None
        if parts.scheduler.scope == "run":
            self.arms = [ArmStats() for _ in pool.agents]
        self.lessons: Lessons = ()
        self.calls = Calls()
        self.generated_tokens = 0
        self.open: list[Session] = []
        self.ended_tokens = self.done = self.solved = self.problems = 0
        self.parse, self.slow = parts.task.parse, plays_slowly(parts.task)

    async def solve_all(self, problems: Sequence[Problem]) -> None:
        """Solves all problems, beginning them in their order.

        If arms or lessons live as long as the run, a problem depends on those before it; then it solves one at a time.
        """
        self.problems = len(problems)
        if "run" in (self.parts.scheduler.scope, self.parts.memory.scope):
            for index, problem in enumerate(problems):
                async with self.turns.free:
                    await self._solve(index, problem)
            return
        async with asyncio.TaskGroup() as together, self.turns.entry:
            for index, problem in enumerate(problems):
                await self.turns.free.acquire()
                together.create_task(self._solve(index, problem)).add_done_callback(self._leave)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self.turns.free.release()

    async def _solve(self, index: int, problem: Problem) -> None:
        """Solves one problem and keeps nothing of it in memory."""
        parts, run = self.parts, self.run
        session = Session(
            run=run.digest,
            seed=run.seed,
            problem=problem,
            pool=self.pool,
            meter=Meter(Budget(**asdict(run.settings.budget.problem)), self.meter),
            arms=self.arms,
            lessons=self.lessons,
        )
        self.open.append(session)
        result = await parts.search.solve(
            problem,
            task=parts.task,
            session=session,
            scheduler=parts.scheduler,
            scorer=parts.scorer,
            memory=parts.memory,
        )
        if parts.memory.scope == "run":
            self.lessons = session.lessons
        answers = result.answers(session.stood)
        grades = await self._grades(problem, result.tree, {result.answer, *(answer.node for answer in answers)})
        grade = grades[result.answer]
        self.recorder.add(
            index,
            [problem_record(index, session, result, grade)],
            answer_records(session, answers, grades),
            node_records(session, result.tree),
            session.calls,
            session.picks,
            session.reflections,
            session.timings,
            prompts=session.prompts.lines(),
        )
        computed = _count_computed(session)
        self.open.remove(session)
        self.ended_tokens += session.meter.tokens
        self.generated_tokens += computed.generated.total()
        self.calls.add([(call.agent, call.error) for call in session.calls])
        self.done += 1
        self.solved += grade.success
        self.bar.problem(success=grade.success, calls=self.calls, made=computed, share=self.share())

    async def _grades(self, problem: Problem, tree: Tree, nodes: Iterable[int]) -> dict[int, Grade]:
        """Grades nodes by ground truth, which is used here and nowhere else."""

        def grade() -> dict[int, Grade]:
            return {node: self.parts.task.grade(problem, tree[node].state) for node in nodes}

        return await run_outside(grade) if self.slow else grade()

    def share(self) -> float:
        """Estimates the share of the run's tokens that are spent, counting half of what the calls in flight will take.

        It assumes that the other problems need as many tokens as those that have ended.
        """
        if not self.ended_tokens:
            return 0.0
        waiting = sum(session.meter.calls - len(session.calls) for session in self.open)
        spent = self.ended_tokens + sum(session.meter.tokens for session in self.open)
        spent_a_call = self.ended_tokens / max(1, self.calls.count)
        return min(1.0, (spent + waiting * spent_a_call / 2) * self.done / (self.ended_tokens * self.problems))


def _run_record(
    run: Run, parts: Components, problems: Sequence[Problem], revisions: dict[str, str], devices: Sequence[str]
) -> RunRecord:
    choices, limits = run.settings.choices, run.settings.budget.problem
    return RunRecord(
        run=run.digest,
        study=run.study,
        experiment=run.experiment,
        task=run.task,
        feedback=parts.task.feedback,
        search=choices.search,
        scheduler=choices.scheduler,
        scorer=choices.scorer,
        memory=choices.memory,
        preset=choices.preset,
        pool=run.pool,
        agents=list(revisions),
        models=canonical_json(revisions),
        seed=run.seed,
        problems=len(problems),
        call_limit=limits.calls,
        token_limit=limits.tokens,
        prompts=parts.task.prompts.digest,
        dataset=provenance.dataset(problems),
        commit=provenance.commit(),
        versions=provenance.versions(),
        hardware=provenance.hardware(devices),
    )


def _count_computed(session: Session) -> Made:
    """Returns what models really computed for a problem."""
    computed = Made()
    for call, timing in zip(session.calls, session.timings, strict=True):
        if not timing.from_store:
            computed.add(call.agent, call.prompt_tokens, timing.cached_tokens, call.completion_tokens)
    return computed


def _ledger(runs: Sequence[Run], place: Place) -> Ledger | None:
    """Returns the ledger of the runs' study, if a limit or an endpoint needs one."""
    limits = Budget(**asdict(runs[0].settings.budget.study))
    if limits == Budget() and not any(spec.is_endpoint for run in runs for spec in models(run.config).values()):
        return None
    return Ledger(place.ledger(runs[0].study), limits)


@contextmanager
def _only_one(path: Path, progress: Progress) -> Iterator[None]:
    """Waits until no other process uses the same call store; the lock ends with its process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("w")
    except OSError as error:
        raise SymphonyError(f"{path}: found {error.strerror}, allowed: a folder that can be written") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.note(f"{path.stem}: another process is working on these runs; waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
