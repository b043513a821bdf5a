"""Blocksworld: move blocks, one at a time, until some of them are on others as the goal says.

    pink: on green, clear / green: on the table, under pink / grey: on the table, clear / Hand: empty
    Goal: green on grey
    unstack[pink, green] -> pink: in the hand / green: on the table, clear / ... / To do: green on grey
    putdown[pink]        -> pink: on the table, clear / ... / Hand: empty / To do: green on grey
    pickup[green]        -> ...
    stack[green, grey]   -> Goal reached.

An action that is not possible changes nothing, and the reason is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_actions, split_action
from symphony.fields import Count, FromZero, check_fields
from symphony.tasks import datafiles, jsonrows
from symphony.tasks.feedback import visible
from symphony.tasks.planning.blocks import VERBS, World, goal_places, placed, plan_actions, read_facts, start_world
from symphony.tasks.repeats import Repeats, Seen, note_repeat
from symphony.tasks.wording import read_prompts
from symphony.types import Feedback, Grade, Problem, Proposal, State, SymphonyError

FILE = "blocksworld.jsonl"
PUBLISHED = {
    "blocksworld/task_1_plan_generation.json": "generated_basic",
    "blocksworld_3/task_1_plan_generation.json": "generated_basic_3",
}
"""PlanBench's files, and the folder of the PDDL files that their problems come from."""
_FORMS = {
    "unstack": "unstack[A, B] takes A from B",
    "pickup": "pickup[A] takes A from the table",
    "stack": "stack[A, B] puts A on B",
    "putdown": "putdown[A] puts A on the table",
}
_SPELT = re.compile(r"\b(pick|put)[-_ ](up|down)(?=\s*\[)", re.IGNORECASE)
_WORDS = frozenset(["the", "block", "from", "on", "onto", "off", "top", "of", "to", "and", "table"])
"""Words that an argument may have beside names of blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Puzzle:
    """A start, a goal (block -> what it must be on), and the reference plan as actions, which no search reads."""

    id: str
    start: World
    goal: Mapping[str, str]
    plan: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    world: World
    goal: Mapping[str, str]
    steps: int = 0
    seen: Seen = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocksworld:
    """The blocks world of PlanBench; the reward is 1 where the goal is reached, else 0.

    The prompt states the goal, so the end of an episode shows that it is reached, also without feedback.

    Source: Valmeekam et al. 2023 (PlanBench, arXiv 2206.10498); as a search problem: Hao et al. 2023 (RAP, 2305.14992).

    Args:
        count: How many problems; None means all that follow.
        first: Position of the first problem, in the file or among those with `plan_steps`.
        plan_steps: Only problems whose reference plan has one of these numbers of actions; None means all.
        max_steps: Horizon in actions, impossible ones included.
        repeats: Whether the agent is told that an action led to the same blocks again ("told"; "official": no).
        feedback: Whether a search sees the reward.
        data: Folder of the data sets.
        wording: Version of the prompts, or a prompt file of your own.
    """

    count: Count | None
    first: FromZero = 0
    plan_steps: tuple[Count, ...] | None = None
    max_steps: Count = 16
    repeats: Repeats = "official"
    feedback: Feedback = "oracle"
    data: Path = Path("data")
    wording: str = "v1"
    name: str = "blocksworld"

    def __post_init__(self) -> None:
        check_fields("task", self)
        read_prompts(self.name, self.wording)  # reports errors in the file right away

    @property
    def prompts(self) -> ChatPrompts:
        return read_prompts(self.name, self.wording)

    def files(self) -> tuple[Path, ...]:
        """Returns the files the problems are read from: one with PDDL, or else PlanBench's two.

        Raises:
            SymphonyError: One is missing.
        """
        first, second = PUBLISHED
        found = datafiles.find(self.data, "planning", (FILE, first), self.name)
        if found.name.startswith(FILE):
            return (found,)
        return found, datafiles.find(self.data, "planning", (second,), self.name)

    def problems(self) -> Sequence[Problem]:
        paths = self.files()
        puzzles = [puzzle for path in paths for puzzle in read(path)]
        if self.plan_steps is not None:
            puzzles = [puzzle for puzzle in puzzles if len(puzzle.plan) in self.plan_steps]
            if not puzzles:
                raise SymphonyError(f"task.plan_steps: found {list(self.plan_steps)}, allowed: lengths of some plans")
        chosen = datafiles.items(paths[0], puzzles, self.first, self.count)
        return self.prompts.apart([_problem(puzzle) for puzzle in chosen])

    def reset(self, problem: Problem) -> State:
        puzzle: Puzzle = problem.target
        return State(observation="", data=Data(world=puzzle.start, goal=puzzle.goal))

    def parse(self, text: str) -> Proposal | None:
        return parse_proposal(_SPELT.sub(r"\1\2", text), tuple(VERBS))

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = state.data
        verb, argument = split_action(action)
        blocks = named(argument, data.world)
        why = _fault(data.world, verb, blocks)
        world = data.world if why else data.world.after(verb, *blocks)
        missing = world.missing(data.goal)
        reached = not missing
        refused = f"Not possible: {why}.\n" if why else ""
        shown = "Goal reached." if reached else f"{refused}{world}\nTo do: {placed(missing)}"
        shown, seen = note_repeat(self.repeats, data.seen, action, shown)
        after = Data(world=world, goal=data.goal, steps=data.steps + 1, seen=seen)
        truncated = not reached and after.steps >= self.max_steps
        return State(
            observation=shown,
            reward=visible(float(reached), self.feedback, reached or truncated),
            terminated=reached,
            truncated=truncated,
            invalid=bool(why),
            data=after,
        )

    def failure_key(self, state: State) -> str:
        return str(state.data.world)

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Reads one action per line."""
        return read_actions(_SPELT.sub(r"\1\2", prediction), self.parse)

    def grade(self, problem: Problem, state: State) -> Grade:
        world: World = state.data.world
        success = not world.missing(problem.target.goal)
        return Grade(success=success, score=float(success), detail=str(world).replace("\n", "; "))


def named(argument: str, world: World) -> tuple[str, ...]:
    """Returns the blocks that an argument names, such as "red, blue" or "the red block from blue"; () if unclear."""
    words = [word for word in re.findall(r"[\w-]+", argument.lower()) if word in world.under or word not in _WORDS]
    return tuple(words) if all(word in world.under for word in words) else ()


def _fault(world: World, verb: str, blocks: tuple[str, ...]) -> str:
    """Says why an action isn't possible; "" if it is."""
    if verb not in VERBS:
        return "the actions are unstack[A, B], pickup[A], stack[A, B] and putdown[A]"
    if len(blocks) != VERBS[verb]:
        return f"{_FORMS[verb]}, and the blocks are {', '.join(world.under)}"
    return world.obstacle(verb, *blocks)


def _problem(puzzle: Puzzle) -> Problem:
    prompt = f"{puzzle.start}\nGoal: {placed(puzzle.goal)}"
    return Problem(id=puzzle.id, kind=f"{len(puzzle.plan)} steps", prompt=prompt, target=puzzle)


class _Line(datafiles.Row):
    id: datafiles.Text
    pddl: datafiles.Text
    plan: list[datafiles.Text]


class _Instance(datafiles.Row):
    instance_id: int
    query: datafiles.Text
    ground_truth_plan: datafiles.Text


class _Instances(datafiles.Row):
    instances: list[_Instance]


def read(path: Path) -> Iterator[Puzzle]:
    """Reads puzzles: JSON lines with an id, PDDL and a plan, or a file of PlanBench ("task_1_plan_generation").

    Raises:
        SymphonyError: The file is of another form, an id occurs twice, or a problem is not one of this domain.
    """
    if path.name.startswith(FILE):
        for where, line in datafiles.typed(path, _Line, lambda line: line.id):
            yield _puzzle(where, line.id, line.pddl, line.plan)
        return
    content: Any = jsonrows.parse_json(jsonrows.read_text(path), path)
    folder = next(folder for name, folder in PUBLISHED.items() if path.parent.name == Path(name).parent.name)
    known: set[int] = set()
    for row in datafiles.check(_Instances, content, str(path)).instances:
        where = f"{path}: instance {row.instance_id}"
        if row.instance_id in known:
            raise SymphonyError(f"{where}: found it again, allowed: once")
        known.add(row.instance_id)
        # The query has worked examples first.
        text = row.query.rpartition("[STATEMENT]")[2]
        yield _puzzle(where, f"{folder}/instance-{row.instance_id}.pddl", text, row.ground_truth_plan.splitlines())


def _puzzle(where: str, id: str, text: str, plan: Iterable[str]) -> Puzzle:
    try:
        facts, goal = read_facts(text)
        start = start_world(facts)
        actions = plan_actions([line for line in plan if line.strip()])
        return Puzzle(id=id, start=start, goal=goal_places(goal, start), plan=actions)
    except ValueError as error:
        raise SymphonyError(f"{where}: found {error}, allowed: a start, a goal and a plan of a blocks world") from error
