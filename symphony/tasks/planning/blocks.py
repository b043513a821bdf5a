"""The blocks world: blocks on a table, and a hand that moves one block at a time; exact, without a model or a search.

A fact is a tuple of words, as in PDDL: ("on", "red", "blue"), ("ontable", "blue"), ("clear", "red"), ("handempty",).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

TABLE, HAND = "table", "hand"
VERBS: Mapping[str, int] = {"pickup": 1, "putdown": 1, "unstack": 2, "stack": 2}
"""The actions, and how many blocks each names."""
Fact = tuple[str, ...]
_FACTS = {"on": 2, "ontable": 1, "clear": 1, "handempty": 0}
_NAMES = "red blue orange yellow white magenta black cyan green violet silver gold"
COLOURS = dict(zip("abcdefghijkl", _NAMES.split(), strict=True))
"""What PlanBench (Valmeekam et al. 2023, configs/blocksworld.yaml) calls the objects of its PDDL files."""
_PDDL = re.compile(
    r"\s*\(\s*define\s*\(problem [^()]*\)\s*\(:domain [^()]*\)\s*\(:objects (?P<objects>[^()]*)\)"
    r"\s*\(:init(?P<start>(?:\s*\([^()]*\))+)\s*\)\s*\(:goal\s*\(and(?P<goal>(?:\s*\([^()]*\))+)\s*\)\s*\)\s*\)\s*"
)
_SENTENCES = re.compile(
    r"\s*As initial conditions I have that, (?P<start>[^.]*)\.\s*My goal is to have that (?P<goal>[^.]*)\..*",
    re.DOTALL,
)
_PHRASES = {
    "on": re.compile(r"the (\S+) block is on top of the (\S+) block"),
    "ontable": re.compile(r"the (\S+) block is on the table"),
    "clear": re.compile(r"the (\S+) block is clear"),
    "handempty": re.compile(r"the hand is empty"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Where each block is.

    Attributes:
        under: Block -> the block that it is on, or TABLE, or HAND; never changed. No two blocks are on one block, and
            at most one is in the hand.
    """

    under: Mapping[str, str]

    def above(self, below: str) -> str:
        """Returns the block that is on a block or in the hand; "" if none is."""
        return next((block for block, at in self.under.items() if at == below), "")

    def __str__(self) -> str:
        return "\n".join(
            [f"{block}: {self._place(block)}" for block in self.under] + [f"Hand: {self.above(HAND) or 'empty'}"]
        )

    def _place(self, block: str) -> str:
        if self.under[block] == HAND:
            return "in the hand"
        on_top = self.above(block)
        return f"on {_place(self.under[block])}, {f'under {on_top}' if on_top else 'clear'}"

    def obstacle(self, verb: str, block: str, other: str = TABLE) -> str:
        """Says why an action isn't possible; "" if it is.

        Args:
            verb: One of `VERBS`.
            block: The block to be moved.
            other: The block that it is taken from or put on; TABLE for `pickup` and `putdown`.
        """
        below, on_top = self.under[block], self.above(block)
        if verb in ("pickup", "unstack"):
            if held := self.above(HAND):
                return f"the hand holds {held}"
            if below != other:
                return f"{block} is on {_place(below)}, not on {_place(other)}"
            return f"{on_top} is on {block}" if on_top else ""
        if below != HAND:
            return f"{block} is not in the hand"
        if other == block:
            return f"{block} can't be on itself"
        return f"{self.above(other)} is on {other}" if other != TABLE and self.above(other) else ""

    def after(self, verb: str, block: str, other: str = TABLE) -> World:
        """Returns the world after an action that is possible."""
        return World(under={**self.under, block: HAND if verb in ("pickup", "unstack") else other})

    def missing(self, goal: Mapping[str, str]) -> Mapping[str, str]:
        """Returns the part of a goal (block -> what it must be on) that does not hold yet."""
        return {block: below for block, below in goal.items() if self.under[block] != below}


def placed(under: Mapping[str, str]) -> str:
    """Says in words what each block is to be on."""
    return ", ".join(f"{block} on {_place(below)}" for block, below in under.items())


def _place(below: str) -> str:
    return f"the {TABLE}" if below == TABLE else below


def read_facts(text: str) -> tuple[list[Fact], list[Fact]]:
    """Reads the facts of a start and of a goal from a PDDL problem, or from sentences as PlanBench writes them.

    Source: Valmeekam et al. 2023 (PlanBench, arXiv 2206.10498). Objects of PDDL get their colours (`COLOURS`).

    Raises:
        ValueError: The text is of another form.
    """
    if match := _PDDL.fullmatch(text):
        start, goal = (list(map(_fact, re.findall(r"\(([^()]*)\)", match[part]))) for part in ("start", "goal"))
        named = {COLOURS.get(name, name) for name in match["objects"].split()}
        if stray := named ^ {fact[1] for fact in start if len(fact) > 1}:
            raise ValueError(f"{min(stray)} either in the objects or in the start alone")
        return start, goal
    if match := _SENTENCES.fullmatch(text):
        start, goal = (list(map(_phrase, re.split(", | and ", match[part]))) for part in ("start", "goal"))
        return start, goal
    raise ValueError("neither a PDDL problem nor its sentences")


def _fact(text: str) -> Fact:
    verb, *names = text.split() or [""]
    if _FACTS.get(verb) != len(names):
        raise ValueError(f"({text})")
    return verb, *(COLOURS.get(name, name) for name in names)


def _phrase(text: str) -> Fact:
    for verb, phrase in _PHRASES.items():
        if match := phrase.fullmatch(text):
            return verb, *match.groups()
    raise ValueError(repr(text))


def start_world(facts: Iterable[Fact]) -> World:
    """Builds a world from all of its facts, blocks in the order of `COLOURS`.

    Raises:
        ValueError: The facts contradict each other, or do not say where each block is.
    """
    facts = set(facts)
    under = _places(facts)
    if reserved := {TABLE, HAND} & {*under}:
        raise ValueError(f"a block called {min(reserved)}")
    world = World(under={block: under[block] for block in sorted(under, key=_rank)})
    for block, below in under.items():
        seen = {block}
        while below != TABLE:
            if below in seen or below not in under:
                raise ValueError(f"{block} on a tower that does not stand on the table")
            seen.add(below)
            below = under[below]
        if ("clear", block) in facts and world.above(block):
            raise ValueError(f"{block} clear below {world.above(block)}")
    if len([below for below in under.values() if below != TABLE]) > len({*under.values()} - {TABLE}):
        raise ValueError("two blocks on one")
    return world


def goal_places(facts: Iterable[Fact], world: World) -> Mapping[str, str]:
    """Returns a goal as block -> what it must be on, blocks in the order of `COLOURS`.

    Raises:
        ValueError: The goal names an unknown block, two places for one, something else, or what already holds.
    """
    facts = list(facts)
    goal = _places(facts)
    if len(goal) < len(facts) or not {*goal, *goal.values()} <= {*world.under, TABLE}:
        raise ValueError(f"the goal {', '.join(map(' '.join, facts))}")
    if not world.missing(goal):
        raise ValueError("a goal that holds at the start")
    return {block: goal[block] for block in sorted(goal, key=_rank)}


def plan_actions(plan: Sequence[str]) -> tuple[str, ...]:
    """Returns the actions of a plan such as ["(pick-up b)", "(stack b c)"], as this task spells them.

    Raises:
        ValueError: A line is no action.
    """
    actions = []
    for line in plan:
        verb, *names = line.strip().removeprefix("(").removesuffix(")").split() or [""]
        verb = verb.replace("-", "")
        if VERBS.get(verb) != len(names):
            raise ValueError(repr(line))
        actions.append(f"{verb}[{', '.join(COLOURS.get(name, name) for name in names)}]")
    return tuple(actions)


def _places(facts: Iterable[Fact]) -> dict[str, str]:
    under: dict[str, str] = {}
    for verb, *names in facts:
        if verb in ("on", "ontable"):
            if names[0] in under:
                raise ValueError(f"two places of {names[0]}")
            under[names[0]] = names[1] if verb == "on" else TABLE
    return under


def _rank(block: str) -> tuple[int, str]:
    colours = list(COLOURS.values())
    return (colours.index(block) if block in colours else len(colours), block)
