"""Whole trees, kept as files: a change of the algorithm shows here first.

`pytest tests/search/test_golden.py --update-golden` rewrites them; look at the difference before you keep it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from symphony.memory import Memory, NoMemory, PoolFifo
from symphony.scheduler import UCB, Fixed, Scheduler
from symphony.scorer import EMCS, Plain, Scorer
from symphony.search.best_of_n import BestOfN
from symphony.search.lats import LATS
from symphony.search.react import React
from symphony.search.result import Search
from symphony.search.symphony import Symphony
from tests.stub import Stub, pool, problem, session, talk

FOLDER = Path(__file__).parent.parent / "golden"
DEFAULT = Symphony(iterations=5, depth=6, sim_depth=3)
PAPER = Symphony(iterations=5, depth=6, sim_width=1, sim_depth=6, sim_value="sum")
CODE = Symphony(
    iterations=5, depth=6, c=math.sqrt(2), sim_value="code", sim_depth=4, consensus="on", reflect_on="failure"
)
CASES: dict[str, tuple[Search, Scheduler, Scorer, Memory]] = {
    "symphony_default": (DEFAULT, UCB(), EMCS(), PoolFifo()),
    "symphony_paper": (PAPER, UCB(), EMCS(), PoolFifo()),
    "symphony_official_code": (CODE, UCB(form="inside", mean="per_call"), EMCS(floor=0.2), PoolFifo()),
    "lats": (LATS(iterations=4, depth=6), Fixed(), Plain(), PoolFifo()),
    "react": (React(), UCB(), EMCS(), NoMemory()),
    "best_of_n": (BestOfN(n=3), UCB(), EMCS(), NoMemory()),
}


@pytest.mark.parametrize("name", CASES)
async def test_the_tree_is_the_one_on_file(name, request):
    method, scheduler, scorer, memory = CASES[name]
    item = problem("zzzzz")
    ledger = session(pool(talk(stops=9), talk("ab", stops=7), talk("bc")), item)
    result = await method.solve(
        item, task=Stub(length=5), session=ledger, scheduler=scheduler, scorer=scorer, memory=memory
    )
    seen = {
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
    path = FOLDER / f"{name}.json"
    if request.config.getoption("--update-golden"):
        path.write_text(json.dumps(seen, indent=1) + "\n")
    assert seen == json.loads(path.read_text())
