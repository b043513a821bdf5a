"""Opens one study for reading: its database, the plan's titles and order, and the statistics as SQL functions."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from importlib import resources
from pathlib import Path
from typing import Any

from symphony.agents.siblings import SIBLINGS, split_siblings
from symphony.files import read_json
from symphony.records.database import reading
from symphony.report import paper, replays
from symphony.report.stats import (
    FEW,
    Estimate,
    average,
    contrast,
    deviation,
    difference,
    holm,
    needed,
    rate,
    signflip,
)
from symphony.types import SymphonyError

REFERENCE = "symphony"
"""Name of the experiment that the others are compared with, if the plan gives none."""

MAIN = "main"
"""The table that contains a study's reference."""

APART = "quantisation"
"""Experiments of this table appear in no other one, since they may cover fewer tasks and seeds."""

_VIEWS = resources.files("symphony.report") / "views.sql"
_QUERIES = resources.files("symphony.report") / "queries"
_ESTIMATE = "STRUCT(value DOUBLE, low DOUBLE, high DOUBLE)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """What the plan says about an experiment.

    Its title in the tables, its question, the paper table it feeds, and, with quantised weights, its counterpart.
    """

    name: str
    title: str
    question: str
    table: str
    against: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The conditions under which the study's rows were made, and the problems with comparing them.

    Attributes:
        feedback: What the searches were told of ground truth, e.g. "oracle".
        commit: Commits of the code, joined.
        warnings: Sentences shown with every table, e.g. mixed commits or feedback, or a dirty tree.
    """

    feedback: str
    commit: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Model calls without an answer.

    Attributes:
        calls: All calls of the study. failed: Those that failed.
        agents: Name, failed calls and all calls of each agent with any failed call.
    """

    calls: int = 0
    failed: int = 0
    agents: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """An open study. Its connection also offers what `views.sql` defines.

    Attributes:
        reference: The experiment that the others are compared with.
        left_out: The parts of the study that were not carried out, and why.
        recorded: Origin of the recorded answers that it was replayed from; empty if it was not replayed.
        failed: Number of model calls and of failed ones, by agent.
        few: Tasks with fewer than `stats.FEW` different problems.
    """

    name: str
    connection: Any
    reference: str
    experiments: tuple[Experiment, ...]
    provenance: Provenance
    left_out: tuple[str, ...] = ()
    recorded: tuple[str, ...] = ()
    failed: Failed = Failed()
    few: tuple[str, ...] = ()

    @property
    def question(self) -> str:
        """The study's question: that of its reference; "" if the plan gives none."""
        return next((e.question for e in self.experiments if e.name == self.reference), "")

    def title(self, experiment: str) -> str:
        return next((e.title for e in self.experiments if e.name == experiment), experiment)

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return list(self.connection.execute(query, list(parameters)).fetchall())


@contextmanager
def open_study(
    db_path: str | Path, plan_json: str | Path | None = None, quantised: Sequence[str | Path] = ()
) -> Iterator[Study]:
    """Opens a loaded database for the report.

    Args:
        db_path: A database built by `symphony.records.database.load`.
        plan_json: File with a field "experiments": name -> {title, question, table, against}. Its order is that of the
            tables, with the reference first. Experiments that it does not name follow by name, under their own name.
            "reference" is the experiment that the others are compared with; by default the first in the table main.
            For "left_out" and "recorded" see `Study`; for "claims", `symphony.plan.claims`. "pools" gives the bytes
            of each pool's weights. "stand_ins" (`symphony.plan.options.describe_stand_ins`) becomes a warning.
        quantised: manifest.json files of quantised checkpoints.

    Raises:
        SymphonyError: A file is missing or malformed.
    """
    with reading(db_path) as connection:
        # One thread, so that the order of floating-point sums, hence the last digits of every mean, stays the same.
        connection.execute("SET threads = 1")
        plan = read_json(Path(plan_json), "the study's plan") if plan_json is not None else {}
        named = _experiments(connection, plan, str(plan_json))
        reference = _reference(plan, named, str(plan_json))
        experiments = tuple(sorted(named, key=lambda experiment: experiment.name != reference))
        for name, interval in (("rate", rate), ("average", average), ("difference", difference)):
            connection.create_function(f"{name}_of", _struct(interval), ["DOUBLE[]", "VARCHAR[]"], _ESTIMATE)
        lists = ["DOUBLE[]", "VARCHAR[]"]
        # These are unknown for some values that are known; DuckDB demands "special" of a function that returns NULL.
        special: dict[str, Any] = {"null_handling": "special"}
        connection.create_function("contrast_of", _struct(contrast), [*lists, "BOOLEAN[]"], _ESTIMATE, **special)
        connection.create_function("deviation_of", deviation, lists, "DOUBLE", **special)
        replays.define(connection)
        connection.create_function("about_siblings", _about_siblings, ["VARCHAR"], "BOOLEAN")
        connection.create_function("signflip_of", signflip, ["DOUBLE[]", "VARCHAR[]"], "DOUBLE")
        connection.create_function("holm_of", holm, ["DOUBLE[]"], "DOUBLE[]")
        connection.create_function("needed_of", _needed, ["DOUBLE[]", "VARCHAR[]"], "BIGINT", **special)
        connection.execute(
            "CREATE TEMP TABLE methods "
            "(experiment VARCHAR, title VARCHAR, position BIGINT, reference BOOLEAN, apart BOOLEAN, against VARCHAR)"
        )
        connection.executemany(
            "INSERT INTO methods VALUES (?, ?, ?, ?, ?, ?)",
            [
                (e.name, e.title, i, e.name == reference, e.table == APART, e.against or reference)
                for i, e in enumerate(experiments)
            ],
        )
        _load_quantised(connection, quantised)
        _load_claims(connection, plan.get("claims", []), str(plan_json))
        _load_sizes(connection, plan.get("pools", {}), str(plan_json))
        connection.execute(_VIEWS.read_text(encoding="utf-8"))
        studies = connection.execute("SELECT string_agg(DISTINCT study, ', ' ORDER BY study) FROM runs").fetchone()
        yield Study(
            name=studies[0],
            connection=connection,
            reference=reference,
            experiments=experiments,
            provenance=_provenance(connection, plan.get("stand_ins", ())),
            left_out=tuple(plan.get("left_out", ())),
            recorded=tuple(plan.get("recorded", ())),
            failed=_failed(connection),
            few=_few(connection),
        )


def query_names() -> tuple[str, ...]:
    """Returns the names of the files `queries/<name>.sql`, sorted, and of the paper's tables."""
    files = sorted(entry.name[:-4] for entry in _QUERIES.iterdir() if entry.name.endswith(".sql"))
    return (*files, *paper.layouts())


def query_text(name: str) -> str:
    """Returns the SQL of `queries/<name>.sql`, or of a table of the paper."""
    if name in paper.layouts():
        return paper.query(name)
    return (_QUERIES / f"{name}.sql").read_text(encoding="utf-8")


def _struct(interval: Callable[..., Estimate | None]) -> Callable[..., dict[str, float] | None]:
    """Wraps an interval function for DuckDB, which reads the number of its parameters."""

    @wraps(interval)
    def computed(*lists: list[Any]) -> dict[str, float] | None:
        estimate = interval(*lists)
        return None if estimate is None else dataclasses.asdict(estimate)

    return computed


def _about_siblings(answer: str) -> bool:
    """Whether an evaluator's answer judges siblings by their numbers."""
    return any(split_siblings(answer, SIBLINGS))


def _needed(values: list[float] | None, clusters: list[str] | None) -> int | None:
    return needed(values or [], clusters or [])


def _experiments(connection: Any, plan: dict[str, Any], where: str) -> tuple[Experiment, ...]:
    """Lists the plan's experiments with runs, in its order, then others by name; adds the name to equal titles."""
    present = [row[0] for row in connection.execute("SELECT DISTINCT experiment FROM runs ORDER BY 1").fetchall()]
    described = plan.get("experiments", {})
    if not isinstance(described, dict) or not all(isinstance(entry, dict) for entry in described.values()):
        raise SymphonyError(f"{where}: experiments: allowed: an object, name -> {{title, question, table}}")
    names = [name for name in described if name in present] + [name for name in present if name not in described]
    titles = {name: str(described.get(name, {}).get("title") or name) for name in names}
    shared = {title for title, count in Counter(titles.values()).items() if count > 1}
    return tuple(
        Experiment(
            name=name,
            title=f"{title} ({name})" if (title := titles[name]) in shared else title,
            question=str(described.get(name, {}).get("question") or ""),
            table=_joined(described.get(name, {}).get("table") or ""),
            against=str(described.get(name, {}).get("against") or ""),
        )
        for name in names
    )


def _reference(plan: dict[str, Any], present: Sequence[Experiment], where: str) -> str:
    """Returns the reference that the plan names, else its first experiment of the table main, else `REFERENCE`."""
    described = plan.get("experiments", {})
    named = plan.get("reference")
    if named is not None:
        known = {*described, *(experiment.name for experiment in present)}
        if named not in known:
            raise SymphonyError(f"{where}: reference: found {named!r}, allowed: {', '.join(sorted(known))}")
        return str(named)
    main = [name for name, words in described.items() if words.get("table") == MAIN]
    return main[0] if main else REFERENCE


def _failed(connection: Any) -> Failed:
    agents = connection.execute(
        "SELECT agent, count(error), count(*) FROM calls GROUP BY agent ORDER BY count(error) DESC, agent"
    ).fetchall()
    return Failed(
        calls=sum(calls for _, _, calls in agents),
        failed=sum(failed for _, failed, _ in agents),
        agents=tuple((agent, failed, calls) for agent, failed, calls in agents if failed),
    )


def _few(connection: Any) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT task FROM outcomes GROUP BY task HAVING count(DISTINCT cluster) < ? ORDER BY task", [FEW]
    ).fetchall()
    return tuple(task for (task,) in rows)


def _joined(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _provenance(connection: Any, stand_ins: Sequence[str]) -> Provenance:
    feedback = [row[0] for row in connection.execute("SELECT DISTINCT feedback FROM runs ORDER BY 1").fetchall()]
    commits = [row[0] for row in connection.execute("SELECT DISTINCT commit FROM runs ORDER BY 1").fetchall()]
    warnings = [f"STAND-INS: this size of the study uses {', '.join(stand_ins)}."] if stand_ins else []
    if len(commits) > 1:
        warnings.append(f"MIXED COMMITS: the rows were made by {len(commits)} versions of the code.")
    if any(commit.endswith("+dirty") for commit in commits):
        warnings.append("DIRTY TREE: the code had uncommitted changes, so the rows cannot be traced to a commit.")
    if "unknown" in commits:
        warnings.append("UNKNOWN COMMIT: some rows were made outside a git checkout.")
    if len(feedback) > 1:
        warnings.append(f"MIXED FEEDBACK: rows with feedback {' and '.join(feedback)} are shown together.")
    warnings += _mute(connection)
    warnings += _uneven(connection)
    warnings += _cut(connection)
    return Provenance(feedback=", ".join(feedback), commit=", ".join(commits), warnings=tuple(warnings))


def _mute(connection: Any) -> list[str]:
    """Warns of agents that were asked in a run and never answered (unless a budget refused all their calls)."""
    agents = connection.execute(
        "SELECT agent, count(*) FILTER (mute), count(*) FROM ("
        "SELECT agent, count(*) = count(error) AND count(*) > count_if(error LIKE 'budget%') AS mute "
        "FROM calls GROUP BY agent, run) GROUP BY agent HAVING bool_or(mute) ORDER BY agent"
    ).fetchall()
    listing = ", ".join(
        f"{agent} answered no call in {mute} of the {runs} runs that asked it" for agent, mute, runs in agents
    )
    return [f"DEAD AGENT: {listing}; the rows of these runs do not measure the whole pool."] if agents else []


def _uneven(connection: Any) -> list[str]:
    """Warns if compared rows cover different problems."""
    covered: dict[tuple[int, str], dict[str, set[tuple[int, str]]]] = {}  # experiment -> task -> seeds and their data
    for position, title, task, *place in connection.execute(
        "SELECT position, title, task, seed, dataset FROM runs JOIN methods USING (experiment) WHERE NOT apart "
        "ORDER BY position"
    ).fetchall():
        covered.setdefault((position, title), {}).setdefault(task, set()).add(tuple(place))
    every = {task for tasks in covered.values() for task in tasks}
    fewer = {experiment: sorted(tasks) for experiment, tasks in covered.items() if tasks.keys() < every}
    places = [{frozenset(tasks[task]) for tasks in covered.values() if task in tasks} for task in every]
    if len(fewer) == len(covered) > 0 or any(len(different) > 1 for different in places):
        return ["UNEVEN RUNS: experiments cover different tasks or seeds; only paired columns compare like with like."]
    listing = "; ".join(f"{title} ran only on {', '.join(tasks)}" for (_, title), tasks in fewer.items())
    return [f"FEWER TASKS: {listing}; over all tasks, its row covers only these."] if fewer else []


def _cut(connection: Any) -> list[str]:
    """Warns of rows with problems that had less to spend than their own budget."""
    cut = connection.execute(
        "SELECT title, count(*) FILTER (cut_short), count(*) FROM all_outcomes GROUP BY title, position "
        "HAVING bool_or(cut_short) ORDER BY position"
    ).fetchall()
    listing = ", ".join(f"{some:,} of {every:,} problems of {title}" for title, some, every in cut)
    if not cut:
        return []
    return [f"BUDGET SPENT: the budget of a run or of the study cut {listing}; they count with their result so far."]


def _load_quantised(connection: Any, manifests: Sequence[str | Path]) -> None:
    """Fills table `quantised`, one row per figure of a manifest, so that manifests need no fields they cannot fill."""
    connection.execute("CREATE TEMP TABLE quantised (position BIGINT, checkpoint VARCHAR, key VARCHAR, value VARCHAR)")
    rows = [
        (position, Path(path).parent.name, key, text)
        for position, path in enumerate(manifests)
        for key, text in _flat(read_json(Path(path), "the manifest of a quantised checkpoint"))
    ]
    if rows:
        connection.executemany("INSERT INTO quantised VALUES (?, ?, ?, ?)", rows)


def _load_claims(connection: Any, claims: Any, where: str) -> None:
    """Fills table `claims`, one row per claim of the plan."""
    keys = ("claim", "source", "better", "than", "least", "within", "task")
    connection.execute(
        "CREATE TEMP TABLE claims (position BIGINT, claim VARCHAR, source VARCHAR, better VARCHAR, than VARCHAR, "
        "least DOUBLE, within DOUBLE, task VARCHAR)"
    )
    try:
        rows = [(position, *(claim[key] for key in keys)) for position, claim in enumerate(claims)]
    except (KeyError, TypeError) as error:
        raise SymphonyError(f"{where}: claims: found {error}, allowed: objects with {', '.join(keys)}") from error
    if rows:
        connection.executemany("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _load_sizes(connection: Any, sizes: Any, where: str) -> None:
    """Fills table `pool_sizes`, one row per pool whose weights' bytes the plan knows."""
    if not isinstance(sizes, dict) or not all(type(size) is int for size in sizes.values()):
        raise SymphonyError(f"{where}: pools: found {sizes}, allowed: an object, pool -> bytes of its weights")
    connection.execute("CREATE TEMP TABLE pool_sizes (pool VARCHAR, bytes BIGINT)")
    if sizes:
        connection.executemany("INSERT INTO pool_sizes VALUES (?, ?)", list(sizes.items()))


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, str) else json.dumps(value)
