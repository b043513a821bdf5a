"""Carries out one very long run, and shows that memory, open files and logs do not grow with it.

    python bench/soak.py [--problems 10000] [--programs 3000]

SYMPHONY plays gridworld by a scripted pool (records and call store on disk, 64 problems in flight) as `symphony run`
does; then programs, right ones and ones that crash, are graded in the sandbox. Figures, after a tenth, a half and all
(with 10,000 problems after 1,000, 5,000 and 10,000):
  rss_mb      resident memory of this process, 10^6 bytes
  children_mb that of the processes it started and that still live
  open_files  entries in /proc/self/fd
  log_kb      what a job has printed so far (Snakemake keeps it), and the progress file `live.json`
  calls       model calls so far
  growth_kb_per_1000  resident memory a thousand problems more took, from the first mark to the last, 10^3 bytes
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from symphony.models.scripted import ScriptedBackend
from symphony.plan.compose import plan
from symphony.plan.model_spec import ModelSpec
from symphony.plan.specs import groups
from symphony.run import live
from symphony.run.progress import Counts, Lines
from symphony.run.runner import Place, run_group
from symphony.tasks.programs.sandbox import Limits, PythonSandbox
from symphony.types import Completion, Request
from tests.scripted_pool import CONF, answer

PROGRAMS = (
    "def f(x):\n    return x * x\n", "def f(x):\n    return 1 / 0\n", "import os\nos._exit(3)\n", "def f(x:\n",
    "def f(x):\n    return [0] * 10**7\n",
)  # fmt: skip


class Forgetful(ScriptedBackend):
    """Keeps no list of what it was asked."""

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        answers = super().generate(requests)
        self.calls.clear()
        return answers


def backend(spec: ModelSpec) -> Forgetful:
    return Forgetful(answer, revision=str(spec.settings["path"]))


def resident(process: str = "self") -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # it has ended
        return 0


def children(of: str = "self") -> list[str]:
    """Numbers of the living processes below a process."""
    found = [pid for task in Path(f"/proc/{of}/task").glob("*/children") for pid in task.read_text().split()]
    return found + [below for pid in found for below in children(pid)]


def measured() -> dict[str, float]:
    gc.collect()
    return {
        "rss_mb": round(resident() / 1e6, 1),
        "children_mb": round(sum(resident(pid) for pid in children()) / 1e6, 1),
        "open_files": len(os.listdir("/proc/self/fd")),
    }


class Watched(Lines):
    """Progress lines into a text, measured at some numbers of problems."""

    def __init__(self, marks: Sequence[int], progress_file: Path) -> None:
        self.text = io.StringIO()
        super().__init__(self.text)
        self.marks, self.file = set(marks), progress_file
        self.found: dict[int, dict[str, float]] = {}

    def _show(self, run: Counts, ended: bool) -> None:
        super()._show(run, ended)
        if run.done in self.marks and run.done not in self.found:
            size = self.file.stat().st_size if self.file.exists() else 0
            printed = len(self.text.getvalue())
            self.found[run.done] = {**measured(), "log_kb": round((printed + size) / 1e3, 1), "calls": run.calls.count}
            print(f"problems {run.done:,}: {self.found[run.done]}", file=sys.stderr, flush=True)


def growth(found: dict[int, dict[str, float]]) -> float:
    """Kilobytes a thousand more took."""
    first, last = min(found), max(found)
    return round((found[last]["rss_mb"] - found[first]["rss_mb"]) * 1e3 / max(1, last - first) * 1e3, 1)


def soak(problems: int, marks: Sequence[int]) -> dict[str, object]:
    """One run of so many problems."""
    words = ["tasks=[gridworld]", "seeds=[0]", f"problems={problems}", "search.iterations=3"]
    (group,) = groups(plan("quickstart", words, experiment="symphony", conf=CONF))
    with tempfile.TemporaryDirectory() as folder:
        place = Place(outputs=Path(folder))
        progress = Watched(marks, place.group(group) / live.LIVE)
        began = time.process_time()
        run_group(group, place, progress, backend)
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    found: dict[str, object] = {f"{number}": figures for number, figures in progress.found.items()}
    found["growth_kb_per_1000"] = growth(progress.found)
    return {**found, "cpu_s": round(time.process_time() - began), "disk_mb": round(size / 1e6)}


def soak_programs(count: int) -> dict[str, object]:
    """So many programs in one sandbox."""
    rng, found = random.Random(0), dict[int, dict[str, float]]()
    marks = (max(1, count // 10), count // 2, count)
    with PythonSandbox(memory_mb=512) as box:
        for number in range(1, count + 1):
            box.evaluate(rng.choice(PROGRAMS), ["f(2)"], Limits(cpu_s=2, wall_s=4.0))
            if number in marks:
                found[number] = measured()
                print(f"programs {number:,}: {found[number]}", file=sys.stderr, flush=True)
    return {**{f"{number}": figures for number, figures in found.items()}, "growth_kb_per_1000": growth(found)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--programs", type=int, default=3_000)
    args = parser.parse_args()
    marks = sorted({max(1, args.problems // 10), max(1, args.problems // 2), args.problems})
    figures = {"problems": soak(args.problems, marks)} if args.problems else {}
    if args.programs:
        figures["programs"] = soak_programs(args.programs)
    print(json.dumps({"bench": "soak", "figures": figures}))


if __name__ == "__main__":
    main()
