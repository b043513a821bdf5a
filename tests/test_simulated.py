"""The simulated task and its agents: what is set is what happens, through the prompts and readers of real models."""

from __future__ import annotations

import asyncio
import math
from collections import Counter

import pytest

from symphony.agents.scorer import EMCS
from symphony.simulated.agent import SimulatedAgent
from symphony.simulated.task import SimulatedTask
from symphony.types import Completion, Draw, Message, Phase, Problem, Request, Sampling, SymphonyError, Turn

TASK = SimulatedTask(seed=0, count=400, steps=4, choices=4, situations=2)


def ask(
    agent: SimulatedAgent, messages: tuple[Message, ...], phase: Phase, index: int = 0, temperature: float = 1.0
) -> str:
    sampling = Sampling(temperature=temperature, max_tokens=50)
    draw = Draw(seed=0, problem=messages[0].content, node=0, phase=phase, index=index)
    return asyncio.run(agent.complete(Request(messages=messages, sampling=sampling, draw=draw))).text


def choice(text: str) -> int:
    proposal = TASK.parse(text)
    assert proposal is not None
    return int(proposal.action.partition("[")[2].rstrip("]"))


def path(problem: Problem, choices: tuple[int, ...]) -> list[Turn]:
    return [Turn(thought="", action=f"choose[{made}]", observation="Step.") for made in choices]


def wrong(problem: Problem, at: int) -> int:
    return 1 + problem.target.right[at] % problem.target.choices


def right_share(agent: SimulatedAgent, situation: int, index: int = 0) -> float:
    """Share of the problems whose first step is of a situation in which the agent chooses right."""
    there = [problem for problem in TASK.problems() if problem.target.situations[0] == situation]
    asked = [choice(ask(agent, TASK.prompts.expansion(p, [], []), Phase.EXPAND, index)) for p in there]
    return sum(made == p.target.right[0] for made, p in zip(asked, there, strict=True)) / len(there)


def evaluations(agent: SimulatedAgent, right: bool, count: int = 300) -> list[tuple[float, float]]:
    """Values and confidences that the scorer reads after a right or a wrong first choice."""
    found = []
    for problem in TASK.problems()[:count]:
        made = problem.target.right[0] if right else wrong(problem, 0)
        prompt = TASK.prompts.evaluation(problem, path(problem, (made,)), [])
        answer = Completion(text=ask(agent, prompt, Phase.EVALUATE), finish_reason="stop", prompt_tokens=1)
        score = EMCS().score([answer])
        assert score is not None
        assert not score.fallback
        found.append((score.value, score.confidence))
    return found


# --------------------------------------------------------------------------- the task


def test_every_right_choice_solves_a_problem_and_any_wrong_one_does_not() -> None:
    for problem in TASK.problems()[:20]:
        for slip in (None, 0, 3):
            state = TASK.reset(problem)
            for at, made in enumerate(problem.target.right):
                state = TASK.step(state, f"choose[{wrong(problem, at) if at == slip else made}]")
            assert state.terminated
            assert state.reward == float(slip is None)
            assert TASK.grade(problem, state).success == (slip is None)


def test_without_an_oracle_the_end_shows_no_reward() -> None:
    task = SimulatedTask(seed=0, count=1, steps=1, feedback="none")
    state = task.step(task.reset(task.problems()[0]), "choose[1]")
    assert state.terminated
    assert state.reward is None


@pytest.mark.parametrize("action", ["choose[0]", "choose[5]", "choose[x]", "take[1]", "choose[99999999]"])
def test_an_action_that_is_no_choice_is_invalid_and_wrong(action: str) -> None:
    problem = TASK.problems()[0]
    state = TASK.step(TASK.reset(problem), action)
    assert state.invalid
    for made in problem.target.right[1:]:
        state = TASK.step(state, f"choose[{made}]")
    assert state.reward == 0.0


def test_the_prompt_does_not_depend_on_what_is_right() -> None:
    prompts = {problem.prompt.partition(": situation")[0].replace(problem.id, "") for problem in TASK.problems()}
    assert len(prompts) == 1


def test_right_choices_and_situations_are_spread_evenly() -> None:
    counts = Counter(problem.target.right[0] for problem in TASK.problems())
    assert all(70 < counts[made] < 130 for made in range(1, 5))


# --------------------------------------------------------------------------- skill


@pytest.mark.parametrize("concentration", [None, 1.0, 10.0])
def test_the_share_of_right_choices_in_a_situation_is_its_skill(concentration: float | None) -> None:
    agent = SimulatedAgent(skill=[0.8, 0.3], concentration=concentration)
    for situation, skill in enumerate(agent.skill):
        assert right_share(agent, situation) == pytest.approx(skill, abs=0.1)


def test_a_later_situation_than_listed_has_the_last_skill() -> None:
    assert right_share(SimulatedAgent(skill=[1.0]), 1) == 1.0


@pytest.mark.parametrize(("concentration", "low", "high"), [(None, 0.4, 0.6), (0.05, 0.85, 1.0)])
def test_draws_about_one_step_agree_more_the_lower_the_concentration(
    concentration: float | None, low: float, high: float
) -> None:
    agent = SimulatedAgent(skill=[0.5], concentration=concentration, stubborn=1.0)
    same = 0
    for problem in TASK.problems():
        prompt = TASK.prompts.expansion(problem, [], [])
        same += ask(agent, prompt, Phase.EXPAND, 0) == ask(agent, prompt, Phase.EXPAND, 1)
    assert low < same / 400 < high


def test_a_stubborn_agent_repeats_one_wrong_choice() -> None:
    problem = TASK.problems()[0]
    agent = SimulatedAgent(skill=[0.0], stubborn=1.0)
    made = {choice(ask(agent, TASK.prompts.expansion(problem, [], []), Phase.EXPAND, index)) for index in range(30)}
    assert len(made) == 1


def test_a_greedy_request_gets_the_most_probable_choice() -> None:
    problem = TASK.problems()[0]
    agent = SimulatedAgent(skill=[0.6])
    prompt = TASK.prompts.expansion(problem, [], [])
    made = {choice(ask(agent, prompt, Phase.EXPAND, index, temperature=0)) for index in range(20)}
    assert made == {problem.target.right[0]}


def test_the_log_probability_is_that_of_the_choice() -> None:
    problem, agent = TASK.problems()[0], SimulatedAgent(skill=[0.7], stubborn=0.0)
    draw = Draw(seed=0, problem="p", node=0, phase=Phase.EXPAND, index=0)
    request = Request(
        messages=TASK.prompts.expansion(problem, [], []), sampling=Sampling(temperature=1, max_tokens=9), draw=draw
    )
    answer = asyncio.run(agent.complete(request))
    assert answer.logprob is not None
    assert math.exp(answer.logprob) == pytest.approx(0.7 if choice(answer.text) == problem.target.right[0] else 0.1)


def test_settings_of_evaluation_change_no_proposal() -> None:
    problem = TASK.problems()[3]
    prompt = TASK.prompts.expansion(problem, [], [])
    one, other = SimulatedAgent(skill=[0.5]), SimulatedAgent(skill=[0.5], noise=0.9, bias=0.3, ambiguity=0.5)
    assert [ask(one, prompt, Phase.EXPAND, i) for i in range(9)] == [
        ask(other, prompt, Phase.EXPAND, i) for i in range(9)
    ]


def test_agents_of_equal_skill_and_different_seeds_know_different_things() -> None:
    first, second = (SimulatedAgent(skill=[0.5], concentration=0.05, seed=seed) for seed in (0, 1))
    prompts = [TASK.prompts.expansion(problem, [], []) for problem in TASK.problems()[:100]]
    assert sum(ask(first, p, Phase.EXPAND) == ask(second, p, Phase.EXPAND) for p in prompts) < 70


# --------------------------------------------------------------------------- evaluation


def test_without_noise_the_value_is_the_truth() -> None:
    agent = SimulatedAgent(skill=[0.5], noise=0.0)
    assert {value for value, _ in evaluations(agent, True)} == {1.0}
    assert {value for value, _ in evaluations(agent, False)} == {0.0}


def test_an_ambiguous_node_has_the_value_one_half_and_that_calibrated_confidence() -> None:
    agent = SimulatedAgent(skill=[0.5], noise=0.0, ambiguity=1.0)
    assert set(evaluations(agent, True)) == {(0.5, 0.5)}


def test_a_calibrated_confidence_is_how_often_the_value_is_on_the_right_side() -> None:
    agent = SimulatedAgent(skill=[0.5], noise=0.5)
    found = evaluations(agent, True)
    share = sum(value > 0.5 for value, _ in found) / len(found)
    assert share == pytest.approx(found[0][1], abs=0.06)


@pytest.mark.parametrize(("kind", "plain", "ambiguous"), [("constant", 0.95, 0.95), ("inverted", 0.5, 1.0)])
def test_a_confidence_can_say_nothing_or_the_opposite(kind, plain: float, ambiguous: float) -> None:
    for ambiguity, confidence in ((0.0, plain), (1.0, ambiguous)):
        agent = SimulatedAgent(skill=[0.5], noise=0.0, ambiguity=ambiguity, confidence=kind)
        assert evaluations(agent, True, 5)[0][1] == pytest.approx(confidence, abs=1e-3)


def test_a_bias_moves_every_value() -> None:
    agent = SimulatedAgent(skill=[0.5], noise=0.0, bias=0.25)
    assert {value for value, _ in evaluations(agent, False)} == {0.25}


# --------------------------------------------------------------------------- lessons


def test_a_lesson_of_full_insight_forbids_the_first_wrong_choice_and_is_heeded() -> None:
    agent = SimulatedAgent(skill=[0.0], stubborn=1.0)
    problem = TASK.problems()[0]
    right = problem.target.right
    failed = (right[0], wrong(problem, 1), right[2], right[3])
    text = ask(agent, TASK.prompts.reflection(problem, path(problem, failed)), Phase.REFLECT)
    assert text == f"Lesson: Avoid choose[{failed[1]}] at step 2."
    lesson = text.removeprefix("Lesson: ")
    prompt = TASK.prompts.expansion(problem, path(problem, failed[:1]), [lesson])
    assert all(choice(ask(agent, prompt, Phase.EXPAND, index)) != failed[1] for index in range(30))


def test_lessons_that_forbid_everything_leave_a_choice() -> None:
    problem, agent = TASK.problems()[0], SimulatedAgent(skill=[1.0])
    lessons = [f"Avoid choose[{made}] at step 1." for made in range(1, 5)]
    assert choice(ask(agent, TASK.prompts.expansion(problem, [], lessons), Phase.EXPAND)) in range(1, 5)


# --------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"skill": [1.2]}, r"model\.skill"),
        ({"skill": [0.5], "concentration": 0.0}, r"model\.concentration"),
        ({"skill": [0.5], "confidence": "high"}, r"model\.confidence: found 'high'"),
        ({"skill": [0.5], "noise": -0.1}, r"model\.noise"),
    ],
)
def test_a_setting_out_of_range_is_refused(settings, message: str) -> None:
    with pytest.raises(SymphonyError, match=message):
        SimulatedAgent(**settings)


def test_every_setting_changes_the_revision() -> None:
    others = (
        SimulatedAgent(skill=[0.5], noise=0.3),
        SimulatedAgent(skill=[0.5], seed=1),
        SimulatedAgent(skill=[0.5], heed=0.5),
    )
    assert len({one.revision for one in (SimulatedAgent(skill=[0.5]), *others)}) == 4
