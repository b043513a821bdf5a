"""Mini crosswords of 5 by 5 letters (Yao et al. 2023): fill in one word after another.

    h1: What beats in a chest  ...  v5: Something that is in fashion
    fill[h1, heart] -> Board: / HEART / _____ / _____ / _____ / _____ / Open: h2 _____, ..., v1 H____, v2 E____, ...
    fill[v2, ember] -> ...

Rows are h1 to h5, columns v1 to v5. A word may replace letters of another. The episode ends when every square has a
letter, right or wrong, so the end says nothing about the solution.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_actions, split_action
from symphony.fields import Count, FromZero, check_fields
from symphony.tasks import datafiles, jsonrows
from symphony.tasks.feedback import visible
from symphony.tasks.repeats import Repeats, Seen, note_repeat
from symphony.tasks.wording import read_prompts
from symphony.types import Feedback, Grade, Problem, Proposal, State, SymphonyError

SIDE = 5
FILES = ("mini_crosswords.json", "mini0505_0_100_5.json")
OPEN = "_"
PLACES = {
    **{f"h{row + 1}": tuple(range(row * SIDE, (row + 1) * SIDE)) for row in range(SIDE)},
    **{f"v{column + 1}": tuple(range(column, SIDE * SIDE, SIDE)) for column in range(SIDE)},
}
"""Clue -> its squares, numbered row by row; in the order of the file's clues."""
_FILL = re.compile(r"\W*([hv][1-5])\W+(.*?)\W*", re.IGNORECASE)
_ROW = re.compile(r"\W*(?:h[1-5]\W+)?" + r"([a-z])[ \t|,]*" * SIDE + r"\W*", re.IGNORECASE)

_FORM = "the form is fill[h1, heart], with h1 to h5 for the rows and v1 to v5 for the columns"

Share = Literal["words", "letters", "game"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """The board row by row, 25 letters (upper case) or `OPEN`; the solution only if the search may learn the reward."""

    board: str = OPEN * SIDE * SIDE
    solution: str | None = field(default=None, repr=False)
    steps: int = 0
    seen: Seen = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crosswords:
    """Mini crosswords; success is a board that is right in every letter.

    Deviations from the published environment: an episode ends when the board is full, because an end at the right board
    alone would show the solution to a search without feedback; a cut episode has the reward 0, as in every task here.

    Source: Yao et al. 2023 (Tree of Thoughts, arXiv 2305.10601), section 4.3, and its env (letters, words and games).

    Args:
        count: How many games; None means all that follow.
        first: Position of the first game in the file.
        reward: What an end earns and a grade scores: the share of right words (of 10), of right letters (of 25), or 1
            for a game that is right in all.
        max_steps: Horizon in actions, impossible ones included.
        repeats: Whether the agent is told that an action led to the same board again ("told"; "official": no).
        feedback: Whether a search sees the reward.
        data: Folder of the data sets.
        wording: Version of the prompts, or a prompt file of your own.
    """

    count: Count | None
    first: FromZero = 0
    reward: Share = "words"
    max_steps: Count = 10
    repeats: Repeats = "official"
    feedback: Feedback = "oracle"
    data: Path = Path("data")
    wording: str = "v1"
    name: str = "crosswords"

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
        return (datafiles.find(self.data, "planning", FILES, self.name),)

    def problems(self) -> Sequence[Problem]:
        (path,) = self.files()
        games = datafiles.items(path, list(enumerate(read(path))), self.first, self.count)
        return self.prompts.apart([_problem(number, clues, solution) for number, (clues, solution) in games])

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=Data(solution=problem.target if self.feedback == "oracle" else None))

    def parse(self, text: str) -> Proposal | None:
        return parse_proposal(text, ("fill",))

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = state.data
        verb, argument = split_action(action)
        board, why = fill(data.board, argument) if verb == "fill" else (data.board, _FORM)
        full = OPEN not in board
        earned = shares(board, data.solution) if full and data.solution else None
        refused = f"Not possible: {why}.\n" if why else ""
        told = f" {_count(earned['words'])} words are right." if earned else ""
        shown, seen = note_repeat(self.repeats, data.seen, action, refused + show(board) + told)
        after = Data(board=board, solution=data.solution, steps=data.steps + 1, seen=seen)
        truncated = not full and after.steps >= self.max_steps
        return State(
            observation=shown,
            reward=visible(earned[self.reward] if earned else 0.0, self.feedback, full or truncated),
            terminated=full,
            truncated=truncated,
            invalid=bool(why),
            data=after,
        )

    def failure_key(self, state: State) -> str:
        return str(state.data.board)

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Reads one action per line, or five rows of letters such as "H E A R T" or "HEART"; the last five count."""
        if parse_proposal(prediction, ("fill",), bare=True):
            return read_actions(prediction, self.parse)
        rows = ["".join(row.groups()) for row in map(_ROW.fullmatch, prediction.splitlines()) if row]
        return tuple(f"fill[h{number}, {word}]" for number, word in enumerate(rows[-SIDE:], 1))

    def grade(self, problem: Problem, state: State) -> Grade:
        """Grades the board, full or not, as the published environment does."""
        earned = shares(state.data.board, problem.target)
        detail = f"{earned['letters'] * SIDE**2:.0f} of {SIDE**2} letters, {_count(earned['words'])} words"
        return Grade(success=earned["game"] == 1, score=earned[self.reward], detail=detail)


def fill(board: str, text: str) -> tuple[str, str]:
    """Returns the board with the word of, e.g., "h1, heart" filled in, and ""; or the same board, and why not."""
    match = _FILL.fullmatch(text)
    if match is None:
        return board, _FORM
    word = match[2].upper()
    if not re.fullmatch("[A-Z]+", word):
        return board, f"{word or 'nothing'} is not a word of the letters A to Z alone"
    if len(word) != SIDE:
        return board, f"the length of {word} is {len(word)}, not {SIDE}"
    letters = dict(zip(PLACES[match[1].lower()], word, strict=True))
    return "".join(letters.get(square, letter) for square, letter in enumerate(board)), ""


def words(board: str) -> dict[str, str]:
    """Returns what the board has at each clue."""
    return {clue: "".join(board[square] for square in squares) for clue, squares in PLACES.items()}


def shares(board: str, solution: str) -> dict[Share, float]:
    """Returns the shares of right words and letters, and 1 if all are right, else 0."""
    right = [own == other for own, other in zip(words(board).values(), words(solution).values(), strict=True)]
    letters = [own == other for own, other in zip(board, solution, strict=True)]
    return {
        "words": sum(right) / len(right),
        "letters": sum(letters) / len(letters),
        "game": float(board == solution),
    }


def show(board: str) -> str:
    """Writes the board as its rows, and what each clue that is not full has so far."""
    parts = [f"{clue} {word}" for clue, word in words(board).items() if OPEN in word]
    rows = "\n".join(board[at : at + SIDE] for at in range(0, len(board), SIDE))
    return f"Board:\n{rows}\n" + (f"Open: {', '.join(parts)}." if parts else "The board is full.")


def _count(share: float) -> str:
    return f"{share * len(PLACES):.0f} of {len(PLACES)}"


def _problem(number: int, clues: Sequence[str], solution: str) -> Problem:
    lines = [f"{place}: {clue}" for place, clue in zip(PLACES, clues, strict=True)]
    return Problem(id=f"crossword-{number}", prompt="\n".join(lines), target=solution)


def _check_letter(text: str) -> str:
    if not re.fullmatch("[A-Za-z]", text):
        raise ValueError("one letter from A to Z")
    return text.upper()


class _Game(datafiles.Row):
    clues: list[datafiles.Text]
    letters: list[Annotated[str, AfterValidator(_check_letter)]]


def read(path: Path) -> Iterator[tuple[Sequence[str], str]]:
    """Reads the published file, a list of [ten clues, 25 letters row by row]; yields clues and letters in upper case.

    Raises:
        SymphonyError: The file is of another form.
    """
    content: Any = jsonrows.parse_json(jsonrows.read_text(path), path)
    if not isinstance(content, list):
        raise SymphonyError(f"{path}: found {jsonrows.short(content)}, allowed: a list of games")
    for number, entry in enumerate(content):
        where = f"{path}: game {number}"
        sizes = [len(part) if isinstance(part, list) else 0 for part in entry] if isinstance(entry, list) else []
        if sizes != [len(PLACES), SIDE**2]:
            raise SymphonyError(f"{where}: found {jsonrows.short(entry)}, allowed: [10 clues, 25 letters]")
        game = datafiles.check(_Game, dict(zip(("clues", "letters"), entry, strict=True)), where)
        yield [" ".join(clue.split()) for clue in game.clues], "".join(game.letters)
