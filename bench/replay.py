"""Measures how much faster a run is when replayed from the call store than when its models answer.

    python bench/replay.py [--problems 8]

One run of the quickstart (symphony on mini_qa, seed 0) by the embedded trio: first live and recorded, with the models
loaded beforehand, then replayed by `symphony run` in a process of its own, which must not even import torch. The
records must be equal byte for byte. CPU-seconds and wall-clock come from the runs' own `wall.json`: searching and
answering; starting Python, imports, loading models and writing records count for neither. The live run is long enough
to average over other load; the replay is not, so it is repeated in new processes, and the median counts.
  replay_speedup       CPU-seconds live over replayed
  replay_speedup_wall  the same by wall-clock; ..._least: for the slowest replay
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from symphony.plan.compose import plan
from symphony.plan.model_spec import models
from symphony.plan.specs import Group, freeze, groups
from symphony.records.records import FILES, TimingRecord, WallRecord, read_records
from symphony.run.progress import watch
from symphony.run.runner import Place, run_group
from symphony.types import SymphonyError

ROOT = Path(__file__).parents[1]
REPLAY = "import sys; from symphony.__main__ import main; sys.exit(main(sys.argv[1:]) or 'torch' in sys.modules)"
"""Runs the command line and fails if a model was loaded."""
REPEATS = 7
APART = {FILES[TimingRecord], FILES[WallRecord]}


def one_group(problems: int) -> Group:
    overrides = ("tasks=[mini_qa]", "seeds=[0]", f"problems={problems}")
    (group,) = groups(plan("quickstart", overrides, experiment="symphony", conf=ROOT / "conf"))
    return group


def live(group: Group, outputs: Path, data: Path) -> Path:
    """Records the run with models loaded before it begins; returns its folder."""
    (run,) = group.runs
    ready = {spec: spec.build(data) for spec in models(run.config).values()}
    place = Place(outputs=outputs, data=data)
    with watch() as progress:
        run_group(group, place, progress, lambda spec: ready[spec])
    return place.run(run)


def replayed(group: Group, outputs: Path) -> Path:
    """Replays the run from the call store under `outputs` in a new process; returns its folder."""
    run = replace(group.runs[0], execution={**group.runs[0].execution, "store": "replay"})
    plan_file = freeze(replace(group, runs=(run,)), outputs / "groups")
    command = ["run", "--group", str(plan_file.parent), "--outputs", str(outputs)]
    if subprocess.run([sys.executable, "-c", REPLAY, *command], cwd=ROOT, check=False).returncode:
        raise SymphonyError("replay: found a failed run or a loaded model, allowed: neither")
    return Place(outputs=outputs).run(run)


def check_equal(one: Path, other: Path) -> None:
    for path in sorted(one.iterdir()):
        if path.name not in APART and path.read_bytes() != (other / path.name).read_bytes():
            raise SymphonyError(f"{path.name}: found different records, allowed: the same live and replayed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=8)
    group = one_group(parser.parse_args().problems)
    with tempfile.TemporaryDirectory() as folder:
        recorded = live(group, Path(folder) / "live", ROOT / "data")
        afters: list[WallRecord] = []
        for number in range(REPEATS):
            outputs = Path(folder) / f"replay {number}"
            shutil.copytree(Path(folder) / "live" / "calls", outputs / "calls")
            repeated = replayed(group, outputs)
            check_equal(recorded, repeated)
            afters += read_records(repeated, WallRecord)
        (before,) = read_records(recorded, WallRecord)
        calls = len(read_records(recorded, TimingRecord))
    replay_cpu_s = statistics.median(after.cpu_s for after in afters)
    replay_wall_s = statistics.median(after.wall_s for after in afters)
    figures = {
        "replay_speedup": round(before.cpu_s / replay_cpu_s, 1),
        "replay_speedup_wall": round(before.wall_s / replay_wall_s, 1),
        "replay_speedup_wall_least": round(before.wall_s / max(after.wall_s for after in afters), 1),
        "calls": calls,
        "live_cpu_s": round(before.cpu_s, 3),
        "live_wall_s": round(before.wall_s, 3),
        "replay_cpu_s": round(replay_cpu_s, 3),
        "replay_wall_s": round(replay_wall_s, 3),
    }
    print(json.dumps({"bench": "replay", "figures": figures}))


if __name__ == "__main__":
    main()
