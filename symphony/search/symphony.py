"""SYMPHONY (paper Algorithm 1): MCTS whose every model call is answered by a scheduled agent of a pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from symphony.agents import Session
from symphony.memory import Memory
from symphony.scheduler import Scheduler
from symphony.scorer import Scorer
from symphony.search.halving import ROOT_RULES, RootRule
from symphony.search.phases import Expansion, Parts, Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason, check_choice, check_range
from symphony.search.tree import FirstVisit, Node, Tree
from symphony.types import Problem, Sampling, Score, Task

SimulationDepth = Literal["absolute", "extra"]
SimulationValue = Literal["mean", "sum", "code"]
Consensus = Literal["off", "on"]
ReflectOn = Literal["failure_or_limit", "failure"]

# --------------------------------------------------------------------------- value of a simulation
# Each takes the R of the nodes walked through (the last included), the node where it ended, and the penalty of a cut.


def _mean(values: Sequence[float], last: Node, cut: float) -> float:
    """The value of the end where the episode ended, else the mean of R; the start's own R when no step was made."""
    if last.state.done or not values:
        return last.prior or 0.0
    return sum(values) / len(values)


def _sum(values: Sequence[float], last: Node, cut: float) -> float:
    """The sum of R (paper section 3; may exceed 1)."""
    return sum(values) if values else last.prior or 0.0


def _code(values: Sequence[float], last: Node, cut: float) -> float:
    """What the published code backs up: the reward of the end, a penalty when cut, 0 when no step was made."""
    if last.state.done:
        return last.prior or 0.0
    return cut if values else 0.0


SIMULATION_VALUES: dict[SimulationValue, Callable[[Sequence[float], Node, float], float]] = {
    "mean": _mean,
    "sum": _sum,
    "code": _code,
}

# --------------------------------------------------------------------------- consensus shortcut of a simulation step

CONSENSUS_HIGH, CONSENSUS_LOW = 0.9, 0.7
"""R of the action that nearly all samples proposed, and of the others. Source: published code, hp/symphony.py:421."""


def _no_consensus(votes: Sequence[int], width: int) -> list[float] | None:
    return None


def _consensus(votes: Sequence[int], width: int) -> list[float] | None:
    """Pseudo-values instead of an evaluation when more than two samples, and all but one at most, agree."""
    if sum(votes) <= 2 or max(votes) < width - 1:
        return None
    return [CONSENSUS_HIGH if count >= width - 1 else CONSENSUS_LOW for count in votes]


CONSENSUS: dict[Consensus, Callable[[Sequence[int], int], list[float] | None]] = {
    "off": _no_consensus,
    "on": _consensus,
}

# --------------------------------------------------------------------------- the search


@dataclass(frozen=True, slots=True, kw_only=True)
class Symphony:
    """Select, expand, evaluate, simulate, back up, reflect.

    Needs an evaluator; works with and without feedback; reflects where the memory does. One model or a pool.

    Source: paper Algorithm 1, with the decisions of the canonical algorithm where the paper is silent: one node is
    selected an iteration and gets n samples, every simulation is backed up, each failure is reflected on once.

    Attributes:
        n: Actions sampled an expansion, >= 1.
        iterations: K, >= 1.
        depth: D, >= 1: a node at this depth is not expanded; None leaves it to the environment's horizon.
        c: Weight of exploration in UCT, >= 0 (paper: 2; published code: 1.41, which is sqrt(2 ln N / n)).
        first_visit: What an unvisited child counts as in selection: its prior, or infinite (the best prior first).
        sim_width: Actions sampled a simulation step, >= 1 (paper: 1); None is `n` (published code).
        sim_depth: Where simulations are cut, >= 0; never beyond `depth`.
        sim_depth_from: Whether `sim_depth` counts from the root ("absolute") or from the simulation's start ("extra").
        sim_value: What a simulation backs up: see `SIMULATION_VALUES`.
        sim_cut: Value of a cut simulation under sim_value "code" (published code: -1 or -0.5 by task).
        consensus: Whether near-unanimous simulation steps skip the evaluator.
        reflect_on: Whether reaching `depth` counts as a failure, or only the environment's verdict.
        max_misses: Expansions without any action after which a node is closed, >= 1.
        root: How an iteration's child of the root is chosen: by UCT as all others, or by sequential halving over
            `iterations` (Danihelka et al. 2022), which wants them to be about what the budget allows.
        parallel: Iterations under way at once, >= 1: their leaves are selected one after another with a virtual loss,
            and their calls run together. More is quicker and chooses each leaf knowing less.
        answer: How the answer is chosen among the nodes.
        temperature: Of actions; evaluation and reflection are greedy.
        expand_tokens, evaluate_tokens, reflect_tokens: Completion tokens a call.
        stop: Strings that end an action.
    """

    n: int = 4
    iterations: int = 10
    depth: int | None = 7
    c: float = 2.0
    first_visit: FirstVisit = "prior"
    sim_width: int | None = None
    sim_depth: int = 4
    sim_depth_from: SimulationDepth = "absolute"
    sim_value: SimulationValue = "mean"
    sim_cut: float = -1.0
    consensus: Consensus = "off"
    reflect_on: ReflectOn = "failure_or_limit"
    max_misses: int = 2
    root: RootRule = "uct"
    parallel: int = 1
    answer: AnswerPolicy = "oracle_best"
    temperature: float = 0.2
    expand_tokens: int = 48
    evaluate_tokens: int = 16
    reflect_tokens: int = 48
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, found in (("n", self.n), ("iterations", self.iterations), ("sim_width", self._width)):
            check_range(key, found, 1)
        for key, tokens in (("evaluate_tokens", self.evaluate_tokens), ("reflect_tokens", self.reflect_tokens)):
            check_range(key, tokens, 1)
        check_range("max_misses", self.max_misses, 1)
        check_range("parallel", self.parallel, 1)
        check_range("depth", self.depth, 1)
        check_range("sim_depth", self.sim_depth, 0)
        check_range("c", self.c, 0)
        check_choice("first_visit", self.first_visit, FirstVisit)
        check_choice("root", self.root, RootRule)
        check_choice("sim_depth_from", self.sim_depth_from, SimulationDepth)
        check_choice("sim_value", self.sim_value, SimulationValue)
        check_choice("consensus", self.consensus, Consensus)
        check_choice("reflect_on", self.reflect_on, ReflectOn)
        check_choice("answer", self.answer, AnswerPolicy)
        self._sampling()

    @property
    def _width(self) -> int:
        return self.n if self.sim_width is None else self.sim_width

    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.temperature, max_tokens=self.expand_tokens, stop=self.stop)

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`."""
        phases = Phases(
            parts=Parts(problem=problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory),
            depth=self.depth,
            expand_sampling=self._sampling(),
            evaluate_tokens=self.evaluate_tokens,
            reflect_tokens=self.reflect_tokens,
            limit_fails=self.reflect_on == "failure_or_limit",
        )
        return await phases.conclude(self._search(phases), self.answer)

    async def _search(self, phases: Phases) -> StopReason:
        begun = 0
        while begun < self.iterations:
            leaves = self.leaves(phases.tree, min(self.parallel, self.iterations - begun))
            if not leaves:
                return "exhausted"
            await phases.together([self._iterate(phases, leaf, begun + at) for at, leaf in enumerate(leaves, 1)])
            begun += len(leaves)
            if phases.solved():
                return "solved"
        return "iterations"

    def leaves(self, tree: Tree, count: int) -> list[int]:
        """The leaves of the next iterations, `count` at most: each selected as if those before it had brought nothing.

        Fewer where no other leaf is open; none when everything is closed.
        """
        held: list[int] = []
        while len(held) < count:
            leaf = tree.select(self.c, self.first_visit, ROOT_RULES[self.root](tree, self.iterations))
            if leaf is None:
                break
            tree.hold(leaf)
            held.append(leaf)
        for leaf in reversed(held):
            tree.release(leaf)
        return held

    async def _iterate(self, phases: Phases, leaf: int, iteration: int) -> None:
        phases.parts.session.iteration = iteration
        ids = await phases.grow(leaf, self.n, self.max_misses)
        if phases.solved() or not ids:
            return
        await phases.reflect(ids)
        value, last = await self._simulate(phases, _start(phases, ids))
        if phases.solved():
            return
        phases.tree.backup(last, value)
        phases.tree.settle(leaf)
        await phases.reflect([last])

    async def _simulate(self, phases: Phases, start: int) -> tuple[float, int]:
        """Walks greedily by R from a new node; returns the value to back up and the last node."""
        tree = phases.tree
        limit = self.sim_depth + (tree[start].depth if self.sim_depth_from == "extra" else 0)
        limit = limit if phases.depth is None else min(limit, phases.depth)
        last, values = tree[start], []
        while not last.state.done and last.depth < limit and not phases.solved():
            step = await phases.expand(last.id, self._width, "simulate")
            if not step.ids:
                break
            at = _ended(phases, step.ids)
            if at is None:
                await self._judge_step(phases, step)
                at = _best(phases, step.ids)
            last = tree[at]
            values.append(last.prior or 0.0)
        return SIMULATION_VALUES[self.sim_value](values, last, self.sim_cut), last.id

    async def _judge_step(self, phases: Phases, step: Expansion) -> None:
        agreed = CONSENSUS[self.consensus](step.votes, self._width)
        if agreed is None:
            await phases.evaluate(step.ids, "simulate")
            return
        for id, value in zip(step.ids, agreed, strict=True):
            phases.judge(id, Score(value=value, confidence=1.0, modulated=value))


def _ended(phases: Phases, ids: Sequence[int]) -> int | None:
    """The first new node that is solved, else the first whose end the environment rewarded; None without any."""
    rewarded = [phases.tree[id] for id in ids if phases.tree[id].prior is not None]
    return max(rewarded, key=lambda node: node.solved).id if rewarded else None


def _best(phases: Phases, ids: Sequence[int]) -> int:
    """The node with the highest prior; ties go to the first."""
    return max(ids, key=lambda id: phases.tree[id].prior or 0.0)


def _start(phases: Phases, ids: Sequence[int]) -> int:
    """Where the simulation starts: the best new node that has not ended, else the best that has."""
    return _best(phases, [id for id in ids if not phases.tree[id].state.done] or ids)
