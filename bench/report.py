"""Measures how long a large study takes to load and to report, and the memory for it.

    python bench/report.py [--nodes 1000000] [--report]

One run of 200 problems by simulated agents is carried out; its folder is copied, each copy with a digest, seed and
problems of its own, until the study has the nodes and calls asked for. Then `symphony load` (and `symphony report`) run
in processes of their own.
  load_s, report_s    wall-clock seconds from start to end
  load_gb, report_gb  their largest resident memory, 10^9 bytes
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from symphony.plan.compose import plan
from symphony.plan.specs import groups
from symphony.records.prompts import PROMPTS, compress, read_packs
from symphony.records.records import CONFIG, FILES, RunRecord
from symphony.run.progress import watch
from symphony.run.runner import Place, run_group

ROOT = Path(__file__).parents[1]
OVERRIDES = ("tasks=[simulated]", "pool=simulated_trio", "seeds=[0]", "execution.store=live")


def first_run(outputs: Path, problems: int = 200) -> Path:
    """Carries out the run that is copied and returns its folder."""
    overrides = (*OVERRIDES, f"problems={problems}")
    (group,) = groups(plan("quickstart", overrides, experiment="symphony", conf=ROOT / "conf"))
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


def timed(*arguments: str) -> tuple[float, float, float]:
    """Runs a command; returns its wall-clock seconds, its largest memory in 10^9 bytes, and its CPU-seconds."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    begin = time.perf_counter()
    process = os.posix_spawn(sys.executable, [sys.executable, "-m", "symphony", *arguments], environment)
    _, status, usage = os.wait4(process, 0)
    if status:
        sys.exit(f"symphony {arguments[0]} failed")
    return time.perf_counter() - begin, usage.ru_maxrss * 1024 / 1e9, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=1_000_000, help="nodes, and at least as many calls")
    parser.add_argument("--report", action="store_true", help="also write the whole report")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        outputs = Path(name)
        folder = first_run(outputs)
        lines = {table: sum(1 for _ in (folder / f"{table}.jsonl").open()) for table in ("nodes", "calls")}
        seeds = range(1, -(-asked.nodes // min(lines.values())))
        folders = [folder, *copies(folder, (("symphony", seed) for seed in seeds), folder.parent)]
        nodes, calls = (lines[table] * len(folders) for table in ("nodes", "calls"))
        print(f"{len(folders)} runs, {nodes:,} nodes, {calls:,} calls")
        database = outputs / "records.duckdb"
        figures: dict[str, float] = {"nodes": nodes, "calls": calls}
        figures["load_s"], figures["load_gb"], _ = timed("load", "--database", str(database), *map(str, folders))
        print(f"load: {figures['load_s']:.1f} s, {figures['load_gb']:.2f} GB (goal: 20 s, 4 GB)")
        if asked.report:
            out = ("--out", str(outputs / "report"))
            figures["report_s"], figures["report_gb"], _ = timed("report", "--database", str(database), *out)
            print(f"report: {figures['report_s']:.1f} s, {figures['report_gb']:.2f} GB (goal: 60 s, 4 GB)")
    print(json.dumps({"bench": "report", "figures": {key: round(value, 3) for key, value in figures.items()}}))


if __name__ == "__main__":
    main()
