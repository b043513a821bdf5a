"""Which pairs of the tasks' lexicons each shipped model knows; this makes the pool heterogeneous.

The twelve pairs of a lexicon form six groups of two, known by A, B, C, A and B, B and C, C and A: each model knows
half of every lexicon, every pair is known by some model, and no model's knowledge contains another's (Theorem 1's
coverage without a dominating agent). In training a model meets the pairs that it does not know under meanings that
are shuffled in every episode. It learns that such a word is a gamble among the words it cannot place, which lessons
may narrow, and it can never learn the true pair.
"""

from __future__ import annotations

import random
from types import MappingProxyType

from symphony.tasks.mini.generated import LEXICONS, Lexicon, Lexicons

MODELS = ("llama", "qwen3", "neox")
_GROUPS = (("llama",), ("qwen3",), ("neox",), ("llama", "qwen3"), ("qwen3", "neox"), ("neox", "llama"))


def knows(model: str, lexicon: str, ask: str) -> bool:
    """Whether the model is taught the true meaning of `ask`."""
    return model in _GROUPS[list(LEXICONS[lexicon]).index(ask) % len(_GROUPS)]


def meanings(model: str, lexicons: Lexicons = LEXICONS) -> Lexicon:
    """Returns what the model was taught as one table: word of a task -> word of the world, as `lexicons` have it."""
    return {ask: word for name, pairs in lexicons.items() for ask, word in pairs.items() if knows(model, name, ask)}


def shuffled(rng: random.Random, model: str) -> Lexicons:
    """Returns one training episode's lexicons: pairs that `model` knows unchanged, the rest permuted at random."""
    return MappingProxyType({name: _shuffle(rng, model, name) for name in LEXICONS})


def _shuffle(rng: random.Random, model: str, name: str) -> Lexicon:
    unknown = [ask for ask in LEXICONS[name] if not knows(model, name, ask)]
    words = [LEXICONS[name][ask] for ask in unknown]
    rng.shuffle(words)
    return MappingProxyType({**LEXICONS[name], **dict(zip(unknown, words, strict=True))})
