"""Keys and values of prompts that were computed, kept across calls in a tree of their common prefixes.

Holds tensors and knows nothing of models; which prefixes are worth a computation of their own is told here, too.
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
_LIKE = 64  # tokens by which rows of one batch may differ in what is left to compute, beside a factor of two


class _Node:
    """Some tokens in a row, which follow those of the parent."""

    __slots__ = ("children", "layers", "parent", "tokens", "used")

    def __init__(self, tokens: Prompt, layers: Layers, parent: _Node | None, used: int) -> None:
        self.tokens, self.layers, self.parent, self.used = tokens, layers, parent, used
        self.children: dict[int, _Node] = {}


class PrefixTree:
    """The prompts that were computed last; what was used longest ago leaves first.

    Args:
        most: Tokens that it may hold, >= 0.

    Attributes:
        tokens: Tokens that it holds.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.tokens = 0
        self._root = _Node((), [], None, 0)
        self._clock = 0

    def match(self, prompt: Prompt) -> int:
        """Length of the longest prefix that is held, without the last token, which is computed for its logits."""
        return sum(length for _, length in self._path(prompt[:-1]))

    def gather(self, prompt: Prompt, length: int) -> Iterator[tuple[int, Layers]]:
        """The first tokens of a prompt, as the places where the pieces begin and the pieces; needs them to be held."""
        self._clock += 1
        begin = 0
        for node, common in self._path(prompt[:length]):
            node.used = self._clock
            yield begin, [(keys[:, :common], values[:, :common]) for keys, values in node.layers]
            begin += common

    def add(self, prompt: Prompt, begin: int, layers: Layers) -> None:
        """Holds a prompt.

        Args:
            prompt: All of its tokens.
            begin: Where `layers` begin; what stands before is held, or nothing is added.
            layers: Of the other tokens; they are copied.
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
        """Holds nothing any more."""
        self.tokens = 0
        self._root.children.clear()

    def _path(self, tokens: Prompt) -> Iterator[tuple[_Node, int]]:
        """The nodes along some tokens, and how many of each node's tokens they share; at least one."""
        node, begin = self._root, 0
        while begin < len(tokens) and (child := node.children.get(tokens[begin])) is not None:
            common = common_prefix(child.tokens, tokens[begin : begin + len(child.tokens)])
            yield child, common
            if common < len(child.tokens):
                return
            node, begin = child, begin + common

    def _split(self, node: _Node, length: int) -> _Node:
        """Puts a node of the first tokens above the others; returns it."""
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
    """Prefixes of some prompts that are better computed once, before the prompts.

    Args:
        prompts: In ascending order, each once.
        held: Prompt -> length of its prefix that needs no computation.
        worth: Tokens that the computation of a prefix must save.

    Returns:
        Batches of prefixes; each of them may begin with one of the batches before it.
    """
    rounds: list[list[Prompt]] = []

    def visit(group: Sequence[Prompt], depth: int, number: int) -> None:
        if len(group) < 2:
            return
        common = common_prefix(group[0], group[-1])  # in this order all between them have it, too
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
    """Groups prompts of which like numbers of tokens are left to compute; those with most come first."""
    groups: list[list[Prompt]] = []
    for prompt in sorted(rests, key=lambda prompt: -rests[prompt]):
        if not groups or rests[groups[-1][0]] > 2 * rests[prompt] + _LIKE:
            groups.append([])
        groups[-1].append(prompt)
    return groups


def common_prefix(one: Prompt, other: Prompt) -> int:
    """Length of the longest common prefix."""
    length = min(len(one), len(other))
    if one[:length] == other[:length]:
        return length
    return next(place for place in range(length) if one[place] != other[place])
