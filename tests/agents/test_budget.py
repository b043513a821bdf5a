"""A study's budget: one ledger for all of its processes, of what was really asked, and a clean end when it is spent."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.agents.budget import Begun, Budget, money
from symphony.agents.ledger import Ledger, busy_seconds, read_ledger
from symphony.models.endpoint import FREE, Price
from symphony.plan.specs import Group, freeze
from symphony.records.records import CallRecord, ProblemRecord, read_records
from symphony.run.runner import Place
from symphony.types import Completion, Message, SymphonyError
from tests.scripted_pool import ROOT, carry_out, one_group, records

ANSWER = Completion(text="x", finish_reason="stop", prompt_tokens=6, cached_tokens=4, completion_tokens=2)


def problems(group: Group, outputs: Path) -> list[ProblemRecord]:
    return [problem for run in group.runs for problem in read_records(outputs / "runs" / run.digest, ProblemRecord)]


# ------------------------------------------------------------------ the ledger


def test_a_changed_figure_in_a_line_is_told_and_a_line_without_a_checksum_counts(tmp_path: Path) -> None:
    path = tmp_path / "spent.jsonl"
    with Ledger(path, Budget()) as ledger:
        ledger.charge("m", FREE, [ANSWER])
    (before,) = read_ledger(path)
    line = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in line.items() if key != "crc32"}) + "\n")
    assert read_ledger(path) == [before]
    path.write_text(json.dumps({**line, "tokens": line["tokens"] + 1}) + "\n")
    with pytest.raises(SymphonyError, match=r"spent\.jsonl: found .*, allowed: a line with its own crc32, as it was"):
        read_ledger(path)


def test_two_processes_spend_from_one_ledger(tmp_path: Path) -> None:
    path = tmp_path / "study" / "spent.jsonl"
    with Ledger(path, Budget(tokens=16)) as first, Ledger(path, Budget(tokens=16)) as second:
        first.charge("model", FREE, [ANSWER])
        assert (first.refusal(), second.refusal()) == (None, None)
        second.charge("model", FREE, [ANSWER])
        assert (first.refusal(), second.refusal()) == ("tokens", "tokens")
    with Ledger(path, Budget(tokens=16)) as later:
        assert later.refusal() == "tokens"


def test_processes_that_write_at_once_break_no_line(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from pathlib import Path
        from symphony.agents.budget import Budget
        from symphony.agents.ledger import Ledger
        from symphony.models.endpoint import FREE
        from symphony.types import Completion
        answer = Completion(text="x", finish_reason="stop", prompt_tokens=6, completion_tokens=2)
        with Ledger(Path(sys.argv[1]), Budget(calls=10**6)) as ledger:
            for _ in range(300):
                ledger.charge("model", FREE, [answer])
                assert ledger.refusal() is None
        """
    path = tmp_path / "spent.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path)], env=environment) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert sum(entry.calls for entry in read_ledger(path)) == 900


def test_an_entry_tells_calls_tokens_and_money_of_a_batch(tmp_path: Path) -> None:
    with Ledger(tmp_path / "spent.jsonl", Budget()) as ledger:
        ledger.charge("dear", Price(prompt=2.0, cached=0.5, completion=10.0), [ANSWER, ANSWER])
        ledger.charge("unknown", Price(prompt=2.0), [ANSWER])
    known, unknown = read_ledger(tmp_path / "spent.jsonl")
    assert (known.model, known.calls, known.tokens) == ("dear", 2, 16)
    assert known.money == pytest.approx(2 * (2 * 2.0 + 4 * 0.5 + 2 * 10.0) / 1e6)
    assert unknown.money is None


def test_a_limit_of_seconds_counts_the_time_in_which_any_process_was_at_work(tmp_path: Path) -> None:
    now = [100.0]
    path = tmp_path / "spent.jsonl"
    with Ledger(path, Budget(seconds=10), clock=lambda: now[0]) as first:
        now[0] = 106.0
        first.charge("model", FREE, [ANSWER])
    now[0] = 1000.0  # days later
    with Ledger(path, Budget(seconds=10), clock=lambda: now[0]) as later:
        now[0] = 1003.0
        assert later.refusal() is None
        now[0] = 1004.0
        assert later.refusal() == "seconds"


def test_a_clock_that_jumps_uses_up_no_limit_of_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Ledger(tmp_path / "spent.jsonl", Budget(seconds=3600)) as ledger:
        before = time.time()
        for jump in (1e6, -1e6):
            monkeypatch.setattr(time, "time", lambda jump=jump: before + jump)
            ledger.charge("m", FREE, [ANSWER])
            assert ledger.refusal() is None
    assert all(0 <= spent.ended - spent.began < 60 for spent in read_ledger(tmp_path / "spent.jsonl"))


def test_time_that_processes_share_counts_once() -> None:
    assert busy_seconds([(0, 4), (2, 6), (3, 5), (10, 11)]) == 7


def test_a_line_that_a_power_failure_cut_is_dropped_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "spent.jsonl"
    with Ledger(path, Budget()) as ledger:
        ledger.charge("model", FREE, [ANSWER])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    with Ledger(path, Budget()) as ledger:
        ledger.charge("model", FREE, [ANSWER])
    assert len(read_ledger(path)) == 2
    path.write_text('{"calls": 1}\n')
    with pytest.raises(SymphonyError, match=r"spent.jsonl: found missing keys began, ended"):
        read_ledger(path)


def test_a_ledger_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "study").write_text("a file")
    with pytest.raises(SymphonyError, match=r"spent.jsonl: found .*, allowed: a ledger that can be written"):
        Ledger(tmp_path / "study" / "spent.jsonl", Budget())


def test_small_sums_of_money_keep_two_digits() -> None:
    assert [money(0.00123), money(0.0000456), money(0.5), money(1234.5)] == ["0.0012", "0.000046", "0.50", "1,234.50"]
    assert money(0.0) == "0.00"


# ------------------------------------------------------------------ whole runs


def test_local_models_without_a_limit_of_the_study_keep_no_ledger(tmp_path: Path) -> None:
    carry_out(one_group("symphony", "problems=1", "search.iterations=1"), tmp_path)
    assert not Place(outputs=tmp_path).ledger("quickstart").exists()


def test_a_run_that_spends_its_budget_ends_every_problem_with_its_reason(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=4", "budget.run.calls=30", "execution.in_flight=1")
    carry_out(group, tmp_path)
    found = problems(group, tmp_path)
    assert sum(problem.calls for problem in found) == 30
    assert found[-1].stop_reason == "run_calls"
    assert found[-1].calls == 0  # never begun, and on record all the same


def test_a_study_that_spends_its_budget_cuts_the_runs_that_follow(tmp_path: Path) -> None:
    first = one_group("symphony", "problems=4", "budget.study.calls=60")
    second = one_group("symphony", "problems=4", "budget.study.calls=60", task="gridworld")
    carry_out(first, tmp_path)
    carry_out(second, tmp_path)
    found = problems(first, tmp_path) + problems(second, tmp_path)
    asked = sum(spent.calls for spent in read_ledger(Place(outputs=tmp_path).ledger("quickstart")))
    assert 60 <= asked < 60 + 4 * 4  # four problems with four calls in flight
    assert {problem.stop_reason for problem in problems(second, tmp_path)} == {"study_calls"}
    refused = [
        call
        for run in (*first.runs, *second.runs)
        for call in read_records(tmp_path / "runs" / run.digest, CallRecord)
        if call.error
    ]
    assert {call.error for call in refused} == {"budget: the study's limit of calls is reached"}
    assert sum(problem.calls for problem in found) == asked + len(refused)


def test_a_run_repeated_when_the_study_is_spent_keeps_what_was_paid_for(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=4", "budget.study.calls=60")
    before = carry_out(group, tmp_path)
    asked = read_ledger(Place(outputs=tmp_path).ledger("quickstart"))
    assert "study_calls" in {problem.stop_reason for problem in problems(group, tmp_path)}
    for mode in ("record", "replay"):
        (tmp_path / "runs").rename(tmp_path / f"before {mode}")
        again = one_group("symphony", "problems=4", "budget.study.calls=60", f"execution.store={mode}")
        assert carry_out(again, tmp_path) == before
    assert read_ledger(Place(outputs=tmp_path).ledger("quickstart")) == asked


def test_a_raised_limit_goes_on_from_what_was_asked_before(tmp_path: Path) -> None:
    carry_out(one_group("symphony", "problems=4", "budget.study.calls=60"), tmp_path)
    raised = one_group("symphony", "problems=4", "budget.study.calls=100000")
    carry_out(raised, tmp_path)
    unlimited = one_group("symphony", "problems=4")
    carry_out(unlimited, tmp_path / "unlimited")
    ledger = read_ledger(Place(outputs=tmp_path).ledger("quickstart"))
    consumed = sum(problem.calls for problem in problems(unlimited, tmp_path / "unlimited"))
    assert sum(problem.calls for problem in problems(raised, tmp_path)) == consumed
    assert sum(spent.calls for spent in ledger) == consumed  # over both starts: none was asked twice


CHILD = """
import sys
from pathlib import Path
from symphony.run.runner import Place, run_group
from symphony.plan.specs import thaw
from tests.scripted_pool import Logged, Silent
plan, outputs, log = sys.argv[1:]
run_group(thaw(Path(plan)), Place(outputs=Path(outputs)), Silent(), lambda spec: Logged(spec, Path(log), 0.02))
"""


def stored(outputs: Path) -> int:
    found = 0
    for path in (outputs / "calls").glob("*.sqlite"):
        connection = sqlite3.connect(path)
        with contextlib.suppress(sqlite3.OperationalError):  # its table is not made yet
            found += connection.execute("SELECT count(*) FROM calls").fetchone()[0]
        connection.close()
    return found


def test_a_killed_study_counts_every_call_that_it_stored_and_asks_for_none_again(tmp_path: Path) -> None:
    group = one_group("symphony", "problems=3", "budget.study.calls=100000")
    expected = carry_out(group, tmp_path / "undisturbed")
    outputs, log = tmp_path / "outputs", tmp_path / "asked.txt"
    plan = freeze(group, outputs / "groups")
    command = [sys.executable, "-c", CHILD, str(plan), str(outputs), str(log)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, cwd=ROOT)
    while process.poll() is None and stored(outputs) < 20:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = stored(outputs)
    ledger = Place(outputs=outputs).ledger("quickstart")
    assert sum(spent.calls for spent in read_ledger(ledger)) >= before >= 20
    killed = len(log.read_text().splitlines())
    assert subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode == 0
    assert records(outputs / "runs") == expected
    assert len(log.read_text().splitlines()) - killed == stored(outputs) - before


# ------------------------------------------------------------------ damaged ledgers

SPENT: dict[str, Any] = {"began": 1.0, "ended": 2.0, "model": "m", "calls": 1, "tokens": 3, "money": None}
WRONG: list[Any] = [
    *({**SPENT, key: value} for key in ("began", "ended", "calls", "tokens") for value in ("x", None, -1, True, [1])),
    *({**SPENT, key: value} for key in SPENT for value in (math.nan, math.inf)),
    *({**SPENT, "model": value} for value in (None, 7, list[int](), "")),
    *({**SPENT, "money": value} for value in ("x", -1, list[int]())),
    {**SPENT, "calls": 1.5}, {key: SPENT[key] for key in SPENT if key != "calls"}, {**SPENT, "more": 1},
    7, None, [1], "x",
]  # fmt: skip
RAW = [b"\xff\xfe{}", b"[" * 100_000, b"9" * 5000, b"", b"\0\0", b"{", json.dumps(SPENT)[:-9].encode()]


@pytest.mark.parametrize("line", [*(json.dumps(one).encode() for one in WRONG), *RAW], ids=lambda line: repr(line[:60]))
def test_a_line_of_a_ledger_that_is_no_entry_is_one_clear_error(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "spent.jsonl"
    path.write_bytes(json.dumps(SPENT).encode() + b"\n" + line + b"\n")
    with Ledger(path, Budget(calls=100)) as ledger:
        for read in (ledger.refusal, lambda: read_ledger(path)):
            with pytest.raises(SymphonyError, match=r"spent\.jsonl: .*found .*, allowed: ") as told:
                read()
            assert len(str(told.value)) < 400
            assert "\n" not in str(told.value)


# ---- computed tokens


def words(*texts: str) -> tuple[Message, ...]:
    return tuple(Message(role="user", content=text) for text in texts)


def answered(prompt: int, completion: int) -> Completion:
    return Completion(text="", finish_reason="stop", prompt_tokens=prompt, completion_tokens=completion)


def test_a_prompt_that_goes_on_from_an_earlier_one_computes_what_is_new():
    """By hand: of 20 letters 15 were sent before, so of 40 tokens 10 are new."""
    begun = Begun()
    assert begun.computed(words("a" * 15), answered(30, 5)) == 35
    assert begun.computed(words("a" * 15 + "b" * 5), answered(40, 2)) == 12


def test_the_same_prompt_again_computes_its_completion():
    begun = Begun()
    begun.computed(words("one", "two"), answered(9, 1))
    assert begun.computed(words("one", "two"), answered(9, 4)) == 4


def common(first: str, second: str) -> int:
    return max(length for length in range(len(first) + 1) if second.startswith(first[:length]))


@given(st.lists(st.text("ab", min_size=1, max_size=6), min_size=1, max_size=12))
def test_the_longest_common_beginning_with_any_earlier_prompt_counts(prompts):
    begun = Begun()
    for index, text in enumerate(prompts):
        shared = max((common(text, earlier) for earlier in prompts[:index]), default=0)
        assert begun.computed(words(text), answered(60 * len(text), 0)) == 60 * (len(text) - shared)
