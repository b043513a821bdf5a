"""A maze of cells with walls, locked doors and piles of keys, seen one cell at a time.

    Task: grid. Doors: iron oak. Goal 2 east 1 north. Open: east. Keys: rust moss bell silk.
    take[rust]  -> Goal 2 east 1 north. Open: east. Keys: ... Holding: rust.
    move[east]  -> Goal 1 east 1 north. Open: west north.

An agent can hold one key. A door opens for the key of its kind; a wrong key jams the lock for good, so only another
branch of the tree can correct the choice. Dead ends cost steps, and the horizon is short.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Interval

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_actions, split_action
from symphony.fields import Count, check_fields
from symphony.tasks.feedback import visible
from symphony.tasks.mini import generated
from symphony.types import Feedback, Grade, Problem, Proposal, State, SymphonyError

Cell = tuple[int, int]
MOVES: Mapping[str, Cell] = {"east": (1, 0), "north": (0, 1), "south": (0, -1), "west": (-1, 0)}
PILE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Open passages (pairs of cells, stored in both orders), doors and key piles."""

    passages: frozenset[tuple[Cell, Cell]]
    doors: Mapping[tuple[Cell, Cell], str]
    piles: Mapping[Cell, tuple[str, ...]]
    start: Cell
    goal: Cell
    lexicon: generated.Lexicon


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    world: World
    cell: Cell
    holding: str = ""
    opened: frozenset[str] = frozenset()
    jammed: bool = False
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GridWorld:
    """The maze environment; the reward is 1 on reaching the goal within the horizon, else 0.

    Args:
        seed, count: The seed that problems are generated from, and how many.
        width, height: Size in cells, each >= 2; width * height >= 6.
        doors: Locked doors on the way, 0..2.
        max_steps: Horizon in actions.
        feedback: Whether a search sees the reward.
    """

    seed: int
    count: Count
    width: Annotated[int, Ge(2)] = 4
    height: Annotated[int, Ge(2)] = 3
    doors: Annotated[int, Interval(ge=0, le=2)] = 2
    max_steps: Count = 12
    feedback: Feedback = "oracle"
    split: generated.Split = "test"
    verbs: ClassVar[tuple[str, ...]] = ("move", "take")
    name: str = "gridworld"
    prompts: ChatPrompts = field(default_factory=ChatPrompts)

    def __post_init__(self) -> None:
        check_fields("task", self)
        if self.width * self.height < 6:
            raise SymphonyError(f"task.width x task.height: found {self.width} x {self.height}, allowed: >= 2 x 3")

    def problems(self) -> Sequence[Problem]:
        return list(generated.problems(self.name, self.seed, self.count, self.split, self.generate))

    def generate(self, rng: random.Random, id: str, lexicon: generated.Lexicon = generated.LEXICONS["key"]) -> Problem:
        path: list[Cell] = []
        while not 4 <= len(path) <= 7:
            passages = _maze(rng, self.width, self.height)
            start, goal = rng.sample(sorted({cell for cell, _ in passages}), 2)
            path = route(passages, start, goal)
        asks = rng.sample(sorted(lexicon), self.doors)
        # A door is between path[at] and path[at + 1]; its pile is on the path before it, after the previous door.
        spots = sorted(rng.sample(range(len(path) - 1), self.doors))
        doors: dict[tuple[Cell, Cell], str] = {}
        piles: dict[Cell, tuple[str, ...]] = {}
        earliest = 0
        for ask, at in zip(asks, spots, strict=True):
            doors[path[at], path[at + 1]] = doors[path[at + 1], path[at]] = ask
            piles[path[rng.randint(earliest, at)]] = tuple(generated.distinct(rng, lexicon[ask], lexicon, PILE))
            earliest = at + 1
        world = World(passages=passages, doors=doors, piles=piles, start=start, goal=goal, lexicon=lexicon)
        listed = f"Doors: {' '.join(asks)}. " if asks else ""
        look = _look(Data(world=world, cell=start))
        return Problem(id=id, kind=f"{self.doors} doors", prompt=f"Task: grid. {listed}{look}", target=world)

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=Data(world=problem.target, cell=problem.target.start))

    def parse(self, text: str) -> Proposal | None:
        return parse_proposal(text, self.verbs)

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = replace(state.data, steps=state.data.steps + 1)
        verb, argument = split_action(action)
        if verb == "take" and argument in data.world.piles.get(data.cell, ()):
            return self._state(replace(data, holding=argument))
        if verb == "move" and argument in MOVES:
            after = neighbour(data.cell, argument)
            if (data.cell, after) in data.world.passages:
                return self._through(data, after)
        return self._state(data, "Not possible. " + _look(data), invalid=verb not in ("move", "take"))

    def _through(self, data: Data, after: Cell) -> State:
        door = data.world.doors.get((data.cell, after))
        if door is None or door in data.opened:
            return self._state(replace(data, cell=after))
        if not data.holding:
            return self._state(data, "Locked. " + _look(data))
        if data.holding != data.world.lexicon[door]:
            return self._state(replace(data, jammed=True), "The lock jams.")
        return self._state(replace(data, cell=after, holding="", opened=data.opened | {door}))

    def _state(self, data: Data, observation: str = "", invalid: bool = False) -> State:
        arrived = data.cell == data.world.goal
        over = arrived or data.jammed
        truncated = not over and data.steps >= self.max_steps
        return State(
            observation=observation or ("Goal reached." if arrived else _look(data)),
            reward=visible(float(arrived), self.feedback, over or truncated),
            terminated=over,
            truncated=truncated,
            invalid=invalid,
            data=data,
        )

    def failure_key(self, state: State) -> str:
        data: Data = state.data
        return f"{data.cell} {data.holding} {len(data.opened)}"

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Reads one action per line."""
        return read_actions(prediction, self.parse)

    def grade(self, problem: Problem, state: State) -> Grade:
        data: Data = state.data
        success = data.cell == data.world.goal
        return Grade(success=success, score=float(success), detail=f"cell {data.cell}, doors {len(data.opened)}")


def neighbour(cell: Cell, direction: str) -> Cell:
    dx, dy = MOVES[direction]
    return cell[0] + dx, cell[1] + dy


def route(passages: frozenset[tuple[Cell, Cell]], start: Cell, goal: Cell) -> list[Cell]:
    """Returns the shortest path from start to goal, both included (breadth first, directions in the order of MOVES)."""
    before: dict[Cell, Cell] = {start: start}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        for direction in MOVES:
            after = neighbour(cell, direction)
            if after not in before and (cell, after) in passages:
                before[after] = cell
                queue.append(after)
    path = [goal]
    while path[-1] != start:
        path.append(before[path[-1]])
    return path[::-1]


def _maze(rng: random.Random, width: int, height: int) -> frozenset[tuple[Cell, Cell]]:
    """Builds a random spanning tree of the grid (depth first), as open passages in both orders."""
    stack = [(rng.randrange(width), rng.randrange(height))]
    seen = set(stack)
    passages = set()
    while stack:
        cell = stack[-1]
        steps = [neighbour(cell, direction) for direction in MOVES]
        fresh = [c for c in steps if 0 <= c[0] < width and 0 <= c[1] < height and c not in seen]
        if not fresh:
            stack.pop()
            continue
        after = rng.choice(fresh)
        passages |= {(cell, after), (after, cell)}
        seen.add(after)
        stack.append(after)
    return frozenset(passages)


def _look(data: Data) -> str:
    world, (x, y) = data.world, data.cell
    dx, dy = world.goal[0] - x, world.goal[1] - y
    far = [f"{abs(dx)} {'east' if dx > 0 else 'west'}"] if dx else []
    far += [f"{abs(dy)} {'north' if dy > 0 else 'south'}"] if dy else []
    ways = [direction for direction in MOVES if (data.cell, neighbour(data.cell, direction)) in world.passages]
    parts = [f"Goal {' '.join(far)}.", f"Open: {' '.join(ways)}."]
    for direction in ways:
        door = world.doors.get((data.cell, neighbour(data.cell, direction)))
        if door is not None and door not in data.opened:
            parts.append(f"Door: {direction} {door}.")
    if data.cell in world.piles:
        parts.append(f"Keys: {' '.join(world.piles[data.cell])}.")
    if data.holding:
        parts.append(f"Holding: {data.holding}.")
    return " ".join(parts)
