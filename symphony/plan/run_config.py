"""The resolved config of a run as typed values. `Run` also keeps the JSON form, from which its digest is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Gt, Interval, MinLen

from symphony.fields import Count, Positive

Node = Mapping[str, Any]
"""A config node with a `_target_`: the class and its arguments."""
StoreMode = Literal["live", "record", "replay", "strict"]
Engine = Literal["llama_cpp", "transformers", "vllm"]

Whole = Annotated[int, Gt(0)]


@dataclass
class StudyLimits:
    """A study's budget; null means no limit. Units: model calls, tokens (prompt + completion), dollars, seconds."""

    calls: Whole | None = None
    tokens: Whole | None = None
    money: Positive | None = None
    seconds: Positive | None = None


@dataclass
class Limits(StudyLimits):
    """The budget of a problem or a run: also limits the computed tokens, which a cache of prompts does not save."""

    computed: Whole | None = None


@dataclass
class Execution:
    """How runs are carried out; it changes no record.

    Attributes:
        in_flight: Number of problems searched at the same time.
        store: Mode of the call store; see docs/models.md.
        memory_gb: Memory for models on each device, in 10^9 bytes; None means no limit.
        recordings: Folder of recorded answers; None means there are none.
    """

    in_flight: Count = 64
    store: Annotated[str, StoreMode] = "record"
    memory_gb: Positive | None = None
    recordings: str | None = None


@dataclass(kw_only=True)
class Server:
    """A server of models on this machine that runs share (`pool.serve.<name>`); it changes no record.

    Attributes:
        engine: The program: llama-cpp-python's server, `transformers serve`, or vLLM.
        port: Its port on 127.0.0.1. An agent whose `base_url` is http://127.0.0.1:<port>/v1 is asked there.
        path: Its weights, given like the `path` of a local model: a GGUF file (llama_cpp), a model's folder (vllm), or
            the folder that holds one folder for each model name (transformers).
        options: Further words of its command line.
        start_s: Seconds until it must answer.
    """

    engine: Annotated[str, Engine]
    port: Annotated[int, Interval(ge=1024, le=65535)]
    path: str
    options: Annotated[list[str], MinLen(0)] = field(default_factory=list)
    start_s: Positive = 600.0

    @property
    def url(self) -> str:
        """Its address, as an agent's `base_url` has it."""
        return f"http://127.0.0.1:{self.port}/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Names of the options from which a run's parts were composed."""

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
    study: StudyLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What is read of a run's config beside its models and parts, which `models` and `build` make.

    Attributes:
        problems: How many the run has, >= 1: the task's `count` where it gives a number, else `problems`.
    """

    task: Node
    search: Node
    problems: int
    choices: Choices
    budget: RunBudget

    @classmethod
    def parse(cls, config: Mapping[str, Any]) -> RunConfig:
        """Builds it from the JSON form, which `plan` has checked.

        Raises:
            KeyError, TypeError: The mapping is not a run's config.
        """
        limits, count = config["budget"], config["task"].get("count")
        return cls(
            task=config["task"],
            search=config["search"],
            problems=int(config["problems"] if count is None else count),
            choices=Choices(**config["choices"]),
            budget=RunBudget(
                problem=Limits(**limits["problem"]),
                run=Limits(**limits["run"]),
                study=StudyLimits(**limits.get("study", {})),
            ),
        )
