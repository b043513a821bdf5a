"""Tells an agent that an action brought the same page before; official environments say nothing."""

from __future__ import annotations

from typing import Literal

Repeats = Literal["official", "told"]
"""Whether the environment reports repeated actions ("told") or not ("official")."""
Seen = frozenset[tuple[str, str]]
"""Actions with the observations they brought, along one branch."""
NOTICE = "You have already done this, and it brings nothing new. Choose another action."


def note_repeat(repeats: Repeats, seen: Seen, action: str, observation: str) -> tuple[str, Seen]:
    """Returns the observation, with a notice if the same action brought it before, and the updated set of pairs."""
    if repeats == "official":
        return observation, seen
    again = (action, observation) in seen
    return f"{observation}\n{NOTICE}" if again else observation, seen | {(action, observation)}
