"""A chain of choices of which one each is right; the truth follows from the problem's text alone.

    Task: choices. Problem simulated-11-0: 3 steps, 4 choices, 2 situations. Step 1: situation A.
    choose[2]  -> Step 2: situation B.
    choose[4]  -> Step 3: situation A.
    choose[1]  -> The end.

A problem is solved by the right choice at every step. A wrong choice shows nothing, so only a search that goes back can
correct it. Which choice is right is drawn from the problem's text, so that a simulated agent, which reads the same
prompts as a model, knows the truth that its skill is about.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Annotated, ClassVar

from annotated_types import Interval

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_actions, split_action
from symphony.fields import Count, check_fields
from symphony.tasks.feedback import visible
from symphony.types import Feedback, Grade, Problem, Proposal, State, derive_rng

VERB = "choose"
MOST_SITUATIONS = 26
_HEAD = re.compile(r"Problem (?P<id>\S+): (?P<steps>\d+) steps, (?P<choices>\d+) choices, (?P<situations>\d+) situ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is right in a problem.

    Attributes:
        id: The problem's id.
        choices: Number of choices of each step.
        right: The right choice of each step, 1 to `choices`.
        situations: The situation of each step, from 0.
    """

    id: str
    choices: int
    right: tuple[int, ...]
    situations: tuple[int, ...]

    def first_wrong(self, path: Sequence[int]) -> int | None:
        """Returns the first step of a path, from 0, that is not right; None if all are."""
        return next((at for at, (choice, right) in enumerate(zip(path, self.right)) if choice != right), None)  # noqa: B905


@lru_cache(maxsize=4096)
def truth(text: str) -> Truth:
    """Returns what is right in the problem that a text describes.

    Raises:
        ValueError: The text describes none.
    """
    head = _HEAD.search(text)
    if head is None:
        raise ValueError("no problem of the simulated task")
    steps, choices, situations = (int(head[name]) for name in ("steps", "choices", "situations"))
    rng = derive_rng(0, "simulated", head[0])
    return Truth(
        id=head["id"],
        choices=choices,
        right=tuple(rng.randint(1, choices) for _ in range(steps)),
        situations=tuple(rng.randrange(situations) for _ in range(steps)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTask:
    """The environment; the reward is 1 if every choice was right, else 0.

    Args:
        seed, count: The seed that problems are drawn from, and how many.
        steps: Choices to be made in a problem.
        choices: Size of the action space at each step.
        situations: Kinds of steps, in which agents may differ in skill.
        feedback: Whether a search sees the reward.
    """

    seed: int
    count: Count
    steps: Annotated[int, Interval(ge=1, le=1000)] = 4
    choices: Annotated[int, Interval(ge=2, le=1000)] = 4
    situations: Annotated[int, Interval(ge=1, le=MOST_SITUATIONS)] = 3
    feedback: Feedback = "oracle"
    verbs: ClassVar[tuple[str, ...]] = (VERB,)
    name: str = "simulated"
    prompts: ChatPrompts = field(default_factory=ChatPrompts)

    def __post_init__(self) -> None:
        check_fields("task", self)

    def problems(self) -> Sequence[Problem]:
        return [self._problem(f"{self.name}-{self.seed}-{number}") for number in range(self.count)]

    def _problem(self, id: str) -> Problem:
        head = f"Problem {id}: {self.steps} steps, {self.choices} choices, {self.situations} situations."
        target = truth(head)
        return Problem(id=id, prompt=f"Task: choices. {head} {_look(target, 0)}", target=target)

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=_Data(truth=problem.target))

    def parse(self, text: str) -> Proposal | None:
        return parse_proposal(text, self.verbs)

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: _Data = state.data
        choice = chosen(action, data.truth.choices)
        data = replace(data, path=(*data.path, choice))
        over = len(data.path) == len(data.truth.right)
        return State(
            observation="The end." if over else _look(data.truth, len(data.path)),
            invalid=choice == 0,
            reward=visible(float(data.solved), self.feedback, over),
            terminated=over,
            data=data,
        )

    def failure_key(self, state: State) -> str:
        data: _Data = state.data
        return " ".join(map(str, data.path))

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Reads one action per line."""
        return read_actions(prediction, self.parse)

    def grade(self, problem: Problem, state: State) -> Grade:
        data: _Data = state.data
        return Grade(success=data.solved, score=float(data.solved), detail=self.failure_key(state))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Data:
    truth: Truth
    path: tuple[int, ...] = ()

    @property
    def solved(self) -> bool:
        return self.path == self.truth.right


def chosen(action: str, choices: int) -> int:
    """Returns the number in `choose[<number>]`; 0, which is never right, if it is none of the choices."""
    verb, argument = split_action(action)
    number = int(argument) if verb == VERB and argument.isdecimal() and len(argument) < 5 else 0
    return number if number <= choices else 0


def _look(truth: Truth, at: int) -> str:
    return f"Step {at + 1}: situation {chr(ord('A') + truth.situations[at])}."
