"""Agents that answer side by side, each with its own trajectory, and hear each other's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from symphony.agents.scheduler import Held
from symphony.search.course import walk
from symphony.search.phases import Phases
from symphony.search.result import choose_answer, majority
from symphony.search.tree import ROOT, Tree

ANSWERED = "{who} answered, rightly or wrongly: {text}"
"""How a prompt shows an answer. It says "rightly or wrongly" because the heading above speaks of failed attempts."""


@dataclass(slots=True, kw_only=True)
class Peers:
    """Peers of a search: peer i is agent i mod n of the pool; once that agent is suspended, the scheduler picks.

    Attributes:
        count: Number of peers, >= 1.
        misses: Steps without any action after which a trajectory is given up.
        latest: The last node of each peer's latest trajectory; the root before the first, or if it has no action.
    """

    phases: Phases
    count: int
    misses: int
    latest: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.latest = [ROOT] * self.count

    async def answer(self, notes_by_peer: Sequence[tuple[str, ...]]) -> None:
        """Has all peers walk one trajectory each, in lockstep; peer i gets the texts `notes_by_peer[i]`.

        Raises:
            Stop: A call was refused; trajectories that had ended by then are in `latest`.
        """
        await self.phases.together([self._attempt(peer, notes) for peer, notes in enumerate(notes_by_peer)])

    async def _attempt(self, peer: int, notes: tuple[str, ...]) -> None:
        phases = self.phases
        arm = peer % len(phases.parts.session.pool)
        last, _ = await walk(phases, self.misses, by=Held(arm, phases.parts.scheduler), notes=notes)
        phases.tree.backup(last, phases.tree[last].prior or 0.0)
        self.latest[peer] = last

    def answers(self) -> list[str | None]:
        """Returns each peer's latest answer as a failure key; None if it has none."""
        key, tree = self.phases.parts.task.failure_key, self.phases.tree
        return [None if id == ROOT else key(tree[id].state) for id in self.latest]

    def vote(self, tree: Tree) -> int:
        """Returns the majority's answer among the latest; if there is none yet, the node with the best value."""
        ids = [id for id in self.latest if id != ROOT]
        return majority(tree, ids, self.phases.parts.task.failure_key) if ids else choose_answer(tree, "best_value")
