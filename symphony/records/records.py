"""The records that a run leaves; each dataclass is both the JSON line and the DuckDB table.

A run's folder `outputs/runs/<digest>/` holds one `<table>.jsonl` per record type, the prompts
(`symphony.records.prompts`), `config.yaml`, `manifest.json` (number of lines and digest of each file) and, apart, the
files in which two equal runs may differ: `timings.jsonl`, `wall.json` and their digests, `apart.json`. All others are
byte-identical if a run is repeated, resumed after a crash, or replayed from the call store. `symphony.records.recorder`
writes the folder. Nothing changes a record; those made for every call and node are not frozen, because a frozen one
takes four times as long to make.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from symphony.records import manifest
from symphony.records.manifest import MANIFEST, Part, check_contents, check_lines, damaged
from symphony.records.prompts import PROMPTS
from symphony.types import SymphonyError

CONFIG = "config.yaml"
WALL = "wall.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One search method on one task with one pool and one seed.

    Attributes:
        run: Digest of the resolved config; names the folder.
        experiment: Name of the file under conf/experiment/<study>/; a row of a table.
        feedback: "oracle" or "none": what the search was told of ground truth.
        agents: Names of the pool's agents, in order.
        models: JSON object, agent name -> model revision.
        call_limit, token_limit: Budget of each problem; None means no limit.
        prompts: Digest of the prompt templates.
        dataset: Digest of the problems' ids, prompts and targets.
        commit: Commit of this code, "+dirty" appended when the tree was changed; "unknown" outside git.
        versions: JSON object, package -> version.
        hardware: Processor or GPU, cores.
    """

    run: str
    study: str
    experiment: str
    task: str
    feedback: str
    search: str
    scheduler: str
    scorer: str
    memory: str
    preset: str
    pool: str
    agents: list[str]
    models: str
    seed: int
    problems: int
    call_limit: int | None
    token_limit: int | None
    prompts: str
    dataset: str
    commit: str
    versions: str
    hardware: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRecord:
    """One problem of a run: ground truth, why the search ended, and what it consumed.

    Attributes:
        index: Position in the run, from 0.
        success, score, detail: `Task.grade` of the returned state (score in [0, 1]).
        stop_reason: "solved", "accepted", "iterations", "exhausted", "error", or the limit that was reached: "calls",
            "tokens", "money", "seconds" or "computed" of the problem's own budget, "run_calls", ... of its run's,
            "study_calls", ... of its study's.
        iterations: Search iterations begun.
        nodes_tree, nodes_simulated: Nodes created besides the root.
        guesses: Terminal states reached (each asked the environment for a verdict).
        prompt_tokens, completion_tokens: Tokens used, whether generated or answered from the store.
        cost: Dollars that its calls cost; None if the price of a call is unknown.
        unparsed: Completions without an action. invalid: Actions that the environment refused.
        fallbacks: Evaluations that used default values (`Score.fallback`). errors: Calls that failed.
        answer_node: Node whose state was graded.
    """

    run: str
    problem: str
    index: int
    kind: str
    success: bool
    score: float
    detail: str
    stop_reason: str
    iterations: int
    nodes_tree: int
    nodes_simulated: int
    guesses: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    unparsed: int
    invalid: int
    fallbacks: int
    errors: int
    answer_node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRecord:
    """The answer of a problem's search under a smaller budget; one line per change of the answer.

    Attributes:
        calls: Smallest call budget that gives this answer; 0 means before any call. The last line is the final answer.
        tokens: Smallest token budget under which the search gets this far (`Session.needs`); of lines with equal
            values, the last one holds.
        node: Node whose state was graded. success, score: `Task.grade` of it.
    """

    run: str
    problem: str
    calls: int
    tokens: int
    node: int
    success: bool
    score: float


@dataclass(slots=True, kw_only=True)
class NodeRecord:
    """One node of a search tree (the root is node 0).

    Attributes:
        origin: "root", "expand" or "simulate".
        agent: Name of the agent that proposed it; None for the root.
        value, confidence: Z and C of its evaluation, each in [0, 1]; None if it was never evaluated.
        prior: R: the visible reward of an end, else the modulated score of its evaluation; None if neither is known.
        visits, value_sum: N and W of backpropagation (paper Eq. 8); Q = W / N.
        reward: Environment reward that the search saw; None if it saw none.
    """

    run: str
    problem: str
    node: int
    parent: int | None
    depth: int
    origin: str
    agent: str | None
    iteration: int
    thought: str
    action: str
    observation: str
    value: float | None
    confidence: float | None
    prior: float | None
    fallback: bool
    visits: int
    value_sum: float
    reward: float | None
    terminal: bool
    solved: bool
    invalid: bool
    closed: bool


@dataclass(slots=True, kw_only=True)
class CallRecord:
    """One model call, in the order in which the search made the calls (the ledger).

    Attributes:
        call: Index in the problem's ledger, from 0.
        node: Node that the call belongs to (for an expansion, the parent; of siblings judged together, the first).
        draw: Index of the draw among those of the same node and phase.
        seed: Seed of the sampler.
        prompt: Digest of the messages that were sent.
        dropped_lessons, dropped_shots: Lessons (with notes of actions already proposed) and worked examples left out,
            because they did not fit the context.
        prompt_tokens, completion_tokens: Real tokens, never padding.
        cost: Dollars by the model's price table, whether the model or the call store answered; 0 for a model on this
            machine, None if a price is unknown.
        error: Why there is no text; None if there is one.
    """

    run: str
    problem: str
    call: int
    iteration: int
    node: int
    phase: str
    draw: int
    agent: str
    temperature: float
    seed: int
    prompt: str
    dropped_lessons: int
    dropped_shots: int
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    finish_reason: str
    text: str
    error: str | None


@dataclass(slots=True, kw_only=True)
class PickRecord:
    """One decision of the agent scheduler (paper Eq. 1), with its inputs.

    Attributes:
        counts, means, bonuses: N_i, mean reward and exploration bonus of each arm before the pick, in pool order.
    """

    run: str
    problem: str
    pick: int
    iteration: int
    node: int
    phase: str
    agent: str
    counts: list[int]
    means: list[float]
    bonuses: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionRecord:
    """One lesson (paper Eq. 3) and the failure it came from."""

    run: str
    problem: str
    reflection: int
    iteration: int
    node: int
    agent: str
    key: str
    text: str


@dataclass(slots=True, kw_only=True)
class TimingRecord:
    """What may differ between two equal runs; one line per call.

    Attributes:
        cached_tokens: Prompt tokens taken from a reused prefix (depends on the rest of the batch).
        from_store: Whether the call store answered the call.
    """

    run: str
    problem: str
    call: int
    latency_s: float
    cached_tokens: int
    from_store: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WallRecord:
    """The cost of a run on this machine; equal runs may differ in it, so it is kept apart in `wall.json`.

    All values but the tokens are the process's; runs that are searched together share them.

    Attributes:
        wall_s: Seconds from the first request to the last answer.
        cpu_s: CPU-seconds of the process in that time, all threads.
        generated_tokens: Completion tokens that a model really generated (not answered from the call store).
        halvings: How often in that time memory ran out at a batch, so that the token limit was halved.
        batch_tokens: The smallest batch limit in force at the end, among the local models loaded by then.
        swaps: How often in that time a model was loaded in place of another. swap_s: Seconds spent on this.
    """

    run: str
    wall_s: float
    cpu_s: float
    generated_tokens: int
    halvings: int
    batch_tokens: int | None
    swaps: int
    swap_s: float


AnyRecord = (
    RunRecord
    | ProblemRecord
    | AnswerRecord
    | NodeRecord
    | CallRecord
    | PickRecord
    | ReflectionRecord
    | TimingRecord
    | WallRecord
)
Record = TypeVar("Record", bound=AnyRecord)

TABLES: dict[str, type[Any]] = {
    "runs": RunRecord,
    "problems": ProblemRecord,
    "answers": AnswerRecord,
    "nodes": NodeRecord,
    "calls": CallRecord,
    "picks": PickRecord,
    "reflections": ReflectionRecord,
    "timings": TimingRecord,
    "walls": WallRecord,
}
"""DuckDB table -> type of its rows, in loading order."""
FILES: dict[type[Any], str] = {
    record: WALL if record is WallRecord else f"{table}.jsonl" for table, record in TABLES.items()
}
"""Record type -> file inside a run's folder."""
APART = (FILES[TimingRecord], WALL)
"""Files in which equal runs may differ."""


def field_types(record: type[Any]) -> dict[str, tuple[Any, bool]]:
    """Returns each field's type without None, and whether None is allowed, in the order of the dataclass."""
    if record not in _FIELD_TYPES:
        _FIELD_TYPES[record] = _find_field_types(record)
    return _FIELD_TYPES[record]


_FIELD_TYPES: dict[type[Any], dict[str, tuple[Any, bool]]] = {}


def _find_field_types(record: type[Any]) -> dict[str, tuple[Any, bool]]:
    by_field: dict[str, tuple[Any, bool]] = {}
    for name, hint in typing.get_type_hints(record).items():
        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            (inner,) = (part for part in typing.get_args(hint) if part is not type(None))
            by_field[name] = (inner, True)
        else:
            by_field[name] = (hint, False)
    return by_field


def is_complete(folder: str | Path) -> bool:
    """Whether the run of this folder is finished (`symphony.records.recorder`): every file exists."""
    return all((Path(folder) / name).is_file() for name in (*FILES.values(), CONFIG, MANIFEST))


def read_manifest(folder: str | Path) -> dict[str, Part]:
    """Reads the description of a run's folder as it was written: file -> its lines and digest.

    Raises:
        SymphonyError: The manifest is missing or damaged.
    """
    return manifest.read(Path(folder), (*FILES.values(), CONFIG), APART, optional=(PROMPTS,))


def read_records(folder: str | Path, record: type[Record]) -> list[Record]:
    """Reads one file of a run's folder.

    Raises:
        SymphonyError: The file is missing or changed, or a line has a missing, misspelt or extra key.
    """
    path = Path(folder) / FILES[record]
    if not path.is_file():
        raise damaged(path, "nothing", "the records of a finished run")
    try:
        records = list(_read(path, record))
    except UnicodeDecodeError as error:
        raise damaged(path, f"a line that is not UTF-8 ({error.reason})", "a JSON object a line") from error
    part = read_manifest(folder)[path.name]
    check_lines(path, len(records), part)
    check_contents(path, part)
    return records


def _read(path: Path, record: type[Record]) -> Iterator[Record]:
    expected = field_types(record).keys()
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise damaged(path, f"a line that is not JSON ({number}: {error})", "a JSON object a line") from error
            keys = values if isinstance(values, dict) else ()
            check_keys(f"{path}:{number}", keys, expected, f"; {manifest.other_version(path.parent)}")
            yield record(**values)


def check_keys(where: str, keys: Iterable[str], expected: Iterable[str], advice: str = "") -> None:
    """Raises SymphonyError naming the missing and unknown keys; `advice` ends the message."""
    present, wanted = list(keys), list(expected)
    missing = [key for key in wanted if key not in present]
    extra = [key for key in present if key not in wanted]
    if missing or extra:
        problem = "; ".join(
            f"{what} key{'s' * (len(keys) > 1)} {', '.join(keys)}"
            for what, keys in (("missing", missing), ("unknown", extra))
            if keys
        )
        raise SymphonyError(f"{where}: found {problem}, allowed: exactly {', '.join(wanted)}{advice}")
