"""Simulation: from which new child it starts, and what it backs up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from symphony.search.phases import Phases
from symphony.search.tree import Node

SimulationValue = Literal["mean", "sum"]


def _mean(walked: Sequence[Node], last: Node) -> float:
    """Returns the value of the last node if the episode ended there, else the mean of the known R.

    The last node always has an R; the others have one only if they were chosen among several. The last R stands
    for the whole rollout, so nodes without a rival are not judged. Without any step, the value is the start's own R.
    """
    known = [node.prior for node in walked if node.prior is not None]
    if last.state.done or not known:
        return last.prior or 0.0
    return sum(known) / len(known)


def _sum(walked: Sequence[Node], last: Node) -> float:
    """Returns the sum of R (paper section 3; may exceed 1)."""
    return sum([node.prior or 0.0 for node in walked]) if walked else last.prior or 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRule:
    """What a simulation backs up.

    Attributes:
        value: Computes it from the nodes walked through (the last included) and the last node.
        places: As in `evaluation.used`: 1 if only the best node of a step is used, 0 if the value of each is.
    """

    value: Callable[[Sequence[Node], Node], float]
    places: int


SIMULATION_VALUES: dict[SimulationValue, SimulationRule] = {
    "mean": SimulationRule(value=_mean, places=1),
    "sum": SimulationRule(value=_sum, places=0),
}


def best(phases: Phases, ids: Sequence[int]) -> int:
    """Returns the node with the highest prior; ties go to the first."""
    return max(ids, key=lambda id: phases.tree[id].prior or 0.0)


def best_unfinished(phases: Phases, ids: Sequence[int]) -> int:
    """Returns the best child that has not ended; if all have ended, the best of them."""
    return best(phases, [id for id in ids if not phases.tree[id].state.done] or ids)
