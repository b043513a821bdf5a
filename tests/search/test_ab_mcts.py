"""Rules of AB-MCTS: what a trial of TreeQuest becomes here, and that its tree depends on the seed alone."""

from __future__ import annotations

import random
import re
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from symphony.agents.memory import Memory, NoMemory, PoolFifo
from symphony.agents.scheduler import Fixed, RoundRobin, Scheduler
from symphony.agents.scorer import Plain
from symphony.agents.session import Session
from symphony.search.methods.ab_mcts import _NEEDS, ABMCTS
from symphony.search.result import SearchResult
from symphony.types import Phase, Request, SymphonyError
from tests.stub import Script, Stub, pool, problem, say, session, talk

WORD = "abcdefgh"


def carried(request: Request) -> int:
    """How many lessons a prompt carries."""
    return sum(line.startswith("lesson ") for line in request.messages[-1].content.splitlines())


def letter_by_letter(right: dict[int, int], told: list[int]) -> Script:
    """Its word has so many right letters with so many lessons; notes how many each attempt carries."""

    def script(request: Request) -> str:
        if request.draw.phase is Phase.REFLECT:
            return f"Lesson: {request.draw.node}."
        at = sum(line.startswith("go ") for line in request.messages[-1].content.splitlines())
        lessons = carried(request)
        if at == 0:
            told.append(lessons)
        return f"Action: go {WORD[at] if at < right.get(lessons, 0) else 'z'}"

    return script


async def search(
    *scripts: Script,
    method: ABMCTS,
    scheduler: Scheduler | None = None,
    memory: Memory | None = None,
    seed: int = 0,
    **task,
) -> tuple[SearchResult, Session]:
    item = problem(WORD)
    ledger = session(pool(*scripts), item, seed=seed)
    result = await method.solve(
        item,
        task=Stub(**{"length": 8, "partial": True, **task}),
        session=ledger,
        scheduler=scheduler or RoundRobin(),
        scorer=Plain(),
        memory=memory or PoolFifo(size=9),
    )
    return result, ledger


async def test_it_goes_deeper_where_refining_helps_and_wider_where_it_does_not():
    """Each lesson one more right letter, against a lesson that leaves none: 10 seeds of 20 attempts."""
    helps: list[int] = []
    hurts: list[int] = []
    for seed in range(10):
        rising = {lessons: min(7, 2 + lessons) for lessons in range(10)}
        await search(letter_by_letter(rising, helps), method=ABMCTS(n=20), seed=seed)
        await search(letter_by_letter({0: 4}, hurts), method=ABMCTS(n=20), seed=seed)
    fresh = [sum(lessons == 0 for lessons in told) / len(told) for told in (helps, hurts)]
    deep = [sum(lessons >= 2 for lessons in told) / len(told) for told in (helps, hurts)]
    assert fresh[0] < 0.4 < 0.8 < fresh[1]
    assert deep[1] < 0.05 < 0.2 < deep[0]


async def test_the_model_whose_attempts_score_more_is_asked_more():
    calls: Counter[str] = Counter()
    for seed in range(5):
        bad, good = (letter_by_letter(dict.fromkeys(range(10), right), []) for right in (0, 6))
        _, ledger = await search(bad, good, method=ABMCTS(n=20), memory=NoMemory(), seed=seed)
        calls.update(pick.agent for pick in ledger.picks if pick.phase == "expand")
    assert calls["B"] > 2 * calls["A"]


async def test_an_attempt_is_of_one_model_and_the_scheduler_picks_who_evaluates():
    _, ledger = await search(
        talk(WORD), talk(WORD), talk(WORD), method=ABMCTS(n=20), scheduler=Fixed(arm=2), feedback="none"
    )
    for iteration in range(1, 21):
        picks = [pick for pick in ledger.picks if pick.iteration == iteration]
        assert len({pick.agent for pick in picks if pick.phase == "expand"}) == 1
        assert [pick.agent for pick in picks if pick.phase == "evaluate"] == ["C"]
    assert {pick.agent for pick in ledger.picks if pick.phase == "expand"} == {"A", "B", "C"}


async def test_an_attempt_carries_the_lessons_of_its_own_line_alone():
    """Every lesson names the node it is of; whichever attempt carries it carries the same ones before it."""
    seen: list[list[str]] = []

    def script(request: Request) -> str:
        if request.draw.phase is Phase.EXPAND and request.draw.node == 0:
            lines = request.messages[-1].content.splitlines()
            seen.append([line.removeprefix("lesson ") for line in lines if line.startswith("lesson ")])
        return f"Lesson: {request.draw.node}" if request.draw.phase is Phase.REFLECT else talk(WORD)(request)

    await search(script, method=ABMCTS(n=60), seed=1)
    lines = {tuple(lessons) for lessons in seen}
    assert () in lines
    assert max(map(len, lines)) >= 2
    above: dict[str, tuple[str, ...]] = {}
    for line in lines:
        for place, lesson in enumerate(line):
            assert above.setdefault(lesson, line[:place]) == line[:place]


async def test_a_failure_is_reflected_on_when_it_is_first_refined_and_never_otherwise():
    _, ledger = await search(talk(WORD), method=ABMCTS(n=1))
    assert {call.phase for call in ledger.calls} == {"expand"}
    _, ledger = await search(talk(WORD), method=ABMCTS(n=30))
    keys = [reflection.key for reflection in ledger.reflections]
    assert 0 < len(keys) == len(set(keys)) < 30


async def test_the_lessons_that_live_on_are_those_of_all_attempts():
    _, ledger = await search(talk(WORD), method=ABMCTS(n=30), memory=PoolFifo(size=100))
    assert [lesson.text for lesson in ledger.lessons] == [reflection.text for reflection in ledger.reflections]


async def test_the_end_of_an_attempt_counts_as_visited_by_all_that_refine_it():
    result, _ = await search(talk(WORD), method=ABMCTS(n=20))
    ends = [node for node in result.tree.nodes if node.state.done]
    assert result.tree[0].visits == len(ends) == 20
    assert sum(node.visits for node in ends) > 20
    assert all(0 <= node.value_sum <= node.visits for node in ends)


async def test_an_attempt_without_an_end_scores_nothing():
    result, ledger = await search(talk(WORD), method=ABMCTS(n=5, depth=3))
    assert {node.value_sum for node in result.tree.nodes} == {0.0}
    assert "evaluate" not in {call.phase for call in ledger.calls}


async def test_a_model_that_never_answers_is_told_of_as_worth_nothing_and_ends_no_search():
    result, ledger = await search(say(expand=None), talk(WORD), method=ABMCTS(n=20), memory=NoMemory())
    assert (result.stop_reason, result.iterations) == ("iterations", 20)
    assert sum(call.error is not None for call in ledger.calls) == 3  # then it is suspended, and asked no more
    assert sum(node.state.done for node in result.tree.nodes) > 10


@pytest.mark.parametrize("models", ["thompson", "ucb", "stack"])
async def test_the_generators_that_the_process_shares_neither_matter_nor_change(models):
    def noisy(request: Request) -> str:
        np.random.random()
        random.random()
        return talk(WORD)(request)

    method = ABMCTS(n=12, models=models)
    _, first = await search(talk(WORD), talk(WORD), method=method)
    np.random.seed(1)
    random.seed(1)
    before = np.random.get_state(legacy=False), random.getstate()
    _, second = await search(talk(WORD), talk(WORD), method=method)
    np.testing.assert_equal((np.random.get_state(legacy=False), random.getstate()), before)
    _, third = await search(noisy, noisy, method=method)
    assert first.picks == second.picks == third.picks
    assert first.calls == second.calls == third.calls


@pytest.mark.parametrize(("variant", "extra"), [("a", "ab-mcts"), ("m", "ab-mcts-m")])
async def test_a_missing_library_is_told_with_the_command_that_installs_it(variant, extra, monkeypatch):
    monkeypatch.setattr("symphony.search.methods.ab_mcts.find_spec", lambda name: None)
    told = rf"search\.variant {variant}: found no treequest.*, allowed: after pip install -e '\.\[{extra}\]'"
    with pytest.raises(SymphonyError, match=told):
        await search(talk(WORD), method=ABMCTS(variant=variant))


def test_the_extras_are_spelt_as_every_pip_finds_them():
    """Older ones look for the name as it is typed, which a package's metadata holds with hyphens."""
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert all(re.fullmatch("[a-z0-9-]+", extra) for extra in extras)
    assert {extra for extra, _ in _NEEDS.values()} <= set(extras)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"depth": 0}, {"variant": "b"}, {"models": "best"}, {"max_misses": 0}])
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        ABMCTS(**wrong)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of PyMC and what it stands on
async def test_the_mixed_model_gives_the_same_tree_for_the_same_seed():
    pytest.importorskip("pymc", reason="the extra ab-mcts-m is not installed")
    first, second = [await search(talk(WORD), talk(WORD), method=ABMCTS(variant="m", n=4)) for _ in range(2)]
    assert first[0].iterations == 4
    assert first[1].picks == second[1].picks
    assert first[1].calls == second[1].calls
