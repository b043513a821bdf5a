"""Shopping in a generated catalogue, in the protocol of WebShop: search, click options, buy; score in [0, 1].

    Task: shop. Buy a snug crimson dotted coat under 40.
    search[coat] -> B1 denim 35; B2 fleece 52; B3 fleece 28; B4 wool 31; B5 silk 60.
    click[B3]    -> B3 fleece 28. Colors: navy red green gray. Patterns: plaid polka bloom vine.
    click[red]   -> Chosen red.
    click[polka] -> Chosen polka.
    click[buy]   -> Score 1.0.

The order's words differ from the catalogue's, and one of the two items in the right material costs too much.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from annotated_types import Interval

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_actions, split_action
from symphony.fields import Count, check_fields
from symphony.tasks.feedback import visible
from symphony.tasks.mini import generated
from symphony.types import Feedback, Grade, Problem, Proposal, State

TYPES = ("coat", "lamp", "rug", "mug", "tent", "chair")
OPTIONS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    id: str
    material: str
    price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A catalogue and one order; `asks` holds the order's words for material, colour and pattern."""

    type: str
    items: tuple[Item, ...]
    colours: tuple[str, ...]
    patterns: tuple[str, ...]
    asks: tuple[str, str, str]
    limit: int
    wanted: tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    world: World
    listed: bool = False
    item: Item | None = None
    colour: str = ""
    pattern: str = ""
    bought: bool = False
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniShop:
    """The shopping environment; a purchase scores the share of the order's four demands that it meets.

    Args:
        seed, count: The seed that problems are generated from, and how many.
        items: Products that a search lists, 4..9.
        max_steps: Horizon in actions.
        feedback: Whether a search sees the score of a purchase.
    """

    seed: int
    count: Count
    items: Annotated[int, Interval(ge=4, le=9)] = 5
    max_steps: Count = 8
    feedback: Feedback = "oracle"
    split: generated.Split = "test"
    verbs: ClassVar[tuple[str, ...]] = ("search", "click")
    name: str = "mini_shop"
    prompts: ChatPrompts = field(default_factory=ChatPrompts)

    def __post_init__(self) -> None:
        check_fields("task", self)

    def problems(self) -> Sequence[Problem]:
        return list(generated.problems(self.name, self.seed, self.count, self.split, self.generate))

    def generate(self, rng: random.Random, id: str, lexicons: generated.Lexicons = generated.LEXICONS) -> Problem:
        tables = (lexicons["material"], lexicons["colour"], lexicons["pattern"])
        asks = (rng.choice(sorted(tables[0])), rng.choice(sorted(tables[1])), rng.choice(sorted(tables[2])))
        wanted = (tables[0][asks[0]], tables[1][asks[1]], tables[2][asks[2]])
        limit = rng.randrange(30, 80, 10)
        others = rng.sample([word for word in tables[0].values() if word != wanted[0]], self.items - 3)
        materials = [wanted[0], others[0], wanted[0], *others]  # two materials come twice, so a pair reveals nothing
        prices = [rng.randint(limit + 1, limit + 19) for _ in range(2)]
        prices += [rng.randint(limit - 19, limit - 1) for _ in range(2)]
        prices += [rng.randint(limit - 15, limit + 15) for _ in others[1:]]
        rows = list(zip(materials, prices, strict=True))
        rng.shuffle(rows)
        items = tuple(Item(id=f"B{n}", material=m, price=p) for n, (m, p) in enumerate(rows, 1))
        world = World(
            type=rng.choice(TYPES),
            items=items,
            colours=tuple(generated.distinct(rng, wanted[1], tables[1], OPTIONS)),
            patterns=tuple(generated.distinct(rng, wanted[2], tables[2], OPTIONS)),
            asks=asks,
            limit=limit,
            wanted=wanted,
        )
        prompt = f"Task: shop. Buy a {' '.join(asks)} {world.type} under {limit}."
        return Problem(id=id, kind=f"{self.items} items", prompt=prompt, target=world)

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=Data(world=problem.target))

    def parse(self, text: str) -> Proposal | None:
        return parse_proposal(text, self.verbs)

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = replace(state.data, steps=state.data.steps + 1)
        verb, argument = split_action(action)
        if verb == "click" and argument == "buy" and data.item is not None:
            return self._buy(data)
        after, observation = _page(data, verb, argument)
        truncated = data.steps >= self.max_steps
        return State(
            observation=observation,
            reward=visible(0.0, self.feedback, truncated),
            truncated=truncated,
            invalid=after is None,
            data=data if after is None else after,
        )

    def _buy(self, data: Data) -> State:
        score = _score(data)
        shows_score = self.feedback == "oracle"
        return State(
            observation=f"Score {score}." if shows_score else "Bought.",
            reward=visible(score, self.feedback),
            terminated=True,
            data=replace(data, bought=True),
        )

    def failure_key(self, state: State) -> str:
        data: Data = state.data
        return f"{data.item.id if data.item else ''} {data.colour} {data.pattern} {data.bought}"

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Reads one action per line."""
        return read_actions(prediction, self.parse)

    def grade(self, problem: Problem, state: State) -> Grade:
        data: Data = state.data
        score = _score(data) if data.bought else 0.0
        bought = f"{data.item.id} {data.colour} {data.pattern}" if data.bought and data.item else "nothing"
        return Grade(success=score == 1.0, score=score, detail=bought)


def _page(data: Data, verb: str, argument: str) -> tuple[Data | None, str]:
    """Returns the page after an action other than a purchase; None and a hint if the action is not possible here."""
    world = data.world
    if verb == "search":
        if argument != world.type:
            return replace(data, listed=False, item=None), "No results."
        rows = [f"{item.id} {item.material} {item.price}" for item in world.items]
        return replace(data, listed=True, item=None, colour="", pattern=""), "; ".join(rows) + "."
    item = next((item for item in world.items if item.id == argument), None)
    if verb == "click" and data.listed and item is not None:
        page = f"{item.id} {item.material} {item.price}."
        options = f"Colors: {' '.join(world.colours)}. Patterns: {' '.join(world.patterns)}."
        return replace(data, item=item, colour="", pattern=""), f"{page} {options}"
    if verb == "click" and data.item is not None and argument in world.colours:
        return replace(data, colour=argument), f"Chosen {argument}."
    if verb == "click" and data.item is not None and argument in world.patterns:
        return replace(data, pattern=argument), f"Chosen {argument}."
    return None, "Not possible."


def _score(data: Data) -> float:
    assert data.item is not None
    chosen = (data.item.material, data.colour, data.pattern)
    met = sum(a == b for a, b in zip(chosen, data.world.wanted, strict=True))
    return (met + (data.item.price < data.world.limit)) / 4
