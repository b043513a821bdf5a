"""AgentCoder (Huang et al. 2023): a programmer, and tests by a writer who never sees the program."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Protocol, runtime_checkable

from symphony.fields import Count
from symphony.search.course import conclude, walk
from symphony.search.method import Method
from symphony.search.phases import Phases
from symphony.search.result import SearchResult, StopReason
from symphony.search.tree import ROOT
from symphony.types import Problem, Proposal, Sampling, SymphonyError, Task


@runtime_checkable
class Tested(Protocol):
    """What a task of programs offers besides."""

    def untested(self) -> str:
        """Why an answer can't bring its own tests; "" where it can."""
        ...

    def tested(self, problem: Problem, action: str, tests: str) -> str:
        """An action with the tests that another answer holds in place of its own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCoder(Method):
    """One call writes tests, others a program, mended as long as these tests fail; the last program is the answer.

    Needs a task of programs whose tests are written (`internal: generated`), no evaluator and no other feedback; never
    reflects. One model or a pool: the test writer and, at each step, the programmer are scheduled.

    Source: Huang et al. 2023 (arXiv 2312.13010): programmer, test designer, test executor; the designer gets the
    problem alone, so that the tests do not share the program's mistakes; 5 iterations at most. The executor is the
    environment's step. Deviations: tests are as many as the task runs of one answer (4); the programmer is asked as
    for any expansion and its own tests are dropped; where the writer's answer holds no test, the programmer's stand.
    The writer's call is of phase "expand" at the root, the first of its draws.

    Attributes:
        depth: Programs at most, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps without any program after which it is given up, >= 1.
        tests_tokens: Completion tokens of the tests, which are greedy.
    """

    asks_alone: ClassVar[bool] = True
    depth: Count | None = 5
    max_misses: Count = 2
    expand_tokens: Count = 1024
    tests_tokens: Count = 512

    def unavailable(self, task: Task) -> str:
        """Why the method can't play the task; "" where it can."""
        return task.untested() if isinstance(task, Tested) else "found agentcoder, allowed for a task of programs"

    async def search(self, phases: Phases) -> SearchResult:
        """Stop reason "solved": the written tests passed.

        Raises:
            SymphonyError: The task is none of programs, or has other tests; before any call.
        """
        task, session = phases.parts.task, phases.parts.session
        if why := self.unavailable(task):
            raise SymphonyError(f"search on {task.name}: {why}")
        assert isinstance(task, Tested)
        session.iteration = 1
        return await conclude(phases, self._search(phases, task), lambda tree: len(tree) - 1)

    async def _search(self, phases: Phases, coding: Tested) -> StopReason:
        if phases.tree[ROOT].state.done:
            return "exhausted"
        problem = phases.parts.problem
        tests = await phases.tests(Sampling(temperature=0.0, max_tokens=self.tests_tokens))

        def amend(proposal: Proposal) -> Proposal:
            return replace(proposal, action=coding.tested(problem, proposal.action, tests))

        phases.amend = amend
        last, given_up = await walk(phases, self.max_misses)
        phases.tree.backup(last, phases.tree[last].prior or 0.0)
        return "exhausted" if given_up else "iterations"
