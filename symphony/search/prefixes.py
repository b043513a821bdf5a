"""Computes, from a finished tree, what the search would have answered under each smaller call budget."""

from __future__ import annotations

import heapq
from collections import defaultdict
from itertools import groupby
from operator import itemgetter

from symphony.search.result import Answer, AnswerPolicy, standing
from symphony.search.tree import ROOT, Tree

_MADE, _JUDGED, _VISITED = range(3)

_Event = tuple[int, int, int, float]
"""Calls, kind of event, node, and the R or value it brought."""


def prefixes(tree: Tree, policy: AnswerPolicy) -> tuple[Answer, ...]:
    """Returns each change of the answer, starting with the answer before any call; takes O(n log n) for n nodes.

    Until a call is refused, a search does the same under any budget, so it ends with the nodes, scores and visits that
    its calls brought. The tree records when each came: `Node.made`, `Node.judged`, `Tree.doubted` and `Tree.visited`.
    Success shown by the environment ends the search.
    """
    board = _Board(tree, policy)
    answers: list[Answer] = []
    end = None if tree.solved is None else Answer(tree[tree.solved].made, tree.solved)
    for calls, events in groupby(_events(tree), key=itemgetter(0)):
        if end is not None and calls >= end.calls:
            break
        for event in events:
            board.apply(event)
        best = board.best()
        if not answers or answers[-1].node != best:
            answers.append(Answer(calls, best))
    return tuple(answers if end is None else (*answers, end))


def _events(tree: Tree) -> list[_Event]:
    events = [(node.made, _MADE, node.id, 0.0) for node in tree.nodes]
    events += [(calls, _JUDGED, id, prior) for calls, id, prior in tree.doubted]
    events += [(node.judged, _JUDGED, node.id, node.score.modulated) for node in tree.nodes if node.score is not None]
    events += [(calls, _VISITED, child, value) for calls, child, value in tree.visited]
    events.sort(key=itemgetter(0, 1))
    return events


class _Board:
    """Tracks the best node of each branch so far, and the branch that the answer is taken from.

    Under policy "most_visited" a branch is a child of the root with everything below it; otherwise the whole tree is
    one branch. A score can fall when a later answer replaces a provisional one, so the best nodes are kept in heaps
    whose outdated entries are dropped when they reach the top.
    """

    def __init__(self, tree: Tree, policy: AnswerPolicy) -> None:
        self._nodes = tree.nodes
        self._policy = policy
        self._ranks: dict[int, tuple[float, ...]] = {}
        self._heaps: defaultdict[int, list[tuple[tuple[float, ...], int, int, tuple[float, ...]]]] = defaultdict(list)
        self._branches = [ROOT] * len(tree)
        self._visits: dict[int, tuple[int, float, int]] = {}
        self._sums: defaultdict[int, float] = defaultdict(float)
        self._chosen = ROOT
        if policy == "most_visited":
            for node in tree.nodes[1:]:
                self._branches[node.id] = node.id if node.parent == ROOT else self._branches[node.parent or ROOT]
            self._visits = {id: (0, 0.0, -tree[id].made) for id in tree[ROOT].children}

    def apply(self, event: _Event) -> None:
        _, kind, id, value = event
        if kind == _JUDGED:
            self._place(id, value)
        elif kind == _MADE:
            state = self._nodes[id].state
            self._place(id, state.reward if state.done else None)
            if id in self._visits:
                self._choose(id)
        elif id in self._visits:
            visits, _, made = self._visits[id]
            self._sums[id] += value
            self._visits[id] = visits + 1, self._sums[id] / (visits + 1), made
            self._choose(id)

    def best(self) -> int:
        heap = self._heaps[self._chosen]
        while self._ranks[heap[0][2]] is not heap[0][3]:
            heapq.heappop(heap)
        return heap[0][2]

    def _place(self, id: int, prior: float | None) -> None:
        node = self._nodes[id]
        rank = self._ranks[id] = standing(self._policy, node, prior)
        heapq.heappush(self._heaps[self._branches[id]], (tuple(-part for part in rank), node.made, id, rank))

    def _choose(self, id: int) -> None:
        """Makes this child the chosen branch if it is now the most visited; visits only grow, so no other can be."""
        if self._chosen == ROOT or self._visits[id] > self._visits[self._chosen]:
            self._chosen = id
