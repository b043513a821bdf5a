"""What the generated tasks share: lexicons, names, and a train/test split that can't leak.

Every generated task asks in one vocabulary ("spouse", "crimson", "iron door") about a world described in another
("weds", "red", "rust key"). A lexicon holds these pairs. Each pair is a unit of knowledge that a model has or lacks,
which is how the shipped pool is made heterogeneous (`symphony.embedded.dialect`).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Literal

from symphony.types import Problem, SymphonyError, derive_rng

Split = Literal["train", "test"]
Lexicon = Mapping[str, str]
Lexicons = Mapping[str, Lexicon]


def _pairs(text: str) -> Lexicon:
    return MappingProxyType(dict(entry.split("=") for entry in text.split()))


LEXICONS: Lexicons = MappingProxyType(
    {
        "relation": _pairs(
            "spouse=weds rival=fears tutor=heeds host=visits owner=serves maker=thanks "
            "patron=paints twin=mirrors guard=trusts buyer=supplies judge=obeys heir=raises"
        ),
        "key": _pairs(
            "iron=rust oak=acorn stone=moss glass=sand brass=bell bone=marrow "
            "amber=resin ice=frost clay=brick silk=moth salt=brine ash=ember"
        ),
        "material": _pairs(
            "snug=fleece sleek=satin rugged=denim airy=linen plush=velvet crisp=cotton "
            "fancy=brocade rustic=tweed tough=leather light=nylon warm=wool stiff=canvas"
        ),
        "colour": _pairs(
            "crimson=red azure=blue emerald=green golden=yellow ebony=black ivory=white "
            "violet=purple rosy=pink tawny=brown ashen=gray coral=orange sandy=beige"
        ),
        "pattern": _pairs(
            "dotted=polka lined=stripe checked=plaid floral=bloom zigzag=chevron braided=basket "
            "starry=stellar wavy=ripple leafy=vine scaly=fish paned=tile swirly=paisley"
        ),
        "operation": MappingProxyType(
            {
                "double": "v * 2",
                "raise": "v + 1",
                "square": "v * v",
                "negate": "0 - v",
                "halve": "v // 2",
                "magnitude": "abs(v)",
                "even": "v % 2 == 0",
                "odd": "v % 2 == 1",
                "positive": "v > 0",
                "reverse": "x[::-1]",
                "order": "sorted(x)",
                "tail": "x[1:]",
            }
        ),
    }
)

SYLLABLES = tuple(c + v for c in "bdfghklmnprstvz" for v in "aeiou")


def in_split(key: str, split: Split) -> bool:
    """Whether `key` belongs to `split`: a quarter of all keys, chosen by hash, is for tests and never trained on."""
    is_test = hashlib.blake2b(key.encode(), digest_size=1).digest()[0] < 64
    return is_test == (split == "test")


def names(rng: random.Random, count: int, split: Split) -> list[str]:
    """Draws `count` different three-syllable names that belong to `split` (a name is never in both splits)."""
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        name = "".join(rng.choices(SYLLABLES, k=3)).capitalize()
        if in_split(name, split):
            drawn[name] = None
    return list(drawn)


def distinct(rng: random.Random, right: str, pool: Lexicon, count: int, exclude: tuple[str, ...] = ()) -> list[str]:
    """Returns `count` different world words of a lexicon, shuffled and including `right`; `exclude` never appears."""
    others = [word for word in pool.values() if word != right and word not in exclude]
    words = [right, *rng.sample(others, count - 1)]
    rng.shuffle(words)
    return words


Generate = Callable[[random.Random, str], Problem]


def problems(task: str, seed: int, count: int, split: Split, generate: Generate) -> Iterator[Problem]:
    """Yields `count` problems that depend only on (task, seed, split, index).

    Args:
        generate: Makes one problem from a random generator and an id.

    Raises:
        SymphonyError: `count` is below 1.
    """
    if count < 1:
        raise SymphonyError(f"task.count: found {count}, allowed: >= 1")
    for index in range(count):
        rng = derive_rng(seed, task, split, str(index))
        yield split_problem(rng, f"{task}-{split}-{seed}-{index}", split, generate)


def split_problem(rng: random.Random, id: str, split: Split, generate: Generate) -> Problem:
    """Draws problems until one's text falls into `split`, so that no prompt is in both splits."""
    while True:
        problem = generate(rng, id)
        if in_split(problem.prompt, split):
            return problem
