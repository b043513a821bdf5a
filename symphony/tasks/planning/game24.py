"""The game of 24 (Yao et al. 2023): combine four numbers, two at a time, until 24 is left.

    Numbers: 4 4 6 8
    combine[4 + 8]   -> Left: 4 6 12.
    combine[6 - 4]   -> Left: 2 12.
    combine[2 * 12]  -> Left: 24.

Arithmetic is exact; a fraction is written as 3/2.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_actions, split_action
from symphony.fields import Count, check_fields
from symphony.tasks import datafiles
from symphony.tasks.feedback import visible
from symphony.tasks.wording import read_prompts
from symphony.types import Feedback, Grade, Problem, Proposal, State, SymphonyError

GOAL = Fraction(24)
OPERATIONS = 3
"""How many combine four numbers."""
FILE = "24.csv"
_NUMBER = r"-?\d+(?:/\d+)?"
_SPACED = re.compile(rf"\s*({_NUMBER})\s+([-+*/])\s+({_NUMBER})\s*(?:=.*)?")
_TIGHT = re.compile(r"\s*(\d+)([-+*/])(\d+)\s*(?:=.*)?")
_SIGNS = str.maketrans({"\u00d7": "*", "x": "*", "\u00f7": "/", "\u2212": "-", "\u2013": "-"})
_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_FORMULA = re.compile(r"[-+*/() \d]*\d[-+*/() \d]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The numbers left (sorted), and the actions so far."""

    left: tuple[Fraction, ...]
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Game24:
    """The game of 24; the reward is 1 if the last number left is 24, else 0.

    Source: Yao et al. 2023 (Tree of Thoughts, arXiv 2305.10601), which tests on the puzzles of ranks 901 to 1000.

    Args:
        count: How many puzzles; None means all that follow.
        first: Rank of the first puzzle; ranks order the puzzles by how few people solve them.
        max_steps: Horizon in actions, impossible ones included.
        feedback: Whether a search sees the reward.
        data: Folder of the data sets.
        wording: Version of the prompts, or a prompt file of your own.
    """

    count: Count | None
    first: Count = 901
    max_steps: Count = 6
    feedback: Feedback = "oracle"
    data: Path = Path("data")
    wording: str = "v1"
    verbs: ClassVar[tuple[str, ...]] = ("combine",)
    name: str = "game24"

    def __post_init__(self) -> None:
        check_fields("task", self)
        read_prompts(self.name, self.wording)  # reports errors in the file right away

    @property
    def prompts(self) -> ChatPrompts:
        return read_prompts(self.name, self.wording)

    def files(self) -> tuple[Path, ...]:
        """Returns the file the problems are read from.

        Raises:
            SymphonyError: It is missing.
        """
        return (datafiles.find(self.data, "planning", (FILE,), self.name),)

    def problems(self) -> Sequence[Problem]:
        (path,) = self.files()
        puzzles = [(rank, numbers) for rank, numbers in read(path) if rank >= self.first]
        chosen = datafiles.items(path, puzzles, 0, self.count)
        return self.prompts.apart(
            [
                Problem(id=f"24-{rank}", prompt=f"Numbers: {' '.join(map(str, numbers))}", target=numbers)
                for rank, numbers in chosen
            ]
        )

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=Data(left=tuple(sorted(map(Fraction, problem.target)))))

    def parse(self, text: str) -> Proposal | None:
        return parse_proposal(text, self.verbs)

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = state.data
        verb, argument = split_action(action)
        left = combined(data.left, argument) if verb == "combine" else None
        after = Data(left=data.left if left is None else left, steps=data.steps + 1)
        over = len(after.left) == 1
        truncated = not over and after.steps >= self.max_steps
        shown = f"Left: {' '.join(map(str, after.left))}."
        return State(
            observation=f"Not possible. {shown}" if left is None else shown,
            reward=visible(float(over and after.left[0] == GOAL), self.feedback, over or truncated),
            terminated=over,
            truncated=truncated,
            invalid=left is None,
            data=after,
        )

    def failure_key(self, state: State) -> str:
        return " ".join(map(str, state.data.left))

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Reads one action per line, or a formula such as (4 + 8) * (6 - 4) = 24."""
        if parse_proposal(prediction, self.verbs, bare=True):
            return read_actions(prediction, self.parse)
        formulas = [actions for line in prediction.splitlines() if len(actions := _steps(line)) == OPERATIONS]
        return formulas[-1] if formulas else (prediction.strip(),)

    def grade(self, problem: Problem, state: State) -> Grade:
        success = state.data.left == (GOAL,)
        return Grade(success=success, score=float(success), detail=f"left {' '.join(map(str, state.data.left))}")


def read(path: Path) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Reads the published file: a rank and four numbers of each puzzle.

    Raises:
        SymphonyError: A line is of another form, or a rank occurs twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        known: set[int] = set()
        for row in rows:
            where = f"{path}:{rows.line_num}"
            rank, numbers = row.get("Rank") or "", (row.get("Puzzles") or "").split()
            if not re.fullmatch(r"[1-9][0-9]{0,5}", rank):
                raise SymphonyError(f"{where}: Rank: found {rank!r}, allowed: a whole number from 1 on")
            if int(rank) in known:
                raise SymphonyError(f"{where}: Rank: found {rank} again, allowed: once")
            if len(numbers) != 4 or not all(re.fullmatch("[1-9][0-9]?", number) for number in numbers):
                found = row.get("Puzzles")
                raise SymphonyError(f"{where}: Puzzles: found {found!r}, allowed: four numbers from 1 to 99")
            known.add(int(rank))
            yield int(rank), tuple(map(int, numbers))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SymphonyError(f"{path}: found {error}, allowed: a CSV file with the columns Rank and Puzzles") from error


def combined(left: tuple[Fraction, ...], text: str) -> tuple[Fraction, ...] | None:
    """Returns the numbers after combining two of them, e.g. by "13 - 9"; None if that is not possible."""
    text = text.translate(_SIGNS)
    match = _SPACED.fullmatch(text) or _TIGHT.fullmatch(text)
    if match is None:
        return None
    try:
        first, second = Fraction(match[1]), Fraction(match[3])
        result = _apply(match[2], first, second)
    except ZeroDivisionError:
        return None
    rest = list(left)
    for number in (first, second):
        if number not in rest:
            return None
        rest.remove(number)
    return tuple(sorted([*rest, result]))


def _apply(sign: str, first: Fraction, second: Fraction) -> Fraction:
    match sign:
        case "+":
            return first + second
        case "-":
            return first - second
        case "*":
            return first * second
        case _:
            return first / second


def _steps(line: str) -> tuple[str, ...]:
    """Returns the actions that compute a line's formula; () if it holds none."""
    text = line.translate(_SIGNS).partition("=")[0]
    found = max(_FORMULA.findall(text), key=len, default="")
    try:
        actions: list[str] = []
        _value(ast.parse(found.strip(), mode="eval").body, actions)
        return tuple(actions)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return ()


def _value(node: ast.expr, actions: list[str]) -> Fraction:
    """Computes an expression, and appends the action of each of its operations."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return Fraction(node.value)
    if not isinstance(node, ast.BinOp) or type(node.op) not in _OPERATORS:
        raise ValueError("another kind of expression")
    first, second = _value(node.left, actions), _value(node.right, actions)
    sign = _OPERATORS[type(node.op)]
    actions.append(f"combine[{first} {sign} {second}]")
    return _apply(sign, first, second)
