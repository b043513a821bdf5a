"""An agent of known skill, calibration and cost, for the simulated task.

It is asked by the same prompts as a model and its answers are read by the same readers, so that the search, the
scheduler, the scorer and the memory under study are the real ones; only the model's knowledge is set.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log
from statistics import NormalDist
from typing import Annotated, Literal

from annotated_types import Interval

from symphony.fields import Count, NotNegative, Positive, Share, check_fields
from symphony.models.endpoint import price_of
from symphony.simulated.task import VERB, Truth, chosen, truth
from symphony.types import Completion, Message, Phase, Request, canonical_json, derive_rng

Confidence = Literal["calibrated", "constant", "inverted"]
_ACTION = re.compile(rf"Action: ({VERB}\[\d+\])")
_LESSON = re.compile(rf"^- Avoid {VERB}\[(\d+)\] at step (\d+)\.$", re.MULTILINE)
_EVALUATIONS = (Phase.EVALUATE, Phase.SIM_EVALUATE)
_SURE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedAgent:
    """Answers the prompts of `SimulatedTask` (an `Endpoint`, without any network).

    Skill:
        At a step of situation s the right choice has the probability p, drawn once per agent, problem and step from a
        beta distribution with mean skill[s] and the given concentration (a beta-binomial model of repeated draws). Of
        the rest, the share `stubborn` is on one wrong choice, the same at every draw. Greedy requests (temperature 0)
        get the most probable choice. A lesson that forbids a choice at a step is heeded with the probability `heed`.

    Evaluation:
        The value is 1 for a path without a wrong choice and 0 for another one, or 0.5 in an ambiguous node, plus the
        bias, plus normal noise, clipped to [0, 1]. A node is ambiguous with the probability `ambiguity`, for all agents
        alike. A calibrated confidence is the probability that the noise leaves the value on the right side of 0.5
        (0.5 in an ambiguous node); a constant one is 0.95; an inverted one is 1.5 minus the calibrated one.

    Lessons:
        A lesson forbids the first wrong choice of the failed path with the probability `insight`, else a random one.

    Args:
        skill: Probability of the right choice by situation, each in [0, 1]; a later situation than listed has the last.
        concentration: Of the beta distribution, > 0; null means that p is the skill at every step.
        stubborn: Share in [0, 1] of an agent's wrong answers that repeat one choice.
        noise: Standard deviation of the value, >= 0.
        bias: Added to the value, -1 to 1.
        ambiguity: Share in [0, 1] of the nodes whose value can't be told.
        confidence: What the confidence follows.
        insight: Probability in [0, 1] that a lesson forbids the choice that was really wrong.
        heed: Probability in [0, 1] that a lesson is followed.
        completion_tokens: Tokens of a completion, >= 1. Words count as the tokens of a prompt.
        price: prompt, cached, completion: dollars per million tokens.
        seed: Agents of equal skill and different seeds know different things.
    """

    skill: Sequence[Share]
    concentration: Positive | None = None
    stubborn: Share = 0.0
    noise: NotNegative = 0.2
    bias: Annotated[float, Interval(ge=-1, le=1)] = 0.0
    ambiguity: Share = 0.0
    confidence: Confidence = "calibrated"
    insight: Share = 1.0
    heed: Share = 1.0
    completion_tokens: Count = 12
    price: Mapping[str, float | None] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields("model", self)
        price_of(self.price)

    @property
    def revision(self) -> str:
        """Digest of every setting."""
        settings = {name: getattr(self, name) for name in self.__slots__}
        return hashlib.sha256(canonical_json(settings | {"skill": list(self.skill)}).encode()).hexdigest()[:16]

    @property
    def _knows(self) -> str:
        """Names what it knows; other settings change neither this nor a draw, so conditions can be paired."""
        return f"{list(self.skill)} {self.concentration} {self.stubborn} {self.seed}"

    def ready(self) -> None:
        """Needs nothing."""

    async def complete(self, request: Request) -> Completion:
        text, logprob = self._complete(request)
        return Completion(
            text=text,
            finish_reason="stop",
            prompt_tokens=sum(len(message.content.split()) for message in request.messages),
            completion_tokens=self.completion_tokens,
            logprob=logprob,
        )

    def _complete(self, request: Request) -> tuple[str, float]:
        """Returns a completion and its log-probability in nats."""
        problem, path = _read(request.messages)
        rng = random.Random(f"{request.draw.rng_seed()} {self._knows}")
        if request.draw.phase in _EVALUATIONS:
            return self._evaluate(problem, path, rng), 0.0
        if request.draw.phase == Phase.REFLECT:
            return self._reflect(problem, path, rng), 0.0
        lessons = request.messages[0].content
        return self._propose(problem, len(path), lessons, rng, greedy=request.sampling.temperature == 0)

    def _propose(self, problem: Truth, at: int, lessons: str, rng: random.Random, *, greedy: bool) -> tuple[str, float]:
        chances = self._chances(problem, at)
        for choice, step in _LESSON.findall(lessons):
            if int(step) == at + 1 and rng.random() < self.heed:
                chances[int(choice)] = 0.0
        total = sum(chances.values())
        if total <= 0:  # lessons forbid everything that it would choose
            chances = dict.fromkeys(chances, 1.0)
            total = float(len(chances))
        choice = max(chances, key=chances.__getitem__) if greedy else rng.choices([*chances], [*chances.values()])[0]
        return f"Thought: step {at + 1}.\nAction: {VERB}[{choice}]", log(chances[choice] / total)

    def _chances(self, problem: Truth, at: int) -> dict[int, float]:
        """Returns the probability of each choice at a step, without lessons."""
        skill = self.skill[min(problem.situations[at], len(self.skill) - 1)]
        rng = derive_rng(0, "belief", self._knows, problem.id, str(at))
        right, k = skill, self.concentration
        if k is not None and 0 < skill < 1:
            right = rng.betavariate(skill * k, (1 - skill) * k)
        wrong = [choice for choice in range(1, problem.choices + 1) if choice != problem.right[at]]
        favourite = rng.choice(wrong)
        each = (1 - right) * (1 - self.stubborn) / len(wrong)
        chances = {choice: each + (1 - right) * self.stubborn * (choice == favourite) for choice in wrong}
        return dict(sorted((chances | {problem.right[at]: right}).items()))

    def _evaluate(self, problem: Truth, path: Sequence[int], rng: random.Random) -> str:
        place = derive_rng(0, "ambiguous", problem.id, *map(str, path))
        ambiguous = place.random() < self.ambiguity
        mean = 0.5 if ambiguous else float(problem.first_wrong(path) is None)
        value = min(1.0, max(0.0, mean + self.bias + self.noise * rng.gauss(0, 1)))
        return f"Value: {value:.3f}\nConfidence: {self._confidence(ambiguous):.3f}"

    def _confidence(self, ambiguous: bool) -> float:
        if self.confidence == "constant":
            return _SURE
        sure = 0.5 if ambiguous else _right_side(self.noise)
        return sure if self.confidence == "calibrated" else 1.5 - sure

    def _reflect(self, problem: Truth, path: Sequence[int], rng: random.Random) -> str:
        wrong = problem.first_wrong(path)
        if wrong is None or rng.random() >= self.insight:
            wrong = rng.randrange(max(1, len(path)))
        return f"Lesson: Avoid {VERB}[{path[wrong] if path else 0}] at step {wrong + 1}."


@lru_cache
def _right_side(noise: float) -> float:
    return NormalDist(0, noise).cdf(0.5) if noise else 1.0


def _read(messages: Sequence[Message]) -> tuple[Truth, list[int]]:
    """Returns the problem and the choices made so far."""
    problem = truth(messages[0].content)
    matches = [_ACTION.search(message.content) for message in messages if message.role == "assistant"]
    return problem, [chosen(match[1], problem.choices) if match else 0 for match in matches]
