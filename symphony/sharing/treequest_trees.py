"""Search trees as states of TreeQuest's MCTS: one pickle a run, problem -> state, as TreeQuest keeps its searches.

`treequest.algos.standard_mcts.MCTSState` carries the tree, the order of expansion, a score and a state of each node,
and visits and value sums. Our node becomes its own state: the dictionary of its record, so nothing of it is lost. What
TreeQuest has no place for is only there: agents, confidence, closed and simulated nodes, lessons and calls. Its priors
stay empty, because they mean something else (a softmax over the siblings' scores). Trees of AB-MCTS come out the same
way, step by step: the records do not say which attempt refined which.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from symphony.files import check_own_folder, write_bytes
from symphony.records.records import NodeRecord, read_records

_FRAMES = 12  # of the interpreter's stack, that pickling takes for a level of a tree; measured: 6


def export(database: Path, folders: Sequence[Path], out: Path, say: Callable[[str], None]) -> None:
    """Writes `<run>.pickle` for each run."""
    check_own_folder(out, [f"{folder.name}.pickle" for folder in folders])
    for folder in folders:
        nodes = read_records(folder, NodeRecord)
        states = {problem: _state(some) for problem, some in groupby(nodes, key=lambda node: node.problem)}
        with _room(max((node.depth for node in nodes), default=0)):
            data = pickle.dumps(states, protocol=4)
        write_bytes(out / f"{folder.name}.pickle", data)
    say(f"{out}: {len(folders)} runs")


def _state(nodes: Iterable[NodeRecord]) -> Any:
    """Returns the state of one search; the nodes are those of a problem, parents before their children."""
    from treequest.algos.standard_mcts import MCTSState
    from treequest.algos.tree import Tree

    tree: Any = Tree.with_root_node()
    state: Any = MCTSState(tree=tree)
    by_number: dict[int, Any] = {}
    for node in nodes:
        if node.parent is None:
            made = tree.root
            made.state = asdict(node)
        else:
            score = 0.0 if node.prior is None else node.prior
            made = tree.add_node((asdict(node), score), by_number[node.parent], validate_score_range=False)
        by_number[node.node] = made
        if node.visits:  # TreeQuest divides by them
            state.visit_counts[made.expand_idx] = node.visits
            state.value_sums[made.expand_idx] = node.value_sum
    return state


@contextmanager
def _room(depth: int) -> Any:
    """Lets the interpreter go as deep as pickling a tree of this depth needs."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 1000 + _FRAMES * depth))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)
