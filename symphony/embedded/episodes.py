"""Training episodes: scripted experts play the generated tasks, with slips, lessons, judgements and reflections."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from symphony.embedded import dialect, experts
from symphony.tasks.mini.generated import LEXICONS, Lexicon, Lexicons, names, split_problem
from symphony.tasks.mini.gridworld import GridWorld
from symphony.tasks.mini.mini_code import Executor, MiniCode
from symphony.tasks.mini.mini_qa import MiniQA
from symphony.tasks.mini.mini_shop import MiniShop
from symphony.tasks.programs.sandbox import Execution
from symphony.types import Message, Problem, State, Task, Turn

DOMAINS = ("gridworld", "mini_qa", "mini_shop", "mini_code")
RECALLED = ("relation", "material", "colour", "key")


class TrustedExecutor:
    """Runs the experts' own idioms in this process, for speed; never receives a program that a model wrote."""

    def call(self, source: str, function: str, arguments: Sequence[str]) -> Execution:
        scope: dict[str, object] = {}
        exec(source, scope)
        run = scope[function]
        assert callable(run)
        return Execution(outcome="ok", values=tuple(repr(run(*eval(argument))) for argument in arguments), error="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A played episode. `trained[i]` says whether step i is a correct action to learn."""

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
    """Returns the four tasks on their training split, with two-hop questions too, so that easy ones occur."""
    return {
        "gridworld": GridWorld(seed=0, count=1, split="train"),
        "mini_qa": MiniQA(seed=0, count=1, split="train", hops=(2, 3, 4, 5)),
        "mini_shop": MiniShop(seed=0, count=1, split="train"),
        "mini_code": MiniCode(seed=0, count=1, split="train", executor=executor or TrustedExecutor()),
    }


def draw_problem(rng: random.Random, task: Task, lexicons: Lexicons) -> Problem:
    """Draws a fresh training problem whose world is written in `lexicons`."""
    table = {"gridworld": "key", "mini_qa": "relation", "mini_code": "operation"}.get(task.name)
    known = lexicons if table is None else lexicons[table]
    return split_problem(rng, "train", "train", lambda r, i: task.generate(r, i, known))  # type: ignore[attr-defined]


def play(rng: random.Random, task: Task, problem: Problem, wrong: float, slip: float) -> Attempt:
    """Plays one episode by the expert, choosing a wrong word with probability `wrong` and slipping with `slip`."""
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


def bets(turns: Sequence[Turn]) -> dict[str, str]:
    """Returns the meanings that a trajectory's thoughts bet on: word of the task -> word of the world."""
    matches = [re.match(r"(\w+) means ([^.]+)\.", turn.thought) for turn in turns]
    return {bet[1]: bet[2] for bet in matches if bet}


def lesson(turns: Sequence[Turn], known: Lexicon) -> str:
    """Returns what a failed trajectory teaches a reader who was taught `known`, from its visible text alone.

    "spouse weds, rival fears not heeds, doubt tutor visits.": for each bet, the meaning that the reader knows, and
    that it is not what was bet; bets that the reader cannot judge are doubted. Without bets: its last action.
    """
    parts = []
    for ask, word in bets(turns).items():
        if ask not in known:
            parts.append(f"doubt {ask} {word}")
        else:
            parts.append(f"{ask} {known[ask]}" + (f" not {word}" if known[ask] != word else ""))
    return ", ".join(parts or [f"tried {turns[-1].action}"]) + "."


def check(turns: Sequence[Turn], known: Lexicon, lessons: Sequence[str]) -> str:
    """Returns what a reader who was taught `known`, and reads the lessons, can say of a trajectory's bets.

    "Check: spouse weds right rival fears wrong tutor unsure.": first the reader's own word, then whether the bet was on
    it, since the comparison is easy once the word is there. A trajectory without bets gives "Check: none."
    """
    meaning = {**_stated_meanings(lessons), **known}
    verdicts = [
        f"{ask} {meaning[ask]} {'right' if meaning[ask] == word else 'wrong'}" if ask in meaning else f"{ask} unsure"
        for ask, word in bets(turns).items()
    ]
    return f"Check: {' '.join(verdicts) or 'none'}."


def _stated_meanings(lessons: Sequence[str]) -> dict[str, str]:
    """Returns the meanings that lessons state."""
    meanings = {}
    for part in ", ".join(text.removesuffix(".") for text in lessons).split(", "):
        ask, _, meaning = part.partition(" not ")[0].partition(" ")
        if ask not in ("doubt", "tried") and meaning:
            meanings[ask] = meaning
    return meanings


def success(task: Task, attempt: Attempt) -> bool:
    return task.grade(attempt.problem, attempt.state).success


def lessons_for(rng: random.Random, task: Task, problem: Problem, lexicons: Lexicons, count: int) -> list[str]:
    """Draws lessons of up to `count` failed tries of this problem, oldest first, each by a random model of the pool."""
    lessons: list[str] = []
    for _ in range(3 * count):
        attempt = play(rng, task, problem, wrong=0.45, slip=0.15)
        if not success(task, attempt) and len(lessons) < count:
            lessons.append(lesson(attempt.turns, dialect.meanings(rng.choice(dialect.MODELS), lexicons)))
    return list(dict.fromkeys(lessons))


def some_lessons(rng: random.Random, task: Task, problem: Problem, lexicons: Lexicons) -> list[str]:
    """Returns no lessons in 60 % of the cases, else up to three."""
    return lessons_for(rng, task, problem, lexicons, rng.randint(1, 3)) if rng.random() < 0.4 else []


def draw_episode(rng: random.Random, task: Task, model: str, judging: bool = False) -> Episode:
    """Draws one training chat: a demonstration, a judged prefix (30 %) or a reflection on a failure (20 %).

    Args:
        judging: Leaves out the demonstrations.
    """
    lexicons = dialect.shuffled(rng, model)
    known = dialect.meanings(model, lexicons)
    problem = draw_problem(rng, task, lexicons)
    kind = rng.random() / (2 if judging else 1)
    lessons = some_lessons(rng, task, problem, lexicons)
    wrong = 0.0 if kind >= 0.5 else rng.choice((0.0, 0.2, 0.5))
    attempt = play(rng, task, problem, wrong=0.4 if kind < 0.2 else wrong, slip=0.12)
    prompts = task.prompts
    if kind < 0.2 and not success(task, attempt):
        answer = f"Lesson: {lesson(attempt.turns, known)}"
        return _episode(task.name, prompts.reflection(problem, attempt.turns), attempt, answer, ANSWER_WEIGHT)
    if kind < 0.5:
        turns = attempt.turns[: rng.randint(1, len(attempt.turns))]
        checked = check(turns, known, lessons)
        value, confidence = (0.1, 0.9) if "wrong" in checked else (0.5, 0.5) if "unsure" in checked else (0.9, 0.9)
        answer = judgement(checked, value, confidence)
        return _episode(task.name, prompts.evaluation(problem, turns, lessons), attempt, answer, ANSWER_WEIGHT)
    *_, last = attempt.turns
    messages = prompts.expansion(problem, attempt.turns[:-1], lessons)
    answer = f"Thought: {last.thought}\nAction: {last.action}"
    return _episode(task.name, messages, attempt, answer, float(attempt.trained[-1]))


def recall(rng: random.Random) -> Episode:
    """Makes pairs of a word and a name to be recalled in another order: not a task, but a skill that all tasks need.

    Reading "fears Zapute" back from a page by its first word, or "B2 fleece" by its second, is learnt within minutes
    from rows that ask for nothing else, and hardly at all from episodes in which few tokens depend on it.
    """
    words = rng.sample([word for name in RECALLED for word in LEXICONS[name].values()], rng.randint(4, 8))
    if rng.random() < 0.6:
        others = names(rng, len(words), "train")
    else:
        others = [f"B{n + 1} {rng.randint(11, 99)}" for n in range(len(words))]
        others = [other if rng.random() < 0.5 else other.split()[0] for other in others]
    pairs = list(zip(words, others, strict=True))
    after = rng.random() < 0.6
    listed = [f"{word} {other}" if after else f"{other} {word}" for word, other in pairs]
    asked = [f"{word} [{other}]" for word, other in rng.sample(pairs, len(pairs))]
    messages = (Message(role="user", content=", ".join(listed)), Message(role="assistant", content=" ".join(asked)))
    return Episode(domain="recall", messages=messages, weights=(CONTEXT_WEIGHT, 1.0))


def judgement(checked: str, value: float, confidence: float) -> str:
    """Writes an evaluation as the models do: what they checked, then both numbers to one digit."""
    return f"{checked} Value: {value:.1f} Confidence: {confidence:.1f}"


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
ANSWER_WEIGHT = 3.0
"""Weight of judgements and reflections: they have few tokens, and nothing else teaches whether a word was right."""
