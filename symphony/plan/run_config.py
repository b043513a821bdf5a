"""The resolved config of a run as typed values. `Run` keeps the JSON form beside it, which its digest is taken of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Gt

from symphony.fields import Count, Positive

Node = Mapping[str, Any]
"""What stands at a key of a config that has a `_target_`: the class and its arguments."""
StoreMode = Literal["live", "record", "replay", "strict"]


Whole = Annotated[int, Gt(0)]


@dataclass
class Limits:
    """A budget; null is no limit. Units: model calls, tokens (prompt + completion), dollars, seconds of wall-clock."""

    calls: Whole | None = None
    tokens: Whole | None = None
    money: Positive | None = None
    seconds: Positive | None = None


@dataclass
class Execution:
    """How runs are carried out; changes no record.

    Attributes:
        in_flight: Problems that are searched at the same time.
        store: What the call store does; see docs/models.md.
        memory_gb: Of a device for models, in 10^9 bytes; None is no limit.
        recordings: Folder of recorded answers; None is none.
    """

    in_flight: Count = 64
    store: Annotated[str, StoreMode] = "record"
    memory_gb: Positive | None = None
    recordings: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Names of the options that a run's parts were composed from."""

    task: str
    pool: str
    search: str
    scheduler: str
    scorer: str
    memory: str
    preset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBudget:
    """Limits of each problem, of the run, and of its whole study."""

    problem: Limits
    run: Limits
    study: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a run is made of.

    Attributes:
        agents: Of the pool, in its order.
        problems: >= 1.
    """

    task: Node
    scheduler: Node
    scorer: Node
    memory: Node
    search: Node
    agents: tuple[Node, ...]
    problems: int
    choices: Choices
    budget: RunBudget

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> RunConfig:
        """From the JSON form, which `plan` has checked.

        Raises:
            KeyError, TypeError: It is not one.
        """
        limits = config["budget"]
        return cls(
            task=config["task"],
            scheduler=config["scheduler"],
            scorer=config["scorer"],
            memory=config["memory"],
            search=config["search"],
            agents=tuple(config["pool"]["agents"]),
            problems=int(config["problems"]),
            choices=Choices(**config["choices"]),
            budget=RunBudget(
                problem=Limits(**limits["problem"]),
                run=Limits(**limits["run"]),
                study=Limits(**limits.get("study", {})),
            ),
        )
