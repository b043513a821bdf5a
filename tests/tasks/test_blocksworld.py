"""Blocksworld: an exact simulator, arguments in any usual wording, files of two forms, and every published plan."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.tasks.planning.blocks import COLOURS, HAND, TABLE, VERBS, World
from symphony.tasks.planning.blocksworld import Blocksworld, Puzzle, named, read
from symphony.tasks.repeats import NOTICE
from symphony.tasks.wording import read_prompts
from symphony.types import Problem, State, SymphonyError
from tests.shared_data import DATA, needs

TASK = Blocksworld(count=1)
TOWER = {"red": "blue", "blue": TABLE, "orange": TABLE}
PDDL = (
    "(define (problem own)\n(:domain blocksworld-4ops)\n(:objects a b c )\n(:init\n(handempty)\n(on a b)\n(ontable b)\n"
    "(ontable c)\n(clear a)\n(clear c)\n)\n(:goal\n(and\n(on b c))\n)\n)\n"
)
PLAN = ["(unstack a b)", "(put-down a)", "(pick-up b)", "(stack b c)"]
LINE = {"id": "generated_basic/instance-7.pddl", "pddl": PDDL, "plan": PLAN}
QUERY = (
    "[STATEMENT]\nAs initial conditions I have that, the red block is clear.\nMy goal is to have that x.\n\n"
    "[STATEMENT]\n"
    "As initial conditions I have that, the red block is clear, the orange block is clear, the hand is empty, the red "
    "block is on top of the blue block, the blue block is on the table and the orange block is on the table.\nMy goal "
    "is to have that the blue block is on top of the orange block.\n\nMy plan is as follows:\n\n[PLAN]"
)
INSTANCE = {
    "instance_id": 7,
    "query": QUERY,
    "ground_truth_plan": "(unstack red blue)\n(put-down red)\n(pick-up blue)\n(stack blue orange)\n",
}


def puzzle(under: Mapping[str, str] = TOWER, goal: Mapping[str, str] | None = None) -> Problem:
    start = World(under=under)
    target = Puzzle(id="p", start=start, goal=goal or {"blue": "orange"}, plan=())
    return Problem(id="p", prompt=str(start), target=target)


def play(problem: Problem, actions: Iterable[str], task: Blocksworld = TASK) -> State:
    state = task.reset(problem)
    for action in actions:
        state = task.step(state, action)
    return state


def written(folder: Path, *lines: object) -> Path:
    (folder / "planning").mkdir(parents=True)
    (folder / "planning" / "blocksworld.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def published(folder: Path, *instances: object) -> Path:
    for domain, rows in (("blocksworld", instances), ("blocksworld_3", [INSTANCE])):
        (folder / domain).mkdir(parents=True)
        (folder / domain / "task_1_plan_generation.json").write_text(json.dumps({"instances": rows}))
    return folder


# --------------------------------------------------------------------------- the simulator


@pytest.mark.parametrize(
    ("before", "action", "why"),
    [
        ([], "unstack[blue, orange]", "blue is on the table, not on orange"),
        ([], "unstack[red, orange]", "red is on blue, not on orange"),
        ([], "pickup[red]", "red is on blue, not on the table"),
        ([], "pickup[blue]", "red is on blue"),
        ([], "putdown[red]", "red is not in the hand"),
        ([], "stack[red, orange]", "red is not in the hand"),
        (["unstack[red, blue]"], "pickup[blue]", "the hand holds red"),
        (["unstack[red, blue]"], "unstack[blue, orange]", "the hand holds red"),
        (["unstack[red, blue]"], "putdown[blue]", "blue is not in the hand"),
        (["unstack[red, blue]"], "stack[red, red]", "red can't be on itself"),
        (["pickup[orange]"], "stack[orange, blue]", "red is on blue"),
        ([], "pickup[green]", "pickup[A] takes A from the table, and the blocks are red, blue, orange"),
        ([], "unstack[red, table]", "unstack[A, B] takes A from B, and the blocks are red, blue, orange"),
        ([], "push[red]", "the actions are unstack[A, B], pickup[A], stack[A, B] and putdown[A]"),
    ],
)
def test_an_action_that_is_not_possible_changes_nothing_and_the_reason_is_told(before, action, why):
    state = play(puzzle(), before)
    after = TASK.step(state, action)
    assert after.observation.startswith(f"Not possible: {why}.\nred: ")
    assert (after.invalid, after.data.world) == (True, state.data.world)


def test_the_state_is_told_in_plain_words_with_what_is_still_to_do():
    assert play(puzzle(), ["unstack[red, blue]"]).observation == (
        "red: in the hand\nblue: on the table, clear\norange: on the table, clear\nHand: red\nTo do: blue on orange"
    )


def test_reaching_the_goal_ends_with_the_reward_and_a_success():
    state = play(puzzle(), ["unstack[red, blue]", "putdown[red]", "pickup[blue]", "stack[blue, orange]"])
    assert (state.terminated, state.truncated, state.reward) == (True, False, 1.0)
    assert TASK.grade(puzzle(), state).success
    assert TASK.step(state, "pickup[red]") is state


def test_a_goal_of_several_blocks_is_reached_only_by_all_of_them():
    problem = puzzle(goal={"blue": "orange", "red": TABLE})
    state = play(problem, ["unstack[red, blue]", "putdown[red]", "pickup[blue]"])
    assert not state.done
    assert TASK.step(state, "stack[blue, orange]").terminated
    assert not TASK.step(state, "putdown[blue]").done


def test_an_action_that_leads_to_the_same_blocks_again_is_told_so_where_a_run_asks_for_it():
    around = ["pickup[orange]", "putdown[orange]"] * 2
    for repeats, noticed in (("told", True), ("official", False)):
        task = Blocksworld(count=1, repeats=repeats)  # type: ignore[arg-type]
        for actions in (["putdown[red]"] * 2, around):
            assert (NOTICE in play(puzzle(), actions, task).observation) == noticed
            assert NOTICE not in play(puzzle(), actions[:1], task).observation


def test_without_feedback_the_end_shows_no_reward():
    task = Blocksworld(count=1, feedback="none")
    state = play(puzzle(goal={"red": TABLE}), ["unstack[red, blue]", "putdown[red]"], task)
    assert (state.terminated, state.reward) == (True, None)


def random_world(rng: random.Random) -> World:
    blocks = rng.sample(list(COLOURS.values()), rng.randint(2, 6))
    under: dict[str, str] = {}
    for at, block in enumerate(blocks):
        tops = [below for below in blocks[:at] if below not in under.values()]
        under[block] = rng.choice([TABLE, *tops])
    return World(under=under)


def possible(world: World) -> list[tuple[str, ...]]:
    """Every action with its blocks for which nothing stands in the way."""
    pairs = [(one, other) for one in world.under for other in world.under]
    actions = [(verb, *(pair[:count])) for verb, count in VERBS.items() for pair in pairs]
    return [(verb, *blocks) for verb, *blocks in dict.fromkeys(actions) if not world.obstacle(verb, *blocks)]


@given(st.integers(0, 10**6))
def test_on_every_walk_each_block_is_on_one_thing_and_bears_one_at_most(seed):
    rng = random.Random(seed)
    world = random_world(rng)
    blocks = set(world.under)
    for _ in range(20):
        verb, *named = rng.choice(possible(world))
        world = world.after(verb, *named)
        assert set(world.under) == blocks
        borne = [below for below in world.under.values() if below != TABLE]
        assert len(borne) == len(set(borne))
        assert set(borne) <= {*blocks, HAND}
        held = world.above(HAND)
        assert not held or not world.above(held)
        for block in blocks:  # a tower ends on the table or in the hand
            for _ in blocks:
                block = world.under.get(block, block)
            assert block in (TABLE, HAND)


@given(st.integers(0, 10**6))
def test_every_possible_action_can_be_undone(seed):
    world = random_world(random.Random(seed))
    undo = {"pickup": "putdown", "putdown": "pickup", "stack": "unstack", "unstack": "stack"}
    for verb, *blocks in possible(world):
        after = world.after(verb, *blocks)
        assert not after.obstacle(undo[verb], *blocks)
        assert after.after(undo[verb], *blocks) == world


@given(st.integers(0, 10**6))
def test_possible_actions_are_those_of_the_definition_in_pddl(seed):
    """Preconditions of domain blocksworld-4ops, from the facts alone."""
    rng = random.Random(seed)
    world = random_world(rng)
    for _ in range(rng.randint(0, 9)):
        verb, *blocks = rng.choice(possible(world))
        world = world.after(verb, *blocks)
    under = world.under
    clear = {block for block in under if under[block] != HAND and block not in under.values()}
    empty = HAND not in under.values()
    wanted = {
        *(("pickup", one) for one in clear if under[one] == TABLE and empty),
        *(("putdown", one) for one in under if under[one] == HAND),
        *(("stack", one, other) for one in under for other in clear if under[one] == HAND),
        *(("unstack", one, under[one]) for one in clear if under[one] != TABLE and empty),
    }
    assert set(possible(world)) == wanted


# --------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "argument",
    [
        "red, blue",
        "red blue",
        "Red,Blue",
        "the red block from the blue block",
        "red from on top of blue",
        "red on blue",
    ],
)
def test_blocks_are_named_in_any_usual_wording(argument):
    assert named(argument, World(under=TOWER)) == ("red", "blue")


@pytest.mark.parametrize("argument", ["", "red, green", "x", "red not blue"])
def test_an_argument_with_another_word_names_nothing(argument):
    assert named(argument, World(under=TOWER)) == ()


@pytest.mark.parametrize("spelt", ["pickup", "pick-up", "Pick_Up", "pick up", "PICK-UP"])
def test_the_names_of_pddl_are_read_too(spelt):
    proposal = TASK.parse(f"Thought: so.\nAction: {spelt}[red]")
    assert proposal is not None
    assert proposal.action == "pickup[red]"


def test_a_plan_is_handed_in_one_action_a_line():
    text = "1. unstack[red, blue]\n2. put-down[red]\npick up[blue], stack[blue, orange]"
    assert TASK.submission(text) == ("unstack[red, blue]", "putdown[red]", "pickup[blue]", "stack[blue, orange]")
    assert TASK.grade(puzzle(), play(puzzle(), TASK.submission(text))).success


def test_both_forms_of_the_data_give_the_same_problem(tmp_path):
    pddl = Blocksworld(count=None, data=written(tmp_path / "a", LINE)).problems()
    sentences = Blocksworld(count=None, data=published(tmp_path / "b" / "planning", INSTANCE).parent).problems()
    assert pddl == [sentences[0]]
    assert pddl[0].target.plan == ("unstack[red, blue]", "putdown[red]", "pickup[blue]", "stack[blue, orange]")
    assert sentences[1].id == "generated_basic_3/instance-7.pddl"


def test_downloads_are_read_from_where_they_are_put(tmp_path):
    published(tmp_path / "task" / "blocksworld", INSTANCE)
    assert len(Blocksworld(count=None, data=tmp_path).problems()) == 2


def test_problems_are_chosen_by_the_length_of_their_plans(tmp_path):
    short = {
        **LINE,
        "id": "short",
        "pddl": PDDL.replace("(on b c)", "(on a c)"),
        "plan": ["(unstack a b)", "(stack a c)"],
    }
    data = written(tmp_path, LINE, short)
    assert [problem.kind for problem in Blocksworld(count=None, data=data).problems()] == ["4 steps", "2 steps"]
    assert [problem.id for problem in Blocksworld(count=1, plan_steps=(2, 6), data=data).problems()] == ["short"]
    with pytest.raises(SymphonyError, match=r"task\.plan_steps: found \[3\], allowed: "):
        Blocksworld(count=1, plan_steps=(3,), data=data).problems()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"pddl": "(define)"}, "neither a PDDL problem nor its sentences"),
        ({"pddl": PDDL.replace("(on a b)", "(on a)")}, "(on a)"),
        ({"pddl": PDDL.replace("(on a b)", "(near a b)")}, "(near a b)"),
        ({"pddl": PDDL.replace("a b c )", "a b c d )")}, "yellow either in the objects or in the start alone"),
        ({"pddl": PDDL.replace("(ontable b)", "(on b a)").replace("(clear a)", "")}, "does not stand on the table"),
        ({"pddl": PDDL.replace("(ontable c)", "(on c b)").replace("(on b c)", "(on b a)")}, "two blocks on one"),
        ({"pddl": PDDL.replace("(ontable c)", "(ontable c)\n(on c a)")}, "two places of orange"),
        ({"pddl": PDDL.replace("(clear a)", "(clear b)")}, "blue clear below red"),
        ({"pddl": PDDL.replace("(on b c)", "(on b e)")}, "the goal on blue white"),
        ({"pddl": PDDL.replace("(on b c)", "(clear b)")}, "the goal clear blue"),
        ({"pddl": PDDL.replace("(on b c)", "(on a b)")}, "a goal that holds at the start"),
        ({"pddl": PDDL.replace(" c", " table")}, "a block called table"),
        ({"plan": ["(push a)"]}, "'(push a)'"),
        ({"plan": "(push a)"}, "plan"),
        ({"pddl": None}, "pddl"),
        ({"id": " "}, "id"),
    ],
)
def test_a_broken_line_is_refused_with_its_number(change, told, tmp_path):
    data = written(tmp_path, LINE, {**LINE, "id": "other", **change})
    with pytest.raises(SymphonyError) as raised:
        Blocksworld(count=None, data=data).problems()
    assert "blocksworld.jsonl:2: " in str(raised.value)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"query": "[STATEMENT]\nx"}, "instance 8: found neither a PDDL problem nor its sentences"),
        ({"query": QUERY.replace("the hand is empty", "the hand is full")}, "instance 8: found 'the hand is full'"),
        ({"instance_id": 7}, "instance 7: found it again, allowed: once"),
        ({"instance_id": "8"}, "instances.1.instance_id: found '8'"),
        ({"ground_truth_plan": None}, "instances.1.ground_truth_plan: found null"),
    ],
)
def test_a_broken_instance_is_refused_by_its_number(change, told, tmp_path):
    data = published(tmp_path / "planning", INSTANCE, {**INSTANCE, "instance_id": 8, **change}).parent
    with pytest.raises(SymphonyError) as raised:
        Blocksworld(count=None, data=data).problems()
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


# --------------------------------------------------------------------------- the real thing


def test_the_worked_examples_are_what_the_simulator_says():
    for shot in read_prompts("blocksworld", "v1").expand_shots:
        *told, hand, goal = shot.problem.splitlines()
        under = {line.partition(": ")[0]: line.partition(": on ")[2].partition(",")[0] for line in told}
        wanted = dict(part.split(" on ") for part in goal.removeprefix("Goal: ").split(", "))
        problem = puzzle({block: below.removeprefix("the ") for block, below in under.items()}, wanted)
        assert problem.prompt.splitlines() == [*told, hand]
        state = TASK.reset(problem)
        for turn in shot.path:
            state = TASK.step(state, turn.action)
            assert state.observation == turn.observation
        last = TASK.parse(shot.answer)
        assert last is not None
        assert TASK.step(state, last.action).reward == 1.0


@needs("planning/blocksworld.jsonl")
def test_every_published_plan_is_possible_and_reaches_its_goal():
    task = Blocksworld(count=None, data=DATA)
    problems = task.problems()
    assert len(problems) == len({problem.id for problem in problems}) == len(list(read(*task.files()))) >= 400
    for problem in problems:
        state = task.reset(problem)
        for action in problem.target.plan:
            assert not state.done
            state = task.step(state, action)
            assert not state.invalid
        assert state.terminated
        assert task.grade(problem, state).success
