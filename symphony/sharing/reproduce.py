"""`symphony reproduce`: derives a bundle's tables again, repeats its runs, and says whether the results are the same.

1. The records are loaded into a new database and every table is written again: each file must have the bytes of the
   bundle's.
2. The runs are repeated from the recorded answers, by the code that is here and without models: each record must be
   that of the bundle.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from symphony.plan.model_spec import models
from symphony.plan.specs import Group
from symphony.records import provenance
from symphony.records.database import load
from symphony.report import page
from symphony.report.tables import write_tables
from symphony.sharing import archive
from symphony.sharing.archive import PLAN, QUANTISED, RUNS, TABLES, Index
from symphony.sharing.compare import differing_tables
from symphony.sharing.replay import Replayed, replay, thaw_groups
from symphony.types import SymphonyError

_PROCESSES = 4
Say = Callable[[str], None]


def reproduce(
    bundle: Path,
    say: Say,
    note: Say,
    *,
    out: Path | None = None,
    data: Path = Path("data"),
    tables_alone: bool = False,
    processes: int | None = None,
) -> bool:
    """Reproduces a bundle and says in one line whether it came out identical, or what differs first.

    Args:
        say: Gets the result. note: Gets what else is worth knowing.
        out: A new or empty folder that keeps everything, with a report; None keeps nothing.
        data: Folder of the data sets, for tasks that read files.
        tables_alone: Whether the runs are not repeated. Then nothing of the bundle is carried out.
        processes: How many processes repeat the runs; None means one a core, at most `_PROCESSES`.

    Raises:
        SymphonyError: The bundle is damaged, hostile, or of another version.
    """
    with _folder(out) as folder:
        index = archive.unpack(bundle, folder)
        with _understood(bundle):
            groups = thaw_groups(folder, index)
            _check_configs(groups)
            why = differing_tables(folder / TABLES, _derive(folder, index, report=out is not None))
            done = Replayed(equal=0, difference="", left={})
            if not tables_alone and not why:
                done = replay(folder, groups, data, processes or min(_PROCESSES, os.cpu_count() or 1))
        for reason, count in done.left.items():
            note(f"{count} of {len(index.runs)} runs were not repeated: {reason}")
        why = why or done.difference
        if why:
            say(f"differs: {why}{_versions(index)}")
        else:
            say(_identical(index, len(list((folder / TABLES).iterdir())), done, tables_alone))
        return not why


def _identical(index: Index, files: int, done: Replayed, tables_alone: bool) -> str:
    repeated = "runs not repeated" if tables_alone else f"{done.equal} of {len(index.runs)} runs repeated"
    return f"identical: {files} files of tables from {len(index.runs)} runs; {repeated}"


def _versions(index: Index) -> str:
    here = provenance.commit()
    return "" if here == index.commit else f" (the bundle is of commit {index.commit[:13]}, this is {here[:13]})"


@contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    """Yields an empty folder; nothing of it stays unless the user named it and no error came."""
    if out is None:
        with tempfile.TemporaryDirectory(prefix="symphony-reproduce-") as name:
            yield Path(name)
        return
    try:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise SymphonyError(f"{out}: found files, allowed: a new or empty folder")
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SymphonyError(f"{out}: found {error.strerror}, allowed: a new or empty folder") from error
    try:
        yield out
    except BaseException:
        for path in out.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


@contextmanager
def _understood(bundle: Path) -> Iterator[None]:
    """Turns whatever a bundle's contents break into one error: they come from somebody else."""
    try:
        yield
    except (SymphonyError, OSError, MemoryError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise SymphonyError(
            f"{bundle}: found contents that this version cannot use ({type(error).__name__}: {reason:.200}), "
            f"allowed: a bundle made by its own `{archive.MADE_BY}`"
        ) from error


def _check_configs(groups: Sequence[Group]) -> None:
    """Reads every config, so that a strange one is an error before anything is made from it."""
    for group in groups:
        for run in group.runs:
            assert run.settings.problems > 0
            models(run.config)


def _derive(folder: Path, index: Index, *, report: bool) -> Path:
    """Makes the database and the tables of an unpacked bundle, and the whole report if wanted; returns the tables."""
    study = folder / index.study
    database = study / "records.duckdb"
    load(database, [folder / RUNS / run for run in index.runs])
    quantised = sorted(folder.glob(f"{QUANTISED}/*/manifest.json"))
    if report:
        page.build(database, study, folder / PLAN, quantised)
    else:
        write_tables(database, study / TABLES, folder / PLAN, quantised)
    return study / TABLES
