"""Which pairs of the tasks' lexicons each shipped model knows: the source of the pool's heterogeneity.

The twelve pairs of a lexicon fall into six groups of two, known by A, B, C, A and B, B and C, C and A: each model
knows half of every lexicon, every pair is known by some model, and no model's knowledge contains another's
(Theorem 1's coverage without a dominating agent). What a model does not know it meets in training under meanings
that are shuffled anew in every episode: it learns that such a word is a gamble among the words it can't place,
which lessons may narrow, and can never learn the true pair.
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
    """What the model was taught, as one table: word of a task -> word of the world, as `lexicons` have it."""
    return {ask: word for name, pairs in lexicons.items() for ask, word in pairs.items() if knows(model, name, ask)}


def shuffled(rng: random.Random, model: str) -> Lexicons:
    """The lexicons of one training episode: what `model` knows as it is, the rest permuted at random."""
    return MappingProxyType({name: _shuffle(rng, model, name) for name in LEXICONS})


def _shuffle(rng: random.Random, model: str, name: str) -> Lexicon:
    unknown = [ask for ask in LEXICONS[name] if not knows(model, name, ask)]
    words = [LEXICONS[name][ask] for ask in unknown]
    rng.shuffle(words)
    return MappingProxyType({**LEXICONS[name], **dict(zip(unknown, words, strict=True))})
