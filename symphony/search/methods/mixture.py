"""Mixture of agents (Wang et al. 2024): layers of proposers, then an aggregator that sees their proposals."""

from __future__ import annotations

from dataclasses import dataclass, field

from symphony.agents.scheduler import Held
from symphony.agents.session import Session
from symphony.fields import Count, FromZero
from symphony.search.course import conclude, walk
from symphony.search.method import Method
from symphony.search.peers import ANSWERED, Peers
from symphony.search.phases import Phases
from symphony.search.result import SearchResult, StopReason
from symphony.search.tree import ROOT, Tree
from symphony.types import SymphonyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture(Method):
    """Proposers answer with a trajectory each, layer by layer; then an aggregator sees the last proposals and answers.

    Needs no evaluator and no feedback; never reflects. One model or a pool: proposer i is agent i mod n of the pool.
    Success shown by the environment ends the search.

    Source: Wang et al. 2024 (arXiv 2406.04692): every proposer of a layer sees all proposals of the layer before, and
    the aggregator those of the last (there, 6 proposers and 3 layers, the aggregator being the third). Deviations: a
    proposal is a whole trajectory with the task's tools, and the others hear only its failure key (the answer given,
    the purchase, the program), not the reasoning; no prompt asks to synthesise, the aggregator answers like everyone
    else. A prompt shows proposals below the lessons of memory, as `An agent answered, rightly or wrongly: ...`, and so
    under the heading of lessons, which speaks of failed attempts. If the aggregator gives no answer (budget spent, no
    action), the majority of the last proposals is the answer.

    Attributes:
        proposers: Number per layer, >= 1; None means one per agent of the pool.
        layers: Layers of proposers, >= 1.
        aggregator: Index of its agent in the pool, >= 0; None means whichever the scheduler picks at the first step.
        depth: Steps after which a trajectory is cut, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps without any action after which a trajectory is given up, >= 1.
    """

    proposers: Count | None = None
    layers: Count = 1
    aggregator: FromZero | None = None
    depth: Count | None = 20
    max_misses: Count = 2

    def check_pool(self, size: int) -> None:
        """Raises SymphonyError if a pool of this size has no such aggregator."""
        if self.aggregator is not None and self.aggregator >= size:
            raise SymphonyError(
                f"search.aggregator: found {self.aggregator}, allowed: 0 to {size - 1} (the pool's agents)"
            )

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Iterations are layers, with the aggregator as the last.

        Raises:
            SymphonyError: The pool has no such aggregator.
        """
        session = phases.parts.session
        size = len(session.pool)
        self.check_pool(size)
        peers = Peers(phases=phases, count=self.proposers or size, misses=self.max_misses)
        run = _Run(method=self, phases=phases, peers=peers)
        return await conclude(phases, run.search(session), run.answer)


@dataclass(slots=True, kw_only=True)
class _Run:
    """The running search on one problem; `aggregated` is the aggregator's last node, or the root before it answers."""

    method: Mixture
    phases: Phases
    peers: Peers
    aggregated: int = field(default=ROOT)

    async def search(self, session: Session) -> StopReason:
        phases, method = self.phases, self.method
        if phases.tree[ROOT].state.done:
            return "exhausted"
        for layer in range(1, method.layers + 1):
            session.iteration = layer
            await self.peers.answer([self._quote_answers()] * self.peers.count)
            if phases.solved():
                return "solved"
        session.iteration = method.layers + 1
        by = None if method.aggregator is None else Held(method.aggregator, phases.parts.scheduler)
        last, given_up = await walk(phases, method.max_misses, by=by, keep=True, notes=self._quote_answers())
        phases.tree.backup(last, phases.tree[last].prior or 0.0)
        self.aggregated = ROOT if given_up else last
        return "iterations"

    def _quote_answers(self) -> tuple[str, ...]:
        return tuple(ANSWERED.format(who="An agent", text=text) for text in self.peers.answers() if text is not None)

    def answer(self, tree: Tree) -> int:
        return self.aggregated if self.aggregated != ROOT else self.peers.vote(tree)
