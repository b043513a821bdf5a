"""Rules of Reflexion: a failure is reflected on before the next trial, which carries the lesson."""

from __future__ import annotations

import pytest

from symphony.agents.memory import Memory, NoMemory, PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import Plain
from symphony.agents.session import Session
from symphony.search.methods.reflexion import Reflexion
from symphony.search.result import SearchResult
from symphony.types import Phase, Request, SymphonyError
from tests.stub import Script, Stub, pool, problem, say, session


def learner(request: Request) -> str:
    """Stops until it has been taught to go; an end is worth 0.8 when it says a, else 0.1."""
    prompt = request.messages[-1].content
    if request.draw.phase is Phase.EXPAND:
        return "Action: go a" if "lesson go" in prompt else "Action: stop"
    if request.draw.phase is Phase.REFLECT:
        return "Lesson: go"
    return f"Value: {0.8 if prompt.endswith('submitted a') else 0.1} Confidence: 1"


async def search(
    method: Reflexion, *, script: Script = learner, memory: Memory | None = None, **task
) -> tuple[SearchResult, Session, list[str]]:
    """Also the phases of the calls, in order."""
    item = problem("a")
    ledger = session(pool(script), item)
    result = await method.solve(
        item,
        task=Stub(**{"length": 1, **task}),
        session=ledger,
        scheduler=UCB(),
        scorer=Plain(),
        memory=memory or PoolFifo(),
    )
    return result, ledger, [call.phase for call in ledger.calls]


async def test_the_second_trial_carries_the_lesson_of_the_first():
    result, ledger, phases = await search(Reflexion())
    assert (result.stop_reason, result.iterations) == ("solved", 2)
    assert phases == ["expand", "reflect", "expand"]
    assert [(lesson.node, lesson.key, lesson.iteration) for lesson in ledger.reflections] == [(1, "", 1)]


async def test_without_feedback_an_agent_judges_each_end_and_one_that_passes_is_the_answer():
    result, _, phases = await search(Reflexion(), feedback="none")
    assert (result.stop_reason, result.iterations, result.state.data[0]) == ("accepted", 2, "a")
    assert phases == ["expand", "evaluate", "reflect", "expand", "evaluate"]


@pytest.mark.parametrize(("threshold", "reason"), [(0.8, "accepted"), (0.81, "iterations")])
async def test_a_value_equal_to_the_threshold_passes(threshold, reason):
    result, _, _ = await search(Reflexion(threshold=threshold, trials=4), feedback="none")
    assert (result.stop_reason, result.state.data[0]) == (reason, "a")


async def test_a_verdict_that_cannot_be_read_is_a_failure():
    script = say(expand="Action: stop", evaluate="?", reflect="Lesson: no.")
    result, ledger, _ = await search(Reflexion(trials=2, threshold=0.0), script=script, feedback="none")
    assert (result.stop_reason, result.fallbacks, len(ledger.reflections)) == ("iterations", 2, 1)


async def test_a_cut_trajectory_is_a_failure_that_nobody_judges():
    script = say(expand="Action: go b", evaluate="Value: 1 Confidence: 1", reflect="Lesson: no.")
    _, _, phases = await search(Reflexion(trials=2), script=script, feedback="none", length=9, horizon=1)
    assert phases == ["expand", "reflect", "expand"]


async def test_a_lesson_does_not_carry_the_reasoning_that_led_to_it():
    script = say(expand="Action: stop", evaluate="", reflect="<think>Lesson: W.</think>\nLesson: no.")
    _, ledger, _ = await search(Reflexion(trials=2), script=script)
    assert [lesson.text for lesson in ledger.reflections] == ["no."]
    assert "<think>Lesson: W.</think>" in ledger.calls[1].text


async def test_the_same_failure_is_reflected_on_once_and_the_last_trial_never():
    script = say(expand="Action: stop", evaluate="", reflect="Lesson: no.")
    _, _, phases = await search(Reflexion(trials=3), script=script)
    assert phases == ["expand", "reflect", "expand", "expand"]
    _, _, alone = await search(Reflexion(trials=1), script=script)
    assert alone == ["expand"]


async def test_without_a_memory_the_trials_are_independent():
    result, _, phases = await search(Reflexion(trials=3), memory=NoMemory())
    assert (result.stop_reason, phases) == ("iterations", ["expand"] * 3)


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"depth": 0}, {"threshold": 1.1}, {"max_misses": 0}])
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        Reflexion(**wrong)
