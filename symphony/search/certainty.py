"""How sure an agent was of the action that it proposed (C), and what an end is worth whose reward is hidden."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Literal

from symphony.search.evaluation import evaluate
from symphony.search.phases import Phases
from symphony.search.tree import ROOT
from symphony.types import Completion, Score

Certainty = Literal["probability", "token", "random"]
Worth = Literal["judged", "certainty"]
BLIND = 0.81
"""C of a proposal whose probability the endpoint does not give: two equal ones pass a gate of .8, one does not."""


def probability(answer: Completion, _: random.Random) -> float:
    """Returns the probability of all generated tokens, in [0, 1]; `BLIND` if it is unknown."""
    return BLIND if answer.logprob is None else min(1.0, math.exp(answer.logprob))


def per_token(answer: Completion, _: random.Random) -> float:
    """Returns the geometric mean of the tokens' probabilities, in [0, 1]; `BLIND` if they are unknown."""
    return BLIND if answer.logprob is None else min(1.0, math.exp(answer.logprob / max(1, answer.completion_tokens)))


def chance(_: Completion, rng: random.Random) -> float:
    """Returns a random number in [0, 1): the control."""
    return rng.random()


CERTAINTIES: dict[Certainty, Callable[[Completion, random.Random], float]] = {
    "probability": probability,
    "token": per_token,
    "random": chance,
}
"""C of an answer: for actions of a few tokens, for programs and long thoughts, and the control."""


async def value_end(phases: Phases, end: int, worth: Worth, certainty: Certainty) -> None:
    """Gives an end whose reward is hidden its value; an end with a reward keeps it.

    Args:
        worth: A scheduled agent and the scorer judge it ("judged"), or it is worth the C of its least certain step.
        certainty: What C is.

    Raises:
        Stop: A call was refused.
    """
    if worth == "judged":
        await evaluate(phases, [end])
    elif phases.tree[end].prior is None:
        rng, sure = phases.parts.session.rng, CERTAINTIES[certainty]
        value = min(sure(phases.drawn[id], rng) for id in phases.tree.path(end) if id != ROOT)
        phases.give(end, Score(value=value, confidence=1.0, modulated=value))
