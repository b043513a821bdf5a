"""The phases that every search is made of: expand, evaluate, reflect (paper: P_phi), on one problem's tree.

Agents are picked one after another, so that the scheduler's counts move between the picks; the calls of a phase then
run together, and their answers are applied in the order asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from symphony.agents import Session, Stop, Ticket
from symphony.memory import Memory
from symphony.scheduler import Scheduler
from symphony.scorer import FORMAT_REMINDER, Scorer
from symphony.search.lockstep import deferred, lockstep
from symphony.search.prefixes import prefixes
from symphony.search.result import AnswerPolicy, SearchResult, StopReason, choose_answer
from symphony.search.tree import ROOT, Node, Origin, Tree
from symphony.types import (
    Completion,
    Message,
    Phase,
    Problem,
    Proposal,
    Reflection,
    Sampling,
    Score,
    Shorten,
    Task,
    Turn,
)

T = TypeVar("T")

LESSON_PREFIX = "Lesson:"

_EXPAND: dict[Origin, Phase] = {"expand": Phase.EXPAND, "simulate": Phase.SIM_EXPAND}
_EVALUATE: dict[Origin, Phase] = {"expand": Phase.EVALUATE, "simulate": Phase.SIM_EVALUATE}

Prompt = Callable[[int, tuple[str, ...]], Shorten]
"""Makes the messages for a node and the lessons of an agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a search works with on one problem."""

    problem: Problem
    task: Task
    session: Session
    scheduler: Scheduler
    scorer: Scorer
    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """New nodes of one expansion and, for each, how many of the samples proposed its action."""

    ids: list[int]
    votes: list[int]


@dataclass(slots=True, kw_only=True)
class Phases:
    """One problem's search in the making.

    Attributes:
        depth: Nodes at this depth are not expanded; None is no limit.
        expand_sampling: For actions; evaluation and reflection are greedy (paper App. D).
        evaluate_tokens, reflect_tokens: Completion tokens allowed.
        limit_fails: Whether reaching `depth` is a failure to reflect on.
        unparsed: Completions without an action, so far. fallbacks: Evaluations not understood, so far.
        taught: Keys of the failures that have been, or are being, reflected on.
        wait: How the answers to calls are awaited.
    """

    parts: Parts
    depth: int | None
    expand_sampling: Sampling
    evaluate_tokens: int = 16
    reflect_tokens: int = 48
    limit_fails: bool = True
    tree: Tree = field(init=False)
    unparsed: int = 0
    fallbacks: int = 0
    taught: set[str] = field(default_factory=set)
    wait: Callable[[Sequence[Ticket]], Awaitable[list[Completion]]] = field(init=False)

    def __post_init__(self) -> None:
        self.wait = self.parts.session.answers
        self.tree = Tree(self.parts.task.reset(self.parts.problem))

    # ---- expand

    async def expand(self, parent: int, width: int, origin: Origin = "expand") -> Expansion:
        """Samples `width` actions and adds the different ones as nodes, in the order asked.

        A completion without an action is sampled again once, from the next scheduled agent. Of equal actions the
        first is kept. Terminal nodes whose reward is visible credit their agent.

        Raises:
            Stop: A call was refused; what the calls before it brought has been added.
        """
        phase = _EXPAND[origin]
        path = self.tree.turns(parent)
        prompts = self.parts.task.prompts

        def prompt(_: int, lessons: tuple[str, ...]) -> Shorten:
            return partial(prompts.expansion, self.parts.problem, path, lessons)

        tickets, stop = self._ask([parent] * width, phase, prompt, self.expand_sampling)
        found = [(ticket, self._understand(answer)) for ticket, answer in await self._answers(tickets)]
        lost = [index for index, (_, proposal) in enumerate(found) if proposal is None]
        if lost and stop is None:
            tickets, stop = self._ask([parent] * len(lost), phase, prompt, self.expand_sampling)
            for index, (ticket, answer) in zip(lost, await self._answers(tickets), strict=False):
                found[index] = (ticket, self._understand(answer))
        expansion = self._attach(parent, origin, [(who, what) for who, what in found if what is not None])
        if stop is not None:
            raise stop
        return expansion

    def _understand(self, answer: Completion) -> Proposal | None:
        if answer.error is not None:
            return None
        proposal = self.parts.task.parse(answer.text)
        if proposal is None:
            self.unparsed += 1
        return proposal

    def _attach(self, parent: int, origin: Origin, proposals: Sequence[tuple[Ticket, Proposal]]) -> Expansion:
        tree, session = self.tree, self.parts.session
        above = tree[parent]
        too_deep = self.depth is not None and above.depth + 1 >= self.depth
        by_action: dict[str, int] = {}
        votes: list[int] = []
        first: dict[str, int] = {}
        for ticket, proposal in proposals:
            first[proposal.action] = min(ticket.call, first.get(proposal.action, ticket.call))
        for ticket, proposal in proposals:
            if proposal.action in by_action:
                votes[by_action[proposal.action]] += 1
                continue
            by_action[proposal.action] = len(votes)
            votes.append(1)
            state = self.parts.task.step(above.state, proposal.action)
            id = tree.add(
                parent,
                turn=Turn(thought=proposal.thought, action=proposal.action, observation=state.observation),
                state=state,
                agent=ticket.arm,
                origin=origin,
                iteration=session.iteration,
                closed=too_deep,
                made=first[proposal.action] + 1,
            )
            if tree[id].prior is not None:
                self._credit(tree[id])
        return Expansion(ids=list(range(len(tree) - len(votes), len(tree))), votes=votes)

    # ---- evaluate

    async def evaluate(self, ids: Sequence[int], origin: Origin = "expand") -> None:
        """Has scheduled agents score the nodes whose value the environment does not show; credits their generators.

        An answer that can not be understood is asked for once more with a format reminder, from the next scheduled
        agent; then the scorer's fallback stands.

        Raises:
            Stop: A call was refused; the answers to those before it have been applied.
        """
        phase = _EVALUATE[origin]
        sampling = Sampling(temperature=0.0, max_tokens=self.evaluate_tokens)
        ids = [id for id in ids if self.tree[id].prior is None]
        tickets, stop = self._ask(ids, phase, self._evaluation, sampling)
        scores = [(ticket.call, self._score(answer)) for ticket, answer in await self._answers(tickets)]
        lost = [index for index, (_, score) in enumerate(scores) if score is None]
        if lost and stop is None:
            tickets, stop = self._ask([ids[index] for index in lost], phase, self._reminded, sampling)
            for index, (ticket, answer) in zip(lost, await self._answers(tickets), strict=False):
                self.tree.doubted.append((scores[index][0] + 1, ids[index], self.parts.scorer.fallback().modulated))
                scores[index] = (ticket.call, self._score(answer))
        for id, (call, score) in zip(ids, scores, strict=False):
            self.judge(id, self.parts.scorer.fallback() if score is None else score, call + 1)
        if stop is not None:
            raise stop

    def judge(self, id: int, score: Score, judged: int | None = None) -> None:
        """Gives a node its score and credits the agent that generated it. `judged` is as in `Node`; None is now."""
        node = self.tree[id]
        node.judged = self.tree.now if judged is None else judged
        self.fallbacks += score.fallback
        node.score = score
        node.prior = score.modulated
        self._credit(node)

    def _score(self, answer: Completion) -> Score | None:
        return None if answer.error is not None else self.parts.scorer.score(answer.text)

    def _evaluation(self, id: int, lessons: tuple[str, ...]) -> Shorten:
        return partial(self.parts.task.prompts.evaluation, self.parts.problem, self.tree.turns(id), lessons)

    def _reminded(self, id: int, lessons: tuple[str, ...]) -> Shorten:
        return partial(_remind, self._evaluation(id, lessons))

    # ---- reflect

    async def reflect(self, ids: Sequence[int]) -> None:
        """Has a scheduled agent draw a lesson from each failure among the nodes, once a failure key (paper Eq. 3).

        Raises:
            Stop: A call was refused; the lessons of those before it are in memory.
        """
        if not self.parts.memory.reflects:
            return
        failures: dict[str, int] = {}
        for id in ids:
            if self.failed(self.tree[id]):
                key = self.parts.task.failure_key(self.tree[id].state)
                if key not in self.taught:
                    failures.setdefault(key, id)

        def prompt(id: int, _: tuple[str, ...]) -> Shorten:
            return partial(self.parts.task.prompts.reflection, self.parts.problem, self.tree.turns(id))

        sampling = Sampling(temperature=0.0, max_tokens=self.reflect_tokens)
        tickets, stop = self._ask(list(failures.values()), Phase.REFLECT, prompt, sampling)
        self.taught.update(list(failures)[: len(tickets)])
        answers = await self._answers(tickets)
        for (key, id), (ticket, answer) in zip(failures.items(), answers, strict=False):
            self._learn(key, id, ticket.arm, answer)
        if stop is not None:
            raise stop

    def failed(self, node: Node) -> bool:
        """Whether a node is known to be a failure: a visible reward below success, a cut, or the depth limit."""
        state = node.state
        if state.done:
            return state.truncated if state.reward is None else not node.solved
        return self.limit_fails and self.depth is not None and node.depth >= self.depth

    def _learn(self, key: str, id: int, arm: int, answer: Completion) -> None:
        text = answer.text.strip().removeprefix(LESSON_PREFIX).strip()
        if answer.error is not None or not text:
            self.taught.discard(key)
            return
        session = self.parts.session
        session.learn(
            self.parts.memory, Reflection(text=text, agent=arm, node=id, key=key, iteration=session.iteration)
        )

    # ---- all phases

    async def grow(self, leaf: int, width: int, max_misses: int) -> list[int]:
        """Expands a leaf and has its new nodes evaluated, unless success was seen; closes a leaf that stays fruitless.

        Args:
            max_misses: Expansions without any action after which the leaf is closed.

        Returns:
            Ids of the new nodes, in the order made.

        Raises:
            Stop: A call was refused.
        """
        ids = (await self.expand(leaf, width)).ids
        if not ids:
            node = self.tree[leaf]
            node.misses += 1
            if node.misses >= max_misses:
                self.tree.close(leaf)
        elif not self.solved():
            await self.evaluate(ids)
        return ids

    def solved(self) -> bool:
        """Whether the environment showed success at any node."""
        return self.tree.solved is not None

    def _credit(self, node: Node) -> None:
        """Every node once: when it is evaluated, or when it ends with a reward that the search may see."""
        if node.agent is not None and node.prior is not None:
            self.parts.session.credit(node.agent, node.prior)

    def _ask(
        self, nodes: Sequence[int], phase: Phase, prompt: Prompt, sampling: Sampling
    ) -> tuple[list[Ticket], Stop | None]:
        """Picks an agent for each node's call and charges it; stops at the first call that may not be made."""
        session = self.parts.session
        tickets: list[Ticket] = []
        for node in nodes:
            try:
                arm = session.pick(self.parts.scheduler, phase, node)
            except Stop as stop:
                return tickets, stop
            lessons = () if phase is Phase.REFLECT else self.parts.memory.view(session.lessons, arm)
            ticket = session.ask(arm, phase, node, prompt(node, lessons), sampling, lessons=len(lessons))
            tickets.append(ticket)
        return tickets, None

    async def _answers(self, tickets: Sequence[Ticket]) -> list[tuple[Ticket, Completion]]:
        if not tickets:
            return []
        answers = await self.wait(tickets)
        self.tree.now = tickets[-1].call + 1  # other lanes may have asked more
        return list(zip(tickets, answers, strict=True))

    async def together(self, lanes: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Runs phases of several nodes in lockstep: see `lockstep.lockstep`."""
        before, self.wait = self.wait, deferred
        try:
            return await lockstep(self.parts.session, lanes)
        finally:
            self.wait = before
            self.tree.now = len(self.parts.session.calls)

    async def walk(self, misses: int) -> tuple[int, bool]:
        """One trajectory from the root, an agent scheduled at each step, until it ends or reaches the depth limit.

        Args:
            misses: Fruitless expansions in a row after which the trajectory is given up.

        Returns:
            The last node, and whether the trajectory was given up.
        """
        at, missed = ROOT, 0
        while not (self.tree[at].state.done or (self.depth is not None and self.tree[at].depth >= self.depth)):
            ids = (await self.expand(at, 1)).ids
            missed = 0 if ids else missed + 1
            if missed >= misses:
                return at, True
            at = ids[0] if ids else at
        return at, False

    async def conclude(self, search: Awaitable[StopReason], policy: AnswerPolicy) -> SearchResult:
        """The result of a search, whether it ends by itself or a call is refused.

        Success seen by the environment overrides any other reason and is the answer.
        """
        try:
            reason = await search
        except Stop as stop:
            reason = stop.reason
        changes = prefixes(self.tree, policy)
        solved = self.tree.solved
        if solved is not None:
            self.tree.backup(solved, 1.0)
        return SearchResult(
            tree=self.tree,
            answer=choose_answer(self.tree, policy) if solved is None else solved,
            prefixes=changes,
            stop_reason=reason if solved is None else "solved",
            iterations=self.parts.session.iteration,
            unparsed=self.unparsed,
            fallbacks=self.fallbacks,
        )


def _remind(evaluation: Shorten, dropped: int) -> tuple[Message, ...]:
    """With the reminder inside the last message: strict chat templates refuse two user turns in a row."""
    messages = evaluation(dropped)
    if not messages:
        return ()
    *before, last = messages
    return (*before, replace(last, content=f"{last.content}\n{FORMAT_REMINDER}"))
