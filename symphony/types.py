"""The values that cross the borders between packages. This module imports nothing of ours."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol, runtime_checkable


class SymphonyError(Exception):
    """An error a user can mend: one clear sentence saying what was found and what is allowed."""


class Phase(StrEnum):
    """What a model call is for (paper section 3: the prompt P_phi has one form a phase)."""

    EXPAND = "expand"
    EVALUATE = "evaluate"
    REFLECT = "reflect"
    SIM_EXPAND = "sim_expand"
    SIM_EVALUATE = "sim_evaluate"


# --------------------------------------------------------------------------- tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One benchmark item.

    Attributes:
        id: Unique within the task.
        kind: The task's own category of the item (for breakdowns); "" where there is none.
        prompt: What the agent is told. Never contains the answer.
        target: What `Task.grade` compares with. Searches never read it.
    """

    id: str
    kind: str = ""
    prompt: str
    target: Any = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An immutable state of an environment, owned by the node that reached it.

    Attributes:
        observation: Text shown to the agents after the last action ("" at reset if the prompt says all).
        reward: Environment reward in [0, 1] as the task's feedback mode allows a search to see it;
            None where the search may not learn it (not terminal, or feedback "none").
        terminated: The episode has ended by itself; `step` on such a state returns it unchanged.
        truncated: The episode was cut by the horizon; `step` on such a state returns it unchanged.
        invalid: The last action broke the environment's rules (counted; the page did not change).
        progress: Share in [0, 1] of the visible tests that were passed, which a search may see; None without such.
        data: What `step` needs to go on. Immutable and private to the task.
    """

    observation: str
    reward: float | None = None
    terminated: bool = False
    truncated: bool = False
    invalid: bool = False
    progress: float | None = None
    data: Any = field(default=None, repr=False)

    @property
    def done(self) -> bool:
        return self.terminated or self.truncated


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A completion understood: the thought (may be "") and the action in the task's canonical spelling."""

    thought: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One step of a trajectory as the prompts show it."""

    thought: str
    action: str
    observation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """Ground truth about a final state. Produced by `Task.grade`, which only the runner calls.

    Attributes:
        success: Whether the problem is solved.
        score: In [0, 1]; equals float(success) where the task has no partial credit.
        detail: For people, e.g. the answer given.
        outcome: What happened, in one word: "timeout", "compile_error", ...; "pass" or "fail" where no more is known.
    """

    success: bool
    score: float
    detail: str = ""
    outcome: str = ""

    def __post_init__(self) -> None:
        if not self.outcome:
            object.__setattr__(self, "outcome", "pass" if self.success else "fail")


Feedback = Literal["oracle", "none"]


AnswerStyle = Literal["direct", "cot"]
"""How the whole answer is asked for in one completion: at once, or after reasoning step by step."""

Alone = Literal["direct", "cot", "tests"]
"""What is asked for of a problem alone, without a path: the whole answer, or tests of it."""


class Prompts(Protocol):
    """Builds the messages of the three phases (paper: P_phi, phi in expansion, evaluation, reflection).

    `lessons` is the text of the reflections in the agent's memory, oldest first. `dropped` is how many parts are left
    out of a prompt that is too long: the oldest lessons first, then worked examples; no messages at all where there are
    fewer parts.
    """

    def expansion(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]: ...
    def evaluation(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]: ...
    def verification(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        """As `evaluation`, asking whether the last step is right, to be answered by yes or no."""

    def reflection(self, problem: Problem, path: Sequence[Turn], dropped: int = 0) -> tuple[Message, ...]: ...

    def answer(self, style: Alone, problem: Problem, lessons: Sequence[str], dropped: int = 0) -> tuple[Message, ...]:
        """Asks for one of `Alone` in one completion; the expansion at the root where there are no words for that."""

    @property
    def again(self) -> str:
        """Put behind the prompt of an expansion that is asked again, as no action was found; "" for nothing."""

    @property
    def digest(self) -> str:
        """Hash of every template of the three phases, for the run record."""


class Task(Protocol):
    """A pure environment: `step` takes a state and returns a new one; nothing is shared between branches.

    Attributes:
        name: As in conf/task/.
        feedback: What `State.reward` may show at a terminal state: the true reward, or nothing.
        prompts: The messages of the three phases.
    """

    @property
    def name(self) -> str: ...
    @property
    def feedback(self) -> Feedback: ...
    @property
    def prompts(self) -> Prompts: ...

    def problems(self) -> Sequence[Problem]:
        """The items of this run, in order."""

    def reset(self, problem: Problem) -> State: ...

    def step(self, state: State, action: str) -> State: ...

    def parse(self, text: str) -> Proposal | None:
        """Understands an expansion completion; None when it holds no action."""

    def failure_key(self, state: State) -> str:
        """Equal for failures that teach the same thing (e.g. the normalised wrong answer)."""

    def submission(self, prediction: str) -> Sequence[str]:
        """The actions that hand in an answer found elsewhere (`symphony grade`)."""

    def grade(self, problem: Problem, state: State) -> Grade:
        """Ground truth; asked for by the runner, and by `symphony grade` and `play`, never by a search."""


@runtime_checkable
class SlowSteps(Protocol):
    """A task whose steps may take long, because they run a program or ask a server.

    Attributes:
        slow_steps: Whether they do with the settings of this task; a search then plays them in a thread.
    """

    @property
    def slow_steps(self) -> bool: ...


# --------------------------------------------------------------------------- models

Limit = Literal["calls", "tokens", "money", "seconds"]
"""What a budget limits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a completion is drawn.

    Attributes:
        temperature: >= 0; 0 is greedy.
        max_tokens: > 0, completion tokens.
        stop: Strings that end the completion; not part of its text.
    """

    temperature: float
    max_tokens: int
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise SymphonyError(f"sampling.temperature: found {self.temperature}, allowed: >= 0")
        if self.max_tokens < 1:
            raise SymphonyError(f"sampling.max_tokens: found {self.max_tokens}, allowed: >= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Which random draw a request is, so that equal prompts are still different draws.

    Attributes:
        seed: Seed of the run.
        problem: Problem id.
        node: Node id the call belongs to (the parent for an expansion).
        phase: What the call is for.
        index: Number of the draw among those of the same node and phase.
    """

    seed: int
    problem: str
    node: int
    phase: Phase
    index: int

    def rng_seed(self) -> int:
        """A 63-bit seed derived from every field."""
        text = f"{self.seed}\x1f{self.problem}\x1f{self.node}\x1f{self.phase}\x1f{self.index}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


Shorten = Callable[[int], tuple[Message, ...]]
"""The messages of a prompt without so many of its parts (see `Prompts`); none where there are fewer parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call.

    Attributes:
        messages: The whole prompt.
        shorten: What a model that has no room for `messages` and `sampling.max_tokens` asks for less; None where there
            is nothing to leave out. It follows from how the messages were made, so it names nothing of its own.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    draw: Draw
    shorten: Shorten | None = field(default=None, repr=False, compare=False)

    def fitted(self, fits: Callable[[tuple[Message, ...]], bool]) -> tuple[tuple[Message, ...], int]:
        """The messages with as few parts dropped as make them fit, or else with all dropped; and how many those are."""
        messages, dropped = self.messages, 0
        while not fits(messages) and self.shorten is not None and (fewer := self.shorten(dropped + 1)):
            messages, dropped = fewer, dropped + 1
        return messages, dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a backend returned for one request.

    Attributes:
        text: Without the stop string and special tokens.
        finish_reason: "stop" (end token or stop string), "length" (max_tokens), or "error".
        prompt_tokens: Real tokens of the prompt, never padding.
        cached_tokens: How many of them came from a reused prefix (0 where unknown).
        completion_tokens: Real generated tokens, the end token included.
        logprob: Sum of the log-probabilities (nats) of the generated tokens, where the backend has it.
        error: Why there is no text; None when there is.
        refused: Limit of the study's budget for which the model was not asked; None where it was.
        dropped: Parts that were left out of the prompt so that the model had room for it (`Request.shorten`).
        seed: `Draw.rng_seed` of the request, where a scorer reads the answer; 0 elsewhere.
        latency_s: Seconds from submission to answer, 0 where the store held its batch; not part of the durable record.
        from_store: Whether the answer came from the call store; not part of the durable record.
    """

    text: str
    finish_reason: Literal["stop", "length", "error"]
    prompt_tokens: int
    cached_tokens: int = 0
    completion_tokens: int = 0
    logprob: float | None = None
    error: str | None = None
    refused: Limit | None = None
    dropped: int = 0
    seed: int = 0
    latency_s: float = 0.0
    from_store: bool = False


class ModelBackend(Protocol):
    """A model that answers requests.

    `revision` names exactly what answers (weights digest, dtype, quantisation, engine); it is part of the store's key.
    """

    revision: str

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers in the same length and order. A request that fails yields finish_reason "error"."""


class AsyncModel(Protocol):
    """What an agent talks to: a backend behind the store and the batcher, or an endpoint behind the store."""

    def complete(self, request: Request) -> Awaitable[Completion]: ...


class Endpoint(AsyncModel, Protocol):
    """A model elsewhere, which answers each request by itself: calls run side by side, and none waits for a batch.

    Making one loads nothing and asks nothing. `revision` names what answers; it is part of the store's key. A request
    that fails yields finish_reason "error".
    """

    revision: str

    def ready(self) -> None:
        """Checks what a call needs, without asking anything.

        Raises:
            SymphonyError: Something is missing, e.g. a key.
        """


# --------------------------------------------------------------------------- search


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A search-time judgement of a node by an agent; never ground truth.

    Attributes:
        value: Z in [0, 1], verbalised by the evaluator (the mean of several evaluations under SelfConsistency).
        confidence: C in [0, 1], verbalised by the evaluator, or as the scorer says.
        modulated: R in [0, 1], what the search uses (paper Eq. 6 for EMCS; Z for plain).
        fallback: Whether defaults were used: the evaluator could not be understood, or lacked what the scorer needs.
    """

    value: float
    confidence: float
    modulated: float
    fallback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reflection:
    """A lesson drawn from a failed trajectory (paper Eq. 3).

    Attributes:
        text: The lesson, as later prompts carry it.
        agent: Index of the agent that wrote it.
        node: The failed node.
        key: `Task.failure_key` of the failed state.
        iteration: Search iteration in which it was written.
        situation: The problem and the failed trajectory as text, for judging what the lesson is relevant to.
    """

    text: str
    agent: int
    node: int
    key: str
    iteration: int
    situation: str = ""


def derive_rng(seed: int, *parts: str) -> random.Random:
    """A generator that depends on the run seed and the given names only."""
    text = "\x1f".join((str(seed), *parts))
    return random.Random(hashlib.blake2b(text.encode(), digest_size=16).digest())


def canonical_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Sorted keys, no spaces, UTF-8 kept: the form every digest is taken of."""
    import json

    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
