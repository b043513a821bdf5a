"""The recorded answers that ship: what is replayed without any model ends as it did."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest

from symphony.plan.compose import plan
from symphony.plan.specs import groups
from symphony.run.progress import watch
from symphony.run.recordings import MANIFEST, OUTCOMES, outcomes, shipped
from symphony.run.runner import Place, run_group
from tests.shared_data import DATA, LAPTOP, needs

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "recordings" / "laptop"
RUNS = sorted({name[:2] for name in shipped(FOLDER)}) if (FOLDER / OUTCOMES).is_file() else []
BY_EXPERIMENT = [list(of) for _, of in groupby(RUNS, key=lambda run: run[0])]
REPLAYED = [of[number % len(of)] for number, of in enumerate(BY_EXPERIMENT)]
"""One run of every experiment; the tasks take turns. `make run STUDY=laptop` replays the whole study."""
QUICK = ("symphony", "best_of_n", "react", "reflexion")
"""Experiments that are replayed in every test run, if not on a task in Rust; the others where slow tests run."""
MOST = 20 << 20  # bytes


@needs(*LAPTOP)
@pytest.mark.parametrize(
    ("experiment", "task"),
    [
        pytest.param(*run, marks=() if run[0] in QUICK and not run[1].startswith("mbpp_rs") else pytest.mark.slow)
        for run in REPLAYED
    ],
)
def test_a_replay_ends_as_the_run_that_was_recorded(
    experiment: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SYMPHONY_MODELS", raising=False)
    overrides = [f"tasks=[{task}]", "execution.store=replay", f"execution.recordings={FOLDER}"]
    runs = plan("laptop", overrides, experiment=experiment, conf=ROOT / "conf", data=DATA)
    with watch() as bar:
        for group in groups(runs):
            run_group(group, Place(outputs=tmp_path, data=DATA), bar)
    wanted = {name: outcome for name, outcome in shipped(FOLDER).items() if name[:2] == (experiment, task)}
    assert outcomes(runs, tmp_path) == wanted


def test_the_recordings_are_small_and_say_what_made_them() -> None:
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST
    made = json.loads((FOLDER / MANIFEST).read_text())["made"] if files else []
    assert all(one.keys() == {"date", "commit", "machine", "calls"} for one in made)
