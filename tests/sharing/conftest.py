"""A small study that was really played, and its bundle."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony.run.runner import Place
from symphony.sharing import bundle
from symphony.sharing.archive import INDEX
from symphony.studies import Prepared, prepare
from tests.run.test_recordings import CONF, played

Change = Callable[[dict[str, bytes]], None]


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of two problems left behind."""
    folder = tmp_path_factory.mktemp("outputs")
    played(folder)
    return folder


@pytest.fixture(scope="session")
def prepared(outputs: Path) -> Prepared:
    runs = played(outputs)
    return prepare("quickstart", runs, Place(outputs=outputs), lambda _: None, conf=CONF)


@pytest.fixture(scope="session")
def bundled(outputs: Path, prepared: Prepared) -> Path:
    out = outputs / "bundle.zip"
    bundle.make("quickstart", prepared, Place(outputs=outputs), out, lambda _: None)
    return out


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def forged(path: Path, target: Path, change: Change) -> Path:
    """The bundle with other contents, and an index that lists them as if they belonged there."""
    files = contents(path)
    change(files)
    if INDEX in files:
        index = json.loads(files[INDEX])
        index["files"] = {name: describe(files[name]) for name in files if name != INDEX}
        files[INDEX] = json.dumps(index).encode()
    return written(target, files)


def describe(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def written(target: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target
