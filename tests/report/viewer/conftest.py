"""Small studies on disk, as `symphony load` finds them, and their pages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from symphony.agents.sent import digest
from symphony.records.database import load
from symphony.records.prompts import PROMPTS, message_text, prompt_line
from symphony.records.records import CallRecord, NodeRecord
from symphony.report.study import open_study
from symphony.report.viewer.pages import write_trees
from symphony.types import Message
from tests.records.test_records import ANSWER, CALL, CHILD, LESSON, NOTHING, PICK, PROBLEM, ROOT, RUN, WALL
from tests.report.conftest import SyntheticRun
from tests.run_writer import write_run


def publish(outputs: Path, runs: Sequence[SyntheticRun], *, prompts: bool = True) -> Path:
    """Writes the runs and their trees into `outputs`, and returns the folder of the pages."""
    folders = [run.write(outputs / "runs") for run in runs]
    if not prompts:
        for folder in folders:
            drop_prompts(folder)
    return publish_folders(outputs, folders)


def publish_folders(outputs: Path, folders: Sequence[Path]) -> Path:
    database = outputs / "study" / "records.duckdb"
    load(database, folders)
    with open_study(database) as study:
        return write_trees(study, outputs / "runs", outputs / "study" / "trees").parent


def drop_prompts(folder: Path) -> None:
    """Makes a run's folder one that was written before prompts were kept."""
    (folder / PROMPTS).unlink()
    parts = json.loads((folder / "manifest.json").read_text())
    del parts[PROMPTS]
    (folder / "manifest.json").write_text(json.dumps(parts))


def write_large_run(folder: Path, nodes: int, *, text: str = "word " * 300, problem: str = "p1") -> Path:
    """A run of one problem with so many nodes, and a call with a prompt of its own for each."""
    records: list[NodeRecord] = [dataclasses.replace(ROOT, problem=problem, observation="Find the treasure.")]
    calls: list[CallRecord] = []
    prompts = []
    for node in range(1, nodes + 1):
        messages = (Message(role="user", content=f"{text} {node}\n- {LESSON.text}"),)
        name = digest(messages)
        prompts.append(prompt_line("r1", problem, name, [message_text(one.role, one.content) for one in messages]))
        where: dict[str, Any] = {"problem": problem, "iteration": node}
        parent = (node - 1) // 3
        action = f"go[{node}]"
        child = dataclasses.replace(CHILD, node=node, parent=parent, agent="ab"[node % 2], action=action, **where)
        records.append(child)
        asked = dataclasses.replace(
            CALL, call=node - 1, node=parent, agent="ab"[node % 2], prompt=name, text=f"Action: {action}", **where
        )
        calls.append(asked)
    total: dict[str, Any] = {
        "prompt_tokens": 10 * nodes,
        "completion_tokens": 5 * nodes,
        "cost": 0.25 * nodes,
        "calls": nodes,
    }
    outcome = dataclasses.replace(PROBLEM, problem=problem, nodes_tree=nodes, answer_node=nodes, **total)
    answers = [dataclasses.replace(one, problem=problem) for one in (NOTHING, ANSWER)]
    answers[1] = dataclasses.replace(answers[1], calls=nodes, node=nodes)
    tables: list[Sequence[Any]] = [
        [outcome],
        answers,
        records,
        calls,
        [dataclasses.replace(PICK, problem=problem, iteration=1)],
        [dataclasses.replace(LESSON, problem=problem)],
    ]
    write_run(folder / "r1", RUN, tables, WALL, "a: 1\n", ["".join(prompts)])
    return folder / "r1"


@pytest.fixture(scope="session")
def large_trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of one search with 5,000 nodes and as many calls."""
    outputs = tmp_path_factory.mktemp("large")
    return publish_folders(outputs, [write_large_run(outputs / "runs", 5_000)])
