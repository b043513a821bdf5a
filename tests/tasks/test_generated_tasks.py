"""What is particular to each generated task."""

from itertools import pairwise

from symphony.chat.prompts import split_action
from symphony.tasks.mini import generated
from symphony.tasks.mini.gridworld import MOVES, GridWorld, neighbour, route
from symphony.tasks.mini.mini_code import MiniCode, line, program
from symphony.tasks.mini.mini_qa import SHOWN, MiniQA
from symphony.tasks.mini.mini_shop import MiniShop


def test_names_of_tests_are_never_in_training():
    task = MiniQA(seed=0, count=30)
    names = {name for problem in task.problems() for name in problem.target.pages}
    assert all(generated.in_split(name, "test") for name in names)


def test_lookup_reads_the_page_of_its_own_branch():
    task = MiniQA(seed=0, count=1)
    problem = task.problems()[0]
    first, second = list(problem.target.pages)[:2]
    here = task.step(task.reset(problem), f"search[{first}]")
    there = task.step(task.reset(problem), f"search[{second}]")
    phrase, name = list(problem.target.pages[first].items())[SHOWN]
    task.step(there, f"lookup[{phrase}]")
    assert task.step(here, f"lookup[{phrase}]").observation == f"{first} {phrase} {name}."


def test_a_failed_search_keeps_the_page():
    task = MiniQA(seed=0, count=1)
    problem = task.problems()[0]
    page = task.step(task.reset(problem), f"search[{problem.target.start}]")
    missed = task.step(page, "search[Nobody]")
    assert missed.observation == "Not found."
    assert missed.data.page == problem.target.start


def test_a_wrong_key_jams_the_lock_for_good():
    task = GridWorld(seed=1, count=1)
    problem = task.problems()[0]
    world, state = problem.target, task.reset(problem)
    path = route(world.passages, world.start, world.goal)
    for here, there in pairwise(path):
        if here in world.piles and not state.data.holding:
            door = next(world.doors[e] for e in pairwise(path) if e in world.doors)
            wrong = next(key for key in world.piles[here] if key != world.lexicon[door])
            state = task.step(state, f"take[{wrong}]")
        direction = next(d for d in MOVES if neighbour(here, d) == there)
        state = task.step(state, f"move[{direction}]")
        if state.done:
            break
    assert state.observation == "The lock jams."
    assert state.reward == 0.0


def test_a_locked_door_does_not_open_without_a_key():
    task = GridWorld(seed=1, count=12)
    problem = next(p for p in task.problems() if any(p.target.start in edge for edge in p.target.doors))
    world = problem.target
    edge = next(edge for edge in world.doors if edge[0] == world.start)
    direction = next(d for d in MOVES if neighbour(world.start, d) == edge[1])
    state = task.step(task.reset(problem), f"move[{direction}]")
    assert state.data.cell == world.start


def test_the_shop_scores_the_share_of_demands_met():
    task = MiniShop(seed=1, count=1)
    problem = task.problems()[0]
    world, state = problem.target, task.reset(problem)
    good = next(i for i in world.items if i.material == world.wanted[0] and i.price < world.limit)
    wrong = next(colour for colour in world.colours if colour != world.wanted[1])
    for action in (world.type, good.id, wrong, world.wanted[2]):
        state = task.step(state, f"{'search' if action == world.type else 'click'}[{action}]")
    state = task.step(state, "click[buy]")
    assert state.reward == 0.75
    assert not task.grade(problem, state).success


def test_a_material_that_is_listed_twice_need_not_be_the_right_one():
    for problem in MiniShop(seed=1, count=20).problems():
        materials = [item.material for item in problem.target.items]
        assert sum(materials.count(material) == 2 for material in set(materials)) == 2


def test_a_purchase_with_a_zero_score_is_terminal_and_a_failure():
    task = MiniShop(seed=4, count=40)
    problem, item = next(
        (p, i) for p in task.problems() for i in p.target.items
        if i.material != p.target.wanted[0] and i.price >= p.target.limit
    )  # fmt: skip
    state = task.step(task.reset(problem), f"search[{problem.target.type}]")
    state = task.step(task.step(state, f"click[{item.id}]"), "click[buy]")
    assert state.terminated
    assert state.reward == 0.0


def test_an_illegal_click_leaves_the_page():
    task = MiniShop(seed=1, count=1)
    problem = task.problems()[0]
    listed = task.step(task.reset(problem), f"search[{problem.target.type}]")
    clicked = task.step(listed, "click[B99]")
    assert clicked.invalid
    assert clicked.data.listed
    assert clicked.data.item is None


def test_a_line_that_fails_is_not_kept():
    task = MiniCode(seed=1, count=1)
    state = task.step(task.reset(task.problems()[0]), "line[x = 1 / 0]")
    assert state.invalid
    assert state.data.lines == ()


def test_a_program_that_prints_the_example_alone_does_not_pass():
    task = MiniCode(seed=1, count=1)
    problem = task.problems()[0]
    state = task.step(task.reset(problem), f"line[x = {problem.target.outputs[0]}]")
    state = task.step(state, "submit[f]")
    assert not task.grade(problem, state).success


def test_tests_written_into_submit_have_to_pass_before_the_hidden_inputs_decide():
    task = MiniCode(seed=1, count=1)
    state = task.step(task.reset(task.problems()[0]), "line[x = x[1:]]")
    failed = task.step(state, "submit[f([1, 2]) = [2]; f([3,4]) == [3]]")
    assert (failed.observation, failed.done, failed.data.steps) == ("f([3, 4]) = [4].", False, 2)
    assert task.step(state, "submit[f([1, 2]) = [2]]").terminated
    broken = task.step(task.step(state, "line[x = [1 // v for v in x]]"), "submit[f([1, 0]) = [0]]")
    assert (broken.observation, broken.done) == ("Error.", False)


def test_a_right_program_is_judged_right_though_its_own_tests_are_wrong():
    task = MiniCode(seed=1, count=1, operations=1, max_steps=3)
    (item,) = task.problems()
    right = line(item.target.lexicon[item.target.asks[0]])
    wrong = "submit[f([1, 2]) = [9, 9]]"
    sent_back = task.step(task.step(task.reset(item), f"line[{right}]"), wrong)
    assert not sent_back.done
    assert task.grade(item, sent_back).success
    assert not task.grade(item, task.step(sent_back, "line[x = x]")).success  # nothing was handed in after it
    last = task.step(sent_back, wrong)
    assert (last.terminated, last.reward) == (True, 1.0)


def test_four_tests_of_an_answer_go_into_submit_and_into_no_other_action():
    task = MiniCode(seed=1, count=1)
    (item,) = task.problems()
    tests = "\n".join(f"assert f([{n}]) == [{n}, -{n}]" for n in range(6)) + "\nf([1,,2]) = [1]"
    wanted = "; ".join(f"f([{n}]) = [{n}, -{n}]".replace("-0", "0") for n in range(4))
    assert task.tested(item, "submit[f]", tests) == f"submit[{wanted}]"
    assert task.tested(item, "line[x = x[1:]]", tests) == "line[x = x[1:]]"
    for broken in ("f([1,,2]) = [1]", "f(x) = [3]", "f([007]) = [7]", "f([--1]) = [1]", f"f([{'-' * 10_000}1]) = [1]"):
        assert task.tested(item, "submit[f]", broken) == "submit[f]"
    assert task.tested(item, "submit[f]", "f([]) = []") == "submit[f([]) = []]"


def test_a_program_is_the_function_around_its_lines():
    assert program(["x = x[1:]"]) == "def f(x):\n    x = x[1:]\n    return x\n"


def test_an_action_keeps_its_nested_brackets():
    proposal = MiniCode(seed=1, count=1).parse("Thought: tail.\nAction: line[x = x[1:]]")
    assert proposal is not None
    assert split_action(proposal.action) == ("line", "x = x[1:]")
