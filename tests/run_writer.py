"""A finished run's folder from records made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symphony.records.prompts import PromptRecord
from symphony.records.recorder import Recorder
from symphony.records.records import RunRecord, WallRecord


def write_run(
    folder: Path,
    run: RunRecord,
    tables: Sequence[Sequence[Any]],
    wall: WallRecord,
    config: str,
    prompts: Sequence[Sequence[PromptRecord]] = (),
) -> None:
    """As the runner does, but with the records of all problems at once; `prompts` are those of each problem."""
    with Recorder(folder) as recorder:
        recorder.add(0, *tables)
        for index, rows in enumerate(prompts, 1):
            recorder.add(index, rows)
        recorder.finish(run, wall, config)
