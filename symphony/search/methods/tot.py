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
    """Proposes n actions per node, has them judged, and continues from the best.

    Needs an evaluator; works with and without feedback, never reflects. One model or a pool.

    Source: Yao et al. 2023, Algorithm 1 (bfs): of all children of a level, the `breadth` with the highest values are
    kept; Algorithm 2 (dfs): the best child comes first, a child below the threshold is skipped, and when a branch ends
    the search backtracks to the next best. The value is the scorer's R, from one evaluation (there, several votes).
    Deviations: ends leave the search as candidates for the answer and take no place in the beam; success shown by the
    environment ends the search; a value equal to the threshold is kept, so 0 prunes nothing. SYMPHONY's published
    ToT-DFS has neither values nor pruning, expands children in creation order, and notices success only when it returns
    to the node.

    Attributes:
        order: "bfs" or "dfs".
        n: Actions proposed per node, >= 1.
        breadth: Nodes kept per level, >= 1 (bfs).
        threshold: Lowest value of a node that is expanded, in [0, 1]; 0 under "bfs", which prunes only by breadth.
        iterations: Maximum number of levels (bfs) or expanded nodes (dfs), >= 1.
        depth: Nodes at this depth are not expanded, >= 1; None leaves it to the environment's horizon.
        judge: Whether a new node without rivals is judged too ("every"), or only those that compete ("used").
        answer: How the answer is chosen among the nodes.
        temperature: Sampling temperature of actions; evaluation is greedy.
        expand_tokens, evaluate_tokens: Completion token limits per call.
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
        """Checks each field, and the one rule that ties two fields together."""
        Method.__post_init__(self)
        if self.order == "bfs" and self.threshold:
            raise SymphonyError(f"search.threshold: found {self.threshold}, allowed with order bfs: 0")

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. A node's visits count the expansions at and below it."""
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
        """Expands nodes together; returns their open children, best first, with ties in creation order."""
        for id in ids:
            phases.tree.backup(id, phases.tree[id].prior or 0.0)
        expansions = await phases.together([phases.expand(id, self.n) for id in ids])
        new = [id for expansion in expansions for id in expansion.ids]
        if not phases.solved():
            await evaluate(phases, new, places=0 if self.threshold else 1)
        return sorted(_open(phases, new), key=lambda id: -(phases.tree[id].prior or 0.0))


def _open(phases: Phases, ids: Sequence[int]) -> list[int]:
    return [id for id in ids if not phases.tree[id].closed]


async def _level(search: ToT, phases: Phases, agenda: list[int]) -> list[int]:
    """Expands the whole level; the best of all its children form the next level (Algorithm 1)."""
    return (await search.grow(phases, agenda))[: search.breadth]


async def _dive(search: ToT, phases: Phases, agenda: list[int]) -> list[int]:
    """Expands the first node; its children come before the remaining agenda (Algorithm 2)."""
    first, *rest = agenda
    children = await search.grow(phases, [first])
    return [id for id in children if (phases.tree[id].prior or 0.0) >= search.threshold] + rest


ORDERS: dict[Order, Callable[[ToT, Phases, list[int]], Awaitable[list[int]]]] = {"bfs": _level, "dfs": _dive}
