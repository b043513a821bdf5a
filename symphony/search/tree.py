"""The search tree: a flat list of nodes with integer ids and running sums; UCT (Eq. 7) and backup (Eq. 8)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from symphony.types import Score, State, Turn

ROOT = 0
SOLVED = 1.0 - 1e-9
"""A visible reward of at least this much is a success (1, allowing for rounding)."""

Origin = Literal["root", "expand", "simulate"]
FirstVisit = Literal["virtual", "inf", "prior", "twice", "order"]
_UNVISITED: dict[FirstVisit, tuple[float, float, int]] = {
    "virtual": (0.0, 1.0, 1),
    "inf": (1e6, 1.0, 0),
    "prior": (0.0, 1.0, 0),
    "twice": (0.0, 2.0, 0),
    "order": (1e6, 0.0, 0),
}
"""What an unvisited child counts as: (offset, factor, visits). Its bound is the offset (0, or more than any visited
child's bound), plus factor times R, plus the exploration bonus of that many visits (none if 0)."""

UctMean = Literal["mean", "double"]
"""Whether the sum of a visited child's values is divided by its visits once ("mean") or twice ("double")."""


@dataclass(slots=True, eq=False)
class Node:
    """One state reached, and what the search knows of it.

    Attributes:
        id: Index in `Tree.nodes`.
        parent: Id of the parent; None at the root.
        depth: Actions from the root.
        turn: Thought, action and resulting observation; None at the root.
        agent: Index of the agent that proposed it; None at the root.
        pick: Number of the pick that chose this agent; None if not known.
        origin: What made it. "simulate" nodes have a parent but are not among its `children`: selection never meets
            them.
        iteration: Search iteration that made it.
        made: Smallest call budget at which this node exists: one more than the call that first proposed it; 0 at the
            root.
        judged: Smallest call budget at which this node has its score.
        score: What the evaluator said; None if never evaluated.
        prior: R in [0, 1]: the environment's reward if the search may see it, else the modulated score; None while
            neither is known. Only `Official.values` "rescaled" can push it above 1.
        visits, value_sum: N and W of backpropagation; Q = W / N.
        children: Ids of the children that selection may follow, in creation order. A tuple, so leaves need no list of
            their own and the garbage collector need not look inside.
        open: How many of the children are not closed.
        closed: Whether nothing is left to explore here: terminal, too deep, fruitless, or all children closed.
        misses: Expansions that brought no child.
    """

    id: int
    parent: int | None
    depth: int
    turn: Turn | None
    state: State
    agent: int | None
    origin: Origin
    iteration: int
    made: int = 0
    judged: int = 0
    score: Score | None = None
    prior: float | None = None
    visits: int = 0
    value_sum: float = 0.0
    children: tuple[int, ...] = ()
    open: int = 0
    closed: bool = False
    misses: int = 0
    pick: int | None = None

    @property
    def solved(self) -> bool:
        """Whether the environment showed success."""
        state = self.state
        return state.reward is not None and state.done and state.reward >= SOLVED


def uct(mean: float, visits: int, log_parent: float, c: float) -> float:
    """Returns the upper confidence bound of a visited child; `log_parent` is ln N of its parent, `visits` >= 1.

    Source: paper Eq. 7, Q + c sqrt(ln N(p) / N(s)).
    """
    return mean + c * math.sqrt(log_parent / visits)


class Tree:
    """A search tree: nodes by id, with node 0 as the root.

    Invariants: a parent has a smaller id than its child; `open` of a node is the number of its children that are
    not closed. Each operation costs at most depth times branching, whatever the size of the tree.

    Attributes:
        nodes: Every node, simulated ones included, in the order added.
        solved: The first-proposed node where the environment showed success; None if there is none.
        now: Calls completed before the current change: under a smaller call budget the change never happens.
        doubted: (calls, node, R) of each provisional score, valid until a later answer replaced it.
        visited: (calls, child of the root, value) of each value added to a child of the root, in order.
    """

    __slots__ = ("doubted", "nodes", "now", "solved", "visited")

    def __init__(self, state: State) -> None:
        root = Node(ROOT, None, 0, None, state, None, "root", 0, closed=state.done)
        root.prior = state.reward if state.done else None
        self.nodes: list[Node] = [root]
        self.solved: int | None = ROOT if root.solved else None
        self.now = 0
        self.doubted: list[tuple[int, int, float]] = []
        self.visited: list[tuple[int, int, float]] = []

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, id: int) -> Node:
        return self.nodes[id]

    def add(
        self,
        parent: int,
        *,
        turn: Turn | None,
        state: State,
        agent: int | None,
        origin: Origin,
        iteration: int,
        closed: bool = False,
        pick: int | None = None,
        made: int | None = None,
    ) -> int:
        """Adds a node and returns its id. Terminal nodes are closed; `closed` closes others (depth limit).

        `made` is as in `Node`; None means `now`.

        A parent whose children are all closed stays open until `settle` is called, since more children may follow.
        """
        above = self.nodes[parent]
        id = len(self.nodes)
        node = Node(
            id, parent, above.depth + 1, turn, state, agent, origin, iteration, self.now if made is None else made
        )
        node.closed = closed or state.done
        node.pick = pick
        self.nodes.append(node)
        if origin == "expand":
            above.children += (id,)
            if not node.closed:
                above.open += 1
        if state.reward is not None and state.done:
            node.prior = state.reward
            if node.solved and (self.solved is None or node.made < self.nodes[self.solved].made):
                self.solved = id
        return id

    def settle(self, id: int) -> None:
        """Closes an expanded node that has no open child, and any ancestors left without one."""
        node = self.nodes[id]
        if node.children and not node.open:
            self.close(id)

    def close(self, id: int) -> None:
        """Closes a node, and every ancestor that has no open child left."""
        node = self.nodes[id]
        while not node.closed:
            node.closed = True
            if node.parent is None:
                return
            node = self.nodes[node.parent]
            node.open -= 1
            if node.open:
                return

    def select(self, c: float, first_visit: FirstVisit, start: int = ROOT, *, uct_mean: UctMean = "mean") -> int | None:
        """Walks from `start` along the best open child (see `best`) to a leaf; None if everything below is closed."""
        node = self.nodes[start]
        if node.closed:
            return None
        while node.children:
            node = self.best(node, c, first_visit, uct_mean)
        return node.id

    def best(self, node: Node, c: float, first_visit: FirstVisit, uct_mean: UctMean = "mean") -> Node:
        """Returns the open child with the highest bound (Eq. 7), or the node itself if none is open.

        `first_visit` says what an unvisited child counts as: as if visited once, with its prior as the value
        ("virtual"); ahead of all visited ones, by highest prior ("inf") or by creation order ("order"); or as its prior
        ("prior") or twice its prior ("twice"), without a bonus. Ties go to the child made first. With `uct_mean`
        "double" the mean is divided by the visits once more.
        """
        nodes = self.nodes
        offset, factor, virtual = _UNVISITED[first_visit]
        double = uct_mean == "double"
        log_parent = math.log(node.visits) if node.visits > 1 else 0.0
        if virtual:
            offset = uct(offset, virtual, log_parent, c)
        best, best_bound = node, -math.inf
        for id in node.children:
            child = nodes[id]
            if child.closed:
                continue
            visits = child.visits
            if visits:
                bound = uct(child.value_sum / (visits * visits if double else visits), visits, log_parent, c)
            else:
                bound = offset + factor * (child.prior or 0.0)
            if bound > best_bound:
                best, best_bound = child, bound
        return best

    def detach(self, id: int) -> None:
        """Removes a node from its parent's children: selection never again meets it or anything below it."""
        node = self.nodes[id]
        if node.parent is None:
            return
        above = self.nodes[node.parent]
        above.children = tuple([child for child in above.children if child != id])
        above.open -= not node.closed

    def hold(self, id: int) -> None:
        """Marks an open leaf as in progress: adds a virtual loss on its path and closes it to selection.

        Source: Chaslot et al. 2008 ("Parallel Monte-Carlo Tree Search"), N += 1 with a value of 0.
        """
        for at in self.path(id):
            self.nodes[at].visits += 1
        self.close(id)

    def release(self, id: int) -> None:
        """Undoes `hold`; several held leaves must be released in reverse order."""
        nodes = self.nodes
        node = nodes[id]
        while node.closed:
            node.closed = False
            if node.parent is None:
                break
            node = nodes[node.parent]
            node.open += 1
        for at in self.path(id):
            nodes[at].visits -= 1

    def backup(self, id: int, value: float) -> None:
        """Adds a value to every node from this one to the root.

        Source: paper Eq. 8 as running sums: N += 1, W += value, Q = W / N.
        """
        nodes = self.nodes
        node = nodes[id]
        while node.parent is not None:
            node.visits += 1
            node.value_sum += value
            if node.parent == ROOT:
                self.visited.append((self.now, node.id, value))
            node = nodes[node.parent]
        node.visits += 1
        node.value_sum += value

    def visit(self, id: int, value: float) -> None:
        """Adds a value to one node below the root, and to no other."""
        node = self.nodes[id]
        node.visits += 1
        node.value_sum += value
        if node.parent == ROOT:
            self.visited.append((self.now, id, value))

    def path(self, id: int) -> list[int]:
        """Returns the ids from the root to the node, both included."""
        ids = [id]
        parent = self.nodes[id].parent
        while parent is not None:
            ids.append(parent)
            parent = self.nodes[parent].parent
        ids.reverse()
        return ids

    def turns(self, id: int) -> tuple[Turn, ...]:
        """Returns the trajectory from the root to the node, as prompts show it."""
        nodes = self.nodes
        turns: list[Turn] = []
        node = nodes[id]
        while node.parent is not None:
            if node.turn is not None:
                turns.append(node.turn)
            node = nodes[node.parent]
        turns.reverse()
        return tuple(turns)
