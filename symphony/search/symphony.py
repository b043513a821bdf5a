"""SYMPHONY (paper Algorithm 1): MCTS in which a scheduled agent of a pool answers every model call."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from symphony.fields import Count, FromZero, NotNegative
from symphony.search.course import conclude, expand
from symphony.search.evaluation import evaluate
from symphony.search.method import Method
from symphony.search.methods.halving import ROOT_RULES, RootRule
from symphony.search.phases import Expansion, Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason
from symphony.search.rules import SIMULATION_VALUES, Rules, SimulationValue, best
from symphony.search.settings import Judge, Settings, Siblings
from symphony.search.tree import ROOT, FirstVisit, Node, Tree
from symphony.types import Score

SimulationDepth = Literal["absolute", "extra"]
ReflectOn = Literal["failure_or_limit", "failure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Symphony(Method):
    """Select, expand, evaluate, simulate, back up, reflect.

    Needs an evaluator; works with and without feedback; reflects if the memory does. One model or a pool.

    Source: paper Algorithm 1, with the decisions of the canonical algorithm where the paper is silent: each iteration
    selects one node and samples it n times, every simulation is backed up, each failure is reflected on once.

    Attributes:
        n: Actions sampled per expansion, >= 1.
        iterations: K, >= 1.
        depth: D, >= 1: a node at this depth is not expanded; None leaves it to the environment's horizon.
        c: Weight of exploration in UCT, >= 0 (paper: 2; published code: 1.41, i.e. sqrt(2 ln N / n)).
        first_visit: What an unvisited child counts as in selection: see `Tree.best`.
        sim_width: Actions sampled per simulation step, >= 1 (paper: 1); None means `n` (published code).
        sim_depth: Depth at which simulations are cut, >= 0; never beyond `depth`. None lets the episode end.
        sim_depth_from: Whether `sim_depth` counts from the root ("absolute") or from the simulation's start ("extra").
        sim_value: What a simulation backs up: see `SIMULATION_VALUES`.
        sim_cut: Value of a cut simulation under sim_value "code".
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
        rules: How the steps are carried out: those of the canonical algorithm.
    """

    n: Count = 4
    iterations: Count = 10
    depth: Count | None = 7
    c: NotNegative = 2.0
    first_visit: FirstVisit = "virtual"
    sim_width: Count | None = None
    sim_depth: FromZero | None = 4
    sim_depth_from: SimulationDepth = "absolute"
    sim_value: SimulationValue = "mean"
    sim_cut: float = -1.0
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
    rules: Rules = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        Method.__post_init__(self)
        object.__setattr__(self, "rules", self.chosen_rules())

    def chosen_rules(self) -> Rules:
        return Rules(simulated=SIMULATION_VALUES[self.sim_value])

    def settings(self) -> Settings:
        limit_fails = self.reflect_on == "failure_or_limit"
        own = self.rules.settings(Method.settings(self))
        return replace(own, limit_fails=limit_fails, avoids=self.avoid_repeats)

    async def search(self, phases: Phases) -> SearchResult:
        return await conclude(phases, self._search(phases), self.answer)

    # ---- Algorithm 1

    async def _search(self, phases: Phases) -> StopReason:
        """Runs iterations k = 1, ..., K of Algorithm 1, until success or until no leaf is open."""
        k = 0
        while k < self.iterations:
            # Select: the open leaf of the highest UCT value, Eq. 7 (`parallel` of them).
            leaves = self.leaves(phases.tree, min(self.parallel, self.iterations - k))
            if not leaves or any(self.rules.ends(phases, leaf) for leaf in leaves):
                return "exhausted"
            await phases.together([self._iterate(phases, leaf, k + at) for at, leaf in enumerate(leaves, 1)])
            k += len(leaves)
            if phases.solved():
                return "solved"
        return "iterations"

    async def _iterate(self, phases: Phases, leaf: int, k: int) -> None:
        rules = self.rules
        phases.parts.session.iteration = k
        await rules.lessons.before(phases)
        width = self.n if leaf != ROOT or rules.root_n is None else rules.root_n
        # Expand: n actions, each by the agent that Eq. 1 picks. A success ends the search; `conclude` backs it up.
        new = await expand(phases, leaf, width, self.max_misses)
        if phases.solved() or not new:
            return
        # Evaluate: R = Z (1 - E(C)) of each new child whose value is used, Eq. 4 to 6.
        await rules.values.evaluate(phases, new, rules.places)
        await rules.lessons.after(phases, new)  # a child may be a failure; its lesson helps the simulation
        # Simulate: greedily by R from the best new child.
        value, last = await self._simulate(phases, rules.values.start(phases, new))
        if phases.solved():
            return
        # Back up the value of the walk to the root, Eq. 8; close the leaf if nothing below it is left to try.
        rules.backup(phases.tree, new, last, value)
        rules.settle(phases.tree, leaf)
        # Reflect: a failure becomes a lesson that the whole pool reads, Eq. 3.
        await rules.lessons.after(phases, [last])

    async def _simulate(self, phases: Phases, start: int) -> tuple[float, int]:
        """Simulates from a node; returns the value to back up and the last node."""
        rules, last, walked = self.rules, phases.tree[start], []
        limit = self._simulation_limit(phases, last)
        while not last.state.done and last.depth < limit and not phases.solved():
            await rules.lessons.before(phases)
            step = await rules.step(phases, last.id, self._width)
            if not step.ids:
                break
            last = await self._next(phases, step)
            walked.append(last)
        if rules.simulated.judges_cut and not last.state.done and not phases.solved():
            await evaluate(phases, [last.id])
        return rules.simulated.value(walked, last, self.sim_cut), last.id

    # ---- its steps

    def leaves(self, tree: Tree, count: int) -> list[int]:
        """Selects the leaves of the next iterations by UCT (Eq. 7), at most `count`.

        Each is selected as if the ones before it had brought a value of 0. Returns fewer if no other leaf is open, and
        none if everything is closed.
        """
        held: list[int] = []
        while len(held) < count:
            start = ROOT_RULES[self.root](tree, self.iterations)
            leaf = self.rules.select(tree, self.c, self.first_visit, start)
            if leaf is None:
                break
            tree.hold(leaf)
            held.append(leaf)
        for leaf in reversed(held):
            tree.release(leaf)
        return held

    @property
    def _width(self) -> int:
        return self.n if self.sim_width is None else self.sim_width

    def _simulation_limit(self, phases: Phases, start: Node) -> float:
        """Returns the depth at which a simulation from this node is cut."""
        limit = math.inf if self.sim_depth is None else self.sim_depth
        limit += start.depth if self.sim_depth_from == "extra" else 0
        depth = phases.settings.depth if phases.settings.closes else None
        return limit if depth is None else min(limit, depth)

    async def _next(self, phases: Phases, step: Expansion) -> Node:
        """Chooses a simulation's next node: a success, else an end with a visible reward, else the best node."""
        nodes = [phases.tree[id] for id in step.ids]
        ends = [node for node in nodes if node.prior is not None]
        if ends:
            end = next((node for node in ends if node.solved), self.rules.end(ends))
            self.rules.values.ended(phases, end.id)
            return end
        await self._judge_step(phases, step, nodes)
        return phases.tree[best(phases, step.ids)]

    async def _judge_step(self, phases: Phases, step: Expansion, nodes: Sequence[Node]) -> None:
        actions = [node.turn.action for node in nodes if node.turn]
        agreed = self.rules.agreed(actions, step.votes, self._width)
        if agreed is None:
            await evaluate(phases, step.ids, self.rules.simulated.places)
            return
        for id, value in zip(step.ids, agreed, strict=True):
            phases.give(id, Score(value=value, confidence=1.0, modulated=value))
