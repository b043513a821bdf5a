"""Plays many episodes at once by a model alone, to fine-tune its values and to measure its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from symphony.types import Completion, Draw, ModelBackend, Phase, Problem, Request, Sampling, State, Task, Turn

TEMPERATURE = 0.8
TOKENS = 48
JUDGEMENT_TOKENS = 40
REFLECTION_TOKENS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """A (partial) episode. `lessons` are those in its prompts; `dead` means that a completion held no action."""

    task: Task
    problem: Problem
    state: State
    lessons: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    dead: bool = False

    @property
    def over(self) -> bool:
        return self.dead or self.state.done

    @property
    def success(self) -> bool:
        return self.task.grade(self.problem, self.state).success


def fresh(task: Task, problem: Problem, lessons: Sequence[str] = ()) -> Trajectory:
    return Trajectory(task=task, problem=problem, state=task.reset(problem), lessons=tuple(lessons))


def play(backend: ModelBackend, starts: Sequence[Trajectory], seed: int) -> list[Trajectory]:
    """Plays every trajectory to its end at temperature 0.8, one step of all of them at a time."""
    current = list(starts)
    step = 0
    while active := [i for i, trajectory in enumerate(current) if not trajectory.over]:
        prompts = [
            current[i].task.prompts.expansion(current[i].problem, current[i].turns, current[i].lessons) for i in active
        ]
        sampling = Sampling(temperature=TEMPERATURE, max_tokens=TOKENS)
        requests = [
            Request(messages=prompt, sampling=sampling, draw=_draw(seed, step, i, Phase.EXPAND))
            for i, prompt in zip(active, prompts, strict=True)
        ]
        for i, answer in zip(active, backend.generate(requests), strict=True):
            current[i] = _after(current[i], answer)
        step += 1
    return current


def judge(backend: ModelBackend, trajectories: Sequence[Trajectory]) -> list[str]:
    """Returns the model's greedy evaluation text of each trajectory."""
    sampling = Sampling(temperature=0.0, max_tokens=JUDGEMENT_TOKENS)
    requests = [
        Request(
            messages=t.task.prompts.evaluation(t.problem, t.turns, t.lessons),
            sampling=sampling,
            draw=_draw(0, 0, i, Phase.EVALUATE),
        )
        for i, t in enumerate(trajectories)
    ]
    return [answer.text for answer in backend.generate(requests)]


def reflect(backend: ModelBackend, failed: Sequence[Trajectory]) -> list[str]:
    """Returns the model's greedy reflection on each failed trajectory."""
    sampling = Sampling(temperature=0.0, max_tokens=REFLECTION_TOKENS)
    requests = [
        Request(
            messages=t.task.prompts.reflection(t.problem, t.turns),
            sampling=sampling,
            draw=_draw(0, 0, i, Phase.REFLECT),
        )
        for i, t in enumerate(failed)
    ]
    return [answer.text for answer in backend.generate(requests)]


def _draw(seed: int, step: int, index: int, phase: Phase) -> Draw:
    return Draw(seed=seed, problem=f"rollout {index}", node=step, phase=phase, index=0)


def _after(trajectory: Trajectory, answer: Completion) -> Trajectory:
    proposal = trajectory.task.parse(answer.text)
    if proposal is None:
        return replace(trajectory, dead=True)
    state = trajectory.task.step(trajectory.state, proposal.action)
    turn = Turn(thought=proposal.thought, action=proposal.action, observation=state.observation)
    return replace(trajectory, state=state, turns=(*trajectory.turns, turn))
