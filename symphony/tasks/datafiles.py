"""Finds benchmark files on disk and reads and checks their rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from symphony.tasks.jsonrows import numbered, short
from symphony.types import SymphonyError

Text = Annotated[str, StringConstraints(pattern=r"\S")]
"""Text that is not blank: an id, a prompt, a program."""


class Row(BaseModel):
    """One row of a file, as typed fields. Values are never converted, and unknown keys are ignored.

    A subclass names the fields its data set needs; a field without a default is required.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


R = TypeVar("R", bound=Row)

_ALLOWED = {
    "missing": "a value",
    "string_pattern_mismatch": "text that is not blank",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "finite_number": "a finite number",
}
"""What a value may be, in plain words, by pydantic error type; other types use pydantic's own message."""


def find(data: Path, folder: str, names: Sequence[str], option: str = "") -> Path:
    """Finds the first existing file of `names`, in `data/<folder>/` (put there) or `data/task/<option>/` (downloads).

    Args:
        option: Name of an option of conf/task/; "" means the folder's name.

    Raises:
        SymphonyError: None of them exists.
    """
    option = option or folder
    for place in (data / folder, data / "task" / option):
        for name in names:
            for file in (place / name, place / f"{name}.gz"):
                if file.is_file():
                    return file
    raise SymphonyError(
        f"{data / folder}: found none of {', '.join(names)}, allowed: one of them "
        f"(`symphony fetch task/{option}` downloads it; SYMPHONY_DATA or data_dir= name a folder that has it)"
    )


def typed(path: Path, kind: type[R], id: Callable[[R], object]) -> list[tuple[str, R]]:
    """Reads and checks all rows of a file; returns each with its place ("file:line").

    Args:
        path: JSON lines, a JSON array or Parquet, as for `jsonrows.rows`.
        kind: The class that rows must match.
        id: Returns a row's id, which must be unique.

    Raises:
        SymphonyError: The file can't be read, a row is of another kind, or an id occurs twice; the message names the
            file and the line.
    """
    checked = [(where, check(kind, row, where)) for where, row in numbered(path)]
    first: dict[object, str] = {}
    for where, row in checked:
        if id(row) in first:
            raise SymphonyError(f"{where}: found id {id(row)!r} again, allowed: once (it is also in {first[id(row)]})")
        first[id(row)] = where
    return checked


def check(kind: type[R], row: Any, where: str) -> R:
    """Converts a value to a row of the given kind, a subclass of `Row`.

    Args:
        where: Start of the error message, "file:line".

    Raises:
        SymphonyError: It is not such a row; the message names the key, what was found and what is allowed.
    """
    if not isinstance(row, dict):
        raise SymphonyError(f"{where}: found {short(row)}, allowed: a JSON object")
    try:
        return kind.model_validate(row)
    except ValidationError as error:
        wrong = error.errors()[0]
        key = ".".join(part for part in map(str, wrong["loc"]) if "[" not in part) or "row"  # leave out type names
        missing = wrong["type"] == "missing"
        shown = "nothing" if missing else short(wrong["input"])
        allowed = _ALLOWED.get(wrong["type"]) or wrong["msg"].removeprefix("Input should be ").removeprefix(
            "Value error, "
        )
        raise SymphonyError(f"{where}: {key}: found {shown}, allowed: {allowed}") from error
    except RecursionError as error:
        raise SymphonyError(f"{where}: found values nested too deep, allowed: rows as published") from error


def items(path: Path, rows: Sequence[Any], first: int, count: int | None) -> Sequence[Any]:
    """Returns `count` rows from `first` on; a count of None means all that follow.

    Raises:
        SymphonyError: The file has fewer rows, or none.
    """
    if not rows:
        raise SymphonyError(f"{path}: found no rows, allowed: at least one")
    last = len(rows) if count is None else first + count
    if not 0 <= first < last <= len(rows):
        raise SymphonyError(
            f"task.count: found {count} from item {first} on, allowed: 1 to {len(rows)} items ({path} has no more)"
        )
    return rows[first:last]
