"""Training episodes: the scripted experts play the generated tasks, with slips, lessons, judgements and reflections."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from symphony.embedded import dialect, experts
from symphony.tasks.generated import LEXICONS, names, split_problem
from symphony.tasks.gridworld import GridWorld
from symphony.tasks.mini_code import Executor, MiniCode
from symphony.tasks.mini_qa import MiniQA
from symphony.tasks.mini_shop import MiniShop
from symphony.tasks.sandbox import Execution
from symphony.types import Message, Problem, State, Task, Turn

DOMAINS = ("gridworld", "mini_qa", "mini_shop", "mini_code")
RECALLED = ("relation", "material", "colour", "key")


class TrustedExecutor:
    """Runs the experts' own idioms in this process, for speed; never given a program that a model wrote."""

    def call(self, source: str, function: str, arguments: Sequence[str]) -> Execution:
        scope: dict[str, object] = {}
        exec(source, scope)
        run = scope[function]
        assert callable(run)
        return Execution(outcome="ok", values=tuple(repr(run(*eval(argument))) for argument in arguments), error="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A played episode. `trained[i]` tells whether step i is a right action, to be learnt."""

    problem: Problem
    turns: tuple[Turn, ...]
    trained: tuple[bool, ...]
    right: tuple[bool, ...]
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Episode:
    """A chat to learn from; `weights[i]` is the loss weight of message i's tokens (0 for a slip)."""

    domain: str
    messages: tuple[Message, ...]
    weights: tuple[float, ...]


SCRIPTS = {
    "gridworld": experts.grid,
    "mini_qa": experts.qa,
    "mini_shop": experts.shop,
    "mini_code": experts.code,
}


def tasks(executor: Executor | None = None) -> dict[str, Task]:
    """The four tasks on their training split; questions of two hops too, so that easy ones are met."""
    return {
        "gridworld": GridWorld(seed=0, count=1, split="train"),
        "mini_qa": MiniQA(seed=0, count=1, split="train", hops=(2, 3, 4)),
        "mini_shop": MiniShop(seed=0, count=1, split="train"),
        "mini_code": MiniCode(seed=0, count=1, split="train", executor=executor or TrustedExecutor()),
    }


def draw_problem(rng: random.Random, task: Task, model: str) -> Problem:
    """A fresh training problem in a dialect of `model`."""
    lexicons = dialect.shuffled(rng, model)
    table = {"gridworld": "key", "mini_qa": "relation", "mini_code": "operation"}.get(task.name)
    known = lexicons if table is None else lexicons[table]
    return split_problem(rng, "train", "train", lambda r, i: task.generate(r, i, known))  # type: ignore[attr-defined]


def play(rng: random.Random, task: Task, problem: Problem, wrong: float, slip: float) -> Attempt:
    """One episode by the expert, choosing a wrong word with probability `wrong` and slipping with `slip`."""
    state, turns, trained, right = task.reset(problem), [], [], []
    script = SCRIPTS[task.name](problem, rng, slip)
    good, step, sent = True, next(script), None
    while not state.done:
        if isinstance(step, experts.Choose):
            others = [word for word in step.options if word != step.right]
            sent = rng.choice(others) if others and rng.random() < wrong else step.right
            good = sent == step.right
            step = script.send(sent)
            continue
        state = task.step(state, step.proposal.action)
        turns.append(Turn(thought=step.proposal.thought, action=step.proposal.action, observation=state.observation))
        trained.append(step.trained and good)
        right.append(step.trained and good)
        good = good if step.proposal.action.startswith("lookup") else True
        if not state.done:
            step = script.send(state)
    return Attempt(problem=problem, turns=tuple(turns), trained=tuple(trained), right=tuple(right), state=state)


def lesson(turns: Sequence[Turn]) -> str:
    """What a failed trajectory teaches, drawn from its visible text alone: the meanings it gambled on.

    "tried spouse weds, rival fears." A trajectory that gambled on none names its last action.
    """
    bets = [re.fullmatch(r"(\w+) means (.+)\.", turn.thought) for turn in turns]
    pairs = {bet[1]: bet[2] for bet in bets if bet}
    tried = [f"{ask} {word}" for ask, word in pairs.items()] or [turns[-1].action]
    return f"tried {', '.join(tried)}."


def success(task: Task, attempt: Attempt) -> bool:
    return task.grade(attempt.problem, attempt.state).success


def lessons_for(rng: random.Random, task: Task, problem: Problem, count: int) -> list[str]:
    """Lessons of up to `count` failed tries of this very problem, oldest first."""
    found: list[str] = []
    for _ in range(3 * count):
        attempt = play(rng, task, problem, wrong=0.45, slip=0.15)
        if not success(task, attempt) and len(found) < count:
            found.append(lesson(attempt.turns))
    return list(dict.fromkeys(found))


def draw_episode(rng: random.Random, task: Task, model: str) -> Episode:
    """One training chat: a demonstration, a judged prefix (30 %) or a reflection on a failure (20 %)."""
    problem = draw_problem(rng, task, model)
    kind = rng.random()
    lessons = lessons_for(rng, task, problem, rng.randint(1, 3)) if rng.random() < 0.4 else []
    wrong = 0.0 if kind >= 0.5 else rng.choice((0.0, 0.2, 0.5))
    attempt = play(rng, task, problem, wrong=0.4 if kind < 0.2 else wrong, slip=0.12)
    prompts = task.prompts
    if kind < 0.2 and not success(task, attempt):
        answer = f"Lesson: {lesson(attempt.turns)}"
        return _episode(task.name, prompts.reflection(problem, attempt.turns), attempt, answer)
    if kind < 0.5:
        cut = rng.randint(1, len(attempt.turns))
        answer = judgement(0.9, 0.9) if all(attempt.right[:cut]) else judgement(0.1, 0.9)
        return _episode(task.name, prompts.evaluation(problem, attempt.turns[:cut], lessons), attempt, answer)
    *_, last = attempt.turns
    messages = prompts.expansion(problem, attempt.turns[:-1], lessons)
    answer = f"Thought: {last.thought}\nAction: {last.action}"
    return _episode(task.name, messages, attempt, answer, float(attempt.trained[-1]))


def recall(rng: random.Random) -> Episode:
    """Pairs of a word and a name to be recalled in another order: no task, but the skill that all tasks need.

    Reading "fears Zapute" back from a page by its first word, or "B2 fleece" by its second, is learnt within minutes
    from rows that ask for nothing else, and hardly at all from episodes in which a few tokens depend on it.
    """
    words = rng.sample([word for name in RECALLED for word in LEXICONS[name].values()], rng.randint(4, 8))
    if rng.random() < 0.6:
        others = names(rng, len(words), "train")
    else:
        others = [f"B{n + 1} {rng.randint(11, 99)}" for n in range(len(words))]
        others = [other if rng.random() < 0.5 else other.split()[0] for other in others]
    pairs = list(zip(words, others, strict=True))
    after = rng.random() < 0.6
    told = [f"{word} {other}" if after else f"{other} {word}" for word, other in pairs]
    asked = [f"{word} [{other}]" for word, other in rng.sample(pairs, len(pairs))]
    messages = (Message(role="user", content=", ".join(told)), Message(role="assistant", content=" ".join(asked)))
    return Episode(domain="recall", messages=messages, weights=(CONTEXT_WEIGHT, 1.0))


def judgement(value: float, confidence: float) -> str:
    """An evaluation as the models speak it, both numbers to one digit."""
    return f"Value: {value:.1f} Confidence: {confidence:.1f}"


def _episode(domain: str, messages: Sequence[Message], attempt: Attempt, answer: str, weight: float = 1.0) -> Episode:
    whole = (*messages, Message(role="assistant", content=answer))
    weights, step = [], 0
    for message in messages:
        if message.role == "user":
            weights.append(CONTEXT_WEIGHT)
        else:
            weights.append(float(attempt.trained[step]))
            step += 1
    return Episode(domain=domain, messages=whole, weights=(*weights, weight))


CONTEXT_WEIGHT = 0.05
