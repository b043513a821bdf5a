"""A bundle as a zip file: written with equal bytes for equal contents, and unpacked as if a stranger had made it.

`bundle.json` comes first and lists every other file with its size and sha256. Nothing else may be in the zip, so what
is unpacked is what the maker listed. The digests show damage; they do not show who made the bundle.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.files import check_own, discard, parse_json, sha256
from symphony.types import SymphonyError

FORMAT = 1
"""Version of the layout; a reader accepts only its own."""
INDEX = "bundle.json"
PLAN, TABLES, GROUPS, RUNS, RECORDINGS, QUANTISED = "plan.json", "tables", "groups", "runs", "recordings", "quantised"
"""What a bundle holds, beside its index."""
SHARED = ("task", "pool")
"""What the runs of a group share, as recorded answers do."""
REPLAYED = "replayed"
"""Folder of the repeated runs, beside what was unpacked."""
MADE_BY = "symphony bundle"
MOST_FILES = 1_000_000
MOST_INDEX = 1 << 28
"""Bytes of `bundle.json`, at most."""
RATIO, FLOOR = 200, 1 << 26
"""A bundle may unpack to so many times its own bytes, or to so many bytes. Records shrink to a tenth."""

_ALLOWED = f"a file made by `{MADE_BY}`"
_NAME = re.compile(r"(?!\.)[\w.+-]{1,200}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOPS = (TABLES, GROUPS, RUNS, RECORDINGS, QUANTISED)
_TAKEN = (*_TOPS, REPLAYED, INDEX, PLAN)
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PART = 1 << 20
_PACKED = (".gz", ".xz")
_ENCRYPTED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What `bundle.json` says.

    Attributes:
        study: Its name. commit: That of the code that made the bundle.
        prompts: Whether the runs' prompts are in it.
        runs: Digests of the runs, in the order in which they are loaded.
        files: Name of each other file -> its bytes and sha256.
    """

    study: str
    commit: str
    prompts: bool
    runs: tuple[str, ...]
    files: Mapping[str, tuple[int, str]]


def write(path: Path, index: Index, contents: Mapping[str, Path | bytes]) -> None:
    """Writes the zip; `index.files` is made from the contents.

    Raises:
        SymphonyError: Another file is at `path`, or it cannot be written.
    """
    check_own(path, _is_bundle)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    files = {name: _describe(contents[name]) for name in sorted(contents)}
    text = json.dumps(
        {
            "made by": MADE_BY,
            "format": FORMAT,
            "study": index.study,
            "commit": index.commit,
            "prompts": index.prompts,
            "runs": list(index.runs),
            "files": {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()},
        },
        indent=1,
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(temporary, "w") as out:
            _add(out, INDEX, text.encode() + b"\n", packed=True)  # stored, so that its mark is seen in the zip
            for name in files:
                _add(out, name, contents[name], packed=name.endswith(_PACKED))
        os.replace(temporary, path)
    except OSError as error:
        raise SymphonyError(f"{path}: found {error.strerror}, allowed: a file that can be written") from error
    finally:
        discard(temporary)


def _is_bundle(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04") and INDEX.encode() in head[:64] and MADE_BY.encode() in head[:200]


def _describe(content: Path | bytes) -> tuple[int, str]:
    if isinstance(content, Path):
        return content.stat().st_size, sha256(content)
    return len(content), hashlib.sha256(content).hexdigest()


def _add(out: zipfile.ZipFile, name: str, content: Path | bytes, *, packed: bool) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.create_system = 3
    entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    if isinstance(content, bytes):
        out.writestr(entry, content)
        return
    entry.file_size = content.stat().st_size
    with content.open("rb") as source, out.open(entry, "w") as target:
        shutil.copyfileobj(source, target, _PART)


# --------------------------------------------------------------------------- unpacking


def unpack(bundle: Path, folder: Path) -> Index:
    """Unpacks a bundle into an empty folder, and writes nothing outside it.

    Raises:
        SymphonyError: It is not a bundle, is damaged or of another format, names a file outside the folder, holds a
            link, or would unpack to far more than it is.
    """
    with _opened(bundle) as archive:
        entries = archive.infolist()
        _check_entries(bundle, entries, folder)
        by_name = {entry.filename: entry for entry in entries}
        if INDEX not in by_name:
            raise _refused(bundle, f"no {INDEX}")
        index = _parse(bundle, archive.read(INDEX))
        names = by_name.keys() - {INDEX}
        if differing := sorted(names ^ index.files.keys()):
            which = "a file that it does not list" if differing[0] in names else "nothing for a file that it lists"
            raise _refused(bundle, f"{which}, {differing[0]!r}")
        (folder / INDEX).write_bytes(archive.read(INDEX))
        for name, expected in index.files.items():
            with archive.open(by_name[name]) as source:
                if _extract(source, folder / name) != expected:
                    raise _refused(bundle, f"another content of {name} than it lists")
    return index


@contextmanager
def _opened(bundle: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a zip; what goes wrong with it, whenever, is one error."""
    try:
        with bundle.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            yield archive
    except OSError as error:
        at = error.filename or bundle
        raise SymphonyError(f"{at}: found {error.strerror or error}, allowed: {_ALLOWED}") from error
    except (zipfile.BadZipFile, EOFError, zlib.error, ValueError, NotImplementedError, RuntimeError) as error:
        raise _refused(
            bundle, f"a damaged zip file ({str(error).splitlines()[0] if str(error) else 'cut off'})"
        ) from error


def _check_entries(bundle: Path, entries: list[zipfile.ZipInfo], folder: Path) -> None:
    if len(entries) > MOST_FILES:
        raise SymphonyError(f"{bundle}: found {len(entries):,} files, allowed: {MOST_FILES:,}")
    seen: set[str] = set()
    for entry in entries:
        if why := _fault(entry):
            raise _refused(bundle, f"{why}, {entry.filename[:200]!r}")
        if entry.filename.lower() in seen:
            raise _refused(bundle, f"a name twice, {entry.filename!r}")
        seen.add(entry.filename.lower())
    total, packed = sum(entry.file_size for entry in entries), bundle.stat().st_size
    most = max(FLOOR, RATIO * packed)
    if total > most:
        raise SymphonyError(f"{bundle}: found {total:,} bytes in {packed:,}, allowed: {most:,} (a zip bomb?)")
    free = shutil.disk_usage(folder).free
    if total > free:
        raise SymphonyError(f"{folder}: found {free:,} free bytes, allowed: {total:,}, which {bundle} unpacks to")


def _fault(entry: zipfile.ZipInfo) -> str:
    """Returns why an entry of a zip is not one of a bundle; "" if it may be."""
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "a folder, a link or a device"
    if entry.flag_bits & _ENCRYPTED:
        return "an encrypted file"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "an unknown compression"
    top, *below = entry.filename.split("/")
    if below:
        placed = top in _TOPS and len(below) <= 2 and all(is_name(part) for part in below)
        return "" if placed else "a file out of place"
    if top == INDEX:
        return f"an index of {entry.file_size:,} bytes" if entry.file_size > MOST_INDEX else ""
    return "" if top == PLAN else "a file out of place"


def is_name(name: object) -> bool:
    """Whether something may be the name of a file: it leads nowhere else."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def _parse(bundle: Path, data: bytes) -> Index:
    content = parse_json(data, f"{bundle}: {INDEX}", f"the index of {_ALLOWED}")
    if content.get("made by") != MADE_BY:
        raise _refused(bundle, f"an {INDEX} that something else made")
    if content.get("format") != FORMAT:
        raise SymphonyError(
            f"{bundle}: found format {content.get('format')!r}, allowed: {FORMAT}; the version that made it (commit "
            f"{content.get('commit')!r:.60}) reads it"
        )
    try:
        index = Index(
            study=content["study"],
            commit=str(content["commit"]),
            prompts=content["prompts"] is True,
            runs=tuple(content["runs"]),
            files={name: _entry(entry) for name, entry in content["files"].items()},
        )
        sound = is_name(index.study) and index.study not in _TAKEN
        sound = sound and all(is_name(run) for run in index.runs)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _refused(bundle, f"an {INDEX} without {error}") from error
    if not sound or not index.runs or len(set(index.runs)) < len(index.runs):
        raise _refused(bundle, f"an {INDEX} with a study or runs that cannot be")
    return index


def _entry(entry: Any) -> tuple[int, str]:
    size, digest = entry["bytes"], entry["sha256"]
    if type(size) is not int or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError("bytes and sha256 of every file")
    return size, digest


def _extract(source: Any, target: Path) -> tuple[int, str]:
    """Copies a file and returns its bytes and sha256."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as out:
        while part := source.read(_PART):
            size += len(part)
            digest.update(part)
            out.write(part)
    return size, digest.hexdigest()


def _refused(bundle: Path, finding: str) -> SymphonyError:
    return SymphonyError(f"{bundle}: found {finding}, allowed: {_ALLOWED}")
