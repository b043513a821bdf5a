"""SYMPHONY+: a tree of attempts. It asks further agents only in doubt, and branches where the most doubt is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from symphony.agents.scheduler import Another
from symphony.agents.scorer import emcs
from symphony.fields import Count, Share
from symphony.search.certainty import CERTAINTIES, Certainty, Worth
from symphony.search.course import conclude
from symphony.search.evaluation import evaluate
from symphony.search.method import Method
from symphony.search.phases import Draft, Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason
from symphony.search.settings import Settings, Siblings
from symphony.search.tree import ROOT, Node
from symphony.types import Score

Branch = Literal["doubt", "restart"]
LEAST_DOUBT = 0.01
"""Probability left for actions that no agent proposed yet, however sure the agents were."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SymphonyPlus(Method):
    """Makes attempts that share their beginnings, each by the agents that are sure of their next action.

    Needs neither feedback nor, unless `worth` is "judged", an evaluator; reflects if the memory does. One model or a
    pool, best of models that give the log-probabilities of their tokens.

    A step asks the agent that the scheduler picks. Its proposal has C, the probability of its tokens, and R = C (1 -
    E(C)). While no proposal has an R of at least `gate`, another agent is asked, `asks` in all; equal proposals
    count together (1 - (1 - C)(1 - C')). The attempt goes on with the most probable proposal, and the scheduler learns
    from each: its C if it was chosen, 0 if not. The other proposals stay in the tree as candidates.

    The next attempt begins where an untried end is the most probable for its length: at a candidate, or at a node
    where another action may be proposed, whose probability is what its children leave of 1. So an attempt pays for the
    steps in doubt alone.

    Source: Algorithm 1 with EMCS (paper Eq. 4-6) applied to what an agent proposes. Asking again in doubt: ReASC (arXiv
    2601.02970), DeepConf (2508.15260); branching where it matters: Chain-in-Tree (2509.25835).

    Attributes:
        n: Maximum number of attempts, >= 1.
        gate: R in [0, 1] from which a proposal needs no second opinion; 0 asks one agent a step.
        asks: Maximum number of proposals per step, >= 1.
        certainty: C is the probability of all tokens of the proposal, for actions of a few tokens; the geometric mean
            of their probabilities ("token"), for programs and long thoughts; or random (the control).
        branch: Where the next attempt begins: where the most "doubt" is left, or at the root ("restart").
        worth: What an end is worth whose reward is hidden: the C of its least certain step ("certainty"), or R as a
            scheduled agent and the scorer judge it ("judged").
        siblings: If agents judge ends: ends after the same step that one call judges at most, 1 to 16. Those that no
            attempt has reached yet are judged with the one that was, and are candidates for the answer from then on.
        enough: If rewards are hidden, the value in [0, 1] of an end that ends the search; 1 goes on to the budget.
        depth: Steps after which an attempt is cut, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps in a row at a node without any new action after which no attempt begins there, >= 1.
        answer: How the answer is chosen among the nodes.
        evaluate_tokens, reflect_tokens: Completion token limits per call.
    """

    n: Count = 10
    gate: Share = 0.8
    asks: Count = 3
    certainty: Certainty = "probability"
    branch: Branch = "doubt"
    worth: Worth = "certainty"
    siblings: Siblings = 1
    enough: Share = 1.0
    depth: Count | None = 20
    max_misses: Count = 2
    answer: AnswerPolicy = "oracle_best"
    evaluate_tokens: Count = 16
    reflect_tokens: Count = 48

    def settings(self) -> Settings:
        return replace(Method.settings(self), pays=_never)  # the gate credits the agents

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Iterations are attempts; stop reason "accepted": an end was worth `enough`."""
        return await conclude(phases, self._search(_Attempts(phases, self)), self.answer)

    async def _search(self, attempts: _Attempts) -> StopReason:
        phases = attempts.phases
        for k in range(1, self.n + 1):
            phases.parts.session.iteration = k
            start = BRANCHES[self.branch](attempts)
            if start is None:
                return "exhausted"
            before = len(phases.tree)
            last = await attempts.walk(*start)
            if phases.solved():
                return "solved"
            if last.score is not None and last.score.modulated >= self.enough < 1.0:
                return "accepted"
            await phases.reflect([node.id for node in phases.tree.nodes[before:] if node.state.done])
        return "iterations"


def _never(node: Node) -> bool:
    return False


@dataclass(slots=True)
class _Attempts:
    """The attempts on one problem.

    Attributes:
        certain: C of each node's action.
        tried: Nodes that an attempt went through.
        ends: Depths of the ends so far.
    """

    phases: Phases
    method: SymphonyPlus
    certain: dict[int, float] = field(default_factory=lambda: {ROOT: 1.0})
    tried: set[int] = field(default_factory=lambda: {ROOT})
    ends: list[int] = field(default_factory=list)

    async def walk(self, at: Node, asks: bool) -> Node:
        """Makes an attempt from a node to its end; returns the last node.

        Args:
            asks: Whether a new action is asked for at the first node; otherwise its best candidate is taken.
        """
        while not (at.state.done or self.phases.solved() or self.method.depth == at.depth):
            before = len(self.phases.tree)
            step = await self._step(at) if asks or not at.children else self._best(at)
            if step is None:
                at.misses += len(self.phases.tree) == before
                return at
            self.tried.add(step.id)
            at, asks = step, True
        if at.state.done and at.prior is None:
            await WORTHS[self.method.worth](self, at)
            self._ended(at)
        return at

    async def _step(self, at: Node) -> Node | None:
        """Asks agents for an action until one is sure; returns the most probable untried node, if any."""
        phases, asked = self.phases, frozenset[int]()
        made: list[tuple[int, Draft]] = []
        best = None
        for _ in range(self.method.asks):
            drafts, stop = await phases.propose(at.id, 1, by=Another(asked, phases.parts.scheduler))
            for draft in drafts:
                asked |= {draft.ticket.arm}
                if draft.proposal is not None:
                    made.append((await self._add(at, draft), draft))
            if stop is not None:
                raise stop
            best = self._best(at, [id for id, _ in made])
            c = max([self.certain[id] for id, _ in made], default=0.0)
            if phases.solved() or emcs(c, c) >= self.method.gate:
                break
        for id, draft in made:
            reward = self.certain[id] if best is not None and id == best.id else 0.0
            phases.parts.session.credit(draft.ticket.arm, reward, draft.ticket.pick)
        return best

    async def _add(self, at: Node, draft: Draft) -> int:
        """Adds a proposal to the tree, or counts it with an equal one; returns its node."""
        tree = self.phases.tree
        certain = CERTAINTIES[self.method.certainty](draft.completion, self.phases.parts.session.rng)
        for id in at.children:
            turn = tree[id].turn
            if turn is not None and draft.proposal is not None and turn.action == draft.proposal.action:
                self.certain[id] = 1.0 - (1.0 - self.certain[id]) * (1.0 - certain)
                return id
        (id,) = (await self.phases.attach(at.id, "expand", [draft])).ids
        self.certain[id] = certain
        if tree[id].prior is not None:
            self.tried.add(id)
            self._ended(tree[id])
        return id

    def _ended(self, end: Node) -> None:
        self.ends.append(end.depth)
        self.phases.tree.backup(end.id, end.prior or 0.0)

    def _best(self, at: Node, made: Sequence[int] = ()) -> Node | None:
        """Returns the most probable child that no attempt went through; a restart may repeat what was just proposed."""
        tree = self.phases.tree
        again = made if self.method.branch == "restart" else ()
        new = [id for id in at.children if (id in again and not tree[id].state.done) or id not in self.tried]
        return tree[max(new, key=self.certain.__getitem__)] if new else None

    # ---- where the next attempt begins

    def restart(self) -> tuple[Node, bool] | None:
        root = self.phases.tree[ROOT]
        return None if root.closed or root.misses >= self.method.max_misses else (root, True)

    def doubt(self) -> tuple[Node, bool] | None:
        """Returns the node below which an untried end is the most probable for its length, and whether to ask there."""
        tree = self.phases.tree
        length = sum(self.ends) / len(self.ends) if self.ends else 0.0
        reach = {ROOT: 1.0}
        best, highest = None, 0.0
        for node in tree.nodes:
            if node.parent is not None:
                reach[node.id] = reach[node.parent] * self.certain[node.id]
            if node.state.done or node.closed or node.misses >= self.method.max_misses:
                continue
            tried = node.id in self.tried
            left = max(LEAST_DOUBT, 1.0 - sum([self.certain[id] for id in node.children])) if tried else 1.0
            worth = reach[node.id] * left / max(1.0, length - node.depth)
            if worth > highest:
                best, highest = (node, tried), worth
        return best

    # ---- what an end is worth whose reward is hidden

    async def least_certain(self, end: Node) -> None:
        value = min(self.certain[id] for id in self.phases.tree.path(end.id))
        self.phases.give(end.id, Score(value=value, confidence=1.0, modulated=value), pays=False)

    async def judged(self, end: Node) -> None:
        tree = self.phases.tree
        known = [id for id in tree[end.parent or ROOT].children if tree[id].state.done and tree[id].prior is None]
        others = [id for id in known if id != end.id][: self.method.siblings - 1]
        await evaluate(self.phases, sorted([end.id, *others]))
        for id in others:
            self.tried.add(id)
            self._ended(tree[id])


BRANCHES: dict[Branch, Callable[[_Attempts], tuple[Node, bool] | None]] = {
    "doubt": _Attempts.doubt,
    "restart": _Attempts.restart,
}
WORTHS: dict[Worth, Callable[[_Attempts, Node], Awaitable[None]]] = {
    "certainty": _Attempts.least_certain,
    "judged": _Attempts.judged,
}
