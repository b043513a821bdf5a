"""Recorded answers: packed from call stores, shipped, read into other call stores, and told in the report."""

from __future__ import annotations

import hashlib
import json
import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from symphony.models.calls import CallStore
from symphony.models.sizes import Size
from symphony.plan.compose import plan
from symphony.plan.specs import Run, groups
from symphony.run import progress, recordings, runner
from symphony.run.recordings import MANIFEST, describe_origin, outcomes, pack, read_into, shipped
from symphony.types import Completion, SymphonyError

CONF = Path(__file__).parents[2] / "conf"
KEY, OTHER = b"k" * 32, b"o" * 32
ANSWER = Completion(
    text="Thought: “ü”\nAction: go", finish_reason="stop", prompt_tokens=9, completion_tokens=4, logprob=-0.125
)
NAME = "mini_qa-trio.jsonl.xz"


def run(seed: int = 0, store: str = "replay", recordings: Path | None = None) -> Run:
    execution = {"store": store, "recordings": str(recordings) if recordings else None}
    return Run(study="s", experiment="e", task="mini_qa", pool="trio", seed=seed, config={}, execution=execution)


def store_of(folder: Path, name: str, answers: dict[bytes, Completion]) -> None:
    with CallStore(folder / f"{name}.sqlite") as store:
        store.keep_size("p1", KEY, Size(prompt=9, completion=20, dropped=0))
        store.put(answers)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    store_of(tmp_path / "calls", "mini_qa-trio-0", {KEY: ANSWER})
    pack([run()], tmp_path, tmp_path / "recordings", say=lambda _: None)
    return tmp_path / "recordings"


def test_what_was_packed_is_read_into_another_store_whole(packed: Path, tmp_path: Path) -> None:
    with CallStore(tmp_path / "new.sqlite") as store:
        read_into(store, packed, "mini_qa", "trio", needed=True)
        found = store.get([KEY])[KEY]
        assert (found.text, found.finish_reason, found.logprob) == (ANSWER.text, "stop", -0.125)
        assert (found.prompt_tokens, found.completion_tokens) == (9, 4)
        assert store.size("p1", KEY) == Size(prompt=9, completion=20, dropped=0)


def test_the_stores_of_all_seeds_and_what_was_packed_before_are_one_file(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "calls" / "mini_qa-trio-0.sqlite").unlink()
    store_of(tmp_path / "calls", "mini_qa-trio-1", {OTHER: ANSWER})
    pack([run(0), run(1)], tmp_path, packed, say=lambda _: None)
    with CallStore(tmp_path / "new.sqlite") as store:
        read_into(store, packed, "mini_qa", "trio", needed=True)
        assert set(store.get([KEY, OTHER])) == {KEY, OTHER}


def test_the_same_answers_make_the_same_bytes(packed: Path, tmp_path: Path) -> None:
    before = {file.name: file.read_bytes() for file in packed.iterdir()}
    pack([run()], tmp_path, packed, say=lambda _: None)
    assert {file.name: file.read_bytes() for file in packed.iterdir()} == before


def test_two_answers_to_one_call_are_told_and_the_first_stays(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "calls" / "mini_qa-trio-0.sqlite").unlink()
    store_of(tmp_path / "calls", "mini_qa-trio-0", {KEY: replace(ANSWER, text="Action: stay")})
    told: list[str] = []
    pack([run()], tmp_path, packed, say=told.append)
    assert "1 calls have two answers" in " ".join(told)
    with CallStore(tmp_path / "new.sqlite") as store:
        read_into(store, packed, "mini_qa", "trio", needed=True)
        assert store.get([KEY])[KEY].text == ANSWER.text


def test_no_prompt_is_in_a_recording(packed: Path) -> None:
    lines = [json.loads(line) for line in lzma.decompress((packed / NAME).read_bytes()).decode().splitlines()]
    assert [line[0] for line in lines] == ["call", "size"]
    assert [value for line in lines for value in line if isinstance(value, str) and " " in value] == [ANSWER.text]


def test_an_answer_that_a_store_has_stays(packed: Path, tmp_path: Path) -> None:
    with CallStore(tmp_path / "new.sqlite") as store:
        store.put({KEY: Completion(text="mine", finish_reason="stop", prompt_tokens=9)})
        read_into(store, packed, "mini_qa", "trio", needed=True)
        assert store.get([KEY])[KEY].text == "mine"


def test_a_recording_that_is_needed_and_not_there_is_named(packed: Path, tmp_path: Path) -> None:
    with CallStore(tmp_path / "new.sqlite") as store:
        with pytest.raises(SymphonyError, match=r"webshop-trio.jsonl.xz: found no recorded .* execution.store=record"):
            read_into(store, packed, "webshop", "trio", needed=True)
        read_into(store, packed, "webshop", "trio", needed=False)
        read_into(store, tmp_path / "none", "webshop", "trio", needed=False)


@pytest.mark.parametrize("damage", ["cut", "other", "gone"])
def test_a_damaged_recording_is_refused_by_name(damage: str, packed: Path, tmp_path: Path) -> None:
    file = packed / NAME
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9] if damage == "cut" else lzma.compress(b'["call"]\n'))
    with CallStore(tmp_path / "new.sqlite") as store, pytest.raises(SymphonyError, match=f"{NAME}: found .*, allowed"):
        read_into(store, packed, "mini_qa", "trio", needed=True)


def test_a_recording_that_would_fill_the_memory_is_refused(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recordings, "_FLOOR", 1 << 10)
    bomb = lzma.compress(bytes(1 << 20))
    (packed / NAME).write_bytes(bomb)
    manifest = json.loads((packed / MANIFEST).read_text())
    manifest["files"][NAME]["sha256"] = hashlib.sha256(bomb).hexdigest()
    del manifest["sha256"]  # as an older version would have written it
    (packed / MANIFEST).write_text(json.dumps(manifest))
    with CallStore(tmp_path / "new.sqlite") as store, pytest.raises(SymphonyError, match=f"{NAME}: found more than"):
        read_into(store, packed, "mini_qa", "trio", needed=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 1, "made": []}'])
def test_a_damaged_manifest_is_refused_by_name(text: str, packed: Path, tmp_path: Path) -> None:
    (packed / MANIFEST).write_text(text)
    with CallStore(tmp_path / "new.sqlite") as store, pytest.raises(SymphonyError, match=MANIFEST):
        read_into(store, packed, "mini_qa", "trio", needed=True)


def played(outputs: Path, *overrides: str, seed: int = 0) -> list[Run]:
    overrides = ("tasks=[mini_qa]", f"seeds=[{seed}]", "problems=2", "search.iterations=2", *overrides)
    runs = plan("quickstart", overrides, experiment="symphony", conf=CONF)
    with progress.watch() as bar:
        runner.run_group(groups(runs)[0], runner.Place(outputs=outputs), bar)
    return runs


def test_a_replay_of_what_was_packed_has_the_same_outcomes_and_asks_no_model(tmp_path: Path) -> None:
    runs = played(tmp_path / "first")
    pack(runs, tmp_path / "first", tmp_path / "recordings", say=lambda _: None)
    assert shipped(tmp_path / "recordings") == outcomes(runs, tmp_path / "first") != {}
    again = played(tmp_path / "again", "execution.store=replay", f"execution.recordings={tmp_path / 'recordings'}")
    assert outcomes(again, tmp_path / "again") == shipped(tmp_path / "recordings")


def test_replayed_answers_that_are_packed_elsewhere_keep_their_origin(packed: Path, tmp_path: Path) -> None:
    before = json.loads((packed / MANIFEST).read_text())
    store_of(tmp_path / "again" / "calls", "mini_qa-trio-0", {KEY: ANSWER, OTHER: ANSWER})
    pack([run(recordings=packed)], tmp_path / "again", tmp_path / "copy", say=lambda _: None)
    made = json.loads((tmp_path / "copy" / MANIFEST).read_text())["made"]
    assert made[0] == before["made"][0]
    assert [entry["calls"] for entry in made] == [1, 1]


def test_a_part_of_other_recordings_is_told(tmp_path: Path) -> None:
    store_of(tmp_path / "calls", "mini_qa-trio-0", {KEY: ANSWER, OTHER: ANSWER})
    pack([run()], tmp_path, tmp_path / "whole", say=lambda _: None)
    store_of(tmp_path / "again" / "calls", "mini_qa-trio-0", {KEY: ANSWER})
    pack([run(recordings=tmp_path / "whole")], tmp_path / "again", tmp_path / "part", say=lambda _: None)
    lines = describe_origin([run(recordings=tmp_path / "part")])
    assert lines[0].endswith(": 2 answers")
    assert lines[1] == "1 of these answers are in the recordings that were replayed"


def test_runs_that_are_not_finished_are_told(tmp_path: Path) -> None:
    store_of(tmp_path / "calls", "mini_qa-trio-0", {KEY: ANSWER})
    told: list[str] = []
    pack([run()], tmp_path, tmp_path / "recordings", say=told.append)
    assert "1 of 1 runs are not finished" in told[-1]


def test_outcomes_of_other_runs_stay(tmp_path: Path) -> None:
    for seed in (0, 1):
        runs = played(tmp_path / str(seed), seed=seed)
        pack(runs, tmp_path / str(seed), tmp_path / "recordings", say=lambda _: None)
    assert {name[3] for name in shipped(tmp_path / "recordings")} == {"0", "1"}


def test_nothing_to_pack_is_told(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="found no answers of the study"):
        pack([run()], tmp_path, tmp_path / "recordings", say=lambda _: None)


def test_what_made_the_answers_is_told_where_they_are_replayed(packed: Path) -> None:
    (line,) = describe_origin([run(recordings=packed)])
    assert line.endswith(": 1 answers")
    assert "commit" in line
    assert describe_origin([run(store="record", recordings=packed)]) == describe_origin([run()]) == []
