"""The game of 24: exact arithmetic, only the numbers that are left, and formulas that are handed in."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.tasks.planning.game24 import Game24, combined, read
from symphony.types import Problem, State, SymphonyError
from tests.shared_data import DATA, needs

TASK = Game24(count=1)
HEAD = "Rank,Puzzles,AMT (s)\n"


def puzzle(*numbers: int) -> Problem:
    return Problem(id="p", prompt=f"Numbers: {' '.join(map(str, numbers))}", target=numbers)


def play(problem: Problem, *actions: str, task: Game24 = TASK) -> State:
    state = task.reset(problem)
    for action in actions:
        state = task.step(state, action)
    return state


def left(*numbers: object) -> tuple[Fraction, ...]:
    return tuple(sorted(Fraction(str(number)) for number in numbers))


@pytest.mark.parametrize(
    "text",
    ["8 - 4", "8-4", " 8 \u2212 4 ", "8 - 4 = 4", "8 - 4 = 4 (left: 4 4 6)"],
)
def test_two_numbers_are_replaced_by_their_result(text):
    assert combined(left(4, 4, 6, 8), text) == left(4, 4, 6)


@pytest.mark.parametrize(
    ("text", "result"), [("5 / 2", "5/2"), ("3 x 5", 15), ("3 \u00d7 5", 15), ("2 \u00f7 5", "2/5")]
)
def test_arithmetic_is_exact_under_any_sign(text, result):
    operands = {"5 / 2": (3,), "3 x 5": (2,), "3 \u00d7 5": (2,), "2 \u00f7 5": (3,)}[text]
    assert combined(left(2, 3, 5), text) == left(result, *operands)


def test_a_fraction_can_be_combined():
    assert combined(left("1/2", 12), "12 / 1/2") == left(24)


@pytest.mark.parametrize(
    "text", ["9 - 4", "6 + 6", "4", "", "4 + 4 + 6", "4 ** 4", "4 % 4", "a - b", "4 / 0", "0 / 0", "4 / 1/0", "1/0 + 4"]
)
def test_what_is_not_two_of_the_numbers_left_is_not_possible(text):
    assert combined(left(4, 4, 6, 8), text) is None


def test_24_as_the_last_number_is_a_success_and_any_other_a_failure():
    right = play(puzzle(4, 4, 6, 8), "combine[4 + 8]", "combine[6 - 4]", "combine[2 * 12]")
    wrong = play(puzzle(4, 4, 6, 8), "combine[4 + 8]", "combine[6 - 4]", "combine[12 - 2]")
    assert (right.terminated, right.reward, TASK.grade(puzzle(), right).success) == (True, 1.0, True)
    assert (wrong.terminated, wrong.reward, TASK.grade(puzzle(), wrong).success) == (True, 0.0, False)


def test_24_with_a_number_left_over_is_no_success():
    state = play(puzzle(2, 9, 10, 12), "combine[12 * 2]")
    assert not state.done
    assert not TASK.grade(puzzle(), state).success


def test_impossible_actions_change_nothing_but_use_the_horizon():
    state = play(puzzle(4, 4, 6, 8), *["combine[9 - 1]"] * 6)
    assert (state.truncated, state.invalid, state.reward) == (True, True, 0.0)
    assert state.data.left == left(4, 4, 6, 8)


def test_without_feedback_no_reward_is_shown():
    task = Game24(count=1, feedback="none")
    assert play(puzzle(12, 12), "combine[12 + 12]", task=task).reward is None


@pytest.mark.parametrize(
    "formula",
    [
        "(4 + 8) * (6 - 4) = 24",
        "Answer: (4+8)*(6-4)",
        "I get ((4 + 8) \u00d7 (6 \u2212 4)) = 24.",
        "4 * 4\n(4 + 8) * (6 - 4)",
    ],
)
def test_a_formula_is_handed_in_as_its_actions(formula):
    assert TASK.grade(puzzle(), play(puzzle(4, 4, 6, 8), *TASK.submission(formula))).success


@pytest.mark.parametrize("formula", ["4 * 6 = 24", "24", "4 * 4 + 8 = 24", "(4 + 8) * (6 - 4) * 1", "(12) * 2"])
def test_a_formula_of_other_numbers_is_no_success(formula):
    assert not TASK.grade(puzzle(), play(puzzle(4, 4, 6, 8), *TASK.submission(formula))).success


@given(st.text(alphabet="0123456789+-*/() =.\n", max_size=60))
def test_any_formula_is_handed_in_without_an_error(text):
    play(puzzle(4, 4, 6, 8), *TASK.submission(text))


@given(st.integers(0, 10**6))
def test_the_numbers_left_are_those_of_the_formula_so_far(seed):
    rng = random.Random(seed)
    state = TASK.reset(puzzle(*(rng.randint(1, 13) for _ in range(4))))
    while not state.done:
        first, second = rng.sample(state.data.left, 2)
        state = TASK.step(state, f"combine[{first} {rng.choice('+-*')} {second}]")
        assert not state.invalid
    assert state.data.steps == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "24.csv"),
        ("Puzzles\n1 2 3 4\n", "24.csv:2: Rank"),
        (f"{HEAD}0,1 1 4 6,4\n", "24.csv:2: Rank"),
        (f"{HEAD}1,1 1 4 6,4\n1,1 1 4 8,4\n", "24.csv:3: Rank: found 1 again"),
        (f"{HEAD}1,1 1 4,4\n", "24.csv:2: Puzzles"),
        (f"{HEAD}1,1 1 4 x,4\n", "24.csv:2: Puzzles"),
        (f"{HEAD}1\n", "24.csv:2: Puzzles"),
        (f'{HEAD}1,"1 1 4 6,4\n', "24.csv"),
        ("<html></html>\n", "24.csv"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(text, named, tmp_path):
    (tmp_path / "planning").mkdir()
    (tmp_path / "planning" / "24.csv").write_text(text)
    with pytest.raises(SymphonyError) as error:
        Game24(count=1, first=1, data=tmp_path).problems()
    assert named in str(error.value)


@needs("planning/24.csv")
def test_the_published_file_has_the_hundred_puzzles_of_tree_of_thoughts():
    problems = Game24(count=100, data=DATA).problems()
    assert [problem.id for problem in problems] == [f"24-{rank}" for rank in range(901, 1001)]
    assert len(list(read(Path(DATA) / "planning" / "24.csv"))) > 1000
