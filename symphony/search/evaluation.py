"""The evaluation phase: chooses the nodes to judge and has scheduled agents score them, twice if need be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile

from symphony.agents.scorer import Scorer
from symphony.agents.session import Stop, Ticket
from symphony.chat.prompts import remind
from symphony.search.phases import Phases, Prompt
from symphony.search.tree import Origin, Tree
from symphony.types import Completion, Phase, Sampling, Score, Shorten, Turn

_PHASE: dict[Origin, Phase] = {"expand": Phase.EVALUATE, "simulate": Phase.SIM_EVALUATE}


def used(tree: Tree, ids: Sequence[int], places: int) -> list[int]:
    """Returns the new siblings whose value the search uses; with `Settings.judge` "used" only these are judged.

    Ends are always among them: an end with a hidden reward is a candidate for the answer, and its value is what its
    trajectory was worth. Unfinished nodes are among them only if there are more rivals than places; otherwise the
    search continues from all of them, whatever they are worth. The rivals are the unfinished nodes and, in a
    simulation, also the ends. Crediting an agent is no reason to judge a node: the agent is credited once the value is
    known.

    Args:
        places: How many nodes the search continues from; 0 if it uses the value of each.
    """
    rivals = sum([not tree[id].state.done or tree[id].origin == "simulate" for id in ids])
    return [id for id in ids if tree[id].state.done or rivals > places]


async def evaluate(phases: Phases, ids: Sequence[int], places: int = 0) -> None:
    """Has scheduled agents score the nodes whose value is used and not yet known; credits their generators.

    Each node gets as many evaluations as the scorer asks for. If they cannot be understood, the next scheduled agents
    are asked for as many again, with a format reminder; if that fails too, the scorer's fallback is used.

    Args:
        ids: New nodes of one origin.
        places: As in `used`.

    Raises:
        Stop: A call was refused; the answers to those before it have been applied.
    """
    if phases.settings.judge == "used":
        ids = used(phases.tree, ids, places)
    ids = [id for id in ids if phases.tree[id].prior is None]
    if not phases.settings.caches:
        scored, stop = await _ask_scores(phases, ids)
    else:
        judgements, stop = await scores(phases, ids)
        scored = [(score, phases.tree.now) for score in judgements]
    for id, (score, judged) in zip(ids, scored, strict=False):
        phases.give(id, score, judged)
    if stop is not None:
        raise stop


async def scores(phases: Phases, ids: Sequence[int]) -> tuple[list[Score], Stop | None]:
    """Returns the scores that scheduled agents give the nodes, without applying them.

    If a call is refused, there are fewer scores and the reason comes with them.
    """
    if not phases.settings.caches:
        scored, stop = await _ask_scores(phases, ids)
        return [score for score, _ in scored], stop
    texts = tuple([lesson.text for lesson in phases.parts.session.lessons])
    keys = {id: (phases.tree.turns(id), texts) for id in ids}
    new = [id for id in ids if keys[id] not in phases.judged]
    scored, stop = await _ask_scores(phases, new)
    phases.judged.update({keys[id]: score for id, (score, _) in zip(new, scored, strict=False)})
    known = takewhile(lambda score: score is not None, [phases.judged.get(keys[id]) for id in ids])
    return [score for score in known if score is not None], stop


async def _ask_scores(phases: Phases, ids: Sequence[int]) -> tuple[list[tuple[Score, int]], Stop | None]:
    """Returns each node's score and the smallest call budget at which the node has it."""
    if not ids:
        return [], None
    fallback = phases.parts.scorer.fallback()
    phase = _PHASE[phases.tree[ids[0]].origin]
    scored, stop = await _draw_scores(phases, ids, phase, partial(_evaluation, phases))
    lost = [index for index, (score, _) in enumerate(scored) if score is None]
    if lost and stop is None:
        again, stop = await _draw_scores(
            phases, [ids[index] for index in lost], phase, partial(_remind_evaluation, phases)
        )
        for index, second in zip(lost, again, strict=False):
            phases.tree.doubted.append((scored[index][1], ids[index], fallback.modulated))
            scored[index] = second
    return [(fallback if score is None else score, judged) for score, judged in scored], stop


async def _draw_scores(
    phases: Phases, ids: Sequence[int], phase: Phase, prompt: Prompt
) -> tuple[list[tuple[Score | None, int]], Stop | None]:
    """Asks about each node as often as the scorer wants; returns what `_ask_scores` does, for nodes it could ask about.

    A score is None if the answers could not be understood.
    """
    scorer = phases.parts.scorer
    asking = scorer.asking
    sampling = Sampling(temperature=asking.temperature, max_tokens=asking.tokens or phases.settings.evaluate_tokens)
    tickets, stop = phases.ask([id for id in ids for _ in range(asking.draws)], phase, prompt, sampling)
    answers, stop = await phases.answers(tickets, stop)
    scored: list[tuple[Score | None, int]] = []
    for start in range(0, len(answers), asking.draws):
        drawn = answers[start : start + asking.draws]
        for count in range(1, len(drawn)):  # a smaller budget ends between draws: score the answers it has
            score = _score(scorer, drawn[:count]) or scorer.fallback()
            phases.tree.doubted.append((drawn[count - 1][0].call + 1, ids[len(scored)], score.modulated))
        scored.append((_score(scorer, drawn), drawn[-1][0].call + 1))
    return scored, stop


def _score(scorer: Scorer, drawn: Sequence[tuple[Ticket, Completion]]) -> Score | None:
    good = [replace(answer, seed=ticket.request.draw.rng_seed()) for ticket, answer in drawn if answer.error is None]
    return scorer.score(good) if good else None


def _evaluation(phases: Phases, path: tuple[Turn, ...], lessons: tuple[str, ...]) -> Shorten:
    prompts = phases.parts.task.prompts
    build = prompts.verification if phases.parts.scorer.asking.verify else prompts.evaluation
    return partial(build, phases.parts.problem, path, lessons)


def _remind_evaluation(phases: Phases, path: tuple[Turn, ...], lessons: tuple[str, ...]) -> Shorten:
    return partial(remind, _evaluation(phases, path, lessons), phases.parts.scorer.asking.reminder)
