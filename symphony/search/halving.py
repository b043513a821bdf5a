"""Rules for the root's child an iteration goes through: UCT or sequential halving."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

from symphony.search.tree import ROOT, Node, Tree

RootRule = Literal["uct", "sequential_halving"]


@lru_cache(maxsize=64)
def considered_visits(actions: int, iterations: int) -> tuple[int, ...]:
    """Returns, for each iteration, how often the root action it visits has been visited before.

    There are ceil(log2 m) rounds of about equally many iterations. Each visits all actions still considered equally
    often, and the better half (at least two) goes on to the next round.

    Source: Karnin et al. 2013 (sequential halving), in the form of Danihelka et al. 2022 (mctx), where actions and
    visits are known beforehand.

    Args:
        actions: m, >= 1.
        iterations: Length of the result, >= 0.
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
    """Returns the best open child with the visit count that this iteration calls for.

    If no open child has that visit count, because some were closed, the next lower one is used; a dropped action can
    return. The best child has the highest Q, or R before its first visit. The samples of the root's expansion take the
    place of mctx's Gumbel top-k.
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
"""Each takes the tree and the iterations of the whole search, and returns the node where selection by UCT starts."""
