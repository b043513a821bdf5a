"""What the search methods have in common: the ranges of their fields, and one problem's phases made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

from symphony.agents.memory import Memory
from symphony.agents.scheduler import Scheduler
from symphony.agents.scorer import Scorer
from symphony.agents.session import Session
from symphony.search.phases import Judge, Parts, Phases
from symphony.search.result import AnswerPolicy, SearchResult, check_choice, check_range
from symphony.types import Problem, Sampling, SymphonyError, Task

COUNTS = (
    "n", "iterations", "trials", "samples", "rounds", "layers", "debaters", "proposers", "breadth", "depth",
    "max_misses", "parallel", "root_n", "sim_width", "evaluate_tokens", "reflect_tokens", "tests_tokens",
    "expand_tokens",
)  # fmt: skip
"""Fields that are >= 1, or None for no limit, in whichever method they stand."""
FROM_ZERO = ("c", "temperature", "aggregator", "sim_depth", "reflect_temperature")
"""Fields that are >= 0, or None."""
PHASES = ("depth", "evaluate_tokens", "reflect_tokens", "judge")
"""Fields of `Phases` that a method may have, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method(ABC):
    """A search method (`result.Search`): its fields are its hyper-parameters, of which these are every method's.

    Attributes:
        CHOICES: Field -> Literal type of its values.
        temperature: Actions are sampled at, >= 0.
        expand_tokens: Completion tokens of an action, >= 1.
        stop: Strings that end an action.

    Raises:
        SymphonyError: A field is out of range.
    """

    CHOICES: ClassVar[Mapping[str, object]] = {}
    temperature: float = 0.8
    expand_tokens: int = 48
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        own = {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        for key in COUNTS:
            check_range(key, own.get(key), 1)
        for key in FROM_ZERO:
            check_range(key, own.get(key), 0)
        if not 0 <= own.get("threshold", 0) <= 1:
            raise SymphonyError(f"search.threshold: found {own['threshold']}, allowed: 0 to 1")
        for key, allowed in {"answer": AnswerPolicy, "judge": Judge, **self.CHOICES}.items():
            if key in own:
                check_choice(key, own[key], allowed)
        self.sampling()

    def sampling(self) -> Sampling:
        """Of actions."""
        return Sampling(temperature=self.temperature, max_tokens=self.expand_tokens, stop=self.stop)

    async def solve(
        self, problem: Problem, *, task: Task, session: Session, scheduler: Scheduler, scorer: Scorer, memory: Memory
    ) -> SearchResult:
        """See `Search.solve`."""
        parts = Parts(problem=problem, task=task, session=session, scheduler=scheduler, scorer=scorer, memory=memory)
        shared = {key: getattr(self, key) for key in PHASES if hasattr(self, key)}
        return await self.search(Phases(parts=parts, expand_sampling=self.sampling(), **shared))

    @abstractmethod
    async def search(self, phases: Phases) -> SearchResult:
        """Searches the problem of `phases`; what its iterations and its stop reasons mean is the method's."""
