"""Stage 2: fine-tunes values on the model's own rollouts, and a confidence that says how far to trust them.

A prefix's value is the share of the model's own continuations that succeed, in dialects of its own (so that it cannot
learn a meaning it was not taught). The model played half of the prefixes itself; a stranger with wrong words played the
others, since in a pool it judges the others' work. Its confidence is 1 minus the expected distance between its value of
a prefix *it was not fine-tuned on* and that share: it learns to doubt what it cannot judge (a bet on an untaught word).

Both are means, but a model that learns to write a number writes the most probable one, not the mean. So each is learnt
twice: first as odds (it sees "1.0" as often as the share says, else "0.0", and the mean is read from its
probabilities), then as the text of that mean, to one digit.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from symphony.agents.scorer import parse_score
from symphony.embedded import dialect, episodes, rollouts, train
from symphony.tasks.programs.sandbox import PythonSandbox
from symphony.types import Message, ModelBackend, Turn, derive_rng

CONTINUATIONS = 5
RATE = 0.25
REPLAY = train.STAGES[-1].mix
UNJUDGED = 2
"""Prefixes without continuations for each with: only the text of their means is learnt from them."""

Number = Literal["value", "confidence"]
# Weights of the last five tokens of a judgement ("Value:", number, "Confidence:", number, end) when one is learnt; the
# text before them (what was checked) is read, not learnt again.
_LEARNT: dict[Number | Literal["text"], tuple[float, ...]] = {
    "value": (0.0, 1.0, 0.0, 0.0, 0.0),
    "confidence": (0.0, 0.0, 0.0, 1.0, 0.0),
    "text": (1.0, 1.0, 1.0, 1.0, 1.0),
}
_OPENINGS: dict[Number, str] = {"value": "{check} Value:", "confidence": "{check} Value: 0.5 Confidence:"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A prefix and the share of its continuations that succeeded, in [0, 1]."""

    prefix: rollouts.Trajectory
    share: float


def collect(backend: ModelBackend, name: str, seed: int, each: int, own: float = 0.5) -> list[Judged]:
    """Collects `each` prefixes per task with the outcome of five continuations of each.

    Args:
        own: Share of the prefixes that the model played itself, in [0, 1]; a stranger played the others.
    """
    starts = prefixes(backend, name, seed, each, own)
    ends = rollouts.play(backend, [prefix for prefix in starts for _ in range(CONTINUATIONS)], seed + 1)
    wins = [end.success for end in ends]
    return [
        Judged(prefix=prefix, share=sum(wins[i * CONTINUATIONS : (i + 1) * CONTINUATIONS]) / CONTINUATIONS)
        for i, prefix in enumerate(starts)
    ]


def prefixes(backend: ModelBackend, name: str, seed: int, each: int, own: float = 0.5) -> list[rollouts.Trajectory]:
    """Returns unfinished trajectories of at least one step, in dialects of the model; see `collect`."""
    rng = derive_rng(seed, "values", name)
    starts, played = [], []
    for task in episodes.tasks(PythonSandbox()).values():
        for number in range(each):
            lexicons = dialect.shuffled(rng, name)
            problem = episodes.draw_problem(rng, task, lexicons)
            fresh = rollouts.fresh(task, problem, episodes.some_lessons(rng, task, problem, lexicons))
            if number < own * each:
                starts.append(fresh)
                continue
            attempt = episodes.play(rng, task, problem, wrong=rng.choice((0.1, 0.3, 0.5)), slip=0.12)
            played.append((fresh, attempt.turns))
    played += [(trajectory, trajectory.turns) for trajectory in rollouts.play(backend, starts, seed)]
    cut = [_cut(rng, trajectory, turns) for trajectory, turns in played if turns]
    return [prefix for prefix in cut if not prefix.over]


def _cut(rng: random.Random, played: rollouts.Trajectory, turns: Sequence[Turn]) -> rollouts.Trajectory:
    """Returns the first steps of an episode: at least one, and without the last one."""
    kept = rng.randint(1, max(1, len(turns) - 1))
    state = played.task.reset(played.problem)
    for turn in turns[:kept]:
        state = played.task.step(state, turn.action)
    return rollouts.Trajectory(
        task=played.task, problem=played.problem, state=state, lessons=played.lessons, turns=tuple(turns[:kept])
    )


def predict(backend: ModelBackend, starts: Sequence[rollouts.Trajectory]) -> list[tuple[float, float]]:
    """Returns the model's (value, confidence) of each prefix; (0.5, 0.5) if its text holds none."""
    return [parse_score(text) or (0.5, 0.5) for text in rollouts.judge(backend, starts)]


# --------------------------------------------------------------------------- odds and their means


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """A judgement to learn as odds: "1.0" with probability `mean`, else "0.0"."""

    prefix: rollouts.Trajectory
    number: Number
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A judgement to learn as text."""

    prefix: rollouts.Trajectory
    value: float
    confidence: float


def rows(
    tokens: PreTrainedTokenizerFast,
    name: str,
    lessons: Sequence[Odds | Stated],
    replay: Iterator[train.Encoded],
    seed: int,
) -> Iterator[train.Encoded]:
    """Yields judgements in random order without end, each with an episode of stage 1 (so that nothing is forgotten)."""
    rng = derive_rng(seed, "judgements")
    while True:
        lesson = rng.choice(lessons)
        if isinstance(lesson, Stated):
            yield _encode(tokens, name, lesson.prefix, "text", lesson.value, lesson.confidence)
        else:
            shown = float(rng.random() < lesson.mean)
            value, confidence = (shown, 0.5) if lesson.number == "value" else (0.5, shown)
            yield _encode(tokens, name, lesson.prefix, lesson.number, value, confidence)
        yield next(replay)


def _encode(
    tokens: PreTrainedTokenizerFast,
    name: str,
    prefix: rollouts.Trajectory,
    learnt: Number | Literal["text"],
    value: float,
    confidence: float,
) -> train.Encoded:
    asked = prefix.task.prompts.evaluation(prefix.problem, prefix.turns, prefix.lessons)
    answer = Message(role="assistant", content=episodes.judgement(_check(name, prefix), value, confidence))
    row = train.encode(tokens, (*asked, answer), (0.0,) * (len(asked) + 1))
    row.weights[-5:] = _LEARNT[learnt]
    return row


def _check(name: str, prefix: rollouts.Trajectory) -> str:
    return episodes.check(prefix.turns, dialect.meanings(name), prefix.lessons)


def _without_numbers(tokens: PreTrainedTokenizerFast, row: train.Encoded) -> train.Encoded:
    """Removes the weight of the numbers from a stage-1 judgement: they are tuned here, the rest is rehearsed."""
    if row.ids[-5] == tokens.convert_tokens_to_ids("Value:"):
        row.weights[-5:] = [0.0] * 5
    return row


@torch.no_grad()
def means(
    model: PreTrainedModel,
    tokens: PreTrainedTokenizerFast,
    name: str,
    starts: Sequence[rollouts.Trajectory],
    number: Number,
) -> list[float]:
    """Returns the mean that the model's odds express for each prefix: its probability of "1.0" against "0.0"."""
    zero_id, one_id = (tokens.convert_tokens_to_ids(text) for text in ("0.0", "1.0"))
    speaker = tokens.convert_tokens_to_ids("<|assistant|>")
    ids = []
    for prefix in starts:
        asked = prefix.task.prompts.evaluation(prefix.problem, prefix.turns, prefix.lessons)
        opening = _OPENINGS[number].format(check=_check(name, prefix))
        before = train.encode(tokens, asked, (0.0,) * len(asked)).ids
        ids.append([*before, speaker, *tokens.encode(opening, add_special_tokens=False)])
    result = [0.0] * len(ids)
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for begin in range(0, len(order), 32):
        chosen = order[begin : begin + 32]
        padded, _ = train.batch([train.Encoded(ids[i], [0.0] * len(ids[i])) for i in chosen], tokens.pad_token_id)
        logits = model(input_ids=padded).logits
        last = logits[torch.arange(len(chosen)), torch.tensor([len(ids[i]) - 1 for i in chosen])]
        for i, odds in zip(chosen, last[:, [zero_id, one_id]].softmax(-1)[:, 1].tolist(), strict=True):
            result[i] = odds
    return result


def confidence_of(mean: float) -> float:
    """Rounds a mean confidence to one digit in [0.5, 1]; below, EMCS would read doubt as certainty (Eq. 4)."""
    return round(min(1.0, max(0.5, mean)), 1)


def tune(
    model: PreTrainedModel,
    tokens: PreTrainedTokenizerFast,
    load_backend: Callable[[], ModelBackend],
    name: str,
    seed: int,
    each: int,
    cpu_seconds: float,
    log: Any = print,
) -> None:
    """Fine-tunes the model in place.

    It learns odds of values on half of the rollouts, odds of confidences on the errors of the other half, then texts.

    Args:
        load_backend: Returns a backend of the model as it is now.
        each: Prefixes per task with continuations; `UNJUDGED` times as many come without.
        cpu_seconds: Training time for the three steps together (collecting the rollouts is extra).
    """
    backend = load_backend()
    judged = collect(backend, name, seed, each)
    unjudged = prefixes(backend, name, seed + 2, each * UNJUDGED)
    random.Random(seed).shuffle(judged)
    half = len(judged) // 2
    replay = (_without_numbers(tokens, row) for row in train.episode_rows(name, seed + 100, tokens, REPLAY))

    def fit(lessons: Sequence[Odds | Stated]) -> None:
        shown = rows(tokens, name, lessons, replay, seed)
        train.fit(model, shown, tokens.pad_token_id, cpu_seconds / 3, RATE, log)

    odds = [Odds(prefix=item.prefix, number="value", mean=item.share) for item in judged]
    fit(odds[:half])
    held_out = [item.prefix for item in judged[half:]]
    errors = [
        abs(value - item.share)
        for value, item in zip(means(model, tokens, name, held_out, "value"), judged[half:], strict=True)
    ]
    odds += [Odds(prefix=p, number="confidence", mean=1 - e) for p, e in zip(held_out, errors, strict=True)]
    fit(odds)
    every = [*(item.prefix for item in judged), *unjudged]
    value, confidence = (means(model, tokens, name, every, number) for number in ("value", "confidence"))
    spoken = zip(every, value, confidence, strict=True)
    fit([Stated(prefix=p, value=round(v, 1), confidence=confidence_of(c)) for p, v, c in spoken])
