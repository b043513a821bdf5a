"""Steps of a search built from its phases: grow a leaf, walk a trajectory, conclude with a result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from symphony.agents.scheduler import Held, Scheduler
from symphony.agents.session import Stop
from symphony.search.evaluation import evaluate
from symphony.search.phases import Draft, Expansion, Phases
from symphony.search.prefixes import prefixes
from symphony.search.result import RANKS, AnswerPolicy, SearchResult, StopReason, choose_answer
from symphony.search.tree import ROOT, Tree

AVOID = "Already tried here, so propose something else: {action}"
"""What a prompt says of an action that it is not to repeat (`Settings.avoids`)."""


async def expand(phases: Phases, leaf: int, width: int, max_misses: int) -> list[int]:
    """Expands a leaf; closes it after `max_misses` expansions that brought no action.

    Returns:
        Ids of the new nodes, in creation order.

    Raises:
        Stop: A call was refused.
    """
    ids = (await (_expand_in_turn if phases.settings.avoids else _expand_at_once)(phases, leaf, width)).ids
    if not ids:
        node = phases.tree[leaf]
        node.misses += 1
        if node.misses >= max_misses:
            phases.tree.close(leaf)
    return ids


async def _expand_at_once(phases: Phases, leaf: int, width: int) -> Expansion:
    return await phases.expand(leaf, width)


async def _expand_in_turn(phases: Phases, leaf: int, width: int) -> Expansion:
    """Samples the actions one after another; each prompt names the actions sampled before it (paper, Figure 5)."""
    drafts: list[Draft] = []
    stop: Stop | None = None
    while len(drafts) < width and stop is None:
        actions = dict.fromkeys([draft.proposal.action for draft in drafts if draft.proposal is not None])
        more, stop = await phases.propose(leaf, 1, notes=tuple([AVOID.format(action=action) for action in actions]))
        drafts += more
    expansion = await phases.attach(leaf, "expand", drafts)
    if stop is not None:
        raise stop
    return expansion


async def grow(
    phases: Phases,
    leaf: int,
    width: int,
    max_misses: int,
    by: Callable[[Phases, Sequence[int]], Awaitable[None]] = evaluate,
) -> list[int]:
    """Expands a leaf and evaluates its new nodes unless success was seen; closes a leaf that stays fruitless.

    Args:
        max_misses: Expansions without any action after which the leaf is closed.
        by: Gives the new nodes their values.

    Returns:
        Ids of the new nodes, in creation order.

    Raises:
        Stop: A call was refused.
    """
    ids = await expand(phases, leaf, width, max_misses)
    if ids and not phases.solved():
        await by(phases, ids)
    return ids


async def walk(
    phases: Phases, misses: int, *, by: Scheduler | None = None, keep: bool = False, notes: tuple[str, ...] = ()
) -> tuple[int, bool]:
    """Walks one trajectory from the root, scheduling an agent at each step, until it ends or reaches the depth limit.

    Stops early if a trajectory running alongside has shown success.

    Args:
        misses: Fruitless expansions in a row after which the trajectory is given up.
        keep: Whether the agent that made the first step also makes the others, as long as it answers.
        by, notes: As in `Phases.expand`.

    Returns:
        The last node, and whether the trajectory was given up.
    """
    at, missed = ROOT, 0
    while not (phases.tree[at].state.done or phases.solved() or phases.settings.depth == phases.tree[at].depth):
        ids = (await phases.expand(at, 1, by=by, notes=notes)).ids
        agent = phases.tree[ids[0]].agent if keep and ids else None
        if by is None and agent is not None:
            by = Held(agent, phases.parts.scheduler)
        missed = 0 if ids else missed + 1
        if missed >= misses:
            return at, True
        at = ids[0] if ids else at
    return at, False


async def conclude(
    phases: Phases, search: Awaitable[StopReason], policy: AnswerPolicy | Callable[[Tree], int]
) -> SearchResult:
    """Runs a search and returns its result, whether it ends by itself or because a call is refused.

    If the environment showed success, that node is the answer and the stop reason is "solved". If an agent accepted
    one or more ends, the answer is the one judged best.
    """
    try:
        reason = await search
    except Stop as stop:
        reason = stop.reason
    changes = prefixes(phases.tree, policy) if isinstance(policy, str) and policy in RANKS else None
    solved = phases.tree.solved
    if solved is not None:
        phases.tree.backup(solved, 1.0)
    passed = [node for node in phases.tree.nodes if phases.passes(node)] if reason == "accepted" else []
    best = max(passed, key=lambda node: node.score.value if node.score else 0.0, default=None)
    if best is not None:
        answer = best.id
    else:
        answer = choose_answer(phases.tree, policy) if isinstance(policy, str) else policy(phases.tree)
    return SearchResult(
        tree=phases.tree,
        answer=answer if solved is None else solved,
        prefixes=changes,
        stop_reason=reason if solved is None else "solved",
        iterations=phases.parts.session.iteration,
        unparsed=phases.unparsed,
        fallbacks=phases.fallbacks,
    )
