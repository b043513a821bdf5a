"""What a search returns, how it chooses its answer, and the records the runner writes about it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from symphony.agents.memory import Memory
from symphony.agents.scheduler import Scheduler
from symphony.agents.scorer import Scorer
from symphony.agents.session import Session, StopCause
from symphony.records.records import AnswerRecord, NodeRecord, ProblemRecord
from symphony.search.tree import ROOT, Node, Tree
from symphony.types import Grade, Problem, State, Task

StopReason = StopCause | Literal["solved", "accepted", "iterations", "exhausted"]
"""Why a search ended: the environment showed success, an agent accepted an end, all iterations were done, nothing was
left to explore, a budget was spent, or no agent was left that answers."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search would have answered under a smaller call budget.

    Attributes:
        calls: Smallest call budget with this answer, valid up to that of the next answer; 0 means before any call.
        node: Id of the answer's node.
    """

    calls: int
    node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The outcome of a search.

    Attributes:
        answer: The node whose state is the answer.
        prefixes: Answers under smaller call budgets, from 0 calls on; None if they are not known.
        stop_reason: See `StopReason`.
        iterations: Search iterations started.
        unparsed: Completions without an action.
        fallbacks: Evaluations that used defaults (`Score.fallback`).
    """

    tree: Tree
    answer: int
    stop_reason: StopReason
    iterations: int
    unparsed: int
    fallbacks: int
    prefixes: tuple[Answer, ...] | None = None

    def answers(self, calls: int) -> tuple[Answer, ...]:
        """Returns `prefixes`, ending with the answer of the whole search.

        Args:
            calls: Calls of the search whose answers stand.
        """
        prefixes = self.prefixes or ()
        if not prefixes or prefixes[-1].node == self.answer:
            return prefixes
        return (*(answer for answer in prefixes if answer.calls < calls), Answer(calls, self.answer))

    @property
    def state(self) -> State:
        """The state that is graded."""
        return self.tree[self.answer].state


class Search(Protocol):
    """A search method: a frozen set of hyper-parameters."""

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """Searches one problem. However it ends, it returns a result with a stop reason; never calls `task.grade`."""
        ...


# --------------------------------------------------------------------------- the answer

AnswerPolicy = Literal["oracle_best", "oracle_kept", "largest_sum", "best_value", "first_terminal", "most_visited"]

Rank = Callable[[State, float | None], tuple[float, ...]]
"""Ranks a state as an answer, from the state and its R (None while unknown); a larger tuple is better."""


def _by_value(state: State, prior: float | None) -> tuple[float, ...]:
    """Ranks terminal states first, then cut trajectories, then unfinished ones; within each group by R."""
    return 0.0, state.terminated, state.done, -1.0 if prior is None else prior


def _by_reward(state: State, prior: float | None) -> tuple[float, ...]:
    """Ranks by visible reward, with cut trajectories last on ties; states without a visible reward by value."""
    if state.done and state.reward is not None:
        return 1.0, state.reward, state.terminated
    return _by_value(state, prior)


def _by_end(state: State, prior: float | None) -> tuple[float, ...]:
    """Ranks all terminal states equally, so the first one is the answer; ranks the others by value."""
    return (1.0,) if state.terminated else _by_value(state, prior)


RANKS: dict[AnswerPolicy, Rank] = {
    "oracle_best": _by_reward,
    "best_value": _by_value,
    "first_terminal": _by_end,
    "most_visited": _by_value,
}


def standing(policy: AnswerPolicy, node: Node, prior: float | None) -> tuple[float, ...]:
    """Returns a node's rank as an answer, given its R; among equal ranks (e.g. no R known) the root is last."""
    return (*RANKS[policy](node.state, prior), node.id != ROOT)


def choose_answer(tree: Tree, policy: AnswerPolicy) -> int:
    """Returns the id of the answer's node; simulated nodes count too, and ties go to the node proposed first."""
    if policy in PUBLISHED:
        return PUBLISHED[policy](tree).id
    offered = _below_most_visited(tree) if policy == "most_visited" else tree.nodes
    return max(offered, key=lambda node: (standing(policy, node, node.prior), -node.made)).id


def _oracle_kept(tree: Tree) -> Node:
    """Does what "oracle_best" does, but ignores ends that selection took out of the tree (`select` "prune").

    An end where an iteration ended still counts, whether a simulation walked there or the expansion made it.
    Source: ZHUWEI-hub/SYMPHONY, webshop/symphony.py:559-561.
    """
    within = {ROOT}
    for node in tree.nodes:
        if node.id in within:
            within.update(node.children)
    met = [node for node in tree.nodes if node.id in within or node.visits]
    rewarded = [node for node in met if node.state.done and node.state.reward is not None]
    best = max(rewarded, key=lambda node: node.state.reward or 0.0, default=None)
    return best or tree[choose_answer(tree, "best_value")]


def _largest_sum(tree: Tree) -> Node:
    """Returns the first action with the largest sum of values; a single action's children take its place, if any.

    Source: ZHUWEI-hub/SYMPHONY, programming/symphony.py:69-77, 436.
    """
    above = tree[ROOT]
    if len(above.children) == 1 and tree[above.children[0]].children:
        above = tree[above.children[0]]
    return max((tree[id] for id in above.children), key=lambda node: node.value_sum, default=above)


PUBLISHED: dict[AnswerPolicy, Callable[[Tree], Node]] = {"oracle_kept": _oracle_kept, "largest_sum": _largest_sum}
"""Rules of the published code; their answers under smaller call budgets are not known."""


def _below_most_visited(tree: Tree) -> list[Node]:
    """Returns the root's most visited child and everything below it; ties go to the child with the higher Q."""
    first = max(
        (tree[id] for id in tree[ROOT].children),
        key=lambda child: (child.visits, child.value_sum / max(1, child.visits), -child.made),
        default=tree[ROOT],
    )
    below = {first.id}
    for node in tree.nodes[first.id :]:
        if node.parent in below:
            below.add(node.id)
    return [tree[id] for id in sorted(below)]


def voters(tree: Tree, ids: Sequence[int]) -> list[Node]:
    """Returns the nodes that vote for an answer: those where the episode has ended or, if it has at none, all."""
    return [tree[id] for id in ids if tree[id].state.terminated] or [tree[id] for id in ids]


def majority(
    tree: Tree, ids: Sequence[int], key: Callable[[State], str], votes: Callable[[Node], float] = lambda node: 1.0
) -> int:
    """Returns the first node of the answer with the most votes; two nodes give the same answer if their `key` is equal.

    Ties go to the answer given first. Without any node the root is the answer.

    Args:
        votes: Number of votes of a node.
    """
    electors = voters(tree, ids)
    sums: defaultdict[str, float] = defaultdict(float)
    for node in electors:
        sums[key(node.state)] += votes(node)
    return max(electors, key=lambda node: sums[key(node.state)], default=tree[ROOT]).id


# --------------------------------------------------------------------------- records


def node_records(session: Session, tree: Tree) -> list[NodeRecord]:
    """Returns the records of all nodes of a problem's tree, by id."""
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
    """Sums costs in dollars, rounding once so that the order does not matter; None if any is unknown."""
    known = [cost for cost in costs if cost is not None]
    return math.fsum(known) if len(known) == len(costs) else None


def problem_record(index: int, session: Session, result: SearchResult, grade: Grade) -> ProblemRecord:
    """Returns one problem's outcome and consumption; `index` is its position in the run, `grade` that of its answer."""
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


def answer_records(session: Session, answers: Sequence[Answer], grades: Mapping[int, Grade]) -> list[AnswerRecord]:
    """Returns a problem's answers under smaller call budgets, each with its node's grade."""
    return [
        AnswerRecord(
            run=session.run,
            problem=session.problem.id,
            calls=answer.calls,
            tokens=session.needs[answer.calls - 1] if answer.calls else 0,
            node=answer.node,
            success=grades[answer.node].success,
            score=grades[answer.node].score,
        )
        for answer in answers
    ]
