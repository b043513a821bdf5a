"""Rules of the agent scheduler (paper Eq. 1)."""

from __future__ import annotations

import math
import random

import pytest

from symphony.agents.scheduler import UCB, ArmStats, Fixed, Held, RoundRobin, Scheduler, Uniform
from symphony.types import Phase, SymphonyError

RNG = random.Random(0)
AT = (Phase.EXPAND, 0)


def picks(scheduler: Scheduler, arms: list[ArmStats], count: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(count):
        pick = scheduler.pick(arms, random.Random(len(chosen)), *AT)
        assert pick is not None
        arms[pick.arm].calls += 1
        chosen.append(pick.arm)
    return chosen


@pytest.mark.parametrize("form", ["outside", "inside"])
def test_ucb_first_picks_are_in_pool_order(form):
    assert picks(UCB(form=form), [ArmStats() for _ in range(3)], 3) == [0, 1, 2]


def test_four_picks_on_a_fresh_pool_of_three_count_two_one_one():
    arms = [ArmStats() for _ in range(3)]
    picks(UCB(), arms, 4)
    assert [arm.calls for arm in arms] == [2, 1, 1]


def test_ucb_bonus_outside_the_root_equals_eq_1():
    arms = [ArmStats(calls=3, credits=2, reward=1.0), ArmStats(calls=1, credits=1, reward=0.2)]
    pick = UCB(alpha=20).pick(arms, RNG, *AT)
    assert pick is not None
    assert pick.means == (0.5, 0.2)
    assert pick.bonuses == pytest.approx((20 * math.sqrt(math.log(4) / 4), 20 * math.sqrt(math.log(4) / 2)))
    assert pick.arm == 1


def test_ucb_bonus_inside_the_root_equals_the_published_code():
    arms = [ArmStats(calls=3, credits=2, reward=1.0), ArmStats(calls=1, credits=1, reward=0.2)]
    pick = UCB(alpha=20, form="inside").pick(arms, RNG, *AT)
    assert pick is not None
    assert pick.bonuses == pytest.approx((math.sqrt(20 * math.log(4) / 4), math.sqrt(20 * math.log(4) / 2)))


def test_the_two_forms_can_disagree():
    arms = [ArmStats(calls=40, credits=10, reward=9.0), ArmStats(calls=30, credits=10, reward=0.0)]
    outside, inside = UCB(form="outside").pick(arms, RNG, *AT), UCB(form="inside").pick(arms, RNG, *AT)
    assert outside is not None
    assert inside is not None
    # outside: .9 + 6.438 = 7.338 < 7.404; inside: .9 + 1.440 = 2.340 > 1.656
    assert (outside.arm, inside.arm) == (1, 0)


def test_mean_per_call_divides_by_all_calls():
    arms = [ArmStats(calls=4, credits=1, reward=1.0), ArmStats(calls=4)]
    pick = UCB(mean="per_call").pick(arms, RNG, *AT)
    assert pick is not None
    assert pick.means == (0.25, 0.0)


def test_ties_go_to_the_first_in_the_pool():
    pick = UCB().pick([ArmStats(calls=2), ArmStats(calls=2)], RNG, *AT)
    assert pick is not None
    assert pick.arm == 0


def test_round_robin_takes_each_in_turn():
    assert picks(RoundRobin(), [ArmStats() for _ in range(3)], 7) == [0, 1, 2, 0, 1, 2, 0]


def test_fixed_takes_one():
    assert set(picks(Fixed(arm=2), [ArmStats() for _ in range(3)], 5)) == {2}


def test_uniform_reaches_every_agent_about_equally():
    arms = [ArmStats() for _ in range(3)]
    picks(Uniform(), arms, 600)
    assert all(150 < arm.calls < 250 for arm in arms)


def test_uniform_depends_on_the_generator_only():
    arms = [ArmStats(), ArmStats()]
    first = [Uniform().pick(arms, random.Random(seed), *AT) for seed in range(20)]
    assert first == [Uniform().pick(arms, random.Random(seed), *AT) for seed in range(20)]
    assert len({pick.arm for pick in first if pick}) == 2


@pytest.mark.parametrize("scheduler", [UCB(), Uniform(), RoundRobin()])
def test_a_suspended_agent_is_not_picked(scheduler):
    arms = [ArmStats(suspended=True), ArmStats(calls=50), ArmStats(suspended=True)]
    assert set(picks(scheduler, arms, 5)) == {1}


@pytest.mark.parametrize("scheduler", [UCB(), Uniform(), RoundRobin(), Fixed(arm=1), Held(1, UCB())])
def test_nobody_is_picked_when_all_are_suspended(scheduler):
    assert scheduler.pick([ArmStats(suspended=True), ArmStats(suspended=True)], RNG, *AT) is None


def test_fixed_takes_no_other_agent_for_a_suspended_one():
    assert Fixed(arm=0).pick([ArmStats(suspended=True), ArmStats()], RNG, *AT) is None


def test_an_agent_is_held_until_it_is_suspended_and_then_the_other_scheduler_picks():
    held = Held(1, RoundRobin())
    assert picks(held, [ArmStats(), ArmStats(calls=9), ArmStats(calls=3)], 3) == [1, 1, 1]
    arms = [ArmStats(calls=5), ArmStats(suspended=True), ArmStats(calls=3)]
    pick = held.pick(arms, RNG, *AT)
    assert pick is not None
    assert pick.arm == 2


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: UCB(alpha=-1), "scheduler.alpha"),
        (lambda: UCB(form="beside"), "scheduler.form"),  # type: ignore[arg-type]
        (lambda: UCB(mean="median"), "scheduler.mean"),  # type: ignore[arg-type]
        (lambda: Uniform(scope="week"), "scheduler.scope"),  # type: ignore[arg-type]
        (lambda: Fixed(arm=-1), "scheduler.arm"),
        (lambda: Fixed(arm=2).pick([ArmStats()], RNG, *AT), "scheduler.arm"),
    ],
)
def test_an_impossible_value_is_refused_with_its_key(make, key):
    with pytest.raises(SymphonyError, match=key):
        make()
