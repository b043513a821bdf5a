"""Files of three tasks and of predictions with one thing wrong: one clear line, no traceback, no silence."""

from __future__ import annotations

import copy
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from symphony.byhand import grade_file
from symphony.tasks.hotpotqa.task import HotpotQA
from symphony.tasks.mini.mini_qa import MiniQA
from symphony.tasks.planning.blocksworld import Blocksworld
from symphony.tasks.webshop.goals import Instructions
from symphony.tasks.webshop.task import WebShop
from symphony.types import SymphonyError
from tests.tasks.test_blocksworld import LINE

PARAGRAPHS = [["Oak Hill", ["Oak Hill is a village.", "It has a mill."]], ["Vell", ["Vell is a valley."]]]
QUESTION = {"_id": "q1", "question": "Who?", "answer": "Ann", "type": "bridge", "context": PARAGRAPHS}
SHOWN = {
    "asin": "B000000001",
    "name": "Oak Lamp",
    "category": "garden",
    "query": "lamps",
    "product_category": "Home",
    "full_description": "A lamp.",
    "small_description": ["Made of oak."],
}
PROCESSED = {
    **SHOWN,
    "pricing": [12.0, 18.0],
    "options": {"color": ["red", "blue"]},
    "Attributes": ["oak"],
    "Rating": "4",
}
RAW = {**SHOWN, "pricing": "$12.00", "customization_options": {"color": [{"value": "red"}]}}
MINED = {"B000000001": {"attributes": ["oak"], "instruction": "find a lamp", "instruction_attributes": ["oak"]}}
WRITTEN = {"B000000001": [{"instruction": "a lamp", "instruction_attributes": ["oak"], "instruction_options": ["red"]}]}

Place = tuple[str | int, ...]


def hotpotqa(data: Path) -> None:
    task = HotpotQA(count=None, data=data)
    task.reset(task.problems()[0])


def webshop(instructions: Instructions) -> Callable[[Path], object]:
    return lambda data: WebShop(count=None, price_seed=0, data=data, instructions=instructions).problems()


@dataclass(frozen=True, kw_only=True)
class File:
    """A file that is right, and what reads it.

    Attributes:
        name: In the data folder.
        rows: What a line of it is each, or its one value.
        lines: Whether it holds JSON lines.
        beside: Other files that are needed.
        free: Places of a row where a value of this kind is right, too.
        ids: What names a row, where no two may have one name.
    """

    name: str
    rows: list[Any]
    read: Callable[[Path], object]
    lines: bool = True
    beside: dict[str, Any] = field(default_factory=dict)
    free: frozenset[tuple[Place, str]] = frozenset()
    ids: Place = ()

    def text(self, rows: list[Any]) -> str:
        return "".join(json.dumps(row) + "\n" for row in rows) if self.lines else json.dumps(rows[0])


def blocksworld(data: Path) -> None:
    Blocksworld(count=None, data=data).problems()


HUMAN, ITEMS, PRODUCTS = "items_human_ins.json", "items_ins_v2_1000.json", "items_shuffle_1000.json"
FILES = {
    "hotpotqa lines": File(
        name="hotpotqa/hotpot_dev_distractor_sample.jsonl",
        rows=[QUESTION, {**QUESTION, "_id": "q2"}],
        read=hotpotqa,
        ids=("_id",),
    ),
    "hotpotqa array": File(
        name="hotpotqa/hotpot_dev_distractor_v1.json",
        rows=[[QUESTION, {**QUESTION, "_id": "q2"}]],
        read=hotpotqa,
        lines=False,
    ),
    "blocksworld": File(
        name="planning/blocksworld.jsonl", rows=[LINE, {**LINE, "id": "other"}], read=blocksworld, ids=("id",)
    ),
    "webshop processed": File(
        name="webshop/documents_1k.jsonl",
        rows=[{"id": "B000000001", "product": PROCESSED}, {"id": "B2", "product": {**PROCESSED, "asin": "B2"}}],
        read=webshop("human"),
        beside={HUMAN: WRITTEN},
        free=frozenset({(("product", "small_description"), "str")}),
        ids=("id",),
    ),
    "webshop original": File(
        name=f"webshop/{PRODUCTS}",
        rows=[[RAW]],
        read=webshop("human"),
        lines=False,
        beside={HUMAN: WRITTEN, ITEMS: MINED},
        free=frozenset(
            {
                ((0, "small_description"), "str"),
                ((0, "pricing"), "NoneType"),
                ((0, "customization_options"), "NoneType"),
                ((0, "customization_options", "color"), "NoneType"),
            }
        ),
    ),
    "webshop human": File(
        name=f"webshop/{HUMAN}",
        rows=[WRITTEN],
        read=webshop("human"),
        lines=False,
        beside={PRODUCTS: [RAW], ITEMS: MINED},
    ),
    "webshop mined": File(
        name=f"webshop/{ITEMS}",
        rows=[MINED],
        read=webshop("synthetic"),
        lines=False,
        beside={PRODUCTS: [RAW]},
        free=frozenset({(("B000000001", "instruction"), "NoneType")}),
    ),
}


def places(value: Any, at: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every value within a value, and where it is."""
    parts = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, part in parts:
        yield (*at, key), part
        yield from places(part, (*at, key))


def changed(rows: list[Any], at: Place, change: Callable[[Any, Any], None]) -> list[Any]:
    rows = copy.deepcopy(rows)
    inner = rows[0]
    for key in at[:-1]:
        inner = inner[key]
    change(inner, at[-1])
    return rows


def putting(value: Any) -> Callable[[Any, Any], None]:
    return lambda inner, key: inner.__setitem__(key, value)


def mutations(file: File) -> Iterator[tuple[str, bytes]]:
    """A name, and a content with one thing wrong."""
    for at, value in places(file.rows[0]):
        for other in (None, 7, True, "text", ["x"], {"x": 1}):
            same = isinstance(value, (int, float)) and other == 7
            if type(other) is not type(value) and not same and (at, type(other).__name__) not in file.free:
                rows = changed(file.rows, at, putting(other))
                yield f"{at}: {other}", file.text(rows).encode()
        optional = (
            at[-1] in ("type", "Rating", "instruction", "pricing")
            or isinstance(at[-1], int)
            or at[-1] in ("color", "B000000001")
        )
        if not optional or (at[-1] == "pricing" and "product" in at):
            yield (
                f"{at}: missing",
                file.text(changed(file.rows, at, lambda inner, key: inner.__delitem__(key))).encode(),
            )
    text = file.text(file.rows)
    if file.ids:
        yield "an id twice", file.text([file.rows[0], *file.rows]).encode()
        yield (
            "a blank id",
            file.text(changed(file.rows, file.ids, lambda inner, key: inner.__setitem__(key, " "))).encode(),
        )
        yield "a scalar line", f"{text}7\n".encode()
        yield "a line of garbage", f"{text}<html>\n".encode()
    deep = "[" * 100_000 + "]" * 100_000
    for name, wrong in (("deep", deep), ("digits", "9" * 5000), ("surrogate", '"\\ud800"'), ("NaN", "NaN")):
        key = (
            "instruction_attributes"
            if "ins" in file.name.split("/")[1]
            else "answer"
            if "hotpot" in file.name
            else "full_description"
        )
        head, _, tail = text.partition(f'"{key}": ')
        yield name, f'{head}"{key}": {wrong}, "unread": {tail}'.encode()
    yield "a key twice", text.replace("{", '{"twice": 1, "twice": 1, ', 1).encode()
    yield "cut", text[: len(text) * 2 // 3].encode()
    yield "its end missing", text.rstrip()[:-1].encode()
    yield "more behind it", f"{text}]".encode()
    yield "not UTF-8", text.encode().replace(b"a", b"\xff", 1)
    yield "UTF-16", text.encode("utf-16")
    yield "empty", b""
    yield "blank", b"\n \n"
    for other in ("null", "7", '"text"', "[]", "{}", "<html></html>"):
        yield f"all of it {other}", other.encode()


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("webshop processed", "documents_1k.jsonl", json.dumps(RAW).encode()),  # its attributes lie in another file
        ("webshop processed", "documents_1k.jsonl.gz", gzip.compress(b"{}", mtime=0)),
        ("webshop original", f"{PRODUCTS}.gz", gzip.compress(json.dumps([RAW]).encode(), mtime=0)),
        ("webshop original", PRODUCTS, json.dumps([{**RAW, "pricing": "$" + "9" * 400}]).encode()),
        ("hotpotqa lines", "hotpot_dev_distractor_sample.jsonl.gz", gzip.compress(b"", mtime=0)),
    ],
)
def test_a_file_of_another_form_is_refused_in_one_line(kind, name, content, tmp_path):
    write(tmp_path, FILES[kind], b"")
    file = tmp_path / FILES[kind].name
    file.unlink()
    (file.parent / name).write_bytes(content)
    assert outcome(lambda: FILES[kind].read(tmp_path), name) == "clear"


def outcome(read: Callable[[], object], named: str) -> str:
    try:
        read()
    except SymphonyError as error:
        told = str(error)
        return (
            "clear"
            if "found " in told and "\n" not in told and named in told and len(told) < 500
            else f"unclear: {told}"
        )
    except Exception as error:  # whatever it is, it would be a traceback
        return f"traceback: {type(error).__name__} {error}"
    return "accepted"


def write(folder: Path, file: File, content: bytes) -> None:
    for name, value in {**{f"webshop/{name}": value for name, value in file.beside.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    (folder / file.name).parent.mkdir(parents=True, exist_ok=True)
    (folder / file.name).write_bytes(content)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_with_nothing_wrong_is_read_with_a_byte_order_mark_and_without(kind, tmp_path):
    file = FILES[kind]
    for name, mark in (("a", b""), ("b", b"\xef\xbb\xbf")):
        write(tmp_path / name, file, mark + file.text(file.rows).encode())
        file.read(tmp_path / name)


@pytest.mark.parametrize("kind", FILES)
def test_a_data_file_with_one_thing_wrong_is_refused_in_one_line(kind, tmp_path):
    file = FILES[kind]
    counts: Counter[str] = Counter()
    for number, (name, content) in enumerate(mutations(file)):
        folder = tmp_path / str(number)
        write(folder, file, content)
        found = outcome(partial(file.read, folder), Path(file.name).name)
        counts[found if found == "clear" else f"{found} ({name})"] += 1
    print(f"{kind}: {counts['clear']} of {counts.total()}")
    assert list(counts) == ["clear"]
    assert counts.total() >= 25


PREDICTION = {"id": "mini_qa-test-0-0", "prediction": "Ann"}
BROKEN_LINES = (
    *({**PREDICTION, key: value} for key in PREDICTION for value in (None, True, 1.5, {"x": 1}, [7], [None], [["x"]])),
    {**PREDICTION, "prediction": 7}, {"id": PREDICTION["id"]}, {"prediction": "x"}, {}, [],
    [PREDICTION], None, 7, "text",
)  # fmt: skip
BROKEN_TEXTS = (
    "{", "no json", '{"id": "a", "prediction": "x"} more', "{'id': 1}", '{"id": "a", "prediction": "\\ud800"}',
    '{"id": "a", "prediction": ' + "[" * 100_000 + "]" * 100_000 + "}", '{"id": ' + "9" * 5000 + ', "prediction": "x"}',
    '{"id": "a", "prediction": NaN}', '{"id": "a", "id": "a", "prediction": "x"}', "[" * 100_000, "\x00", "<html>",
)  # fmt: skip


def test_a_line_of_predictions_with_one_thing_wrong_is_told_in_one_line(tmp_path):
    task, file = MiniQA(seed=0, count=1), tmp_path / "p.jsonl"
    lines = [*map(json.dumps, BROKEN_LINES), *BROKEN_TEXTS]
    for line in lines:
        said: list[str] = []
        file.write_text(f"\n{line}\n")
        (one,) = grade_file(task, file, tmp_path / "g.jsonl", said.append)
        assert one.outcome == "malformed", line[:80]
        assert said[0].startswith(f"{file}:2: found "), line[:80]
        assert "\n" not in said[0]
        assert len(said[0]) < 400
    assert len(lines) >= 30
