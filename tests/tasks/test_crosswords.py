"""Mini crosswords: words that cross, the three shares of Tree of Thoughts, and no word about the solution."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.tasks.planning.crosswords import OPEN, PLACES, SIDE, Crosswords, fill, shares, words
from symphony.tasks.repeats import NOTICE
from symphony.tasks.wording import read_prompts
from symphony.types import Problem, State, SymphonyError
from tests.shared_data import DATA, needs

TASK = Crosswords(count=1)
ROWS = ("HEART", "EMBER", "ABUSE", "RESIN", "TREND")
SOLUTION = "".join(ROWS)
EMPTY = OPEN * SIDE * SIDE
CLUES = [f"Clue {number}" for number in range(10)]
GAME = [CLUES, list(SOLUTION)]
PROBLEM = Problem(id="crossword-0", prompt="h1: ...", target=SOLUTION)
RIGHT = [f"fill[h{number}, {word.lower()}]" for number, word in enumerate(ROWS, 1)]


def play(actions: Iterable[str], task: Crosswords = TASK, problem: Problem = PROBLEM) -> State:
    state = task.reset(problem)
    for action in actions:
        state = task.step(state, action)
    return state


def written(folder: Path, content: object) -> Path:
    (folder / "planning").mkdir()
    (folder / "planning" / "mini_crosswords.json").write_text(json.dumps(content))
    return folder


# --------------------------------------------------------------------------- the board


def test_a_word_fills_its_row_or_its_column():
    board, _ = fill(fill(EMPTY, "h1, heart")[0], "v4, resin")
    assert [board[at : at + SIDE] for at in range(0, 25, SIDE)] == ["HEART", "___E_", "___S_", "___I_", "___N_"]


def test_a_word_replaces_letters_that_it_does_not_fit():
    board, _ = fill(fill(EMPTY, "h1, heart")[0], "v1, ember")
    assert words(board)["h1"] == "EEART"


@pytest.mark.parametrize(
    "text", ["h1, heart", "H1,HEART", "h1. Heart", "h1: heart", 'h1, "heart"', "h1 heart", "(h1) heart."]
)
def test_a_word_is_read_in_any_usual_form(text):
    assert fill(EMPTY, text) == (f"HEART{EMPTY[SIDE:]}", "")


@pytest.mark.parametrize(
    ("action", "why"),
    [
        ("fill[h6, heart]", "the form is fill[h1, heart]"),
        ("fill[heart]", "the form is fill[h1, heart]"),
        ("fill[]", "the form is fill[h1, heart]"),
        ("write[h1, heart]", "the form is fill[h1, heart]"),
        ("fill[h1, hearts]", "the length of HEARTS is 6, not 5"),
        ("fill[h1, a]", "the length of A is 1, not 5"),
        ("fill[h1, he art]", "HE ART is not a word of the letters A to Z alone"),
        ("fill[h1, h\u00e9art]", "H\u00c9ART is not a word of the letters A to Z alone"),
    ],
)
def test_what_is_not_a_word_of_five_letters_changes_nothing_and_the_reason_is_told(action, why):
    state = play(["fill[v1, heart]", action])
    assert state.observation.startswith(f"Not possible: {why}")
    assert (state.invalid, state.data.board) == (True, play(["fill[v1, heart]"]).data.board)


def test_the_board_is_told_with_what_each_open_clue_has():
    assert play(["fill[h1, heart]"]).observation == (
        "Board:\nHEART\n_____\n_____\n_____\n_____\n"
        "Open: h2 _____, h3 _____, h4 _____, h5 _____, v1 H____, v2 E____, v3 A____, v4 R____, v5 T____."
    )


def test_a_word_that_is_filled_in_again_is_told_so_where_a_run_asks_for_it():
    for repeats, noticed in (("told", True), ("official", False)):
        task = Crosswords(count=1, repeats=repeats)  # type: ignore[arg-type]
        assert (NOTICE in play([RIGHT[0]] * 3, task).observation) == noticed
        assert NOTICE not in play(RIGHT[:2], task).observation


# --------------------------------------------------------------------------- ends and rewards


def test_five_right_rows_are_a_success():
    state = play(RIGHT)
    assert (state.terminated, state.truncated, state.reward) == (True, False, 1.0)
    grade = TASK.grade(PROBLEM, state)
    assert (grade.success, grade.score, grade.detail) == (True, 1.0, "25 of 25 letters, 10 of 10 words")
    assert TASK.step(state, "fill[h1, tread]") is state


@pytest.mark.parametrize(("share", "earned"), [("words", 8 / 10), ("letters", 24 / 25), ("game", 0.0)])
def test_a_wrong_letter_costs_its_two_words_one_letter_and_the_game(share, earned):
    task = Crosswords(count=1, reward=share)
    state = play(["fill[h1, heard]", *RIGHT[1:]], task)
    assert state.terminated
    assert state.reward == pytest.approx(earned)
    grade = task.grade(PROBLEM, state)
    assert not grade.success
    assert grade.score == pytest.approx(earned)


def test_a_board_that_is_not_full_is_graded_as_it_is_but_a_cut_episode_has_earned_nothing():
    state = play([RIGHT[0]] * 10)
    assert (state.truncated, state.reward) == (True, 0.0)
    assert TASK.grade(PROBLEM, state).score == pytest.approx(1 / 10)


@given(st.integers(0, 10**6))
def test_the_shares_are_those_of_tree_of_thoughts(seed):
    """Counted square by square and line by line, as its environment does."""
    rng = random.Random(seed)
    board = "".join(letter if rng.random() < 0.9 else rng.choice("ABC_") for letter in SOLUTION)
    lines = [board[at * 5 : at * 5 + 5] == SOLUTION[at * 5 : at * 5 + 5] for at in range(5)]
    lines += [board[at::5] == SOLUTION[at::5] for at in range(5)]
    letters = [one == other for one, other in zip(board, SOLUTION, strict=True)]
    assert shares(board, SOLUTION) == {
        "words": pytest.approx(sum(lines) / 10),
        "letters": pytest.approx(sum(letters) / 25),
        "game": float(board == SOLUTION),
    }


def random_actions(seed: int) -> Sequence[str]:
    rng = random.Random(seed)
    return [f"fill[{rng.choice(list(PLACES))}, {rng.choice(ROWS)}]" for _ in range(10)]


@given(st.integers(0, 10**6))
def test_without_feedback_the_same_actions_show_the_same_whatever_the_solution(seed):
    task = Crosswords(count=1, feedback="none")
    for actions in (RIGHT, random_actions(seed)):
        own, other = (play(actions, task, Problem(id="p", prompt="", target=target)) for target in (SOLUTION, "Z" * 25))
        assert own == other
        assert (own.done, own.reward) == (True, None)


@given(st.integers(0, 10**6))
def test_before_the_end_the_same_actions_show_the_same_whatever_the_solution(seed):
    states = [TASK.reset(Problem(id="p", prompt="", target=target)) for target in (SOLUTION, "Z" * 25)]
    for action in random_actions(seed):
        states = [TASK.step(state, action) for state in states]
        own, other = (dataclasses.replace(state, data=None) for state in states)
        assert own == other or own.terminated


@given(st.integers(0, 10**6))
def test_a_full_board_ends_whether_right_or_wrong(seed):
    state = play(random_actions(seed))
    assert state.terminated == (OPEN not in state.data.board)
    assert state.done


# --------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(ROWS),
        "H E A R T\ne m b e r\nA B U S E\nR E S I N\nT R E N D",
        "Rows:\n" + "\n".join(f"- {row}" for row in ROWS),
        "\n".join(f"h{number}. {row}" for number, row in enumerate(ROWS, 1)),
        "TREND\n" + "\n".join(ROWS),
        "\n".join(RIGHT),
    ],
)
def test_five_rows_or_actions_are_handed_in(text):
    assert TASK.grade(PROBLEM, play(TASK.submission(text))).success


def test_the_problem_is_its_clues_by_their_names(tmp_path):
    (problem,) = Crosswords(count=1, data=written(tmp_path, [GAME])).problems()
    assert problem.prompt.splitlines()[::5] == ["h1: Clue 0", "v1: Clue 5"]
    assert (problem.id, problem.target) == ("crossword-0", SOLUTION)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "found {}, allowed: a list of games"),
        ([], "found no rows"),
        ([GAME, 7], "game 1: found 7"),
        ([[CLUES, list(SOLUTION), []]], "game 0: found "),
        ([[CLUES[1:], list(SOLUTION)]], "game 0: found "),
        ([[CLUES, SOLUTION]], "game 0: found "),
        ([[[*CLUES[1:], " "], list(SOLUTION)]], "game 0: clues.9: found ' '"),
        ([[[*CLUES[1:], 7], list(SOLUTION)]], "game 0: clues.9: found 7"),
        ([[CLUES, [*SOLUTION[1:], "AB"]]], "game 0: letters.24: found 'AB', allowed: one letter"),
        ([[CLUES, [*SOLUTION[1:], "_"]]], "game 0: letters.24: found '_', allowed: one letter"),
        ([[CLUES, [*SOLUTION[1:], None]]], "game 0: letters.24: found null"),
    ],
)
def test_a_broken_file_is_refused_with_its_game(content, told, tmp_path):
    data = written(tmp_path, content)
    with pytest.raises(SymphonyError) as raised:
        Crosswords(count=None, data=data).problems()
    assert "mini_crosswords.json" in str(raised.value)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_worked_example_is_what_the_environment_says():
    (shot,) = read_prompts("crosswords", "v1").expand_shots
    state = TASK.reset(PROBLEM)
    for turn in shot.path:
        state = TASK.step(state, turn.action)
        assert state.observation == turn.observation
    last = TASK.parse(shot.answer)
    assert last is not None
    assert shares(TASK.step(state, last.action).data.board, SOLUTION)["words"] == pytest.approx(3 / 10)


@needs("planning/mini_crosswords.json")
def test_the_published_games_are_solved_by_their_solutions_in_rows_and_in_columns():
    task = Crosswords(count=None, data=DATA)
    problems = task.problems()
    assert len(problems) == 20
    for problem in problems:
        answers = words(problem.target)
        for side in "hv":
            state = play([f"fill[{clue}, {answers[clue]}]" for clue in PLACES if clue[0] == side], task, problem)
            assert task.grade(problem, state).success
