"""A tiny environment and a tiny pool, for tests and benches only: nothing here is a benchmark or a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from symphony.agents.budget import Budget, Meter
from symphony.agents.session import Agent, AgentPool, Session
from symphony.models.sizes import Size
from symphony.types import (
    Alone,
    Completion,
    Feedback,
    Grade,
    Message,
    Phase,
    Problem,
    Proposal,
    Request,
    State,
    Turn,
)

ANSWER = re.compile(r"^Action:\s*(go|stop)\b\s*(\S*)\s*$", re.MULTILINE)


class StubPrompts:
    """Prompts that say the phase, the problem, the path and the lessons, one a line; lessons are all they can drop."""

    digest = "stub"
    again = ""

    def expansion(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        return self._message("expand", problem, path, lessons, dropped)

    def evaluation(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        return self._message("evaluate", problem, path, lessons, dropped)

    def verification(
        self, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        return self._message("verify", problem, path, lessons, dropped)

    def comparison(
        self, problem: Problem, path: Sequence[Turn], steps: Sequence[Turn], lessons: Sequence[str], dropped: int = 0
    ) -> tuple[Message, ...]:
        return self._message(f"compare {len(steps)}", problem, (*path, *steps), lessons, dropped)

    def reflection(self, problem: Problem, path: Sequence[Turn], dropped: int = 0) -> tuple[Message, ...]:
        return self._message("reflect", problem, path, (), dropped)

    def answer(self, style: Alone, problem: Problem, lessons: Sequence[str], dropped: int = 0) -> tuple[Message, ...]:
        return self._message(style, problem, (), lessons, dropped)

    def _message(
        self, phase: str, problem: Problem, path: Sequence[Turn], lessons: Sequence[str], dropped: int
    ) -> tuple[Message, ...]:
        if dropped > len(lessons):
            return ()
        lessons = lessons[dropped:]
        lines = [phase, problem.prompt, *(f"lesson {lesson}" for lesson in lessons)]
        for turn in path:
            lines += [turn.action, turn.observation]
        return (Message(role="user", content="\n".join(lines)),)


class Stub:
    """Guess a word: `go x` appends a letter, `stop` submits what there is; a word of full length submits itself.

    Reward 1 for the target, else 0 (`partial`: the share of right letters). Never asks for `grade`: calling it fails.
    """

    name = "stub"

    def __init__(
        self, *, length: int = 3, feedback: Feedback = "oracle", partial: bool = False, horizon: int | None = None
    ) -> None:
        self.length = length
        self.feedback: Feedback = feedback
        self.partial = partial
        self.horizon = horizon
        self.prompts = StubPrompts()

    def problems(self) -> Sequence[Problem]:
        return [problem("abc"), problem("bca"), problem("zzz")]

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=("", problem.target))

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        word, target = state.data
        verb, _, letter = action.partition(" ")
        if verb == "go" and len(letter) != 1:
            return State(observation="one letter, please", invalid=True, data=state.data)
        word = word + letter if verb == "go" else word
        if verb == "stop" or len(word) == self.length:
            right = sum(a == b for a, b in zip(word, target, strict=False)) / len(target)
            reward = right if self.partial else float(word == target)
            shown = reward if self.feedback == "oracle" else None
            return State(observation=f"submitted {word}", reward=shown, terminated=True, data=(word, target))
        if self.horizon is not None and len(word) >= self.horizon:
            shown = 0.0 if self.feedback == "oracle" else None
            return State(observation="time is up", reward=shown, truncated=True, data=(word, target))
        return State(observation=f"word {word}", data=(word, target))

    def parse(self, text: str) -> Proposal | None:
        found = ANSWER.search(text)
        return None if found is None else Proposal(thought="", action=f"{found[1]} {found[2]}".strip())

    def untested(self) -> str:
        return ""

    def tested(self, problem: Problem, action: str, tests: str) -> str:
        """As a task of programs has it; there is nothing here to test."""
        return action

    def failure_key(self, state: State) -> str:
        return str(state.data[0])

    def submission(self, prediction: str) -> Sequence[str]:
        return prediction.splitlines()

    def grade(self, problem: Problem, state: State) -> Grade:
        raise AssertionError("a search called grade")


def problem(target: str, id: str | None = None) -> Problem:
    return Problem(id=id or target, prompt="Guess the word.", target=target)


Script = Callable[[Request], str | None]
"""What to say; None is a failed call."""


class Scripted:
    """An `AsyncModel` that answers from a script at once, within the limit, and keeps what it was asked.

    A token is a word.
    """

    counter = None

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []

    def size(self, request: Request) -> Size:
        return Size(prompt=words(request), completion=request.sampling.max_tokens)

    async def complete(self, request: Request) -> Completion:
        self.requests.append(request)
        text = self.script(request)
        if text is None:
            return Completion(text="", finish_reason="error", prompt_tokens=0, error="scripted failure")
        said = text.split(" ")
        kept = said[: request.sampling.max_tokens]
        return Completion(
            text=" ".join(kept),
            finish_reason="stop" if kept == said else "length",
            prompt_tokens=words(request),
            completion_tokens=len(kept),
        )


def words(request: Request) -> int:
    return sum(message.content.count(" ") + 1 for message in request.messages)


def talk(letters: str = "abc", stops: int = 0) -> Callable[[Request], str]:
    """Proposes a letter (one time in `stops`, a submission) and judges, all drawn from the request's seed."""

    def script(request: Request) -> str:
        seed = request.draw.rng_seed()
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            if stops and seed % stops == 0:
                return "Action: stop"
            return f"Action: go {letters[seed // 7 % len(letters)]}"
        if request.draw.phase in (Phase.EVALUATE, Phase.SIM_EVALUATE):
            return judging(
                request, seed, lambda seed: f"Value: {seed % 100 / 100} Confidence: {seed // 100 % 100 / 100}"
            )
        return f"Lesson: draw {seed % 1000}."

    return script


def judging(request: Request, seed: int, says: Callable[[int], str]) -> str:
    """A judgement from the request's seed; about several siblings, one line for each from a seed of its own."""
    if not request.messages[0].content.startswith("compare "):
        return says(seed)
    asked = request.messages[0].content.split("\n")[0]
    return "\n".join(f"{n}: {says(seed // 7**n)}" for n in range(1, int(asked.split(" ")[1]) + 1))


def say(**texts: str | None) -> Script:
    """A script with one answer a phase; phases of simulations answer as their namesakes unless named."""

    def script(request: Request) -> str | None:
        phase = request.draw.phase.value
        return texts[phase] if phase in texts else texts[phase.removeprefix("sim_")]

    return script


def pool(*scripts: Script) -> AgentPool:
    return AgentPool(
        "stub", tuple(Agent(name, Scripted(script)) for name, script in zip("ABCDE", scripts, strict=False))
    )


def session(agents: AgentPool, item: Problem, *, seed: int = 0, budget: Budget | None = None) -> Session:
    return Session(run="run", seed=seed, problem=item, pool=agents, meter=Meter(budget or Budget()))
