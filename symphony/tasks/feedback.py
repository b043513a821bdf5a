"""What a search is shown of an episode's reward."""

from __future__ import annotations

from symphony.types import Feedback


def visible(reward: float, feedback: Feedback, ended: bool = True) -> float | None:
    """The reward of an end, also of one that the horizon cut, where feedback is "oracle"; None elsewhere.

    A cut episode has earned nothing, which is known: a search would else spend calls on judging it, and might take it
    for better than a wrong answer.
    """
    return reward if ended and feedback == "oracle" else None
