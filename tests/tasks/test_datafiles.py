"""A row of a data file is what its task needs, or is refused with file, line and key."""

import gzip
from pathlib import Path

import pytest

from symphony.tasks import datafiles
from symphony.types import SymphonyError


class Item(datafiles.Row):
    id: datafiles.Text
    count: int = 0
    words: list[str] = []  # noqa: RUF012


def read(path: Path, content: bytes) -> list[tuple[str, Item]]:
    path.write_bytes(content)
    return datafiles.typed(path, Item, lambda row: row.id)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"id": null}', ":1: id: found null, allowed: text"),
        (b"{}", ":1: id: found nothing, allowed: a value"),
        (b'{"id": " "}', ":1: id: found ' ', allowed: text that is not blank"),
        (b'{"id": 3}', ":1: id: found 3, allowed: text"),
        (b'{"id": ["a"]}', ":1: id: found ['a'], allowed: text"),
        (b'{"id": "a"}\n\n{"id": "a"}', ":3: found id 'a' again, allowed: once (it is also in "),
        (b'{"id": "a", "words": ["b", null]}', ":1: words.1: found null, allowed: text"),
        (b'{"id": "a", "words": "b"}', ":1: words: found 'b', allowed: a list"),
        (b'{"id": "a", "count": true}', ":1: count: found True, allowed: a whole number"),
        (b'{"id": "a"}\n{"id": "b"', ":2: found Expecting ',' delimiter at character 11, allowed: JSON"),
        (b"[", ":1: found Expecting value at character 2, allowed: JSON"),
        (DEEP, ":1: found values nested too deep, allowed: JSON"),
        (b'{"id": "a", "words": ' + DEEP + b"}", ":1: found values nested too deep, allowed: JSON"),
        (b'{"id": "a", "count": ' + b"9" * 5000 + b"}", ":1: found an integer with too many digits, allowed: JSON"),
        (b'{"id": "\\uD800"}', r":1: found half of a surrogate pair (\ud...), allowed: JSON"),
        (b'{"id": "a", "id": "b"}', ":1: found a key twice in one object, allowed: JSON"),
        (b'{"id": "a"}\n7', ":2: found 7, allowed: a JSON object"),
        (b"null", ":1: found null, allowed: a JSON object"),
        (b'[\n  {"id": "a"},\n\n  {"id": 1}\n]', ":4: row 2: id: found 1, allowed: text"),
        (b'[{"id": "a"}, {"id": "a"}]', ":1: row 2: found id 'a' again, allowed: once"),
        (b"\xff", "allowed: a readable UTF-8 file"),
    ],
)
def test_a_row_that_is_none_is_refused_with_file_and_line(tmp_path, content, told):
    path = tmp_path / "rows.jsonl"
    with pytest.raises(SymphonyError) as error:
        read(path, content)
    assert str(error.value).startswith(str(path))
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("cut", [5, 15, 25])
def test_a_broken_archive_is_told_by_name(tmp_path, cut):
    path = tmp_path / "rows.jsonl.gz"
    with pytest.raises(SymphonyError, match=r"rows\.jsonl\.gz: found .*allowed: a readable UTF-8 file"):
        read(path, gzip.compress(b'{"id": "a"}')[:cut] + b"x")


def test_a_byte_order_mark_and_keys_that_nobody_needs_do_no_harm(tmp_path):
    (found,) = read(tmp_path / "rows.jsonl", b'\xef\xbb\xbf{"id": "a", "more": [null]}\r\n')
    assert found[1] == Item(id="a")
