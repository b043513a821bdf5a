"""The base class of the search methods: checks their fields and builds the phases of one problem from them."""

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
    """A search method (`result.Search`). Its fields are its hyper-parameters; every method has the ones below.

    Attributes:
        temperature: Sampling temperature of actions, >= 0.
        expand_tokens: Completion token limit of an action, >= 1.
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
        """Returns how actions are sampled."""
        return Sampling(temperature=self.temperature, max_tokens=self.expand_tokens, stop=self.stop)

    def settings(self) -> Settings:
        """Returns the settings of the phases, taken from the method's fields of the same names."""
        known = [field.name for field in fields(Settings)]
        return Settings(**{name: getattr(self, name) for name in known if hasattr(self, name)})

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`."""
        parts = Parts(problem=problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory)
        return await self.search(Phases(parts=parts, expand_sampling=self.sampling(), settings=self.settings()))

    @abstractmethod
    async def search(self, phases: Phases) -> SearchResult:
        """Searches the problem of `phases`; each method defines what its iterations and stop reasons mean."""
