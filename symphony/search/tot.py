"""Tree of Thoughts (Yao et al. 2023): breadth first with a beam, or depth first with pruning and backtracking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from symphony.agents import Session
from symphony.memory import Memory
from symphony.scheduler import Scheduler
from symphony.scorer import Scorer
from symphony.search.course import conclude
from symphony.search.evaluation import evaluate
from symphony.search.phases import Parts, Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason, check_choice, check_range
from symphony.search.tree import ROOT
from symphony.types import Problem, Sampling, SymphonyError, Task

Order = Literal["bfs", "dfs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToT:
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
        threshold: Least value of a node that is gone on from, in [0, 1] (dfs).
        iterations: Levels (bfs) or nodes expanded (dfs) at most, >= 1.
        depth: Nodes at this depth are not expanded, >= 1; None leaves it to the environment's horizon.
        answer: How the answer is chosen among the nodes.
        temperature: Of actions; evaluation is greedy.
        expand_tokens, evaluate_tokens: Completion tokens a call.
        stop: Strings that end an action.
    """

    order: Order = "bfs"
    n: int = 4
    breadth: int = 3
    threshold: float = 0.0
    iterations: int = 20
    depth: int | None = None
    answer: AnswerPolicy = "oracle_best"
    temperature: float = 0.8
    expand_tokens: int = 48
    evaluate_tokens: int = 16
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("order", self.order, Order)
        for key in ("n", "breadth", "iterations", "depth", "evaluate_tokens"):
            check_range(key, getattr(self, key), 1)
        if not 0 <= self.threshold <= 1:
            raise SymphonyError(f"search.threshold: found {self.threshold}, allowed: 0 to 1")
        check_choice("answer", self.answer, AnswerPolicy)
        self._sampling()

    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_tokens=self.expand_tokens, stop=self.stop)

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`. A node's visits count the expansions at and below it."""
        phases = Phases(
            parts=Parts(problem=problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory),
            depth=self.depth,
            expand_sampling=self._sampling(),
            evaluate_tokens=self.evaluate_tokens,
        )
        return await conclude(phases, self._search(phases, session), self.answer)

    async def _search(self, phases: Phases, session: Session) -> StopReason:
        agenda = _open(phases, [ROOT])
        for iteration in range(1, self.iterations + 1):
            if not agenda:
                return "exhausted"
            session.iteration = iteration
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
            await evaluate(phases, new)
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
