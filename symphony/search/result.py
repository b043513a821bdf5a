"""What a search returns, how it chooses its answer, and the records the runner writes of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from symphony.agents import Session, StopCause
from symphony.memory import Memory
from symphony.records import NodeRecord, ProblemRecord
from symphony.scheduler import Scheduler
from symphony.scorer import Scorer
from symphony.search.tree import ROOT, Node, Tree
from symphony.types import Grade, Problem, State, SymphonyError, Task

StopReason = StopCause | Literal["solved", "accepted", "iterations", "exhausted"]
"""Why a search ended: success shown by the environment, an end that an agent accepted, all its iterations done, nothing
left to explore, a budget spent, or no agent left that answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The outcome of a search.

    Attributes:
        answer: The node whose state is the answer.
        stop_reason: See `StopReason`.
        iterations: Search iterations begun.
        unparsed: Completions without an action.
        fallbacks: Evaluations for which defaults stood in (`Score.fallback`).
    """

    tree: Tree
    answer: int
    stop_reason: StopReason
    iterations: int
    unparsed: int
    fallbacks: int

    @property
    def state(self) -> State:
        """The state that is graded."""
        return self.tree[self.answer].state


class Search(Protocol):
    """A search method: a frozen set of hyper-parameters."""

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """Searches one problem. Every way to end is a result with a stop reason; never calls `task.grade`."""
        ...


# --------------------------------------------------------------------------- the answer

AnswerPolicy = Literal["oracle_best", "oracle_kept", "largest_sum", "best_value", "first_terminal", "most_visited"]


def _oracle_best(tree: Tree) -> Node:
    """The highest visible reward, simulated nodes included; the best value where no reward is visible."""
    return _most_rewarded(tree.nodes) or _best_value(tree)


def _oracle_kept(tree: Tree) -> Node:
    """The same without ends that selection took out of the tree (`select` "prune"), as the published code has it.

    Simulated nodes count where a simulation ended at them. Source: ZHUWEI-hub/SYMPHONY, webshop/symphony.py:559-561.
    """
    within = {ROOT}
    for node in tree.nodes:
        if node.id in within:
            within.update(node.children)
    met = [node for node in tree.nodes if node.id in within or (node.origin == "simulate" and node.visits)]
    return _most_rewarded(met) or _best_value(tree)


def _largest_sum(tree: Tree) -> Node:
    """The first action, or first refinement of the only one, whose values add up to most.

    Source: ZHUWEI-hub/SYMPHONY, programming/symphony.py:69-77, 436.
    """
    above = tree[ROOT]
    if len(above.children) == 1 and tree[above.children[0]].children:
        above = tree[above.children[0]]
    return max((tree[id] for id in above.children), key=lambda node: node.value_sum, default=above)


def _most_rewarded(nodes: Iterable[Node]) -> Node | None:
    rewarded = [node for node in nodes if node.state.done and node.state.reward is not None]
    return max(rewarded, key=lambda node: node.state.reward or 0.0, default=None)


def _best_value(tree: Tree) -> Node:
    """The terminal node with the highest R; a cut trajectory counts less, an unfinished one less still."""
    return max(tree.nodes, key=_standing)


def _first_terminal(tree: Tree) -> Node:
    """The terminal node reached first; the best value where there is none."""
    return next((node for node in tree.nodes if node.state.terminated), None) or _best_value(tree)


def _most_visited(tree: Tree) -> Node:
    """The best value at or below the root's most visited child; of equally visited ones the one with the higher Q."""
    first = max(
        (tree[id] for id in tree[ROOT].children),
        key=lambda child: (child.visits, child.value_sum / max(1, child.visits)),
        default=tree[ROOT],
    )
    below = {first.id}
    for node in tree.nodes[first.id :]:
        if node.parent in below:
            below.add(node.id)
    return max((tree[id] for id in sorted(below)), key=_standing)


def _standing(node: Node) -> tuple[bool, bool, float]:
    return node.state.terminated, node.state.done, -1.0 if node.prior is None else node.prior


ANSWERS: dict[AnswerPolicy, Callable[[Tree], Node]] = {
    "oracle_best": _oracle_best,
    "oracle_kept": _oracle_kept,
    "largest_sum": _largest_sum,
    "best_value": _best_value,
    "first_terminal": _first_terminal,
    "most_visited": _most_visited,
}


def choose_answer(tree: Tree, policy: AnswerPolicy) -> int:
    """The node that is the answer; ties go to the node made first."""
    return ANSWERS[policy](tree).id


def majority(tree: Tree, ids: Sequence[int], key: Callable[[State], str]) -> int:
    """The vote over nodes, equal where `key` of their states is: the first node of the most frequent answer.

    Ties go to the answer that was given first. Nodes at which the episode has not ended have a vote only where it has
    ended at none; without a node the root is the answer.
    """
    voters = [tree[id] for id in ids if tree[id].state.terminated] or [tree[id] for id in ids]
    votes = Counter(key(node.state) for node in voters)
    return max(voters, key=lambda node: votes[key(node.state)], default=tree[ROOT]).id


# --------------------------------------------------------------------------- checks of hyper-parameters


def check_range(key: str, found: float | None, least: float) -> None:
    """Raises SymphonyError when what was found is no number, or one below `least`; None passes."""
    if found is not None and not (isinstance(found, (int, float)) and found >= least):
        raise SymphonyError(f"search.{key}: found {found}, allowed: >= {least:g}")


def check_choice(key: str, found: str, allowed: object) -> None:
    """Raises SymphonyError when `found` is not one of the Literal type's values."""
    options: Iterable[str] = get_args(allowed)
    if found not in options:
        raise SymphonyError(f"search.{key}: found {found!r}, allowed: {', '.join(options)}")


# --------------------------------------------------------------------------- records


def node_records(session: Session, tree: Tree) -> list[NodeRecord]:
    """Every node of a problem's tree, by id."""
    names = [agent.name for agent in session.pool.agents]
    return [_node_record(session.run, session.problem.id, names, node) for node in tree.nodes]


def _node_record(run: str, problem: str, names: list[str], node: Node) -> NodeRecord:
    turn, score, state = node.turn, node.score, node.state
    return NodeRecord(
        run=run,
        problem=problem,
        node=node.id,
        parent=node.parent,
        depth=node.depth,
        origin=node.origin,
        agent=None if node.agent is None else names[node.agent],
        iteration=node.iteration,
        thought="" if turn is None else turn.thought,
        action="" if turn is None else turn.action,
        observation=state.observation,
        value=None if score is None else score.value,
        confidence=None if score is None else score.confidence,
        prior=node.prior,
        fallback=score is not None and score.fallback,
        visits=node.visits,
        value_sum=node.value_sum,
        reward=state.reward,
        terminal=state.done,
        solved=node.solved,
        invalid=state.invalid,
        closed=node.closed,
    )


def _total(costs: Sequence[float | None]) -> float | None:
    """Dollars, rounded once whatever the order; None where one is unknown."""
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) else None


def problem_record(index: int, session: Session, result: SearchResult, grade: Grade) -> ProblemRecord:
    """One problem's outcome and consumption. `index` is its position in the run, `grade` that of `result.state`."""
    nodes = [node for node in result.tree.nodes if node.id != ROOT]
    simulated = sum(node.origin == "simulate" for node in nodes)
    return ProblemRecord(
        run=session.run,
        problem=session.problem.id,
        index=index,
        kind=session.problem.kind,
        success=grade.success,
        score=grade.score,
        detail=grade.detail,
        stop_reason=result.stop_reason,
        iterations=result.iterations,
        nodes_tree=len(nodes) - simulated,
        nodes_simulated=simulated,
        guesses=sum(node.state.terminated for node in nodes),
        calls=len(session.calls),
        prompt_tokens=sum(call.prompt_tokens for call in session.calls),
        completion_tokens=sum(call.completion_tokens for call in session.calls),
        cost=_total([call.cost for call in session.calls]),
        unparsed=result.unparsed,
        invalid=sum(node.state.invalid for node in nodes),
        fallbacks=result.fallbacks,
        errors=sum(call.error is not None for call in session.calls),
        answer_node=result.answer,
    )
