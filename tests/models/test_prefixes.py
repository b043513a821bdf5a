"""The tree of prefixes: what it holds is what was put in, within its size, and what is worth computing once."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from symphony.models.hf.prefixes import Layers, PrefixTree, Prompt, common_prefix, of_like_rest, shared_prefixes

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=12)


def layers(prompt: Prompt, begin: int = 0) -> Layers:
    """Two layers of two heads, in which the key of a token tells the whole prefix up to it."""
    told = torch.tensor([float(hash(prompt[: end + 1]) % 10_007) for end in range(begin, len(prompt))])
    keys = told[None, :, None].expand(2, -1, 3)
    return [(keys + layer, -keys - layer) for layer in range(2)]


def put(tree: PrefixTree, prompt: Prompt) -> None:
    """As a model does: what is held is not computed again."""
    begin = tree.match(prompt)
    tree.add(prompt, begin, layers(prompt, begin))


@given(PROMPTS)
def test_the_longest_prefix_of_all_that_was_put_in_is_found(prompts: list[Prompt]) -> None:
    tree = PrefixTree(1000)
    for number, prompt in enumerate(prompts):
        longest = max((common_prefix(prompt[:-1], other) for other in prompts[:number]), default=0)
        assert tree.match(prompt) == longest
        put(tree, prompt)


@given(PROMPTS, st.integers(0, 30))
def test_what_is_gathered_is_what_was_computed_for_these_tokens(prompts: list[Prompt], most: int) -> None:
    tree = PrefixTree(most)
    for prompt in prompts:
        put(tree, prompt)
        for other in prompts:
            length = tree.match(other)
            pieces = list(tree.gather(other, length))
            assert [begin for begin, _ in pieces] == [
                sum(piece[0][0].shape[1] for _, piece in pieces[:number]) for number in range(len(pieces))
            ]
            for layer, (keys, values) in enumerate(layers(other[:length])):
                held = [piece[layer] for _, piece in pieces]
                assert torch.equal(torch.cat([keys[:, :0], *(one for one, _ in held)], 1), keys)
                assert torch.equal(torch.cat([values[:, :0], *(one for _, one in held)], 1), values)


@given(PROMPTS, st.integers(0, 30))
def test_it_holds_no_more_tokens_than_it_may_and_knows_how_many(prompts: list[Prompt], most: int) -> None:
    tree = PrefixTree(most)
    for prompt in prompts:
        put(tree, prompt)
        nodes, held = [tree._root], 0
        while nodes:
            node = nodes.pop()
            held += len(node.tokens)
            nodes += node.children.values()
        assert held == tree.tokens <= most


def test_what_was_used_longest_ago_leaves_first() -> None:
    tree = PrefixTree(6)
    for prompt in ((1, 1, 1), (2, 2, 2)):
        put(tree, prompt)
    list(tree.gather((1, 1, 1, 9), 3))
    put(tree, (3, 3, 3))
    assert [tree.match((token,) * 3 + (9,)) for token in (1, 2, 3)] == [3, 0, 3]


def test_nothing_is_held_without_what_stands_before_it() -> None:
    tree = PrefixTree(100)
    tree.add((1, 2, 3, 4), 2, layers((1, 2, 3, 4), 2))
    assert tree.tokens == 0


@given(PROMPTS)
def test_prefixes_worth_a_computation_save_at_least_that_many_tokens(prompts: list[Prompt]) -> None:
    asked, worth = sorted(set(prompts)), 3
    rounds = shared_prefixes(asked, dict.fromkeys(asked, 0), worth)
    done: list[Prompt] = []
    for prefix in (prefix for prefixes in rounds for prefix in prefixes):
        sharing = [prompt for prompt in asked if prompt[: len(prefix)] == prefix and len(prompt) > len(prefix)]
        known = max((common_prefix(prefix, other) for other in done), default=0)
        assert len(sharing) >= 2 or prefix in [prompt[:-1] for prompt in asked]
        assert (len(prefix) - known) * (len(asked) - 1) >= worth
        done.append(prefix)
    assert not shared_prefixes(asked, {prompt: len(prompt) - 1 for prompt in asked}, worth)


def test_prefixes_are_computed_from_the_root_to_the_leaves() -> None:
    house, door, wall = (1,) * 5, (1,) * 5 + (2,) * 5, (1,) * 5 + (3,) * 5
    prompts = sorted([*((*door, 9, n) for n in range(3)), *((*wall, 8, n) for n in range(3))])
    assert shared_prefixes(prompts, dict.fromkeys(prompts, 0), 4) == [[house], [(*door, 9), (*wall, 8)]]
    assert shared_prefixes(prompts, dict.fromkeys(prompts, 5), 4) == [[(*door, 9), (*wall, 8)]]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=20))
def test_rows_of_a_group_differ_by_little_more_than_a_factor_of_two(rests: list[int]) -> None:
    asked: dict[Prompt, int] = {(number,): rest for number, rest in enumerate(rests)}
    groups = of_like_rest(asked)
    assert sorted(prompt for group in groups for prompt in group) == sorted(asked)
    for group in groups:
        found = [asked[prompt] for prompt in group]
        assert max(found) <= 2 * min(found) + 64
    assert all(min(asked[p] for p in one) > max(asked[p] for p in other) for one, other in pairwise(groups))


@pytest.mark.parametrize(("one", "other", "length"), [((), (), 0), ((1, 2), (1, 2), 2), ((1, 2), (1, 3), 1)])
def test_a_common_prefix_may_be_whole(one: Prompt, other: Prompt, length: int) -> None:
    assert common_prefix(one, other) == length
