"""What Algorithm 1 leaves open, one rule a question, with the answers of the canonical algorithm.

`symphony.search.official` has the answers of the published code.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from symphony.search.evaluation import evaluate
from symphony.search.phases import Expansion, Phases
from symphony.search.settings import Distinct, Settings, Shown
from symphony.search.tree import FirstVisit, Node, Tree

# --------------------------------------------------------------------------- value of a simulation

SimulationValue = Literal["mean", "sum", "code"]


def _mean(walked: Sequence[Node], last: Node, cut: float) -> float:
    """The value of the end where the episode ended, else the mean of the R that are known.

    The last node always has one. Of the others only those that were chosen among several: R of the last is a judgement
    of the whole walk, and what a call for each of the others would add to it does not pay for that call. The start's
    own R when no step was made.
    """
    known = [node.prior for node in walked if node.prior is not None]
    if last.state.done or not known:
        return last.prior or 0.0
    return sum(known) / len(known)


def _sum(walked: Sequence[Node], last: Node, cut: float) -> float:
    """The sum of R (paper section 3; may exceed 1)."""
    return sum([node.prior or 0.0 for node in walked]) if walked else last.prior or 0.0


def _reward(walked: Sequence[Node], last: Node, cut: float) -> float:
    """The reward of the end, a penalty when cut, 0 when no step was made; what the published code backs up.

    Source: hp/symphony.py:379-461, ws/symphony.py:621-685.
    """
    if last.state.done:
        return (last.prior if last.state.reward is None else last.state.reward) or 0.0
    return cut if walked else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRule:
    """What a simulation backs up.

    Attributes:
        value: Of the nodes walked through (the last included), the node where it ended, and the penalty of a cut.
        places: Unfinished nodes of a step whose values it does without, as in `evaluation.used`.
        judges_cut: Whether it needs the value of the node where a simulation is cut.
    """

    value: Callable[[Sequence[Node], Node, float], float]
    places: int
    judges_cut: bool


SIMULATION_VALUES: dict[SimulationValue, SimulationRule] = {
    "mean": SimulationRule(value=_mean, places=1, judges_cut=True),
    "sum": SimulationRule(value=_sum, places=0, judges_cut=True),
    "code": SimulationRule(value=_reward, places=1, judges_cut=False),
}

# --------------------------------------------------------------------------- values of the children of an expansion


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRule:
    """How new children get their values, and who is paid for them.

    Attributes:
        evaluate: Gives them their values; `places` is as in `evaluation.used`.
        start: The child that a simulation starts from.
        pays: Whether an end credits its agent with its reward as soon as it is made.
        ended: What follows when a simulation ends at a node whose reward is visible.
    """

    evaluate: Callable[[Phases, Sequence[int], int], Awaitable[None]]
    start: Callable[[Phases, Sequence[int]], int]
    pays: Callable[[Node], bool]
    ended: Callable[[Phases, int], None]


def best(phases: Phases, ids: Sequence[int]) -> int:
    """The node with the highest prior; ties go to the first."""
    return max(ids, key=lambda id: phases.tree[id].prior or 0.0)


def best_unfinished(phases: Phases, ids: Sequence[int]) -> int:
    """The best child that has not ended, else the best that has."""
    return best(phases, [id for id in ids if not phases.tree[id].state.done] or ids)


def _always(node: Node) -> bool:
    return True


def unpaid(phases: Phases, end: int) -> None:
    """Nobody is paid; who made an end was paid when it was made."""


OWN = ValueRule(evaluate=evaluate, start=best_unfinished, pays=_always, ended=unpaid)

# --------------------------------------------------------------------------- lessons


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonRule:
    """When failures are reflected on.

    Attributes:
        before: Is awaited before every expansion.
        after: Is awaited with nodes that may be failures, as soon as they have values.
    """

    before: Callable[[Phases], Awaitable[None]]
    after: Callable[[Phases, Sequence[int]], Awaitable[None]]


async def nothing_before(phases: Phases) -> None:
    """No lesson is written before an expansion."""


EACH_ONCE = LessonRule(before=nothing_before, after=Phases.reflect)

# --------------------------------------------------------------------------- all rules


def close(tree: Tree, c: float, first_visit: FirstVisit, start: int) -> int | None:
    """A leaf by UCT; an exhausted node is closed and never met again."""
    return tree.select(c, first_visit, start)


def _settle(tree: Tree, leaf: int) -> None:
    tree.settle(leaf)


def _nowhere(phases: Phases, leaf: int) -> bool:
    return False


def plain_backup(tree: Tree, children: Sequence[int], last: int, value: float) -> None:
    """Eq. 8: the value of the simulation, from the node where it ended up to the root."""
    tree.backup(last, value)


async def one_round(phases: Phases, parent: int, width: int) -> Expansion:
    """A step of a simulation: some samples, once."""
    return await phases.expand(parent, width, "simulate")


def first(ends: Sequence[Node]) -> Node:
    """Which of the ends of a step a simulation takes where none is a success."""
    return ends[0]


def never_agreed(actions: Sequence[str], votes: Sequence[int], width: int) -> list[float] | None:
    """The nodes of a step are judged, however many samples propose the same."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How Algorithm 1 is carried out.

    Attributes:
        select: Chooses a leaf, given c, what an unvisited child counts as, and where to begin; None where none is open.
        settle: What becomes of a leaf after its iteration.
        ends: Whether the search ends because this leaf was selected.
        values: How new children get their values.
        backup: Takes the new children of the iteration, the node where its simulation ended, and the value of that.
        places: Unfinished children whose values the backup does without, as in `evaluation.used`.
        step: Samples a step of a simulation.
        end: Which of several ends of a step a simulation takes.
        agreed: Values of a step's nodes without an evaluation, by actions, votes and samples; None has them judged.
        simulated: What a simulation backs up.
        lessons: When failures are reflected on.
        reflect_temperature: Of lessons, >= 0 (paper App. D: greedy).
        root_n: Actions sampled at the root; None is as many as elsewhere.
        again: Whether a completion without an action is sampled once more.
        closes: Whether the depth limit closes the nodes there, and cuts simulations.
        distinct: Whether equal actions of an expansion are one node, or only those with equal thoughts.
        shown: Which lessons a prompt carries.
        caches: Whether the same path under the same lessons is judged once.
    """

    select: Callable[[Tree, float, FirstVisit, int], int | None] = close
    settle: Callable[[Tree, int], None] = _settle
    ends: Callable[[Phases, int], bool] = _nowhere
    values: ValueRule = OWN
    backup: Callable[[Tree, Sequence[int], int, float], None] = plain_backup
    places: int = 1
    step: Callable[[Phases, int, int], Awaitable[Expansion]] = one_round
    end: Callable[[Sequence[Node]], Node] = first
    agreed: Callable[[Sequence[str], Sequence[int], int], list[float] | None] = never_agreed
    simulated: SimulationRule = SIMULATION_VALUES["mean"]
    lessons: LessonRule = EACH_ONCE
    reflect_temperature: float = 0.0
    root_n: int | None = None
    again: bool = True
    closes: bool = True
    distinct: Distinct = "action"
    shown: Shown = "pool"
    caches: bool = False

    def settings(self, own: Settings) -> Settings:
        """The settings of a method's phases, with what the rules want of them."""
        return replace(
            own,
            again=self.again,
            reflect_temperature=self.reflect_temperature,
            distinct=self.distinct,
            closes=self.closes,
            shown=self.shown,
            caches=self.caches,
            pays=self.values.pays,
        )
