"""Writes a run's folder during the run: all of it or nothing, and no problem stays in memory.

A problem's records are appended to a temporary sibling folder when it ends, in the order of the problems. At the end
of the run the files are forced to disk and the folder is renamed. Nothing is forced to disk before that, since an
interrupted run is repeated and the call store answers.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from symphony.records.lines import json_lines
from symphony.records.manifest import APART_SUMS, MANIFEST, Part
from symphony.records.prompts import PROMPTS, compress
from symphony.records.records import APART, CONFIG, FILES, WALL, RunRecord, WallRecord
from symphony.types import SymphonyError

_EARLY = "early"  # file of the problems that ended before one with a smaller index


class Recorder:
    """The folder of one run, used as a context manager; without `finish` it leaves nothing behind.

    An existing folder is replaced: its name is the digest of its config, so it holds the same run.

    Args:
        folder: `outputs/runs/<digest>`.

    Raises:
        SymphonyError: In all methods: the disk is full or not writable, or a record holds NaN, an infinity or a lone
            surrogate.
    """

    def __init__(self, folder: str | Path) -> None:
        self._target = Path(folder)
        self._temporary = self._target.with_name(f".{self._target.name}.{os.getpid()}.tmp")
        self._files = {name: _File(self._temporary / name) for name in FILES.values()}
        self._next = 0
        self._early: dict[int, dict[str, _Place]] = {}
        self._lock: int | None = None

    def __enter__(self) -> Self:
        with self._reporting():
            _sweep(self._target.parent)
            new = self._temporary.with_suffix(".new")
            new.mkdir(parents=True, exist_ok=True)  # a process with this number may have been killed here
            self._lock = _locked(new)
            new.rename(self._temporary)  # under this name it never exists without its lock
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)

    def add(self, index: int, *tables: Sequence[Any], prompts: str = "") -> None:
        """Writes the records of a problem; problems may end in any order.

        Args:
            index: The problem's position in the run, from 0.
            tables: Rows to write; each table holds rows of one type.
            prompts: Lines of the problem's prompts (`SentPrompts`).
        """
        with self._reporting():
            texts = {FILES[type(rows[0])]: json_lines(rows) for rows in tables if rows}
            if prompts:
                texts[PROMPTS] = prompts
            contents = {name: _encoded(name, text) for name, text in texts.items()}
            if index > self._next:
                self._early[index] = self._put_aside(contents)
                return
            self._write(contents)
            while self._next in self._early:
                self._write(self._fetched(self._early.pop(self._next)))

    def finish(self, run: RunRecord, wall: WallRecord, config_yaml: str) -> None:
        """Moves the finished folder to its place.

        Args:
            wall: The run's cost; kept outside the files that are byte-identical between equal runs.
            config_yaml: The resolved config, kept beside the records.
        """
        with self._reporting():
            (self._temporary / _EARLY).unlink(missing_ok=True)
            self._files[CONFIG] = _File(self._temporary / CONFIG)
            texts = {FILES[RunRecord]: json_lines([run]), WALL: json_lines([wall]), CONFIG: config_yaml}
            for name, file in self._files.items():
                file.write(_encoded(name, texts.get(name, "")))
            parts = {name: asdict(file.part()) for name, file in self._files.items()}
            _append(self._temporary / MANIFEST, (json.dumps(parts, indent=1) + "\n").encode())
            sums = {name: self._files[name].sha256 for name in APART}
            _append(self._temporary / APART_SUMS, (json.dumps(sums, indent=1) + "\n").encode())
            for name in (*parts, MANIFEST, APART_SUMS):
                _sync(self._temporary / name)
            _sync(self._temporary)
            _swap(self._temporary, self._target)

    def _write(self, contents: Mapping[str, _Content]) -> None:
        for name, content in contents.items():
            if name not in self._files:  # a run without any prompt has no file of them
                self._files[name] = _File(self._temporary / name)
            self._files[name].write(content)
        self._next += 1

    def _put_aside(self, contents: Mapping[str, _Content]) -> dict[str, _Place]:
        begin = _append(self._temporary / _EARLY, b"".join([content.data for content in contents.values()]))
        places: dict[str, _Place] = {}
        for name, content in contents.items():
            places[name] = _Place(begin, len(content.data), content.lines)
            begin += len(content.data)
        return places

    def _fetched(self, places: Mapping[str, _Place]) -> dict[str, _Content]:
        found: dict[str, _Content] = {}
        with (self._temporary / _EARLY).open("rb") as stream:
            for name, place in places.items():
                stream.seek(place.begin)
                found[name] = _Content(stream.read(place.size), place.lines)
        return found

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SymphonyError(
                f"{self._target}: the run could not be written ({error.strerror}); nothing was kept"
            ) from error
        except ValueError as error:
            raise SymphonyError(f"{self._target}: found a value that JSON cannot hold ({error})") from error


class _Content(NamedTuple):
    """Bytes of a file, and how many lines they hold."""

    data: bytes
    lines: int


class _Place(NamedTuple):
    """Where a content lies in the file of early problems."""

    begin: int
    size: int
    lines: int


class _File:
    """A growing file, with the manifest's figures for it.

    It is open only while it is written: many runs go on at the same time, and a process may have few files open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._hash = hashlib.sha256()

    def write(self, content: _Content) -> None:
        _append(self._path, content.data)
        self._lines += content.lines
        self._hash.update(content.data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def part(self) -> Part:
        return Part(lines=self._lines, sha256=None if self._path.name in APART else self.sha256)


def _encoded(name: str, text: str) -> _Content:
    """Encodes lines as they will stand in the file of that name."""
    content = compress(text) if name == PROMPTS and text else text.encode()
    return _Content(content, text.count("\n"))


def _append(path: Path, content: bytes) -> int:
    """Appends to a file; returns where the new part begins."""
    with open(path, "ab", buffering=0) as stream:
        begin = stream.tell()
        while content:
            content = content[stream.write(content) :]
    return begin


def _sync(path: Path) -> None:
    """Forces a file, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> int:
    """Locks a folder; the lock ends with its process.

    Raises:
        OSError: Another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep(runs: Path) -> None:
    """Removes what killed processes left behind; folders of living processes are locked, and stay."""
    for left in (*runs.glob(".*.tmp"), *runs.glob(".*.old")):
        with suppress(OSError):
            descriptor = _locked(left)
            shutil.rmtree(left, ignore_errors=True)
            os.close(descriptor)


def _swap(temporary: Path, target: Path) -> None:
    """Moves the finished folder to its place; an older one of that name goes only when the new one is complete."""
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    if target.exists():
        os.replace(target, old)
    os.replace(temporary, target)
    _sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)
