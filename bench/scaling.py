"""Computes what large studies take from what is measured here; docs/scaling.md shows its output.

    python bench/scaling.py [--problems 2] [--price 1 1]

Measured, on this machine and without a model:
  - calls of a problem by phase, for every experiment of the paper's studies, by carrying each out on --problems
    problems of its real benchmark with a scripted pool that solves nothing, so that every search goes to its end
  - tokens of a call by phase, seconds of the planner and bytes on disk of a call, by replaying SYMPHONY's runs of the
    study `laptop` from recorded answers of real models of .1 to 1.5 B
Assumed, and arithmetic: that calls of other models are as long as theirs (Rust's programs as Python's calls); the
number of problems of each study; the rates in the columns. Tables:
  calls   of one problem, by study and method
  scale   of whole studies: problems, calls, 10^6 prompt and completion tokens, hours of generating at 250 and 2,500
          completion tokens a second (all models together), dollars at --price a million prompt and completion tokens,
          CPU-hours of the planner, 10^9 bytes of records and call store
Needs the benchmarks' files (SYMPHONY_DATA).
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from symphony.models.scripted import ScriptedBackend
from symphony.plan.compose import plan
from symphony.plan.model_spec import ModelSpec, models
from symphony.plan.needs import available
from symphony.plan.specs import Run, groups
from symphony.records.records import CallRecord, WallRecord, read_records
from symphony.run.runner import Place, run_group
from symphony.types import Phase, Request, canonical_json
from tests.scripted_pool import CONF, Silent
from tests.shared_data import DATA

STUDIES = ("paper_hotpotqa", "paper_webshop", "paper_mbpp")
LIKE = {
    "hotpotqa": "hotpotqa_context", "webshop": "webshop_sample", "mbpp_py": "mbpp_py_hidden_asserts",
    "mbpp_py_hidden_asserts": "mbpp_py_hidden_asserts", "mbpp_rs": "mbpp_rs_first_assert",
}  # fmt: skip
"""The task of `laptop` whose calls a task's are taken to be like."""
SAME_CALLS = {"mbpp_rs": "mbpp_py_hidden_asserts"}
"""Tasks whose calls are not measured, since each would compile a program, and the task that stands for them."""
RATES = (250, 2_500)
Phases = Mapping[str, float]


def answer(request: Request) -> str:
    """Answers of the right form that solve nothing; each differs, so that a tree grows as wide as it can."""
    seed = request.draw.rng_seed() % 10_000
    match request.draw.phase:
        case Phase.EXPAND | Phase.SIM_EXPAND:
            last = request.messages[-1].content + request.messages[0].content
            if "def " in last or "fn " in last or "python" in last.lower():
                name = "f"
                return f"Thought: try {seed}.\nAction: ```python\ndef {name}(*given):\n    return {seed}\n```"
            return f"Thought: try {seed}.\nAction: search[number {seed}]"
        case Phase.REFLECT:
            return f"Lesson: {seed} was wrong."
        case _:
            return f"Value: 0.{seed % 10} Confidence: 0.{seed // 10 % 10}"


def backend(spec: ModelSpec) -> ScriptedBackend:
    return ScriptedBackend(answer, revision=str(spec.settings.get("path", spec.settings.get("model"))))


# --------------------------------------------------------------------------- measured


@dataclass
class Calls:
    """What replayed calls took, by phase and in all."""

    count: collections.Counter[str] = field(default_factory=collections.Counter)
    prompt: collections.Counter[str] = field(default_factory=collections.Counter)
    completion: collections.Counter[str] = field(default_factory=collections.Counter)
    cpu_s: float = 0.0
    bytes: float = 0.0

    def tokens(self, phases: Phases) -> tuple[float, float]:
        """Prompt and completion tokens of so many calls by phase; a phase that was not replayed is like all."""
        sums = [0.0, 0.0]
        for phase, number in phases.items():
            for index, known in enumerate((self.prompt, self.completion)):
                own = known[phase] / self.count[phase] if self.count[phase] else known.total() / self.count.total()
                sums[index] += number * own
        return sums[0], sums[1]


def replayed(folder: Path) -> dict[str, Calls]:
    """SYMPHONY's runs of `laptop`, by task."""
    found: dict[str, Calls] = {}
    place = Place(outputs=folder, data=DATA)
    runs = plan("laptop", [], experiment="symphony", conf=CONF, data=DATA)
    for group in groups(run for run in runs if run.task in LIKE.values()):
        run_group(group, place, Silent())
        own = found.setdefault(group.runs[0].task, Calls())
        for run in group.runs:
            for call in read_records(place.run(run), CallRecord):
                phase = call.phase
                own.count[phase] += 1
                own.prompt[phase] += call.prompt_tokens
                own.completion[phase] += call.completion_tokens
            own.cpu_s += sum(wall.cpu_s for wall in read_records(place.run(run), WallRecord))
            own.bytes += size(place.run(run).iterdir())
        # The store holds answers of other methods, too: recordings are read whole.
        own.bytes += sum((place.run(run) / "calls.jsonl").stat().st_size for run in group.runs)
    return found


def size(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())


def shortened(run: Run, problems: int) -> Run:
    config = {**run.config, "problems": problems, "task": {**run.settings.task, "count": problems}}
    return replace(run, config=config)


def longest(study: str, problems: int, folder: Path) -> dict[tuple[str, str], Phases]:
    """Calls of an unsolved problem by phase, for each experiment and task of a study."""
    found: dict[tuple[str, str], Phases] = {}
    place = Place(outputs=folder / study, data=DATA)
    runs = available(plan(study, ["seeds=[0]"], conf=CONF, data=DATA), lambda text: print(text, file=sys.stderr))
    same: dict[str, Phases] = {}  # who is asked changes the number of calls of no search that solves nothing
    for run in runs:
        if run.task in SAME_CALLS:
            continue
        parts = canonical_json([run.task, run.config["search"], run.config["memory"], run.config["scorer"]])
        if parts in same:
            found[run.experiment, run.task] = same[parts]
            continue
        small = shortened(run, problems)
        (group,) = groups([small])
        run_group(group, place, Silent(), backend)
        counted = collections.Counter(call.phase for call in read_records(place.run(small), CallRecord))
        found[run.experiment, run.task] = same[parts] = {phase: number / problems for phase, number in counted.items()}
        print(
            f"{study} {run.experiment} {run.task}: {counted.total() / problems:,.0f} calls", file=sys.stderr, flush=True
        )
    return found


# --------------------------------------------------------------------------- arithmetic


@dataclass
class Total:
    """What some runs take."""

    problems: float = 0
    calls: float = 0
    prompt: float = 0
    completion: float = 0
    cpu_s: float = 0
    bytes: float = 0

    def add(self, problems: float, phases: Phases, known: Calls) -> None:
        calls = problems * sum(phases.values())
        prompt, completion = known.tokens(phases)
        self.problems += problems
        self.calls += calls
        self.prompt += problems * prompt
        self.completion += problems * completion
        self.cpu_s += calls * known.cpu_s / known.count.total()
        self.bytes += calls * known.bytes / known.count.total()

    def row(self, price: Sequence[float]) -> list[str]:
        dollars = (self.prompt * price[0] + self.completion * price[1]) / 1e6
        hours = [f"{self.completion / rate / 3600:,.1f}" for rate in RATES]
        tokens = [f"{self.prompt / 1e6:,.0f}", f"{self.completion / 1e6:,.1f}"]
        rest = [f"{dollars:,.0f}", f"{self.cpu_s / 3600:,.1f}", f"{self.bytes / 1e9:,.2f}"]
        return [f"{self.problems:,.0f}", f"{self.calls:,.0f}", *tokens, *hours, *rest]


def is_remote(run: Run) -> bool:
    return any(spec.is_endpoint for spec in models(run.config).values())


def totals(found: Mapping[str, Mapping[tuple[str, str], Phases]], known: Mapping[str, Calls]) -> dict[str, Total]:
    sums = {"SYMPHONY-S, all local experiments": Total(), "SYMPHONY-L, all experiments with an API": Total()}
    for study in STUDIES:
        for run in plan(study, [], conf=CONF, data=DATA):
            phases = found[study].get((run.experiment, SAME_CALLS.get(run.task, run.task)))
            if phases is not None:
                name = next(name for name in sums if ("API" in name) == is_remote(run))
                sums[name].add(run.settings.problems, phases, known[LIKE[run.task]])
    symphony = found["paper_hotpotqa"]["symphony", "hotpotqa"]
    for name, problems in (
        ("12 models: each alone, each pair, all together (79 pools of 100 problems)", 79 * 100),
        ("12 models: every non-empty subset (4,095 pools of 100 problems)", 4_095 * 100),
        ("100,000 problems of HotpotQA by SYMPHONY", 100_000),
    ):
        sums[name] = Total()
        sums[name].add(problems, symphony, known["hotpotqa_context"])
    return sums


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=2)
    parser.add_argument("--price", type=float, nargs=2, default=(1.0, 1.0), metavar=("PROMPT", "COMPLETION"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        known = replayed(Path(name) / "laptop")
        found = {study: longest(study, args.problems, Path(name)) for study in STUDIES}
    rows = [[task, *measured(calls)] for task, calls in known.items()]
    print(table(("replayed", "calls", "prompt", "completion", "planner ms", "bytes"), rows))
    print()
    cells = []
    for study in STUDIES:
        cells += [[study, task, name, f"{sum(phases.values()):,.0f}"] for (name, task), phases in found[study].items()]
    print(table(("study", "task", "method", "calls of an unsolved problem"), cells))
    print()
    sums = totals(found, known)
    head = ["what", "problems", "calls", "prompt, 10^6 tokens", "completion, 10^6 tokens"]
    head += [*(f"hours at {rate:,} tokens a second" for rate in RATES), "dollars", "planner, CPU-hours", "disk, GB"]
    print(table(head, [[name, *total.row(args.price)] for name, total in sums.items()]))
    figures: dict[str, Any] = {name: vars(total) for name, total in sums.items()}
    print(json.dumps({"bench": "scaling", "figures": figures}))


def measured(calls: Calls) -> list[str]:
    count = calls.count.total()
    tokens = [f"{known.total() / count:,.0f}" for known in (calls.prompt, calls.completion)]
    return [f"{count:,}", *tokens, f"{1e3 * calls.cpu_s / count:.2f}", f"{calls.bytes / count:,.0f}"]


if __name__ == "__main__":
    main()
