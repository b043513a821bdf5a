"""`symphony bundle`: a study's plan, configs, records, recorded answers and tables in one file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from symphony.files import read_json, sha256
from symphony.plan.specs import Run, freeze, groups
from symphony.records import provenance
from symphony.records.manifest import MANIFEST
from symphony.records.prompts import PROMPTS
from symphony.report.tables import write_tables
from symphony.run import recordings
from symphony.run.runner import Place
from symphony.sharing import archive
from symphony.sharing.archive import GROUPS, PLAN, QUANTISED, RECORDINGS, RUNS, SHARED, TABLES, Index
from symphony.studies import Prepared
from symphony.types import SymphonyError

Contents = dict[str, Path | bytes]


def make(
    study: str, prepared: Prepared, place: Place, out: Path, say: Callable[[str], None], *, prompts: bool = False
) -> None:
    """Writes the bundle of a study's finished runs.

    The tables are made anew from the records, and so are those of `symphony report`. Equal records, recorded answers
    and tables give equal bytes.

    Args:
        prepared: The loaded study.
        out: The file to write.
        prompts: Whether it holds the prompts, which the pages of the search trees show.

    Raises:
        SymphonyError: The records are damaged, or the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="symphony-bundle-") as name:
        folder = Path(name)
        write_tables(prepared.database, folder / TABLES, prepared.plan, prepared.quantised)
        for group in groups([_away(run) for run in prepared.runs], SHARED):
            freeze(group, folder / GROUPS)
        _pack(prepared.runs, place, folder / RECORDINGS, say)
        contents: Contents = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
        contents[PLAN] = prepared.plan
        contents |= {f"{QUANTISED}/{file.parent.name}/{file.name}": file for file in prepared.quantised}
        for run in prepared.runs:
            contents |= _records(place.run(run), prompts=prompts)
        index = Index(
            study=study,
            commit=provenance.commit(),
            prompts=prompts,
            runs=tuple(run.digest for run in prepared.runs),
            files={},
        )
        archive.write(out, index, contents)
    say(f"{out}: {len(prepared.runs)} runs, {out.stat().st_size:,} bytes, sha256 {sha256(out)}")


def _away(run: Run) -> Run:
    """Returns the run without the settings of this machine, which change no record."""
    return replace(run, execution={"store": "replay"})


def _pack(runs: Sequence[Run], place: Place, folder: Path, say: Callable[[str], None]) -> None:
    """Packs the answers that were stored; without any the bundle has its records alone."""

    def tell(text: str) -> None:
        if "two answers" in text:
            say(text.replace(f"{folder}/", ""))

    try:
        recordings.pack(runs, place.outputs, folder, tell)
    except recordings.NothingRecorded:
        say(f"{place.outputs / 'calls'}: found no answers of these runs, so they cannot be repeated without models")


def _records(folder: Path, *, prompts: bool) -> Contents:
    """Returns the files of a run by their names in the bundle; without the prompts its manifest does not name them."""
    parts = read_json(folder / MANIFEST, "the manifest of a finished run")
    described: Path | bytes = folder / MANIFEST
    if PROMPTS in parts and not prompts:
        del parts[PROMPTS]
        described = (json.dumps(parts, indent=1) + "\n").encode()
    names = [name for name in parts if (folder / name).is_file()]
    if len(names) < len(parts):
        raise SymphonyError(f"{folder}: found no {', '.join(parts.keys() - set(names))}, allowed: a finished run")
    contents: Contents = {f"{RUNS}/{folder.name}/{name}": folder / name for name in names}
    return {**contents, f"{RUNS}/{folder.name}/{MANIFEST}": described}
