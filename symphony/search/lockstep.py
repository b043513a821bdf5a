"""Runs several coroutines on one tree in a fixed order, whatever order the models answer in."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from itertools import islice
from typing import Any, TypeVar

from symphony.agents.session import Session, Stop, Ticket
from symphony.types import Completion

T = TypeVar("T")


@types.coroutine
def deferred(tickets: Sequence[Ticket]) -> Generator[Sequence[Ticket], list[Completion], list[Completion]]:
    """Replaces `Session.answers` in a lane: `lockstep` gets the calls answered."""
    return (yield tickets)


@types.coroutine
def put_off(work: Callable[[], T]) -> Generator[Callable[[], T], T, T]:
    """Replaces `Session.outside` in a lane: `lockstep` gets the work done."""
    return (yield work)


async def lockstep(session: Session, lanes: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Runs lanes in rounds: each lane advances to its next calls, in order; then the calls of all lanes run together.

    A lane may await only `deferred` and `put_off`. It sees what earlier lanes did in the same round, and has its own
    `session.iteration`.

    Returns:
        What the lanes returned, in order.

    Raises:
        Stop: A lane was refused a call; the others have run as far as they could.
    """
    try:
        return await _rounds(session, lanes)
    finally:
        for lane in lanes:
            lane.close()


async def _rounds(session: Session, lanes: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    stop: Stop | None = None
    done: dict[int, T] = {}
    iterations = [session.iteration] * len(lanes)
    answers: dict[int, list[Completion] | None] = dict.fromkeys(range(len(lanes)))
    while answers:
        asked: dict[int, Sequence[Ticket]] = {}
        for lane, received in answers.items():
            session.iteration = iterations[lane]
            try:
                waits_for = lanes[lane].send(received)
                while callable(waits_for):
                    waits_for = lanes[lane].send(await session.outside(waits_for))
                asked[lane] = waits_for
            except StopIteration as end:
                done[lane] = end.value
            except Stop as refused:
                stop = stop or refused
            iterations[lane] = session.iteration
        completions = iter(await session.answers([ticket for tickets in asked.values() for ticket in tickets]))
        answers = {lane: list(islice(completions, len(tickets))) for lane, tickets in asked.items()}
    session.iteration = max([session.iteration, *iterations])
    if stop is not None:
        raise stop
    return [done[lane] for lane in range(len(lanes))]
