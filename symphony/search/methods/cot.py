"""Answers in one call: at once, after a chain of thought (Wei et al. 2022), or by a vote over several of these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from symphony.fields import Count, NotNegative
from symphony.search.course import conclude
from symphony.search.method import Method
from symphony.search.phases import Phases
from symphony.search.result import SearchResult, StopReason, majority
from symphony.search.tree import ROOT
from symphony.types import AnswerStyle


@dataclass(frozen=True, slots=True, kw_only=True)
class CoT(Method):
    """Samples whole answers one after another, each in one call without tools; the majority's answer wins.

    Needs no evaluator and no feedback; never reflects. One model or a pool: an agent is scheduled for each sample.
    Success shown by the environment ends the sampling, as in every method: under feedback "oracle" several samples are
    so many tries, and the vote decides only if success is hidden.

    Source: Wei et al. 2022 (chain of thought, style "cot", one sample); Wang et al. 2022 (arXiv 2203.11171,
    self-consistency: several, argmax over answers a of the number of samples that end with a). Two answers are equal if
    `Task.failure_key` of their end states is; ties go to the answer given first. Programs are hardly ever equal, so
    their vote is the first one that passed its visible tests, else the first. Deviations: no worked examples.

    The answer is the action that submits it, so `Task.parse` reads it. Its wording is `direct` and `cot` of the task's
    prompt file. A task without that wording (WebShop, and the bare protocol of the generated tasks, whose models know
    nothing else) asks as for any first action and plays only that one: it submits an answer if one action can (a guess
    in mini_qa), and otherwise leaves the episode after its first step.

    Attributes:
        style: "direct" asks for the answer at once, "cot" for reasoning before it.
        samples: Maximum number of samples, >= 1.
    """

    asks_alone: ClassVar[bool] = True
    depth: ClassVar[int] = 1
    style: AnswerStyle = "cot"
    samples: Count = 10
    temperature: NotNegative = 0.7
    expand_tokens: Count = 256

    async def search(self, phases: Phases) -> SearchResult:
        """Runs the search. Iterations are samples; a sample without an answer has no vote."""
        key = phases.parts.task.failure_key
        return await conclude(phases, self._search(phases), lambda tree: majority(tree, tree[ROOT].children, key))

    async def _search(self, phases: Phases) -> StopReason:
        if phases.tree[ROOT].state.done:
            return "exhausted"
        for sample in range(1, self.samples + 1):
            phases.parts.session.iteration = sample
            for id in (await phases.expand(ROOT, 1, style=self.style)).ids:
                phases.tree.backup(id, phases.tree[id].prior or 0.0)
            if phases.solved():
                return "solved"
        return "iterations"
