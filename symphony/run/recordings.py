"""A study's recorded answers, small enough to ship: packed from its call stores, and read back into them.

A folder holds a file for each task and pool of the study, and `manifest.json` with their origin. A file holds answers
and token counts by the keys of the call store (`store.call_key`), which are hashes, so it contains no prompt. Next to
them, `outcomes.csv` lists the outcome of each problem, so that a replay can be checked against it.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import lzma
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from symphony.files import read_json, write_atomic, write_bytes
from symphony.models.calls import CallStore, Rows
from symphony.plan.specs import Run
from symphony.records import provenance
from symphony.records.records import ProblemRecord, is_complete, read_records
from symphony.types import SymphonyError, canonical_json

MANIFEST = "manifest.json"
OUTCOMES = "outcomes.csv"
_PROBLEM = ("experiment", "task", "pool", "seed", "problem")
_OUTCOME = ("success", "score", "stop_reason", "calls", "prompt_tokens", "completion_tokens")
_RATIO, _FLOOR = 200, 1 << 26
"""A file may decompress to so many times its own bytes, or to so many bytes. Answers shrink to a tenth."""
_MEMORY = 1 << 30
_DESCRIBED = "the manifest of recorded answers"


class NothingRecorded(SymphonyError):
    """Raised for runs of which no answer is stored."""


def pack(runs: Sequence[Run], outputs: Path, folder: Path, say: Callable[[str], None] = print) -> None:
    """Packs the call stores of some runs into a folder; earlier contents for the same tasks and pools are kept.

    Answers that the runs replayed from another folder keep the origin that its manifest states.

    Args:
        outputs: Folder of call stores (`calls`) and records (`runs`).
        folder: Folder of the recordings; created if missing.

    Raises:
        NothingRecorded: There is nothing to write.
        SymphonyError: The folder holds something damaged.
    """
    known: dict[str, Any] = _manifest(folder) if _is_there(folder) else {"files": {}, "made": []}
    stores = outputs / "calls"
    files, history, new = dict(known["files"]), list(known["made"]), 0
    replayed = {Path(run.how.recordings) for run in runs if run.how.recordings} - {folder}
    sources = {source: _manifest(source) for source in sorted(replayed) if _is_there(source)}
    for task, pool in dict.fromkeys((run.task, run.pool) for run in runs):
        name = _name(task, pool)
        seeds = {f"{task}-{pool}-{run.seed}" for run in runs if (run.task, run.pool) == (task, pool)}
        paths = [path for store in (f"{task}-{pool}", *sorted(seeds)) if (path := stores / f"{store}.sqlite").is_file()]
        held = [_read(folder, name, files)] if name in files else []
        parts = [*held, *(_read_store(path) for path in paths)]
        rows = _merge(parts)
        if not rows.calls:
            continue
        added = _keys(rows) - _keys(*held)
        for source, described in sources.items():
            if name in described["files"] and added & (taken := _keys(_read(source, name, described["files"]))):
                history += [entry for entry in described["made"] if entry not in history]
                added -= taken
        new += len(added)
        data = _compress(rows)
        write_bytes(folder / name, data)
        files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "calls": len(rows.calls), "bytes": len(data)}
        say(f"{folder / name}: {len(rows.calls):,} answers, {len(data):,} bytes")
        if other := _contradictions(parts, rows):
            say(
                f"{folder / name}: {other:,} calls have two answers; the first are kept. A run that got another one "
                "may not be replayed: run it again with execution.store=record and these recordings, then pack it"
            )
    if not files:
        raise NothingRecorded(f"{stores}: found no answers of the study, allowed: call stores of its runs")
    if new:
        entry = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": provenance.commit(), "calls": new}
        history.append({**entry, "machine": provenance.hardware(())})
    if unfinished := sum(not is_complete(outputs / "runs" / run.digest) for run in runs):
        say(f"{folder}: {unfinished:,} of {len(runs):,} runs are not finished; it has their answers but no outcomes")
    shipped_before = shipped(folder) if (folder / OUTCOMES).is_file() else {}
    table = _csv({**shipped_before, **outcomes(runs, outputs)})
    write_atomic(folder / OUTCOMES, table)
    manifest = {"files": dict(sorted(files.items())), "made": history, "outcomes": _sha256(table.encode())}
    manifest = {**manifest, "sha256": _sha256(canonical_json(manifest).encode())}
    write_atomic(folder / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def outcomes(runs: Iterable[Run], outputs: Path) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Returns the outcome of each problem of the finished runs: names (`_PROBLEM`) to `_OUTCOME`, all as text."""
    results: dict[tuple[str, ...], tuple[str, ...]] = {}
    for run in runs:
        done = outputs / "runs" / run.digest
        for record in read_records(done, ProblemRecord) if is_complete(done) else ():
            name = (run.experiment, run.task, run.pool, str(run.seed), record.problem)
            results[name] = tuple(str(getattr(record, key)) for key in _OUTCOME)
    return results


def shipped(folder: Path) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Returns the `outcomes` that were packed with the answers.

    Raises:
        SymphonyError: Their file is missing or has changed.
    """
    path = folder / OUTCOMES
    try:
        content = path.read_bytes()
        if _sha256(content) != _manifest(folder).get("outcomes", _sha256(content)):
            raise ValueError("other bytes")
        rows = list(csv.reader(io.StringIO(content.decode())))[1:]
    except (OSError, ValueError, csv.Error) as error:
        raise SymphonyError(f"{path}: found {error}, allowed: the unchanged file that its manifest names") from error
    return {tuple(row[: len(_PROBLEM)]): tuple(row[len(_PROBLEM) :]) for row in rows}


def read_into(store: CallStore, folder: Path, task: str, pool: str, *, needed: bool) -> None:
    """Adds the recorded answers of a task and a pool to a call store.

    Args:
        needed: Whether there is no other source of answers.

    Raises:
        SymphonyError: The recording is damaged, or it is needed and missing.
    """
    name = _name(task, pool)
    files = _manifest(folder)["files"] if _is_there(folder) or needed else {}
    if name in files:
        store.take(_read(folder, name, files))
    elif needed:
        raise SymphonyError(
            f"{folder / name}: found no recorded answers to {task} from {pool}, "
            "allowed: recorded ones, or execution.store=record, which asks the models"
        )


def holds(folder: Path, task: str, pool: str) -> bool:
    """Whether a folder has recorded answers to a task from a pool."""
    return _is_there(folder) and _name(task, pool) in _manifest(folder)["files"]


def describe_origin(runs: Iterable[Run]) -> list[str]:
    """Describes the origin of the recorded answers that runs replay: date, commit, machine and number of answers."""
    folders = {run.how.recordings or "" for run in runs if run.how.store == "replay"} - {""}
    manifests = [_manifest(Path(folder)) for folder in sorted(folders) if _is_there(Path(folder))]
    entries = [entry for manifest in manifests for entry in manifest["made"]]
    made: dict[tuple[str, str], dict[str, int]] = {}
    for entry in entries:
        commits = made.setdefault((str(entry["date"]), str(entry["machine"])), {})
        commits[str(entry["commit"])[:7]] = commits.get(str(entry["commit"])[:7], 0) + entry["calls"]
    told = [
        f"{date}, commit{'s' * (len(commits) > 1)} {', '.join(commits)}, {machine}: {sum(commits.values()):,} answers"
        for (date, machine), commits in made.items()
    ]
    here = sum(entry["calls"] for manifest in manifests for entry in manifest["files"].values())
    part = here < sum(entry["calls"] for entry in entries)  # packed from a study that replayed a part of others
    return [*told, f"{here:,} of these answers are in the recordings that were replayed"] if part else told


def _csv(rows: Mapping[tuple[str, ...], tuple[str, ...]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([(*_PROBLEM, *_OUTCOME), *((*name, *rows[name]) for name in sorted(rows))])
    return out.getvalue()


def _is_there(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _name(task: str, pool: str) -> str:
    return f"{task}-{pool}.jsonl.xz"


def _read_store(path: Path) -> Rows:
    with CallStore(path) as store:
        return store.rows()


def _merge(parts: Iterable[Rows]) -> Rows:
    """Merges rows in the order of their keys, so equal answers give equal bytes; the first answer to a key wins."""
    calls: dict[bytes, Any] = {}
    sizes: dict[tuple[str, bytes], Any] = {}
    for part in parts:
        for call in part.calls:
            calls.setdefault(call[0], call)
        for size in part.sizes:
            sizes.setdefault((size[0], size[1]), size)
    return Rows([calls[key] for key in sorted(calls)], [sizes[key] for key in sorted(sizes)])


def _keys(*parts: Rows) -> set[bytes]:
    return {call[0] for part in parts for call in part.calls}


def _contradictions(parts: Iterable[Rows], merged: Rows) -> int:
    """Returns how many calls have a text that is not the one kept."""
    kept = {call[0]: call[1] for call in merged.calls}
    return len({call[0] for part in parts for call in part.calls if call[1] != kept[call[0]]})


def _compress(rows: Rows) -> bytes:
    lines = [["call", _text(key), *values] for key, *values in rows.calls]
    lines += [["size", problem, _text(key), *values] for problem, key, *values in rows.sizes]
    text = "".join([json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n" for line in lines])
    return lzma.compress(text.encode(), preset=9)


def _read(folder: Path, name: str, files: Mapping[str, Any]) -> Rows:
    path, allowed = folder / name, "the unchanged file that its manifest names"
    rows = Rows([], [])
    try:
        data = path.read_bytes()
        if _sha256(data) != files[name]["sha256"]:
            raise ValueError("other bytes")
        for line in _decompress(data).decode().splitlines():
            kind, *values = json.loads(line)
            if kind == "call":
                rows.calls.append((base64.b64decode(values[0]), *values[1:]))
            else:
                rows.sizes.append((values[0], base64.b64decode(values[1]), *values[2:]))
    except (OSError, ValueError, LookupError, TypeError, lzma.LZMAError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SymphonyError(f"{path}: found {reason}, allowed: {allowed}") from error
    return rows


def _decompress(data: bytes) -> bytes:
    """Decompresses a file that may come from somebody else: a small one that would fill the memory is refused."""
    reader, most = lzma.LZMADecompressor(memlimit=_MEMORY), max(_FLOOR, _RATIO * len(data))
    text = reader.decompress(data, most)
    if not reader.eof:
        raise ValueError(f"more than {most:,} bytes, or an end before the end")
    return text


def _manifest(folder: Path) -> dict[str, Any]:
    manifest = read_json(folder / MANIFEST, _DESCRIBED)
    if not isinstance(manifest.get("files"), dict) or not isinstance(manifest.get("made"), list):
        raise SymphonyError(f"{folder / MANIFEST}: found {sorted(manifest)}, allowed: {_DESCRIBED}: files and made")
    known = manifest.pop("sha256", None)  # those of older versions have none
    if known is not None and known != _sha256(canonical_json(manifest).encode()):
        raise SymphonyError(f"{folder / MANIFEST}: found contents that have changed, allowed: {_DESCRIBED}")
    return manifest


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _text(key: bytes) -> str:
    return base64.b64encode(key).decode()
