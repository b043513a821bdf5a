"""A few search trees of the reference method, for inspection."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from symphony.report.study import Study

LARGEST = 60
"""Maximum nodes in a shown tree; larger ones make the page heavy and show nothing more."""

_LONGEST_TEXT = 600

_CHOOSE = """
WITH candidates AS (
    SELECT task, run, problem, kind, success, score, detail, stop_reason, iterations, answer_node, seed,
           nodes_tree + nodes_simulated AS nodes,
           row_number() OVER (
               PARTITION BY task, success ORDER BY abs(nodes_tree + nodes_simulated - 16), seed, "index"
           ) AS rank
    FROM outcomes WHERE reference AND nodes_tree + nodes_simulated BETWEEN 1 AND ?
)
SELECT * EXCLUDE rank FROM candidates WHERE rank = 1 ORDER BY task, success DESC
"""

_NODES = """
SELECT node, parent, origin, agent, iteration, thought, action, observation, value, confidence, prior, visits,
       value_sum, reward, terminal, solved, invalid, closed, fallback
FROM nodes WHERE run = ? AND problem = ? ORDER BY node
"""


@dataclass(slots=True, kw_only=True)
class ShownNode:
    """A node as shown on the page; its labels are already text."""

    node: int
    action: str
    thought: str
    observation: str
    numbers: str
    marks: list[str]
    answer: bool
    children: list[ShownNode] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTree:
    """One problem's tree."""

    title: str
    facts: str
    root: ShownNode


def pick_trees(study: Study) -> list[ShownTree]:
    """Picks for each task one solved and one failed problem of the reference, with a tree of about 16 nodes."""
    result = study.connection.execute(_CHOOSE, [LARGEST])
    names = [column[0] for column in result.description]
    return [_tree(study, dict(zip(names, row, strict=True))) for row in result.fetchall()]


def _tree(study: Study, problem: dict[str, Any]) -> ShownTree:
    result = study.connection.execute(_NODES, [problem["run"], problem["problem"]])
    names = [column[0] for column in result.description]
    children: dict[int | None, list[ShownNode]] = defaultdict(list)
    shown = {}
    for row in result.fetchall():
        values = dict(zip(names, row, strict=True))
        node = _shown(values, problem["answer_node"])
        shown[node.node] = node
        children[values["parent"]].append(node)
    for number, node in shown.items():
        node.children = children[number]
    facts = (
        f"{problem['kind'] or problem['task']}; seed {problem['seed']}; score {problem['score']:.2f}; "
        f"ended: {problem['stop_reason']} after {problem['iterations']} iterations; {problem['nodes']} nodes"
        + (f"; {problem['detail']}" if problem["detail"] else "")
    )
    verdict = "solved" if problem["success"] else "not solved"
    name = str(problem["problem"]).removeprefix(problem["task"]).lstrip("-_/ ")
    return ShownTree(title=f"{problem['task']} {name}: {verdict}", facts=facts, root=shown[0])


def _shown(values: dict[str, Any], answer: int) -> ShownNode:
    numbers = []
    if values["value"] is not None:
        numbers.append(f"Z {values['value']:.2f} · C {values['confidence']:.2f} · R {values['prior']:.3f}")
    mean = f" · Q {values['value_sum'] / values['visits']:.3f}" if values["visits"] else ""
    numbers.append(f"N {values['visits']}{mean}")
    if values["reward"] is not None:
        numbers.append(f"reward {values['reward']:.2f}")
    if values["agent"] is not None:
        numbers.append(f"{values['agent']}, iteration {values['iteration']}")
    marks = [name for name in ("solved", "terminal", "invalid", "closed", "fallback") if values[name]]
    if values["origin"] == "simulate":
        marks.append("simulated")
    return ShownNode(
        node=values["node"],
        action=_cut(values["action"]) or "start",
        thought=_cut(values["thought"]),
        observation=_cut(values["observation"]),
        numbers=" · ".join(numbers),
        marks=marks,
        answer=values["node"] == answer,
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
