"""Whole trees, kept as files: a change of the algorithm shows here first.

`pytest tests/search/test_golden.py --update-golden` rewrites them; look at the difference before you keep it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from symphony.agents.memory import Memory, NoMemory, PoolFifo
from symphony.agents.scheduler import UCB, Fixed, Scheduler
from symphony.agents.scorer import EMCS, Plain, Scorer
from symphony.agents.session import AgentPool
from symphony.search.methods.ab_mcts import ABMCTS
from symphony.search.methods.agentcoder import AgentCoder
from symphony.search.methods.best_of_n import BestOfN
from symphony.search.methods.cot import CoT
from symphony.search.methods.debate import Debate
from symphony.search.methods.lats import LATS
from symphony.search.methods.master import MASTER
from symphony.search.methods.mixture import Mixture
from symphony.search.methods.plus import SymphonyPlus
from symphony.search.methods.rap import RAP
from symphony.search.methods.react import React
from symphony.search.methods.reflexion import Reflexion
from symphony.search.methods.tot import ToT
from symphony.search.official import Official
from symphony.search.result import Search
from symphony.search.symphony import Symphony
from symphony.tasks.mini.gridworld import MOVES, GridWorld
from symphony.types import Phase, Problem, Request, Task
from tests.search.test_contract import MIXED
from tests.stub import Script, Stub, pool, problem, session, talk

FOLDER = Path(__file__).parent.parent / "golden"
DEFAULT = Symphony(iterations=5, depth=6, sim_depth=3)
PAPER = Symphony(iterations=5, depth=6, first_visit="prior", judge="every", sim_width=1, sim_depth=6, sim_value="sum")
CODE = Official(
    iterations=5,
    depth=6,
    c=math.sqrt(2),
    first_visit="prior",
    judge="every",
    sim_value="reward",
    sim_depth=4,
    consensus="nodes",
    reflect_on="failure",
    uct_mean="double",
    select="prune",
    values="positional",
    value_cache="on",
    backup="wrong_end",
    sim_end="last",
    resample="cooling",
    distinct="thought",
    lessons="rewritten",
)
CASES: dict[str, tuple[Search, Scheduler, Scorer, Memory]] = {
    "symphony_default": (DEFAULT, UCB(), EMCS(), PoolFifo()),
    "symphony_paper": (PAPER, UCB(), EMCS(), PoolFifo()),
    "symphony_official_code": (CODE, UCB(form="inside", mean="per_call"), EMCS(floor=0.2), PoolFifo()),
    "lats": (LATS(iterations=4, depth=6), Fixed(), Plain(), PoolFifo()),
    "react": (React(), UCB(), EMCS(), NoMemory()),
    "best_of_n": (BestOfN(n=3), UCB(), EMCS(), NoMemory()),
    "agentcoder": (AgentCoder(), UCB(), EMCS(), NoMemory()),  # no method for the grid world
}


ON_GRID: dict[str, tuple[Search, Scheduler, Scorer, Memory]] = {
    "symphony_default": (Symphony(n=3, iterations=4, depth=8, sim_width=1, sim_depth=4), UCB(), EMCS(), PoolFifo()),
    "symphony_halving": (
        Symphony(n=4, iterations=6, depth=8, sim_width=1, sim_depth=4, root="sequential_halving"),
        UCB(),
        EMCS(),
        PoolFifo(),
    ),
    "symphony_parallel": (
        Symphony(n=3, iterations=6, depth=8, sim_width=1, sim_depth=4, parallel=3),
        UCB(),
        EMCS(),
        PoolFifo(),
    ),
    "lats": (LATS(n=3, iterations=3, depth=8), Fixed(), Plain(), PoolFifo()),
    "react": (React(), UCB(), EMCS(), NoMemory()),
    "best_of_n": (BestOfN(n=2), UCB(), EMCS(), NoMemory()),
    "best_of_n_trajectory": (BestOfN(n=4, per="trajectory"), UCB(), EMCS(), NoMemory()),
    "best_of_n_split": (BestOfN(n=4, per="split"), UCB(), EMCS(), NoMemory()),
    "master": (MASTER(n=3, iterations=8), UCB(), EMCS(), NoMemory()),
    "tot_bfs": (ToT(n=3, breadth=2), UCB(), EMCS(), NoMemory()),
    "tot_dfs": (ToT(order="dfs", n=3, threshold=0.07, iterations=8), UCB(), EMCS(), NoMemory()),
    "reflexion": (Reflexion(trials=3), UCB(), EMCS(), PoolFifo()),
    "cot_sc": (CoT(samples=4), UCB(), EMCS(), NoMemory()),
    "debate": (Debate(), UCB(), EMCS(), NoMemory()),
    "mixture": (Mixture(), UCB(), EMCS(), NoMemory()),
    "rap": (RAP(n=3, iterations=6, depth=8), UCB(), EMCS(), NoMemory()),
    "symphony_plus": (SymphonyPlus(n=6), UCB(), EMCS(), PoolFifo()),
    "ab_mcts_a": (ABMCTS(n=12), UCB(), EMCS(), PoolFifo()),
    # Another kind of processor may draw other last digits, and so another tree.
    "ab_mcts_m": (ABMCTS(variant="m", models="ucb", n=5), UCB(), EMCS(), PoolFifo()),
}


def walker(stray: int) -> Script:
    """Judges from its seed, and walks east or north but for one draw in `stray`."""
    judge = talk()

    def script(request: Request) -> str:
        if request.draw.phase not in (Phase.EXPAND, Phase.SIM_EXPAND):
            return judge(request)
        seed = request.draw.rng_seed()
        return f"Action: move[{list(MOVES)[seed // 7 % (4 if seed % stray == 0 else 2)]}]"

    return script


@pytest.mark.parametrize("name", CASES)
async def test_the_tree_is_the_one_on_file(name, request):
    agents = pool(talk(stops=9), talk("ab", stops=7), talk("bc"))
    seen = await tree_of(CASES[name], Stub(length=5), problem("zzzzz"), agents)
    compare(seen, name, request)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=MIXED.marks if name == "ab_mcts_m" else []) for name in ON_GRID]
)
async def test_the_tree_on_the_grid_world_is_the_one_on_file(name, request):
    task = GridWorld(seed=0, count=1, doors=0, max_steps=5)
    seen = await tree_of(ON_GRID[name], task, task.problems()[0], pool(walker(2), walker(3), walker(5)))
    compare(seen, f"gridworld_{name}", request)


async def tree_of(
    case: tuple[Search, Scheduler, Scorer, Memory], task: Task, item: Problem, agents: AgentPool
) -> dict[str, object]:
    method, scheduler, scorer, memory = case
    ledger = session(agents, item)
    result = await method.solve(item, task=task, session=ledger, scheduler=scheduler, scorer=scorer, memory=memory)
    return {
        "stop_reason": result.stop_reason,
        "answer": result.answer,
        "calls": "".join(call.agent for call in ledger.calls),
        "lessons": [reflection.key for reflection in ledger.reflections],
        "nodes": [
            f"{node.id}<{node.parent} {node.origin} {'ABC'[node.agent] if node.agent is not None else '-'} "
            f"{node.turn.action if node.turn else ''} R={'-' if node.prior is None else format(node.prior, '.6f')} "
            f"N={node.visits} W={node.value_sum:.6f}{' closed' if node.closed else ''}"
            for node in result.tree.nodes
        ],
    }


def compare(seen: dict[str, object], name: str, request: pytest.FixtureRequest) -> None:
    path = FOLDER / f"{name}.json"
    if request.config.getoption("--update-golden"):
        path.write_text(json.dumps(seen, indent=1) + "\n")
    assert seen == json.loads(path.read_text())
