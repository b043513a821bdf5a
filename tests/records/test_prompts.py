"""The prompts of a run: each distinct one once, in the order of the problems, and readable for every call."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.agents.sent import SentPrompts, digest
from symphony.records.database import load
from symphony.records.prompts import PROMPTS, Pack, compress, read_packs
from symphony.records.recorder import Recorder
from symphony.records.records import CallRecord, is_complete, read_manifest, read_records
from symphony.types import Message, SymphonyError
from tests.records.test_records import PROBLEM, RUN, WALL, write
from tests.scripted_pool import carry_out, one_group

EMPTY = replace(PROBLEM, calls=0, prompt_tokens=0, completion_tokens=0, nodes_tree=0, cost=0.0)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)


def chat(*contents: str) -> tuple[Message, ...]:
    return tuple(Message(role="user", content=content) for content in contents)


def write_prompts(folder: Path, chats: Sequence[Sequence[tuple[Message, ...]]], order: Sequence[int]) -> Path:
    """A run of one problem for each list of chats; the problems end in this order."""
    with Recorder(folder) as recorder:
        for index in order:
            sent = SentPrompts("r1", f"p{index}")
            for messages in chats[index]:
                sent.keep(messages)
            recorder.add(index, [EMPTY], prompts=sent.lines())
        recorder.finish(RUN, WALL, "a: 1\n")
    return folder


@given(st.lists(st.lists(TEXT, min_size=1, max_size=3), max_size=5), TEXT)
def test_what_was_sent_is_read_back_once(contents: list[list[str]], problem: str) -> None:
    sent = SentPrompts("r1", problem)
    names = [sent.keep(chat(*parts)) for parts in contents * 2]
    read = Pack(problem=problem, compressed=compress(sent.lines())).read()
    assert list(read) == list(dict.fromkeys(names))
    for parts in contents:
        assert [message["content"] for message in read[digest(chat(*parts))]] == parts


def test_whatever_the_order_in_which_problems_end_the_file_is_the_same(tmp_path: Path) -> None:
    chats = [[chat("a"), chat("a", "b")], [], [chat("c"), chat("c")]]
    straight = write_prompts(tmp_path / "straight", chats, range(3))
    for order in permutations(range(3)):
        folder = write_prompts(tmp_path / "mixed", chats, order)
        assert (folder / PROMPTS).read_bytes() == (straight / PROMPTS).read_bytes()
    assert [(pack.problem, len(pack.read())) for pack in read_packs(straight)] == [("p0", 2), ("p2", 1)]
    assert read_manifest(straight)[PROMPTS].lines == 3


def test_a_long_problem_is_one_pack(tmp_path: Path) -> None:
    rng = random.Random(0)
    chats = [[chat(f"{number} {rng.random()}" * 9) for number in range(9_000)], [chat("short")]]
    folder = write_prompts(tmp_path / "run", chats, range(2))
    assert (folder / PROMPTS).stat().st_size > 3 << 16
    assert [len(pack.read()) for pack in read_packs(folder)] == [9_000, 1]


def test_every_call_of_a_run_can_be_read_and_nothing_else_is_kept(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=2")
    carry_out(group, tmp_path)
    folder = tmp_path / "runs" / group.runs[0].digest
    kept = {(pack.problem, name) for pack in read_packs(folder) for name in pack.read()}
    assert kept == {(call.problem, call.prompt) for call in read_records(folder, CallRecord)}


def test_duckdb_reads_the_prompts_of_all_problems(tmp_path: Path) -> None:
    folder = write_prompts(tmp_path / "run", [[chat("one", "two")], [chat("three")]], range(2))
    query = "SELECT problem, messages[-1].content FROM read_json(?) ORDER BY problem"
    assert duckdb.execute(query, [str(folder / PROMPTS)]).fetchall() == [("p0", "two"), ("p1", "three")]


def test_a_run_without_prompts_is_complete_and_loads(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert not (folder / PROMPTS).exists()
    assert is_complete(folder)
    load(tmp_path / "study.duckdb", [folder])
    assert list(read_packs(folder)) == []


@pytest.mark.parametrize("damage", ["cut", "changed", "gone"])
def test_damaged_prompts_are_told(damage: str, tmp_path: Path) -> None:
    folder = write_prompts(tmp_path / "r1", [[chat("one", "two")]], range(1))
    path = folder / PROMPTS
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] if damage == "cut" else whole[:-1] + b"x")
    if damage == "gone":
        path.unlink()
    else:
        with pytest.raises(SymphonyError, match=rf"{PROMPTS}: found .*; delete .*r1 and repeat"):
            list(read_packs(folder))
    with pytest.raises(SymphonyError, match=rf"{PROMPTS}: found .*; delete .*r1 and repeat"):
        load(tmp_path / "study.duckdb", [folder])
