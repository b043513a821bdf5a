"""GPUs that several processes of a machine share; their names are made up, so no GPU is needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from symphony.run import leases
from symphony.run.leases import VARIABLE, VISIBLE, leased
from symphony.types import SymphonyError
from tests.scripted_pool import ROOT

HOLD = """
import sys, time
from symphony.run.leases import leased
with leased(1, print):
    print("held", flush=True)
    time.sleep(60)
"""


class Busy(Exception):
    """Raised instead of waiting."""


def refuse(text: str) -> None:
    raise Busy(text)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(leases.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setenv(VARIABLE, "0,1,GPU-8f3a")
    return tmp_path


def test_a_process_sees_only_the_gpus_that_it_holds() -> None:
    with leased(2, refuse) as held:
        assert held == ["0", "1"]
        assert os.environ[VISIBLE] == "0,1"
    assert VISIBLE not in os.environ


def test_no_gpu_is_held_twice() -> None:
    with leased(1, refuse) as one, leased(1, refuse) as other, leased(1, refuse) as third:
        assert [*one, *other, *third] == ["0", "1", "GPU-8f3a"]
        with pytest.raises(Busy, match="waiting for 1 of the GPUs 0, 1, GPU-8f3a"), leased(1, refuse):
            pass


def test_a_gpu_that_was_given_back_is_leased_again() -> None:
    with leased(3, refuse):
        pass
    with leased(3, refuse) as held:
        assert len(held) == 3


def test_while_several_are_waited_for_the_free_ones_stay_free() -> None:
    def look(text: str) -> None:
        with leased(1, refuse) as free:
            raise Busy(f"free: {free[0]}")

    with leased(2, refuse), pytest.raises(Busy, match="free: GPU-8f3a"), leased(2, look):
        pass


def test_the_gpu_of_a_killed_process_is_free(own_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0")
    environment = {**os.environ, "TMPDIR": str(own_folder), "PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen([sys.executable, "-c", HOLD], env=environment, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(Busy), leased(1, refuse):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with leased(1, refuse) as held:
        assert held == ["0"]


def test_two_jobs_of_slurm_on_a_node_lease_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own GPU 0."""
    monkeypatch.setenv(VARIABLE, "0")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with leased(1, refuse):
        monkeypatch.setenv("SLURM_JOB_ID", "2")
        with leased(1, refuse) as held:
            assert held == ["0"]


def test_a_run_without_gpus_or_without_the_variable_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with leased(0, refuse) as held:
        assert held == []
        assert VISIBLE not in os.environ
    monkeypatch.delenv(VARIABLE)
    with leased(1, refuse) as held:
        assert held == []
        assert VISIBLE not in os.environ


@pytest.mark.parametrize("text", ["0,0", "0,", ",", "a b", "../x", "0;1", "-1", "0,\n1\x00"])
def test_a_variable_that_names_no_gpus_is_refused(text: str) -> None:
    with pytest.raises(SymphonyError, match=r"SYMPHONY_GPUS: found .*allowed: different names"):
        leases.gpus({VARIABLE: text})


def test_more_gpus_than_there_are_are_refused_instead_of_waited_for() -> None:
    with pytest.raises(SymphonyError, match="--gpus: found 4, allowed: at most 3"), leased(4, refuse):
        pass


def test_a_folder_that_another_made_is_refused(own_folder: Path) -> None:
    (own_folder / "elsewhere").mkdir()
    (own_folder / f"symphony-gpus-{os.getuid()}").symlink_to(own_folder / "elsewhere")
    with pytest.raises(SymphonyError, match="found a folder of somebody else"), leased(1, refuse):
        pass
