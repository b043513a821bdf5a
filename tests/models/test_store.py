"""The call store: paid once, kept through a kill, and the same content whoever asks."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.models.scripted import ScriptedBackend
from symphony.models.store import CallStore, StoredBackend, call_key
from symphony.types import Completion, Draw, Message, Phase, Request, Sampling, SymphonyError, canonical_json

Ask = Callable[..., Request]


def echo(request: Request) -> str:
    return f"{request.messages[0].content} {request.draw.index}"


@pytest.fixture
def store(tmp_path: Path) -> CallStore:
    return CallStore(tmp_path / "calls" / "a.sqlite")


def test_record_generates_a_call_once(store: CallStore, ask: Ask) -> None:
    script = ScriptedBackend(echo)
    backend = StoredBackend(script, store, "record")
    first = backend.generate([ask(index=0), ask(index=1)])
    second = backend.generate([ask(index=1), ask(index=2), ask(index=0)])
    assert [a.text for a in second] == ["go 1", "go 2", "go 0"]
    assert [a.from_store for a in first + second] == [False, False, True, False, True]
    assert len(script.calls) == 3


def test_a_stored_answer_is_the_generated_one(store: CallStore, ask: Ask) -> None:
    whole = Completion(text="ü\n", finish_reason="length", prompt_tokens=3, cached_tokens=1, completion_tokens=2,
                       logprob=-1.25)  # fmt: skip
    backend = StoredBackend(ScriptedBackend([whole]), store, "record")
    assert backend.generate([ask()]) == [whole]
    assert backend.generate([ask()]) == [replace(whole, from_store=True)]


def test_a_store_remembers_what_was_dropped_and_reads_files_from_before_it_did(store: CallStore, ask: Ask) -> None:
    cut = Completion(text="so", finish_reason="stop", prompt_tokens=3, completion_tokens=1, dropped=4)
    whole = replace(cut, dropped=0)
    StoredBackend(ScriptedBackend([cut, whole]), store, "record").generate([ask(index=0), ask(index=1)])
    store.close()
    replay = StoredBackend(ScriptedBackend([]), CallStore(store.path), "replay")
    assert [answer.dropped for answer in replay.generate([ask(index=0), ask(index=1)])] == [4, 0]
    with sqlite3.connect(store.path) as db:
        db.execute("DROP TABLE shortened")
    db.close()
    replay = StoredBackend(ScriptedBackend([]), CallStore(store.path), "replay")
    assert replay.generate([ask(index=1)]) == [replace(whole, from_store=True)]


def test_equal_requests_in_a_batch_are_generated_once(store: CallStore, ask: Ask) -> None:
    script = ScriptedBackend(echo)
    answers = StoredBackend(script, store, "record").generate([ask(), ask()])
    assert [a.from_store for a in answers] == [False, True]
    assert len(script.calls) == 1


def test_live_uses_no_store(store: CallStore, ask: Ask) -> None:
    script = ScriptedBackend(echo)
    backend = StoredBackend(script, None, "live")
    assert backend.generate([ask()]) == backend.generate([ask()])
    assert len(script.calls) == 2


def test_replay_answers_without_making_a_backend(store: CallStore, ask: Ask) -> None:
    StoredBackend(ScriptedBackend(echo), store, "record").generate([ask()])

    def forbidden() -> ScriptedBackend:
        raise AssertionError("a model was loaded")

    assert StoredBackend(forbidden, store, "replay", revision="scripted").generate([ask()])[0].text == "go 0"


def test_a_miss_in_replay_names_the_call(store: CallStore, ask: Ask) -> None:
    backend = StoredBackend(ScriptedBackend(echo), store, "replay")
    with pytest.raises(SymphonyError, match=r"problem p, node 0, expand 4"):
        backend.generate([ask(index=4)])


def test_record_makes_the_backend_at_the_first_miss_only(store: CallStore, ask: Ask) -> None:
    made: list[ScriptedBackend] = []

    def make() -> ScriptedBackend:
        made.append(ScriptedBackend(echo))
        return made[-1]

    backend = StoredBackend(make, store, "record", revision="scripted")
    assert not made
    backend.generate([ask()])
    backend.generate([ask(index=1)])
    assert len(made) == 1


def test_a_factory_that_makes_another_revision_is_refused(store: CallStore, ask: Ask) -> None:
    backend = StoredBackend(lambda: ScriptedBackend(echo, revision="b"), store, "record", revision="a")
    with pytest.raises(SymphonyError, match="found b, allowed: a"):
        backend.generate([ask()])


def test_strict_accepts_equal_answers(store: CallStore, ask: Ask) -> None:
    StoredBackend(ScriptedBackend(echo), store, "record").generate([ask()])
    assert StoredBackend(ScriptedBackend(echo), store, "strict").generate([ask()])[0].text == "go 0"


@pytest.mark.parametrize("index", [0, 1], ids=["another answer", "not stored"])
def test_strict_refuses_what_differs_from_the_store(store: CallStore, ask: Ask, index: int) -> None:
    StoredBackend(ScriptedBackend(echo), store, "record").generate([ask()])
    with pytest.raises(SymphonyError, match="mode strict"):
        StoredBackend(ScriptedBackend(["changed"]), store, "strict").generate([ask(index=index)])


def test_failed_calls_are_not_stored(store: CallStore, ask: Ask) -> None:
    failed = Completion(text="", finish_reason="error", prompt_tokens=9, error="too long")
    backend = StoredBackend(ScriptedBackend([failed, "now"]), store, "record")
    assert backend.generate([ask()])[0].error == "too long"
    assert backend.generate([ask()])[0].text == "now"


def test_an_unknown_mode_is_named(store: CallStore) -> None:
    with pytest.raises(SymphonyError, match="mode: found 'play', allowed: live, record, replay, strict"):
        StoredBackend(ScriptedBackend([]), store, "play")  # type: ignore[arg-type]


def test_every_part_of_a_request_is_in_the_key() -> None:
    message = Message(role="user", content="a")
    base = Request(
        messages=(message,),
        sampling=Sampling(temperature=1.0, max_tokens=4),
        draw=Draw(seed=1, problem="p", node=2, phase=Phase.EXPAND, index=3),
    )
    others = [
        replace(base, messages=(message, message)),
        replace(base, messages=(replace(message, role="system"),)),
        replace(base, messages=(replace(message, content="b"),)),
        *(
            replace(base, sampling=replace(base.sampling, **change))
            for change in ({"temperature": 0.5}, {"max_tokens": 5}, {"stop": ("x",)})
        ),
        *(
            replace(base, draw=replace(base.draw, **change))
            for change in ({"seed": 2}, {"problem": "q"}, {"node": 3}, {"phase": Phase.EVALUATE}, {"index": 4})
        ),
    ]
    keys = {call_key("r", request) for request in [base, *others]} | {call_key("s", base)}
    assert len(keys) == len(others) + 2


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ['"', "\\", "\n\x00\x7f", "\u2028é"]
)


@given(
    TEXT, TEXT, st.lists(TEXT, max_size=3), st.integers(0, 3) | st.floats(0, 3), st.integers(0), st.sampled_from(Phase)
)
def test_a_key_is_the_digest_of_canonical_json(
    model: str, said: str, stop: list[str], temperature: float, number: int, phase: Phase
) -> None:
    request = Request(
        messages=(Message(role="user", content=said), Message(role="assistant", content=model)),
        sampling=Sampling(temperature=temperature, max_tokens=4, stop=tuple(stop)),
        draw=Draw(seed=number, problem=said, node=2, phase=phase, index=3),
    )
    value = {
        "model": model,
        "messages": [["user", said], ["assistant", model]],
        "sampling": [float(temperature), 4, stop],
        "draw": [number, said, 2, str(phase), 3],
    }
    assert call_key(model, request) == hashlib.sha256(canonical_json(value).encode()).digest()


def test_more_keys_than_a_query_holds_are_all_found(store: CallStore, ask: Ask) -> None:
    requests = [ask(index=n) for n in range(1_203)]
    StoredBackend(ScriptedBackend(echo), store, "record").generate(requests)
    answers = StoredBackend(ScriptedBackend([]), store, "replay").generate(requests)
    assert [answer.text for answer in answers] == [f"go {n}" for n in range(1_203)]


def test_what_was_stored_is_there_after_a_reopening(store: CallStore, ask: Ask) -> None:
    StoredBackend(ScriptedBackend(echo), store, "record").generate([ask(index=n) for n in range(5)])
    store.close()
    with CallStore(store.path) as again:
        assert len(again) == 5


WRITER = """
import sys
from symphony.models.store import CallStore
from symphony.types import Completion
store = CallStore(sys.argv[1])
for number in range(10**9):
    store.put({f"{number} {part}".encode(): Completion(text="x" * 500, finish_reason="stop", prompt_tokens=1)
               for part in range(5)})
    print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 40, 200])
def test_a_killed_writer_loses_nothing_that_was_put(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "a.sqlite"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, path], cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    for _ in range(lines):
        last = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)
    last = max([last, *(int(line) for line in writer.stdout.read().split("\n")[:-1])])
    writer.wait()
    writer.stdout.close()
    with CallStore(path) as store:
        keys = [f"{number} {part}".encode() for number in range(last + 1) for part in range(5)]
        assert len(store.get(keys)) == len(keys)
        assert len(store) % 5 == 0  # a batch is stored whole or not at all


def test_a_file_that_is_no_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(SymphonyError, match=r"a\.sqlite: found .*not a database"):
        CallStore(tmp_path / "a.sqlite")


def test_a_database_of_something_else_is_told(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.sqlite") as db:
        db.execute("CREATE TABLE calls (id INTEGER)")
    db.close()
    with pytest.raises(SymphonyError, match="no such column"):
        CallStore(tmp_path / "a.sqlite")


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SymphonyError, match="allowed: a writable folder"):
        CallStore(tmp_path / "file" / "a.sqlite")


def test_a_full_disk_is_told_and_stores_nothing(store: CallStore, ask: Ask) -> None:
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages + 1}")
    backend = StoredBackend(ScriptedBackend(lambda _: "x" * 3000), store, "record")
    with pytest.raises(SymphonyError, match="full"):
        backend.generate([ask(index=n) for n in range(50)])
    assert len(store) == 0
