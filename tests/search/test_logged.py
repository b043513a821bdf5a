"""Searches whose recorded picks can be replayed: the scheduler of the run makes every pick, and each pick is a call."""

from __future__ import annotations

import asyncio
import re

import pytest

from symphony.agents.budget import Budget
from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import Another, Held, Uniform
from symphony.agents.scorer import EMCS
from symphony.report.study import query_text
from symphony.search.methods.lats import LATS
from symphony.search.methods.rap import RAP
from symphony.search.methods.tot import ToT
from symphony.search.result import Search
from symphony.search.symphony import Symphony
from tests.stub import Stub, pool, problem, session, talk

LOGGED: dict[str, Search] = {
    "symphony": Symphony(),
    "symphony_halving": Symphony(root="sequential_halving"),
    "lats": LATS(),
    "rap": RAP(),
    "tot_bfs": ToT(),
    "tot_dfs": ToT(order="dfs"),
}


def test_the_table_replays_the_searches_that_are_tested_here() -> None:
    listed = re.search(r"NOT IN \((.*?)\)", query_text("what_if"))
    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed[1])) == LOGGED.keys()


@pytest.mark.parametrize("method", LOGGED.values(), ids=LOGGED)
def test_the_scheduler_of_the_run_makes_every_pick_and_each_is_a_call(
    method: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picks(*_: object) -> None:
        raise AssertionError("another scheduler made a pick")

    monkeypatch.setattr(Held, "pick", picks)
    monkeypatch.setattr(Another, "pick", picks)
    item = problem("zzz")
    ledger = session(pool(talk(), talk(stops=3)), item, budget=Budget(calls=60))
    asyncio.run(
        method.solve(item, task=Stub(length=4), session=ledger, scheduler=Uniform(), scorer=EMCS(), memory=PoolFifo())
    )
    picks = [(pick.pick, pick.agent, pick.phase, pick.node) for pick in ledger.picks]
    assert picks == [(call.call, call.agent, call.phase, call.node) for call in ledger.calls]
    assert len(picks) > 20
