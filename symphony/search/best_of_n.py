"""Best of N: independent trajectories, the best of which is the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from symphony.agents import Session
from symphony.memory import Memory
from symphony.scheduler import Held, Scheduler
from symphony.scorer import Scorer
from symphony.search.course import conclude, walk
from symphony.search.evaluation import evaluate
from symphony.search.phases import Parts, Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason, check_choice, check_range
from symphony.types import Problem, Sampling, Task

Per = Literal["step", "trajectory", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN:
    """Trajectories one after another until one is seen to succeed, N are made, or the session's budget is spent.

    Needs feedback or an evaluator; never reflects. One model or a pool.

    Where the environment shows no reward, a scheduled agent scores each end, and the best scored is the answer. No
    trajectory learns from another: nothing is reflected on.

    `per` says who makes a trajectory: an agent scheduled at each step; one scheduled at the first step, for all of it;
    or, by a fixed split over the pool, agent i mod n for the i-th. An agent that stops answering is replaced by
    scheduling.

    Attributes:
        n: Trajectories at most, >= 1.
        per: "step", "trajectory" or "split".
        depth: Steps after which a trajectory is cut, >= 1.
        max_misses: Steps without any action after which a trajectory is given up, >= 1.
        answer: How the answer is chosen among the nodes.
        temperature: Of actions.
        expand_tokens, evaluate_tokens: Completion tokens a call.
        stop: Strings that end an action.
    """

    n: int = 10
    per: Per = "step"
    depth: int = 20
    max_misses: int = 2
    answer: AnswerPolicy = "oracle_best"
    temperature: float = 1.0
    expand_tokens: int = 48
    evaluate_tokens: int = 16
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, found in (("n", self.n), ("depth", self.depth), ("max_misses", self.max_misses)):
            check_range(key, found, 1)
        check_range("evaluate_tokens", self.evaluate_tokens, 1)
        check_choice("per", self.per, Per)
        check_choice("answer", self.answer, AnswerPolicy)
        self._sampling()

    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_tokens=self.expand_tokens, stop=self.stop)

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`. Iterations are trajectories."""
        parts = Parts(problem=problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory)
        phases = Phases(
            parts=parts,
            depth=self.depth,
            expand_sampling=self._sampling(),
            evaluate_tokens=self.evaluate_tokens,
        )
        return await conclude(phases, self._search(phases, session), self.answer)

    async def _search(self, phases: Phases, session: Session) -> StopReason:
        for trajectory in range(1, self.n + 1):
            session.iteration = trajectory
            arm = (trajectory - 1) % len(session.pool)
            by = Held(arm, phases.parts.scheduler) if self.per == "split" else None
            last, _ = await walk(phases, self.max_misses, by=by, keep=self.per == "trajectory")
            if phases.solved():
                return "solved"
            if phases.tree[last].state.done:
                await evaluate(phases, [last])
            phases.tree.backup(last, phases.tree[last].prior or 0.0)
        return "iterations"
