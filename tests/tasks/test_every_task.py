"""Rules of `Task` that every option of conf/task/ keeps, whatever it is about."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from symphony.plan.compose import task
from symphony.types import State, SymphonyError, Task
from tests.shared_data import DATA

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
every_task = pytest.mark.parametrize("option", OPTIONS)


@cache
def made(option: str, seed: int = 3) -> Task:
    return task([f"task={option}", "problems=2", f"seed={seed}"], conf=CONF, data=DATA)


@cache
def begun(option: str) -> tuple[Task, State]:
    """A task at the start of its first problem; skips where its data are not at hand."""
    try:
        one = made(option)
        return one, one.reset(one.problems()[0])
    except (SymphonyError, OSError) as error:
        return pytest.skip(f"the data of {option} are not at hand ({str(error)[:80]})")


@every_task
def test_the_same_options_give_the_same_problems_each_under_its_own_id(option: str) -> None:
    begun(option)
    first, again = made(option).problems(), made.__wrapped__(option).problems()
    assert [(one.id, one.prompt) for one in first] == [(one.id, one.prompt) for one in again]
    assert len({one.id for one in first}) == len(first) == 2


@every_task
def test_problems_of_another_seed_have_another_id_or_are_the_same(option: str) -> None:
    """An id stands for one problem: the report takes runs of equal ids for runs of one problem."""
    begun(option)
    own = {one.id: one.prompt for one in made(option, 3).problems()}
    other = {one.id: one.prompt for one in made(option, 4).problems()}
    assert {id for id in own.keys() & other.keys() if own[id] != other[id]} == set()


@every_task
def test_a_start_is_no_end_and_no_success(option: str) -> None:
    one, start = begun(option)
    assert not start.done
    assert not one.grade(one.problems()[0], start).success


@every_task
def test_text_without_an_action_holds_none(option: str) -> None:
    one, _ = begun(option)
    assert one.parse("") is None


@every_task
def test_a_step_changes_no_state_and_repeats_itself(option: str) -> None:
    one, start = begun(option)
    after = one.step(start, "dance[tango]")
    assert one.step(start, "dance[tango]") == after
    assert start == one.reset(one.problems()[0])


@every_task
def test_every_prompt_ends_with_the_user(option: str) -> None:
    one, _ = begun(option)
    problem = one.problems()[0]
    for messages in (one.prompts.expansion(problem, (), ()), one.prompts.evaluation(problem, (), ())):
        assert messages[-1].role == "user"
        assert messages[-1].content
    assert one.prompts.digest


@every_task
def test_an_answer_that_is_handed_in_is_an_end_that_can_be_graded(option: str) -> None:
    one, state = begun(option)
    problem = one.problems()[0]
    for action in one.submission("no such answer"):
        state = one.step(state, action)
    grade = one.grade(problem, state)
    assert not grade.success
    assert 0 <= grade.score <= 1
