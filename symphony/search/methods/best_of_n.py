"""Best of N: makes independent trajectories and answers with the best, or with the one that most of them agree on."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from symphony.agents.scheduler import Held
from symphony.fields import Count, NotNegative, Positive, Share
from symphony.search.certainty import Certainty, Worth, value_end
from symphony.search.course import conclude, walk
from symphony.search.method import Method
from symphony.search.phases import Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason, choose_answer, majority, voters
from symphony.search.tree import Node, Tree

Per = Literal["step", "trajectory", "split"]
Vote = Literal["none", "equal", "weighted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfN(Method):
    """Makes trajectories one after another until one is seen to succeed, N are made, or the budget is spent.

    Needs feedback or an evaluator; never reflects. One model or a pool.

    If the environment shows no reward, each end gets a value, and the answer is the end with the highest value or, with
    a `vote`, the answer that most ends gave. Trajectories do not learn from each other: nothing is reflected on.

    `per` says who makes a trajectory: an agent scheduled at each step ("step"), one scheduled at the first step for the
    whole trajectory ("trajectory"), or agent i mod n of the pool for trajectory i ("split"). If an agent stops
    answering, the scheduler picks a replacement.

    Attributes:
        n: Maximum number of trajectories, >= 1.
        per: "step", "trajectory" or "split".
        depth: Steps after which a trajectory is cut, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps without any action after which a trajectory is given up, >= 1.
        answer: How the answer is chosen among the nodes, if there is no vote.
        worth: What an end is worth whose reward is hidden: R as a scheduled agent and the scorer judge it ("judged"),
            or the C of its least certain step ("certainty").
        certainty: What C is (`symphony.search.certainty`).
        vote: The answer with the most votes of ends with a hidden reward wins; two ends give the same answer if their
            `Task.failure_key` is equal. "equal": each end has one vote (self-consistency, arXiv 2203.11171), and no
            value is asked for. "weighted": exp(value / sharpness) votes (CISC, arXiv 2502.06233).
        sharpness: T of the weighted vote, > 0; a large one makes the votes equal.
        settled: Probability in [0, 1] that the leading answer stays ahead of the second, from which sampling ends
            (Adaptive-Consistency, arXiv 2305.11860, with a Beta posterior; its threshold is .95); 1 never ends it.
        evaluate_tokens: Completion token limit of an evaluation.
    """

    n: Count = 10
    per: Per = "step"
    depth: Count | None = 20
    max_misses: Count = 2
    answer: AnswerPolicy = "oracle_best"
    worth: Worth = "judged"
    certainty: Certainty = "probability"
    vote: Vote = "none"
    sharpness: Positive = 1.0
    settled: Share = 1.0
    temperature: NotNegative = 1.0
    evaluate_tokens: Count = 16

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Iterations are trajectories; stop reason "accepted": the vote is settled."""
        if self.vote == "none":
            return await conclude(phases, self._search(phases), self.answer)
        return await conclude(phases, self._search(phases), lambda tree: self._elected(phases))

    async def _search(self, phases: Phases) -> StopReason:
        session = phases.parts.session
        for trajectory in range(1, self.n + 1):
            session.iteration = trajectory
            arm = (trajectory - 1) % len(session.pool)
            by = Held(arm, phases.parts.scheduler) if self.per == "split" else None
            last, _ = await walk(phases, self.max_misses, by=by, keep=self.per == "trajectory")
            if phases.solved():
                return "solved"
            if phases.tree[last].state.done and self.vote != "equal":
                await value_end(phases, last, self.worth, self.certainty)
            phases.tree.backup(last, phases.tree[last].prior or 0.0)
            if self.settled < 1.0:
                electors = voters(phases.tree, _hidden(phases.tree))
                answers = Counter(phases.parts.task.failure_key(node.state) for node in electors)
                if stays_ahead(*answers.values()) >= self.settled:
                    return "accepted"
        return "iterations"

    def _elected(self, phases: Phases) -> int:
        ends = _hidden(phases.tree)
        if not ends:
            return choose_answer(phases.tree, self.answer)
        return majority(phases.tree, ends, phases.parts.task.failure_key, self._votes)

    def _votes(self, end: Node) -> float:
        return 1.0 if self.vote == "equal" else math.exp((end.prior or 0.0) / self.sharpness)


def _hidden(tree: Tree) -> list[int]:
    """Returns the ends whose reward is hidden."""
    return [node.id for node in tree.nodes if node.state.done and node.state.reward is None]


def stays_ahead(*votes: int) -> float:
    """Returns the probability that the answer with the most votes is the more probable of the first two.

    Source: Adaptive-Consistency (arXiv 2305.11860), the Beta criterion: P(p > 1/2) for p ~ Beta(v1 + 1, v2 + 1), which
    is P(X <= v1) for X ~ Binomial(v1 + v2 + 1, 1/2).

    Args:
        votes: Number of votes of each answer, in any order.
    """
    first, second, *_ = [*sorted(votes, reverse=True), 0, 0]
    n = first + second + 1
    return sum(math.comb(n, k) for k in range(first + 1)) / 2**n
