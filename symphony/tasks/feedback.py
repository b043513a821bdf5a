"""What a search may see of an episode's reward."""

from __future__ import annotations

from symphony.types import Feedback


def visible(reward: float, feedback: Feedback, ended: bool = True) -> float | None:
    """Returns the reward of an ended episode, also one cut by the horizon, if feedback is "oracle"; None otherwise.

    A cut episode has earned nothing, and this is shown: otherwise a search would spend calls on judging it, and might
    rate it above a wrong answer.
    """
    return reward if ended and feedback == "oracle" else None
