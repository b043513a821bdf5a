"""A pool that plays every task from a script, in no time: for tests of what lies around the models."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from symphony.models.scripted import ScriptedBackend
from symphony.models.store import call_key
from symphony.plan.compose import plan
from symphony.plan.model_spec import ModelSpec
from symphony.plan.specs import Group, groups
from symphony.run.progress import Lines
from symphony.run.runner import Place, run_group
from symphony.types import Completion, Phase, Request

ROOT = Path(__file__).parent.parent
CONF = ROOT / "conf"
ACTIONS = {
    "gridworld": ["go[east]", "go[north]", "go[west]", "go[south]", "take[red]"],
    "mini_qa": ["search[Bo]", "lookup[weds]", "finish[Bo]", "finish[Ka]"],
    "mini_shop": ["search[red]", "click[1]", "buy[now]"],
    "mini_code": ["write[x = x]", "write[x = sorted(x)]", "submit[]"],
}


def answer(request: Request) -> str:
    """Depends on the draw only, as a model's answer does."""
    rng = random.Random(request.draw.rng_seed())
    actions = sorted(action for some in ACTIONS.values() for action in some)
    match request.draw.phase:
        case Phase.EXPAND | Phase.SIM_EXPAND:
            return f"Thought: number {rng.randrange(1000)}.\nAction: {rng.choice(actions)}"
        case Phase.REFLECT:
            return f"Lesson: {rng.randrange(1000)} was wrong."
        case _:
            return f"Value: 0.{rng.randrange(10)} Confidence: 0.{rng.randrange(10)}"


def backend(spec: ModelSpec) -> ScriptedBackend:
    return ScriptedBackend(answer, revision=str(spec.settings["path"]))


class Logged:
    """A scripted model that takes its time and writes down each call it is paid for, by the store's key."""

    def __init__(self, spec: ModelSpec, log: Path, seconds: float) -> None:
        self._inner, self._log, self._seconds = backend(spec), log, seconds
        self.revision = self._inner.revision

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        import time

        time.sleep(self._seconds)
        with self._log.open("a") as stream:
            stream.write("".join(f"{call_key(self.revision, request).hex()}\n" for request in requests))
        return self._inner.generate(requests)


class Silent(Lines):
    def __init__(self) -> None:
        import io

        super().__init__(io.StringIO())


def one_group(experiment: str, *overrides: str, task: str = "mini_qa") -> Group:
    """The group of one experiment of the quickstart, one task and seed 0."""
    overrides = (f"tasks=[{task}]", "seeds=[0]", *overrides)
    (group,) = groups(plan("quickstart", overrides, experiment=experiment, conf=CONF))
    return group


def records(folder: Path) -> dict[str, bytes]:
    """What must be equal between equal runs: every file but the timings and their digests."""
    apart = ("timings.jsonl", "wall.json", "apart.json")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in apart
    }


def carry_out(group: Group, outputs: Path) -> dict[str, bytes]:
    """The records of the group's runs, by a scripted pool."""
    run_group(group, Place(outputs=outputs), Silent(), backend)
    return records(outputs / "runs")
