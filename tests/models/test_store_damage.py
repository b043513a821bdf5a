"""A damaged call store: what is not as it was written is told, dropped and asked again, and never used."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from symphony.models import calls
from symphony.models.calls import CallStore
from symphony.models.scripted import ScriptedBackend
from symphony.models.sizes import Size, size_key
from symphony.models.store import StoredBackend, StoredModel
from symphony.types import Completion, Request, SymphonyError

Ask = Callable[..., Request]
CALLS = 6
COLUMNS = ("key", "text", "finish_reason", "prompt_tokens", "cached_tokens", "completion_tokens", "logprob", "checksum")


def answer(request: Request) -> Completion:
    number = request.draw.index
    return Completion(
        text=f"ü {request.messages[0].content} {number}",
        finish_reason="length" if number % 2 else "stop",
        prompt_tokens=3 + number,
        cached_tokens=number,
        completion_tokens=2,
        logprob=None if number == 4 else -0.5 - number,
        dropped=number % 3,
    )


@pytest.fixture
def path(tmp_path: Path, ask: Ask) -> Path:
    """A store of `CALLS` answers."""
    with CallStore(tmp_path / "a.sqlite") as store:
        StoredBackend(ScriptedBackend(answer), store).generate(requests(ask))
    return tmp_path / "a.sqlite"


def requests(ask: Ask) -> list[Request]:
    return [ask(index=index) for index in range(CALLS)]


def change(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(statement, values)
        db.commit()


def asked_again(path: Path, ask: Ask) -> tuple[list[Completion], list[int], list[str]]:
    """The answers of the store, the numbers of the calls that were asked again, and what was told."""
    told: list[str] = []
    script = ScriptedBackend(answer)
    with CallStore(path, told.append) as store:
        answers = StoredBackend(script, store).generate(requests(ask))
        assert StoredBackend(ScriptedBackend([]), store, "replay").generate(requests(ask)) == [
            replace(one, from_store=True) for one in answers
        ]
    return [replace(one, from_store=False) for one in answers], [one.draw.index for one in script.calls], told


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("prompt_tokens", -5),
        ("completion_tokens", -1),
        ("cached_tokens", -1),
        ("completion_tokens", 3),
        ("prompt_tokens", "many"),
        ("prompt_tokens", 2.5),
        ("finish_reason", "banana"),
        ("finish_reason", "error"),
        ("finish_reason", "stopp"),
        ("text", ""),
        ("text", b"\xff\xfe"),
        ("text", 7),
        ("logprob", None),
        ("logprob", 0.25),
        ("checksum", None),
        ("checksum", b""),
        ("checksum", "text"),
        ("key", b"another"),
    ],
)
def test_a_row_that_is_not_as_it_was_written_is_told_dropped_and_asked_again(
    path: Path, ask: Ask, column: str, value: Any
) -> None:
    change(path, f"UPDATE calls SET {column} = ? WHERE prompt_tokens = 5", value)
    answers, again, told = asked_again(path, ask)
    assert answers == [answer(request) for request in requests(ask)]
    assert again == [2]
    assert told == [
        f"{path}: found damage in 1 of 6 answers and 0 of 0 token counts, "
        "allowed: none; these are dropped and asked again"
    ]


@pytest.mark.parametrize("statement", ["UPDATE shortened SET dropped = 5", "DELETE FROM shortened"])
def test_what_was_dropped_from_a_prompt_is_under_the_checksum_too(path: Path, ask: Ask, statement: str) -> None:
    change(path, statement)
    answers, again, (told,) = asked_again(path, ask)
    assert answers == [answer(request) for request in requests(ask)]
    assert again == [1, 2, 4, 5]
    assert "found damage in 4 of 6 answers" in told


def test_a_flipped_bit_in_any_value_of_any_row_is_found(path: Path, ask: Ask) -> None:
    rng = random.Random(11)
    whole = path.read_bytes()
    for _ in range(60):
        column = rng.choice([name for name in COLUMNS if name != "logprob"])
        path.write_bytes(whole)
        with closing(sqlite3.connect(path)) as db:
            key, value = rng.choice(db.execute(f"SELECT key, CAST({column} AS BLOB) FROM calls").fetchall())
            at, bit = rng.randrange(len(value)), 1 << rng.randrange(8)
            flipped = value[:at] + bytes([value[at] ^ bit]) + value[at + 1 :]
            kind = {"text": "TEXT", "finish_reason": "TEXT"}.get(column, "INTEGER" if "tokens" in column else "BLOB")
            db.execute(f"UPDATE calls SET {column} = CAST(? AS {kind}) WHERE key = ?", (flipped, key))
            db.commit()
        answers, again, told = asked_again(path, ask)
        assert answers == [answer(request) for request in requests(ask)], (column, value, flipped)
        assert (len(again), len(told)) == (1, 1) or int_cast(column, value, flipped), (column, value, flipped)


def int_cast(column: str, value: bytes, flipped: bytes) -> bool:
    """Whether a flipped digit is the same number to SQLite."""
    return "tokens" in column and value == b"0" and not flipped.isdigit()


def test_whatever_byte_of_the_file_is_flipped_no_answer_changes(path: Path, ask: Ask) -> None:
    """Where SQLite itself can't read the file any more, one clear error says so."""
    rng = random.Random(7)
    change(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    outcomes = {"same": 0, "again": 0, "refused": 0}
    for _ in range(60):
        for beside in path.parent.glob("a.sqlite-*"):
            beside.unlink()
        at = rng.choice([place for place in range(len(whole)) if whole[place]])
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        try:
            answers, again, _ = asked_again(path, ask)
        except SymphonyError:
            outcomes["refused"] += 1
            continue
        assert answers == [answer(request) for request in requests(ask)], at
        outcomes["again" if again else "same"] += 1
    assert outcomes["again"] > 10


def test_where_nothing_may_be_asked_a_damaged_answer_is_one_clear_error(path: Path, ask: Ask) -> None:
    change(path, "UPDATE calls SET prompt_tokens = -5 WHERE prompt_tokens IN (4, 5)")
    with (
        CallStore(path, lambda _: None) as store,
        pytest.raises(SymphonyError, match=r"no answer for .* expand 1, .*\(2 damaged .* were dropped\)"),
    ):
        StoredBackend(ScriptedBackend([]), store, "replay").generate(requests(ask))


def test_damage_while_the_store_is_open_is_found_too(path: Path, ask: Ask) -> None:
    told: list[str] = []
    with CallStore(path, told.append) as store:
        backend = StoredBackend(ScriptedBackend(answer), store)
        backend.generate(requests(ask))
        for number in (3, 4):
            change(path, "UPDATE calls SET text = 'wrong' WHERE prompt_tokens = ?", number)
            assert [one.text for one in backend.generate(requests(ask))] == [answer(one).text for one in requests(ask)]
    assert len(told) == 2


async def test_an_endpoint_is_asked_again_too(path: Path, ask: Ask) -> None:
    class Stub:
        revision = "scripted"

        async def complete(self, request: Request) -> Completion:
            return answer(request)

        def ready(self) -> None: ...

    change(path, "UPDATE calls SET finish_reason = 'insufficient' WHERE prompt_tokens = 5")
    with CallStore(path, lambda _: None) as store:
        model = StoredModel(Stub(), store)
        answers = [await model.complete(request) for request in requests(ask)]
    assert [one.from_store for one in answers] == [True, True, False, True, True, True]


# ------------------------------------------------------------------ other formats

OLD = (
    """CREATE TABLE calls (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, logprob REAL
) WITHOUT ROWID""",
    """INSERT INTO calls SELECT key, text, finish_reason, prompt_tokens, cached_tokens, completion_tokens, logprob
    FROM new.calls""",
    "CREATE TABLE shortened (key BLOB PRIMARY KEY, dropped INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO shortened SELECT * FROM new.shortened",
)


@pytest.fixture
def old(path: Path) -> Path:
    """The same answers in a file from before there were checksums."""
    with closing(sqlite3.connect(path.parent / "old.sqlite", isolation_level=None)) as db:
        db.execute("ATTACH ? AS new", (str(path),))
        for statement in OLD:
            db.execute(statement)
    return path.parent / "old.sqlite"


def test_answers_from_before_there_were_checksums_are_taken_over(old: Path, ask: Ask) -> None:
    answers, again, told = asked_again(old, ask)
    assert answers == [answer(request) for request in requests(ask)]
    assert (again, told) == ([], [])
    change(old, "UPDATE calls SET text = 'wrong' WHERE prompt_tokens = 3")
    assert asked_again(old, ask)[1] == [0]


def test_nonsense_from_before_there_were_checksums_is_not_taken_over(old: Path, ask: Ask) -> None:
    change(old, "UPDATE calls SET prompt_tokens = -5 WHERE prompt_tokens = 3")
    change(old, "UPDATE calls SET finish_reason = 'banana' WHERE prompt_tokens = 4")
    answers, again, (told,) = asked_again(old, ask)
    assert answers == [answer(request) for request in requests(ask)]
    assert again == [0, 1]
    assert "found damage in 2 of 6 answers" in told


def test_an_error_that_a_full_disk_causes_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    for free, told in ((0, "disk I/O error, allowed: .* on a disk that is not full$"), (1 << 30, "can be written$")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        with pytest.raises(SymphonyError, match=told), calls._Guard(path):
            raise error


def test_a_file_of_a_later_format_is_told(path: Path) -> None:
    change(path, "PRAGMA user_version = 9")
    with pytest.raises(SymphonyError, match=r"a\.sqlite: found a call store of format 9, allowed: up to 1"):
        CallStore(path)


@pytest.mark.parametrize("version", [-3, 0, 1])
def test_another_programs_database_is_refused_and_stays_as_it_is(version: int, tmp_path: Path) -> None:
    file = tmp_path / "other.sqlite"
    change(file, "CREATE TABLE places (id)")
    change(file, f"PRAGMA user_version = {version}")
    before = file.read_bytes()
    with pytest.raises(SymphonyError, match=r"other\.sqlite: found another kind of database \(places\), allowed: "):
        CallStore(file)
    assert [path.name for path in tmp_path.iterdir()] == ["other.sqlite"]
    assert file.read_bytes() == before


def test_nobody_is_told_to_delete_a_store_that_is_whole(path: Path, ask: Ask) -> None:
    with CallStore(path) as store:
        store._db.execute("PRAGMA query_only = 1")
        with pytest.raises(SymphonyError, match=r"readonly database, allowed: a call store that can be written$"):
            StoredBackend(ScriptedBackend(answer), store).generate([ask(index=99)])
    path.write_bytes(b"no database")
    with pytest.raises(SymphonyError, match=r"not a database, .* \(delete it to start over\)$"):
        CallStore(path)


# ------------------------------------------------------------------ sizes


class Counted(ScriptedBackend):
    """Counts prompts in a way of its own, and how often."""

    counter = "by hand"
    counts = 0

    def size(self, request: Request) -> Size:
        self.counts += 1
        return Size(prompt=len(request.messages[0].content), completion=5, dropped=2)


def test_a_prompt_is_counted_once_and_a_replay_counts_none(tmp_path: Path, ask: Ask) -> None:
    sizes = [Size(prompt=2, completion=5, dropped=2), Size(prompt=4, completion=5, dropped=2)]
    for mode, counted in (("record", 2), ("record", 0), ("replay", 0)):
        backend = Counted(answer)
        with CallStore(tmp_path / "a.sqlite") as store:
            stored = StoredBackend(backend, store, mode)  # type: ignore[arg-type]
            assert [stored.size(ask(text)) for text in ("go", "stop", "go")] == [*sizes, sizes[0]]
        assert backend.counts == counted


def test_a_count_that_a_replay_lacks_names_the_call(tmp_path: Path, ask: Ask) -> None:
    with (
        CallStore(tmp_path / "a.sqlite") as store,
        pytest.raises(SymphonyError, match=r"found no count of the prompt's tokens for problem p, node 0, expand 3"),
    ):
        StoredBackend(Counted(answer), store, "replay").size(ask(index=3))


def test_a_damaged_count_is_told_and_counted_again(tmp_path: Path, ask: Ask) -> None:
    told: list[str] = []
    with CallStore(tmp_path / "a.sqlite") as store:
        StoredBackend(Counted(answer), store).size(ask())
    change(tmp_path / "a.sqlite", "UPDATE sizes SET prompt = 1")
    with CallStore(tmp_path / "a.sqlite", told.append) as store:
        assert StoredBackend(Counted(answer), store).size(ask()).prompt == 2
        assert store.damaged == 1
    assert "damage in 0 of 0 answers and 1 of 1 token counts" in told[0]


def test_everything_that_decides_a_size_is_in_its_key(ask: Ask) -> None:
    whole = ask("go")
    longer = replace(whole, messages=(*whole.messages, *whole.messages))
    others = [ask("stop"), ask("go", max_tokens=9), longer]
    keys = {size_key("a", request) for request in [whole, *others]} | {size_key("b", whole)}
    assert len(keys) == len(others) + 2
    assert size_key("a", ask("go", index=3, temperature=0.0)) == size_key("a", whole)
