"""Multi-agent debate (Du et al. 2023): all agents answer, hear the others, and answer again; the majority decides."""

from __future__ import annotations

from dataclasses import dataclass

from symphony.fields import Count
from symphony.search.course import conclude
from symphony.search.method import Method
from symphony.search.peers import ANSWERED, Peers
from symphony.search.phases import Phases
from symphony.search.result import SearchResult, StopReason
from symphony.search.tree import ROOT


@dataclass(frozen=True, slots=True, kw_only=True)
class Debate(Method):
    """Debaters answer with a trajectory each, in rounds; from round 2 on, each is told what all answered before.

    Needs no evaluator and no feedback; never reflects. One model or a pool: debater i is agent i mod n of the pool, and
    the scheduler only replaces one that has stopped answering. Success shown by the environment ends the debate.

    Source: Du et al. 2023 (arXiv 2305.14325): 3 agents, 2 rounds, majority vote. Two answers are equal if
    `Task.failure_key` of their end states is; ties go to the first debater's. Deviations: an answer is a whole
    trajectory with the task's tools; the others hear only its failure key (the answer given, the purchase, the
    program), not the reasoning. A prompt shows it below the lessons of memory, as `Another agent answered, rightly or
    wrongly: ...` and `You answered, ...`, and so under the heading of lessons, which speaks of failed attempts.

    Attributes:
        debaters: How many, >= 1; None means one per agent of the pool.
        rounds: Number of rounds, >= 1; 1 is a vote without a debate.
        depth: Steps after which a trajectory is cut, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps without any action after which a trajectory is given up, >= 1.
    """

    debaters: Count | None = None
    rounds: Count = 2
    depth: Count | None = 20
    max_misses: Count = 2

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Iterations are rounds; in a round cut short, only those who finished change their vote."""
        count = self.debaters or len(phases.parts.session.pool)
        peers = Peers(phases=phases, count=count, misses=self.max_misses)
        return await conclude(phases, self._search(phases, peers), peers.vote)

    async def _search(self, phases: Phases, peers: Peers) -> StopReason:
        if phases.tree[ROOT].state.done:
            return "exhausted"
        for number in range(1, self.rounds + 1):
            phases.parts.session.iteration = number
            answers = peers.answers()
            await peers.answer([_quote_answers(answers, peer) for peer in range(peers.count)])
            if phases.solved():
                return "solved"
        return "iterations"


def _quote_answers(answers: list[str | None], peer: int) -> tuple[str, ...]:
    """Returns what one debater hears of the round before."""
    names = ["You" if other == peer else "Another agent" for other in range(len(answers))]
    return tuple(
        ANSWERED.format(who=who, text=text) for who, text in zip(names, answers, strict=True) if text is not None
    )
