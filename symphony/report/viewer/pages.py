"""Writes the folder `trees/` of a study: an index of all problems, and a page that shows any one of their trees."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from symphony.records.prompts import PROMPTS, read_packs
from symphony.report.study import Study
from symphony.report.viewer.data import Searched, read_index, read_runs, read_searches
from symphony.report.viewer.frames import SCRIPTS, asset, frame
from symphony.report.viewer.packs import Packs, as_base64, check_name, pack_text, script
from symphony.types import SymphonyError

INDEX = "index.html"
"""The page that a report links to, as `trees/index.html`; `#experiment=...&task=...&outcome=...` filters it."""

_MARK = "symphony trees"
_NOT_KEPT = "The prompts of this run were not kept: it was recorded before prompts were."


def write_trees(study: Study, runs: Path, folder: Path) -> Path:
    """Writes the pages and returns that of the index.

    Args:
        runs: Where the runs' folders are; prompts are read there.
        folder: `outputs/<study>/trees`; replaced if it was made here.

    Raises:
        SymphonyError: Something else is at `folder`, it cannot be written, or the prompts of a run are damaged.
    """
    write_runs(study.connection, begin_trees(study, folder), runs, folder)
    return folder / INDEX


def begin_trees(study: Study, folder: Path) -> list[dict[str, Any]]:
    """Writes all but the trees themselves, and returns what identifies the runs, in the order of the study's tables.

    Raises:
        SymphonyError: As for `write_trees`.
    """
    _begin(folder)
    titles = {experiment.name: experiment.title for experiment in study.experiments}
    place = {name: position for position, name in enumerate(titles)}
    identities = [
        {**run, "title": titles[run["experiment"]]}
        for run in sorted(read_runs(study.connection), key=lambda run: place[run["experiment"]])
    ]
    order = {check_name(identity["run"]): position for position, identity in enumerate(identities)}
    described = {
        "generator": _MARK,
        "study": study.name,
        "commit": study.provenance.commit,
        "feedback": study.provenance.feedback,
        "runs": identities,
        "problems": sorted(read_index(study.connection), key=lambda row: order[row["run"]]),
    }
    text = json.dumps(described, ensure_ascii=False, separators=(",", ":"))
    (folder / "index.json").write_text(text + "\n", encoding="utf-8")
    packed = script("index", as_base64(pack_text(text)))
    (folder / "data" / "index.js").write_text(packed, encoding="utf-8")
    return identities


def write_runs(connection: Any, identities: Sequence[dict[str, Any]], runs: Path, folder: Path) -> None:
    """Writes the trees of some runs; what a run's files hold depends on nothing else.

    Raises:
        SymphonyError: The prompts of a run are damaged.
    """
    by_run = {identity["run"]: identity for identity in identities}
    for run, searches in groupby(read_searches(connection, list(by_run)), key=lambda searched: searched.run):
        _write_run(by_run[run], searches, runs / run, folder / "data" / run)


def _begin(folder: Path) -> None:
    """Makes an empty folder with the pages; one that was made here goes."""
    twin = folder / "index.json"
    if folder.exists() and not folder.is_dir():
        raise SymphonyError(f"{folder}: found a file, allowed: a folder")
    if folder.is_dir() and any(folder.iterdir()):
        head = twin.read_bytes()[:100] if twin.is_file() else b""
        if _MARK.encode() not in head:
            raise SymphonyError(f"{folder}: found files that this command did not make, allowed: a new or empty folder")
        shutil.rmtree(folder)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    # First of all, so that a folder that was not finished is known as made here.
    twin.write_text(f'{{"generator":"{_MARK}"}}\n', encoding="utf-8")
    for kind, scripts in SCRIPTS.items():
        (folder / f"{kind}.html").write_text(frame(kind), encoding="utf-8")
        for name in scripts:
            (folder / name).write_text(asset(name), encoding="utf-8")
    (folder / "viewer.css").write_text(asset("viewer.css"), encoding="utf-8")


def _write_run(identity: dict[str, Any], searches: Iterable[Searched], run: Path, stem: Path) -> None:
    """Writes the scripts of one run, and their twin `<run>.jsonl.gz`.

    The twin's lines: the run, then for each problem its search and its prompts. Each part is a gzip file of its own,
    and such files one after the other are a gzip file.
    """
    problems: list[dict[str, Any]] = []
    packs = Packs(stem)
    prompts = iter(read_packs(run))
    pack = next(prompts, None)
    why = "" if pack is not None else _why_none(run)
    with stem.with_name(f"{stem.name}.jsonl.gz").open("wb") as twin:
        twin.write(pack_text(json.dumps(identity, ensure_ascii=False) + "\n"))
        for searched in searches:
            tree = pack_text(searched.text + "\n")
            entry: dict[str, Any] = {"problem": searched.problem, "tree": packs.add(tree), "prompts": []}
            twin.write(tree)
            if pack is not None and pack.problem == searched.problem:
                entry["prompts"] = packs.add(pack.compressed)
                twin.write(pack.compressed)
                pack = next(prompts, None)
            problems.append(entry)
    packs.end()
    value = {"run": identity, "problems": problems, "without_prompts": why}
    stem.with_name(f"{stem.name}.js").write_text(script(stem.name, value), encoding="utf-8")


def _why_none(run: Path) -> str:
    if run.is_dir():
        return _NOT_KEPT if not (run / PROMPTS).exists() else "No model was asked in this run."
    return f"The folder of this run is not at {run.parent.name}/{run.name}, so its prompts cannot be shown."
