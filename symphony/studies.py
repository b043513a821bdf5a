"""Lists a study's runs; loads and reports it by its name, from those that are finished. Asks no model.

Snakemake does the same in single steps, once every run is finished (workflow/rules/report.smk).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from symphony.plan.claims import claims
from symphony.plan.needs import pool_sizes
from symphony.plan.options import write_description
from symphony.plan.specs import Run
from symphony.records.database import load
from symphony.records.records import is_complete
from symphony.report import page
from symphony.run.jobs import manifests
from symphony.run.recordings import describe_origin
from symphony.run.runner import Place
from symphony.types import SymphonyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a study's tables are made from.

    Attributes:
        database: The loaded records of the finished `runs`.
        plan: plan.json: titles, claims and what was left out.
        quantised: manifest.json of each quantised checkpoint.
    """

    database: Path
    plan: Path
    quantised: tuple[Path, ...]
    runs: tuple[Run, ...]


def listed(runs: Sequence[Run]) -> list[str]:
    """Returns a line per run: digest, experiment, task, pool and seed, separated by tabs."""
    return ["\t".join((run.digest, run.experiment, run.task, run.pool, str(run.seed))) for run in runs]


def counted(runs: Sequence[Run], place: Place) -> list[str]:
    """Returns a line per experiment: how many runs it has, how many are finished, and what they cover."""
    by_experiment: dict[str, list[Run]] = {}
    for run in runs:
        by_experiment.setdefault(run.experiment, []).append(run)
    return [
        f"{name}: {len(own)} {'run' if len(own) == 1 else 'runs'}, "
        f"{sum(is_complete(place.run(run)) for run in own)} finished; {_names(run.task for run in own)}; "
        f"pool {_names(run.pool for run in own)}; seeds {_span(sorted({run.seed for run in own}))}"
        for name, own in by_experiment.items()
    ]


def _names(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _span(seeds: Sequence[int]) -> str:
    whole = len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))


def load_study(study: str, runs: Sequence[Run], place: Place, say: Callable[[str], None]) -> Path:
    """Builds `<outputs>/<study>/records.duckdb` from the finished runs and returns its path.

    Raises:
        SymphonyError: No run is finished, or records are damaged.
    """
    folders = [place.run(run) for run in runs if is_complete(place.run(run))]
    if not folders:
        raise SymphonyError(
            f"{place.outputs / 'runs'}: found none of the {len(runs)} runs of {study}, allowed: finished runs; "
            f"`symphony run {study}` makes them"
        )
    if len(folders) < len(runs):
        say(f"{study}: {len(folders)} of {len(runs)} runs are finished; the others are left out")
    database = place.outputs / study / "records.duckdb"
    load(database, folders)
    return database


def report_study(
    study: str,
    runs: Sequence[Run],
    place: Place,
    say: Callable[[str], None],
    *,
    overrides: Sequence[str] = (),
    left_out: Sequence[str] = (),
    conf: Path = Path("conf"),
) -> Path:
    """Loads the finished runs, writes tables, figures and page into `<outputs>/<study>/`, and returns the page's path.

    Args:
        overrides, left_out: As for `write_description`.

    Raises:
        SymphonyError: As for `load_study`.
    """
    prepared = prepare(study, runs, place, say, overrides=overrides, left_out=left_out, conf=conf)
    return page.build(prepared.database, place.outputs / study, prepared.plan, prepared.quantised)


def prepare(
    study: str,
    runs: Sequence[Run],
    place: Place,
    say: Callable[[str], None],
    *,
    overrides: Sequence[str] = (),
    left_out: Sequence[str] = (),
    conf: Path = Path("conf"),
) -> Prepared:
    """Loads the finished runs and writes the plan that a report needs; arguments and errors as for `report_study`."""
    database = load_study(study, runs, place, say)
    done = [run for run in runs if is_complete(place.run(run))]
    missing = len(runs) - len(done)
    notes = [*left_out, *([f"{missing} of {len(runs)} runs are not finished"] if missing else [])]
    plan = place.outputs / study / "plan.json"
    described = claims(study, overrides, conf=conf)
    write_description(
        study,
        plan,
        overrides,
        conf=conf,
        left_out=notes,
        recorded=describe_origin(done),
        claims=described,
        pools=pool_sizes(runs, place.data),
    )
    quantised = tuple(file for file in manifests(done, place.outputs) if file.is_file())
    return Prepared(database=database, plan=plan, quantised=quantised, runs=tuple(done))
