"""What the search methods have in common: the ranges of their fields, and one problem's phases made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any

from symphony.agents import Session
from symphony.memory import Memory
from symphony.scheduler import Scheduler
from symphony.scorer import Scorer
from symphony.search.phases import Parts, Phases
from symphony.search.result import AnswerPolicy, SearchResult, check_choice, check_range
from symphony.types import Problem, Sampling, SymphonyError, Task

COUNTS = (
    "n", "iterations", "trials", "samples", "rounds", "layers", "debaters", "proposers", "breadth", "depth",
    "max_misses", "parallel", "evaluate_tokens", "reflect_tokens", "tests_tokens",
)  # fmt: skip
"""Fields that are >= 1, or None for no limit, in whichever method they stand."""
PHASES = ("depth", "evaluate_tokens", "reflect_tokens")
"""Fields of `Phases` that a method may have, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(ABC):
    """A search method (`result.Search`): its fields are its hyper-parameters, of which these are every method's.

    Attributes:
        temperature: Actions are sampled at, >= 0.
        expand_tokens: Completion tokens of an action, >= 1.
        stop: Strings that end an action.

    Raises:
        SymphonyError: A field is out of range.
    """

    temperature: float = 0.8
    expand_tokens: int = 48
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        for key in COUNTS:
            check_range(key, own.get(key), 1)
        check_range("c", own.get("c"), 0)
        if not 0 <= own.get("threshold", 0) <= 1:
            raise SymphonyError(f"search.threshold: found {own['threshold']}, allowed: 0 to 1")
        if "answer" in own:
            check_choice("answer", own["answer"], AnswerPolicy)
        self.sampling()

    def sampling(self) -> Sampling:
        """Of actions."""
        return Sampling(temperature=self.temperature, max_tokens=self.expand_tokens, stop=self.stop)

    def begin(self, parts: Parts, **settings: Any) -> Phases:
        """The phases of a search that begins; `settings` are further fields of `Phases`."""
        shared = {key: getattr(self, key) for key in PHASES if hasattr(self, key)}
        return Phases(parts=parts, expand_sampling=self.sampling(), **shared, **settings)

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`."""
        parts = Parts(problem=problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory)
        return await self.search(self.begin(parts))

    @abstractmethod
    async def search(self, phases: Phases) -> SearchResult:
        """Searches the problem of `phases`; what its iterations and its stop reasons mean is the method's."""
