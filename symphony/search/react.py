"""ReAct (Yao et al. 2022): one trajectory of thoughts and actions, without search."""

from __future__ import annotations

from dataclasses import dataclass

from symphony.agents import Session
from symphony.memory import Memory
from symphony.scheduler import Scheduler
from symphony.scorer import Scorer
from symphony.search.course import conclude, walk
from symphony.search.phases import Parts, Phases
from symphony.search.result import SearchResult, StopReason, check_range
from symphony.types import Problem, Sampling, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class React:
    """One trajectory, an agent scheduled at each step; the last state is the answer.

    Needs no evaluator and no feedback; never reflects. One model or a pool.

    Attributes:
        depth: Steps after which it is cut, >= 1.
        max_misses: Steps without any action after which it is given up, >= 1.
        temperature: Of actions.
        expand_tokens: Completion tokens a call.
        stop: Strings that end an action.
    """

    depth: int = 20
    max_misses: int = 2
    temperature: float = 0.2
    expand_tokens: int = 48
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_range("depth", self.depth, 1)
        check_range("max_misses", self.max_misses, 1)
        self._sampling()

    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_tokens=self.expand_tokens, stop=self.stop)

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`. Stop reason "iterations": the trajectory ended; "exhausted": it was given up."""
        parts = Parts(problem=problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory)
        phases = Phases(parts=parts, depth=self.depth, expand_sampling=self._sampling())
        session.iteration = 1
        return await conclude(phases, self._search(phases), "first_terminal")

    async def _search(self, phases: Phases) -> StopReason:
        last, given_up = await walk(phases, self.max_misses)
        phases.tree.backup(last, phases.tree[last].prior or 0.0)
        return "exhausted" if given_up else "iterations"
