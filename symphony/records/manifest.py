"""`manifest.json`, which describes a run's folder as it was written, and the checks of its files against it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from symphony.files import read_json, sha256
from symphony.types import SymphonyError

MANIFEST = "manifest.json"
APART_SUMS = "apart.json"
"""Digests of the files in which equal runs may differ; runs of older versions lack it."""
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Part:
    """What the manifest says about a file.

    Attributes:
        sha256: The file's sha256, hexadecimal; None if equal runs may differ in this file.
    """

    lines: int
    sha256: str | None


def read(
    folder: Path, names: Collection[str], apart: Collection[str], optional: Collection[str] = ()
) -> dict[str, Part]:
    """Reads the manifest of a folder with these files.

    Args:
        apart: Names of the files in which equal runs may differ.
        optional: Names of further files, which a run may lack.

    Raises:
        SymphonyError: The manifest is missing or damaged.
    """
    path = folder / MANIFEST
    if sum((folder / name).is_file() for name in names) < 2:  # never tell a user to delete a folder that is not a run
        raise SymphonyError(f"{folder}: found no files of a run, allowed: the folder of a finished run")
    if not path.is_file():
        raise damaged(path, "nothing", "the manifest of a finished run")
    content = read_json(path, "the manifest of a finished run")
    try:
        parts = {name: Part(**entry) for name, entry in content.items()}
    except TypeError as error:
        raise damaged(path, f"a malformed entry ({error})", "lines and sha256") from error
    if parts.keys() - set(optional) != set(names):
        raise damaged(path, f"entries for {', '.join(parts) or 'no file'}", ", ".join(names))
    for name, part in parts.items():
        counted = type(part.lines) is int and part.lines >= 0
        named = isinstance(part.sha256, str) and _SHA256.fullmatch(part.sha256)
        if not counted or not (part.sha256 is None if name in apart else named):
            finding = f"lines {part.lines!r} and sha256 {part.sha256!r} of {name}"
            raise damaged(path, finding, "a count, and 64 hex digits (null for a file that may differ)")
    return parts


def check_lines(path: Path, count: int, part: Part) -> None:
    """Raises SymphonyError if a file has lost or gained lines."""
    if count != part.lines:
        raise damaged(path, f"{count} lines", f"{part.lines}, as {MANIFEST} says")


def check_contents(path: Path, part: Part) -> None:
    """Raises SymphonyError if a file has changed since it was written."""
    if not path.is_file():
        raise damaged(path, "nothing", "the records of a finished run")
    sums, wanted = path.with_name(APART_SUMS), part.sha256
    if wanted is None:
        if not sums.is_file():
            return
        wanted = str(read_json(sums, "the digests of a finished run").get(path.name))
    if sha256(path) != wanted:
        raise damaged(path, "contents that have changed since it was written", f"sha256 {wanted}")


def damaged(path: Path, finding: str, allowed: str) -> SymphonyError:
    """Returns an error that names a changed file of a finished run and says what to do."""
    return SymphonyError(f"{path}: found {finding}, allowed: {allowed}; {advice(path.parent)}")


def other_version(folder: Path) -> str:
    """Returns what to do about records whose keys or types are not those of this version."""
    return f"another version wrote them: {advice(folder)}, or read them with that version"


def advice(folder: Path) -> str:
    """Returns what to do about a run's folder that cannot be used."""
    return f"delete {folder} and repeat its run with `symphony run` or snakemake (no stored call is asked again)"
