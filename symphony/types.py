"""Values that are passed between packages. This module imports nothing else from the project."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, Protocol


class SymphonyError(Exception):
    """An error a user can fix: one clear sentence saying what was found and what is allowed."""


class Phase(StrEnum):
    """What a model call is for (paper section 3: the prompt P_phi has one form per phase)."""

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
        kind: The task's own category of the item (for breakdowns); "" if there is none.
        prompt: What the agent is told; never contains the answer.
        target: What `Task.grade` compares with; searches never read it.
    """

    id: str
    kind: str = ""
    prompt: str
    target: Any = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An immutable state of an environment, owned by the node that reached it.

    Attributes:
        observation: Text shown to the agents after the last action ("" at reset if the prompt says everything).
        reward: Environment reward in [0, 1]; None if a search may not see it (not terminal, or feedback "none").
        terminated: The episode has ended by itself; `step` on such a state returns it unchanged.
        truncated: The episode was cut by the horizon; `step` on such a state returns it unchanged.
        invalid: The last action broke the environment's rules (counted; the page did not change).
        progress: Share in [0, 1] of the visible tests passed, which a search may see; None without visible tests.
        data: What `step` needs to continue; immutable and private to the task.
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
    """A parsed completion: the thought (may be "") and the action in the task's canonical spelling."""

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
        score: In [0, 1]; equals float(success) if the task has no partial credit.
        detail: Details for people, e.g. the answer given.
        outcome: What happened, in one word: "timeout", "compile_error", ...; "pass" or "fail" if no more is known.
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
"""What is asked about a problem alone, without a path: the whole answer, or tests of it."""


class Prompts(Protocol):
    """Builds the messages of the three phases (paper: P_phi, phi in expansion, evaluation, reflection).

    `lessons` are the texts of the reflections in the agent's memory, oldest first. `dropped` says how many parts to
    leave out of a prompt that is too long: the oldest lessons first, then worked examples. With more than there are
    parts, no messages are returned.
    """

    def expansion(self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0) -> Chat: ...
    def evaluation(self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0) -> Chat: ...
    def verification(self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0) -> Chat:
        """Like `evaluation`, but asks whether the last step is right, to be answered by yes or no."""

    def comparison(
        self, problem: Problem, path: Sequence[Turn], steps: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> Chat:
        """Like `evaluation`, but asks about each of several next steps after `path`, numbered from 1."""

    def reflection(self, problem: Problem, path: Sequence[Turn], dropped: int = 0) -> Chat: ...

    def answer(self, style: Alone, problem: Problem, lessons: Sequence[str], dropped: int = 0) -> Chat:
        """Asks for one of `Alone` in one completion; without wording for it, this is the expansion at the root."""

    @property
    def again(self) -> str:
        """Text appended to the prompt when an expansion is asked again because it had no action; "" for nothing."""

    @property
    def digest(self) -> str:
        """Hash of every template of the three phases, for the run record."""


class Task(Protocol):
    """A pure environment: `step` takes a state and returns a new one; nothing is shared between branches.

    Attributes:
        name: The task's name, as in conf/task/.
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
        """Parses an expansion's completion; returns None if it holds no action."""

    def failure_key(self, state: State) -> str:
        """Returns a key that is equal for failures that teach the same thing (e.g. the normalised wrong answer)."""

    def submission(self, prediction: str) -> Sequence[str]:
        """Returns the actions that submit an answer found elsewhere (`symphony grade`)."""

    def grade(self, problem: Problem, state: State) -> Grade:
        """Returns ground truth; called by the runner, `symphony grade` and `play`, never by a search."""


def plays_slowly(task: Task) -> bool:
    """Whether steps of the task may run a program or ask a server, as its `slow_steps` says: such need a thread."""
    return bool(getattr(task, "slow_steps", False))


# --------------------------------------------------------------------------- models

Limit = Literal["calls", "tokens", "money", "seconds", "computed"]
"""What a budget can limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


Chat = tuple[Message, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How a completion is drawn.

    Attributes:
        temperature: Sampling temperature, >= 0; 0 is greedy.
        max_tokens: Completion token limit, > 0.
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
    """Identifies the random draw of a request, so that equal prompts are still different draws.

    Attributes:
        seed: Seed of the run.
        problem: Problem id.
        node: Node id the call belongs to (the parent for an expansion).
        phase: What the call is for.
        index: Index of the draw among those of the same node and phase.
    """

    seed: int
    problem: str
    node: int
    phase: Phase
    index: int

    def rng_seed(self) -> int:
        """Returns a 63-bit seed derived from every field."""
        text = f"{self.seed}\x1f{self.problem}\x1f{self.node}\x1f{self.phase}\x1f{self.index}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


Shorten = Callable[[int], Chat]
"""Builds a prompt's messages with the given number of parts dropped (see `Prompts`); empty if it has fewer parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call.

    Attributes:
        messages: The whole prompt.
        shorten: Called by a model without room for `messages` and `sampling.max_tokens` to drop parts; None if there is
            nothing to drop. It follows from how the messages were made, so requests are compared without it.
    """

    messages: tuple[Message, ...]
    sampling: Sampling
    draw: Draw
    shorten: Shorten | None = field(default=None, repr=False, compare=False)

    def fitted(self, fits: Callable[[tuple[Message, ...]], bool]) -> tuple[tuple[Message, ...], int]:
        """Drops as few parts as make the messages fit, or all if none do; returns messages and number dropped."""
        messages, dropped = self.messages, 0
        while not fits(messages) and self.shorten is not None and (fewer := self.shorten(dropped + 1)):
            messages, dropped = fewer, dropped + 1
        return messages, dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What a backend returned for one request.

    Attributes:
        text: The text, without the stop string and special tokens.
        finish_reason: "stop" (end token or stop string), "length" (max_tokens), or "error".
        prompt_tokens: Real tokens of the prompt, never padding.
        cached_tokens: How many prompt tokens came from a reused prefix (0 if unknown).
        completion_tokens: Real generated tokens, the end token included.
        logprob: Sum of the log-probabilities (nats) of the generated tokens, if the backend has it.
        error: Why there is no text; None if there is one.
        refused: Limit of the study's budget because of which the model was not asked; None if it was asked.
        dropped: Parts left out of the prompt so that it fits the model (`Request.shorten`).
        seed: `Draw.rng_seed` of the request when a scorer that needs it reads the answer; 0 otherwise.
        latency_s: Seconds from submission to answer, 0 if the store held its batch; not part of the durable record.
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

    `revision` identifies what answers (weights digest, dtype, quantisation, engine); it is part of the store's key.
    """

    revision: str

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Returns one answer per request, in the same order. A request that fails yields finish_reason "error"."""


class AsyncModel(Protocol):
    """What an agent talks to: a backend behind the store and the batcher, or an endpoint behind the store."""

    def complete(self, request: Request) -> Awaitable[Completion]: ...


class Endpoint(AsyncModel, Protocol):
    """A remote model that answers each request separately: calls run concurrently, and none waits for a batch.

    Creating one loads nothing and asks nothing. `revision` identifies what answers; it is part of the store's key. A
    request that fails yields finish_reason "error".
    """

    revision: str

    def ready(self) -> None:
        """Checks that everything a call needs is there, without making a call.

        Raises:
            SymphonyError: Something is missing, e.g. a key.
        """


# --------------------------------------------------------------------------- search


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A search-time judgement of a node by an agent; never ground truth.

    Attributes:
        value: Z in [0, 1], verbalised by the evaluator (the mean of several evaluations under SelfConsistency).
        confidence: C in [0, 1], verbalised by the evaluator or computed by the scorer.
        modulated: R in [0, 1], the value the search uses (paper Eq. 6 for EMCS; Z for plain).
        fallback: Whether defaults were used because the answer could not be read or lacked what the scorer needs.
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
        node: Id of the failed node.
        key: `Task.failure_key` of the failed state.
        iteration: Search iteration in which it was written.
        situation: The problem and the failed trajectory as text, to judge what the lesson is relevant to.
    """

    text: str
    agent: int
    node: int
    key: str
    iteration: int
    situation: str = ""


def derive_rng(seed: int, *parts: str) -> random.Random:
    """Returns a random generator that depends only on the run seed and the given names."""
    text = "\x1f".join((str(seed), *parts))
    return random.Random(hashlib.blake2b(text.encode(), digest_size=16).digest())


def canonical_json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    """Writes JSON with sorted keys, no spaces and UTF-8 kept: every digest is taken of this form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
