"""Agents that answer side by side, each by a trajectory of its own, and learn what was answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from symphony.agents.scheduler import Held
from symphony.search.course import walk
from symphony.search.phases import Phases
from symphony.search.result import choose_answer, majority
from symphony.search.tree import ROOT, Tree

ANSWERED = "{who} answered, rightly or wrongly: {text}"
"""What a prompt carries of an answer: the heading above it speaks of lessons, most often of failed attempts."""


@dataclass(slots=True, kw_only=True)
class Peers:
    """Peer i is agent i mod n of the pool, as long as it answers; then whom the scheduler picks.

    Attributes:
        count: Peers, >= 1.
        misses: Steps without any action after which a trajectory is given up.
        latest: The end of each peer's latest trajectory; the root before the first, and of one without any action.
    """

    phases: Phases
    count: int
    misses: int
    latest: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.latest = [ROOT] * self.count

    async def answer(self, told: Sequence[tuple[str, ...]]) -> None:
        """A trajectory of each, step by step together; peer i is told texts i of `told`.

        Raises:
            Stop: A call was refused; the latest trajectories that ended before count.
        """
        await self.phases.together([self._attempt(peer, texts) for peer, texts in enumerate(told)])

    async def _attempt(self, peer: int, told: tuple[str, ...]) -> None:
        phases = self.phases
        arm = peer % len(phases.parts.session.pool)
        last, _ = await walk(phases, self.misses, by=Held(arm, phases.parts.scheduler), told=told)
        phases.tree.backup(last, phases.tree[last].prior or 0.0)
        self.latest[peer] = last

    def answers(self) -> list[str | None]:
        """What each has answered, as its failure key; None where it has not."""
        key, tree = self.phases.parts.task.failure_key, self.phases.tree
        return [None if id == ROOT else key(tree[id].state) for id in self.latest]

    def vote(self, tree: Tree) -> int:
        """The majority's answer among the latest; the best value where there is none yet."""
        ids = [id for id in self.latest if id != ROOT]
        return majority(tree, ids, self.phases.parts.task.failure_key) if ids else choose_answer(tree, "best_value")
