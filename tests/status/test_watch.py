"""`symphony watch`: one page about live runs, from files that may be half written and by clocks that may be wrong."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.run.live import LIVE, GroupState, RunState
from symphony.status import watch
from symphony.status.watch import Watcher, warnings

RUN = RunState(
    run="feed0000feed0000", study="quickstart", experiment="symphony", task="mini_qa", pool="p", seed=3, problems=40,
    store="record", limits={"calls": None, "tokens": None}, study_limits={"calls": 100, "money": 2.0},
    state="running", done=10, solved=4, share=0.25, seconds=100.0, calls={"llama": 30, "qwen3": 30}, tokens=900,
    generated=300, tokens_per_s=12.0,
)  # fmt: skip
GROUP = GroupState(group="mini_qa-p-3", host="elsewhere", pid=77, beat=1, at=0.0, ended="", gpus=[], runs=[RUN])


def put(outputs: Path, state: GroupState) -> Path:
    path = outputs / "groups" / state.group / LIVE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(state)))
    return path


def spend(outputs: Path, *amounts: float, torn: bool = False) -> None:
    lines = [
        json.dumps({"began": 0.0, "ended": 1.0, "model": "m", "calls": 30, "tokens": 50, "money": amount})
        for amount in amounts
    ]
    text = "".join(f"{line}\n" for line in lines)
    (outputs / "quickstart").mkdir(exist_ok=True)
    (outputs / "quickstart" / "spent.jsonl").write_text(text + (lines[0][:20] if torn else ""))


def page(outputs: Path, **changes: Any) -> str:
    return "\n".join(Watcher(outputs, **changes).page())


def test_a_page_tells_progress_time_left_speed_success_and_shares(tmp_path: Path) -> None:
    put(tmp_path, GROUP)
    text = page(tmp_path)
    assert text.startswith("1 running, success so far 0.40 (4 of 10 problems), 12 tokens/s\n")
    (row,) = [line for line in text.splitlines() if line.startswith("feed0000")]
    assert row.split() == [
        *("feed0000", "quickstart", "symphony", "mini_qa", "3", "10/40", "0.40", "5", "min", "12"),
        *("60:", "llama", "50%,", "qwen3", "50%"),
    ]


def test_gpus_are_named_by_their_machine(tmp_path: Path) -> None:
    put(tmp_path, replace(GROUP, gpus=["0, H200, 87 %"]))
    assert "  elsewhere: 0, H200, 87 %" in page(tmp_path)


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"misses": {"llama": 20}}, "no parsable action for 20 calls by llama"),
        ({"misses": {"llama": 19}}, ""),
        ({"calls": {"llama": 90, "qwen3": 10}}, "one agent takes 90% of the calls: llama"),
        ({"calls": {"llama": 89, "qwen3": 11}}, ""),
        ({"calls": {"llama": 90}}, ""),  # it is alone
        ({"calls": {"llama": 9, "qwen3": 1}}, ""),  # too few to say
        ({"store": "live"}, "store disabled: if it is stopped, its calls are paid for again"),
        ({"idle_s": 300.0}, "stuck for 5 min: no answer in that time"),
        ({"idle_s": 299.0}, ""),
        ({"failed": 6}, "6 of 60 calls failed"),
        ({"failed": 5}, ""),
        ({"limits": {"tokens": 1000.0}}, "900 of 1,000 tokens of its budget are spent"),
        ({"limits": {"tokens": 1001.0}}, ""),
        ({"state": "failed", "reason": "llama answered none"}, "failed: llama answered none"),
        ({"state": "waiting", "idle_s": 9999.0}, ""),
        ({"state": "done", "idle_s": 9999.0, "failed": 50}, ""),
    ],
)
def test_a_warning_appears_from_its_threshold_on(changes: dict[str, Any], warning: str) -> None:
    assert warnings(replace(RUN, **changes)) == ([warning] if warning else [])


def test_what_a_study_has_spent_is_shown_against_its_budget_and_a_torn_line_does_not_count(tmp_path: Path) -> None:
    put(tmp_path, GROUP)
    spend(tmp_path, 0.5, 1.3, torn=True)
    assert "  quickstart: 60 calls of 100, 100 tokens, $1.80 of 2 (nearly all), 1 seconds" in page(tmp_path)


def test_a_ledger_that_grows_is_read_on_and_one_that_begins_anew_is_counted_anew(tmp_path: Path) -> None:
    put(tmp_path, GROUP)
    watcher = Watcher(tmp_path)
    for amounts, calls in (((0.1,), 30), ((0.1, 0.2, 0.3), 90), ((0.1,), 30)):
        spend(tmp_path, *amounts, torn=True)
        assert f"  quickstart: {calls} calls of 100" in "\n".join(watcher.page())


def test_a_damaged_ledger_is_told_in_its_line(tmp_path: Path) -> None:
    put(tmp_path, GROUP)
    spend(tmp_path, 0.5)
    (tmp_path / "quickstart" / "spent.jsonl").write_text("nonsense\n")
    assert "  quickstart: its ledger cannot be read (" in page(tmp_path)


@pytest.mark.parametrize("at", [0.0, 1e12])
def test_the_clock_of_another_machine_does_not_matter(at: float, tmp_path: Path) -> None:
    put(tmp_path, replace(GROUP, at=at))
    assert "warnings" not in page(tmp_path)


def test_a_process_of_another_machine_lives_as_long_as_its_file_changes(tmp_path: Path) -> None:
    times: list[float] = []
    watcher = Watcher(tmp_path, clock=lambda: times[-1])
    for now, beat, alive in ((0, 1, True), (80, 2, True), (165, 2, True), (175, 2, False), (180, 3, True)):
        times.append(now)
        put(tmp_path, replace(GROUP, beat=beat))
        assert ("no sign of life" in "\n".join(watcher.page())) is not alive


def test_a_process_of_this_machine_that_stands_still_is_told_at_the_first_look(tmp_path: Path) -> None:
    put(tmp_path, replace(GROUP, host=socket.gethostname(), pid=1))
    assert "(process 1 on " in page(tmp_path, wall=lambda: 91.0)
    assert "no sign of life" not in page(tmp_path, wall=lambda: 89.0)


def test_groups_that_ended_before_they_were_done_are_told_apart(tmp_path: Path) -> None:
    put(tmp_path, replace(GROUP, ended="x.sqlite: found a full disk"))
    text = page(tmp_path)
    assert text.startswith("no live runs\n")
    assert "  mini_qa-p-3 (process 77 on elsewhere), 1 runs left: x.sqlite: found a full disk" in text


def test_a_half_written_file_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, GROUP)
    path = put(tmp_path, replace(GROUP, group="other"))
    path.write_bytes(path.read_bytes()[:-40])
    assert page(tmp_path).startswith("1 running")


def test_a_name_that_a_terminal_would_obey_is_not_obeyed(tmp_path: Path) -> None:
    put(tmp_path, replace(GROUP, runs=[replace(RUN, state="failed", reason="\x1b[2J\x07gone")]))
    assert all(line.isprintable() for line in Watcher(tmp_path).page())
    assert "\\x1b[2J" in page(tmp_path)


def test_once_prints_one_page_and_says_what_one_look_cannot_tell(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", "--once", "--outputs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no live runs\n"
    put(tmp_path, GROUP)
    assert main(["watch", "--once", "--outputs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("1 running") == 1
    assert "one look cannot say whether a process of another machine lives" in out
    assert "\x1b" not in out


def test_the_pace_is_a_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for value in ("0", "-1", "nan", "inf"):
        assert main(["watch", "--every", value, "--outputs", str(tmp_path)]) == 1
        assert "--every: found" in capsys.readouterr().err


def test_a_page_fits_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("LINES", "5")
    fitted = watch._fitted(["x" * 50] * 30)
    assert len(fitted) == 4
    assert fitted[-1] == "... and 27 more lines"
    assert max(len(line.removeprefix("\x1b[H\x1b[J")) for line in fitted[:3]) == 20
