"""Where SYMPHONY's published code goes its own way: one rule a switch of `Official`, each off unless it is named.

docs/official-code.md lists all of the published behaviour and says which switch reproduces it. Sources are files and
lines of ZHUWEI-hub/SYMPHONY, commit 3fbe298: hp is its folder hotpot, ws webshop, pg programming.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from typing import Literal

from symphony.fields import Count, NotNegative
from symphony.search.evaluation import scores
from symphony.search.official_lessons import LESSONS, LessonsWritten
from symphony.search.phases import Expansion, Phases
from symphony.search.result import SearchResult
from symphony.search.rules import (
    SIMULATION_VALUES,
    Rules,
    ValueRule,
    best,
    unpaid,
)
from symphony.search.settings import Distinct, Shown
from symphony.search.symphony import Symphony
from symphony.search.tree import ROOT, FirstVisit, Node, Tree, UctMean
from symphony.types import Score, SymphonyError

Select = Literal["close", "prune"]
Limit = Literal["close", "stop"]
Values = Literal["own", "positional", "rescaled", "progress"]
Backup = Literal["plain", "wrong_end", "children"]
SimEnd = Literal["first", "last"]
Consensus = Literal["off", "on", "nodes"]
Resample = Literal["once", "never", "cooling"]
ValueCache = Literal["off", "on"]
CANONICAL = Rules()

# --------------------------------------------------------------------------- what becomes of an exhausted node


def _close(tree: Tree, c: float, first_visit: FirstVisit, start: int, *, uct_mean: UctMean) -> int | None:
    return tree.select(c, first_visit, start, uct_mean=uct_mean)


def _prune(tree: Tree, c: float, first_visit: FirstVisit, start: int, *, uct_mean: UctMean) -> int | None:
    """A node whose children have all ended is taken from its parent; a parent emptied so is a leaf again.

    Source: hp/symphony.py:332-362, ws/symphony.py:687-713. There an exhausted root is an error or an endless loop; here
    it ends the search.
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


SELECT: dict[Select, Callable[..., int | None]] = {
    "close": _close,
    "prune": _prune,
}


def _leave(tree: Tree, leaf: int) -> None:
    """Selection finds out by itself."""


SETTLE: dict[Select, Callable[[Tree, int], None]] = {"close": CANONICAL.settle, "prune": _leave}

LIMIT_CLOSES: dict[Limit, bool] = {"close": True, "stop": False}
"""Whether the depth limit closes a node and cuts simulations; else it does nothing but end the search when such a node
is selected.

Source: ws/symphony.py:512-525, 717 (the search ends because there is no child to simulate from).
"""

# --------------------------------------------------------------------------- values of the children of an expansion


def positional(values: Sequence[float], ended: Sequence[bool]) -> list[float]:
    """Values of the unfinished children dealt to all children in order; 0 where they run out.

    Source: hp/symphony.py:547-561. A child that has ended so takes the value of the next one.

    Args:
        values: Of the unfinished children, in order.
        ended: Of every child, whether it has ended.
    """
    return [*values, *[0.0] * (len(ended) - len(values))]


def rescaled(values: Sequence[float], ended: Sequence[bool]) -> list[float]:
    """Values dealt as by `positional`, ends raised to the largest plus 1, and all divided by the largest.

    Source: ws/symphony.py:815-836. May exceed 1.
    """
    dealt = positional(values, ended)
    largest = max(dealt) or 1.0
    return [(largest + 1 if end else value) / largest for value, end in zip(dealt, ended, strict=True)]


def _dealing(deal: Callable[[Sequence[float], Sequence[bool]], list[float]]) -> ValueRule:
    async def dealt_out(phases: Phases, ids: Sequence[int], places: int) -> None:
        ended = [phases.tree[id].prior is not None for id in ids]
        unfinished = [id for id, end in zip(ids, ended, strict=True) if not end]
        told, stop = await scores(phases, unfinished)
        said = dict(zip(unfinished, told, strict=False))  # Z and C stay with the node they were said of
        dealt = deal([score.modulated for score in told], ended)
        for id, value in zip(ids if stop is None else ids[: len(told)], dealt, strict=False):
            if id in said:
                phases.give(id, replace(said[id], modulated=value))
            else:
                phases.tree[id].prior = value
                phases.credit(phases.tree[id])
        if stop is not None:
            raise stop

    return ValueRule(evaluate=dealt_out, start=best, pays=_found, ended=unpaid)


async def _progress(phases: Phases, ids: Sequence[int], places: int) -> None:
    """The share of visible tests passed, without any evaluator; 0 where nothing was tested.

    Source: pg/symphony.py:393-405, where EMCS is defined and never called.
    """
    for id in ids:
        if phases.tree[id].prior is None:
            passed = phases.tree[id].state.progress or 0.0
            phases.give(id, Score(value=passed, confidence=1.0, modulated=passed))


def _found(node: Node) -> bool:
    """Success of an expansion alone; other ends are paid what they are dealt. Source: hp/symphony.py:370-375."""
    return node.solved and node.origin == "expand"


def _paid(phases: Phases, end: int) -> None:
    """The agent of the end gets its reward. Source: ws/symphony.py:638-647."""
    phases.credit(phases.tree[end])


VALUES: dict[Values, ValueRule] = {
    "own": CANONICAL.values,
    "positional": _dealing(positional),
    "rescaled": replace(_dealing(rescaled), ended=_paid),
    "progress": replace(CANONICAL.values, evaluate=_progress),
}

# --------------------------------------------------------------------------- backup


def _wrong_end(tree: Tree, children: Sequence[int], last: int, value: float) -> None:
    """An end without reward records -1 for itself, whatever its ancestors get. Source: hp/symphony.py:583-597."""
    tree.backup(last, value)
    node = tree[last]
    if node.state.done and node.state.reward == 0:
        node.value_sum += -1.0 - value


def _children(tree: Tree, children: Sequence[int], last: int, value: float) -> None:
    """The value of every new child, instead of a simulation's; not of the first attempt, the root's only child.

    Source: pg/symphony.py:421-429.
    """
    if tree[ROOT].children != tuple(children) or len(children) > 1:
        for id in children:
            tree.backup(id, tree[id].prior or 0.0)


BACKUP: dict[Backup, Callable[[Tree, Sequence[int], int, float], None]] = {
    "plain": CANONICAL.backup,
    "wrong_end": _wrong_end,
    "children": _children,
}
"""Each takes the new children of the iteration, the node where its simulation ended, and the value of that."""
BACKUP_PLACES: dict[Backup, int] = {"plain": 1, "wrong_end": 1, "children": 0}
"""Unfinished children whose values a backup does without, as in `evaluation.used`."""

# --------------------------------------------------------------------------- steps of a simulation


def _last(ends: Sequence[Node]) -> Node:
    """Source: hp/symphony.py:411-418, ws/symphony.py:638-647."""
    return ends[-1]


SIM_END: dict[SimEnd, Callable[[Sequence[Node]], Node]] = {"first": CANONICAL.end, "last": _last}
"""Which of the ends of a step a simulation takes where none is a success."""

CONSENSUS_HIGH, CONSENSUS_LOW = 0.9, 0.7
"""R of the action that nearly all samples proposed, and of the others. Source: hp/symphony.py:434-439."""


def _consensus(actions: Sequence[str], votes: Sequence[int], width: int) -> list[float] | None:
    """Pseudo-values instead of an evaluation when more than two samples, and all but one at most, agree."""
    if sum(votes) <= 2 or max(votes) < width - 1:
        return None
    return [CONSENSUS_HIGH if count >= width - 1 else CONSENSUS_LOW for count in votes]


def _consensus_of_nodes(actions: Sequence[str], votes: Sequence[int], width: int) -> list[float] | None:
    """The same counted over the nodes that are left of equal samples, as the published code does.

    It can fire only where nodes with equal actions stay apart (`distinct` "thought"). Source: hp/symphony.py:421-439;
    ws/symphony.py:664 has it too, but keeps equal actions as one node.
    """
    shared = Counter(actions)
    action, most = shared.most_common(1)[0]
    if len(actions) <= 2 or most < width - 1:
        return None
    return [CONSENSUS_HIGH if each == action else CONSENSUS_LOW for each in actions]


CONSENSUS: dict[Consensus, Callable[[Sequence[str], Sequence[int], int], list[float] | None]] = {
    "off": CANONICAL.agreed,
    "on": _consensus,
    "nodes": _consensus_of_nodes,
}

# --------------------------------------------------------------------------- completions without an action

COOLING = 0.01
"""How much the temperature falls after a round without any action. Source: hp/symphony.py:397."""


def temperatures(first: float) -> Iterator[float]:
    """Of the rounds in which a simulation step is sampled until something parses: 21 from 0.2.

    Source: hp/symphony.py:392-403.
    """
    yield first
    for step in count():
        temperature = first - COOLING * step
        if temperature <= 0:
            return
        yield temperature


async def _cooling(phases: Phases, parent: int, width: int) -> Expansion:
    """Rounds at falling temperature until one brings a node; the published code then gives the problem up.

    Here the simulation ends as any other that can not go on.
    """
    step = Expansion(ids=[], votes=[])
    for temperature in temperatures(phases.expand_sampling.temperature):
        step = await phases.expand(parent, width, "simulate", replace(phases.expand_sampling, temperature=temperature))
        if step.ids:
            break
    return step


SIM_STEP: dict[Resample, Callable[[Phases, int, int], Awaitable[Expansion]]] = {
    "once": CANONICAL.step,
    "never": CANONICAL.step,
    "cooling": _cooling,
}
AGAIN: dict[Resample, bool] = {"once": True, "never": False, "cooling": False}
"""Whether a single completion without an action is sampled once more; the published code drops it."""

# --------------------------------------------------------------------------- the search


def _stops(phases: Phases, leaf: int) -> bool:
    """Whether a leaf lies at a depth limit that closes nothing, so that it was selected all the same."""
    return phases.settings.depth is not None and phases.tree[leaf].depth >= phases.settings.depth


@dataclass(frozen=True, slots=True, kw_only=True)
class Official(Symphony):
    """SYMPHONY with switches for what its published code does its own way; each is off unless it is named.

    Attributes:
        root_n: Actions sampled at the root, >= 1; None is `n`. 1 makes a first attempt that the search refines.
        consensus: Whether near-unanimous simulation steps skip the evaluator: off, on (of samples) or by nodes.
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
        reflect_temperature: Of lessons, >= 0 (published code for programs: 0.2).
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
    resample: Resample = "once"
    distinct: Distinct = "action"
    lessons: LessonsWritten = "each"
    shown: Shown = "pool"
    reflect_temperature: NotNegative = 0.0

    def __post_init__(self) -> None:
        """One rule ties three fields together; the others are each field's own."""
        Symphony.__post_init__(self)
        if self.select == "prune" and (self.parallel > 1 or self.root != "uct"):
            raise SymphonyError("search.select: found 'prune', allowed with it: parallel 1 and root uct")

    def chosen_rules(self) -> Rules:
        return Rules(
            select=partial(SELECT[self.select], uct_mean=self.uct_mean),
            settle=SETTLE[self.select],
            ends=CANONICAL.ends if LIMIT_CLOSES[self.limit] else _stops,
            values=VALUES[self.values],
            backup=BACKUP[self.backup],
            places=BACKUP_PLACES[self.backup],
            step=SIM_STEP[self.resample],
            end=SIM_END[self.sim_end],
            agreed=CONSENSUS[self.consensus],
            simulated=SIMULATION_VALUES[self.sim_value],
            lessons=LESSONS[self.lessons],
            reflect_temperature=self.reflect_temperature,
            root_n=self.root_n,
            again=AGAIN[self.resample],
            closes=LIMIT_CLOSES[self.limit],
            distinct=self.distinct,
            shown=self.shown,
            caches=self.value_cache == "on",
        )

    async def search(self, phases: Phases) -> SearchResult:
        result = await Symphony.search(self, phases)
        traced = self.values == "own" and self.backup == "plain"  # others change values of nodes after the fact
        return result if traced else replace(result, prefixes=None)
