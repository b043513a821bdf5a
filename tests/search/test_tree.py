"""Rules of the tree: UCT (paper Eq. 7), backup (Eq. 8), closing."""

from __future__ import annotations

import gc
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.search.symphony import Symphony
from symphony.search.tree import ROOT, FirstVisit, Origin, Tree, uct
from symphony.types import State, Turn

OPEN = State(observation="")
WRONG = State(observation="", reward=0.0, terminated=True)
RIGHT = State(observation="", reward=1.0, terminated=True)


def grow(tree: Tree, parent: int, state: State = OPEN, *, prior: float | None = None, simulated: bool = False) -> int:
    turn = Turn(thought="", action=f"a{len(tree)}", observation=state.observation)
    origin: Origin = "simulate" if simulated else "expand"
    id = tree.add(parent, turn=turn, state=state, agent=0, origin=origin, iteration=1)
    if prior is not None:
        tree[id].prior = prior
    return id


def test_uct_equals_eq_7_by_hand():
    assert uct(0.5, 2, math.log(8), 2.0) == pytest.approx(0.5 + 2 * math.sqrt(math.log(8) / 2))


def test_with_c_1_41_uct_equals_the_published_form():
    assert uct(0.5, 3, math.log(9), math.sqrt(2)) == pytest.approx(0.5 + math.sqrt(2 * math.log(9) / 3))


def test_backup_adds_to_every_node_of_the_path_and_to_no_other():
    tree = Tree(OPEN)
    left, right = grow(tree, ROOT), grow(tree, ROOT)
    below = grow(tree, left)
    tree.backup(below, 0.5)
    tree.backup(left, 1.0)
    assert [(node.visits, node.value_sum) for node in tree.nodes] == [(2, 1.5), (2, 1.5), (0, 0.0), (1, 0.5)]
    assert right == 2


@pytest.mark.parametrize(("policy", "chosen"), [("prior", 1), ("inf", 2)])
def test_an_unvisited_child_counts_as_its_prior_or_as_infinite(policy, chosen):
    tree = Tree(OPEN)
    visited, _ = grow(tree, ROOT), grow(tree, ROOT, prior=0.9)
    tree.backup(visited, 1.0)
    assert tree.select(2.0, policy) == chosen


@pytest.mark.parametrize(("prior", "chosen"), [(0.5, 2), (0.1, 1)])
def test_an_unvisited_child_may_count_as_one_visit_with_its_prior_as_the_value(prior, chosen):
    """By hand: 0.9 + 2 sqrt(ln 2 / 2) = 2.08 of the visited one; prior + 2 sqrt(ln 2) = 2.17 or 1.77 of the other."""
    tree = Tree(OPEN)
    visited, _ = grow(tree, ROOT), grow(tree, ROOT, prior=prior)
    for _ in range(2):
        tree.backup(visited, 0.9)
    assert tree.select(2.0, "virtual") == chosen


def test_by_default_the_best_first_action_is_tried_where_its_prior_is_competitive():
    """A toy search: n = 4, K = 10. Under the prior alone, the best child is never tried in half of these."""
    untried = {rule: sum(_never_tried(rule, seed) for seed in range(200)) for rule in ("prior", Symphony().first_visit)}
    assert untried[Symphony().first_visit] == 0
    assert untried["prior"] > 50


def _never_tried(rule: FirstVisit, seed: int) -> bool:
    """Whether the best of the root's children stays unvisited, its prior being within 0.1 of the best one."""
    rng = random.Random(seed)
    tree = Tree(OPEN)
    truth = [0.6, 0.5, 0.5, 0.4]
    rng.shuffle(truth)
    children = [grow(tree, ROOT, prior=0.5 + rng.uniform(-0.05, 0.05)) for _ in truth]
    tree.backup(max(children, key=lambda id: tree[id].prior or 0.0), 0.5)
    value = {ROOT: 0.5, **dict(zip(children, truth, strict=True))}
    for _ in range(9):
        leaf = tree.select(Symphony().c, rule)
        assert leaf is not None
        below = [grow(tree, leaf, prior=value[leaf]) for _ in range(4)]
        value.update(dict.fromkeys(below, value[leaf]))
        tree.backup(below[0], value[leaf] + rng.uniform(-0.1, 0.1))
    return tree[children[truth.index(0.6)]].visits == 0


def test_selection_weighs_value_against_visits():
    tree = Tree(OPEN)
    good, rare = grow(tree, ROOT), grow(tree, ROOT)
    for _ in range(9):
        tree.backup(good, 0.6)
    tree.backup(rare, 0.5)
    assert (tree.select(0.0, "prior"), tree.select(2.0, "prior")) == (good, rare)


def test_ties_go_to_the_child_made_first():
    tree = Tree(OPEN)
    grow(tree, ROOT, prior=0.5)
    grow(tree, ROOT, prior=0.5)
    assert tree.select(2.0, "prior") == 1


def test_of_children_that_count_as_infinite_the_best_prior_goes_first():
    tree = Tree(OPEN)
    for prior in (0.1, 0.6, 0.3):
        grow(tree, ROOT, prior=prior)
    assert tree.select(2.0, "inf") == 2


def test_a_terminal_child_is_never_selected():
    tree = Tree(OPEN)
    ended, other = grow(tree, ROOT, WRONG), grow(tree, ROOT, prior=0.1)
    tree.backup(ended, 1.0)
    assert tree.select(2.0, "inf") == other


def test_a_simulated_node_is_never_selected():
    tree = Tree(OPEN)
    simulated = grow(tree, ROOT, simulated=True)
    tree.backup(simulated, 1.0)
    assert tree.select(2.0, "inf") == ROOT


def test_a_root_whose_children_all_are_closed_is_exhausted():
    tree = Tree(OPEN)
    grow(tree, ROOT, WRONG)
    grow(tree, ROOT, WRONG)
    tree.settle(ROOT)
    assert tree.select(2.0, "prior") is None


def test_of_two_solved_nodes_the_one_proposed_first_counts():
    tree = Tree(OPEN)
    for made in (7, 3, 5):
        tree.add(ROOT, turn=None, state=RIGHT, agent=0, origin="expand", iteration=1, made=made)
    assert tree.solved == 2


def test_closing_goes_up_as_far_as_nothing_open_is_left():
    tree = Tree(OPEN)
    left, right = grow(tree, ROOT), grow(tree, ROOT)
    below = grow(tree, left)
    tree.close(below)
    assert [node.closed for node in tree.nodes] == [False, True, False, True]
    tree.close(right)
    assert tree[ROOT].closed


def test_closing_twice_counts_once():
    tree = Tree(OPEN)
    left, _ = grow(tree, ROOT), grow(tree, ROOT)
    tree.close(left)
    tree.close(left)
    assert (tree[ROOT].open, tree[ROOT].closed) == (1, False)


def test_a_node_with_an_unfinished_expansion_stays_open():
    tree = Tree(OPEN)
    grow(tree, ROOT, WRONG)
    assert not tree[ROOT].closed


def test_the_first_solved_node_is_remembered_and_its_value_is_1():
    tree = Tree(OPEN)
    grow(tree, ROOT, WRONG)
    first = grow(tree, ROOT, RIGHT)
    grow(tree, ROOT, RIGHT)
    assert (tree.solved, tree[first].prior) == (first, 1.0)


def test_a_terminal_node_without_visible_reward_is_not_solved():
    tree = Tree(OPEN)
    id = grow(tree, ROOT, State(observation="", terminated=True))
    assert (tree.solved, tree[id].prior, tree[id].closed) == (None, None, True)


def test_the_path_and_its_turns_run_from_the_root():
    tree = Tree(OPEN)
    below = grow(tree, grow(tree, ROOT))
    assert tree.path(below) == [0, 1, 2]
    assert [turn.action for turn in tree.turns(below)] == ["a1", "a2"]
    assert tree.turns(ROOT) == ()


def test_a_tree_that_is_dropped_needs_no_garbage_collector():
    gc.collect()
    gc.disable()
    try:
        tree = Tree(OPEN)
        for _ in range(50):
            tree.backup(grow(tree, len(tree) // 2), 0.5)
        del tree
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize(("policy", "chosen"), [("prior", 1), ("twice", 2)])
def test_an_unvisited_child_may_count_as_twice_its_prior(policy, chosen):
    """Source: the published RAP, 2 * value: 2 * 0.4 = 0.8 exceeds the visited child's 0.6 + c sqrt(ln 1 / 1) = 0.6."""
    tree = Tree(OPEN)
    visited, _ = grow(tree, ROOT), grow(tree, ROOT, prior=0.4)
    tree.backup(visited, 0.6)
    assert tree.select(2.0, policy) == chosen


@given(st.data())
def test_whatever_is_done_the_counts_of_open_children_are_right_and_selection_ends_at_an_open_leaf(data):
    tree = Tree(OPEN)
    for _ in range(data.draw(st.integers(1, 25))):
        leaf = tree.select(2.0, data.draw(st.sampled_from(["virtual", "inf", "prior", "twice"])))
        if leaf is None:
            break
        assert not tree[leaf].closed
        assert not tree[leaf].children
        ids = [grow(tree, leaf, state) for state in data.draw(st.lists(st.sampled_from([OPEN, WRONG]), max_size=3))]
        tree.backup(ids[0] if ids else leaf, data.draw(st.floats(0, 1)))
        tree.settle(leaf)
        if not ids:
            tree.close(leaf)
    for node in tree.nodes:
        assert node.open == sum(not tree[id].closed for id in node.children)
        if node.children:
            assert node.closed == (node.open == 0)
            assert node.visits >= sum(tree[id].visits for id in node.children)


@given(st.data())
def test_what_is_held_is_never_selected_again_and_releasing_undoes_it_all(data):
    tree = Tree(OPEN)
    for _ in range(data.draw(st.integers(1, 12))):
        leaf = tree.select(2.0, "prior")
        if leaf is None:
            break
        ids = [grow(tree, leaf, state) for state in data.draw(st.lists(st.sampled_from([OPEN, WRONG]), max_size=3))]
        tree.backup(ids[0] if ids else leaf, data.draw(st.floats(0, 1)))
        tree.settle(leaf)
    before = [(node.visits, node.value_sum, node.open, node.closed) for node in tree.nodes]
    open_leaves = {node.id for node in tree.nodes if not node.closed and not node.children}
    held: list[int] = []
    while (leaf := tree.select(2.0, "prior")) is not None:
        tree.hold(leaf)
        held.append(leaf)
    assert len(held) == len(set(held)) == len(open_leaves)
    assert set(held) == open_leaves
    for leaf in reversed(held):
        tree.release(leaf)
    assert [(node.visits, node.value_sum, node.open, node.closed) for node in tree.nodes] == before
