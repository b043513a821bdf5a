"""Measures how long a large study takes to load and to report, and the memory for it.

    python bench/report.py [--nodes 1000000] [--cores 2] [--keep FOLDER] [--experiment best_of_n]

One run of 200 problems by simulated agents is carried out; its folder is copied, each copy with a digest, seed and
problems of its own, until the study has the nodes and calls asked for: SYMPHONY makes twice as many calls as nodes,
best of n about as many. Then `symphony load` and `symphony report` run
in processes of their own; the report is the whole one: tables, figures, page, and a page for every search tree.
  load_s, report_s      wall-clock seconds from start to end
  load_cpu_s, ...       CPU seconds of all threads and processes, user and system
  load_gb, report_gb    the largest resident memory of all its processes together, 10^9 bytes
  pages_mb, largest_mb  size of the report, and of its largest page or script, 10^6 bytes
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from symphony.cores import usable_cores
from symphony.plan.compose import plan
from symphony.plan.specs import groups
from symphony.records.prompts import PROMPTS, compress, read_packs
from symphony.records.records import CONFIG, FILES, RunRecord
from symphony.run.progress import watch
from symphony.run.runner import Place, run_group

ROOT = Path(__file__).parents[1]
GOAL_GB = 4 * 2**30 / 1e9
OVERRIDES = ("tasks=[simulated]", "pool=simulated_trio", "seeds=[0]", "execution.store=live")


def first_run(outputs: Path, problems: int = 200, experiment: str = "symphony") -> Path:
    """Carries out the run of an experiment of the quickstart that is copied; returns its folder."""
    overrides = (*OVERRIDES, f"problems={problems}")
    (group,) = groups(plan("quickstart", overrides, experiment=experiment, conf=ROOT / "conf"))
    place = Place(outputs=outputs, data=outputs)
    with watch() as progress:
        run_group(group, place, progress)
    return place.run(group.runs[0])


def copies(folder: Path, names: Iterable[tuple[str, int]], runs: Path) -> list[Path]:
    """Copies a run's folder into `runs`, each time as the run of another experiment and seed.

    Equal seeds have equal problems.
    """
    runs.mkdir(parents=True, exist_ok=True)
    texts = {name: (folder / name).read_text() for name in (*FILES.values(), CONFIG)}
    manifest = json.loads((folder / "manifest.json").read_text())
    packs = list(read_packs(folder))
    made = []
    for experiment, seed in names:
        digest = hashlib.sha256(f"{experiment} {seed}".encode()).hexdigest()[:16]
        target = runs / digest
        target.mkdir()
        parts = dict(manifest)
        for name, text in texts.items():
            text = text.replace(folder.name, digest).replace("simulated-0-", f"simulated-{seed}-")
            if name == FILES[RunRecord]:
                (line,) = text.splitlines()
                record = json.loads(line) | {"experiment": experiment, "seed": seed, "dataset": str(seed)}
                text = json.dumps(record, separators=(",", ":")) + "\n"
            (target / name).write_text(text)
            if parts.get(name, {}).get("sha256"):
                parts[name] = parts[name] | {"sha256": hashlib.sha256(text.encode()).hexdigest()}
        prompts = b"".join(
            compress(
                gzip.decompress(pack.compressed)
                .decode()
                .replace(folder.name, digest)
                .replace("simulated-0-", f"simulated-{seed}-")
            )
            for pack in packs
        )
        (target / PROMPTS).write_bytes(prompts)
        parts[PROMPTS] = parts[PROMPTS] | {"sha256": hashlib.sha256(prompts).hexdigest()}
        (target / "manifest.json").write_text(json.dumps(parts, indent=1) + "\n")
        made.append(target)
    return made


def timed(cores: int, *arguments: str) -> dict[str, float]:
    """Runs a command and returns its wall-clock and CPU seconds and its largest memory in 10^9 bytes."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(cores)}
    begin = time.perf_counter()
    words = [sys.executable, "-m", "symphony", *arguments]
    process = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL)
    largest = 0
    while process.returncode is None:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
        else:
            largest = max(largest, resident(process.pid))
            time.sleep(0.05)
    if process.returncode:
        sys.exit(f"symphony {arguments[0]} failed")
    return {"s": time.perf_counter() - begin, "cpu_s": usage.ru_utime + usage.ru_stime, "gb": largest / 1e9}


def resident(pid: int) -> int:
    """Returns the bytes in memory of a process and its children; 0 once it has ended."""
    task = Path(f"/proc/{pid}/task/{pid}")
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = (task / "children").read_text().split()
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000, help="nodes, and at least as many calls")
    parser.add_argument("--cores", type=int, default=usable_cores(), help="cores that a command may use")
    parser.add_argument("--experiment", default="symphony", help="experiment of the quickstart that makes the run")
    parser.add_argument("--keep", type=Path, help="work here, and keep what was made")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        outputs = asked.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = first_run(outputs, experiment=asked.experiment)
        lines = {table: sum(1 for _ in (folder / f"{table}.jsonl").open()) for table in ("nodes", "calls")}
        seeds = range(1, -(-asked.nodes // min(lines.values())))
        folders = [folder, *copies(folder, ((asked.experiment, seed) for seed in seeds), folder.parent)]
        nodes, calls = (lines[table] * len(folders) for table in ("nodes", "calls"))
        print(f"{len(folders)} runs, {nodes:,} nodes, {calls:,} calls")
        database = outputs / "study" / "records.duckdb"
        figures: dict[str, float] = {"nodes": nodes, "calls": calls}
        report = outputs / "study" / "report"
        commands = {
            "load": (20, ["load", "--database", str(database), *map(str, folders)]),
            "report": (60, ["report", "--database", str(database), "--out", str(report)]),
        }
        for name, (goal, command) in commands.items():
            measured = timed(asked.cores, *command)
            figures |= {f"{name}_{key}": value for key, value in measured.items()}
            print(
                f"{name}: {measured['s']:.1f} s on {asked.cores} cores (goal: {goal} s), {measured['cpu_s']:.1f} "
                f"CPU-seconds, {measured['gb']:.2f} GB (goal: {GOAL_GB:.2f} GB)"
            )
        sizes = {path: path.stat().st_size for path in report.rglob("*") if path.is_file()}
        figures["pages_mb"] = sum(sizes.values()) / 1e6
        figures["largest_mb"] = max(size for path, size in sizes.items() if path.suffix in (".html", ".js")) / 1e6
        print(f"pages: {figures['pages_mb']:.0f} MB, the largest {figures['largest_mb']:.1f} MB (goal: 5 MB)")
    print(json.dumps({"bench": "report", "figures": {key: round(value, 3) for key, value in figures.items()}}))


if __name__ == "__main__":
    main()
