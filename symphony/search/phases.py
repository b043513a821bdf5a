"""The phases of every search on one problem's tree: expand and reflect (paper: P_phi); see also `evaluation`.

Agents are picked one after another, so the scheduler's counts change between picks. The calls of a phase then run
together, and their answers are applied in the order asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict, TypeVar, Unpack

from symphony.agents.memory import Memory, situation
from symphony.agents.scheduler import Scheduler
from symphony.agents.scorer import Scorer
from symphony.agents.session import Session, Stop, Ticket
from symphony.chat.prompts import remind
from symphony.chat.reasoning import spoken
from symphony.search.lockstep import deferred, lockstep, put_off
from symphony.search.settings import DISTINCT, SHOWN, Settings
from symphony.search.tree import ROOT, Node, Origin, Tree
from symphony.types import (
    AnswerStyle,
    Completion,
    Phase,
    Problem,
    Proposal,
    Reflection,
    Sampling,
    Score,
    Shorten,
    State,
    Task,
    Turn,
    plays_slowly,
)

T = TypeVar("T")

LESSON_PREFIX = "Lesson:"

_EXPAND: dict[Origin, Phase] = {"expand": Phase.EXPAND, "simulate": Phase.SIM_EXPAND}

Prompt = Callable[[tuple[Turn, ...], tuple[str, ...]], Shorten]
"""Builds the messages from the path to a node and the lessons of an agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a search works with on one problem."""

    problem: Problem
    task: Task
    session: Session
    scheduler: Scheduler
    scorer: Scorer
    memory: Memory


class Asking(TypedDict, total=False):
    """How an expansion asks, if not as usual.

    Attributes:
        sampling: Replaces the usual sampling of actions.
        style: Asks for the whole answer at once, in this style.
        by: Picks the agents in place of the search's scheduler.
        notes: Texts that the prompts carry below the lessons of memory.
    """

    sampling: Sampling
    style: AnswerStyle
    by: Scheduler | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expansion:
    """The new nodes of one expansion, and how many samples were merged into each."""

    ids: list[int]
    votes: list[int]


@dataclass(frozen=True, slots=True)
class Draft:
    """The answer to a call for an action, and the action read in it; None if there is none."""

    ticket: Ticket
    completion: Completion
    proposal: Proposal | None


@dataclass(slots=True, kw_only=True)
class Phases:
    """The running search on one problem.

    Attributes:
        expand_sampling: Sampling of actions; the scorer sets that of evaluations (paper App. D: greedy).
        amend: Changes a proposal before it is played; None leaves it as it is.
        judged: Cached scores by path and lessons, if `settings.caches`.
        unparsed: Completions without an action so far. fallbacks: Evaluations that used defaults so far.
        drawn: The answer that first proposed each node.
        taught: Keys of the failures that have been, or are being, reflected on.
        wait: Awaits the answers to calls.
        slow: Whether steps are played outside the event loop (`plays_slowly`).
    """

    parts: Parts
    expand_sampling: Sampling
    settings: Settings = field(default_factory=Settings)
    amend: Callable[[Proposal], Proposal] | None = None
    judged: dict[object, Score] = field(default_factory=dict)
    tree: Tree = field(init=False)
    unparsed: int = 0
    fallbacks: int = 0
    drawn: dict[int, Completion] = field(default_factory=dict)
    taught: set[str] = field(default_factory=set)
    wait: Callable[[Sequence[Ticket]], Awaitable[list[Completion]]] = field(init=False)
    slow: bool = field(init=False)

    def __post_init__(self) -> None:
        self.wait = self.parts.session.answers
        self.slow = plays_slowly(self.parts.task)
        self.tree = Tree(self.parts.task.reset(self.parts.problem))

    # ---- expand

    async def expand(self, parent: int, width: int, origin: Origin = "expand", **asking: Unpack[Asking]) -> Expansion:
        """Samples `width` actions and adds the distinct ones as nodes, in the order asked.

        A completion without an action is sampled once more, from the next scheduled agent, with a reminder of the
        format (`Prompts.again`). Of equal actions the first is kept. Terminal nodes whose reward is visible credit
        their agent.

        Raises:
            Stop: A call was refused; nodes from the calls before it have been added.
        """
        drafts, stop = await self.propose(parent, width, origin, **asking)
        expansion = await self.attach(parent, origin, drafts)
        if stop is not None:
            raise stop
        return expansion

    async def propose(
        self, parent: int, width: int, origin: Origin = "expand", **asking: Unpack[Asking]
    ) -> tuple[list[Draft], Stop | None]:
        """Samples `width` actions without playing them, as `expand` does.

        Returns:
            The drafts of the calls that stand, in the order asked, and the reason to stop if a call was refused.
        """
        style = asking.get("style")
        phase = _EXPAND[origin]

        def prompt(path: tuple[Turn, ...], lessons: tuple[str, ...]) -> Shorten:
            prompts = self.parts.task.prompts
            if style is not None:
                return partial(prompts.answer, style, self.parts.problem, lessons)
            return partial(prompts.expansion, self.parts.problem, path, lessons)

        def again(path: tuple[Turn, ...], lessons: tuple[str, ...]) -> Shorten:
            return partial(remind, prompt(path, lessons), self.parts.task.prompts.again)

        ask = partial(
            self.ask,
            phase=phase,
            sampling=asking.get("sampling") or self.expand_sampling,
            by=asking.get("by"),
            notes=asking.get("notes", ()),
        )
        tickets, stop = ask([parent] * width, prompt=prompt)
        answers, stop = await self.answers(tickets, stop)
        drafts = [Draft(ticket, answer, self._understand(answer)) for ticket, answer in answers]
        lost = [index for index, draft in enumerate(drafts) if draft.proposal is None]
        if lost and stop is None and self.settings.again:
            tickets, stop = ask([parent] * len(lost), prompt=again)
            answers, stop = await self.answers(tickets, stop)
            for index, (ticket, answer) in zip(lost, answers, strict=False):
                drafts[index] = Draft(ticket, answer, self._understand(answer))
        return drafts, stop

    def _understand(self, answer: Completion) -> Proposal | None:
        if answer.error is not None:
            return None
        proposal = self.parts.task.parse(answer.text)
        if proposal is None:
            self.unparsed += 1
        return proposal if proposal is None or self.amend is None else self.amend(proposal)

    async def tests(self, sampling: Sampling) -> str:
        """Has a scheduled agent write tests for the problem's answer; returns "" if the call failed.

        Raises:
            Stop: The call was refused.
        """
        write = partial(self.parts.task.prompts.answer, "tests", self.parts.problem)
        tickets, stop = self.ask([ROOT], Phase.EXPAND, lambda _, lessons: partial(write, lessons), sampling)
        answers, stop = await self.answers(tickets, stop)
        if stop is not None:
            raise stop
        ((_, completion),) = answers
        return "" if completion.error is not None else spoken(completion.text)

    async def attach(self, parent: int, origin: Origin, drafts: Sequence[Draft]) -> Expansion:
        """Plays the distinct actions among some drafts and adds them as nodes; see `expand`."""
        tree, session = self.tree, self.parts.session
        same = DISTINCT[self.settings.distinct]
        proposals = [(draft, draft.proposal, same(draft.proposal)) for draft in drafts if draft.proposal is not None]
        above = tree[parent]
        too_deep = self.settings.closes and self.settings.depth is not None and above.depth + 1 >= self.settings.depth
        known: dict[object, int] = {}
        votes: list[int] = []
        first: dict[object, int] = {}
        for draft, _, key in proposals:
            first[key] = min(draft.ticket.call, first.get(key, draft.ticket.call))
        actions = [proposal.action for _, proposal, _ in proposals] if self.slow else []
        played = await self._play_outside(above.state, actions) if actions else {}
        for draft, proposal, key in proposals:
            if key in known:
                votes[known[key]] += 1
                continue
            known[key] = len(votes)
            votes.append(1)
            state = played.get(proposal.action) or self.parts.task.step(above.state, proposal.action)
            id = tree.add(
                parent,
                turn=Turn(thought=proposal.thought, action=proposal.action, observation=state.observation),
                state=state,
                agent=draft.ticket.arm,
                origin=origin,
                iteration=session.iteration,
                closed=too_deep,
                pick=draft.ticket.pick,
                made=first[key] + 1,
            )
            self.drawn[id] = draft.completion
            if tree[id].prior is not None and self.settings.pays(tree[id]):
                self.credit(tree[id])
        return Expansion(ids=list(range(len(tree) - len(votes), len(tree))), votes=votes)

    async def _play_outside(self, state: State, actions: Sequence[str]) -> dict[str, State]:
        """Plays actions outside the event loop; returns the state after each."""

        def play() -> dict[str, State]:
            return {action: self.parts.task.step(state, action) for action in actions}

        return await (put_off(play) if self.wait is deferred else self.parts.session.outside(play))

    # ---- reflect

    async def reflect(self, ids: Sequence[int], failed: Callable[[Node], bool] | None = None) -> None:
        """Has a scheduled agent draw a lesson from each failure among the nodes, once per failure key (paper Eq. 3).

        Args:
            failed: Tells whether a node is a failure; None means `Phases.failed`.

        Raises:
            Stop: A call was refused; the lessons of those before it are in memory.
        """
        if not self.parts.memory.reflects:
            return
        failures: dict[str, int] = {}
        for id in ids:
            if (failed or self.failed)(self.tree[id]):
                key = self.parts.task.failure_key(self.tree[id].state)
                if key not in self.taught:
                    failures.setdefault(key, id)

        def prompt(path: tuple[Turn, ...], _: tuple[str, ...]) -> Shorten:
            return partial(self.parts.task.prompts.reflection, self.parts.problem, path)

        sampling = Sampling(temperature=self.settings.reflect_temperature, max_tokens=self.settings.reflect_tokens)
        tickets, stop = self.ask(list(failures.values()), Phase.REFLECT, prompt, sampling)
        self.taught.update(list(failures)[: len(tickets)])
        answers, stop = await self.answers(tickets, stop)
        for (key, id), (ticket, answer) in zip(failures.items(), answers, strict=False):
            self._learn(key, id, ticket.arm, answer)
        if stop is not None:
            raise stop

    def failed(self, node: Node) -> bool:
        """Whether a node is known to be a failure: an end without success, or a cut if `limit_fails` is set.

        An end is judged by its visible reward; if none is visible, by an agent's score, provided `accept` is set.
        """
        state = node.state
        if state.terminated and state.reward is None:
            return self.settings.accept is not None and node.score is not None and not self.passes(node)
        if state.terminated:
            return not node.solved
        return self.settings.limit_fails and (
            state.truncated or (self.settings.depth is not None and node.depth >= self.settings.depth)
        )

    def passes(self, node: Node) -> bool:
        """Whether a scheduled agent accepted this end: its verdict was understood and is at least `accept`."""
        score = node.score
        if self.settings.accept is None or score is None or score.fallback:
            return False
        return node.state.terminated and score.value >= self.settings.accept

    def _learn(self, key: str, id: int, arm: int, answer: Completion) -> None:
        text = spoken(answer.text).strip().removeprefix(LESSON_PREFIX).strip()
        if answer.error is not None or not text:
            self.taught.discard(key)
            return
        session = self.parts.session
        reflection = Reflection(
            text=text,
            agent=arm,
            node=id,
            key=key,
            iteration=session.iteration,
            situation=situation(self.parts.problem, self.tree.turns(id)),
        )
        session.learn(self.parts.memory, reflection)

    # ---- all phases

    def solved(self) -> bool:
        """Whether the environment showed success at any node."""
        return self.tree.solved is not None

    def give(self, id: int, score: Score, judged: int | None = None, *, pays: bool = True) -> None:
        """Gives a node its score and, if it `pays`, credits its agent. `judged` as in `Node`; None means now."""
        node = self.tree[id]
        node.judged = self.tree.now if judged is None else judged
        self.fallbacks += score.fallback
        node.score = score
        node.prior = score.modulated
        if pays:
            self.credit(node)

    def credit(self, node: Node) -> None:
        """Credits the agent that generated the node with its R.

        Called once per node: when it is evaluated, or when it ends with a reward the search may see.
        """
        if node.agent is not None and node.prior is not None:
            self.parts.session.credit(node.agent, node.prior, node.pick)

    def ask(
        self,
        nodes: Sequence[int],
        phase: Phase,
        prompt: Prompt,
        sampling: Sampling,
        by: Scheduler | None = None,
        notes: tuple[str, ...] = (),
    ) -> tuple[list[Ticket], Stop | None]:
        """Picks an agent for each node's call and charges the call; stops at the first call that is refused."""
        session, memory, shown = self.parts.session, self.parts.memory, SHOWN[self.settings.shown]
        tickets: list[Ticket] = []
        at = -1
        path: tuple[Turn, ...] = ()
        for node in nodes:
            if node != at:
                at, path = node, self.tree.turns(node)
            try:
                arm = session.pick(by or self.parts.scheduler, phase, node, self.tree[node].depth)
                lessons: tuple[str, ...] = ()
                if phase is not Phase.REFLECT:
                    known = shown(session.lessons, self.tree, node)
                    lessons = (*memory.view(known, arm, self.parts.problem, path), *notes)
                tickets.append(session.ask(arm, phase, node, prompt(path, lessons), sampling, lessons=len(lessons)))
            except Stop as stop:
                return tickets, stop
        return tickets, None

    async def answers(
        self, tickets: Sequence[Ticket], stop: Stop | None
    ) -> tuple[list[tuple[Ticket, Completion]], Stop | None]:
        """Awaits the calls; returns the answers that stand and the reason to stop, if any.

        The reason is `stop`, or a spent budget if some answers do not stand.
        """
        if not tickets:
            return [], stop
        answers = await self.wait(tickets)
        stood = tickets[: len(answers)]
        if stood:
            self.tree.now = stood[-1].call + 1  # not the total: other lanes may have asked more
        if len(stood) < len(tickets):
            stop = self.parts.session.stop()
        return list(zip(stood, answers, strict=True)), stop

    async def together(self, lanes: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Runs the phases of several nodes in lockstep; see `lockstep.lockstep`."""
        before, self.wait = self.wait, deferred
        try:
            return await lockstep(self.parts.session, lanes)
        finally:
            self.wait = before
            self.tree.now = self.parts.session.stood
