"""What every task shows of an end: under oracle feedback its reward, also where the horizon cut it; else nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import EMCS
from symphony.search.result import choose_answer
from symphony.search.symphony import Symphony
from symphony.search.tree import ROOT, Tree
from symphony.tasks.hotpotqa.task import HotpotQA
from symphony.tasks.mini.gridworld import GridWorld
from symphony.tasks.mini.mini_code import MiniCode
from symphony.tasks.mini.mini_qa import MiniQA
from symphony.tasks.mini.mini_shop import MiniShop
from symphony.tasks.planning.blocksworld import Blocksworld
from symphony.tasks.planning.crosswords import Crosswords
from symphony.tasks.planning.game24 import Game24
from symphony.tasks.programs.task import Internal, Programs
from symphony.tasks.webshop.task import WebShop
from symphony.types import Feedback, Phase, Request, State, Task
from tests.stub import pool, session
from tests.tasks import test_blocksworld, test_crosswords, test_hotpotqa, test_programs, test_webshop

Make = Callable[..., Task]
"""Makes the task from its settings and a folder with its data."""


def hotpotqa(data: Path, **settings: Any) -> Task:
    (data / "hotpotqa").mkdir(exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in test_hotpotqa.ROWS)
    (data / "hotpotqa" / "hotpot_dev_distractor_sample.jsonl").write_text(lines)
    return HotpotQA(count=1, data=data, **settings)


def webshop(data: Path, **settings: Any) -> Task:
    folder = data / "webshop"
    folder.mkdir(exist_ok=True)
    (folder / "items_shuffle_1000.json").write_text(json.dumps(test_webshop.RAW, ensure_ascii=False))
    (folder / "items_ins_v2_1000.json").write_text(json.dumps(test_webshop.MINED))
    (folder / "items_human_ins.json").write_text(json.dumps(test_webshop.WRITTEN))
    return WebShop(count=1, price_seed=0, nouns="words", data=data, **settings)


def programs(data: Path, feedback: Feedback = "oracle", **settings: Any) -> Task:
    (data / "mbpp").mkdir(exist_ok=True)
    (data / "mbpp" / "mbpp-py.jsonl").write_text(json.dumps(test_programs.SQUARE))
    internal: Internal = "hidden_asserts" if feedback == "oracle" else "first_assert"
    return Programs(dataset="mbpp_py", count=1, data=data, internal=internal, feedback=feedback, **settings)


def game24(data: Path, **settings: Any) -> Task:
    (data / "planning").mkdir(exist_ok=True)
    (data / "planning" / "24.csv").write_text("Rank,Puzzles\n901,4 5 6 10\n")
    return Game24(count=1, data=data, **settings)


def blocksworld(data: Path, **settings: Any) -> Task:
    (data / "planning").mkdir(exist_ok=True)
    (data / "planning" / "blocksworld.jsonl").write_text(json.dumps(test_blocksworld.LINE))
    return Blocksworld(count=1, data=data, **settings)


def crosswords(data: Path, **settings: Any) -> Task:
    (data / "planning").mkdir(exist_ok=True)
    (data / "planning" / "mini_crosswords.json").write_text(json.dumps([test_crosswords.GAME]))
    return Crosswords(count=1, data=data, **settings)


def generated(make: type) -> Make:
    return lambda data, **settings: make(seed=0, count=1, **settings)


TASKS: dict[str, tuple[Make, list[str], str | None]] = {
    "gridworld": (generated(GridWorld), ["move[up]", "take[x]"], None),
    "mini_qa": (generated(MiniQA), ["search[Bo]", "lookup[weds]", "nothing"], "finish[Bo]"),
    "mini_shop": (generated(MiniShop), ["search[red]", "nothing"], None),
    "mini_code": (generated(MiniCode), ["line[x = x]", "nothing"], "submit[]"),
    "hotpotqa": (hotpotqa, ["search[Oak Hill]", "lookup[mill]", "think[hm]", "nothing"], "finish[Bo]"),
    "webshop": (webshop, ["search[lamp]", "think[hm]", "nothing"], None),
    "game24": (game24, ["combine[9 - 9]", "nothing"], None),
    "blocksworld": (blocksworld, ["unstack[red, blue]", "pickup[blue]", "nothing"], None),
    "crosswords": (crosswords, ["fill[h1, heart]", "fill[h9, x]", "nothing"], None),
    "programs": (programs, ["```python\ndef square(x):\n    return 0\n```", "no program"], None),
}
"""The task, actions that lead to no end, and one that ends wrongly (None where that takes several)."""
each_task = pytest.mark.parametrize("name", TASKS)


def test_every_task_is_here() -> None:
    conf = Path(__file__).parents[2] / "conf" / "task"
    targets = {line for path in conf.glob("*.yaml") for line in path.read_text().splitlines() if "_target_" in line}
    # A folder, then its module: hotpotqa.task, mini.mini_qa. The simulated task has no horizon to be cut by.
    modules = [target.split(".")[2:-1] for target in targets if ".simulated." not in target]
    assert {folder if module == "task" else module for folder, module in modules} == set(TASKS)


def cut(task: Task, action: str) -> State:
    """Where the horizon cuts an episode of this action alone."""
    state = task.reset(task.problems()[0])
    while not state.done:
        state = task.step(state, action)
    return state


@each_task
def test_under_oracle_a_cut_episode_has_earned_nothing(name, tmp_path):
    make, idle, _ = TASKS[name]
    for action in idle:
        state = cut(make(tmp_path, feedback="oracle", max_steps=2), action)
        assert (state.truncated, state.terminated, state.reward) == (True, False, 0.0), action


@each_task
def test_without_feedback_a_cut_episode_shows_no_reward(name, tmp_path):
    make, idle, _ = TASKS[name]
    for action in idle:
        state = cut(make(tmp_path, feedback="none", max_steps=2), action)
        assert (state.truncated, state.reward) == (True, None), action


@each_task
async def test_under_oracle_no_call_is_spent_on_judging_an_end(name, tmp_path):
    make, idle, wrong = TASKS[name]
    task = make(tmp_path, feedback="oracle", max_steps=3)
    actions = idle + ([wrong] if wrong else [])

    def script(request: Request) -> str:
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            action = actions[request.draw.rng_seed() % len(actions)]
            return action if name == "programs" else f"Action: {action}"
        return "Value: 0.9 Confidence: 1"

    (item,) = task.problems()
    ledger = session(pool(script), item)
    method = Symphony(n=3, iterations=6, sim_width=2, sim_depth=None)
    result = await method.solve(item, task=task, session=ledger, scheduler=UCB(), scorer=EMCS(), memory=NoMemory())
    ends = [node.id for node in result.tree.nodes if node.state.done]
    assert ends
    assert all(result.tree[id].state.reward is not None for id in ends)
    assert not {call.node for call in ledger.calls if "evaluate" in call.phase} & set(ends)


@pytest.mark.parametrize("name", [name for name, (_, _, wrong) in TASKS.items() if wrong])
@pytest.mark.parametrize("policy", ["oracle_best", "best_value", "first_terminal", "most_visited"])
@pytest.mark.parametrize("feedback", ["oracle", "none"])
def test_a_timeout_never_outranks_a_wrong_answer(name, policy, feedback, tmp_path):
    make, (idle, *_), wrong = TASKS[name]
    task = make(tmp_path, feedback=feedback, max_steps=2)
    (item,) = task.problems()
    assert wrong is not None
    tree = Tree(task.reset(item))
    first = tree.add(ROOT, turn=None, state=State(observation=""), agent=0, origin="expand", iteration=1)
    for state in (cut(task, idle), task.step(task.reset(item), wrong)):
        tree.add(first, turn=None, state=state, agent=0, origin="expand", iteration=1)
    for id, judged in ((2, 0.9), (3, 0.1)):
        tree[id].prior = judged if tree[id].prior is None else tree[id].prior
    assert tree[choose_answer(tree, policy)].state.terminated
