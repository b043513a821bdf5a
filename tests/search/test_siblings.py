"""Siblings judged in one call: fewer calls and tokens, and each node's value is the one said of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from symphony.agents.budget import Budget
from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import Fixed, RoundRobin
from symphony.agents.scorer import EMCS, Plain, PTrue, RandomScore, Scorer, SelfConsistency, TokenProbability
from symphony.agents.session import Session
from symphony.search.methods.plus import SymphonyPlus
from symphony.search.result import SearchResult
from symphony.search.symphony import Symphony
from symphony.types import Phase, Request
from tests.stub import Script, Scripted, Stub, pool, problem, session, talk

VALUES = {"a": 0.1, "b": 0.6, "c": 0.3}


def judge(line: str = "{n}: Value: {z} Confidence: 1", **spoilt: str) -> Script:
    """Proposes a, b, c in turn and judges by `VALUES`; `spoilt`: what to say of a letter when siblings are judged."""

    def script(request: Request) -> str:
        text = request.messages[0].content
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            return "Action: go " + "abc"[request.draw.index % 3]
        letters = [words[3:] for words in text.split("\n") if words.startswith("go ")]
        if not text.startswith("compare"):
            return f"Value: {VALUES[letters[-1]]} Confidence: 1"
        own = letters[-int(text.split("\n")[0].split(" ")[1]) :]
        return "\n".join(spoilt.get(one, line).format(n=n, z=VALUES[one]) for n, one in enumerate(own, 1))

    return script


async def expanded(
    script: Script, siblings: int = 4, scorer: Scorer | None = None, **budget: int
) -> tuple[Session, SearchResult]:
    """One expansion of three siblings, with their judgements."""
    item = problem("zzzz")
    ledger = session(pool(script), item, budget=Budget(**budget))
    method = Symphony(n=3, iterations=1, sim_depth=0, siblings=siblings, expand_tokens=20)
    parts: dict[str, Any] = {"scheduler": Fixed(), "scorer": scorer or Plain(), "memory": NoMemory()}
    return ledger, await method.solve(item, task=Stub(length=9), session=ledger, **parts)


def judgements(ledger: Session) -> list[tuple[int, str]]:
    """The node that each evaluation is recorded at, and the first word of its prompt."""
    calls = zip(ledger.calls, sent(ledger), strict=True)
    return [(call.node, request.messages[0].content.split()[0]) for call, request in calls if call.phase == "evaluate"]


def sent(ledger: Session) -> list[Request]:
    (agent,) = ledger.pool.agents
    assert isinstance(agent.model, Scripted)
    return agent.model.requests


def values(result: SearchResult) -> dict[str, float | None]:
    return {node.turn.action[-1]: node.prior for node in result.tree.nodes if node.turn}


async def test_siblings_are_judged_in_one_call_as_they_are_one_by_one():
    together, apart = await expanded(judge()), await expanded(judge(), siblings=1)
    assert judgements(together[0]) == [(1, "compare")]
    assert judgements(apart[0]) == [(1, "evaluate"), (2, "evaluate"), (3, "evaluate")]
    assert values(together[1]) == values(apart[1]) == pytest.approx(VALUES)


@pytest.mark.parametrize(("siblings", "asked"), [(2, ["compare", "evaluate"]), (3, ["compare"]), (16, ["compare"])])
async def test_one_call_judges_as_many_as_it_may(siblings, asked):
    ledger, result = await expanded(judge(), siblings)
    assert [kind for _, kind in judgements(ledger)] == asked
    assert values(result) == pytest.approx(VALUES)


async def test_the_tokens_of_a_judgement_fall():
    async def spent(siblings: int) -> int:
        ledger, _ = await expanded(judge(), siblings)
        return sum(call.prompt_tokens + call.completion_tokens for call in ledger.calls if call.phase == "evaluate")

    assert await spent(3) < await spent(2) < await spent(1)


@pytest.mark.parametrize(
    "line", ["", "{n}: I can not tell", "{n}: Value: {z}", "{n}: Value: {z} Confidence: 1\n{n}: Value: 1 Confidence: 1"]
)
async def test_a_sibling_whose_line_cannot_be_read_is_asked_about_once_more_alone(line):
    ledger, result = await expanded(judge(b=line))
    assert judgements(ledger) == [(1, "compare"), (2, "evaluate")]
    assert values(result) == pytest.approx(VALUES)
    assert result.fallbacks == 0


async def test_what_stays_unreadable_falls_back_as_for_a_node_alone():
    def mumbling(request: Request) -> str | None:
        return (
            judge(b="?")(request) if request.draw.phase == "expand" or "compare" in request.messages[0].content else "?"
        )

    _, result = await expanded(mumbling)
    assert (values(result)["b"], result.fallbacks) == (Plain().fallback().modulated, 1)


async def test_a_failed_call_has_every_sibling_asked_about_alone():
    def failing(request: Request) -> str | None:
        return None if request.messages[0].content.startswith("compare") else judge()(request)

    ledger, result = await expanded(failing)
    assert judgements(ledger) == [(1, "compare"), (1, "evaluate"), (2, "evaluate"), (3, "evaluate")]
    assert values(result) == pytest.approx(VALUES)


async def test_the_answer_may_be_as_long_as_those_about_each():
    ledger, _ = await expanded(judge())
    limits = Counter(request.sampling.max_tokens for request in sent(ledger))
    assert limits[3 * Symphony().evaluate_tokens] == 1


@pytest.mark.parametrize(
    "scorer", [EMCS(), RandomScore(), SelfConsistency(draws=2)], ids=lambda scorer: type(scorer).__name__
)
async def test_a_scorer_that_reads_a_value_and_a_confidence_judges_siblings_together(scorer):
    ledger, result = await expanded(judge(), scorer=scorer)
    assert judgements(ledger) == [(1, "compare")] * scorer.asking.draws
    found = values(result)
    assert len({*found.values()}) == 3
    assert isinstance(scorer, RandomScore) or found == pytest.approx(VALUES, abs=1e-4)


@pytest.mark.parametrize("scorer", [PTrue(), TokenProbability()], ids=lambda scorer: type(scorer).__name__)
async def test_a_scorer_that_reads_more_asks_about_each_alone(scorer):
    ledger, _ = await expanded(judge(), scorer=scorer)
    assert [node for node, _ in judgements(ledger)][:3] == [1, 2, 3]


@pytest.mark.parametrize(
    "make", [Symphony(siblings=4, n=3), SymphonyPlus(worth="judged", siblings=4)], ids=["symphony", "plus"]
)
async def test_a_budget_is_kept_to_the_token(make):
    item = problem("zzz")
    for tokens in range(1, 400, 7):
        ledger = session(pool(talk(stops=3), talk()), item, budget=Budget(tokens=tokens))
        await make.solve(
            item, task=Stub(feedback="none"), session=ledger, scheduler=Fixed(), scorer=EMCS(), memory=NoMemory()
        )
        spent = sum(call.prompt_tokens + call.completion_tokens for call in ledger.calls)
        assert spent == ledger.meter.tokens <= tokens
        assert ledger.meter.reserved == 0


async def test_ends_that_no_attempt_reached_are_judged_with_the_one_that_was():
    item, letters = problem("zz"), iter("abcabcabc")

    def script(request: Request) -> str | None:
        return judge()(request) if request.draw.phase == "evaluate" else f"Action: go {next(letters)}"

    counts, found = [], []
    for siblings in (1, 4):
        letters = iter("abcabcabc")
        ledger = session(pool(script, script, script), item)
        method = SymphonyPlus(worth="judged", siblings=siblings, n=1, gate=1.0, asks=3)
        result = await method.solve(
            item,
            task=Stub(length=1, feedback="none"),
            session=ledger,
            scheduler=RoundRobin(),
            scorer=Plain(),
            memory=NoMemory(),
        )
        counts.append(Counter(call.phase for call in ledger.calls)["evaluate"])
        found.append(values(result))
    assert counts == [1, 1]
    assert [None not in one.values() for one in found] == [False, True]
    assert found[1] == pytest.approx(VALUES)
    assert result.state.data[0] == "b"
