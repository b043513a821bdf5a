"""Rules of best of n: who makes which trajectory, and who judges its end."""

from __future__ import annotations

import functools
import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc

from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import UCB, RoundRobin, Scheduler
from symphony.agents.scorer import EMCS, Plain, Scorer
from symphony.agents.session import Agent, AgentPool, Session
from symphony.search.methods.best_of_n import BestOfN, stays_ahead
from symphony.search.result import SearchResult
from symphony.types import Phase, Request, SymphonyError
from tests.search.test_plus import Sure
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


async def attempts(*words: tuple[str, float | None], **fields) -> tuple[str, SearchResult, Session]:
    """One agent submits these words of three letters, with these probabilities a letter, in turn; rewards are hidden.

    Returns the word that is the answer.
    """
    turns = itertools.cycle([(f"go {letter}", sure) for word, sure in words for letter in word])

    @functools.cache
    def draw(node: int, index: int) -> tuple[str, float | None]:
        return next(turns)

    def says(request: Request) -> tuple[str, float | None]:
        return draw(request.draw.node, request.draw.index)

    item = problem("zzz")
    ledger = session(AgentPool("p", (Agent("A", Sure(says)),)), item)
    result = await BestOfN(**{"n": len(words), **fields}).solve(
        item,
        task=Stub(length=3, feedback="none"),
        session=ledger,
        scheduler=RoundRobin(),
        scorer=EMCS(),
        memory=NoMemory(),
    )
    return result.state.data[0], result, ledger


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


# ---- what an end is worth without a judge, and the vote


async def test_ends_ranked_by_certainty_ask_no_judge_and_the_least_certain_step_counts():
    word, result, ledger = await attempts(("aaa", 0.5), ("bbb", 0.9), ("ccc", 0.7), worth="certainty")
    ends = [node.prior for node in result.tree.nodes if node.state.terminated]
    assert (word, agents(ledger, "evaluate")) == ("bbb", "")
    assert ends == pytest.approx([0.5, 0.9, 0.7])


async def test_the_certainty_of_a_token_is_the_geometric_mean():
    _, result, ledger = await attempts(("abc", 0.25), worth="certainty", certainty="token")
    tokens = ledger.calls[0].completion_tokens
    assert result.tree[result.answer].prior == pytest.approx(0.25 ** (1 / tokens))


async def test_a_proposal_of_unknown_probability_has_the_certainty_that_the_docs_name():
    _, result, _ = await attempts(("abc", None), worth="certainty")
    assert result.tree[result.answer].prior == 0.81


async def test_an_equal_vote_counts_answers_and_asks_no_judge():
    word, _, ledger = await attempts(("aaa", 0.9), ("bbb", 0.1), ("bbb", 0.2), vote="equal")
    assert (word, agents(ledger, "evaluate")) == ("bbb", "")


@pytest.mark.parametrize(("sharpness", "answer"), [(0.1, "aaa"), (100.0, "bbb")])
async def test_a_weighted_vote_is_exp_of_certainty_over_sharpness(sharpness, answer):
    """By hand: exp(9) > exp(1) + exp(2), and exp(.009) < exp(.001) + exp(.002)."""
    words = (("aaa", 0.9), ("bbb", 0.1), ("bbb", 0.2))
    assert (await attempts(*words, worth="certainty", vote="weighted", sharpness=sharpness))[0] == answer


async def test_a_settled_vote_ends_the_attempts():
    """By hand: four equal answers give 31/32 >= .95, three give 15/16."""
    word, result, _ = await attempts(*[("aaa", 0.5)] * 9, vote="equal", settled=0.95)
    assert (word, result.stop_reason, result.iterations) == ("aaa", "accepted", 4)


async def test_an_unsettled_vote_goes_on():
    _, result, _ = await attempts(*[("aaa", 0.5), ("bbb", 0.5)] * 4, vote="equal", settled=0.95)
    assert (result.stop_reason, result.iterations) == ("iterations", 8)


@given(st.lists(st.integers(0, 40), max_size=5))
def test_the_leading_answer_stays_ahead_as_the_beta_posterior_says(votes):
    first, second, *_ = [*sorted(votes, reverse=True), 0, 0]
    assert stays_ahead(*votes) == pytest.approx(1 - betainc(first + 1, second + 1, 0.5))


async def test_visible_rewards_are_not_outvoted():
    result, _ = await search(BestOfN(n=3, vote="equal"), talk(), partial=True)
    ends = [node for node in result.tree.nodes if node.state.terminated]
    assert result.tree[result.answer].state.reward == max(node.state.reward or 0.0 for node in ends)
