"""What the agents remember of failures (paper Eq. 3): one shared FIFO, a private one each, or nothing.

A memory has no state: the lessons of a session are a tuple, and `add` returns a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from symphony.types import Reflection, SymphonyError

Scope = Literal["question", "run"]

Lessons = tuple[Reflection, ...]
"""Reflections, oldest first."""


class Memory(Protocol):
    """Keeps reflections and shows them to the agents.

    Attributes:
        reflects: Whether failures are worth a call of an agent.
        scope: How long lessons live: one question, or the whole run.
    """

    @property
    def reflects(self) -> bool: ...

    @property
    def scope(self) -> Scope: ...

    def add(self, lessons: Lessons, reflection: Reflection) -> Lessons:
        """The lessons after one more."""
        ...

    def view(self, lessons: Lessons, agent: int) -> tuple[str, ...]:
        """The texts that the agent's prompts carry, oldest first."""
        ...


def _check(size: int, scope: str) -> None:
    if size < 1:
        raise SymphonyError(f"memory.size: found {size}, allowed: >= 1 (for none, use memory: none)")
    if scope not in get_args(Scope):
        raise SymphonyError(f"memory.scope: found {scope!r}, allowed: {', '.join(get_args(Scope))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFifo:
    """Every lesson is broadcast to every agent; each holds the last `size`.

    One shared buffer, which equals a buffer of the same size an agent with the same content.
    Source: paper Eq. 3; its size is not given there.

    Attributes:
        size: Lessons held, >= 1.
    """

    size: int = 3
    scope: Scope = "question"

    def __post_init__(self) -> None:
        _check(self.size, self.scope)

    @property
    def reflects(self) -> bool:
        return True

    def add(self, lessons: Lessons, reflection: Reflection) -> Lessons:
        return (*lessons, reflection)[-self.size :]

    def view(self, lessons: Lessons, agent: int) -> tuple[str, ...]:
        return tuple([lesson.text for lesson in lessons])


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateFifo:
    """Each agent holds the last `size` lessons that it wrote itself (ablation: without sharing)."""

    size: int = 3
    scope: Scope = "question"

    def __post_init__(self) -> None:
        _check(self.size, self.scope)

    @property
    def reflects(self) -> bool:
        return True

    def add(self, lessons: Lessons, reflection: Reflection) -> Lessons:
        own = [lesson for lesson in lessons if lesson.agent == reflection.agent]
        oldest = own[0] if len(own) >= self.size else None
        return (*(lesson for lesson in lessons if lesson is not oldest), reflection)

    def view(self, lessons: Lessons, agent: int) -> tuple[str, ...]:
        return tuple([lesson.text for lesson in lessons if lesson.agent == agent])


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMemory:
    """Nothing is reflected on, nothing is remembered (ablation: without memory)."""

    @property
    def reflects(self) -> bool:
        return False

    @property
    def scope(self) -> Scope:
        return "question"

    def add(self, lessons: Lessons, reflection: Reflection) -> Lessons:
        return lessons

    def view(self, lessons: Lessons, agent: int) -> tuple[str, ...]:
        return ()
