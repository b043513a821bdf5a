"""Rules of best of n: who makes which trajectory, and who judges its end."""

from __future__ import annotations

from collections import Counter

import pytest

from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import UCB, RoundRobin, Scheduler
from symphony.agents.scorer import EMCS, Plain, Scorer
from symphony.agents.session import Session
from symphony.search.methods.best_of_n import BestOfN
from symphony.search.result import SearchResult
from symphony.types import Phase, Request, SymphonyError
from tests.stub import Script, Stub, pool, problem, say, session, talk


async def search(
    method: BestOfN, *scripts: Script, scheduler: Scheduler | None = None, scorer: Scorer | None = None, **task
) -> tuple[SearchResult, Session]:
    item = problem("zzz")
    ledger = session(pool(*scripts), item)
    result = await method.solve(
        item,
        task=Stub(**{"length": 3, **task}),
        session=ledger,
        scheduler=scheduler or RoundRobin(),
        scorer=scorer or EMCS(),
        memory=NoMemory(),
    )
    return result, ledger


def agents(ledger: Session, phase: str = "expand") -> str:
    return "".join(call.agent for call in ledger.calls if call.phase == phase)


@pytest.mark.parametrize(("per", "made"), [("step", "ABABABABA"), ("trajectory", "AAABBBAAA"), ("split", "AAABBBAAA")])
async def test_who_makes_which_step(per, made):
    _, ledger = await search(BestOfN(n=3, per=per), talk(), talk())
    assert agents(ledger) == made


async def test_a_trajectory_goes_to_whom_the_scheduler_picks_at_its_first_step():
    """By hand, UCB without exploration: after a try of each, B with one right letter in zbb makes all that follow."""

    def agent(word: str) -> Script:
        return lambda request: f"Action: go {word[0 if request.draw.node == 0 else 1]}"

    _, ledger = await search(
        BestOfN(n=4, per="trajectory"), agent("aa"), agent("zb"), scheduler=UCB(alpha=0.0), partial=True
    )
    assert agents(ledger) == "AAABBBBBBBBB"


async def test_the_split_is_the_same_whatever_the_scheduler():
    made = {
        agents((await search(BestOfN(n=3, per="split"), talk(), talk(), scheduler=s))[1]) for s in (UCB(), RoundRobin())
    }
    assert made == {"AAABBBAAA"}


@pytest.mark.parametrize("per", ["trajectory", "split"])
async def test_the_picks_on_record_are_those_of_the_calls(per):
    _, ledger = await search(BestOfN(n=3, per=per), talk(), talk(), feedback="none")
    assert [pick.agent for pick in ledger.picks] == [call.agent for call in ledger.calls]


async def test_an_agent_that_stops_answering_is_replaced_in_its_share():
    _, ledger = await search(BestOfN(n=4, per="split"), say(expand=None), talk())
    made = Counter(call.agent for call in ledger.calls if call.error is None)
    assert (made, sum(call.error is not None for call in ledger.calls)) == ({"B": 12}, 3)


@pytest.mark.parametrize("per", ["step", "trajectory", "split"])
async def test_where_no_reward_is_shown_the_pool_judges_each_end_and_the_best_judged_is_the_answer(per):
    def script(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND:
            return talk()(request)
        return f"Value: 0.{'abc'.index(request.messages[-1].content[-1]) + 1} Confidence: 1"

    result, ledger = await search(BestOfN(n=6, per=per), script, script, feedback="none", scorer=Plain())
    ends = [node for node in result.tree.nodes if node.state.terminated]
    priors = [node.prior for node in ends if node.prior is not None]
    assert sum(call.phase == "evaluate" for call in ledger.calls) == len(ends) == len(priors) == 6
    assert result.tree[result.answer].prior == max(priors)


def test_another_share_is_refused_with_its_key():
    with pytest.raises(SymphonyError, match=r"search\.per: found 'agent', allowed: step, trajectory, split"):
        BestOfN(per="agent")  # type: ignore[arg-type]
