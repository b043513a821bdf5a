"""Scripted experts of the generated tasks, which see the whole world and demonstrate the protocol.

An expert is a generator that yields `Choose` (a gamble on a lexicon; it is sent the word to go on with) and `Act` (a
proposal; it is sent the state that followed). The driver may send a wrong word; the expert then goes on consistently
with it, as a model that guessed would.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Generator
from dataclasses import dataclass

from symphony.tasks.mini import gridworld, mini_code, mini_qa, mini_shop
from symphony.types import Problem, Proposal, State


@dataclass(frozen=True, slots=True)
class Choose:
    """A choice of a lexicon word among `options`; `right` is the one that the world holds for `ask`."""

    ask: str
    right: str
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Act:
    """A proposal; `trained` is False for a deliberate slip, which is shown but not learnt."""

    proposal: Proposal
    trained: bool = True


Script = Generator[Choose | Act, State | str, None]


def _act(thought: str, action: str, trained: bool = True) -> Act:
    return Act(Proposal(thought=thought, action=action), trained)


def _means(ask: str, word: str) -> str:
    return f"{ask} means {word}."


def qa(problem: Problem, rng: random.Random, slip: float) -> Script:
    world: mini_qa.World = problem.target
    page = world.start
    yield _act("Start.", f"search[{page}]")
    for number, ask in enumerate(world.asks, 1):
        facts = world.pages[page]
        word = yield Choose(ask, world.lexicon[ask], tuple(facts))
        assert isinstance(word, str)
        if list(facts).index(word) >= mini_qa.SHOWN:
            yield _act(_means(ask, word), f"lookup[{word}]")
        page = facts[word]
        verb = "finish" if number == len(world.asks) else "search"
        yield _act(_means(ask, word), f"{verb}[{page}]")


def grid(problem: Problem, rng: random.Random, slip: float) -> Script:
    world: gridworld.World = problem.target
    data = gridworld.Data(world=world, cell=world.start)
    while True:
        path = gridworld.route(world.passages, data.cell, world.goal)
        ahead = [world.doors[edge] for edge in itertools.pairwise(path) if edge in world.doors]
        needed = [door for door in ahead if door not in data.opened]
        if needed and not data.holding and data.cell in world.piles:
            ask = needed[0]
            word = yield Choose(ask, world.lexicon[ask], world.piles[data.cell])
            state = yield _act(_means(str(ask), str(word)), f"take[{word}]")
        else:
            ways = {gridworld.neighbour(data.cell, d): d for d in gridworld.MOVES}
            wrong = [d for cell, d in ways.items() if (data.cell, cell) in world.passages and cell != path[1]]
            if wrong and rng.random() < slip:
                state = yield _act("Go.", f"move[{rng.choice(wrong)}]", trained=False)
            else:
                state = yield _act("Go.", f"move[{ways[path[1]]}]")
        assert isinstance(state, State)
        data = state.data


def shop(problem: Problem, rng: random.Random, slip: float) -> Script:
    world: mini_shop.World = problem.target
    yield _act("Start.", f"search[{world.type}]")
    material, colour, pattern = world.asks
    word = yield Choose(material, world.wanted[0], tuple({item.material: None for item in world.items}))
    matching = [item for item in world.items if item.material == word]
    items = sorted(matching, key=lambda item: item.price)
    dear = len(items) > 1 and rng.random() < slip / 2
    listed = " or ".join(f"{item.id} {item.price}" for item in matching)
    thought = f"{_means(material, str(word))} {listed}."
    yield _act(thought, f"click[{items[-1 if dear else 0].id}]", trained=not dear)
    word = yield Choose(colour, world.wanted[1], world.colours)
    yield _act(_means(colour, str(word)), f"click[{word}]")
    word = yield Choose(pattern, world.wanted[2], world.patterns)
    yield _act(_means(pattern, str(word)), f"click[{word}]")
    yield _act("Done.", "click[buy]")


def code(problem: Problem, rng: random.Random, slip: float) -> Script:
    world: mini_code.World = problem.target
    for ask in world.asks:
        word = yield Choose(ask, world.lexicon[ask], tuple(world.lexicon.values()))
        yield _act(_means(ask, str(word)), f"line[{mini_code.line(str(word))}]")
    yield _act("Done.", "submit[f]")
