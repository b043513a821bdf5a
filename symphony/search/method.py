"""What the search methods have in common: the ranges of their fields, and one problem's phases made of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

from symphony.agents.memory import Memory
from symphony.agents.scheduler import Scheduler
from symphony.agents.scorer import Scorer
from symphony.agents.session import Session
from symphony.fields import Count, NotNegative, check_fields
from symphony.search.phases import Parts, Phases
from symphony.search.result import SearchResult
from symphony.search.settings import Settings
from symphony.types import Problem, Sampling, Task

SQRT_2 = math.sqrt(2)
"""The exploration constant of UCT for rewards in [0, 1] (Kocsis & Szepesvari 2006)."""


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

    temperature: NotNegative = 0.8
    expand_tokens: Count = 48
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_fields("search", self)
        self.sampling()

    def sampling(self) -> Sampling:
        """Of actions."""
        return Sampling(temperature=self.temperature, max_tokens=self.expand_tokens, stop=self.stop)

    def settings(self) -> Settings:
        """Of its phases: those of its fields that are named as there."""
        known = [one.name for one in fields(Settings)]
        return Settings(**{name: getattr(self, name) for name in known if hasattr(self, name)})

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`."""
        parts = Parts(problem=problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory)
        return await self.search(Phases(parts=parts, expand_sampling=self.sampling(), settings=self.settings()))

    @abstractmethod
    async def search(self, phases: Phases) -> SearchResult:
        """Searches the problem of `phases`; what its iterations and its stop reasons mean is the method's."""
