"""A search cut at a budget answers what its recorded prefix says, whatever the method."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from symphony.agents.budget import Budget
from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import EMCS
from symphony.agents.session import Session
from symphony.search.method import Method
from symphony.search.methods.cot import CoT
from symphony.search.official import Official
from symphony.search.result import RANKS, Search, SearchResult, answer_records
from symphony.search.symphony import Symphony
from symphony.types import Feedback, Grade, Phase, Request, State
from tests.search.test_contract import VARIANTS
from tests.stub import Script, Stub, judging, pool, problem, session, talk

VOTING = ("AgentCoder", "CoT", "Debate", "Mixture")
"""Their answer is no rank among the nodes: of smaller limits nothing is known, and nothing is said."""
METHODS = {
    **{name: method for name, method in VARIANTS.items() if type(method).__name__ not in VOTING},
    "Symphony, consensus": Official(n=3, sim_width=3, consensus="on"),
    "Symphony, 3 at once, short": Symphony(n=2, sim_depth=1, parallel=3),
}
GRADE = Grade(success=False, score=0.0)


def mumble(stops: int, mute: int, unsure: int) -> Script:
    """As `talk`; one action in `mute` and one judgement in `unsure` can not be understood, and R is often equal."""
    clear = talk(stops=stops)

    def script(request: Request) -> str:
        seed = request.draw.rng_seed()
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            return "hm" if seed // 11 % mute == 0 else clear(request)
        if request.draw.phase in (Phase.EVALUATE, Phase.SIM_EVALUATE):
            return judging(
                request, seed, lambda n: "hm" if n // 11 % unsure == 0 else f"Value: {n // 11 % 4 / 4} Confidence: 1"
            )
        return clear(request)

    return script


async def solve(method: Search, feedback: Feedback, seed: int, budget: Budget) -> tuple[Session, SearchResult]:
    item = problem("zbac")
    ledger = session(pool(mumble(5, 4, 3), mumble(4, 3, 4)), item, seed=seed, budget=budget)
    result = await method.solve(
        item,
        task=Stub(length=4, feedback=feedback, partial=True),
        session=ledger,
        scheduler=UCB(),
        scorer=EMCS(),
        memory=PoolFifo(),
    )
    return ledger, result


def reached(result: SearchResult, node: int) -> tuple[list[str], State]:
    """The actions that lead to a node, and its state: ids may differ, for a cut search has fewer nodes."""
    return [turn.action for turn in result.tree.turns(node)], result.tree[node].state


def policies(method: Method) -> list[Method]:
    """The method under each policy that may choose its answer."""
    if "answer" not in {field.name for field in dataclasses.fields(method)}:
        return [method]
    answers: list[dict[str, Any]] = [{"answer": policy} for policy in RANKS]
    return [dataclasses.replace(method, **answer) for answer in answers]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
@pytest.mark.parametrize("feedback", ["oracle", "none"])
@pytest.mark.parametrize(("seed", "stride"), [(0, 3), pytest.param(1, 1, marks=pytest.mark.slow)])
async def test_a_search_cut_at_any_number_of_calls_answers_what_its_prefix_says(method, feedback, seed, stride):
    for variant in policies(method):
        ledger, whole = await solve(variant, feedback, seed, Budget(calls=60))
        answers = whole.answers(len(ledger.calls))
        for calls in range(1, len(ledger.calls) + 1, stride):
            told = [answer.node for answer in answers if answer.calls <= calls][-1]
            _, cut = await solve(variant, feedback, seed, Budget(calls=calls))
            assert reached(cut, cut.answer) == reached(whole, told), (variant, calls)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
@pytest.mark.parametrize("feedback", ["oracle", "none"])
async def test_a_search_cut_at_any_number_of_tokens_answers_what_its_prefix_says(method, feedback):
    ledger, whole = await solve(method, feedback, 3, Budget(tokens=700))
    answers = whole.answers(ledger.stood)
    records = answer_records(ledger, answers, {answer.node: GRADE for answer in answers})
    for tokens in [*range(1, ledger.meter.tokens, 7), *(max(1, record.tokens) for record in records)]:
        told = [record.node for record in records if record.tokens <= tokens][-1]
        _, cut = await solve(method, feedback, 3, Budget(tokens=tokens))
        assert reached(cut, cut.answer) == reached(whole, told), tokens


@pytest.mark.parametrize("policy", ["oracle_kept", "largest_sum"])
async def test_of_an_answer_by_a_rule_of_the_published_code_no_prefix_is_told(policy):
    _, whole = await solve(Symphony(answer=policy), "oracle", 0, Budget(calls=60))
    assert whole.prefixes is None
    assert whole.answers(60) == ()


@pytest.mark.parametrize("quirk", [{"values": "positional"}, {"values": "rescaled"}, {"backup": "wrong_end"}])
async def test_of_values_that_are_changed_after_the_fact_no_prefix_is_told(quirk):
    _, whole = await solve(Official(**quirk), "oracle", 0, Budget(calls=60))
    assert whole.prefixes is None


async def test_of_a_vote_no_prefix_is_told():
    _, whole = await solve(CoT(samples=3), "none", 0, Budget(calls=60))
    assert whole.prefixes is None
