"""SYMPHONY (paper Algorithm 1): MCTS whose every model call is answered by a scheduled agent of a pool."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from symphony.search.course import conclude, grow
from symphony.search.evaluation import evaluate
from symphony.search.lessons import LESSONS, LessonsWritten
from symphony.search.method import Method
from symphony.search.methods.halving import ROOT_RULES, RootRule
from symphony.search.phases import Distinct, Expansion, Judge, Phases, Shown
from symphony.search.quirks import (
    AGAIN,
    BACKUP,
    BACKUP_PLACES,
    CONSENSUS,
    LIMIT_CLOSES,
    SELECT,
    SETTLE,
    SIM_END,
    SIM_STEP,
    VALUES,
    Backup,
    Consensus,
    Limit,
    Resample,
    Select,
    SimEnd,
    Values,
    best,
)
from symphony.search.result import AnswerPolicy, SearchResult, StopReason
from symphony.search.tree import ROOT, FirstVisit, Node, Tree, UctMean
from symphony.types import Score, SymphonyError

SimulationDepth = Literal["absolute", "extra"]
SimulationValue = Literal["mean", "sum", "code"]
ValueCache = Literal["off", "on"]
ReflectOn = Literal["failure_or_limit", "failure"]

# --------------------------------------------------------------------------- value of a simulation
# Each takes the nodes walked through (the last included), the node where it ended, and the penalty of a cut.


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


def _code(walked: Sequence[Node], last: Node, cut: float) -> float:
    """What the published code backs up: the reward of the end, a penalty when cut, 0 when no step was made.

    Source: hp/symphony.py:379-461, ws/symphony.py:621-685.
    """
    if last.state.done:
        return (last.prior if last.state.reward is None else last.state.reward) or 0.0
    return cut if walked else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationRule:
    """What a simulation backs up.

    Attributes:
        value: The value, as above.
        places: Unfinished nodes of a step whose values it does without, as in `evaluation.used`.
        judges_cut: Whether it needs the value of the node where a simulation is cut.
    """

    value: Callable[[Sequence[Node], Node, float], float]
    places: int
    judges_cut: bool


SIMULATION_VALUES: dict[SimulationValue, SimulationRule] = {
    "mean": SimulationRule(value=_mean, places=1, judges_cut=True),
    "sum": SimulationRule(value=_sum, places=0, judges_cut=True),
    "code": SimulationRule(value=_code, places=1, judges_cut=False),
}

# --------------------------------------------------------------------------- the search


@dataclass(frozen=True, slots=True, kw_only=True)
class Symphony(Method):
    """Select, expand, evaluate, simulate, back up, reflect.

    Needs an evaluator; works with and without feedback; reflects where the memory does. One model or a pool.

    Source: paper Algorithm 1, with the decisions of the canonical algorithm where the paper is silent: one node is
    selected an iteration and gets n samples, every simulation is backed up, each failure is reflected on once.

    Attributes:
        n: Actions sampled an expansion, >= 1.
        iterations: K, >= 1.
        root_n: Actions sampled at the root, >= 1; None is `n`. 1 makes a first attempt that the search refines.
        depth: D, >= 1: a node at this depth is not expanded; None leaves it to the environment's horizon.
        c: Weight of exploration in UCT, >= 0 (paper: 2; published code: 1.41, which is sqrt(2 ln N / n)).
        first_visit: What an unvisited child counts as in selection: see `Tree.best`.
        sim_width: Actions sampled a simulation step, >= 1 (paper: 1); None is `n` (published code).
        sim_depth: Where simulations are cut, >= 0; never beyond `depth`. None leaves it to the episode's end.
        sim_depth_from: Whether `sim_depth` counts from the root ("absolute") or from the simulation's start ("extra").
        sim_value: What a simulation backs up: see `SIMULATION_VALUES`.
        sim_cut: Value of a cut simulation under sim_value "code" (published code: -1 or -0.5 by task).
        consensus: Whether near-unanimous simulation steps skip the evaluator: off, on (of samples) or by nodes.
        judge: Whether new nodes are judged only where their value is used (`evaluation.used`), or every one.
        reflect_on: Whether an episode that is cut, by `depth` or by its horizon, counts as a failure, or only the
            environment's verdict on an end.
        max_misses: Expansions without any action after which a node is closed, >= 1.
        root: How an iteration's child of the root is chosen: by UCT as all others, or by sequential halving over
            `iterations` (Danihelka et al. 2022), which wants them to be about what the budget allows.
        parallel: Iterations under way at once, >= 1: their leaves are selected one after another with a virtual loss,
            and their calls run together. More is quicker and chooses each leaf knowing less.
        uct_mean: Whether the mean of a visited child is divided by its visits once more ("double").
        select: Whether an exhausted node is closed, or taken from its parent, which may so be expanded again ("prune").
        limit: Whether `depth` closes a node, or ends the search when such a node is selected ("stop").
        values: Whether a new child has the value of its own, one dealt by position ("positional", "rescaled"), or the
            share of visible tests passed ("progress").
        value_cache: Whether an evaluation of the same path under the same lessons is taken from the problem's earlier.
        backup: Whether an end without reward records -1 for itself ("wrong_end"), and whether the children's own values
            are backed up instead of the simulation's ("children").
        sim_end: Which of several ends of a simulation step is taken.
        resample: What becomes of completions without an action: asked for once more, dropped ("never"), or dropped
            and, where none is left in a simulation, sampled at falling temperature ("cooling").
        distinct: Whether equal actions of an expansion are one node, or only those with equal thoughts.
        lessons: Whether each failure is reflected on once, the first three are, all anew at each new one ("rewritten"),
            or each attempt is that its visible tests found wrong.
        shown: Whether prompts carry all lessons in memory, or those drawn on the way to their node ("path").
        answer: How the answer is chosen among the nodes.
        temperature: Of actions; evaluation is greedy.
        reflect_temperature: Of lessons, >= 0 (published code for programs: 0.2).
        expand_tokens, evaluate_tokens, reflect_tokens: Completion tokens a call.
        stop: Strings that end an action.
    """

    CHOICES: ClassVar = {
        "first_visit": FirstVisit,
        "root": RootRule,
        "sim_depth_from": SimulationDepth,
        "sim_value": SimulationValue,
        "consensus": Consensus,
        "reflect_on": ReflectOn,
        "uct_mean": UctMean,
        "select": Select,
        "limit": Limit,
        "values": Values,
        "backup": Backup,
        "sim_end": SimEnd,
        "resample": Resample,
        "distinct": Distinct,
        "lessons": LessonsWritten,
        "shown": Shown,
        "value_cache": ValueCache,
    }
    n: int = 4
    iterations: int = 10
    root_n: int | None = None
    depth: int | None = 7
    c: float = 2.0
    first_visit: FirstVisit = "virtual"
    sim_width: int | None = None
    sim_depth: int | None = 4
    sim_depth_from: SimulationDepth = "absolute"
    sim_value: SimulationValue = "mean"
    sim_cut: float = -1.0
    consensus: Consensus = "off"
    judge: Judge = "used"
    reflect_on: ReflectOn = "failure_or_limit"
    max_misses: int = 2
    root: RootRule = "uct"
    parallel: int = 1
    uct_mean: UctMean = "mean"
    select: Select = "close"
    limit: Limit = "close"
    values: Values = "own"
    value_cache: ValueCache = "off"
    backup: Backup = "plain"
    sim_end: SimEnd = "first"
    resample: Resample = "once"
    distinct: Distinct = "action"
    lessons: LessonsWritten = "each"
    shown: Shown = "pool"
    answer: AnswerPolicy = "oracle_best"
    temperature: float = 0.2
    reflect_temperature: float = 0.0
    evaluate_tokens: int = 16
    reflect_tokens: int = 48

    def __post_init__(self) -> None:
        """One rule ties three fields together; the others are each field's own."""
        Method.__post_init__(self)
        if self.select == "prune" and (self.parallel > 1 or self.root != "uct"):
            raise SymphonyError("search.select: found 'prune', allowed with it: parallel 1 and root uct")

    @property
    def _width(self) -> int:
        return self.n if self.sim_width is None else self.sim_width

    async def search(self, phases: Phases) -> SearchResult:
        phases.limit_fails = self.reflect_on == "failure_or_limit"
        phases.again = AGAIN[self.resample]
        phases.reflect_temperature = self.reflect_temperature
        phases.distinct = self.distinct
        phases.closes = LIMIT_CLOSES[self.limit]
        phases.shown = self.shown
        phases.judged = {} if self.value_cache == "on" else None
        phases.pays = VALUES[self.values].pays
        result = await conclude(phases, self._search(phases), self.answer)
        traced = self.values == "own" and self.backup == "plain"  # others change values of nodes after the fact
        return result if traced else replace(result, prefixes=None)

    async def _search(self, phases: Phases) -> StopReason:
        begun = 0
        while begun < self.iterations:
            leaves = self.leaves(phases.tree, min(self.parallel, self.iterations - begun))
            if not leaves or any(self._beyond(phases, leaf) for leaf in leaves):
                return "exhausted"
            await phases.together([self._iterate(phases, leaf, begun + at) for at, leaf in enumerate(leaves, 1)])
            begun += len(leaves)
            if phases.solved():
                return "solved"
        return "iterations"

    def leaves(self, tree: Tree, count: int) -> list[int]:
        """The leaves of the next iterations, `count` at most: each selected as if those before it had brought nothing.

        Fewer where no other leaf is open; none when everything is closed.
        """
        held: list[int] = []
        while len(held) < count:
            start = ROOT_RULES[self.root](tree, self.iterations)
            leaf = SELECT[self.select](tree, self.c, self.first_visit, start, self.uct_mean)
            if leaf is None:
                break
            tree.hold(leaf)
            held.append(leaf)
        for leaf in reversed(held):
            tree.release(leaf)
        return held

    def _beyond(self, phases: Phases, leaf: int) -> bool:
        """Whether a leaf lies at a depth limit that closes nothing, so that it was selected all the same."""
        return self.depth is not None and phases.tree[leaf].depth >= self.depth

    async def _iterate(self, phases: Phases, leaf: int, iteration: int) -> None:
        values, lessons = VALUES[self.values], LESSONS[self.lessons]
        phases.parts.session.iteration = iteration
        await lessons.before(phases)
        width = self.root_n if leaf == ROOT and self.root_n is not None else self.n
        places = BACKUP_PLACES[self.backup]
        ids = await grow(phases, leaf, width, self.max_misses, lambda _, new: values.evaluate(phases, new, places))
        if phases.solved() or not ids:
            return
        await lessons.after(phases, ids)
        value, last = await self._simulate(phases, values.start(phases, ids))
        if phases.solved():
            return
        BACKUP[self.backup](phases.tree, ids, last, value)
        SETTLE[self.select](phases.tree, leaf)
        await lessons.after(phases, [last])

    async def _simulate(self, phases: Phases, start: int) -> tuple[float, int]:
        """Walks greedily by R from a new node; returns the value to back up and the last node."""
        tree = phases.tree
        rule = SIMULATION_VALUES[self.sim_value]
        limit = self._simulation_limit(phases, tree[start])
        last, walked = tree[start], []
        while not last.state.done and last.depth < limit and not phases.solved():
            await LESSONS[self.lessons].before(phases)
            step = await SIM_STEP[self.resample](phases, last.id, self._width)
            if not step.ids:
                break
            last = await self._next(phases, step)
            walked.append(last)
        if rule.judges_cut and not last.state.done and not phases.solved():
            await evaluate(phases, [last.id])
        return rule.value(walked, last, self.sim_cut), last.id

    def _simulation_limit(self, phases: Phases, start: Node) -> float:
        """The depth at which a simulation from this node is cut."""
        limit = math.inf if self.sim_depth is None else self.sim_depth
        limit += start.depth if self.sim_depth_from == "extra" else 0
        return min(limit, phases.depth) if phases.depth is not None and phases.closes else limit

    async def _next(self, phases: Phases, step: Expansion) -> Node:
        """Where a simulation goes: to success, to an end whose reward is visible, else to the best node."""
        nodes = [phases.tree[id] for id in step.ids]
        ends = [node for node in nodes if node.prior is not None]
        if ends:
            end = next((node for node in ends if node.solved), SIM_END[self.sim_end](ends))
            VALUES[self.values].ended(phases, end.id)
            return end
        await self._judge_step(phases, step, nodes)
        return phases.tree[best(phases, step.ids)]

    async def _judge_step(self, phases: Phases, step: Expansion, nodes: Sequence[Node]) -> None:
        actions = [node.turn.action for node in nodes if node.turn]
        agreed = CONSENSUS[self.consensus](actions, step.votes, self._width)
        if agreed is None:
            await evaluate(phases, step.ids, SIMULATION_VALUES[self.sim_value].places)
            return
        for id, value in zip(step.ids, agreed, strict=True):
            phases.give(id, Score(value=value, confidence=1.0, modulated=value))
