"""Every option of conf/search/ keeps to every kind of limit, to the token, and best of n takes all that it is given."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from symphony.agents.budget import Budget, Meter
from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import EMCS
from symphony.agents.session import Agent, AgentPool, Session
from symphony.models.endpoint import Price
from symphony.models.sizes import Size
from symphony.plan.compose import plan
from symphony.plan.options import load
from symphony.plan.specs import build
from symphony.search.result import SearchResult
from symphony.types import Request
from tests.search.test_contract import MIXED
from tests.stub import Scripted, Stub, problem, talk

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(path.stem for path in (CONF / "search").glob("*.yaml"))
APART = {
    "adaptive_consistency": "decides among hidden ends: in the study plus",
    "cisc": "decides among hidden ends: in the study plus",
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
LIMITS: dict[str, Any] = {"calls": 7, "tokens": 60, "money": 60e-6, "seconds": 7, "computed": 60}


@cache
def method(option: str) -> Any:
    overrides = [f"search={option}", "tasks=[mini_qa]", "seeds=[0]", "problems=1", *LONGER.get(option, ())]
    (run,) = plan("quickstart", overrides, experiment="symphony", conf=CONF)
    return build(run.config).search


async def solve(
    option: str, budget: Budget, length: int, *, target: str = "z", model: Scripted | None = None, seed: int = 0
) -> tuple[Session, SearchResult]:
    """On an episode of so many steps; a token costs a millionth of a dollar, and each look at the clock a second."""
    item = problem(target * length)
    ticks = iter(range(10**6))
    ledger = Session(
        run="run",
        seed=seed,
        problem=item,
        pool=AgentPool("priced", (Agent("A", model or Scripted(talk()), Price(prompt=1, completion=1)),)),
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


def spent(ledger: Session, calls: int | None = None) -> int:
    return sum(call.prompt_tokens + call.completion_tokens for call in ledger.calls[:calls])


class Rambling(Scripted):
    """Says up to 60 words more than asked, so that limits cut it, too."""

    def __init__(self) -> None:
        clear = talk()
        super().__init__(lambda request: clear(request) + "\n" + "so " * (request.draw.rng_seed() // 3 % 60))


class Mistaken(Rambling):
    """Takes more for its prompts than it says beforehand."""

    def size(self, request: Request) -> Size:
        return replace(super().size(request), prompt=1)


@pytest.mark.parametrize("option", LIMITED)
@pytest.mark.parametrize("model", [Scripted, Rambling])
async def test_no_option_takes_a_token_more_than_its_limit(option: str, model: Any) -> None:
    for tokens in range(1, 600, 71):
        asked = model() if model is Rambling else model(talk())
        ledger, _ = await solve(option, Budget(tokens=tokens), length=19, model=asked)
        assert spent(ledger) == ledger.meter.tokens <= tokens
        assert ledger.meter.reserved == 0


@pytest.mark.parametrize("option", LIMITED)
async def test_an_answer_that_is_reported_stood_within_the_limit(option: str) -> None:
    """Also where calls took more than they said: these are on record and bring nothing."""
    passed = 0
    for tokens in range(20, 600, 71):
        ledger, result = await solve(option, Budget(tokens=tokens), length=2, target="a", model=Mistaken())
        assert spent(ledger, ledger.stood) <= tokens
        assert all(node.made <= ledger.stood and node.judged <= ledger.stood for node in result.tree.nodes)
        if spent(ledger) > tokens:
            assert result.stop_reason in ("tokens", "solved")
            passed += 1
    assert passed or option not in ("best_of_n", "symphony")


@pytest.mark.parametrize("option", LIMITED)
async def test_whatever_was_taken_within_the_limit_is_what_a_larger_limit_takes(option: str) -> None:
    """A limit that is cut for a call changes no answer that ended by itself within it."""
    whole, _ = await solve(option, Budget(tokens=900), length=19, model=Rambling())
    for tokens in range(1, 600, 71):
        ledger, _ = await solve(option, Budget(tokens=tokens), length=19, model=Rambling())
        assert ledger.calls[: ledger.stood] == whole.calls[: ledger.stood]
        assert list(ledger.needs[: ledger.stood]) == list(whole.needs[: ledger.stood])
        assert ledger.stood == sum(need <= tokens for need in whole.needs)


@pytest.mark.parametrize("limit", ["calls", "tokens", "money"])
async def test_best_of_n_makes_attempts_until_the_limit(limit: str) -> None:
    most = 40 * LIMITS[limit]
    ledger, result = await solve("best_of_n", Budget(**{limit: most}), length=3)
    spent = {"calls": ledger.meter.calls, "tokens": ledger.meter.tokens, "money": ledger.meter.money}[limit]
    assert result.stop_reason == limit
    assert abs(spent - most) < 0.02 * most
    assert result.iterations > 10


@pytest.mark.slow
def test_the_study_of_methods_runs_every_option_on_the_same_problems_with_the_same_tokens() -> None:
    runs = plan("methods", ["tasks=[mini_qa]", "seeds=[0]"], conf=CONF)
    assert {run.config["choices"]["search"] for run in runs} == set(OPTIONS) - set(APART)
    assert {(run.pool, run.config["problems"], run.config["budget"]["problem"]["tokens"]) for run in runs} == {
        ("embedded_trio", 8, 6000)
    }
    for file in (CONF / "experiment" / "methods").glob("*.yaml"):
        assert not {"tasks", "seeds", "pool", "task", "feedback"} & set(load(file))
