"""Short Python functions, written one line at a time and run in a resource-limited process after each line.

    Task: code. f(x): even then double then reverse. Example: f([3, 4, 6]) = [12, 8].
    line[x = [v for v in x if v % 2 == 0]] -> x = [4, 6]
    line[x = [v * 2 for v in x]]           -> x = [8, 12]
    line[x = x[::-1]]                      -> x = [12, 8]
    submit[f]                              -> Passed.

The program is `def f(x)`, the accepted lines, and `return x`. At `submit`, hidden inputs decide; their expected values
stay in this process and never enter the sandbox. Tests inside `submit[...]`, written like the example, must pass first.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, ClassVar, Protocol

from annotated_types import Interval

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_actions, split_action
from symphony.fields import Count, check_fields
from symphony.tasks.feedback import visible
from symphony.tasks.mini import generated
from symphony.tasks.programs.sandbox import Execution, PythonSandbox, shortfall
from symphony.types import Feedback, Grade, Problem, Proposal, State

HIDDEN = 4
WANTED = "Write tests of f, one a line, like the example."
OWN_TESTS = 4
"""Maximum tests taken from one answer."""
_LIST = r"(\[(?:-?\d{1,18}(?:\s*,\s*-?\d{1,18})*)?\])"
_TEST = re.compile(rf"\bf\({_LIST}\)\s*==?\s*{_LIST}")


class Executor(Protocol):
    def call(self, source: str, function: str, arguments: Sequence[str]) -> Execution: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One specification. `inputs` are list literals: the visible example first, then the hidden ones."""

    asks: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    lexicon: generated.Lexicon


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    world: World
    lines: tuple[str, ...] = ()
    bounced: bool = False
    passed: bool = False
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniCode:
    """The coding environment; the reward is 1 if a submitted program is right on every hidden input, else 0.

    Args:
        seed, count: The seed that problems are generated from, and how many.
        operations: Lines that a correct program needs, 1..4.
        max_steps: Horizon in actions.
        feedback: Whether a search sees the verdict of the hidden inputs.
        executor: Runs the programs; by default each in a fresh process.
        unprotected: Whether to run programs even if the machine can't isolate them.
    """

    seed: int
    count: Count
    operations: Annotated[int, Interval(ge=1, le=4)] = 4
    max_steps: Count = 7
    feedback: Feedback = "oracle"
    split: generated.Split = "test"
    verbs: ClassVar[tuple[str, ...]] = ("line", "submit")
    name: str = "mini_code"
    prompts: ChatPrompts = field(default_factory=partial(ChatPrompts, tests=WANTED))
    executor: Executor = field(default_factory=PythonSandbox)
    unprotected: bool = False

    def __post_init__(self) -> None:
        check_fields("task", self)

    def problems(self) -> Sequence[Problem]:
        return list(generated.problems(self.name, self.seed, self.count, self.split, self.generate))

    def generate(
        self, rng: random.Random, id: str, lexicon: generated.Lexicon = generated.LEXICONS["operation"]
    ) -> Problem:
        while True:
            asks = tuple(rng.sample(sorted(lexicon), self.operations))
            inputs = [[rng.randint(-9, 9) for _ in range(rng.randint(4, 6))] for _ in range(1 + HIDDEN)]
            inputs[0] = inputs[0][:4]
            outputs = [_reference(asks, lexicon, values) for values in inputs]
            if all(outputs) and max(abs(value) for value in outputs[0]) < 1000:
                break
        world = World(asks=asks, inputs=tuple(map(str, inputs)), outputs=tuple(map(str, outputs)), lexicon=lexicon)
        example = f"Example: f({inputs[0]}) = {outputs[0]}."
        prompt = f"Task: code. f(x): {' then '.join(asks)}. {example}"
        return Problem(id=id, kind=f"{self.operations} operations", prompt=prompt, target=world)

    @property
    def protection(self) -> str:
        """What protects the machine from programs; "" if the executor does not say."""
        return str(getattr(self.executor, "protection", ""))

    def unavailable(self) -> str:
        """Says why programs can't be run on this machine; "" if they can."""
        return shortfall(self.protection, self.unprotected or not self.protection)

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=Data(world=problem.target))

    def parse(self, text: str) -> Proposal | None:
        return parse_proposal(text, self.verbs)

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = replace(state.data, steps=state.data.steps + 1, bounced=False)
        verb, argument = split_action(action)
        if verb == "submit":
            return self._submit(data, _tests(argument))
        invalid, observation = True, "Not possible."
        if verb == "line":
            longer = replace(data, lines=(*data.lines, argument))
            run = self.executor.call(program(longer.lines), "f", [f"({data.world.inputs[0]},)"])
            invalid = run.outcome != "ok"
            observation = "Error." if invalid else f"x = {run.values[0]}"
            data = data if invalid else longer
        truncated = data.steps >= self.max_steps
        return State(
            observation=observation,
            reward=visible(0.0, self.feedback, truncated),
            truncated=truncated,
            invalid=invalid,
            data=data,
        )

    def untested(self) -> str:
        """Returns "": an answer can bring its own tests."""
        return ""

    def tested(self, problem: Problem, action: str, tests: str) -> str:
        """Puts the tests of another answer into a `submit`; returns any other action as it is."""
        cases = _tests(tests)
        if split_action(action)[0] != "submit" or not cases:
            return action
        return f"submit[{'; '.join(f'f({argument}) = {wanted}' for argument, wanted in cases.items())}]"

    def _submit(self, data: Data, tests: Mapping[str, str]) -> State:
        """Returns the verdict, or the failure if a test inside `submit` fails; the last step always gets a verdict."""
        failed = self._failed(data, tests)
        if failed and data.steps < self.max_steps:
            return State(observation=failed, data=replace(data, bounced=True))
        passed = self._passes(data)
        shows_verdict = self.feedback == "oracle"
        return State(
            observation=("Passed." if passed else "Failed.") if shows_verdict else "Submitted.",
            reward=visible(float(passed), self.feedback),
            terminated=True,
            data=replace(data, passed=passed),
        )

    def _failed(self, data: Data, tests: Mapping[str, str]) -> str:
        run = self.executor.call(program(data.lines), "f", [f"({argument},)" for argument in tests]) if tests else None
        if run is None:
            return ""
        wrong = [
            f"f({argument}) = {got}."
            for argument, got in zip(tests, run.values, strict=False)
            if got != tests[argument]
        ]
        return wrong[0] if wrong else "" if run.outcome == "ok" else "Error."

    def _passes(self, data: Data) -> bool:
        run = self.executor.call(program(data.lines), "f", [f"({values},)" for values in data.world.inputs[1:]])
        return run.outcome == "ok" and run.values == data.world.outputs[1:]

    def failure_key(self, state: State) -> str:
        return "\n".join(state.data.lines)

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Reads one action per line."""
        return read_actions(prediction, self.parse)

    def grade(self, problem: Problem, state: State) -> Grade:
        """Grades the program; one submitted last but sent back by its own tests is also judged by the hidden inputs."""
        data: Data = state.data
        passed = data.passed or (data.bounced and self._passes(data))
        return Grade(success=passed, score=float(passed), detail="; ".join(data.lines))


def _tests(text: str) -> dict[str, str]:
    """Reads the tests in a text as a mapping from argument to expected value, as Python writes lists."""
    cases: dict[str, str] = {}
    for match in _TEST.finditer(text):
        with suppress(SyntaxError):  # 007 is not a number
            argument, wanted = (str(ast.literal_eval(part)) for part in match.groups())
            cases.setdefault(argument, wanted)
    return dict(list(cases.items())[:OWN_TESTS])


def program(lines: Sequence[str]) -> str:
    """Returns the source of the function that has these lines."""
    return "\n    ".join(["def f(x):", *lines, "return x"]) + "\n"


def line(idiom: str) -> str:
    """Returns the line that applies an idiom of the lexicon to the list x."""
    if "x" in idiom:
        return f"x = {idiom}"
    keeps = "==" in idiom or ">" in idiom
    return f"x = [v for v in x if {idiom}]" if keeps else f"x = [{idiom} for v in x]"


def _reference(asks: Sequence[str], lexicon: generated.Lexicon, values: list[int]) -> list[int]:
    scope: dict[str, object] = {"x": values, "abs": abs, "sorted": sorted, "__builtins__": {}}
    for ask in asks:
        scope["x"] = eval(line(lexicon[ask]).removeprefix("x = "), scope)  # the lexicon's own idioms, nothing else
    result = scope["x"]
    assert isinstance(result, list)
    return result
