"""Where SYMPHONY's published code goes its own way: one strategy a switch of `Symphony`, each off unless it is named.

docs/official-code.md lists all of the published behaviour and says which switch reproduces it. Sources are files and
lines of ZHUWEI-hub/SYMPHONY, commit 3fbe298: hp is its folder hotpot, ws webshop, pg programming.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

from symphony.search.evaluation import evaluate, scores
from symphony.search.phases import Expansion, Phases
from symphony.search.tree import ROOT, FirstVisit, Node, Tree, UctMean
from symphony.types import Score

Select = Literal["close", "prune"]
Limit = Literal["close", "stop"]
Values = Literal["own", "positional", "rescaled", "progress"]
Backup = Literal["plain", "wrong_end", "children"]
SimEnd = Literal["first", "last"]
Consensus = Literal["off", "on", "nodes"]
Resample = Literal["once", "never", "cooling"]

# --------------------------------------------------------------------------- what becomes of an exhausted node


def _close(tree: Tree, c: float, first_visit: FirstVisit, start: int, uct_mean: UctMean) -> int | None:
    return tree.select(c, first_visit, start, uct_mean=uct_mean)


def _prune(tree: Tree, c: float, first_visit: FirstVisit, start: int, uct_mean: UctMean) -> int | None:
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


SELECT: dict[Select, Callable[[Tree, float, FirstVisit, int, UctMean], int | None]] = {
    "close": _close,
    "prune": _prune,
}


def _settle(tree: Tree, leaf: int) -> None:
    tree.settle(leaf)


def _leave(tree: Tree, leaf: int) -> None:
    """Selection finds out by itself."""


SETTLE: dict[Select, Callable[[Tree, int], None]] = {"close": _settle, "prune": _leave}

LIMIT_CLOSES: dict[Limit, bool] = {"close": True, "stop": False}
"""Whether the depth limit closes a node and cuts simulations; else it does nothing but end the search when such a node
is selected.

Source: ws/symphony.py:512-525, 717 (the search ends because there is no child to simulate from).
"""

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


def _best_unfinished(phases: Phases, ids: Sequence[int]) -> int:
    """The best child that has not ended, else the best that has."""
    return best(phases, [id for id in ids if not phases.tree[id].state.done] or ids)


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

    return ValueRule(evaluate=dealt_out, start=best, pays=_found, ended=_unpaid)


async def _progress(phases: Phases, ids: Sequence[int], places: int) -> None:
    """The share of visible tests passed, without any evaluator; 0 where nothing was tested.

    Source: pg/symphony.py:393-405, where EMCS is defined and never called.
    """
    for id in ids:
        if phases.tree[id].prior is None:
            passed = phases.tree[id].state.progress or 0.0
            phases.give(id, Score(value=passed, confidence=1.0, modulated=passed))


def _always(node: Node) -> bool:
    return True


def _found(node: Node) -> bool:
    """Success of an expansion alone; other ends are paid what they are dealt. Source: hp/symphony.py:370-375."""
    return node.solved and node.origin == "expand"


def _unpaid(phases: Phases, end: int) -> None:
    """Nobody is paid, not even for success. Source: hp/symphony.py:411-418."""


def _paid(phases: Phases, end: int) -> None:
    """The agent of the end gets its reward. Source: ws/symphony.py:638-647."""
    phases.credit(phases.tree[end])


VALUES: dict[Values, ValueRule] = {
    "own": ValueRule(evaluate=evaluate, start=_best_unfinished, pays=_always, ended=_unpaid),
    "positional": _dealing(positional),
    "rescaled": replace(_dealing(rescaled), ended=_paid),
    "progress": ValueRule(evaluate=_progress, start=_best_unfinished, pays=_always, ended=_unpaid),
}

# --------------------------------------------------------------------------- backup


def _plain(tree: Tree, children: Sequence[int], last: int, value: float) -> None:
    tree.backup(last, value)


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
    "plain": _plain,
    "wrong_end": _wrong_end,
    "children": _children,
}
"""Each takes the new children of the iteration, the node where its simulation ended, and the value of that."""
BACKUP_PLACES: dict[Backup, int] = {"plain": 1, "wrong_end": 1, "children": 0}
"""Unfinished children whose values a backup does without, as in `evaluation.used`."""

# --------------------------------------------------------------------------- steps of a simulation


def _first(ends: Sequence[Node]) -> Node:
    return ends[0]


def _last(ends: Sequence[Node]) -> Node:
    """Source: hp/symphony.py:411-418, ws/symphony.py:638-647."""
    return ends[-1]


SIM_END: dict[SimEnd, Callable[[Sequence[Node]], Node]] = {"first": _first, "last": _last}
"""Which of the ends of a step a simulation takes where none is a success."""

CONSENSUS_HIGH, CONSENSUS_LOW = 0.9, 0.7
"""R of the action that nearly all samples proposed, and of the others. Source: hp/symphony.py:434-439."""


def _no_consensus(actions: Sequence[str], votes: Sequence[int], width: int) -> list[float] | None:
    return None


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
    "off": _no_consensus,
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


async def _one_round(phases: Phases, parent: int, width: int) -> Expansion:
    return await phases.expand(parent, width, "simulate")


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
    "once": _one_round,
    "never": _one_round,
    "cooling": _cooling,
}
AGAIN: dict[Resample, bool] = {"once": True, "never": False, "cooling": False}
"""Whether a single completion without an action is sampled once more; the published code drops it."""
