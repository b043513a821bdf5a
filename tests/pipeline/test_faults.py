"""Every kind of fault that bench/faults.py knows ends in the records of an undisturbed study, or in one clear line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench import faults


@pytest.mark.slow
def test_after_every_kind_of_fault_a_restart_ends_well_and_pays_for_no_stored_answer(tmp_path: Path) -> None:
    with faults.study(tmp_path) as shared:
        outcomes = [
            faults.carry_out(shared, fault, tmp_path / fault.__name__, random.Random(0)) for fault in faults.possible()
        ]
    assert {outcome.fault: outcome.failed for outcome in outcomes if outcome.failed} == {}
    assert sum(outcome.paid_twice for outcome in outcomes) == 0
    assert not any(outcome.ledger_wrong for outcome in outcomes)


@pytest.mark.parametrize("error", ["symphony run: x: found nothing", "Traceback (most recent call last):", ""])
def test_an_error_without_advice_or_without_a_clear_line_is_a_failure(error: str, tmp_path: Path) -> None:
    case = faults.Case(None, tmp_path, random.Random(0))  # type: ignore[arg-type]
    with pytest.raises(faults.Failed):
        case.follow(error)


def test_the_advice_of_an_error_is_followed_within_the_case_only(tmp_path: Path) -> None:
    case = faults.Case(None, tmp_path, random.Random(0))  # type: ignore[arg-type]
    (tmp_path / "runs" / "abc").mkdir(parents=True)
    case.follow(f"symphony load: x: found nothing; delete {tmp_path}/runs/abc and repeat its run with ...")
    assert not (tmp_path / "runs" / "abc").exists()
    with pytest.raises(faults.Failed, match="advice to delete /etc"):
        case.follow("symphony run: /etc/x.sqlite: found damage (delete it to start over)")
