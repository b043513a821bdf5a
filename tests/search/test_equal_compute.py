"""Every option of conf/search/ stops on every kind of limit, and best of n takes all that it is given."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest

from symphony.agents import Agent, AgentPool, Session
from symphony.budget import Budget, Meter
from symphony.config import plan
from symphony.memory import PoolFifo
from symphony.models.endpoint import Price
from symphony.options import load
from symphony.runs import build
from symphony.scheduler import UCB
from symphony.scorer import EMCS
from symphony.search.result import SearchResult
from tests.search.test_contract import MIXED
from tests.stub import Scripted, Stub, problem, talk

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "search").glob("*.yaml"))
APART = {
    "symphony_official": "belongs to a preset",
    "symphony_official_programs": "belongs to a preset",
    "symphony_official_webshop": "belongs to a preset",
}
"""Options that the study of methods leaves out."""
LIMITED = [
    pytest.param(option, marks=[pytest.mark.slow, *MIXED.marks] if option == "ab_mcts_m" else [])
    for option in OPTIONS
    if option not in ("direct", "cot")
]
"""Options that can be asked to go on: one call is all that `direct` and `cot` make."""
LONGER = {"agentcoder": ["search.depth=null"]}
"""What lets an option go on beyond a few calls."""
LIMITS: dict[str, Any] = {"calls": 7, "tokens": 60, "money": 60e-6, "seconds": 7}


@cache
def method(option: str) -> Any:
    overrides = [f"search={option}", "tasks=[mini_qa]", "seeds=[0]", "problems=1", *LONGER.get(option, ())]
    (run,) = plan("quickstart", overrides, experiment="symphony", conf=CONF)
    return build(run.config).search


async def solve(option: str, budget: Budget, length: int) -> tuple[Session, SearchResult]:
    """On an episode of so many steps; a token costs a millionth of a dollar, and each look at the clock a second."""
    item = problem("z" * length)
    ticks = iter(range(10**6))
    ledger = Session(
        run="run",
        seed=0,
        problem=item,
        pool=AgentPool("priced", (Agent("A", Scripted(talk()), Price(prompt=1, completion=1)),)),
        meter=Meter(budget, clock=lambda: float(next(ticks))),
    )
    result = await method(option).solve(
        item, task=Stub(length=length), session=ledger, scheduler=UCB(), scorer=EMCS(), memory=PoolFifo()
    )
    return ledger, result


@pytest.mark.parametrize("option", LIMITED)
@pytest.mark.parametrize("limit", LIMITS)
async def test_every_option_stops_on_every_limit(option: str, limit: str) -> None:
    ledger, result = await solve(option, Budget(**{limit: LIMITS[limit]}), length=19)
    assert result.stop_reason == limit
    assert len(ledger.calls) < 40


@pytest.mark.parametrize("limit", ["calls", "tokens", "money"])
async def test_best_of_n_makes_attempts_until_the_limit(limit: str) -> None:
    most = 40 * LIMITS[limit]
    ledger, result = await solve("best_of_n", Budget(**{limit: most}), length=3)
    spent = {"calls": ledger.meter.calls, "tokens": ledger.meter.tokens, "money": ledger.meter.money}[limit]
    assert result.stop_reason == limit
    assert most <= spent < 1.02 * most
    assert result.iterations > 10


def test_the_study_of_methods_runs_every_option_on_the_same_problems_with_the_same_tokens() -> None:
    runs = plan("methods", ["tasks=[mini_qa]", "seeds=[0]"], conf=CONF)
    assert {run.config["choices"]["search"] for run in runs} == set(OPTIONS) - set(APART)
    assert {(run.pool, run.config["problems"], run.config["budget"]["problem"]["tokens"]) for run in runs} == {
        ("embedded_trio", 8, 6000)
    }
    for file in (CONF / "experiment" / "methods").glob("*.yaml"):
        assert not {"tasks", "seeds", "pool", "task", "feedback"} & set(load(file))
