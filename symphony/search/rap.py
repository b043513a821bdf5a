"""RAP (Hao et al. 2023): MCTS without simulations, whose answer is the line that was visited most."""

from __future__ import annotations

import math
from dataclasses import dataclass

from symphony.agents import Session
from symphony.memory import Memory
from symphony.scheduler import Scheduler
from symphony.scorer import Scorer
from symphony.search.course import conclude, grow
from symphony.search.phases import Parts, Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason, check_choice, check_range
from symphony.search.tree import FirstVisit
from symphony.types import Problem, Sampling, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class RAP:
    """Select by UCT, expand, evaluate the children, back up their mean R from the leaf.

    Needs an evaluator; works with and without feedback, never reflects. One model or a pool.

    Source: Hao et al. 2023 ("Reasoning via Planning") as SYMPHONY's published code has it (hp/rap.py): no simulation,
    unvisited children count as twice their value. The environment is the world model that RAP asks a language model
    to be. Deviations from that code: values are not divided by the largest among siblings, and ends are worth their
    reward (there, more than 1).

    Attributes:
        n: Actions sampled an expansion, >= 1.
        iterations: Expansions at most, >= 1.
        depth: Nodes at this depth are not expanded, >= 1; None leaves it to the environment's horizon.
        c: Weight of exploration in UCT, >= 0 (published code: sqrt(2 ln N / n), so sqrt(2)).
        first_visit: What an unvisited child counts as in selection.
        max_misses: Expansions without any action after which a node is closed, >= 1.
        answer: How the answer is chosen among the nodes.
        temperature: Of actions; evaluation is greedy.
        expand_tokens, evaluate_tokens: Completion tokens a call.
        stop: Strings that end an action.
    """

    n: int = 4
    iterations: int = 10
    depth: int | None = 7
    c: float = math.sqrt(2)
    first_visit: FirstVisit = "twice"
    max_misses: int = 2
    answer: AnswerPolicy = "most_visited"
    temperature: float = 0.8
    expand_tokens: int = 48
    evaluate_tokens: int = 16
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key in ("n", "iterations", "depth", "max_misses", "evaluate_tokens"):
            check_range(key, getattr(self, key), 1)
        check_range("c", self.c, 0)
        check_choice("first_visit", self.first_visit, FirstVisit)
        check_choice("answer", self.answer, AnswerPolicy)
        self._sampling()

    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_tokens=self.expand_tokens, stop=self.stop)

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`."""
        phases = Phases(
            parts=Parts(problem=problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory),
            depth=self.depth,
            expand_sampling=self._sampling(),
            evaluate_tokens=self.evaluate_tokens,
        )
        return await conclude(phases, self._search(phases, session), self.answer)

    async def _search(self, phases: Phases, session: Session) -> StopReason:
        tree = phases.tree
        for iteration in range(1, self.iterations + 1):
            leaf = tree.select(self.c, self.first_visit)
            if leaf is None:
                return "exhausted"
            session.iteration = iteration
            ids = await grow(phases, leaf, self.n, self.max_misses)
            if phases.solved():
                return "solved"
            if ids:
                tree.backup(leaf, sum(tree[id].prior or 0.0 for id in ids) / len(ids))
                tree.settle(leaf)
        return "iterations"
