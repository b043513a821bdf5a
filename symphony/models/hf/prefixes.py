"""Keeps keys and values of computed prompts across calls, in a tree of their common prefixes.

It holds tensors and knows nothing of models; it also decides which prefixes are worth computing separately.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import torch

Prompt: TypeAlias = tuple[int, ...]
Layers: TypeAlias = "list[tuple[torch.Tensor, torch.Tensor]]"
"""Keys and values (heads, tokens, width) of one sequence, layer by layer."""
_LIKE = 64  # tokens by which the rest to compute may differ between rows of a batch, besides a factor of two


class _Node:
    """Consecutive tokens that follow those of the parent."""

    __slots__ = ("children", "layers", "parent", "tokens", "used")

    def __init__(self, tokens: Prompt, layers: Layers, parent: _Node | None, used: int) -> None:
        self.tokens, self.layers, self.parent, self.used = tokens, layers, parent, used
        self.children: dict[int, _Node] = {}


class PrefixTree:
    """The most recently computed prompts; the least recently used are dropped first.

    Args:
        most: Maximum number of tokens that it may hold, >= 0.

    Attributes:
        tokens: Tokens that it holds.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.tokens = 0
        self._root = _Node((), [], None, 0)
        self._clock = 0

    def match(self, prompt: Prompt) -> int:
        """Returns the length of the longest held prefix, without the last token, which is computed for its logits."""
        return sum(length for _, length in self._path(prompt[:-1]))

    def gather(self, prompt: Prompt, length: int) -> Iterator[tuple[int, Layers]]:
        """Yields the first tokens of a prompt as pieces, each with the place where it begins; they must be held."""
        self._clock += 1
        begin = 0
        for node, common in self._path(prompt[:length]):
            node.used = self._clock
            yield begin, [(keys[:, :common], values[:, :common]) for keys, values in node.layers]
            begin += common

    def add(self, prompt: Prompt, begin: int, layers: Layers) -> None:
        """Adds a prompt to the tree.

        Args:
            prompt: All of its tokens.
            begin: Where `layers` begin; nothing is added unless the tokens before it are held.
            layers: Keys and values of the other tokens; they are copied.
        """
        path = list(self._path(prompt))
        held = sum(length for _, length in path)
        if held < begin or held == len(prompt) or len(prompt) > self.most:
            return
        self._clock += 1
        parent = self._root
        for node, length in path:
            node.used = self._clock
            parent = node if length == len(node.tokens) else self._split(node, length)
        kept = [(keys[:, held - begin :].clone(), values[:, held - begin :].clone()) for keys, values in layers]
        parent.children[prompt[held]] = _Node(prompt[held:], kept, parent, self._clock)
        self.tokens += len(prompt) - held
        while self.tokens > self.most:
            self._drop(min(self._leaves(), key=lambda leaf: leaf.used))

    def clear(self) -> None:
        """Drops all prompts."""
        self.tokens = 0
        self._root.children.clear()

    def _path(self, tokens: Prompt) -> Iterator[tuple[_Node, int]]:
        """Yields the nodes along some tokens, each with the number of its tokens they share (at least one)."""
        node, begin = self._root, 0
        while begin < len(tokens) and (child := node.children.get(tokens[begin])) is not None:
            common = common_prefix(child.tokens, tokens[begin : begin + len(child.tokens)])
            yield child, common
            if common < len(child.tokens):
                return
            node, begin = child, begin + common

    def _split(self, node: _Node, length: int) -> _Node:
        """Splits a node: puts a new node with its first tokens above the rest; returns the new node."""
        assert node.parent is not None
        first = [(keys[:, :length].clone(), values[:, :length].clone()) for keys, values in node.layers]
        upper = _Node(node.tokens[:length], first, node.parent, node.used)
        node.parent.children[node.tokens[0]] = upper
        node.layers = [(keys[:, length:].clone(), values[:, length:].clone()) for keys, values in node.layers]
        node.tokens, node.parent = node.tokens[length:], upper
        upper.children[node.tokens[0]] = node
        return upper

    def _drop(self, leaf: _Node) -> None:
        assert leaf.parent is not None
        del leaf.parent.children[leaf.tokens[0]]
        self.tokens -= len(leaf.tokens)

    def _leaves(self) -> Iterator[_Node]:
        nodes = [self._root]
        while nodes:
            node = nodes.pop()
            nodes += node.children.values()
            if not node.children and node is not self._root:
                yield node


def shared_prefixes(prompts: Sequence[Prompt], held: Mapping[Prompt, int], worth: int) -> list[list[Prompt]]:
    """Finds prefixes of some prompts that are better computed once, before the prompts.

    Args:
        prompts: In ascending order, each once.
        held: Prompt -> length of its prefix that needs no computation.
        worth: Tokens that computing a prefix must save.

    Returns:
        Batches of prefixes; a prefix may begin with one from an earlier batch.
    """
    rounds: list[list[Prompt]] = []

    def visit(group: Sequence[Prompt], depth: int, number: int) -> None:
        if len(group) < 2:
            return
        common = common_prefix(group[0], group[-1])  # in this order, all prompts between them share it, too
        length = min(common, len(group[0]) - 1)
        depth = max(depth, min(length, held[group[0]]))
        if (length - depth) * (len(group) - 1) >= worth:
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(group[0][:length])
            depth, number = length, number + 1
        for _, same in groupby(group, key=lambda prompt: prompt[common : common + 1]):
            visit(list(same), depth, number)

    visit(prompts, 0, 0)
    return rounds


def of_like_rest(rests: Mapping[Prompt, int]) -> list[list[Prompt]]:
    """Groups prompts with similar numbers of tokens left to compute; those with most come first."""
    groups: list[list[Prompt]] = []
    for prompt in sorted(rests, key=lambda prompt: -rests[prompt]):
        if not groups or rests[groups[-1][0]] > 2 * rests[prompt] + _LIKE:
            groups.append([])
        groups[-1].append(prompt)
    return groups


def common_prefix(prompt: Prompt, other: Prompt) -> int:
    """Returns the length of the longest common prefix."""
    length = min(len(prompt), len(other))
    if prompt[:length] == other[:length]:
        return length
    return next(place for place in range(length) if prompt[place] != other[place])
