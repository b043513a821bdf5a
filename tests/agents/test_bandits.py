"""Rules of the schedulers beyond the paper's, each formula by a case worked out by hand, and of every scheduler."""

from __future__ import annotations

import dataclasses
import inspect
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import symphony.agents.bandits
import symphony.agents.scheduler
from symphony.agents.bandits import EXP3, CostAwareUCB, LinUCB, SlidingWindowUCB, Thompson, features, relative_costs
from symphony.agents.ridge import Ridge
from symphony.agents.scheduler import UCB, ArmStats, Fixed, Pick, Scheduler, Trial
from symphony.types import Phase, SymphonyError

RNG = random.Random(0)


def schedulers() -> list[Scheduler]:
    """One of every class of the two modules that picks and has a default for each of its fields."""
    classes: set[type[Any]] = {
        cls
        for module in (symphony.agents.scheduler, symphony.agents.bandits)
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if dataclasses.is_dataclass(cls) and hasattr(cls, "pick")
        if all(field.default is not dataclasses.MISSING for field in dataclasses.fields(cls))
    }
    return [cls() for cls in sorted(classes, key=lambda cls: cls.__name__)]


EVERY: list[Scheduler] = [
    *schedulers(),
    UCB(form="inside", mean="per_call"),
    Thompson(posterior="gaussian"),
    SlidingWindowUCB(window=7),
]
every_scheduler = pytest.mark.parametrize("scheduler", EVERY, ids=repr)


def made(scheduler: Scheduler, arms: Sequence[ArmStats], rng: random.Random, at: tuple[Phase, int]) -> Pick:
    pick = scheduler.pick(arms, rng, *at)
    assert pick is not None
    return pick


def play(
    scheduler: Scheduler,
    reward: Callable[[int, int], float],
    pulls: int,
    *,
    arms: int = 4,
    seed: int = 0,
    at: Callable[[int], tuple[Phase, int]] = lambda _: (Phase.EXPAND, 0),
) -> tuple[list[ArmStats], list[int]]:
    """Every pick rewarded at once, as a bandit is; `reward` takes the pull's number and the arm."""
    stats, rng, chosen = [ArmStats() for _ in range(arms)], random.Random(seed), []
    for pull in range(pulls):
        pick = made(scheduler, stats, rng, at(pull))
        trial = Trial(pull, pick.probability, pick.features)
        stats[pick.arm].call(trial)
        stats[pick.arm].credit(reward(pull, pick.arm), trial)
        chosen.append(pick.arm)
    return stats, chosen


# ------------------------------------------------------------------ Thompson


class Noted(random.Random):
    """Notes what it is asked to draw from, and answers with the mean."""

    def __init__(self) -> None:
        super().__init__(0)
        self.asked: list[tuple[float, float]] = []

    def betavariate(self, alpha: float, beta: float) -> float:
        self.asked.append((alpha, beta))
        return alpha / (alpha + beta)

    def normalvariate(self, mu: float = 0.0, sigma: float = 1.0) -> float:
        self.asked.append((mu, sigma))
        return mu


def test_thompson_draws_from_beta_posteriors_of_fractional_rewards():
    noted = Noted()
    pick = made(Thompson(), [ArmStats(calls=9, credits=4, reward=2.5), ArmStats()], noted, (Phase.EXPAND, 0))
    assert noted.asked == [(3.5, 2.5), (1, 1)]  # Beta(1 + S, 1 + F), F = 4 - 2.5
    assert pick.arm == 0  # 3.5 / 6 against 1 / 2
    assert pick.means == (0.625, 0.0)
    assert pick.bonuses == pytest.approx((3.5 / 6 - 0.625, 0.5))


def test_thompson_draws_from_the_normal_posteriors_of_agrawal_and_goyal():
    noted = Noted()
    made(Thompson(posterior="gaussian"), [ArmStats(credits=3, reward=2), ArmStats()], noted, (Phase.EXPAND, 0))
    assert noted.asked == [(0.5, 0.5), (0, 1)]  # N(2 / 4, variance 1 / 4), N(0, 1)


def test_a_sum_of_rewards_that_rounding_lifted_breaks_no_posterior():
    assert made(Thompson(), [ArmStats(credits=1, reward=1 + 1e-12)], random.Random(0), (Phase.EXPAND, 0)).arm == 0


# ------------------------------------------------------------------ EXP3


def test_exp3_weighs_the_estimated_sums_of_rewards():
    # gamma .5, K 2, G = (2 ln 3 / .5, 0): w = exp(.5 G / 2) = (3, 1); p = .5 * (3/4, 1/4) + .5 / 2
    chances = EXP3(gamma=0.5).probabilities([4 * math.log(3), 0.0])
    assert chances == pytest.approx([0.625, 0.375])


def test_exp3_starts_uniform_and_a_gamma_of_1_stays_so():
    assert EXP3().probabilities([0.0] * 4) == pytest.approx([0.25] * 4)
    assert EXP3(gamma=1).probabilities([50.0, 0.0]) == pytest.approx([0.5, 0.5])


def test_a_huge_estimate_overflows_nothing():
    assert EXP3(gamma=0.1).probabilities([1e9, 0.0]) == pytest.approx([0.95, 0.05])


def test_a_late_credit_is_divided_by_the_probability_that_its_own_pick_had():
    arm = ArmStats()
    early, late = Trial(0, 0.25, ()), Trial(1, 0.5, ())
    arm.call(early)
    arm.call(late)
    arm.credit(1.0, early)
    assert arm.estimate == 4.0
    arm.credit(0.5, late)
    assert arm.estimate == 5.0


def test_exp3_shares_the_probability_among_those_that_are_offered():
    arms = [ArmStats(suspended=True, estimate=100.0), ArmStats(), ArmStats()]
    assert made(EXP3(), arms, random.Random(1), (Phase.EXPAND, 0)).probability == pytest.approx(0.5)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=6), st.floats(0.01, 1))
def test_exp3_probabilities_sum_to_one_and_are_at_least_the_uniform_share(estimates, gamma):
    chances = EXP3(gamma=gamma).probabilities(estimates)
    assert sum(chances) == pytest.approx(1)
    assert min(chances) >= gamma / len(estimates) - 1e-12


# ------------------------------------------------------------------ sliding window


def called(*trials: tuple[int, float | None]) -> ArmStats:
    return ArmStats(calls=len(trials), trials=[Trial(time, 1.0, (), reward) for time, reward in trials])


def test_the_window_forgets_calls_and_their_rewards_together():
    # t = 5 calls; of the last 3 (times 2, 3, 4) the first agent made one, not rewarded yet, and the second two
    arms = [called((0, 1.0), (1, 1.0), (3, None)), called((2, 0.25), (4, 0.75))]
    pick = made(SlidingWindowUCB(window=3, xi=2), arms, RNG, (Phase.EXPAND, 0))
    assert pick.means == (0.0, 0.5)
    assert pick.bonuses == pytest.approx((math.sqrt(2 * math.log(3)), math.sqrt(2 * math.log(3) / 2)))
    assert pick.arm == 1  # 1.548 against .5 + 1.048 = 1.5482


def test_an_agent_without_a_call_in_the_window_comes_first():
    arms = [called((2, 1.0), (3, 1.0)), called((0, 0.0), (1, 0.0))]
    assert made(SlidingWindowUCB(window=2), arms, RNG, (Phase.EXPAND, 0)).arm == 1


def test_a_window_that_is_never_full_is_ucb1():
    arms = [called((0, 0.6), (2, 0.4)), called((1, 1.0))]
    pick = made(SlidingWindowUCB(window=1000, xi=2), arms, RNG, (Phase.EXPAND, 0))
    assert pick.means == (0.5, 1.0)
    assert pick.bonuses == pytest.approx((math.sqrt(2 * math.log(3) / 2), math.sqrt(2 * math.log(3) / 1)))


# ------------------------------------------------------------------ cost


def test_costs_are_tokens_a_call_over_those_of_the_pool():
    # 100 and 300 tokens a call, 4 calls together 800: 200 in the mean; the third has no answer yet
    arms = [ArmStats(answers=2, tokens=200), ArmStats(answers=2, tokens=600), ArmStats(calls=1)]
    assert relative_costs(arms) == pytest.approx([0.5, 1.5, 1.0])


def test_the_cost_aware_bound_is_that_of_eq_1_over_the_cost():
    arms = [
        ArmStats(calls=3, credits=2, reward=1.0, answers=3, tokens=300),
        ArmStats(calls=1, credits=1, reward=0.9, answers=1, tokens=500),
    ]
    pick = made(CostAwareUCB(alpha=1), arms, RNG, (Phase.EXPAND, 0))
    assert pick.means == pytest.approx((0.5 / 0.5, 0.9 / 2.5))  # 100 and 500 over 800 / 4
    assert pick.bonuses == pytest.approx((math.sqrt(math.log(4) / 4) / 0.5, math.sqrt(math.log(4) / 2) / 2.5))
    assert pick.arm == 0


def test_equal_costs_make_cost_aware_ucb_eq_1():
    arms = [ArmStats(calls=n, credits=n, reward=n / 2, answers=n, tokens=70 * n) for n in (3, 1, 2)]
    aware, plain = CostAwareUCB(alpha=20), UCB(alpha=20)
    assert aware.pick(arms, RNG, Phase.EXPAND, 0) == plain.pick(arms, RNG, Phase.EXPAND, 0)


# ------------------------------------------------------------------ LinUCB


def test_ridge_regression_equals_the_closed_form():
    # A = I + x x' for x = (1, 2): [[2, 2], [2, 5]], A^-1 = [[5, -2], [-2, 2]] / 6; b = .5 x; A^-1 b = (1, 2) / 12
    ridge = Ridge()
    ridge.add((1.0, 2.0), 0.5)
    assert ridge.inverse[0] == pytest.approx([5 / 6, -2 / 6])
    assert ridge.inverse[1] == pytest.approx([-2 / 6, 2 / 6])
    assert ridge.mean((1.0, 2.0)) == pytest.approx(5 / 12)
    assert ridge.variance((1.0, 2.0)) == pytest.approx(5 / 6)


def test_before_the_first_example_a_ridge_expects_0_and_knows_nothing():
    assert (Ridge().mean((1.0, 2.0)), Ridge().variance((1.0, 2.0))) == (0, 5)


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2), st.floats(0, 1)), max_size=30))
def test_more_examples_never_make_a_ridge_less_certain(examples):
    ridge, before = Ridge(), math.inf
    for *x, reward in examples:
        ridge.add(x, reward)
        now = ridge.variance((1.0, -1.0))
        assert 0 <= now <= min(before, 2) + 1e-9
        before = now


def test_features_are_a_constant_the_depth_and_the_phase():
    assert features(Phase.EXPAND, 5) == (1, 0.5, 1, 0, 0, 0, 0)
    assert features(Phase.SIM_EVALUATE, 0) == (1, 0, 0, 0, 0, 0, 1)


def test_linucb_adds_its_width_to_the_expected_reward():
    # one rewarded call at the root, x = (1, 0, 1, 0...): x'x = 2, A^-1 x = x / 3, so mean 2 R / 3 and width sqrt(2 / 3)
    arms, x = [ArmStats(), ArmStats()], features(Phase.EXPAND, 0)
    trial = Trial(0, 1.0, x)
    arms[0].call(trial)
    arms[0].credit(0.9, trial)
    pick = made(LinUCB(alpha=1), arms, RNG, (Phase.EXPAND, 0))
    assert pick.means == pytest.approx((0.6, 0))
    assert pick.bonuses == pytest.approx((math.sqrt(2 / 3), math.sqrt(2)))
    assert (pick.arm, pick.features) == (0, x)  # 1.4165 against 1.4142


def test_linucb_learns_who_is_good_at_what():
    def reward(pull: int, arm: int) -> float:
        return float(arm == pull % 2)  # one agent for each phase

    phases = (Phase.EXPAND, Phase.SIM_EXPAND)
    _, chosen = play(LinUCB(), reward, 300, arms=2, at=lambda pull: (phases[pull % 2], 1))
    assert sum(arm == pull % 2 for pull, arm in enumerate(chosen[-100:])) >= 95


def test_picks_in_flight_spread_over_equal_agents():
    for scheduler in (SlidingWindowUCB(), CostAwareUCB(), LinUCB()):
        arms = [ArmStats() for _ in range(4)]
        for time in range(4):
            pick = made(scheduler, arms, RNG, (Phase.EXPAND, 0))
            arms[pick.arm].call(Trial(time, pick.probability, pick.features))
        assert [arm.calls for arm in arms] == [1, 1, 1, 1], scheduler


# ------------------------------------------------------------------ every scheduler


@st.composite
def pools(draw: st.DrawFn) -> list[ArmStats]:
    """Agents with a past: calls of which some are rewarded, in any order, and some suspended."""
    arms = [ArmStats(suspended=draw(st.booleans())) for _ in range(draw(st.integers(1, 5)))]
    for time, arm in enumerate(draw(st.lists(st.integers(0, len(arms) - 1), max_size=30))):
        trial = Trial(time, draw(st.floats(0.1, 1)), features(draw(st.sampled_from(Phase)), draw(st.integers(0, 20))))
        arms[arm].call(trial)
        if draw(st.booleans()):
            arms[arm].answers += 1
            arms[arm].tokens += draw(st.integers(1, 5000))
            arms[arm].credit(draw(st.floats(0, 1)), trial)
    return arms


@every_scheduler
@given(pools(), st.sampled_from(Phase), st.integers(0, 30), st.integers(0, 9))
def test_a_pick_is_offered_on_finite_grounds_and_depends_on_the_generator_only(scheduler, arms, phase, depth, seed):
    pick = scheduler.pick(arms, random.Random(seed), phase, depth)
    if scheduler == Fixed(arm=0):
        offered = [0] if not arms[0].suspended else []
    else:
        offered = [index for index, arm in enumerate(arms) if not arm.suspended]
    assert (pick is None) == (not offered)
    if pick is not None:
        assert pick.arm in offered
        assert len(pick.means) == len(pick.bonuses) == len(arms)
        assert all(map(math.isfinite, (*pick.means, *pick.bonuses)))
        assert 0 < pick.probability <= 1
    assert scheduler.pick(arms, random.Random(seed), phase, depth) == pick


LEARNERS: list[Scheduler] = [
    UCB(form="inside", mean="per_call"),
    Thompson(),
    Thompson(posterior="gaussian"),
    EXP3(),
    SlidingWindowUCB(window=7),
    CostAwareUCB(),
    LinUCB(),
]


@pytest.mark.parametrize("scheduler", LEARNERS, ids=repr)
def test_with_enough_pulls_the_best_agent_is_favoured(scheduler):
    means, coin = (0.2, 0.5, 0.9, 0.4), random.Random(5)
    stats, _ = play(scheduler, lambda _, arm: float(coin.random() < means[arm]), 2000)
    assert stats[2].calls > 0.35 * 2000  # a quarter is chance; a window of 7 calls remembers little


def test_with_alpha_20_outside_the_best_agent_is_hardly_favoured():
    means, coin = (0.2, 0.5, 0.9, 0.4), random.Random(5)
    stats, _ = play(UCB(), lambda _, arm: float(coin.random() < means[arm]), 2000)
    assert stats[2].calls < 0.35 * 2000


def test_the_sliding_window_leaves_an_agent_that_became_bad_sooner_than_ucb1():
    coin = random.Random(5)

    def reward(pull: int, arm: int) -> float:
        return float(coin.random() < (0.5 if arm else 0.9 if pull < 1000 else 0.0))

    _, sliding = play(SlidingWindowUCB(window=100), reward, 1200, arms=2)
    _, ucb1 = play(SlidingWindowUCB(window=10**6, xi=2), reward, 1200, arms=2)
    assert sliding[1000:].count(0) < 60 < 100 < ucb1[1000:].count(0)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Thompson(posterior="cauchy"), r"scheduler\.posterior"),  # type: ignore[arg-type]
        (lambda: EXP3(gamma=0), r"scheduler\.gamma"),
        (lambda: SlidingWindowUCB(window=0), r"scheduler\.window"),
        (lambda: SlidingWindowUCB(xi=0), r"scheduler\.xi"),
        (lambda: CostAwareUCB(alpha=-1), r"scheduler\.alpha"),
        (lambda: LinUCB(alpha=float("nan")), r"scheduler\.alpha"),
        (lambda: LinUCB(scope="week"), r"scheduler\.scope"),  # type: ignore[arg-type]
    ],
)
def test_an_impossible_value_is_refused_with_its_key(make, key):
    with pytest.raises(SymphonyError, match=key):
        make()
