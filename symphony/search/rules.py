"""Rules for what Algorithm 1 leaves open, with the choices of the canonical algorithm.

`symphony.search.official` has the choices of the published code.
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
    """Returns the value of the last node if the episode ended there, else the mean of the known R.

    The last node always has an R; the others have one only if they were chosen among several. The last R stands
    for the whole rollout, so nodes without a rival are not judged. Without any step, the value is the start's own R.
    """
    known = [node.prior for node in walked if node.prior is not None]
    if last.state.done or not known:
        return last.prior or 0.0
    return sum(known) / len(known)


def _sum(walked: Sequence[Node], last: Node, cut: float) -> float:
    """Returns the sum of R (paper section 3; may exceed 1)."""
    return sum([node.prior or 0.0 for node in walked]) if walked else last.prior or 0.0


def _reward(walked: Sequence[Node], last: Node, cut: float) -> float:
    """Returns the end's reward, a penalty if cut, 0 if no step was made; the published code backs this up.

    Source: hp/symphony.py:379-461, ws/symphony.py:621-685.
    """
    if last.state.done:
        return (last.prior if last.state.reward is None else last.state.reward) or 0.0
    return cut if walked else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRule:
    """What a simulation backs up.

    Attributes:
        value: Computes it from the nodes walked through (the last included), the last node, and the penalty for a cut.
        places: As in `evaluation.used`: 1 if only the best node of a step is used, 0 if the value of each is.
        judges_cut: Whether the node where a simulation is cut must be judged.
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
    """How new children get their values, and who is credited for them.

    Attributes:
        evaluate: Gives children their values; the last argument is `places` of `evaluation.used`.
        start: Chooses the child that a simulation starts from.
        pays: Whether an end credits its agent with its reward as soon as it is made.
        ended: Called when a simulation ends at a node whose reward is visible.
    """

    evaluate: Callable[[Phases, Sequence[int], int], Awaitable[None]]
    start: Callable[[Phases, Sequence[int]], int]
    pays: Callable[[Node], bool]
    ended: Callable[[Phases, int], None]


def best(phases: Phases, ids: Sequence[int]) -> int:
    """Returns the node with the highest prior; ties go to the first."""
    return max(ids, key=lambda id: phases.tree[id].prior or 0.0)


def best_unfinished(phases: Phases, ids: Sequence[int]) -> int:
    """Returns the best child that has not ended; if all have ended, the best of them."""
    return best(phases, [id for id in ids if not phases.tree[id].state.done] or ids)


def _always(node: Node) -> bool:
    return True


def unpaid(phases: Phases, end: int) -> None:
    """Credits nobody; the agent that made an end was credited when it was made."""


OWN = ValueRule(evaluate=evaluate, start=best_unfinished, pays=_always, ended=unpaid)

# --------------------------------------------------------------------------- lessons


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonRule:
    """When failures are reflected on.

    Attributes:
        before: Awaited before every expansion.
        after: Awaited with nodes that may be failures, as soon as they have values.
    """

    before: Callable[[Phases], Awaitable[None]]
    after: Callable[[Phases, Sequence[int]], Awaitable[None]]


async def nothing_before(phases: Phases) -> None:
    """Writes no lesson before an expansion."""


EACH_ONCE = LessonRule(before=nothing_before, after=Phases.reflect)

# --------------------------------------------------------------------------- all rules


def select_open(tree: Tree, c: float, first_visit: FirstVisit, start: int) -> int | None:
    """Selects a leaf by UCT (Eq. 7) among the nodes that are not exhausted."""
    return tree.select(c, first_visit, start)


def _settle(tree: Tree, leaf: int) -> None:
    tree.settle(leaf)


def _nowhere(phases: Phases, leaf: int) -> bool:
    return False


def plain_backup(tree: Tree, children: Sequence[int], last: int, value: float) -> None:
    """Backs up the simulation's value from the node where it ended to the root (Eq. 8)."""
    tree.backup(last, value)


async def one_round(phases: Phases, parent: int, width: int) -> Expansion:
    """Samples one step of a simulation, once."""
    return await phases.expand(parent, width, "simulate")


def first(ends: Sequence[Node]) -> Node:
    """Returns the first end: the one a simulation takes if none of a step's ends is a success."""
    return ends[0]


def never_agreed(actions: Sequence[str], votes: Sequence[int], width: int) -> list[float] | None:
    """Returns None: the nodes of a step are always judged, however many samples agree."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How Algorithm 1 is carried out.

    Attributes:
        select: Chooses a leaf, given c, what an unvisited child counts as, and where to start; None if none is open.
        settle: Closes a leaf after its iteration if it is exhausted.
        ends: Whether the search ends because this leaf was selected.
        values: How new children get their values.
        backup: Takes the new children of the iteration, the node where its simulation ended, and the simulation's
            value.
        places: As in `evaluation.used`: 1 if the backup needs no child's own value, 0 if it needs the value of each.
        step: Samples a step of a simulation.
        end: Chooses the end that a simulation takes if a step has several.
        agreed: Values of a step's nodes without an evaluation, from actions, votes and samples; None means judge them.
        simulated: What a simulation backs up.
        lessons: When failures are reflected on.
        reflect_temperature: Sampling temperature of lessons, >= 0 (paper App. D: greedy).
        root_n: Actions sampled at the root; None means as many as elsewhere.
        again: Whether a completion without an action is sampled once more.
        closes: Whether the depth limit closes the nodes there, and cuts simulations.
        distinct: Whether samples with equal actions become one node, or only if their thoughts are equal too.
        shown: Which lessons a prompt carries.
        caches: Whether the same path under the same lessons is judged once.
    """

    select: Callable[[Tree, float, FirstVisit, int], int | None] = select_open
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
        """Returns a method's own settings, overridden with those that the rules decide."""
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
