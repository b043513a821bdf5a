"""What README's "Where to add things" says is enough: one of each is added to a copy, whose own tests see it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KINDS = {
    "task",
    "another wording",
    "model",
    "pool",
    "search method",
    "scheduler, scorer or memory",
    "ablation",
    "claim",
    "table",
    "command",
}

TASK = '''"""Say the word."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from symphony.chat.prompts import ChatPrompts, parse_proposal, split_action
from symphony.tasks.wording import read_prompts
from symphony.types import Feedback, Grade, Problem, Proposal, State


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedTask:
    """Reward 1 for the word of the problem, else 0."""

    seed: int
    count: int
    feedback: Feedback = "oracle"
    name: str = "added_task"
    wording: str = "v1"

    @property
    def prompts(self) -> ChatPrompts:
        return read_prompts(self.name, self.wording)

    def problems(self) -> Sequence[Problem]:
        words = [f"w{self.seed}x{index}" for index in range(self.count)]
        return [Problem(id=f"added-{word}", prompt=f"Say {word}.", target=word) for word in words]

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=("", problem.target))

    def parse(self, text: str) -> Proposal | None:
        return parse_proposal(text, ("say",))

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        verb, word = split_action(action)
        if verb != "say":
            return replace(state, observation="Invalid action.", invalid=True)
        reward = float(word == state.data[1]) if self.feedback == "oracle" else None
        return State(observation="Said.", reward=reward, terminated=True, data=(word, state.data[1]))

    def failure_key(self, state: State) -> str:
        return str(state.data[0])

    def submission(self, prediction: str) -> tuple[str, ...]:
        return (f"say[{prediction.strip()}]",)

    def grade(self, problem: Problem, state: State) -> Grade:
        success = state.data[0] == problem.target
        return Grade(success=success, score=float(success), detail=str(state.data[0]))
'''
WORDING = """instructions: Say the word.
lessons: "Lessons:"
evaluate: |
  Judge it:
  Value: <0 to 1>
  Confidence: <0 to 1>
reflect: |
  What went wrong?
  Lesson: <in a sentence>
"""
SEARCH = '''"""React that walks a step at most."""

from __future__ import annotations

from dataclasses import dataclass

from symphony.search.methods.react import React


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedSearch(React):
    """See React."""
'''
SCHEDULER = '''

@dataclass(frozen=True, slots=True, kw_only=True)
class AddedScheduler:
    """The last of the agents that are offered."""

    scope: Lifetime = "question"

    def pick(self, arms: Sequence[ArmStats], rng: random.Random, phase: Phase, depth: int) -> Pick | None:
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
        return Pick(offered[-1], node_means(arms), (0.0,) * len(arms)) if offered else None
'''
SCORER = '''

@dataclass(frozen=True, slots=True, kw_only=True)
class AddedScorer(Plain):
    """See Plain."""
'''
MEMORY = '''

@dataclass(frozen=True, slots=True, kw_only=True)
class AddedMemory(PoolFifo):
    """See PoolFifo."""
'''
COMMAND = '''"""`symphony added-command`: says the word."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("word")


def carry_out(args: argparse.Namespace) -> None:
    print(args.word)
'''
EXPERIMENT = "# @package _global_\n# Is {0} any good?\n{1}title: {0}\nquestion: Is {0} any good?\ntable: {2}\n"
POOL = "# A pool of one.\ndefaults:\n  - /model@agents.added: added_model\n"

FILES = {
    "symphony/tasks/added_task.py": TASK,
    "symphony/tasks/prompts/added_task/v1.yaml": WORDING,
    "conf/task/added_task.yaml": "# Say the word.\n_target_: symphony.tasks.added_task.AddedTask\nseed: ${seed}\n"
    "count: ${problems}\nfeedback: ${feedback}\n",
    "symphony/tasks/prompts/hotpotqa/v9.yaml": WORDING,
    "conf/pool/added_pool.yaml": POOL,
    "symphony/search/methods/added_search.py": SEARCH,
    "conf/search/added_search.yaml": "# One step.\n_target_: symphony.search.methods.added_search.AddedSearch\n",
    "conf/experiment/methods/added_search.yaml": EXPERIMENT.format(
        "added search", "defaults:\n  - override /search: added_search\n", "methods"
    ),
    "conf/scheduler/added_scheduler.yaml": "# The last one.\n_target_: symphony.agents.bandits.AddedScheduler\n",
    "conf/scorer/added_scorer.yaml": "# Plain.\n_target_: symphony.agents.scorer.AddedScorer\n",
    "conf/memory/added_memory.yaml": "# Fifo.\n_target_: symphony.agents.memory.AddedMemory\n",
    "conf/experiment/quickstart/added_ablation.yaml": EXPERIMENT.format(
        "added ablation", "defaults:\n  - override /scheduler: added_scheduler\n", "ablation"
    ),
    "conf/claims/sample.yaml": "claims:\n  - {claim: It helps, source: me, better: symphony, than: programs}\n",
    "symphony/report/queries/added_table.sql": "SELECT experiment AS method, count(*) AS runs FROM runs GROUP BY ALL\n",
    "symphony/commands/added_command.py": COMMAND,
}
"""Whole files of one addition of each kind."""

APPENDED = {
    "symphony/agents/bandits.py": SCHEDULER,
    "symphony/agents/scorer.py": SCORER,
    "symphony/agents/memory.py": MEMORY,
}

EDITED = {"symphony/commands/__init__.py": ("COMMANDS = {", 'COMMANDS = {\n    "added-command": "say the word",')}

SEEN = {
    "tests/test_cli.py": ("[added-command]",),
    "tests/plan/test_compose.py": (
        "[task=added_task]", "[pool=added_pool]", "[search=added_search]", "[scheduler=added_scheduler]",
        "[scorer=added_scorer]", "[memory=added_memory]", "[methods-added_search]", "[quickstart-added_ablation]",
    ),
    "tests/tasks/test_every_task.py": ("[added_task",),
    "tests/search/test_contract.py": ("AddedSearch]",),
    "tests/search/test_equal_compute.py": ("added_search]",),
    "tests/search/test_options.py": (
        "[scheduler=added_scheduler]", "[scorer=added_scorer]", "[memory=added_memory]"
    ),
    "tests/agents/test_bandits.py": ("[AddedScheduler",),
    "tests/plan/test_claims.py": ("[sample]",),
    "tests/report/test_tables.py": ("[added_table]",),
}  # fmt: skip
"""Tests that go over what there is, and what they must name of the additions."""

CATALOGUES = (
    "tests/test_layers.py", "tests/test_cli.py", "tests/chat/test_prompts.py", "tests/tasks/test_wording.py",
    "tests/report/test_page.py", "tests/plan/test_packaging.py", "tests/plan/test_cards.py",
)  # fmt: skip
"""Tests that list what there is."""


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project with one addition of each kind; the weights are the shipped ones."""
    copy = tmp_path_factory.mktemp("added") / "project"
    for name in ("symphony", "conf", "tests", "bench", "workflow", "docs", "data"):
        shutil.copytree(
            ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors", "*.png")
        )
    for file in [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.yml"), ROOT / "Snakefile", ROOT / "Makefile"]:
        shutil.copy(file, copy)
    shutil.rmtree(copy / "symphony/embedded/weights")
    (copy / "symphony/embedded/weights").symlink_to(ROOT / "symphony/embedded/weights")
    for name, text in FILES.items():
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text(text)
    for name, text in APPENDED.items():
        with (copy / name).open("a") as stream:
            stream.write(text)
    for name, (text, more) in EDITED.items():
        assert text in (copy / name).read_text()
        (copy / name).write_text((copy / name).read_text().replace(text, more))
    shutil.copy(copy / "conf/model/embedded_llama.yaml", copy / "conf/model/added_model.yaml")
    return copy


def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the copy, which imports the copy's package."""
    environment = {**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True, check=False
    )


def test_the_readme_names_no_kind_that_is_not_tried_here() -> None:
    table = (ROOT / "README.md").read_text().partition("## Where to add things")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ")][1:]
    told = {row.removeprefix("an ").removeprefix("a ").removesuffix(" or a sweep") for row in rows if "---" not in row}
    assert told == KINDS


@pytest.mark.slow
def test_what_is_added_can_be_planned(added: Path) -> None:
    overrides = ("tasks=[added_task]", "seeds=[0]", "pool=added_pool", "scorer=added_scorer", "memory=added_memory")
    for study, experiment in (("quickstart", "added_ablation"), ("methods", "added_search")):
        told = python(added, "-m", "symphony", "plan", study, "--experiment", experiment, *overrides)
        assert told.returncode == 0, told.stderr
        assert experiment in told.stdout
        assert "added_task" in told.stdout


@pytest.mark.slow
def test_the_tests_that_go_over_what_there_is_go_over_what_is_added(added: Path) -> None:
    found = python(added, "-m", "pytest", "--collect-only", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", *SEEN)
    assert found.returncode == 0, found.stdout[-2000:]
    lines = found.stdout.splitlines()
    for file, names in SEEN.items():
        for name in names:
            assert any(line.startswith(f"{file}::") and name in line for line in lines), f"{file} does not see {name}"


@pytest.mark.slow
def test_what_is_added_keeps_the_contracts(added: Path) -> None:
    ran = python(
        added, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not slow", *SEEN,
        "-k", "added or Added or every_experiment or methods or named_in_full",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("file", CATALOGUES)
def test_no_list_of_what_there_is_breaks_on_an_addition(added: Path, file: str) -> None:
    ran = python(added, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not slow", file)
    assert ran.returncode == 0, ran.stdout[-3000:]
