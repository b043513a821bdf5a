"""MASTER (Gan et al. 2025): tree search without simulations that ends at the first answer an agent accepts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from symphony.fields import Count, NotNegative, Share
from symphony.search.course import conclude, grow
from symphony.search.evaluation import evaluate
from symphony.search.method import SQRT_2, Method
from symphony.search.phases import Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason
from symphony.search.settings import Judge, Settings
from symphony.search.tree import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class MASTER(Method):
    """Selects by UCT, expands, has the children judged; an end that is judged well enough is the answer.

    Needs an evaluator; works with and without feedback, never reflects. One model or a pool. If the environment shows
    an end's reward, that is its validation and no agent is asked.

    Source: Gan et al. 2025 (arXiv 2501.14304): no simulation; the evaluator's value, weighted by its confidence, is a
    node's initial reward; an end is validated, and only a failed validation is backed up. The formulas are ours, the
    simplest that do this:

        a new node s:             N(s) = 1, W(s) = R(s)    R of the scorer; EMCS weights Z by the entropy of C
        a failed validation at t: N(s) += 1, W(s) += 0     for every s from t up to the root
        selection:                W(s) / N(s) + c sqrt(ln N(parent) / N(s)), from the root down to a leaf

    An end's single evaluation is its validation: it passes if understood and Z >= `threshold`. There are no roles or
    messages between agents beyond what the prompts of this project carry.

    Attributes:
        n: Actions sampled per expansion, >= 1.
        iterations: Maximum number of expansions, >= 1.
        depth: Nodes at this depth are not expanded, >= 1; None leaves it to the environment's horizon.
        c: Weight of exploration in UCT, >= 0.
        threshold: Lowest value Z at which an end passes, in [0, 1].
        max_misses: Expansions without any action after which a node is closed, >= 1.
        judge: Whether a new unfinished node without siblings, whose R decides nothing, is judged too ("every") or not
            ("used").
        answer: How the answer is chosen among the nodes if no end has passed.
        temperature: Sampling temperature of actions; evaluation is greedy.
        expand_tokens, evaluate_tokens: Completion token limits per call.
        stop: Strings that end an action.
    """

    n: Count = 4
    iterations: Count = 10
    depth: Count | None = 7
    c: NotNegative = SQRT_2
    threshold: Share = 0.7
    max_misses: Count = 2
    judge: Judge = "used"
    answer: AnswerPolicy = "oracle_best"
    evaluate_tokens: Count = 16

    def settings(self) -> Settings:
        return replace(Method.settings(self), accept=self.threshold)

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Stop reason "accepted": an end passed its validation; the best-judged one is the answer."""
        return await conclude(phases, self._search(phases), self.answer)

    def _places(self, phases: Phases) -> int:
        """Returns `places` of `evaluation.used`.

        After the last iteration nothing is selected any more, so unfinished nodes need no values once there is an end:
        an end is the better answer.
        """
        last = phases.parts.session.iteration == self.iterations
        return self.n if last and any(node.state.done for node in phases.tree.nodes) else 1

    async def _search(self, phases: Phases) -> StopReason:
        tree, session = phases.tree, phases.parts.session
        tree[ROOT].visits = 1
        for iteration in range(1, self.iterations + 1):
            leaf = tree.select(self.c, "prior")
            if leaf is None:
                return "exhausted"
            session.iteration = iteration
            ids = await grow(phases, leaf, self.n, self.max_misses, partial(evaluate, places=self._places(phases)))
            if phases.solved():
                return "solved"
            for id in ids:
                tree.visit(id, tree[id].prior or 0.0)
            if any(phases.passes(tree[id]) for id in ids):
                return "accepted"
            for id in ids:
                if tree[id].state.done:
                    tree.backup(id, 0.0)
            tree.settle(leaf)
        return "iterations"
