"""When the published code reflects on failures: each once, or all anew; sources are cited as in `official`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from symphony.search.phases import Phases
from symphony.search.tree import Node

LessonsWritten = Literal["each", "rewritten", "rewritten_by_reward", "each_attempt"]

MAX_FAILURES = 3
"""Reflection stops once more failures than this are known. Source: hp/symphony.py:112, ws/symphony.py:295."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonRule:
    """When failures are reflected on.

    Attributes:
        before: Awaited before every expansion.
        after: Awaited with nodes that may be failures, as soon as they have values.
    """

    before: Callable[[Phases], Awaitable[None]]
    after: Callable[[Phases, Sequence[int]], Awaitable[None]]


async def _nothing_before(phases: Phases) -> None:
    """Writes no lesson before an expansion."""


async def _nothing_after(phases: Phases, ids: Sequence[int]) -> None:
    """Writes no lesson after an expansion or a simulation."""


def _wrong_answers(phases: Phases) -> list[int]:
    """Returns ends without reward, one per failure key. Source: hp/symphony.py:146-157, 535-539."""
    first: dict[str, int] = {}
    for node in phases.tree.nodes:
        if node.state.terminated and node.state.reward == 0:
            first.setdefault(phases.parts.task.failure_key(node.state), node.id)
    return list(first.values())


def _partial_rewards(phases: Phases) -> list[int]:
    """Returns ends with a partial reward: one per reward and one per expansion. Source: ws/symphony.py:795-804."""
    first: dict[float, int] = {}
    brought: set[tuple[int | None, int]] = set()
    for node in phases.tree.nodes:
        reward, expansion = node.state.reward or 0.0, (node.parent, node.iteration)
        if node.state.terminated and 0 < reward < 1 and reward not in first and expansion not in brought:
            first[reward] = node.id
            brought.add(expansion)
    return list(first.values())


def _rewriting(failures: Callable[[Phases], list[int]]) -> LessonRule:
    """Rewrites all lessons at each new failure while at most 3 are known, so the lessons of the first 3 are final.

    If one expansion takes the count past 3, the lessons stay as they are, even if there are none.
    """

    async def before(phases: Phases) -> None:
        known = failures(phases)
        if phases.parts.memory.reflects and len(phases.taught) < len(known) <= MAX_FAILURES:
            phases.parts.session.lessons = ()
            phases.taught.clear()
            await phases.reflect(known)

    return LessonRule(before=before, after=_nothing_after)


async def _each_attempt(phases: Phases, ids: Sequence[int]) -> None:
    """Reflects on every state that fails its visible tests, though the episode goes on.

    Source: pg/symphony.py:316, 375.
    """
    await phases.reflect(ids, _found_wrong)


def _found_wrong(node: Node) -> bool:
    return node.state.progress is not None and node.state.progress < 1 and not node.solved


LESSONS: dict[LessonsWritten, LessonRule] = {
    "each": LessonRule(before=_nothing_before, after=Phases.reflect),
    "rewritten": _rewriting(_wrong_answers),
    "rewritten_by_reward": _rewriting(_partial_rewards),
    "each_attempt": LessonRule(before=_nothing_before, after=_each_attempt),
}
