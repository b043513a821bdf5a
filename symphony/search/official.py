"""Where SYMPHONY's published code differs from the paper: one field of `Official` per difference, each off by default.

A field is either a step of the search that is overridden here, or a setting that the phases read (`settings.py`), such
as `distinct` and `shown`. docs/official-code.md lists all published behaviour and says which switch reproduces it.
Sources are files and lines of ZHUWEI-hub/SYMPHONY, commit 3fbe298: hp is its folder hotpot, ws webshop, pg
programming.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

from symphony.fields import Count, NotNegative
from symphony.search.course import expand
from symphony.search.evaluation import evaluate
from symphony.search.method import Method
from symphony.search.official_lessons import LESSONS, LessonsWritten
from symphony.search.official_values import VALUES, Values
from symphony.search.phases import Expansion, Phases
from symphony.search.result import SearchResult
from symphony.search.settings import Distinct, Settings, Shown
from symphony.search.simulation import SIMULATION_VALUES, SimulationValue
from symphony.search.symphony import Symphony
from symphony.search.tree import ROOT, FirstVisit, Node, Tree, UctMean
from symphony.types import Score, SymphonyError

Select = Literal["close", "prune"]
Limit = Literal["close", "stop"]
Backup = Literal["plain", "wrong_end", "children"]
SimEnd = Literal["first", "last"]
SimulationDepth = Literal["absolute", "extra"]
Consensus = Literal["off", "on", "nodes"]
Resample = Literal["once", "never", "cooling"]
ValueCache = Literal["off", "on"]

# --------------------------------------------------------------------------- what happens to an exhausted node


def _prune(tree: Tree, c: float, first_visit: FirstVisit, start: int, uct_mean: UctMean) -> int | None:
    """Detaches a node whose children have all ended from its parent; a parent left without children is a leaf again.

    Source: hp/symphony.py:332-362, ws/symphony.py:687-713. There, an exhausted root causes an error or an endless loop;
    here it ends the search.
    """
    node = tree[start]
    while node.children:
        if node.open:
            node = tree.best(node, c, first_visit, uct_mean)
        elif node.parent is None:
            return None
        else:
            tree.detach(node.id)
            node = tree[node.parent]
    return None if node.closed else node.id


# --------------------------------------------------------------------------- backup


def _mark_wrong(node: Node, value: float) -> None:
    """Replaces the value that an end without reward was just given by -1. Source: hp/symphony.py:583-597."""
    if node.state.done and node.state.reward == 0:
        node.value_sum += -1.0 - value


def _back_up_children(tree: Tree, leaf: int) -> None:
    """Backs up the value of every new child, except for a root's only child (the first attempt).

    Source: pg/symphony.py:421-429.
    """
    children = tree[leaf].children
    if leaf != ROOT or len(children) > 1:
        for id in children:
            tree.backup(id, tree[id].prior or 0.0)


# --------------------------------------------------------------------------- consensus of a simulation's step

CONSENSUS_HIGH, CONSENSUS_LOW = 0.9, 0.7
"""R of the action that nearly all samples proposed, and R of the others. Source: hp/symphony.py:434-439."""


def _consensus(actions: Sequence[str], votes: Sequence[int], width: int) -> list[float] | None:
    """Replaces an evaluation by pseudo-values if there are more than two samples and all but at most one agree."""
    if sum(votes) <= 2 or max(votes) < width - 1:
        return None
    return [CONSENSUS_HIGH if count >= width - 1 else CONSENSUS_LOW for count in votes]


def _consensus_of_nodes(actions: Sequence[str], votes: Sequence[int], width: int) -> list[float] | None:
    """Does the same, but counts nodes after equal samples were merged, as the published code does.

    It can fire only if nodes with equal actions stay separate (`distinct` "thought"). Source: hp/symphony.py:421-439;
    ws/symphony.py:664 has it too, but merges equal actions into one node.
    """
    shared = Counter(actions)
    action, most = shared.most_common(1)[0]
    if len(actions) <= 2 or most < width - 1:
        return None
    return [CONSENSUS_HIGH if each == action else CONSENSUS_LOW for each in actions]


CONSENSUS: dict[Consensus, Callable[[Sequence[str], Sequence[int], int], list[float] | None]] = {
    "on": _consensus,
    "nodes": _consensus_of_nodes,
}
"""Each takes the actions of a step's nodes, the samples that proposed each, and the step's width; None: none agrees."""

# --------------------------------------------------------------------------- completions without an action

COOLING = 0.01
"""Drop in temperature after a round without any action. Source: hp/symphony.py:397."""


def temperatures(first: float) -> Iterator[float]:
    """Yields the temperatures of the rounds that sample a simulation step until something parses: 21 from 0.2.

    Source: hp/symphony.py:392-403.
    """
    yield first
    for step in count():
        temperature = first - COOLING * step
        if temperature <= 0:
            return
        yield temperature


async def _cooling(phases: Phases, parent: int, width: int) -> Expansion:
    """Samples rounds at falling temperature until one brings a node.

    If none does, the published code gives up the problem; here the simulation ends like any other that cannot continue.
    """
    step = Expansion(ids=[], votes=[])
    for temperature in temperatures(phases.expand_sampling.temperature):
        step = await phases.expand(
            parent, width, "simulate", sampling=replace(phases.expand_sampling, temperature=temperature)
        )
        if step.ids:
            break
    return step


# --------------------------------------------------------------------------- the search


@dataclass(frozen=True, slots=True, kw_only=True)
class Official(Symphony):
    """SYMPHONY with switches that reproduce where its published code differs; each is off by default.

    Attributes:
        root_n: Actions sampled at the root, >= 1; None means `n`. With 1 the search refines a first attempt.
        consensus: Whether near-unanimous simulation steps skip the evaluator: "off", "on" (counts samples) or "nodes"
            (counts nodes).
        uct_mean: Whether the mean of a visited child is divided by its visits once more ("double").
        select: Whether an exhausted node is closed, or detached from its parent, which can then be expanded again
            ("prune").
        limit: Whether `depth` closes a node and cuts simulations ("close"), or only ends the search when such a node is
            selected ("stop"; ws/symphony.py:512-525, 717, where no child is left to simulate from).
        values: Whether a new child gets its own value, one dealt by position ("positional", "rescaled"), or its share
            of visible tests passed ("progress").
        value_cache: Whether a path is judged only once per problem under the same lessons ("on").
        backup: Whether an end without reward records -1 for itself ("wrong_end"), or the children's own values are
            backed up instead of the simulation's ("children").
        sim_end: Which of several ends of a simulation step is taken if none is a success: the first, or the last
            (hp/symphony.py:411-418, ws/symphony.py:638-647).
        sim_depth_from: Whether `sim_depth` counts from the root ("absolute") or from the simulation's start ("extra").
        sim_value: What a simulation backs up: as in `Symphony`, or the "reward" of its end, `sim_cut` if it was cut,
            and 0 if it made no step (hp/symphony.py:379-461, ws/symphony.py:621-685).
        sim_cut: Value of a cut simulation under "reward" (published code: -1 for HotpotQA, -0.5 for WebShop).
        resample: What happens to completions without an action: they are sampled once more ("once"), dropped
            ("never"), or dropped and, if a simulation step has no action left, sampled at falling temperature
            ("cooling").
        distinct: Whether samples with equal actions become one node, or only if their thoughts are equal too.
        lessons: Whether each failure is reflected on once ("each"), the first three are, all anew with each new one
            ("rewritten"; "rewritten_by_reward" counts ends by partial reward), or each attempt that fails its visible
            tests is ("each_attempt").
        shown: Whether prompts carry all lessons in memory, or only those drawn on the path to their node ("path").
        reflect_temperature: Sampling temperature of lessons, >= 0 (published code for programs: 0.2).
    """

    root_n: Count | None = None
    consensus: Consensus = "off"
    uct_mean: UctMean = "mean"
    select: Select = "close"
    limit: Limit = "close"
    values: Values = "own"
    value_cache: ValueCache = "off"
    backup: Backup = "plain"
    sim_end: SimEnd = "first"
    sim_depth_from: SimulationDepth = "absolute"
    sim_value: SimulationValue | Literal["reward"] = "mean"  # type: ignore[assignment]  # wider than in Symphony
    sim_cut: float = -1.0
    resample: Resample = "once"
    distinct: Distinct = "action"
    lessons: LessonsWritten = "each"
    shown: Shown = "pool"
    reflect_temperature: NotNegative = 0.0

    def __post_init__(self) -> None:
        """Checks each field, and the one rule that ties three fields together."""
        Method.__post_init__(self)
        if self.select == "prune" and (self.parallel > 1 or self.root != "uct"):
            raise SymphonyError("search.select: found 'prune', allowed only with parallel 1 and root uct")

    def settings(self) -> Settings:
        return replace(
            Symphony.settings(self),
            again=self.resample == "once",
            closes=self.limit == "close",
            caches=self.value_cache == "on",
            pays=VALUES[self.values].pays,
        )

    async def search(self, phases: Phases) -> SearchResult:
        result = await Symphony.search(self, phases)
        traced = self.values == "own" and self.backup == "plain"  # other rules change node values afterwards
        return result if traced else replace(result, prefixes=None)

    # ---- the steps of Algorithm 1

    def leaves(self, tree: Tree, count: int) -> list[int]:
        """Selects as `Symphony` does; none if the search ends because a leaf at the depth limit was selected."""
        leaves = Symphony.leaves(self, tree, count)
        stops = self.limit == "stop" and any(tree[leaf].depth == self.depth for leaf in leaves)
        return [] if stops else leaves

    def _select(self, tree: Tree, start: int) -> int | None:
        if self.select == "prune":
            return _prune(tree, self.c, self.first_visit, start, self.uct_mean)
        return tree.select(self.c, self.first_visit, start, uct_mean=self.uct_mean)

    async def _expand(self, phases: Phases, leaf: int) -> list[int]:
        await LESSONS[self.lessons].before(phases)
        width = self.n if leaf != ROOT or self.root_n is None else self.root_n
        return await expand(phases, leaf, width, self.max_misses)

    async def _evaluate(self, phases: Phases, new: Sequence[int]) -> None:
        await VALUES[self.values].evaluate(phases, new, 0 if self.backup == "children" else 1)

    async def _reflect(self, phases: Phases, ids: Sequence[int]) -> None:
        await LESSONS[self.lessons].after(phases, ids)

    async def _simulate(self, phases: Phases, start: int) -> tuple[float, int]:
        extra = phases.tree[start].depth if self.sim_depth_from == "extra" else 0
        sim_depth = None if self.sim_depth is None else self.sim_depth + extra
        depth = self.depth if self.limit == "close" else None
        return await Symphony._simulate(replace(self, sim_depth=sim_depth, depth=depth), phases, start)

    def _start(self, phases: Phases, new: Sequence[int]) -> int:
        return VALUES[self.values].start(phases, new)

    async def _step(self, phases: Phases, at: int) -> Expansion:
        await LESSONS[self.lessons].before(phases)
        if self.resample == "cooling":
            return await _cooling(phases, at, self._width)
        return await Symphony._step(self, phases, at)

    def _end(self, phases: Phases, ends: Sequence[Node]) -> Node:
        end = Symphony._end(self, phases, ends)
        if self.sim_end == "last" and not end.solved:
            end = ends[-1]
        VALUES[self.values].ended(phases, end.id)
        return end

    async def _judge(self, phases: Phases, step: Expansion) -> None:
        agreed = None
        if self.consensus != "off":
            actions = [node.turn.action for id in step.ids if (node := phases.tree[id]).turn]
            agreed = CONSENSUS[self.consensus](actions, step.votes, self._width)
        if agreed is None:
            places = 1 if self.sim_value == "reward" else SIMULATION_VALUES[self.sim_value].places
            await evaluate(phases, step.ids, places)
            return
        for id, value in zip(step.ids, agreed, strict=True):
            phases.give(id, Score(value=value, confidence=1.0, modulated=value))

    async def _value(self, phases: Phases, walked: Sequence[Node], last: Node) -> float:
        if self.sim_value != "reward":
            return await Symphony._value(self, phases, walked, last)
        if not last.state.done:
            return self.sim_cut if walked else 0.0
        return (last.prior if last.state.reward is None else last.state.reward) or 0.0

    def _back_up(self, tree: Tree, leaf: int, last: int, value: float) -> None:
        if self.backup == "children":
            _back_up_children(tree, leaf)
        else:
            tree.backup(last, value)
        if self.backup == "wrong_end":
            _mark_wrong(tree[last], value)
        if self.select == "close":  # "prune" detects exhausted nodes itself
            tree.settle(leaf)
