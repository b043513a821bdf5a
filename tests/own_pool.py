"""The project's configs with a pool of a test's own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.scripted_pool import CONF

API = "symphony.models.api.backend.APIModel"


def conf_with(folder: Path, pool: str, agents: Mapping[str, Mapping[str, Any]]) -> Path:
    """`folder` as a conf/ with pool/<pool>.yaml besides; the order of the agents is that of the first calls."""
    if not folder.exists():
        folder.mkdir()
        for path in CONF.iterdir():
            if path.name != "pool":
                (folder / path.name).symlink_to(path)
        shutil.copytree(CONF / "pool", folder / "pool")
    (folder / "pool" / f"{pool}.yaml").write_text(json.dumps({"agents": agents}))  # JSON is YAML
    return folder
