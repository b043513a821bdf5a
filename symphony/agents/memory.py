"""What agents remember of failures (paper Eq. 3): a shared FIFO, a private FIFO each, the most relevant, or nothing.

A memory has no state: the lessons of a session are a tuple, and `add` returns a new one.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from symphony.fields import Count, Lifetime, check_fields
from symphony.types import Problem, Reflection, SymphonyError, Turn

Lessons = tuple[Reflection, ...]
"""Reflections, oldest first."""


class Memory(Protocol):
    """Keeps reflections and shows them to the agents.

    Attributes:
        reflects: Whether an agent is called to reflect on failures.
        scope: How long lessons live: one question, or the whole run.
    """

    @property
    def reflects(self) -> bool: ...

    @property
    def scope(self) -> Lifetime: ...

    def add(self, lessons: Lessons, reflection: Reflection) -> Lessons:
        """Returns the lessons after adding one."""
        ...

    def view(self, lessons: Lessons, agent: int, problem: Problem, path: Sequence[Turn]) -> tuple[str, ...]:
        """Returns the texts that the agent's prompt on this path carries, oldest first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFifo:
    """Broadcasts every lesson to every agent; each agent holds the last `size` lessons.

    One shared buffer; this equals one buffer per agent of the same size and content.
    Source: paper Eq. 3, which does not give the size.

    Attributes:
        size: Lessons held, >= 1.
    """

    size: Count = 3
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("memory", self)

    @property
    def reflects(self) -> bool:
        return True

    def add(self, lessons: Lessons, reflection: Reflection) -> Lessons:
        return (*lessons, reflection)[-self.size :]

    def view(self, lessons: Lessons, agent: int, problem: Problem, path: Sequence[Turn]) -> tuple[str, ...]:
        return tuple([lesson.text for lesson in lessons])


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateFifo:
    """Each agent holds the last `size` lessons that it wrote itself (ablation: without sharing)."""

    size: Count = 3
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("memory", self)

    @property
    def reflects(self) -> bool:
        return True

    def add(self, lessons: Lessons, reflection: Reflection) -> Lessons:
        own = [lesson for lesson in lessons if lesson.agent == reflection.agent]
        oldest = own[0] if len(own) >= self.size else None
        return (*(lesson for lesson in lessons if lesson is not oldest), reflection)

    def view(self, lessons: Lessons, agent: int, problem: Problem, path: Sequence[Turn]) -> tuple[str, ...]:
        return tuple([lesson.text for lesson in lessons if lesson.agent == agent])


K1, B = 1.2, 0.75
"""BM25's saturation of repeated words and its weight of a text's length, at their usual values."""
_WORD = re.compile(r"\w+")


def situation(problem: Problem, path: Sequence[Turn]) -> str:
    """Describes where an agent is, as text: the problem, the actions and the observations."""
    return "\n".join([problem.prompt, *(f"{turn.action}\n{turn.observation}" for turn in path)])


def relevance(query: str, texts: Sequence[str]) -> list[float]:
    """Returns the BM25 score of each text for the query's words, >= 0. Words in every text have almost no effect.

    The sum over the query's words of idf f (k1 + 1) / (f + k1 (1 - b + b l / mean l)), where f is the word's count in
    the text, l the text's number of words, and idf = ln(1 + (n - d + 1/2) / (d + 1/2)) if d of n texts hold the word.
    Source: Robertson and Zaragoza 2009; the 1 in the idf, which keeps it above 0, is Lucene's.
    """
    counts = [Counter(_WORD.findall(text.lower())) for text in texts]
    lengths = [count.total() for count in counts]
    mean = sum(lengths) / len(lengths) if any(lengths) else 1.0
    scores = [0.0] * len(texts)
    for word in sorted(set(_WORD.findall(query.lower()))):  # sorted: sums of floats depend on their order
        holders = sum([word in count for count in counts])
        idf = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
        for index, count in enumerate(counts):
            if (frequency := count[word]) > 0:
                scores[index] += idf * frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * lengths[index] / mean))
    return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevant:
    """Shares every lesson; a prompt carries the `size` lessons whose failures are most like the agent's situation.

    Similarity is the `relevance` of the failed situation (problem, actions, observations) to the current one; ties go
    to the newest lesson. At the root of a question all its lessons are about equally similar. This is ours: the paper
    shows the last lessons.

    Attributes:
        size: Lessons in a prompt, >= 1.
        keep: Number of newest lessons held, >= size.
    """

    size: Count = 3
    keep: Count = 20
    scope: Lifetime = "question"

    def __post_init__(self) -> None:
        check_fields("memory", self)
        if self.keep < self.size:
            raise SymphonyError(f"memory.keep: found {self.keep}, allowed: >= memory.size ({self.size})")

    @property
    def reflects(self) -> bool:
        return True

    def add(self, lessons: Lessons, reflection: Reflection) -> Lessons:
        return (*lessons, reflection)[-self.keep :]

    def view(self, lessons: Lessons, agent: int, problem: Problem, path: Sequence[Turn]) -> tuple[str, ...]:
        if len(lessons) <= self.size:
            return tuple([lesson.text for lesson in lessons])
        likeness = relevance(situation(problem, path), [lesson.situation for lesson in lessons])
        ranked = sorted(range(len(lessons)), key=lambda index: (likeness[index], index))
        return tuple([lessons[index].text for index in sorted(ranked[-self.size :])])


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMemory:
    """Reflects on nothing and remembers nothing (ablation: without memory)."""

    @property
    def reflects(self) -> bool:
        return False

    @property
    def scope(self) -> Lifetime:
        return "question"

    def add(self, lessons: Lessons, reflection: Reflection) -> Lessons:
        return lessons

    def view(self, lessons: Lessons, agent: int, problem: Problem, path: Sequence[Turn]) -> tuple[str, ...]:
        return ()
