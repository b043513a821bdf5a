"""The replay of recorded picks: which of them count, and that its estimates are those of a known truth."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import coverage
from symphony.agents.replay import Event, replay, targets
from symphony.agents.scheduler import UCB, Fixed
from symphony.plan.targets import instantiate
from symphony.plan.yaml_files import load
from symphony.types import Phase

CONF = Path(__file__).parents[2] / "conf" / "scheduler"


def event(
    pick: int, arm: int, reward: float | None = None, *, due: int | None = None, problem: str = "p", tokens: int = 10
) -> Event:
    return Event(
        problem=problem, pick=pick, phase=Phase.EXPAND, depth=0, arm=arm, tokens=tokens, reward=reward,
        due=pick + 1 if due is None else due,
    )  # fmt: skip


@given(st.lists(st.integers(0, 2)), st.integers(0, 2))
def test_picks_of_the_same_agent_count_for_a_scheduler_that_always_picks_it(arms: list[int], only: int) -> None:
    assert replay(Fixed(arm=only), 3, [event(at, arm, 0.5) for at, arm in enumerate(arms)]) == [a == only for a in arms]


def test_a_scheduler_learns_only_from_picks_that_count() -> None:
    greedy = UCB(alpha=0)
    events = [event(0, 0, 0.2), event(1, 0, 1.0), event(2, 1, 0.6), event(3, 1), event(4, 0)]
    # Its first picks are the agents in turn; the reward 1.0 of the second pick is not its own, so agent 1 leads.
    assert replay(greedy, 2, events) == [True, False, True, True, False]


def test_a_reward_counts_from_the_pick_on_at_which_it_was_known() -> None:
    events = [event(0, 0, 0.2), event(1, 1, 0.6, due=3), event(2, 0), event(3, 1)]
    assert replay(UCB(alpha=0), 2, events) == [True, True, True, True]
    early = [event(0, 0, 0.2), event(1, 1, 0.6), event(2, 0), event(3, 1)]
    assert replay(UCB(alpha=0), 2, early) == [True, True, False, True]


def test_statistics_begin_anew_with_each_problem() -> None:
    one = [event(0, 0), event(1, 1, 1.0), event(2, 1)]
    two = [event(0, 0, problem="q"), event(1, 1, problem="q"), event(2, 0, problem="q")]
    assert replay(UCB(alpha=0), 2, [*one, *two]) == [True] * 6


def test_every_scheduler_of_the_project_can_be_replayed_with_its_own_settings() -> None:
    replayed = [repr(scheduler) for scheduler in targets(1).values()]
    for path in sorted(CONF.glob("*.yaml")):
        settings = {key: value for key, value in load(path).items() if not str(value).startswith("${")}
        if path.stem != "uniform":  # it made the records
            assert repr(instantiate("scheduler", settings)) in replayed


@pytest.mark.parametrize(
    "name",
    ["ucb, alpha 0.5", "fixed 0", *(pytest.param(n, marks=pytest.mark.slow) for n in targets(len(coverage.SKILLS)))],
)
def test_a_replay_estimates_what_the_scheduler_earns_by_itself(name: str) -> None:
    found = coverage.of_replays(name, problems=12, draws=20)
    assert abs(found.mean - found.truth) < 3.5 * found.error
    assert found.covered >= 0.8
    assert found.gain_covered >= 0.8
