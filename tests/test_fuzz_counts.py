"""bench/fuzz.py, small: what it feeds brings no traceback and no silent error, and every case is counted."""

from __future__ import annotations

from argparse import Namespace

import pytest

from bench import fuzz
from symphony.types import SymphonyError

SMALL = Namespace(completions=60, programs=0, configs=10, rows=3, flips=4)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["tasks", "configs", "files", "flips"])
def test_no_input_brings_a_traceback_or_a_silent_error(part: str) -> None:
    counts = fuzz.fuzz(1, SMALL, [part])
    assert counts.worst == []
    assert counts.total() >= 30


def test_the_table_of_a_fuzzing_run_counts_every_case() -> None:
    counts = fuzz.Counts()
    for kind in fuzz.KINDS:
        counts.add("part", "name", kind, "case", "why")
    assert counts.table().splitlines()[-1] == "| all |  | 5 | 1 | 1 | 1 | 1 | 1 |"
    assert len(counts.worst) == 2


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (SymphonyError("a: found b, allowed: c"), "refused"),
        (SymphonyError("a\nb"), "traceback"),
        (KeyError(), "traceback"),
    ],
)
def test_only_one_clear_line_counts_as_refused(error: Exception, kind: str) -> None:
    def read() -> None:
        raise error

    assert fuzz.outcome(read)[0] == kind
