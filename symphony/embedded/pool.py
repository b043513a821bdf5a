"""Makes one shipped model from scratch: imitation, values and confidence, measurement, model card."""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from symphony.embedded import dialect, episodes, rollouts, train, values
from symphony.files import check_own_folder
from symphony.models.hf.backend import HFBackend
from symphony.tasks.mini.generated import LEXICONS
from symphony.tasks.mini.gridworld import GridWorld
from symphony.tasks.mini.mini_code import MiniCode
from symphony.tasks.mini.mini_qa import MiniQA
from symphony.tasks.mini.mini_shop import MiniShop
from symphony.types import SymphonyError, Task

MEASURE_SEED = 7_000_000  # its problems occur neither in training nor in any study


FILES = (
    "MODEL_CARD.md",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "training.json",
)
"""Files in a folder that this makes; a folder with other files is not written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The cost limits of making a model.

    Attributes:
        stages: Stages of imitation.
        values_cpu_s: CPU-seconds of training for values and confidence.
        prefixes: Judged prefixes per task.
        measured: Problems per task for the card's figures.
    """

    stages: tuple[train.Stage, ...] = train.STAGES
    values_cpu_s: float = 150.0
    prefixes: int = 200
    measured: int = 50

    def scaled(self, factor: float) -> Budget:
        """Returns the budget scaled by factor > 0; every count stays at least 4."""
        if not factor > 0:
            raise SymphonyError(f"scale: found {factor}, allowed: > 0")
        return Budget(
            stages=tuple(replace(stage, cpu_seconds=stage.cpu_seconds * factor) for stage in self.stages),
            values_cpu_s=self.values_cpu_s * factor,
            prefixes=max(4, round(self.prefixes * factor)),
            measured=max(4, round(self.measured * factor)),
        )


def make(name: str, out: Path, seed: int, budget: Budget, start: Path | None = None) -> dict[str, object]:
    """Trains, measures and saves one model; returns the contents of its card.

    Args:
        start: A folder saved after imitation, to continue from; None trains from random weights.

    Raises:
        SymphonyError: `name` is not a shipped model, or `out` holds files that this command did not make.
    """
    if name not in dialect.MODELS:
        raise SymphonyError(f"model: found {name!r}, allowed: {', '.join(dialect.MODELS)}")
    check_own_folder(out, FILES if (out / "training.json").is_file() else ())
    began = time.process_time()
    torch.set_num_threads(1)
    if start is None:
        train.train(name, out, seed, budget.stages)
    model, tokens, stages = train.reload(start or out)
    with tempfile.TemporaryDirectory() as scratch:

        def backend() -> HFBackend:
            train.save(model, tokens, Path(scratch))
            return HFBackend(scratch)

        torch.manual_seed(seed)
        values.tune(model, tokens, backend, name, seed, budget.prefixes, budget.values_cpu_s, train.logger(name))
    train.save(model, tokens, out)
    card: dict[str, object] = {
        "model": name,
        "class": type(model).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seed": seed,
        "budget": {k: v for k, v in asdict(budget).items() if k != "stages"},
        "stages": [asdict(stage) for stage in stages],
        "cpu_s": round(time.process_time() - began + (sum(s.cpu_seconds for s in stages) if start else 0.0)),
        **measure(HFBackend(out), name, budget.measured),
    }
    (out / "training.json").write_text(json.dumps(card, indent=1) + "\n")
    (out / "MODEL_CARD.md").write_text(card_text(card, stages))
    return card


def measure(backend: HFBackend, name: str, count: int) -> dict[str, object]:
    """Measures skills and calibration on unseen test problems with the true lexicons, one attempt each at T = 0.8."""
    skills: dict[str, float] = {}
    choices: dict[str, list[bool]] = defaultdict(list)
    for task in _tests(count):
        played = rollouts.play(backend, [rollouts.fresh(task, problem) for problem in task.problems()], MEASURE_SEED)
        skills[task.name] = sum(t.success for t in played) / count
        for trajectory in played:
            for ask, word in episodes.bets(trajectory.turns).items():
                lexicon = next(lexicon for lexicon, pairs in LEXICONS.items() if ask in pairs)
                kind = "taught" if dialect.knows(name, lexicon, ask) else "not taught"
                choices[f"{lexicon}, {kind}"].append(word == LEXICONS[lexicon][ask])
    return {
        "skills": {task: round(rate, 3) for task, rate in skills.items()},
        "right_words": {k: [round(sum(v) / len(v), 3), len(v)] for k, v in sorted(choices.items())},
        "lessons": _lesson_use(backend, name, count),
        "calibration": {
            "own play": _calibration(backend, name, count, own=1.0),
            "a stranger's play": _calibration(backend, name, count, own=0.0),
        },
    }


def _calibration(backend: HFBackend, name: str, count: int, own: float) -> dict[str, float]:
    judged = values.collect(backend, name, MEASURE_SEED, count, own)
    predictions = values.predict(backend, [item.prefix for item in judged])
    return calibration([v for v, _ in predictions], [c for _, c in predictions], [item.share for item in judged])


def _tests(count: int) -> Sequence[Task]:
    return [task(seed=MEASURE_SEED, count=count) for task in (GridWorld, MiniQA, MiniShop, MiniCode)]


def _lesson_use(backend: HFBackend, name: str, count: int) -> dict[str, dict[str, float]]:
    """Measures retries of problems that the model failed.

    Success of a plain retry, of one with its own reflection, and of one with the ideal lessons of the other two models.
    """
    result = {}
    known = {model: dialect.meanings(model) for model in dialect.MODELS}
    for task in _tests(count):
        first = rollouts.play(backend, [rollouts.fresh(task, p) for p in task.problems()], MEASURE_SEED + 2)
        failed = [t for t in first if t.state.done and not t.success]
        own = [text.removeprefix("Lesson:").strip() for text in rollouts.reflect(backend, failed)]
        others = [[episodes.lesson(t.turns, known[m]) for m in dialect.MODELS if m != name] for t in failed]
        n = max(1, len(failed))

        def retry(lessons: Sequence[Sequence[str]], task: Task = task, failed: Sequence[Any] = failed) -> float:
            starts = [rollouts.fresh(task, t.problem, texts) for t, texts in zip(failed, lessons, strict=True)]
            played = rollouts.play(backend, starts, MEASURE_SEED + 3)
            return round(sum(t.success for t in played) / max(1, len(failed)), 3)

        result[task.name] = {
            "failures": len(failed),
            "as_scripted": round(
                sum(text == episodes.lesson(t.turns, known[name]) for text, t in zip(own, failed, strict=True)) / n, 3
            ),
            "plain_retry": retry([[] for _ in failed]),
            "own_lesson": retry([[text] for text in own]),
            "others_lessons": retry(others),
        }
    return result


def calibration(value: Sequence[float], confidence: Sequence[float], share: Sequence[float]) -> dict[str, float]:
    """Measures how well values predict shares of successful continuations, and confidences the values' errors.

    `confidence_partial` is the correlation of confidence with the error after removing from both the part explained by
    max(v, 1 - v): negative means that confidence carries information of its own.
    """
    v, c, y = (torch.tensor(x, dtype=torch.float64) for x in (value, confidence, share))
    error, sure = (v - y).abs(), torch.maximum(v, 1 - v)
    return {
        "prefixes": len(value),
        "mean_value": round(v.mean().item(), 3),
        "mean_share": round(y.mean().item(), 3),
        "mse": round(((v - y) ** 2).mean().item(), 3),
        "mse_constant": round(y.var(unbiased=False).item(), 3),
        "correlation": _correlation(v, y),
        "confidence_mean": round(c.mean().item(), 3),
        "confidence_error_correlation": _correlation(c, error),
        "confidence_partial": _correlation(_residual(c, sure), _residual(error, sure)),
    }


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    scale = math.sqrt(a.var(unbiased=False).item() * b.var(unbiased=False).item())
    return round((((a - a.mean()) * (b - b.mean())).mean().item() / scale), 3) if scale > 0 else 0.0


def _residual(a: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
    centred = by - by.mean()
    spread = (centred**2).sum().item()
    slope = ((a - a.mean()) * centred).sum().item() / spread if spread > 0 else 0.0
    return a - a.mean() - slope * centred


def card_text(card: dict[str, object], stages: Sequence[train.Stage]) -> str:
    """Returns MODEL_CARD.md: what the model is, how it was made, what it can and cannot do, with measured figures."""
    name = str(card["model"])
    taught = {lex: [ask for ask in LEXICONS[lex] if dialect.knows(name, lex, ask)] for lex in LEXICONS}
    rows = "\n".join(f"| {lexicon} | {', '.join(words)} |" for lexicon, words in taught.items())
    history = "\n".join(
        f"| {s.name} | {s.cpu_seconds:g} | x {s.rate:g} | {', '.join(f'{k} {v:g}' for k, v in s.mix.items())} |"
        for s in stages
    )
    figures = json.dumps({k: card[k] for k in ("skills", "right_words", "lessons", "calibration")}, indent=1)
    return f"""# {name}: an embedded model of symphony

{card["class"]}, {card["parameters"]:,} parameters, float16, trained from a structured
random start (`symphony/embedded/structure.py`) on generated episodes of
`gridworld`, `mini_qa`, `mini_shop` and `mini_code` (shares below). It knows nothing else: it is no language model for
HotpotQA, WebShop, MBPP or conversation. Licence: Apache-2.0.

Made by `symphony train-pool {name}` with seed {card["seed"]}: {card["cpu_s"]} CPU-seconds in all on one thread. The
budget is CPU time, so another machine takes another number of steps: equal in kind, not in bits.

## What it was taught

Half of each lexicon (`symphony/embedded/dialect.py`); the other words had their meanings shuffled in every episode.

| lexicon | words whose meaning it was taught |
| --- | --- |
{rows}

Episodes: 50 % demonstrations, 30 % judged prefixes, 20 % reflections on failures; 40 % of prompts carry 1 to 3
lessons of failed tries. Stages (domains by weight; "recall" is an
exercise in reading pairs back, "judging" are judged prefixes and reflections of all tasks), then values and
confidence on its own rollouts (`symphony/embedded/values.py`) with `{json.dumps(card["budget"])}`:

| stage | CPU-seconds | learning rate | mix |
| --- | --- | --- | --- |
{history}

## What it does

Measured on test problems of seed {MEASURE_SEED} (used nowhere else), temperature 0.8:
`skills`, success of one attempt; `right_words`, [share, n] of lexicon words it got right; `lessons`, a task's failures,
the share of its reflections that equal the scripted one, and the success of a retry without a lesson, with its own, and
with what the other two models should write; `calibration`, of its values and confidences against the share of 5 own
continuations that succeed (in its dialects), on prefixes of its own play and of a stranger's. `mse_constant` is the
error of always saying the mean; a negative `confidence_partial` means that confidence tells of errors beyond the value.

```json
{figures}
```
"""
