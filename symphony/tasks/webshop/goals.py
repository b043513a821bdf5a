"""WebShop's goals and reward as in the original: what a shopper is asked to buy, and what a purchase earns.

    r = type * (attributes met + options met + [price <= ceiling]) / (attributes + options + 1)

Source: Yao et al. 2022 (WebShop), section 3 and its engine's goal rules. Goals come in the original's shuffled order,
so goal i is the original's `fixed_i`. The original draws the prices of products with a price range and the ceilings in
the instructions anew at every start; here they follow from a seed.
"""

from __future__ import annotations

import math
import random
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

from thefuzz import fuzz

from symphony.tasks.webshop.catalogue import Catalogue, Product
from symphony.types import SymphonyError

Instructions = Literal["human", "synthetic"]
Nouns = Literal["auto", "spacy", "words"]
Option = str | tuple[str, str]

SHUFFLE = 233
"""Seed of the original's order of goals."""
UNLIMITED = 1_000_000.0
"""Ceiling that stands for none, for products too expensive to have one."""
_CEILINGS = tuple(10.0 * step for step in range(1, 100))
_SAME = 85
"""Two texts with a ratio above this (0 to 100) count as the same."""
_MODEL = "en_core_web_sm"

# A colour name anywhere in an option replaces the option; the first in this list that occurs wins.
_COLOUR_NAMES = """alabaster apricot aqua ash asphalt azure banana beige black blue blush bordeaux bronze brown burgundy
camel camo caramel champagne charcoal cheetah chestnut chocolate christmas coffee cognac copper coral cranberry cream
crystal dark denim eggplant elephant espresso fuchsia gold granite grape graphite grass gray green grey heather indigo
ivory ivy khaki lavender lemon leopard light lilac lime magenta maroon mauve merlot midnight mint mocha multicolor
mushroom mustard natural navy nude olive orange peach pewter pink plum purple rainbow red rose royal rust sand sapphire
seashell silver skull slate steel stone stonewash sunflower tan taupe teal tiger turquoise violet walnut wheat white
wine yellow"""
_COLOURS = tuple(_COLOUR_NAMES.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a shopper is asked to buy.

    Attributes:
        asin: The product the goal was written for; any other that fits is as good.
        instruction: What the shopper is told.
        title, query, path: Those of that product, as in `Product`.
        options: Option values asked for; (name, value) in synthetic goals.
        ceiling: Maximum dollars the purchase may cost.
    """

    asin: str
    instruction: str
    category: str
    title: str
    query: str
    path: str
    attributes: tuple[str, ...]
    options: tuple[Option, ...]
    ceiling: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reward:
    """The judgement of a purchase.

    Attributes:
        total: The reward, in [0, 1].
        type: How far it is the kind of product asked for: 0, 0.1, 0.5 or 1.
        attributes, options: How many of the goal's are met.
        price: Whether it costs no more than the ceiling.
        title: Share of the goal title's nouns that the product's title has, >= 0.
    """

    total: float
    type: float
    attributes: int
    options: int
    price: bool
    title: float


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Goals:
    """All goals of a catalogue, in the original's shuffled order; each goal is built when requested.

    Attributes:
        prices: Price of each product in dollars, by its position in the catalogue.
    """

    prices: array[float] = field(repr=False)
    _catalogue: Catalogue = field(repr=False)
    _written: Sequence[_Written] = field(repr=False)
    _ends: Sequence[int] = field(repr=False)
    _order: Sequence[int] = field(repr=False)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Goal:
        place = self._order[index]
        which = bisect_right(self._ends, place)
        written = self._written[which]
        product = self._catalogue.product(written.asin)
        if written.options is None:
            combination = place - (self._ends[which - 1] if which else 0)
            pairs = _combination(product, combination)
            options: tuple[Option, ...] = pairs
            options_text = ", and ".join(f"{name}: {value}" for name, value in pairs)
            asked = f"{written.instruction} with {options_text}" if options_text else written.instruction
        else:
            options, asked = written.options, written.instruction.strip(".")
        limit = "" if written.ceiling == UNLIMITED else f", and price lower than {written.ceiling:.2f} dollars"
        return Goal(
            asin=product.asin,
            instruction=asked + limit,
            category=product.category,
            title=product.title,
            query=product.query,
            path=product.path,
            attributes=written.attributes,
            options=options,
            ceiling=written.ceiling,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """An instruction; without `options` it stands for one goal per combination of the product's options."""

    asin: str
    instruction: str
    attributes: tuple[str, ...]
    options: tuple[str, ...] | None
    ceiling: float


def goals(catalogue: Catalogue, instructions: Mapping[str, Any], kind: Instructions, seed: int) -> Goals:
    """Builds the goals of a catalogue.

    Args:
        catalogue: The products to buy from.
        instructions: The rows of items_human_ins.json ("human") or items_ins_v2*.json ("synthetic"), by product, as
            checked by `table`.
        kind: Which of the two.
        seed: Seed of prices and ceilings: gives the original's draws after `random.seed(seed)` before loading.
    """
    rng = random.Random(seed)
    prices = array("d", catalogue.low)
    for row, (low, high) in enumerate(zip(catalogue.low, catalogue.high, strict=True)):
        if low != high:
            prices[row] = rng.uniform(low, high)
    rows = sorted(row for row in map(catalogue.row, instructions) if row is not None)
    written: list[_Written] = []
    ends: list[int] = []
    for row in rows:
        asin = catalogue.asins[row]
        for instruction in _select_instructions(instructions[asin], kind):
            goal = _Written(asin=asin, ceiling=_ceiling(rng, prices[row]), **instruction)
            product = catalogue.product(asin) if goal.options is None else None
            count = math.prod(len(values) for _, values in product.options) if product else 1
            written.append(goal)
            ends.append((ends[-1] if ends else 0) + count)
    order = list(range(ends[-1] if ends else 0))
    random.Random(SHUFFLE).shuffle(order)
    return Goals(prices=prices, _catalogue=catalogue, _written=written, _ends=ends, _order=array("q", order))


def _select_instructions(rows: Any, kind: Instructions) -> list[dict[str, Any]]:
    """Returns the instructions of a product that are goals; human ones without attributes are not."""
    if kind == "synthetic":
        if rows.get("instruction") is None:
            return []
        attributes = tuple(rows["instruction_attributes"])
        return [{"instruction": rows["instruction"], "attributes": attributes, "options": None}]
    return [
        {
            "instruction": row["instruction"],
            "attributes": tuple(row["instruction_attributes"]),
            "options": tuple(row["instruction_options"]),
        }
        for row in rows
        if row["instruction_attributes"]
    ]


def _ceiling(rng: random.Random, price: float) -> float:
    """Draws two of the next four multiples of ten dollars above the price and returns the higher."""
    above = [ceiling for ceiling in _CEILINGS if ceiling > price][:4]
    return max(rng.sample(above, 2)) if len(above) >= 2 else UNLIMITED


def _combination(product: Product, number: int) -> tuple[tuple[str, str], ...]:
    """Returns the option combination with this number: names are sorted, and the last name's values change fastest."""
    chosen = []
    for name, values in sorted(product.options, reverse=True):
        number, which = divmod(number, len(values))
        chosen.append((name, values[which]))
    return tuple(reversed(chosen))


# --------------------------------------------------------------------------- reward


def judge(
    product: Product, goal: Goal, price: float, chosen: Sequence[str], nouns: Callable[[str], list[str]]
) -> Reward:
    """Judges a purchase.

    Args:
        product: The product bought.
        goal: What was asked for.
        price: Its price in dollars.
        chosen: Values of the options that were clicked.
        nouns: Returns the nouns of a title, see `nouns_by`.
    """
    title = title_score(nouns(product.title), nouns(goal.title))
    kind = type_share(product.query == goal.query, _same_path(product.path, goal.path), title)
    attributes = sum(_has(product, attribute) for attribute in goal.attributes)
    options = options_met(chosen, goal.options)
    affordable = price <= goal.ceiling
    share = (attributes + options + affordable) / (len(goal.attributes) + len(goal.options) + 1)
    return Reward(total=share * kind, type=kind, attributes=attributes, options=options, price=affordable, title=title)


def title_score(bought: Sequence[str], wanted: Sequence[str]) -> float:
    """Returns distinct shared nouns over all nouns of the goal's title, repeats included; 0.2 if it has no nouns."""
    return len(set(bought) & set(wanted)) / len(wanted) if wanted else 0.2


def type_share(same_query: bool, same_path: bool, title: float) -> float:
    """Rates how far two products are the same kind of thing: 1, 0.5, 0.1 or 0.

    Args:
        same_query: Whether both were scraped by the same search.
        same_path: Whether they share two or more categories.
        title: See `title_score`.
    """
    if title == 0.0:
        return 0.0
    if title < 0.1:
        return 0.1
    return 1.0 if same_query or same_path or title > 0.2 else 0.5


def options_met(chosen: Sequence[str], wanted: Sequence[Option]) -> int:
    """Counts the wanted options that some chosen option matches, with colours reduced to their names."""
    have = [_colour(option) for option in chosen]
    return sum(any(_like(option, want) for option in have) for want in map(_colour, wanted))


def _same_path(bought: str, wanted: str) -> bool:
    mine, theirs = ({part.strip() for part in path.split("\u203a")} for path in (bought, wanted))
    return len(mine & theirs) >= 2


def _has(product: Product, attribute: str) -> bool:
    if any(_like(own, attribute) for own in product.attributes):
        return True
    texts = (product.title, " ".join(product.features), product.description)
    return any(attribute in text.lower() for text in texts)


def _like(option: Option, other: Option) -> bool:
    # A synthetic option is a pair; the original's matcher sees its Python repr, which holds name and value.
    return bool(fuzz.token_set_ratio(str(option), str(other)) > _SAME)


def _colour(option: Option) -> Option:
    """Reduces an option to its first colour; for a pair, as in the original, a member must be exactly a colour name."""
    return next((colour for colour in _COLOURS if colour in option), option)


# --------------------------------------------------------------------------- nouns


def nouns_by(wanted: Nouns) -> Literal["spacy", "words"]:
    """Chooses what finds nouns: spaCy's en_core_web_sm as in the original, or the substitute.

    Raises:
        SymphonyError: spaCy is asked for, but it or its model is not installed.
    """
    has_spacy = find_spec("spacy") is not None and find_spec(_MODEL) is not None
    if wanted == "spacy" and not has_spacy:
        raise SymphonyError(
            f"task.nouns: found spacy without spaCy and its model, allowed: auto, words, or spacy "
            f"after `pip install spacy && python -m spacy download {_MODEL}`"
        )
    return "words" if wanted == "words" or not has_spacy else "spacy"


def noun_finder(by: Literal["spacy", "words"]) -> Callable[[str], list[str]]:
    """Returns a function from a title to its nouns, in lower case, in order and with repetitions."""
    return _spacy_nouns if by == "spacy" else _words


@lru_cache(maxsize=4096)
def _spacy_nouns(title: str) -> list[str]:
    return [word.text.lower() for word in _spacy()(title) if word.pos_ in ("NOUN", "PROPN")]


@lru_cache(maxsize=1)
def _spacy() -> Any:
    import spacy  # only if wanted: it takes seconds to load

    return spacy.load(_MODEL)


_WORD = re.compile(r"[^\W_]+(?:['\u2019.][^\W_]+)*")
_FUNCTION = """a about after all an and any are as at be before between both but by can do each every for from has have
how i if in into is it its me more most my no not of off on only or other our out over per so than that the then these
this those to too under up very via was what when where which while who with within without you your"""
_FUNCTION_WORDS = frozenset(_FUNCTION.split())


def _words(title: str) -> list[str]:
    """Substitutes for spaCy: most words of a product title are nouns, so all but function words and numbers count."""
    words = [word for word in _WORD.findall(title.lower()) if len(word) > 1 and not word[0].isdigit()]
    return [word for word in words if word not in _FUNCTION_WORDS]
