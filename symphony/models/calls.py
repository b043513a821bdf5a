"""The file of model calls: each row has a checksum; damaged rows are reported, dropped and asked again."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from symphony.models.sizes import Size
from symphony.types import Completion, SymphonyError

_LOGGER = logging.getLogger(__name__)
_FORMAT = 1  # `user_version` of the file; 0 is a new file, or one from before checksums
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS calls (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, logprob REAL, checksum BLOB
) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS shortened (key BLOB PRIMARY KEY, dropped INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS sizes (
    problem TEXT NOT NULL, key BLOB NOT NULL, prompt INTEGER NOT NULL, completion INTEGER NOT NULL,
    dropped INTEGER NOT NULL, checksum BLOB, PRIMARY KEY (problem, key)
) WITHOUT ROWID""",
)
_CALLS = """SELECT calls.key, text, finish_reason, prompt_tokens, cached_tokens, completion_tokens, logprob,
coalesce(dropped, 0), checksum FROM calls LEFT JOIN shortened ON shortened.key = calls.key"""
_SIZES = "SELECT problem, key, prompt, completion, dropped, checksum FROM sizes"
_SEAL = """UPDATE calls SET checksum = seal(key, CAST(text AS BLOB), CAST(finish_reason AS BLOB), prompt_tokens,
cached_tokens, completion_tokens, logprob, coalesce((SELECT dropped FROM shortened WHERE key = calls.key), 0))"""
_PUT_CALL = "INSERT OR IGNORE INTO calls VALUES (?,CAST(? AS TEXT),CAST(? AS TEXT),?,?,?,?,?)"
_PUT_SHORTENED = "INSERT OR IGNORE INTO shortened VALUES (?,?)"
_PROBLEMS = 512  # problems whose sizes are kept in memory
_ROOM = 1 << 16  # bytes; SQLite's shared memory, which it makes first, takes half of them
_AT_ONCE = 500  # keys per query, well below SQLite's limit on variables
# Errors that are not the file's fault; its contents were paid for, so they stay.
_OUTSIDE = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM,
)  # fmt: skip
_REASONS = {b"stop": "stop", b"length": "length"}

_Row = tuple[Any, ...]
"""Values in the order of the table's query, the checksum last; texts are UTF-8."""


class Rows(NamedTuple):
    """What a call store holds, in the order of its tables' columns, without checksums."""

    calls: list[_Row]
    sizes: list[_Row]


class _Guard:
    """Admits one thread at a time and reports SQLite's errors. A class for speed: a replay enters it on every call."""

    __slots__ = ("_alone", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._alone = threading.Lock()

    def __enter__(self) -> None:
        self._alone.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alone.release()
        if isinstance(error, (sqlite3.Error, UnicodeDecodeError)):  # SQLite may quote broken UTF-8
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # byte with the kind of error
            advice = "" if code in _OUTSIDE else " (delete it to start over)"
            if code == sqlite3.SQLITE_IOERR and _is_full(self._path):
                advice = " on a disk that is not full"
            raise SymphonyError(
                f"{self._path}: found {error}, allowed: a call store that can be written{advice}"
            ) from error


def _is_full(path: Path) -> bool:
    """Whether the disk of a file is full; SQLite may call that an I/O error."""
    try:
        return shutil.disk_usage(path.parent).free < _ROOM
    except OSError:
        return False


class CallStore:
    """One SQLite file of completions (by call key) and prompt sizes, for a single writer process.

    A `put` that returned survives SIGKILL (write-ahead log). After a power failure the last ones may be missing, but
    the file stays whole. Sizes are written with the next answers, or at the latest when the store is closed.

    Every row is compared with its checksum when it is read. A damaged key cannot be found, so at the first miss, and at
    the first damaged row, the whole file is checked; all damaged rows are dropped and reported together. Answers of a
    file from before checksums are taken over as they are.

    Args:
        path: The file; it and its folder are created if missing.
        tell: Receives the message about damaged rows.

    Attributes:
        damaged: Rows dropped so far.

    Raises:
        SymphonyError: The file cannot be opened or written, is not a call store, or has a later format.
    """

    def __init__(self, path: str | Path, tell: Callable[[str], None] = _LOGGER.warning) -> None:
        self.path = Path(path)
        self.damaged = 0
        self._tell = tell
        self._guard = _Guard(self.path)
        self._sizes: dict[str, dict[bytes, Size]] = {}  # by problem
        self._new_sizes: dict[tuple[str, bytes], Size] = {}  # not written yet
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SymphonyError(f"{self.path.parent}: found {error}, allowed: a writable folder") from error
        with self._guard:
            # Local models may answer in a worker thread, endpoints in the loop's thread; `_guard` admits one at a time.
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
            self._db.text_factory = bytes  # a damaged text may not be UTF-8
            try:
                self._refuse_foreign()
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._prepare()
                self._checked = self._db.execute("SELECT 1 FROM calls LIMIT 1").fetchone() is None
            except BaseException:
                self._db.close()
                raise

    def _refuse_foreign(self) -> None:
        """Raises an error for another program's database before anything is written to it."""
        names = [name.decode() for (name,) in self._db.execute("SELECT name FROM sqlite_master ORDER BY name")]
        if names and "calls" not in names:
            raise SymphonyError(f"{self.path}: found another kind of database ({names[0]}), allowed: a call store")

    def _prepare(self) -> None:
        """Creates the tables of a new file, converts an old one, and refuses anything else."""
        version = self._version()
        if version > _FORMAT:
            raise SymphonyError(f"{self.path}: found a call store of format {version}, allowed: up to {_FORMAT}")
        if version == 0:
            with self._transaction():
                if self._version() == 0:  # no other process was faster
                    self._begin()
        for table in _SCHEMA[1:]:
            self._db.execute(table)
        for query in (_CALLS, _SIZES):  # a foreign table of that name lacks a column
            self._db.execute(f"{query} LIMIT 0")

    def _begin(self) -> None:
        for table in _SCHEMA:
            self._db.execute(table)
        columns = [column[1] for column in self._db.execute("PRAGMA table_info(calls)")]
        if b"checksum" not in columns:
            self._db.execute("ALTER TABLE calls ADD COLUMN checksum BLOB")
            self._db.create_function("seal", 8, lambda *row: _checksum(row) if _sane(row) else None)
            self._db.execute(_SEAL)
        self._db.execute(f"PRAGMA user_version={_FORMAT}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def get(self, keys: Iterable[bytes]) -> dict[bytes, Completion]:
        """Returns the stored completions among `keys`, without damaged ones."""
        wanted = list(keys)
        completions, damaged = self._read(wanted)
        if len(completions) < len(wanted) and self._mend(damaged):
            completions, _ = self._read(wanted)
        return completions

    def _read(self, keys: Sequence[bytes]) -> tuple[dict[bytes, Completion], bool]:
        """Returns the undamaged completions stored for `keys`, and whether any is damaged."""
        rows: list[_Row] = []
        with self._guard:
            for start in range(0, len(keys), _AT_ONCE):
                some = keys[start : start + _AT_ONCE]
                rows += self._db.execute(f"{_CALLS} WHERE calls.key IN ({','.join('?' * len(some))})", some)
        completions = {row[0]: _completion(row) for row in rows if _whole(row)}
        return completions, len(completions) < len(rows)

    def size(self, problem: str, key: bytes) -> Size | None:
        """Returns the stored size of a problem's request; None if there is none or it is damaged."""
        size = self._sizes_of(problem).get(key)
        return self._sizes_of(problem).get(key) if size is None and self._mend(False) else size

    def keep_size(self, problem: str, key: bytes, size: Size) -> None:
        """Keeps the size of a request, to be stored with the next answers."""
        self._sizes_of(problem)[key] = size
        with self._guard:
            self._new_sizes[problem, key] = size

    def _sizes_of(self, problem: str) -> dict[bytes, Size]:
        """Reads a problem's sizes together, since one file access takes longer than the rest of a replayed call."""
        if problem not in self._sizes:
            with self._guard:
                rows = self._db.execute(f"{_SIZES} WHERE problem = ?", (problem,)).fetchall()
            if not all([_has_checksum(row) for row in rows]) and self._mend(True):
                return self._sizes_of(problem)
            while len(self._sizes) >= _PROBLEMS:
                self._sizes.pop(next(iter(self._sizes)))
            known = {row[1]: Size(prompt=row[2], completion=row[3], dropped=row[4]) for row in rows}
            new = {key: size for (name, key), size in list(self._new_sizes.items()) if name == problem}
            self._sizes[problem] = known | new
        return self._sizes[problem]

    def put(self, completions: dict[bytes, Completion]) -> None:
        """Stores all of them or, if it fails, none. A key that is already stored keeps its completion."""
        rows = [_values(key, completion) for key, completion in completions.items()]
        with self._guard, self._transaction():
            self._insert(rows)
            self._put_sizes()

    def _insert(self, rows: Sequence[_Row]) -> None:
        self._db.executemany(_PUT_CALL, [(*row[:7], _checksum(row)) for row in rows])
        self._db.executemany(_PUT_SHORTENED, [(row[0], row[7]) for row in rows if row[7]])

    def _put_sizes(self) -> None:
        news = self._new_sizes.items()
        rows = [(name.encode(), key, size.prompt, size.completion, size.dropped) for (name, key), size in news]
        self._insert_sizes([(*row, _checksum(row)) for row in rows])
        self._new_sizes.clear()

    def _insert_sizes(self, rows: Sequence[_Row]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO sizes VALUES (CAST(? AS TEXT),?,?,?,?,?)", rows)

    def _mend(self, damaged: bool) -> bool:
        """Drops and reports every damaged row of the file; returns whether there were any.

        It checks the file once, and again whenever a damaged row is read later. The undamaged rows are rewritten,
        because damaged keys leave the tables out of order.
        """
        if self._checked and not damaged:
            return False
        self._checked = True
        with self._guard:
            calls, sizes = self._db.execute(_CALLS).fetchall(), self._db.execute(_SIZES).fetchall()
            whole = [row[:-1] for row in calls if _whole(row)]
            counted = [row for row in sizes if _has_checksum(row)]
            lost, uncounted = len(calls) - len(whole), len(sizes) - len(counted)
            if not lost + uncounted:
                return False
            with self._transaction():
                for table in ("calls", "shortened", "sizes"):
                    self._db.execute(f"DELETE FROM {table}")
                self._insert(whole)
                self._insert_sizes(counted)
        self._sizes.clear()
        self.damaged += lost + uncounted
        self._tell(
            f"{self.path}: found damage in {lost} of {len(calls)} answers and {uncounted} of {len(sizes)} token "
            "counts, allowed: none; these are dropped and asked again"
        )
        return True

    def rows(self) -> Rows:
        """Returns all rows except damaged ones, which are dropped and reported."""
        self._mend(damaged=False)
        with self._guard:
            calls, sizes = self._db.execute(_CALLS).fetchall(), self._db.execute(_SIZES).fetchall()
        return Rows(
            [(row[0], row[1].decode(), row[2].decode(), *row[3:8]) for row in calls if _whole(row)],
            [(row[0].decode(), *row[1:5]) for row in sizes if _has_checksum(row)],
        )

    def take(self, rows: Rows) -> None:
        """Adds rows to the file; a key that is already stored keeps its row.

        Raises:
            SymphonyError: A row cannot be an answer or a size.
        """
        calls = [(row[0], str(row[1]).encode(), str(row[2]).encode(), *row[3:]) for row in rows.calls]
        sizes = [(str(row[0]).encode(), *row[1:]) for row in rows.sizes]
        if not all(len(row) == 8 and _sane(row) for row in calls) or not all(len(row) == 5 for row in sizes):
            raise SymphonyError(f"{self.path}: found a row that is not an answer, allowed: rows of a call store")
        with self._guard, self._transaction():
            self._insert(calls)
            self._insert_sizes([(*row, _checksum(row)) for row in sizes])
        self._sizes.clear()

    def __len__(self) -> int:
        with self._guard:
            return int(self._db.execute("SELECT count(*) FROM calls").fetchone()[0])

    def close(self) -> None:
        try:
            if self._new_sizes:
                with self._guard, self._transaction():
                    self._put_sizes()
        finally:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _values(key: bytes, answer: Completion) -> _Row:
    """Returns a completion's row without its checksum, with the values as SQLite will return them."""
    logprob = None if answer.logprob is None or math.isnan(answer.logprob) else float(answer.logprob)
    counts = (answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens)
    return (key, answer.text.encode(), answer.finish_reason.encode(), *counts, logprob, answer.dropped)


def _completion(row: _Row) -> Completion:
    _, text, reason, prompt, cached, completion, logprob, dropped, _ = row
    return Completion(
        text=text.decode(),
        finish_reason=_REASONS[reason],  # type: ignore[arg-type]
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        logprob=logprob,
        dropped=dropped,
        from_store=True,
    )


def _whole(row: _Row) -> bool:
    return bool(row[8] == _checksum(row[:8])) and _sane(row)


def _has_checksum(row: _Row) -> bool:
    return bool(row[5] == _checksum(row[:5]))


def _sane(row: _Row) -> bool:
    """Whether the values can be those of an answer."""
    counts = (row[3], row[4], row[5], row[7])
    return row[2] in _REASONS and all([type(count) is int and count >= 0 for count in counts])


def _checksum(values: _Row) -> bytes:
    """Returns the checksum of the values and their types."""
    return hashlib.blake2b(repr(values).encode(), digest_size=8).digest()
