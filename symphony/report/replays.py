"""Makes the replay of recorded picks (`symphony.agents.replay`) a function of the queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from symphony.agents.replay import Event, replay, targets
from symphony.types import Phase

_PICK = (
    "STRUCT(problem VARCHAR, pick BIGINT, phase VARCHAR, depth BIGINT, arm BIGINT, tokens BIGINT, reward DOUBLE, "
    "due BIGINT)"
)


def define(connection: Any) -> None:
    """Defines `replayable(size)` and `replayed(scheduler, size, picks)` on a connection.

    The first lists the schedulers that can be replayed for a pool of `size` agents, the second tells for each pick of a
    run, in order, whether the scheduler would have made it.
    """
    connection.create_function("replayable", _replayable, ["BIGINT"], "VARCHAR[]")
    connection.create_function("replayed", _replayed, ["VARCHAR", "BIGINT", f"{_PICK}[]"], "BOOLEAN[]")


def _replayable(size: int) -> list[str]:
    return list(targets(size))


def _replayed(scheduler: str, size: int, picks: Sequence[dict[str, Any]]) -> list[bool]:
    events = [Event(**{**pick, "phase": Phase(pick["phase"])}) for pick in picks]
    return replay(targets(size)[scheduler], size, events)
