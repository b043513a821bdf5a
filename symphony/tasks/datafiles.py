"""Benchmark files on disk: where they lie, what they are, and their rows."""

from __future__ import annotations

import gzip
import json
import re
import reprlib
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from symphony.types import SymphonyError

Text = Annotated[str, StringConstraints(pattern=r"\S")]
"""A text that says something: an id, a prompt, a program."""


class Row(BaseModel):
    """One row of a file, its fields with their types. Nothing is converted, and keys that it does not name are let be.

    A subclass names the fields that its data set needs; a field without a default is required.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


R = TypeVar("R", bound=Row)

_ALLOWED = {
    "missing": "a value",
    "string_pattern_mismatch": "a text that is not blank",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "an object",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
}
"""What a key may hold, in plain words. Keys: kinds of pydantic's errors; of others its own words serve."""
_GAP = re.compile(r"[\s,]*")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 60


def find(data: Path, folder: str, names: Sequence[str], option: str = "") -> Path:
    """The first of `names` that is there, in `data/<folder>/` (files laid there) or `data/task/<option>/` (downloads).

    Args:
        option: Of conf/task/; "" is the folder's name.

    Raises:
        SymphonyError: None is there.
    """
    option = option or folder
    for place in (data / folder, data / "task" / option):
        for name in names:
            for file in (place / name, place / f"{name}.gz"):
                if file.is_file():
                    return file
    raise SymphonyError(
        f"{data / folder}: found none of {', '.join(names)}, allowed: one of them "
        f"(`symphony fetch task/{option}` downloads, SYMPHONY_DATA or data_dir= name a folder that has them)"
    )


def typed(path: Path, kind: type[R], id: Callable[[R], object]) -> list[tuple[str, R]]:
    """All rows of a file, each with its place in it ("file:line"), checked against what they have to be.

    Args:
        path: JSON lines, a JSON array or Parquet, as for `rows`.
        kind: The fields of a row.
        id: What no two rows may have in common.

    Raises:
        SymphonyError: The file can't be read, a row is of another kind, or an id is there twice; the message names the
            file and the line.
    """
    found = [(where, check(kind, row, where)) for where, row in numbered(path)]
    first: dict[object, str] = {}
    for where, row in found:
        if id(row) in first:
            raise SymphonyError(f"{where}: found id {id(row)!r} again, allowed: once (it is in {first[id(row)]}, too)")
        first[id(row)] = where
    return found


def check(kind: type[R], row: Any, where: str) -> R:
    """A value as a row of a kind; subclasses of `Row` say what that is.

    Args:
        where: How the message begins, "file:line".

    Raises:
        SymphonyError: It is none; the message names the key, what was found and what is allowed.
    """
    if not isinstance(row, dict):
        raise SymphonyError(f"{where}: found {_short(row)}, allowed: a JSON object")
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(map(str, wrong["loc"])) or "row"
        missing = wrong["type"] == "missing"
        found = "nothing" if missing else _short(wrong["input"])
        allowed = _ALLOWED.get(wrong["type"]) or wrong["msg"].removeprefix("Input should be ").removeprefix(
            "Value error, "
        )
        raise SymphonyError(f"{where}: {key}: found {found}, allowed: {allowed}") from error
    except RecursionError as error:
        raise SymphonyError(f"{where}: found values nested too deep, allowed: rows as published") from error


def parse_json(text: str, path: Path, line: int = 1) -> Any:
    """A JSON text as a value.

    Args:
        path, line: Where it begins; messages begin with "file:line".

    Raises:
        SymphonyError: It is no JSON, or JSON that can't be used: nested too deep, an integer of too many digits, a key
            twice, half of a surrogate pair.
    """
    try:
        found = json.loads(text, object_pairs_hook=_object)
        if "\\ud" in text.lower():
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except json.JSONDecodeError as error:
        line, why = line + error.lineno - 1, f"{error.msg} at character {error.colno}"
    except RecursionError:
        why = "values nested too deep"
    except UnicodeEncodeError:
        why = "half of a surrogate pair (\\ud...)"
    except ValueError as error:  # a key twice; more digits than Python reads
        why = "an integer of too many digits" if "digits" in str(error) else str(error)
    raise SymphonyError(f"{path}:{line}: found {why}, allowed: JSON")


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON array or of JSON lines, in a plain or gzipped file, or the rows of a Parquet file.

    Raises:
        SymphonyError: The file can't be read or holds something else; the message names the line.
    """
    return [row for _, row in numbered(path)]


def numbered(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file as `rows` reads them, each with its place in it: "file:line", in Parquet "file: row n".

    Raises:
        SymphonyError: As `rows`.
    """
    if path.suffix == ".parquet":
        found = [(f"{path}: row {number}", row) for number, row in enumerate(_parquet(path), 1)]
    elif (text := read_text(path)).lstrip().startswith("["):
        found = list(_array(text, path))
    else:
        lines = enumerate(text.split("\n"), 1)
        found = [(f"{path}:{n}", parse_json(line, path, n)) for n, line in lines if line.strip()]
    for where, row in found:
        if not isinstance(row, dict):
            raise SymphonyError(f"{where}: found {_short(row)}, allowed: a JSON object")
        yield where, row


def read_text(path: Path) -> str:
    """A plain or gzipped text file in UTF-8, without the mark that some editors put at its beginning.

    Raises:
        SymphonyError: It can't be read, or is none.
    """
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, EOFError, zlib.error) as error:
        why = getattr(error, "strerror", None) or error
        raise SymphonyError(f"{path}: found {why}, allowed: a readable UTF-8 file") from error


def items(path: Path, found: Sequence[Any], first: int, count: int | None) -> Sequence[Any]:
    """`count` rows from `first` on; None is all that follow.

    Raises:
        SymphonyError: The file has fewer.
    """
    last = len(found) if count is None else first + count
    if not 0 <= first < last <= len(found):
        raise SymphonyError(
            f"task.problems: found {count} from item {first} on, allowed: 1 to {len(found)} items ({path} has no more)"
        )
    return found[first:last]


def _array(text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """The items of a JSON array, each with the line that it begins on."""
    decoder, at, line, counted = json.JSONDecoder(), text.find("[") + 1, 1, 0
    for number, item in enumerate(parse_json(text, path), 1):
        at = _GAP.match(text, at).end()  # type: ignore[union-attr]
        line, counted = line + text.count("\n", counted, at), at
        yield f"{path}:{line}: row {number}", item
        _, at = decoder.raw_decode(text, at)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice in one object")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_object)
"""For texts too long for `parse_json`: it refuses a key twice, too, but the caller tells the place."""


def _short(value: Any) -> str:
    """A value in one line, however long or deep it is."""
    return "null" if value is None else _REPR.repr(value)


def _parquet(path: Path) -> list[dict[str, Any]]:
    import duckdb

    try:
        with duckdb.connect() as connection:
            found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        raise SymphonyError(f"{path}: found {str(error).splitlines()[0]}, allowed: a Parquet file") from error
