"""AgentCoder (Huang et al. 2023): a programmer, and a test writer who never sees the program."""

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
    """What a programming task offers in addition to `Task`."""

    def untested(self) -> str:
        """Says why an answer can't bring its own tests; "" if it can."""
        ...

    def tested(self, problem: Problem, action: str, tests: str) -> str:
        """Returns an action with its own tests replaced by those in another answer."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCoder(Method):
    """One call writes tests; others write and fix a program while these tests fail. The last program is the answer.

    Needs a programming task whose tests the agents write (`internal: generated`), no evaluator and no other feedback;
    never reflects. One model or a pool: the test writer is scheduled, and so is the programmer at each step.

    Source: Huang et al. 2023 (arXiv 2312.13010): programmer, test designer, test executor; the designer sees only the
    problem, so the tests do not share the program's mistakes; 5 iterations at most. The executor is the environment's
    step. Deviations: the number of tests is what the task runs of one answer (4); the programmer is asked as for any
    expansion and its own tests are dropped; if the writer's answer holds no test, the programmer's tests are kept.
    The writer's call has phase "expand" at the root and is the first of its draws.

    Attributes:
        depth: Maximum number of programs, >= 1; None leaves it to the environment's horizon.
        max_misses: Steps without any program after which the search gives up, >= 1.
        tests_tokens: Completion token limit of the tests, which are sampled greedily.
    """

    asks_alone: ClassVar[bool] = True
    depth: Count | None = 5
    max_misses: Count = 2
    expand_tokens: Count = 1024
    tests_tokens: Count = 512

    def unavailable(self, task: Task) -> str:
        """Says why the method can't play the task; "" if it can."""
        return task.untested() if isinstance(task, Tested) else "found agentcoder, allowed only on tasks of programs"

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Stop reason "solved" means that the written tests passed.

        Raises:
            SymphonyError: The task is not about programs, or has other tests; raised before any call.
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
