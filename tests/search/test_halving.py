"""Rules of sequential halving at the root."""

from __future__ import annotations

from collections import Counter

import pytest

from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import Plain
from symphony.search.halving import ROOT_RULES, considered_visits
from symphony.search.symphony import Symphony
from symphony.search.tree import ROOT, Tree
from symphony.types import Phase, Request, State, SymphonyError
from tests.stub import Stub, pool, problem, session

OPEN = State(observation="")
ENDED = State(observation="", terminated=True)


@pytest.mark.parametrize(
    ("actions", "iterations", "turns"),
    [
        # Danihelka et al. 2022: 2 rounds of 8 for 4 actions, 2 visits for each of 4, then 4 for each of 2.
        (4, 16, [0] * 4 + [1] * 4 + [2] * 2 + [3] * 2 + [4] * 2 + [5] * 2),
        (4, 10, [0] * 4 + [1] * 2 + [2] * 2 + [3] * 2),
        (8, 24, [0] * 8 + [1] * 4 + [2] * 4 + [3] * 2 + [4] * 2 + [5] * 2 + [6] * 2),
        (3, 6, [0] * 3 + [1] * 2 + [2]),
        (2, 4, [0, 0, 1, 1]),
        (1, 3, [0, 1, 2]),
        (4, 2, [0, 0]),
    ],
)
def test_the_turns_are_those_of_the_schedule_worked_out_by_hand(actions, iterations, turns):
    assert considered_visits(actions, iterations) == tuple(turns)


def root_of(*children: tuple[int, float, State]) -> Tree:
    """Children of the root: visits, mean, state."""
    tree = Tree(OPEN)
    for visits, mean, state in children:
        id = tree.add(ROOT, turn=None, state=state, agent=0, origin="expand", iteration=1)
        tree[id].prior = mean
        for _ in range(visits):
            tree.backup(id, mean)
    return tree


halving = ROOT_RULES["sequential_halving"]


def test_every_action_is_visited_before_any_is_visited_twice():
    assert halving(root_of((1, 0.9, OPEN), (0, 0.1, OPEN), (0, 0.3, OPEN), (0, 0.2, OPEN)), 16) == 3


def test_the_worse_half_is_dropped_when_its_round_is_over():
    """16 iterations: after 2 visits each, only the two with the highest means go on, whatever UCT would say."""
    visits = [2, 2, 2, 2]
    means = [0.4, 0.1, 0.5, 0.2]
    for _ in range(8):
        tree = root_of(*((n, mean, OPEN) for n, mean in zip(visits, means, strict=True)))
        visits[halving(tree, 16) - 1] += 1
    assert visits == [6, 2, 6, 2]


def test_for_a_closed_action_one_that_was_dropped_stands_in():
    tree = root_of((6, 0.9, OPEN), (2, 0.3, OPEN), (5, 0.8, OPEN), (2, 0.2, OPEN))
    assert halving(tree, 16) == 3
    tree.close(3)
    assert halving(tree, 16) == 2


def test_an_action_that_ended_the_episode_takes_no_part():
    tree = root_of((1, 0.5, OPEN), (0, 0.9, ENDED), (0, 0.1, OPEN))
    assert halving(tree, 4) == 3
    assert considered_visits(2, 4)[tree[ROOT].visits] == 0


def test_an_unexpanded_or_exhausted_root_is_selected_itself():
    assert halving(Tree(OPEN), 10) == ROOT
    assert halving(root_of((0, 0.0, ENDED)), 10) == ROOT


def test_beyond_the_plan_the_most_visited_goes_on():
    assert halving(root_of((8, 0.5, OPEN), (9, 0.4, OPEN)), 4) == 2


async def test_the_iterations_of_a_search_are_spread_as_planned():
    """Four first actions of values .1 to .4, 16 iterations: 2, 2, 6 and 6 visits."""

    def script(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND:
            return f"Action: go {'abcd'[request.draw.index % 4]}"
        first = request.messages[-1].content.splitlines()[2].removeprefix("go ")
        return f"Value: 0.{1 + 'abcd'.index(first)} Confidence: 1"

    item = problem("zzz")
    result = await Symphony(iterations=16, sim_depth=0, root="sequential_halving").solve(
        item,
        task=Stub(length=9),
        session=session(pool(script), item),
        scheduler=UCB(),
        scorer=Plain(),
        memory=NoMemory(),
    )
    tree = result.tree
    assert Counter({tree[id].state.data[0]: tree[id].visits for id in tree[ROOT].children}) == {
        "a": 2,
        "b": 2,
        "c": 6,
        "d": 6,
    }


def test_an_unknown_rule_is_refused_with_what_is_allowed():
    with pytest.raises(SymphonyError, match=r"search\.root: found 'best', allowed: uct, sequential_halving"):
        Symphony(root="best")  # type: ignore[arg-type]
