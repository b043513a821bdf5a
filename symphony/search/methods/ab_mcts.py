"""AB-MCTS (Inoue et al. 2025): the `treequest` library chooses what to attempt or refine, and with which model."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from importlib.util import find_spec
from typing import Any, Literal

from symphony.agents.memory import Lessons
from symphony.agents.scheduler import Fixed
from symphony.agents.session import NoAgentLeft, Session
from symphony.fields import Count, NotNegative
from symphony.search.course import conclude, walk
from symphony.search.evaluation import evaluate
from symphony.search.method import Method
from symphony.search.phases import Phases
from symphony.search.result import AnswerPolicy, SearchResult, StopReason
from symphony.search.tree import ROOT
from symphony.types import Reflection, SymphonyError, Task, derive_rng

Variant = Literal["a", "m"]
ModelChoice = Literal["thompson", "ucb", "stack"]

_NEEDS: dict[Variant, tuple[str, tuple[str, ...]]] = {
    "a": ("ab-mcts", ("treequest",)),
    "m": ("ab-mcts-m", ("treequest", "pymc", "numpyro", "jax")),
}
"""The extra of this project that each variant needs, and the packages it installs."""
_STRATEGY: dict[ModelChoice, str] = {
    "thompson": "multiarm_bandit_thompson",
    "ucb": "multiarm_bandit_ucb",
    "stack": "stack",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """A whole trajectory: the node where it ended, and the attempt that it refines."""

    end: int
    refines: Attempt | None

    def line(self) -> list[Attempt]:
        """Returns the attempts that led here, oldest first and this one last."""
        line = [self]
        while line[-1].refines is not None:
            line.append(line[-1].refines)
        return line[::-1]


@dataclass(frozen=True, slots=True)
class Trial:
    """A request from the library: a fresh attempt or a refinement of one, by an agent of the pool."""

    id: str
    arm: int
    refines: Attempt | None


class Planner:
    """TreeQuest's tree of attempts on one problem, through its ask/tell interface.

    The library draws from random generators shared by the whole process. Each `ask` seeds them and restores them
    afterwards without awaiting anything in between, so concurrent problems do not disturb each other.
    """

    def __init__(self, variant: Variant, models: ModelChoice, names: Sequence[str], rng: random.Random) -> None:
        import treequest

        algorithm = treequest.ABMCTSA if variant == "a" else treequest.ABMCTSM
        self._seeded = _seeded if variant == "a" else _seeded_pymc
        self._algorithm = algorithm(model_selection_strategy=_STRATEGY[models])
        self._tree = self._algorithm.init_tree()
        self._names = list(names)
        self._rng = rng

    def ask(self) -> Trial:
        with self._seeded(self._rng.getrandbits(32)):
            self._tree, trial = self._algorithm.ask(self._tree, self._names)
        return Trial(trial.trial_id, self._names.index(trial.action), trial.parent_state)

    def tell(self, trial: Trial, attempt: Attempt, score: float) -> None:
        """Reports the score of a trial's attempt, in [0, 1]."""
        self._tree = self._algorithm.tell(self._tree, trial.id, (attempt, score))


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    import numpy as np

    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


@contextmanager
def _seeded_pymc(seed: int) -> Iterator[None]:
    """Seeds PyMC as well: the library passes it no seed, and PyMC would then ask the operating system for one."""
    from unittest.mock import patch

    import pymc
    from treequest.algos.ab_mcts_m import pymc_interface

    logging.getLogger("pymc").setLevel(logging.WARNING)  # it would log a line per draw
    seeds = random.Random(seed)

    def with_seed(draw: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **kwargs: draw(*args, **kwargs, random_seed=seeds.getrandbits(30))

    with (
        _seeded(seed),
        patch.object(pymc_interface, "sample_numpyro_nuts", with_seed(pymc_interface.sample_numpyro_nuts)),
        patch.object(pymc, "sample_posterior_predictive", with_seed(pymc.sample_posterior_predictive)),
        patch.object(pymc, "sample_prior_predictive", with_seed(pymc.sample_prior_predictive)),
    ):
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class ABMCTS(Method):
    """Goes wider or deeper: each trial is a fresh attempt or a refinement of one, by the most promising model.

    Needs feedback or an evaluator; reflects if the memory does. One model or a pool. Needs the `treequest` library,
    which decides what to continue and with which model: the scheduler has no say in generation, it only picks who
    evaluates and reflects.

    Source: Inoue et al. 2025 (arXiv 2503.04412), through its authors' library with its default priors (Gaussian for A).
    As there, a node is a whole answer: here a trajectory from the reset, with all its steps by one model. (If a step
    were a node, the library would ask for children of ends, which have none.) Its score is the visible reward, else
    the scorer's R; an attempt without an end, because it was cut at `depth`, brought no action or its model failed,
    scores 0. A refinement is a new attempt that carries lessons from the failures on its line, oldest first and as
    many as the memory holds; each lesson is drawn when its attempt is first refined. Fresh attempts carry none. If
    there is no lesson to carry, without a memory or if the environment shows no failure, a refinement is just one more
    attempt.

    Attributes:
        variant: "a" (node aggregation) or "m" (a mixed model that PyMC fits at each decision: this takes seconds, in
            which nothing else in the process runs).
        models: How the library chooses the model: by Thompson sampling (its default; with "m" it ignores the scores, as
            of 0.3.3), by UCB, or by a separate fit for each ("stack").
        n: Maximum number of attempts, >= 1.
        depth: Steps after which an attempt is cut, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps without any action after which an attempt is given up, >= 1.
        answer: How the answer is chosen among the nodes.
        temperature: Sampling temperature of actions; evaluation and reflection are greedy.
        expand_tokens, evaluate_tokens, reflect_tokens: Completion token limits per call.
        stop: Strings that end an action.

    Raises:
        SymphonyError: A value is out of range.
    """

    variant: Variant = "a"
    models: ModelChoice = "thompson"
    n: Count = 10
    depth: Count | None = 20
    max_misses: Count = 2
    answer: AnswerPolicy = "oracle_best"
    temperature: NotNegative = 1.0
    evaluate_tokens: Count = 16
    reflect_tokens: Count = 48

    def unavailable(self, task: Task) -> str:
        """Says why this machine can't run the method; "" if it can."""
        extra, packages = _NEEDS[self.variant]
        missing = [package for package in packages if find_spec(package) is None]
        return f"found no {', no '.join(missing)}, allowed: after pip install -e '.[{extra}]'" if missing else ""

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Iterations are attempts; every refinement of an attempt counts as a visit of its end.

        Raises:
            SymphonyError: The library is not installed; raised before any call.
        """
        session = phases.parts.session
        if why := self.unavailable(phases.parts.task):
            raise SymphonyError(f"search.variant {self.variant}: {why}")
        search = _Refining(phases, session, session.lessons, {})
        result = await conclude(phases, self._search(search), self.answer)
        session.lessons = reduce(phases.parts.memory.add, search.taught.values(), search.known)
        return result

    async def _search(self, search: _Refining) -> StopReason:
        phases, session = search.phases, search.session
        if phases.tree[ROOT].closed:
            return "exhausted"
        rng = derive_rng(session.seed, session.problem.id, "ab_mcts")
        planner = Planner(self.variant, self.models, [agent.name for agent in session.pool.agents], rng)
        for number in range(1, self.n + 1):
            session.iteration = number
            trial = planner.ask()
            attempt = await search.attempt(trial, self.max_misses)
            if phases.solved():
                return "solved"
            planner.tell(trial, attempt, search.book(attempt))
        return "iterations"


@dataclass(frozen=True, slots=True)
class _Refining:
    """The attempts on one problem.

    Attributes:
        known: Lessons remembered before the first attempt.
        taught: Lessons drawn from failed attempts, by failure key, in the order learnt.
    """

    phases: Phases
    session: Session
    known: Lessons
    taught: dict[str, Reflection]

    async def attempt(self, trial: Trial, max_misses: int) -> Attempt:
        """Carries out a trial with its agent at every step; if no reward is shown, a scheduled agent scores the end.

        Raises:
            Stop: A call was refused.
        """
        phases, session = self.phases, self.session
        session.lessons = await self._lessons(trial.refines)
        parts, before = phases.parts, len(phases.tree)
        phases.parts = replace(parts, scheduler=Fixed(arm=trial.arm))
        try:
            end, _ = await walk(phases, max_misses)
        except NoAgentLeft:
            if all(arm.suspended for arm in session.arms):
                raise
            end = len(phases.tree) - 1 if len(phases.tree) > before else ROOT
        finally:
            phases.parts = parts
        if phases.tree[end].state.done:
            await evaluate(phases, [end])
        return Attempt(end, trial.refines)

    async def _lessons(self, refines: Attempt | None) -> Lessons:
        """Returns the lessons of an attempt's line; draws the attempt's own now, unless an equal failure taught it."""
        if refines is None:
            return self.known
        phases, learnt = self.phases, len(self.session.reflections)
        await phases.reflect([refines.end])
        if len(self.session.reflections) > learnt:
            lesson = self.session.lessons[-1]
            self.taught[lesson.key] = lesson
        ends = [phases.tree[attempt.end] for attempt in refines.line()]
        keys = dict.fromkeys(phases.parts.task.failure_key(end.state) for end in ends if phases.failed(end))
        return reduce(phases.parts.memory.add, [self.taught[key] for key in keys if key in self.taught], self.known)

    def book(self, attempt: Attempt) -> float:
        """Backs up an attempt's score from its end, adds it to the ends of all attempts it refines, and returns it."""
        tree = self.phases.tree
        score = tree[attempt.end].prior or 0.0
        tree.backup(attempt.end, score)
        for older in attempt.line()[:-1]:
            if older.end != ROOT:
                tree.visit(older.end, score)
        return score
