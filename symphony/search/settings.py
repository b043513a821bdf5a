"""Settings of a search's phases: which samples become one node, what is judged, what fails, what prompts carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from symphony.agents.memory import Lessons
from symphony.agents.siblings import SIBLINGS
from symphony.search.tree import Node, Tree
from symphony.types import Proposal

Distinct = Literal["action", "thought"]
DISTINCT: dict[Distinct, Callable[[Proposal], object]] = {
    "action": lambda proposal: proposal.action,
    "thought": lambda proposal: (proposal.thought, proposal.action),
}
"""The key by which samples of an expansion are merged: equal keys become one node."""

Judge = Literal["used", "every"]
"""Which new nodes are judged: those whose value the search uses (`evaluation.used`), or every one."""

Siblings = Annotated[int, Interval(ge=1, le=SIBLINGS)]

Shown = Literal["pool", "path"]
SHOWN: dict[Shown, Callable[[Lessons, Tree, int], Lessons]] = {
    "pool": lambda lessons, tree, node: lessons,
    "path": lambda lessons, tree, node: tuple([lesson for lesson in lessons if lesson.node in tree.path(node)]),
}
"""Which lessons in memory a prompt for a node carries: all, or only those drawn on the path to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A method's settings for its phases.

    Attributes:
        depth: Nodes at this depth are not expanded; None means no limit.
        evaluate_tokens, reflect_tokens: Completion token limits.
        reflect_temperature: Sampling temperature of lessons (paper App. D: greedy).
        limit_fails: Whether an episode that is cut, by `depth` or by its horizon, is a failure to reflect on.
        again: Whether a completion without an action is sampled once more.
        distinct: Whether samples with equal actions become one node, or only if their thoughts are equal too.
        closes: Whether `depth` closes the nodes there.
        shown: Which lessons a prompt carries.
        judge: Which nodes are judged.
        siblings: New siblings that one call judges at most; 1 asks about each alone.
        caches: Whether the same path under the same lessons is judged once.
        pays: Whether an end whose reward is visible credits its agent as soon as it is made.
        accept: Lowest value Z, in [0, 1], at which an end whose reward is not shown passes; one judged lower is a
            failure. None: no judgement counts as a verdict.
        avoids: Whether the actions of an expansion are sampled one after another, each told those before it.
    """

    depth: int | None = None
    evaluate_tokens: int = 16
    reflect_tokens: int = 48
    reflect_temperature: float = 0.0
    limit_fails: bool = True
    again: bool = True
    distinct: Distinct = "action"
    closes: bool = True
    shown: Shown = "pool"
    judge: Judge = "used"
    siblings: int = 1
    caches: bool = False
    pays: Callable[[Node], bool] = lambda node: True
    accept: float | None = None
    avoids: bool = False
