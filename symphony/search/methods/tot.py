"""Tree of Thoughts (Yao et al. 2023): breadth first with a beam, or depth first with pruning and backtracking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from symphony.fields import Count, Share
from symphony.search.course import conclude
from symphony.search.evaluation import evaluate
from symphony.search.method import Method
from symphony.search.phases import Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason
from symphony.search.settings import Judge
from symphony.search.tree import ROOT
from symphony.types import SymphonyError

Order = Literal["bfs", "dfs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToT(Method):
    """Propose n actions a node, have them judged, go on from the best.

    Needs an evaluator; works with and without feedback, never reflects. One model or a pool.

    Source: Yao et al. 2023, Algorithm 1 (bfs): of all children of a level the `breadth` with the highest value are
    kept; Algorithm 2 (dfs): the best child first, one with a value below the threshold never, and back to the next
    best where a branch ends. The value is R of the scorer, from one evaluation (there, several votes). Deviations:
    ends leave the search as candidates for the answer and take no place in the beam; success that the environment
    shows ends the search; a value equal to the threshold is kept, so that 0 prunes nothing. SYMPHONY's published
    ToT-DFS has neither values nor pruning, expands children in the order made, and notices success when it comes back
    to the node.

    Attributes:
        order: "bfs" or "dfs".
        n: Actions proposed a node, >= 1.
        breadth: Nodes kept a level, >= 1 (bfs).
        threshold: Least value of a node that is gone on from, in [0, 1]; 0 under "bfs", which prunes by breadth alone.
        iterations: Levels (bfs) or nodes expanded (dfs) at most, >= 1.
        depth: Nodes at this depth are not expanded, >= 1; None leaves it to the environment's horizon.
        judge: Whether a new node that stands alone is judged, too ("every"), or only those that compete ("used").
        answer: How the answer is chosen among the nodes.
        temperature: Of actions; evaluation is greedy.
        expand_tokens, evaluate_tokens: Completion tokens a call.
        stop: Strings that end an action.
    """

    order: Order = "bfs"
    n: Count = 4
    breadth: Count = 3
    threshold: Share = 0.0
    iterations: Count = 20
    depth: Count | None = None
    judge: Judge = "used"
    answer: AnswerPolicy = "oracle_best"
    evaluate_tokens: Count = 16

    def __post_init__(self) -> None:
        """One rule ties two fields together; the others are each field's own."""
        Method.__post_init__(self)
        if self.order == "bfs" and self.threshold:
            raise SymphonyError(f"search.threshold: found {self.threshold}, allowed with order bfs: 0")

    async def search(self, phases: Phases) -> SearchResult:
        """A node's visits count the expansions at and below it."""
        return await conclude(phases, self._search(phases), self.answer)

    async def _search(self, phases: Phases) -> StopReason:
        agenda = _open(phases, [ROOT])
        for iteration in range(1, self.iterations + 1):
            if not agenda:
                return "exhausted"
            phases.parts.session.iteration = iteration
            agenda = await ORDERS[self.order](self, phases, agenda)
            if phases.solved():
                return "solved"
        return "iterations"

    async def grow(self, phases: Phases, ids: Sequence[int]) -> list[int]:
        """Expands nodes together; their children that are still open, the best first, ties in the order made."""
        for id in ids:
            phases.tree.backup(id, phases.tree[id].prior or 0.0)
        found = await phases.together([phases.expand(id, self.n) for id in ids])
        new = [id for expansion in found for id in expansion.ids]
        if not phases.solved():
            await evaluate(phases, new, places=0 if self.threshold else 1)
        return sorted(_open(phases, new), key=lambda id: -(phases.tree[id].prior or 0.0))


def _open(phases: Phases, ids: Sequence[int]) -> list[int]:
    return [id for id in ids if not phases.tree[id].closed]


async def _level(search: ToT, phases: Phases, agenda: list[int]) -> list[int]:
    """The whole level goes on; the best of all its children are the next (Algorithm 1)."""
    return (await search.grow(phases, agenda))[: search.breadth]


async def _dive(search: ToT, phases: Phases, agenda: list[int]) -> list[int]:
    """The first goes on; its children come before what was left over (Algorithm 2)."""
    first, *rest = agenda
    children = await search.grow(phases, [first])
    return [id for id in children if (phases.tree[id].prior or 0.0) >= search.threshold] + rest


ORDERS: dict[Order, Callable[[ToT, Phases, list[int]], Awaitable[list[int]]]] = {"bfs": _level, "dfs": _dive}
