"""Reflexion (Shinn et al. 2023): runs trials one after another, each with the lessons of those that failed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from symphony.fields import Count, Share
from symphony.search.course import conclude, walk
from symphony.search.evaluation import evaluate
from symphony.search.method import Method
from symphony.search.phases import Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason
from symphony.search.settings import Settings
from symphony.search.tree import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflexion(Method):
    """Walks trajectories one after another; an agent draws a lesson from each failure, and later prompts carry it.

    Needs feedback or an evaluator, and a memory that reflects: without such a memory the trials are independent. One
    model or a pool; an agent is scheduled for each call.

    Source: Shinn et al. 2023 (arXiv 2303.11366), Algorithm 1: actor, evaluator, self-reflection. The evaluator is the
    environment's verdict if it is shown; otherwise an end passes if it is judged with Z >= `threshold`, and that ends
    the search. A trajectory that is cut is a failure. Deviations: the memory sets its own size (there, 1 to 3 lessons);
    failures with the same failure key are reflected on once, so that no lesson is told twice; a pool may share the
    three roles.

    Attributes:
        trials: Maximum number of trajectories, >= 1.
        depth: Steps after which a trajectory is cut, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps without any action after which a trajectory is given up, >= 1.
        threshold: Lowest value Z at which an end passes if no reward is shown, in [0, 1].
        answer: How the answer is chosen among the nodes if no end has passed.
        temperature: Sampling temperature of actions; evaluation and reflection are greedy.
        expand_tokens, evaluate_tokens, reflect_tokens: Completion token limits per call.
        stop: Strings that end an action.
    """

    trials: Count = 10
    depth: Count | None = 20
    max_misses: Count = 2
    threshold: Share = 0.7
    answer: AnswerPolicy = "oracle_best"
    evaluate_tokens: Count = 16
    reflect_tokens: Count = 48

    def settings(self) -> Settings:
        return replace(Method.settings(self), accept=self.threshold)

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Iterations are trials; stop reason "accepted": an end passed without feedback."""
        return await conclude(phases, self._search(phases), self.answer)

    async def _search(self, phases: Phases) -> StopReason:
        tree, session = phases.tree, phases.parts.session
        if tree[ROOT].state.done:
            return "exhausted"
        for trial in range(1, self.trials + 1):
            session.iteration = trial
            last, _ = await walk(phases, self.max_misses)
            if phases.solved():
                return "solved"
            if tree[last].state.terminated:
                await evaluate(phases, [last])
            tree.backup(last, tree[last].prior or 0.0)
            if phases.passes(tree[last]):
                return "accepted"
            if trial < self.trials:
                await phases.reflect([last])
        return "iterations"
