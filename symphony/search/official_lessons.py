"""When the published code reflects on failures: each once, or all anew; sources as in `official`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from symphony.search.phases import Phases
from symphony.search.rules import EACH_ONCE, LessonRule, nothing_before
from symphony.search.tree import Node

LessonsWritten = Literal["each", "rewritten", "rewritten_by_reward", "each_attempt"]

MAX_FAILURES = 3
"""Known failures above which nothing is reflected on any more. Source: hp/symphony.py:112, ws/symphony.py:295."""


async def _nothing_after(phases: Phases, ids: Sequence[int]) -> None:
    """No lesson is written after an expansion or a simulation."""


def _wrong_answers(phases: Phases) -> list[int]:
    """Ends without reward, one a failure key. Source: hp/symphony.py:146-157, 535-539."""
    first: dict[str, int] = {}
    for node in phases.tree.nodes:
        if node.state.terminated and node.state.reward == 0:
            first.setdefault(phases.parts.task.failure_key(node.state), node.id)
    return list(first.values())


def _partial_rewards(phases: Phases) -> list[int]:
    """Ends with some reward, one a reward and one an expansion. Source: ws/symphony.py:795-804."""
    first: dict[float, int] = {}
    brought: set[tuple[int | None, int]] = set()
    for node in phases.tree.nodes:
        reward, expansion = node.state.reward or 0.0, (node.parent, node.iteration)
        if node.state.terminated and 0 < reward < 1 and reward not in first and expansion not in brought:
            first[reward] = node.id
            brought.add(expansion)
    return list(first.values())


def _rewriting(failures: Callable[[Phases], list[int]]) -> LessonRule:
    """All lessons are written anew when a failure has come, while there are fewer than 4; so the first 3 stay for good.

    An expansion that brings a 4th at once leaves those before it as they are, be it none.
    """

    async def before(phases: Phases) -> None:
        known = failures(phases)
        if phases.parts.memory.reflects and len(phases.taught) < len(known) <= MAX_FAILURES:
            phases.parts.session.lessons = ()
            phases.taught.clear()
            await phases.reflect(known)

    return LessonRule(before=before, after=_nothing_after)


async def _each_attempt(phases: Phases, ids: Sequence[int]) -> None:
    """Every state that its visible tests found wrong, though the episode goes on. Source: pg/symphony.py:316, 375."""
    await phases.reflect(ids, _found_wrong)


def _found_wrong(node: Node) -> bool:
    return node.state.progress is not None and node.state.progress < 1 and not node.solved


LESSONS: dict[LessonsWritten, LessonRule] = {
    "each": EACH_ONCE,
    "rewritten": _rewriting(_wrong_answers),
    "rewritten_by_reward": _rewriting(_partial_rewards),
    "each_attempt": LessonRule(before=nothing_before, after=_each_attempt),
}
