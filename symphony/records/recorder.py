"""Writes a run's folder during the run: all of it or nothing, and no problem stays in memory.

A problem's records are appended to a temporary sibling folder when it ends, in the order of the problems. At the end
of the run the files are forced to disk and the folder is renamed. Nothing is forced to disk before that, since an
interrupted run is repeated and the call store answers.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import operator
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from symphony.records.manifest import APART_SUMS, MANIFEST, Part
from symphony.records.prompts import PROMPTS, PromptRecord, compress
from symphony.records.records import APART, CONFIG, FILES, WALL, RunRecord, WallRecord
from symphony.types import SymphonyError

_FILES: dict[type[Any], str] = {**FILES, PromptRecord: PROMPTS}
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
        self._early: dict[int, tuple[int, int]] = {}
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

    def add(self, index: int, *tables: Sequence[Any]) -> None:
        """Writes the records of a problem; problems may end in any order.

        Args:
            index: The problem's position in the run, from 0.
            tables: Rows to write; each table holds rows of one type.
        """
        with self._reporting():
            texts = {_FILES[type(rows[0])]: _lines(rows) for rows in tables if rows}
            if index > self._next:
                self._early[index] = _append(self._temporary / _EARLY, json.dumps(texts).encode())
                return
            self._write(texts)
            while self._next in self._early:
                self._write(json.loads(self._read(*self._early.pop(self._next))))

    def finish(self, run: RunRecord, wall: WallRecord, config_yaml: str) -> None:
        """Moves the finished folder to its place.

        Args:
            wall: The run's cost; kept outside the files that are byte-identical between equal runs.
            config_yaml: The resolved config, kept beside the records.
        """
        with self._reporting():
            (self._temporary / _EARLY).unlink(missing_ok=True)
            self._files[CONFIG] = _File(self._temporary / CONFIG)
            texts = {FILES[RunRecord]: _lines([run]), WALL: _lines([wall]), CONFIG: config_yaml}
            for name, file in self._files.items():
                file.write(texts.get(name, ""))
            parts = {name: asdict(file.part()) for name, file in self._files.items()}
            _append(self._temporary / MANIFEST, (json.dumps(parts, indent=1) + "\n").encode())
            sums = {name: self._files[name].sha256 for name in APART}
            _append(self._temporary / APART_SUMS, (json.dumps(sums, indent=1) + "\n").encode())
            for name in (*parts, MANIFEST, APART_SUMS):
                _sync(self._temporary / name)
            _sync(self._temporary)
            _swap(self._temporary, self._target)

    def _write(self, texts: dict[str, str]) -> None:
        for name, text in texts.items():
            if name not in self._files:  # a run without any prompt has no file of them
                self._files[name] = _File(self._temporary / name)
            self._files[name].write(text)
        self._next += 1

    def _read(self, begin: int, size: int) -> bytes:
        with (self._temporary / _EARLY).open("rb") as stream:
            stream.seek(begin)
            return stream.read(size)

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


class _File:
    """A growing file, with the manifest's figures for it.

    It is open only while it is written: many runs go on at the same time, and a process may have few files open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = 0
        self._hash = hashlib.sha256()

    def write(self, text: str) -> None:
        content = compress(text) if self._path.name == PROMPTS and text else text.encode()
        _append(self._path, content)
        self._lines += text.count("\n")
        self._hash.update(content)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def part(self) -> Part:
        return Part(lines=self._lines, sha256=None if self._path.name in APART else self.sha256)


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _lines(rows: Sequence[Any]) -> str:
    """Encodes rows as lines, with keys in the order of the fields; one encoder call for all halves the time.

    Rows are flat, and a quote inside a string is escaped, so a brace followed by the first field's name in quotes
    begins a row and occurs nowhere else.
    """
    names = type(rows[0]).__slots__
    values = operator.attrgetter(*names)
    array = _ENCODER.encode([dict(zip(names, values(row), strict=True)) for row in rows])
    begin = f'{{"{names[0]}":'
    return array[1:-1].replace(f"}},{begin}", f"}}\n{begin}") + "\n"


def _append(path: Path, content: bytes) -> tuple[int, int]:
    """Appends to a file; returns where the new part begins, and the file's size."""
    with path.open("ab") as stream:
        begin = stream.tell()
        stream.write(content)
    return begin, len(content)


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
