"""Code benchmarks as environments: every action is a whole program, answered with the results of its visible tests.

The hidden tests decide; `grade` runs them once, on the final program. `internal` says what a search sees:
- generated: asserts that the agents write below their programs, including those of earlier programs on the path;
- first_assert: the first hidden test;
- hidden_asserts: all hidden tests, the paper's oracle. Scores under it show what the tests gave away.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from symphony.chat.prompts import ChatPrompts
from symphony.fields import Count, FromZero, check_fields
from symphony.tasks import datafiles
from symphony.tasks.feedback import visible
from symphony.tasks.programs import plus_suite, python_source, python_suite, rust_source, rust_suite
from symphony.tasks.programs.answer_blocks import Block
from symphony.tasks.programs.data import SOURCES, Dataset, Hidden, Target, read
from symphony.tasks.programs.extract import asserts, blocks, has_body, may_define, python_program, rust_program
from symphony.tasks.programs.plus_suite import PlusSuite
from symphony.tasks.programs.python_suite import BrokenSuite, Report, Suite
from symphony.tasks.programs.rust_suite import RustSuite
from symphony.tasks.programs.sandbox import Limits, PythonSandbox, shortfall
from symphony.tasks.wording import read_prompts
from symphony.types import Feedback, Grade, Problem, Proposal, State, SymphonyError

Internal = Literal["generated", "first_assert", "hidden_asserts"]

OWN_TESTS = 4
"""Maximum asserts taken from one answer."""
PATH_TESTS = 8
"""Maximum asserts kept along a path; the newest are kept."""
REFERENCE_FACTOR = 4.0
"""A program may take this many times as long as the reference, if that is more than the limit (EvalPlus: 4)."""
REFERENCE_S = 60.0
BROKEN_TEST = "broken test"
"""Start of a grade's detail if the published test can't be run."""
_LABELS = re.compile(
    r"^\s*(?:[*_]*Thought\s*\d*\s*:[*_]*)|(?:[*_]*Action\s*\d*\s*:[\s*_]*)?(?:`{3,}|~{3,})?[\w+-]*\s*\Z", re.I
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    target: Target = field(repr=False)
    program: str | None = None
    answer: str = ""
    tests: tuple[str, ...] = ()
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The programming environment; an episode ends when a program passes its visible tests, or at the horizon.

    Args:
        dataset: Which benchmark.
        variant: Name of the data's edition, recorded in every result: the published copy of typed MBPP differs from
            upstream in the expected values of 11 (Python) and 9 (Rust) rows.
        count: How many items; None means all that follow.
        first: Position in the file of the first item.
        internal: Which tests a search sees.
        max_steps: Maximum programs on a path.
        visible_s, hidden_s: Wall-clock seconds for the visible and the hidden tests (published: 5 per test, 10).
        unprotected: Run programs even if the machine can't isolate them. Never do that with models you don't trust.
        feedback: "none" forbids internal hidden_asserts; otherwise it is ignored, since `internal` sets it.
        data: Folder of the data sets.
        wording: Version of the prompts, or a prompt file of your own.
    """

    dataset: Dataset
    count: Count | None
    variant: str = "published"
    first: FromZero = 0
    internal: Internal = "generated"
    max_steps: Count = 8
    visible_s: Annotated[float, Ge(1)] = 5.0
    hidden_s: Annotated[float, Ge(1)] = 10.0
    unprotected: bool = False
    feedback: Feedback = "oracle"
    data: Path = Path("data")
    wording: str = "v1"
    name: str = field(init=False)
    box: PythonSandbox = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_fields("task", self)
        if self.feedback == "none" and self.internal == "hidden_asserts":
            raise SymphonyError(
                "task.internal: found hidden_asserts with feedback=none, allowed: generated, first_assert"
            )
        # Only the hidden tests are ground truth.
        feedback = "oracle" if self.internal == "hidden_asserts" else "none"
        object.__setattr__(self, "feedback", feedback)
        object.__setattr__(self, "name", self.dataset)
        object.__setattr__(self, "box", _box())
        read_prompts(f"programs_{self._language}", self.wording)  # reports errors in the file right away

    @property
    def prompts(self) -> ChatPrompts:
        """The prompts, read once per process."""
        return read_prompts(f"programs_{self._language}", self.wording)

    # ---- problems

    def files(self) -> tuple[Path, ...]:
        """Returns the files the problems are read from.

        Raises:
            SymphonyError: A file is missing.
        """
        source = SOURCES[self.dataset]
        if self.variant == "published":
            return (datafiles.find(self.data, source.folder, (source.file,), self.dataset),)
        option = f"{self.dataset}_{self.variant}"
        return (datafiles.find(self.data, f"{source.folder}/{self.variant}", (source.file,), option),)

    def problems(self) -> Sequence[Problem]:
        """Returns the items.

        Raises:
            SymphonyError: The data are missing or broken, there is no Rust compiler, or programs can't be isolated.
        """
        if why := self.unavailable():
            raise SymphonyError(f"task {self.name}: {why}")
        (path,) = self.files()
        source = SOURCES[self.dataset]
        problems = []
        for id, prompt, target in read(source, path, self.first, self.count):
            problems.append(Problem(id=id, kind=f"{self.variant}, {self.internal}", prompt=prompt, target=target))
        return self.prompts.apart(problems)

    @property
    def slow_steps(self) -> bool:
        """See `plays_slowly`: a step runs a program on its visible tests."""
        return True

    @property
    def protection(self) -> str:
        """What protects the machine from programs."""
        return self.box.protection

    def unavailable(self) -> str:
        """Says why programs can't be run on this machine; "" if they can."""
        if self.dataset == "mbpp_rs" and not rust_suite.available():
            return "found no rustc, allowed: a Rust compiler on the PATH"
        if self.dataset == "mbpp_rs" and not {"landlock", "bubblewrap"} & set(self.protection.split("+")):
            return f"found the protections {self.protection}, allowed: landlock or bubblewrap (the compiler needs one)"
        return shortfall(self.protection, self.unprotected)

    # ---- episode

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=Data(target=problem.target))

    def parse(self, text: str) -> Proposal | None:
        parsed = blocks(text, self._language)
        if not any(block.fenced for block in parsed) and has_body(text, self._language):
            return Proposal(thought="", action=text.strip("\n"))
        programs = [block for block in parsed if block.sound and may_define(block.source, self._language)]
        if not programs and not any(block.fenced for block in parsed):
            is_meant = re.search(r"(?m)^\s*(?:async\s+)?(?:def|fn|pub fn)\s", text)
            return Proposal(thought="", action=text.strip()) if is_meant else None
        first = (
            next(line for line in parsed[0].source.split("\n") if line.strip()) if parsed[0].source.strip() else "```"
        )
        thought = _LABELS.sub("", text.partition(first)[0])
        return Proposal(thought=" ".join(thought.split()), action="\n".join(map(self._fence, parsed)))

    def _fence(self, block: Block) -> str:
        """Puts a block into a fence that nothing inside it closes."""
        marks = max(map(len, re.findall(r"`+", block.source)), default=0)
        fence = "`" * max(3, marks + 1)
        return f"{fence}{block.tag or self._language}\n{block.source.strip(chr(10))}\n{fence}"

    @property
    def _language(self) -> str:
        return "rust" if self.dataset == "mbpp_rs" else "python"

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = replace(state.data, steps=state.data.steps + 1)
        cut = data.steps >= self.max_steps
        nothing = visible(0.0, self.feedback, cut)
        program, written = _understand(action, data.target, self._language)
        if program is None:
            observation = f"Found no program that defines {data.target.entry}."
            return State(observation=observation, reward=nothing, truncated=cut, invalid=True, data=data)
        tests = tuple(dict.fromkeys((*data.tests, *written[:OWN_TESTS])))[-PATH_TESTS:]
        data = replace(data, program=program, answer=action, tests=tests)
        suite = self._visible(data)
        if suite is None:
            observation = "There are no tests to run: write some below the function."
            return State(observation=observation, reward=nothing, truncated=cut, data=data)
        if self.internal != "generated":
            program = self._tested_program(data)
        report = _judge(self.box, _whole(data.target, program), suite, self.visible_s)
        if report.outcome == "broken_test":
            observation = f"The tests can't be run: {report.detail}"
            data = replace(data, tests=state.data.tests)  # they would spoil every later program
            return State(observation=observation, reward=nothing, truncated=cut, data=data)
        passed = report.outcome == "pass"
        return State(
            observation=_feedback(suite, report),
            reward=1.0 if passed else nothing,
            terminated=passed,
            truncated=cut and not passed,
            progress=sum(report.passed) / len(report.passed) if report.passed else 0.0,
            data=data,
        )

    def _visible(self, data: Data) -> Hidden | None:
        target = data.target
        if self.internal == "hidden_asserts":
            return target.hidden
        if self.internal == "first_assert":
            return target.visible
        if not data.tests:
            return None
        if isinstance(target.hidden, BrokenSuite) and self._language == "rust":
            return None
        if isinstance(target.hidden, RustSuite):
            checks = tuple(rust_suite.read_checks(" ".join(data.tests), target.entry))
            return rust_suite.of(target.hidden, checks) if checks else None
        asserts = python_suite.checks("\n".join(data.tests), target.entry)
        return Suite(entry=target.entry, checks=asserts, imports="import math") if asserts else None

    def _tested_program(self, data: Data) -> str:
        """Returns the program with everything else the published tests use besides its function, e.g. a class."""
        hidden = data.target.hidden
        names = hidden.names if isinstance(hidden, Suite) else frozenset()
        program, _ = _understand(data.answer, data.target, self._language, names)
        return program or data.program or ""

    def untested(self) -> str:
        """Says why an answer can't bring its own tests; "" if it can."""
        if self.internal == "generated":
            return ""
        return f"task.internal: found {self.internal}, allowed: generated (tests are to be written)"

    def tested(self, problem: Problem, action: str, tests: str) -> str:
        """Returns the program of an action with its own tests replaced by those in another answer.

        If the program or the tests can't be read, the action is returned as it is.
        """
        entry = problem.target.entry
        program, _ = _understand(action, problem.target, self._language)
        if self._language == "rust":
            checks = [check for check in rust_suite.read_checks(tests, entry) if "candidate(" in check.call]
            lines = [f"    {check.render(entry)}" for check in checks[:OWN_TESTS]]
            below = "\n".join(["fn main() {", *lines, "}"])
        else:
            lines = list(asserts(tests, entry)[:OWN_TESTS])
            below = "\n".join(lines)
        if program is None or not lines:
            return action
        return f"```{self._language}\n{program.strip(chr(10))}\n\n\n{below}\n```"

    def failure_key(self, state: State) -> str:
        return state.data.program or "no program"

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Returns the answer as it is: `step` reads it like an action of a search."""
        return (prediction,)

    def grade(self, problem: Problem, state: State) -> Grade:
        """Runs the hidden tests on the last program."""
        program, target = state.data.program, problem.target
        if isinstance(target.hidden, BrokenSuite):
            return Grade(success=False, score=0.0, detail=f"{BROKEN_TEST}: {target.hidden.why}", outcome="broken_test")
        if program is None:
            return Grade(success=False, score=0.0, detail="no program", outcome="no_program")
        whole = _whole(target, self._tested_program(state.data))
        report = _judge(self.box, whole, target.hidden, self.hidden_s)
        if report.outcome == "timeout" and target.reference:
            longer = REFERENCE_FACTOR * _reference_s(self.box, target)
            if longer > self.hidden_s:
                report = _judge(self.box, whole, target.hidden, longer)
        success = report.outcome == "pass"
        first = next((text for text, fine in zip(report.shown, report.passed, strict=True) if not fine), "")
        detail = "" if success else (report.detail or first)[:500]
        if not success and (why := detail if report.outcome == "broken_test" else _broken(self.box, target)):
            return Grade(success=False, score=0.0, detail=f"{BROKEN_TEST}: {why}", outcome="broken_test")
        return Grade(success=success, score=float(success), detail=detail, outcome=report.outcome)


# --------------------------------------------------------------------------- programs and tests


@lru_cache(maxsize=1)
def _box() -> PythonSandbox:
    """Returns the sandbox shared by all tasks of the process; its server starts when a program is run."""
    return PythonSandbox(memory_mb=1024)


def _understand(
    action: str, target: Target, language: str, also: Set[str] = frozenset()
) -> tuple[str | None, tuple[str, ...]]:
    """Returns the program of an answer, including names in `also` that tests use, and the tests below it."""
    entry, signature = target.entry, target.signature
    if language == "rust":
        return rust_program(action, entry, signature), rust_suite.written(action, entry)
    return python_program(action, entry, also, signature), asserts(action, entry)


def _whole(target: Target, program: str) -> str:
    """Returns a program preceded by what its prompt defines, as it is always run."""
    if isinstance(target.hidden, RustSuite):
        return rust_source.with_preamble(target.preamble, program, target.entry)
    return python_source.with_preamble(target.preamble, program)


def _judge(box: PythonSandbox, program: str, suite: Hidden, wall_s: float) -> Report:
    if isinstance(suite, BrokenSuite):
        return Report(outcome="broken_test", passed=(), shown=(), detail=suite.why)
    if isinstance(suite, RustSuite):
        return rust_suite.judge(program, suite, wall_s)
    limits = Limits(cpu_s=max(1, round(wall_s)), wall_s=wall_s, max_chars=4 << 20)
    if isinstance(suite, PlusSuite):
        return plus_suite.judge(box, program, suite, limits)
    return python_suite.judge(box, program, suite, limits)


@lru_cache(maxsize=1024)
def _broken(box: PythonSandbox, target: Target) -> str:
    """Says why no program can pass a published test; "" if one may."""
    limits = Limits(cpu_s=round(REFERENCE_S), wall_s=REFERENCE_S, max_chars=4 << 20)
    if not isinstance(target.hidden, Suite):
        return ""
    if why := python_suite.broken(box, target.hidden, limits):
        return why
    if not target.reference:
        return ""
    report = python_suite.judge(box, target.reference, target.hidden, limits)
    return "" if report.outcome == "pass" else f"its reference fails it: {report.detail or report.outcome}"


def _reference_s(box: PythonSandbox, target: Target) -> float:
    """Measures the seconds that the reference takes on the hidden tests, limited by `REFERENCE_S`."""
    began = time.monotonic()
    _judge(box, target.reference, target.hidden, REFERENCE_S)
    return time.monotonic() - began


def _feedback(suite: Hidden, report: Report) -> str:
    """Describes what passed and what failed with which value, as the next prompt shows it."""
    if report.outcome == "compile_error":
        return f"It does not compile:\n{report.detail}"
    if isinstance(suite, PlusSuite):
        texts = [f"{suite.entry}(*{arguments})" for arguments in suite.arguments]
    elif isinstance(suite, RustSuite):
        texts = [check.render(suite.entry) for check in suite.checks]
    else:
        assert isinstance(suite, Suite)
        texts = [check.text for check in suite.checks]
    fine = [text for text, passed in zip(texts, report.passed, strict=True) if passed]
    wrong = [
        f"{text}  {'//' if isinstance(suite, RustSuite) else '#'} {shown[:200]}"
        for text, passed, shown in zip(texts, report.passed, report.shown, strict=False)
        if not passed
    ]
    parts = [("Tests passed:", fine), ("Tests failed:", wrong)]
    text = "\n".join(f"{head}\n" + "\n".join(lines) for head, lines in parts if lines)
    ended = "" if report.outcome in ("pass", "fail") else f"\nThe program ended with: {report.detail or report.outcome}"
    return text + ended
