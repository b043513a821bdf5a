"""Rules that every task keeps."""

import dataclasses
import random

import pytest

from symphony.embedded import episodes
from symphony.tasks.mini.gridworld import GridWorld
from symphony.tasks.mini.mini_code import MiniCode
from symphony.tasks.mini.mini_qa import MiniQA
from symphony.tasks.mini.mini_shop import MiniShop
from symphony.types import State, SymphonyError, Task

TASKS = (GridWorld, MiniQA, MiniShop, MiniCode)


@pytest.fixture(params=TASKS, ids=lambda task: task.__name__)
def make(request):
    return request.param


def expert_states(task: Task, wrong: float = 0.0, seed: int = 0) -> list[State]:
    problem = task.problems()[0]
    attempt = episodes.play(random.Random(seed), task, problem, wrong=wrong, slip=0.0)
    states = [task.reset(problem)]
    for turn in attempt.turns:
        states.append(task.step(states[-1], turn.action))
    return states


def test_the_same_seed_gives_the_same_problems(make):
    assert make(seed=3, count=4).problems() == make(seed=3, count=4).problems()


def test_another_seed_gives_other_problems(make):
    first = {problem.prompt for problem in make(seed=3, count=8).problems()}
    assert first.isdisjoint(problem.prompt for problem in make(seed=4, count=8).problems())


def test_a_longer_run_begins_with_the_shorter_one(make):
    assert make(seed=3, count=6).problems()[:2] == make(seed=3, count=2).problems()


def test_test_problems_are_never_training_problems(make):
    trained = {problem.prompt for problem in make(seed=0, count=400, split="train").problems()}
    assert trained.isdisjoint(problem.prompt for problem in make(seed=0, count=200).problems())


def test_the_prompt_does_not_hold_the_target(make):
    for problem in make(seed=1, count=5).problems():
        assert "World(" not in problem.prompt


def test_the_expert_solves_every_problem(make):
    task = make(seed=11, count=25)
    for problem in task.problems():
        attempt = episodes.play(random.Random(1), task, problem, wrong=0.0, slip=0.0)
        assert task.grade(problem, attempt.state).success


def test_an_expert_that_chooses_wrong_words_fails(make):
    task = make(seed=11, count=10)
    played = [episodes.play(random.Random(1), task, p, wrong=1.0, slip=0.0) for p in task.problems()]
    assert sum(task.grade(a.problem, a.state).success for a in played) < 5  # a wild answer may hit by luck


def test_step_is_pure_and_deterministic(make):
    task = make(seed=2, count=1)
    states = expert_states(task)
    again = expert_states(make(seed=2, count=1))
    assert states == again


def test_branches_do_not_disturb_each_other(make):
    task = make(seed=2, count=1)
    before = expert_states(task)
    expert_states(task, wrong=1.0, seed=5)
    middle = len(before) // 2
    problem = task.problems()[0]
    turns = episodes.play(random.Random(0), task, problem, wrong=0.0, slip=0.0).turns
    assert task.step(before[middle], turns[middle].action) == before[middle + 1]


def test_a_terminal_state_is_absorbing(make):
    task = make(seed=2, count=1)
    last = expert_states(task)[-1]
    assert last.terminated
    assert task.step(last, "search[x]") is last


def test_reward_comes_only_at_the_end_and_only_with_an_oracle(make):
    told = expert_states(make(seed=2, count=1))
    assert [state.reward for state in told[:-1]] == [None] * (len(told) - 1)
    assert told[-1].reward == 1.0
    assert expert_states(make(seed=2, count=1, feedback="none"))[-1].reward is None


def test_nonsense_is_invalid_and_changes_nothing_but_the_clock(make):
    task = make(seed=2, count=1)
    start = task.reset(task.problems()[0])
    after = task.step(start, "dance[tango]")
    assert after.invalid
    assert not after.done


def test_the_horizon_truncates(make):
    task = make(seed=2, count=1, max_steps=2)
    state = task.reset(task.problems()[0])
    for _ in range(2):
        state = task.step(state, "dance[tango]")
    assert state.truncated


def test_an_impossible_horizon_is_refused_by_name(make):
    with pytest.raises(SymphonyError, match="max_steps: found 0"):
        make(seed=0, count=1, max_steps=0)


def test_no_problems_at_all_is_refused_by_name(make):
    with pytest.raises(SymphonyError, match="count: found 0"):
        make(seed=0, count=0).problems()


POISON = {
    MiniQA: lambda world: dataclasses.replace(world, answer="poison"),
    MiniShop: lambda world: dataclasses.replace(world, wanted=("poison",) * 3, limit=0),
    MiniCode: lambda world: dataclasses.replace(
        world, outputs=(world.outputs[0], *("poison" for _ in world.outputs[1:]))
    ),
}
"""What grading alone reads. The grid's goal is a place in the grid: who stands on it sees that the walk has ended."""


@pytest.mark.parametrize("make", POISON, ids=lambda task: task.__name__)
def test_without_feedback_the_same_actions_show_the_same_whatever_the_target(make):
    task = make(seed=2, count=4, feedback="none")
    for problem in task.problems():
        for wrong in (0.0, 1.0):
            played = episodes.play(random.Random(0), task, problem, wrong=wrong, slip=0.0)
            own, poisoned = (
                task.reset(problem),
                task.reset(dataclasses.replace(problem, target=POISON[make](problem.target))),
            )
            for turn in played.turns:
                own, poisoned = task.step(own, turn.action), task.step(poisoned, turn.action)
                assert dataclasses.replace(own, data=None) == dataclasses.replace(poisoned, data=None)
            assert own.done
            assert not task.grade(dataclasses.replace(problem, target=POISON[make](problem.target)), poisoned).success
