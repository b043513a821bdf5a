"""What every scheduler, scorer and memory of conf/ promises in a whole search, and how scorers are asked."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from symphony.agents.budget import Budget
from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import Fixed
from symphony.agents.scorer import RandomScore, Scorer, SelfConsistency, TokenProbability
from symphony.agents.session import Session
from symphony.plan.compose import plan
from symphony.plan.specs import Components, build
from symphony.records.records import NodeRecord, read_records
from symphony.run.runner import Place, run_group
from symphony.search.result import SearchResult, node_records
from symphony.search.symphony import Symphony
from symphony.types import Request
from tests.scripted_pool import Silent, one_group
from tests.stub import Stub, pool, problem, say, session, talk

CONF = Path(__file__).parents[2] / "conf"
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for group in ("scheduler", "scorer", "memory")
    for path in (CONF / group).glob("*.yaml")
)
every_option = pytest.mark.parametrize("option", OPTIONS)


@cache
def parts(option: str) -> Components:
    (run,) = plan("quickstart", [option, "tasks=[gridworld]", "seeds=[0]"], experiment="symphony", conf=CONF)
    return build(run.config)


async def search(option: str, **limits) -> tuple[Session, SearchResult]:
    chosen, item = parts(option), problem("zzzz")
    ledger = session(pool(talk(stops=5), talk("ab", stops=4), talk("bc")), item, **limits)
    result = await Symphony(iterations=6, depth=6, sim_depth=3).solve(
        item,
        task=Stub(length=5),
        session=ledger,
        scheduler=chosen.scheduler,
        scorer=chosen.scorer,
        memory=chosen.memory,
    )
    return ledger, result


@every_option
async def test_the_same_seed_gives_the_same_records(option):
    traces = [
        (node_records(ledger, result.tree), ledger.calls, ledger.picks, ledger.reflections)
        for ledger, result in (await search(option), await search(option))
    ]
    assert traces[0] == traces[1]


@every_option
async def test_every_score_is_in_its_range(option):
    _, result = await search(option)
    scores = [node.score for node in result.tree.nodes if node.score is not None]
    assert scores
    assert all(0 <= part <= 1 for score in scores for part in (score.value, score.confidence, score.modulated))


@every_option
@pytest.mark.parametrize("calls", [1, 6, 9, 20])
async def test_the_call_budget_is_kept_to_the_unit(option, calls):
    ledger, result = await search(option, budget=Budget(calls=calls))
    assert (len(ledger.calls), result.stop_reason) == (calls, "calls")


@every_option
async def test_each_rewarded_node_is_credited_to_its_agent_once(option):
    ledger, result = await search(option)
    for arm, stats in enumerate(ledger.arms):
        priors = sorted(node.prior for node in result.tree.nodes if node.agent == arm and node.prior is not None)
        assert stats.credits == len(priors)
        assert sorted(trial.reward for trial in stats.trials if trial.reward is not None) == priors


SURE = "Value: 1 Confidence: 1"


async def test_random_scores_differ_from_node_to_node_whatever_the_evaluators_say():
    item = problem("zzzz")

    def script(request: Request) -> str:
        return "Action: go " + "abc"[request.draw.index % 3] if "expand" in request.draw.phase else SURE

    scores = []
    for _ in range(2):
        result = await Symphony(n=3, iterations=3).solve(
            item, task=Stub(length=30), session=session(pool(script), item), scheduler=Fixed(), scorer=RandomScore(),
            memory=NoMemory(),
        )  # fmt: skip
        scores.append([node.score.modulated for node in result.tree.nodes if node.score is not None])
    assert len(set(scores[0])) == len(scores[0]) > 2
    assert scores[0] == scores[1]


async def evaluated(scorer: Scorer, answer: str) -> tuple[Counter[int], SearchResult]:
    """How many evaluations each node of one expansion got."""
    item = problem("zzzz")
    ledger = session(pool(say(expand="Action: go a", evaluate=answer, reflect=""), talk("bc")), item)
    result = await Symphony(n=3, iterations=1, sim_depth=0).solve(
        item, task=Stub(length=9), session=ledger, scheduler=Fixed(), scorer=scorer, memory=NoMemory()
    )
    return Counter(call.node for call in ledger.calls if call.phase == "evaluate"), result


async def test_a_node_is_evaluated_as_often_as_the_scorer_asks():
    counts, result = await evaluated(SelfConsistency(draws=4), "Value: 0.5 Confidence: 0.5")
    assert (counts, result.fallbacks) == ({1: 4}, 0)


async def test_evaluations_that_say_nothing_are_asked_for_once_more_then_the_fallback_stands():
    counts, result = await evaluated(SelfConsistency(draws=4), "hm")
    assert (counts, result.fallbacks) == ({1: 8}, 1)
    assert result.tree[1].score == SelfConsistency().fallback()


async def test_a_pool_without_log_probabilities_is_told_by_its_fallbacks():
    counts, result = await evaluated(TokenProbability(), "Value: 0.5 Confidence: 0.9")
    assert (counts, result.fallbacks, result.tree[1].prior) == ({1: 1}, 1, 0.5)


def test_a_local_model_tells_the_probability_of_its_evaluations(tmp_path):
    group = one_group("symphony", "pool=embedded_llama_only", "scorer=token_probability", "problems=1", "preset=paper")
    run_group(group, Place(outputs=tmp_path), Silent())
    nodes = read_records(Place(outputs=tmp_path).run(group.runs[0]), NodeRecord)
    confidences = [node.confidence for node in nodes if node.confidence is not None and not node.fallback]
    assert confidences
    assert all(0 < confidence < 1 for confidence in confidences)
    assert len(set(confidences)) > 1
