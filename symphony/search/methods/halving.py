"""Which child of the root an iteration goes through: whichever UCT says, or by sequential halving."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from symphony.search.tree import ROOT, Node, Tree

RootRule = Literal["uct", "sequential_halving"]


@lru_cache(maxsize=64)
def considered_visits(actions: int, iterations: int) -> tuple[int, ...]:
    """How often a root action has been visited before each of the iterations, for the actions still considered.

    ceil(log2 m) rounds of about equally many iterations; each visits every action still considered equally often, and
    the better half (two at least) goes on to the next.

    Source: Karnin et al. 2013 (sequential halving), in the form of Danihelka et al. 2022 (mctx), where actions and
    visits are known beforehand.

    Args:
        actions: m, >= 1.
        iterations: >= 0.
    """
    if actions == 1:
        return tuple(range(iterations))
    rounds = math.ceil(math.log2(actions))
    sequence: list[int] = []
    visits, considered = 0, actions
    while len(sequence) < iterations:
        for _ in range(max(1, iterations // (rounds * considered))):
            sequence += [visits] * considered
            visits += 1
        considered = max(2, considered // 2)
    return tuple(sequence[:iterations])


def _uct(tree: Tree, iterations: int) -> int:
    return ROOT


def _sequential_halving(tree: Tree, iterations: int) -> int:
    """The best of the open children visited as often as this iteration's turn says.

    Where none is, since some were closed, one visited less stands in, so that a dropped action may come back. Best is
    the highest Q, or R before the first visit. The samples of the root's expansion stand for mctx's Gumbel top-k.
    """
    root = tree[ROOT]
    children = [tree[id] for id in root.children]
    offered = [child for child in children if not child.closed]
    if not offered:
        return ROOT
    turns = considered_visits(sum(not child.state.done for child in children), iterations)
    due = turns[min(root.visits, iterations - 1)]
    offered = [child for child in offered if child.visits <= due] or offered
    return max(offered, key=lambda child: (child.visits, _value(child))).id


def _value(node: Node) -> float:
    return node.value_sum / node.visits if node.visits else node.prior or 0.0


ROOT_RULES: dict[RootRule, Callable[[Tree, int], int]] = {"uct": _uct, "sequential_halving": _sequential_halving}
"""Each takes the tree and the iterations of the whole search, and says where selection by UCT begins."""
