"""A finished run's folder from records made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symphony.records.recorder import Recorder
from symphony.records.records import RunRecord, WallRecord


def write_run(
    folder: Path,
    run: RunRecord,
    tables: Sequence[Sequence[Any]],
    wall: WallRecord,
    config: str,
    prompts: Sequence[str] = (),
) -> None:
    """As the runner does, but with the records of all problems at once; `prompts` are the lines of each problem."""
    with Recorder(folder) as recorder:
        recorder.add(0, *tables)
        for index, lines in enumerate(prompts, 1):
            recorder.add(index, prompts=lines)
        recorder.finish(run, wall, config)
