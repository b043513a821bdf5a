"""Stage 2: values fine-tuned on the model's own rollouts, and a confidence that says how far to trust them.

The value of a prefix is the share of the model's own continuations that succeed, in dialects of its own (so that it
can't learn a meaning it was not taught). The confidence of a prefix is 1 minus the distance between the value that
the model gave a prefix *it was not fine-tuned on* and that share: its own expected error, not a function of the value.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from symphony.embedded import episodes, rollouts, train
from symphony.scorer import parse_score
from symphony.tasks.sandbox import PythonSandbox
from symphony.types import Message, ModelBackend, derive_rng

CONTINUATIONS = 5
RATE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A prefix and the share of its continuations that succeeded, in [0, 1]."""

    prefix: rollouts.Trajectory
    share: float


def collect(backend: ModelBackend, name: str, seed: int, each: int) -> list[Judged]:
    """`each` prefixes a task, of the model's own episodes, with the outcome of five continuations of each."""
    rng = derive_rng(seed, "values", name)
    starts = []
    for task in episodes.tasks(PythonSandbox()).values():
        for _ in range(each):
            problem = episodes.draw_problem(rng, task, name)
            count = rng.randint(1, 3) if rng.random() < 0.4 else 0
            starts.append(rollouts.fresh(task, problem, episodes.lessons_for(rng, task, problem, count)))
    prefixes = [_cut(rng, played) for played in rollouts.play(backend, starts, seed)]
    ends = rollouts.play(backend, [p for p in prefixes for _ in range(CONTINUATIONS)], seed + 1)
    wins = [end.success for end in ends]
    return [
        Judged(prefix=prefix, share=sum(wins[i * CONTINUATIONS : (i + 1) * CONTINUATIONS]) / CONTINUATIONS)
        for i, prefix in enumerate(prefixes)
        if prefix.turns
    ]


def _cut(rng: random.Random, played: rollouts.Trajectory) -> rollouts.Trajectory:
    """A prefix of at least one step, before the last one, of a played episode."""
    kept = rng.randint(1, max(1, len(played.turns) - 1))
    task, state = played.task, played.task.reset(played.problem)
    for turn in played.turns[:kept]:
        state = task.step(state, turn.action)
    return rollouts.Trajectory(
        task=task, problem=played.problem, state=state, lessons=played.lessons, turns=played.turns[:kept]
    )


def predict(backend: ModelBackend, prefixes: Sequence[rollouts.Trajectory]) -> list[tuple[float, float]]:
    """The model's (value, confidence) of each prefix; (0.5, 0.5) where its text holds none."""
    return [parse_score(text) or (0.5, 0.5) for text in rollouts.judge(backend, prefixes)]


def rows(
    tokens: PreTrainedTokenizerFast,
    judged: Sequence[Judged],
    confidences: Sequence[float | None],
    replay: Iterator[train.Encoded],
    seed: int,
) -> Iterator[train.Encoded]:
    """Judgements in random order without end, each followed by an episode of stage 1 (so that nothing is forgotten).

    Where a confidence is None, only the value is learnt.
    """
    rng = derive_rng(seed, "judgements")
    encoded = [_encode(tokens, item, confidence) for item, confidence in zip(judged, confidences, strict=True)]
    while True:
        yield rng.choice(encoded)
        yield next(replay)


def _encode(tokens: PreTrainedTokenizerFast, item: Judged, confidence: float | None) -> train.Encoded:
    prefix = item.prefix
    answer = episodes.judgement(item.share, 0.5 if confidence is None else confidence)
    asked = prefix.task.prompts.evaluation(prefix.problem, prefix.turns, prefix.lessons)
    messages = (*asked, Message(role="assistant", content=answer))
    row = train.encode(tokens, messages, (0.0,) * len(asked) + (1.0,))
    if confidence is None:
        row.weights[-3:] = [0.0, 0.0, 0.0]  # "Confidence:", its number, the end
    return row


def confidence_of(value: float, share: float) -> float:
    """1 - |value - share|, kept in [0.5, 1]: below one half EMCS would read doubt as certainty (paper Eq. 4)."""
    return round(min(1.0, max(0.5, 1 - abs(value - share))), 1)


def tune(
    model: PreTrainedModel,
    tokens: PreTrainedTokenizerFast,
    load_backend: Any,
    name: str,
    seed: int,
    each: int,
    cpu_seconds: float,
    log: Any = print,
) -> None:
    """Fine-tunes in place: values on one half of the rollouts, then confidences on the errors made on the other.

    Args:
        load_backend: Gives a backend of the model as it is now.
        cpu_seconds: Of training, for both steps together (collecting the rollouts comes on top).
    """
    judged = collect(load_backend(), name, seed, each)
    random.Random(seed).shuffle(judged)
    half = len(judged) // 2
    replay = train.episode_rows(name, seed + 100, tokens, train.STAGES[-1].mix)
    pad = tokens.pad_token_id
    nothing: list[float | None] = [None] * half
    train.fit(model, rows(tokens, judged[:half], nothing, replay, seed), pad, cpu_seconds / 2, RATE, log)
    given = predict(load_backend(), [item.prefix for item in judged[half:]])
    errors = [confidence_of(v, item.share) for (v, _), item in zip(given, judged[half:], strict=True)]
    train.fit(model, rows(tokens, judged, [*nothing, *errors], replay, seed), pad, cpu_seconds / 2, RATE, log)
