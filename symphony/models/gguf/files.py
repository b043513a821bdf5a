"""Finds and identifies a GGUF file. Needs neither numpy nor llama.cpp."""

from __future__ import annotations

import hashlib
import os
from os.path import isfile  # unlike Path.is_file, it returns False for a name that is too long
from pathlib import Path

from symphony.types import SymphonyError

MODELS_VARIABLE = "SYMPHONY_MODELS"
"""Names a folder that already holds GGUF files."""
CELLS = 16384
"""Tokens in a model's cache, unless its option says otherwise."""
INSTALL = "pip install 'symphony[gguf]' (or llama-cpp-python itself)"


def weights_file(path: str | Path, file: str | None = None) -> Path:
    """Returns where a GGUF file is: under its path, else in the folder that `MODELS_VARIABLE` names.

    Raises:
        SymphonyError: It is in neither place.
    """
    own = Path(path) / file if file else Path(path)
    others = os.environ.get(MODELS_VARIABLE)
    existing = [place for place in (own, *([Path(others) / own.name] if others else [])) if isfile(place)]
    if not existing and not file and own.is_dir():
        raise SymphonyError(f"{own.absolute()}: found a folder, allowed: a GGUF file, or `file`, the name of one in it")
    if not existing:
        also = f"; {MODELS_VARIABLE} may name the folder that holds it" if not others else f" or {others}/{own.name}"
        raise SymphonyError(f"{own.absolute()}: found no such file, allowed: a GGUF file{also}")
    check_file(existing[0])
    return existing[0]


def revision_of(path: str | Path, *, file: str | None = None, sha256: str | None = None, exact: bool = False) -> str:
    """Returns the model's revision, e.g. "gguf:0123456789abcdef". The file need not exist if its checksum is given."""
    checksum = sha256 or file_sha256(weights_file(path, file))
    return f"gguf:{checksum[:16]}{':exact' if exact else ''}"


_checked: dict[tuple[str, int, int], str] = {}  # a memo: the key names the file's state


def file_sha256(file: Path) -> str:
    """Returns a file's sha256, computed once per process while the file does not change."""
    info = file.stat()
    key = (str(file.resolve()), info.st_size, info.st_mtime_ns)
    if key not in _checked:
        with file.open("rb") as stream:
            _checked[key] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _checked[key]


def check_sha256(file: Path, sha256: str | None) -> None:
    """Raises SymphonyError if the file has another checksum."""
    if sha256 and (actual := file_sha256(file)) != sha256:
        raise SymphonyError(f"{file}: found sha256 {actual}, allowed: {sha256}")


def check_file(file: Path) -> None:
    """Raises SymphonyError if the file does not exist or is not a GGUF file."""
    try:
        with file.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise SymphonyError(f"{file.absolute()}: found {error.strerror}, allowed: a GGUF file") from error
    if start[:4] != b"GGUF":
        raise SymphonyError(f"{file}: found a file that begins with {start[:4]!r}, allowed: a GGUF file")
