"""Measures what thousands of runs cost before and after models answer: planning, listing, loading, reporting.

    python bench/scale.py [--runs 5000] [--calls 1000000] [--only plan,dry_run,records]

Each command runs in a process of its own, one after the other. The studies of the first two steps are two shapes of
about as many runs:
  seeds  every experiment of the quickstart, every task, many seeds
  sweep  one experiment with many values of three keys, every task, one seed: each run is composed by itself
The last step carries out one run by simulated agents and copies its folder as the runs of 20 experiments and many
seeds, until the study has the runs and at least the calls asked for.
  <shape>_runs, <shape>_jobs    runs, and jobs of snakemake
  ..._cpu_s                     CPU-seconds of the same; on a machine that does other work, too, they say more
  plan_<shape>_s                seconds to compose, check and name every run (limit: 60)
  dry_run_<shape>_s             seconds of the first `snakemake -n`, which composes and freezes (limit: 60)
  dry_run_<shape>_again_s       seconds of the next one
  plan_<shape>_flat, load_flat  CPU-seconds a run over those with a tenth of the runs; at most 1 is flat
  ls_s, ls_runs_s               seconds of `symphony ls`, and of `symphony ls --runs`
  load_s, report_s              seconds to load and to report the records (limit: 600 together)
  load_gb, report_gb            their largest resident memory, 10^9 bytes (limit: 16)
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.report import copies, first_run, timed
from symphony.cores import usable_cores
from tests.pipeline.small_project import command, environment, project_copy
from tests.scripted_pool import ROOT

MINUTE, LONGEST, MEMORY = 60.0, 600.0, 16.0
EXPERIMENTS = 20
PLAN = """
import sys
from pathlib import Path
from symphony.plan.compose import plan
from symphony.plan.specs import groups
runs = plan(sys.argv[1], sys.argv[3:], conf=Path(sys.argv[2]))
assert len({run.digest for run in runs}) == len(runs)
print(len(runs), len(groups(runs)))
"""
SWEEP = """# @package _global_
title: A sweep
table: main
sweep:
  scheduler.alpha: {alphas}
  search.c: {constants}
  budget.problem.tokens: [4000, 6000]
"""
figures: dict[str, float] = {}


def tell(name: str, value: float, limit: float | None = None, unit: str = "s") -> None:
    figures[name] = value
    beside = "" if limit is None else f"   (limit: {limit:g} {unit}{'' if value <= limit else ', MISSED'})"
    print(f"{name}: {value:.4g} {unit}{beside}", flush=True)


def shapes(project: Path, runs: int) -> dict[str, tuple[str, list[str]]]:
    """Returns the study and the overrides of each shape."""
    quickstart = len(list((project / "conf" / "experiment" / "quickstart").glob("*.yaml")))
    seeds = -(-runs // (4 * quickstart))
    side = max(1, round((runs / 8) ** 0.5))
    (folder := project / "conf" / "experiment" / f"sweep_{runs}").mkdir()
    values = [[round(1 + step / 7, 3) for step in range(count)] for count in (side, -(-runs // (8 * side)))]
    (folder / "symphony.yaml").write_text(SWEEP.format(alphas=values[0], constants=values[1]))
    return {
        "seeds": ("quickstart", [f"seeds=[{','.join(map(str, range(seeds)))}]"]),
        "sweep": (folder.name, ["seeds=[0]"]),
    }


@dataclass(frozen=True)
class Taken:
    """What a command took: wall-clock seconds, CPU-seconds, and what it printed."""

    wall: float
    cpu: float
    said: str = ""

    def tell(self, name: str, limit: float) -> None:
        tell(f"{name}_s", self.wall, limit)
        tell(f"{name}_cpu_s", self.cpu, limit)


def run(words: list[str], project: Path) -> Taken:
    """Runs a command in the project."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, cwd=project, env=environment(project), capture_output=True, text=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{words}: {done.stderr[-2000:]}")
    return Taken(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout)


def measure_plans(project: Path, runs: int) -> None:
    few, many = shapes(project, runs // 10), shapes(project, runs)
    for shape in many:
        cost = {}
        for name, chosen in (("few", few), ("many", many)):
            study, overrides = chosen[shape]
            conf = str(project / "conf")
            taken = run([sys.executable, "-c", PLAN, study, conf, *overrides], ROOT)
            count, jobs = map(int, taken.said.split())
            cost[name] = taken.cpu / count
        tell(f"{shape}_runs", count, unit="runs")
        tell(f"{shape}_jobs", jobs, unit="jobs")
        taken.tell(f"plan_{shape}", MINUTE)
        tell(f"plan_{shape}_flat", cost["many"] / cost["few"], unit="x")


def measure_dry_runs(project: Path, runs: int) -> None:
    for shape, (study, overrides) in shapes(project, runs).items():
        words = command(("--cores", "1", "--dry-run", "--quiet", "all", "--config"), f"study={study}")
        words.append(f"overrides={' '.join(overrides)}")
        run(words, project).tell(f"dry_run_{shape}", MINUTE)
        run(words, project).tell(f"dry_run_{shape}_again", MINUTE)


def measure_records(outputs: Path, runs: int, calls: int) -> None:
    names = [
        (f"method_{number:02}", seed) for seed in range(1, -(-runs // EXPERIMENTS) + 1) for number in range(EXPERIMENTS)
    ]
    problems = 8
    folder = first_run(outputs, problems=problems)
    lines = sum(1 for _ in (folder / "calls.jsonl").open())
    if wanted := calls / runs:
        problems = max(1, round(problems * wanted / lines))
        folder = first_run(outputs / "first", problems=problems)
        lines = sum(1 for _ in (folder / "calls.jsonl").open())
    begin = time.perf_counter()
    folders = copies(folder, names[:runs], outputs / "runs")
    tell("record_runs", len(folders), unit="runs")
    tell("record_calls", lines * len(folders), unit="calls")
    print(f"copied in {time.perf_counter() - begin:.0f} s")
    place = ("--outputs", str(outputs))
    for name, words in (("ls", ("ls",)), ("ls_runs", ("ls", "--runs"))):
        spent = timed(1, *words, *place)
        Taken(spent["s"], spent["cpu_s"]).tell(name, MINUTE)
    database = outputs / "records.duckdb"
    few = folders[: runs // 10]
    few_cpu = timed(1, "load", "--database", str(outputs / "few.duckdb"), *map(str, few))["cpu_s"]
    load = timed(1, "load", "--database", str(database), *map(str, folders))
    Taken(load["s"], load["cpu_s"]).tell("load", LONGEST)
    tell("load_gb", load["gb"], MEMORY, "GB")
    tell("load_flat", load["cpu_s"] / len(folders) / (few_cpu / len(few)), unit="x")
    report = timed(usable_cores(), "report", "--database", str(database), "--out", str(outputs / "report"))
    Taken(report["s"], report["cpu_s"]).tell("report", LONGEST)
    tell("report_gb", report["gb"], MEMORY, "GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--only", default="plan,dry_run,records", help="some of these, separated by commas")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for step in asked.only.split(","):
            project = project_copy(Path(name) / step)
            if step == "plan":
                measure_plans(project, asked.runs)
            elif step == "dry_run":
                measure_dry_runs(project, asked.runs)
            else:
                measure_records(project / "outputs", asked.runs, asked.calls)
    print(json.dumps({"bench": "scale", "figures": {key: round(value, 4) for key, value in figures.items()}}))


if __name__ == "__main__":
    main()
