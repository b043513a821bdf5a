"""SYMPHONY (paper Algorithm 1): MCTS in which a scheduled agent of a pool answers every model call."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from symphony.fields import Count, FromZero, NotNegative
from symphony.search.course import conclude, expand
from symphony.search.evaluation import evaluate
from symphony.search.halving import ROOT_RULES, RootRule
from symphony.search.method import Method
from symphony.search.phases import Expansion, Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason
from symphony.search.settings import Judge, Settings, Siblings
from symphony.search.simulation import SIMULATION_VALUES, SimulationValue, best, best_unfinished
from symphony.search.tree import FirstVisit, Node, Tree

ReflectOn = Literal["failure_or_limit", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Symphony(Method):
    """Selects, expands, evaluates, reflects, simulates and backs up, K times.

    Needs an evaluator; works with and without feedback; reflects if the memory does. One model or a pool.

    Source: paper Algorithm 1. Where it is silent: each iteration selects one node and samples n actions there, every
    simulation is backed up, and each failure is reflected on once.

    Attributes:
        n: Actions sampled per expansion, >= 1.
        iterations: K, >= 1.
        depth: D, >= 1: a node at this depth is not expanded; None leaves it to the environment's horizon.
        c: Weight of exploration in UCT, >= 0 (paper: 2; published code: 1.41, which is sqrt(2)).
        first_visit: What an unvisited child counts as in selection: see `Tree.best`.
        sim_width: Actions sampled per simulation step, >= 1 (paper: 1); None means `n` (published code).
        sim_depth: Depth from the root at which simulations are cut, >= 0; never beyond `depth`. None lets the episode
            end.
        sim_value: What a simulation backs up: see `SIMULATION_VALUES`.
        judge: "used": an evaluator is asked only if the value changes a decision (`evaluation.used`); "every": always.
        siblings: New siblings that one call judges at most, 1 to 16; 1 asks about each alone.
        reflect_on: Whether an episode that is cut, by `depth` or by its horizon, counts as a failure, or only an end
            that the environment judged wrong.
        max_misses: Expansions without any action after which a node is closed, >= 1.
        root: How an iteration chooses the root's child: by UCT as everywhere else, or by sequential halving over
            `iterations` (Danihelka et al. 2022), which should then be about what the budget allows.
        parallel: Iterations running at once, >= 1: their leaves are selected one after another with a virtual loss,
            and their calls run together. More is faster, but each leaf is chosen with less information.
        avoid_repeats: Whether an expansion samples its actions one after another and tells each prompt not to repeat
            those before it (the paper's adversarial prompting, Figure 5); else all are sampled at once.
        answer: How the answer is chosen among the nodes.
        temperature: Sampling temperature of actions; evaluation is greedy.
        expand_tokens, evaluate_tokens, reflect_tokens: Completion token limits per call.
        stop: Strings that end an action.
    """

    n: Count = 4
    iterations: Count = 10
    depth: Count | None = 7
    c: NotNegative = 2.0
    first_visit: FirstVisit = "virtual"
    sim_width: Count | None = None
    sim_depth: FromZero | None = 4
    sim_value: SimulationValue = "mean"
    judge: Judge = "used"
    siblings: Siblings = 1
    reflect_on: ReflectOn = "failure_or_limit"
    max_misses: Count = 2
    root: RootRule = "uct"
    parallel: Count = 1
    avoid_repeats: bool = False
    answer: AnswerPolicy = "oracle_best"
    temperature: NotNegative = 0.2
    evaluate_tokens: Count = 16
    reflect_tokens: Count = 48

    def settings(self) -> Settings:
        # Not `super()`, which a dataclass with slots does not support.
        limit_fails = self.reflect_on == "failure_or_limit"
        return replace(Method.settings(self), limit_fails=limit_fails, avoids=self.avoid_repeats)

    async def search(self, phases: Phases) -> SearchResult:
        return await conclude(phases, self._search(phases), self.answer)

    # ---- Algorithm 1

    async def _search(self, phases: Phases) -> StopReason:
        """Runs iterations k = 1, ..., K of Algorithm 1, until success or until no leaf is open."""
        k = 0
        while k < self.iterations:
            # Select: the open leaf of the highest UCT value, Eq. 7 (`parallel` of them).
            leaves = self.leaves(phases.tree, min(self.parallel, self.iterations - k))
            if not leaves:
                return "exhausted"
            await phases.together([self._iterate(phases, leaf, k + later) for later, leaf in enumerate(leaves, 1)])
            k += len(leaves)
            if phases.solved():
                return "solved"
        return "iterations"

    async def _iterate(self, phases: Phases, leaf: int, k: int) -> None:
        """Carries out iteration k at the selected leaf."""
        phases.parts.session.iteration = k  # for the records
        # Expand: n actions, each by the agent that Eq. 1 picks. A success ends the search; `conclude` backs it up.
        # Without a new child there is nothing to back up.
        new = await self._expand(phases, leaf)
        if phases.solved() or not new:
            return
        # Evaluate: R = Z (1 - E(C)) of each new child whose value is used, Eq. 4 to 6.
        await self._evaluate(phases, new)
        # Reflect: a failure becomes a lesson that the whole pool reads, Eq. 3; here so that the simulation reads it.
        await self._reflect(phases, new)
        # Simulate: greedily by R from the best new child.
        value, last = await self._simulate(phases, self._start(phases, new))
        if phases.solved():
            return
        # Back up the value of the walk to the root, Eq. 8; close the leaf if nothing below it is left to try.
        self._back_up(phases.tree, leaf, last, value)
        # Reflect on where the simulation ended, too.
        await self._reflect(phases, [last])

    async def _simulate(self, phases: Phases, start: int) -> tuple[float, int]:
        """Simulates from a node; returns the value to back up and the last node."""
        last, walked = phases.tree[start], []
        limit = min([math.inf, *(depth for depth in (self.sim_depth, self.depth) if depth is not None)])
        while not last.state.done and last.depth < limit and not phases.solved():
            step = await self._step(phases, last.id)
            if not step.ids:
                break
            last = await self._next(phases, step)
            walked.append(last)
        return await self._value(phases, walked, last), last.id

    # ---- its steps; one that only forwards an awaitable is a plain function, since each coroutine costs time

    def leaves(self, tree: Tree, count: int) -> list[int]:
        """Selects the leaves of the next iterations by UCT (Eq. 7), at most `count`.

        Each is selected as if the ones before it had brought a value of 0. Returns fewer if no other leaf is open, and
        none if everything is closed.
        """
        held: list[int] = []
        while len(held) < count:
            leaf = self._select(tree, ROOT_RULES[self.root](tree, self.iterations))
            if leaf is None:
                break
            tree.hold(leaf)
            held.append(leaf)
        for leaf in reversed(held):
            tree.release(leaf)
        return held

    def _select(self, tree: Tree, start: int) -> int | None:
        """Selects a leaf by UCT (Eq. 7) below a node; None if none is open."""
        return tree.select(self.c, self.first_visit, start)

    def _expand(self, phases: Phases, leaf: int) -> Awaitable[list[int]]:
        """Samples n actions at a leaf; returns the new children."""
        return expand(phases, leaf, self.n, self.max_misses)

    def _evaluate(self, phases: Phases, new: Sequence[int]) -> Awaitable[None]:
        """Has the new children judged."""
        return evaluate(phases, new, places=1)

    def _reflect(self, phases: Phases, ids: Sequence[int]) -> Awaitable[None]:
        """Reflects on the failures among some nodes."""
        return phases.reflect(ids)

    def _start(self, phases: Phases, new: Sequence[int]) -> int:
        """Chooses the new child that the simulation starts from."""
        return best_unfinished(phases, new)

    def _step(self, phases: Phases, at: int) -> Awaitable[Expansion]:
        """Samples the actions of a simulation's next step."""
        return phases.expand(at, self._width, "simulate")

    async def _next(self, phases: Phases, step: Expansion) -> Node:
        """Chooses a simulation's next node: an end with a visible reward, else the best node."""
        ends = [phases.tree[id] for id in step.ids if phases.tree[id].prior is not None]
        if ends:
            return self._end(phases, ends)
        await self._judge(phases, step)
        return phases.tree[best(phases, step.ids)]

    def _end(self, phases: Phases, ends: Sequence[Node]) -> Node:
        """Chooses among the ends of a simulation's step: a success, else the first."""
        return next((node for node in ends if node.solved), ends[0])

    def _judge(self, phases: Phases, step: Expansion) -> Awaitable[None]:
        """Has the nodes of a simulation's step judged."""
        return evaluate(phases, step.ids, SIMULATION_VALUES[self.sim_value].places)

    async def _value(self, phases: Phases, walked: Sequence[Node], last: Node) -> float:
        """Returns what a simulation backs up; has the node judged where it was cut."""
        if not last.state.done and not phases.solved():
            await evaluate(phases, [last.id])
        return SIMULATION_VALUES[self.sim_value].value(walked, last)

    def _back_up(self, tree: Tree, leaf: int, last: int, value: float) -> None:
        """Backs up the value of a simulation that ended at `last` (Eq. 8), and closes what has no way on."""
        tree.backup(last, value)
        tree.settle(leaf)

    @property
    def _width(self) -> int:
        return self.n if self.sim_width is None else self.sim_width
