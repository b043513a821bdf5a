"""How the published code values the children of an expansion, and whom it credits; sources as in `official`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from symphony.search.evaluation import evaluate, scores
from symphony.search.phases import Phases
from symphony.search.simulation import best, best_unfinished
from symphony.search.tree import Node
from symphony.types import Score

Values = Literal["own", "positional", "rescaled", "progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRule:
    """How new children get their values, and who is credited for them.

    Attributes:
        evaluate: Gives children their values; the last argument is `places` of `evaluation.used`.
        start: Chooses the child that a simulation starts from.
        pays: Whether an end credits its agent with its reward as soon as it is made.
        ended: Called when a simulation ends at a node whose reward is visible.
    """

    evaluate: Callable[[Phases, Sequence[int], int], Awaitable[None]]
    start: Callable[[Phases, Sequence[int]], int]
    pays: Callable[[Node], bool]
    ended: Callable[[Phases, int], None]


def _always(node: Node) -> bool:
    return True


def _unpaid(phases: Phases, end: int) -> None:
    """Credits nobody; the agent that made an end was credited when it was made."""


def positional(values: Sequence[float], ended: Sequence[bool]) -> list[float]:
    """Deals the values of the unfinished children to all children in order, and 0 once they run out.

    Source: hp/symphony.py:547-561. So a child that has ended takes the value of the next one.

    Args:
        values: Values of the unfinished children, in order.
        ended: Whether each child has ended.
    """
    return [*values, *[0.0] * (len(ended) - len(values))]


def rescaled(values: Sequence[float], ended: Sequence[bool]) -> list[float]:
    """Deals values as `positional` does, raises those of ends to the largest plus 1, and divides all by the largest.

    Source: ws/symphony.py:815-836. Results may exceed 1.
    """
    dealt = positional(values, ended)
    largest = max(dealt) or 1.0
    return [(largest + 1 if end else value) / largest for value, end in zip(dealt, ended, strict=True)]


def _dealing(deal: Callable[[Sequence[float], Sequence[bool]], list[float]]) -> ValueRule:
    async def dealt_out(phases: Phases, ids: Sequence[int], places: int) -> None:
        ended = [phases.tree[id].prior is not None for id in ids]
        unfinished = [id for id, end in zip(ids, ended, strict=True) if not end]
        judgements, stop = await scores(phases, unfinished)
        judged = dict(zip(unfinished, judgements, strict=False))  # Z and C stay with the node that was judged
        dealt = deal([score.modulated for score in judgements], ended)
        for id, value in zip(ids if stop is None else ids[: len(judgements)], dealt, strict=False):
            if id in judged:
                phases.give(id, replace(judged[id], modulated=value))
            else:
                phases.tree[id].prior = value
                phases.credit(phases.tree[id])
        if stop is not None:
            raise stop

    return ValueRule(evaluate=dealt_out, start=best, pays=_is_expanded_success, ended=_unpaid)


async def _progress(phases: Phases, ids: Sequence[int], places: int) -> None:
    """Values each node by its share of visible tests passed, without an evaluator; 0 if nothing was tested.

    Source: pg/symphony.py:393-405, where EMCS is defined but never called.
    """
    for id in ids:
        if phases.tree[id].prior is None:
            passed = phases.tree[id].state.progress or 0.0
            phases.give(id, Score(value=passed, confidence=1.0, modulated=passed))


def _is_expanded_success(node: Node) -> bool:
    """Whether the node is a success made by an expansion; other ends are credited the value dealt to them.

    Source: hp/symphony.py:370-375.
    """
    return node.solved and node.origin == "expand"


def _paid(phases: Phases, end: int) -> None:
    """Credits the agent that made the end with its reward. Source: ws/symphony.py:638-647."""
    phases.credit(phases.tree[end])


OWN = ValueRule(evaluate=evaluate, start=best_unfinished, pays=_always, ended=_unpaid)
VALUES: dict[Values, ValueRule] = {
    "own": OWN,
    "positional": _dealing(positional),
    "rescaled": replace(_dealing(rescaled), ended=_paid),
    "progress": replace(OWN, evaluate=_progress),
}
