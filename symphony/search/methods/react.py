"""ReAct (Yao et al. 2022): one trajectory of thoughts and actions, without search."""

from __future__ import annotations

from dataclasses import dataclass

from symphony.fields import Count, NotNegative
from symphony.search.course import conclude, walk
from symphony.search.method import Method
from symphony.search.phases import Phases
from symphony.search.result import SearchResult, StopReason


@dataclass(frozen=True, slots=True, kw_only=True)
class React(Method):
    """Walks one trajectory, scheduling an agent at each step; its last state is the answer.

    Needs no evaluator and no feedback; never reflects. One model or a pool.

    Attributes:
        depth: Steps after which the trajectory is cut, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps without any action after which the trajectory is given up, >= 1.
    """

    depth: Count | None = 20
    max_misses: Count = 2
    temperature: NotNegative = 0.2

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Stop reason "iterations": the trajectory ended; "exhausted": it was given up."""
        phases.parts.session.iteration = 1
        return await conclude(phases, self._search(phases), "first_terminal")

    async def _search(self, phases: Phases) -> StopReason:
        last, given_up = await walk(phases, self.max_misses)
        phases.tree.backup(last, phases.tree[last].prior or 0.0)
        return "exhausted" if given_up else "iterations"
