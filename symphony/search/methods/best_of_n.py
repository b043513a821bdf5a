"""Best of N: makes independent trajectories and answers with the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from symphony.agents.scheduler import Held
from symphony.fields import Count, NotNegative
from symphony.search.course import conclude, walk
from symphony.search.evaluation import evaluate
from symphony.search.method import Method
from symphony.search.phases import Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason

Per = Literal["step", "trajectory", "split"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN(Method):
    """Makes trajectories one after another until one is seen to succeed, N are made, or the budget is spent.

    Needs feedback or an evaluator; never reflects. One model or a pool.

    If the environment shows no reward, a scheduled agent scores each end, and the best-scored end is the answer.
    Trajectories do not learn from each other: nothing is reflected on.

    `per` says who makes a trajectory: an agent scheduled at each step ("step"), one scheduled at the first step for the
    whole trajectory ("trajectory"), or agent i mod n of the pool for trajectory i ("split"). If an agent stops
    answering, the scheduler picks a replacement.

    Attributes:
        n: Maximum number of trajectories, >= 1.
        per: "step", "trajectory" or "split".
        depth: Steps after which a trajectory is cut, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps without any action after which a trajectory is given up, >= 1.
        answer: How the answer is chosen among the nodes.
        evaluate_tokens: Completion token limit of an evaluation.
    """

    n: Count = 10
    per: Per = "step"
    depth: Count | None = 20
    max_misses: Count = 2
    answer: AnswerPolicy = "oracle_best"
    temperature: NotNegative = 1.0
    evaluate_tokens: Count = 16

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Iterations are trajectories."""
        return await conclude(phases, self._search(phases), self.answer)

    async def _search(self, phases: Phases) -> StopReason:
        session = phases.parts.session
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
