"""RAP (Hao et al. 2023): MCTS without simulations that answers from the most visited branch."""

from __future__ import annotations

from dataclasses import dataclass

from symphony.fields import Count, NotNegative
from symphony.search.course import conclude, grow
from symphony.search.method import SQRT_2, Method
from symphony.search.phases import Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason
from symphony.search.tree import FirstVisit


@dataclass(frozen=True, slots=True, kw_only=True)
class RAP(Method):
    """Selects by UCT, expands, evaluates the children, and backs up their mean R from the leaf.

    Needs an evaluator; works with and without feedback, never reflects. One model or a pool.

    Source: Hao et al. 2023 ("Reasoning via Planning") as in SYMPHONY's published code (hp/rap.py): no simulation,
    unvisited children count as twice their value. The environment is the world model, where RAP uses a language model.
    Deviations from that code: values are not divided by the largest among siblings, and ends are worth their reward
    (there, more than 1).

    Attributes:
        n: Actions sampled per expansion, >= 1.
        iterations: Maximum number of expansions, >= 1.
        depth: Nodes at this depth are not expanded, >= 1; None leaves it to the environment's horizon.
        c: Weight of exploration in UCT, >= 0 (published code: sqrt(2 ln N / n), so sqrt(2)).
        first_visit: What an unvisited child counts as in selection.
        max_misses: Expansions without any action after which a node is closed, >= 1.
        answer: How the answer is chosen among the nodes.
        temperature: Sampling temperature of actions; evaluation is greedy.
        expand_tokens, evaluate_tokens: Completion token limits per call.
        stop: Strings that end an action.
    """

    n: Count = 4
    iterations: Count = 10
    depth: Count | None = 7
    c: NotNegative = SQRT_2
    first_visit: FirstVisit = "twice"
    max_misses: Count = 2
    answer: AnswerPolicy = "most_visited"
    evaluate_tokens: Count = 16

    async def search(self, phases: Phases) -> SearchResult:
        """See `Search.solve`."""
        return await conclude(phases, self._search(phases), self.answer)

    async def _search(self, phases: Phases) -> StopReason:
        tree, session = phases.tree, phases.parts.session
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
