"""The evaluation phase: chooses the nodes to judge and has scheduled agents score them, twice if need be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, takewhile

from symphony.agents.scorer import Scorer
from symphony.agents.session import Stop, Ticket
from symphony.agents.siblings import split_siblings
from symphony.chat.prompts import remind
from symphony.search.phases import Phases
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

    Each node gets as many evaluations as the scorer asks for; one call may judge several siblings
    (`Settings.siblings`). If what is said of a node cannot be understood, the next scheduled agents are asked about it
    alone, as often again, with a format reminder; if that fails too, the scorer's fallback is used.

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
    scored, stop = await _draw_scores(phases, _groups(phases, ids), phase)
    lost = [index for index, (score, _) in enumerate(scored) if score is None]
    if lost and stop is None:
        again, stop = await _draw_scores(phases, [[ids[index]] for index in lost], phase, reminds=True)
        for index, second in zip(lost, again, strict=False):
            phases.tree.doubted.append((scored[index][1], ids[index], fallback.modulated))
            scored[index] = second
    return [(fallback if score is None else score, judged) for score, judged in scored], stop


def _groups(phases: Phases, ids: Sequence[int]) -> list[Sequence[int]]:
    """Groups the nodes that one call judges: siblings in a row, at most `Settings.siblings`."""
    most = 1 if phases.parts.scorer.asking.alone else phases.settings.siblings
    families = [[*family] for _, family in groupby(ids, key=lambda id: phases.tree[id].parent)]
    return [family[at : at + most] for family in families for at in range(0, len(family), most)]


async def _draw_scores(
    phases: Phases, groups: Sequence[Sequence[int]], phase: Phase, *, reminds: bool = False
) -> tuple[list[tuple[Score | None, int]], Stop | None]:
    """Asks about each group as often as the scorer wants; returns what `_ask_scores` does, for the nodes asked about.

    A call about several siblings is recorded at the first of them. A score is None if the answers could not be
    understood.
    """
    scorer = phases.parts.scorer
    asking = scorer.asking
    limit, reminder = asking.tokens or phases.settings.evaluate_tokens, asking.reminder if reminds else ""
    samplings = {
        size: Sampling(temperature=asking.temperature, max_tokens=limit * size) for size in set(map(len, groups))
    }
    tickets: list[Ticket] = []
    stop: Stop | None = None
    for group in groups:
        prompt = partial(_question, phases, group, reminder)
        asked, stop = phases.ask([group[0]] * asking.draws, phase, prompt, samplings[len(group)])
        tickets += asked
        if stop is not None:
            break
    answers, stop = await phases.answers(tickets, stop)
    scored: list[tuple[Score | None, int]] = []
    for group, start in zip(groups, range(0, len(answers), asking.draws), strict=False):
        drawn = answers[start : start + asking.draws]
        for count in range(1, len(drawn)):  # a smaller budget ends between draws: score the answers it has
            for id, score in zip(group, _scores(scorer, group, drawn[:count]), strict=True):
                phases.tree.doubted.append((drawn[count - 1][0].call + 1, id, (score or scorer.fallback()).modulated))
        scored += [(score, drawn[-1][0].call + 1) for score in _scores(scorer, group, drawn)]
    return scored, stop


def _scores(scorer: Scorer, group: Sequence[int], drawn: Sequence[tuple[Ticket, Completion]]) -> list[Score | None]:
    """Returns the score of each node of a group; None if no answer about it could be understood."""
    good = [(ticket.request.draw, answer) for ticket, answer in drawn if answer.error is None]
    heard: list[list[Completion]] = [[] for _ in group]
    seeded = scorer.asking.seeded
    for draw, answer in good:
        if len(group) == 1:
            heard[0].append(replace(answer, seed=draw.rng_seed()) if seeded else answer)
            continue
        for said, id, judgement in zip(heard, group, split_siblings(answer.text, len(group)), strict=True):
            if judgement is not None:  # of the tokens' probability only that of the whole answer is known
                seed = replace(draw, node=id).rng_seed() if seeded else 0
                said.append(replace(answer, text=judgement, logprob=None, seed=seed))
    return [scorer.score(said) if said else None for said in heard]


def _question(
    phases: Phases, group: Sequence[int], reminder: str, path: tuple[Turn, ...], lessons: tuple[str, ...]
) -> Shorten:
    """Builds the question about a node, or about several siblings; `path` leads to the first of them."""
    prompts, problem = phases.parts.task.prompts, phases.parts.problem
    if len(group) > 1:
        steps = tuple([turn for id in group if (turn := phases.tree[id].turn) is not None])
        return partial(prompts.comparison, problem, path[:-1], steps, lessons)
    build = prompts.verification if phases.parts.scorer.asking.verify else prompts.evaluation
    return partial(remind, partial(build, problem, path, lessons), reminder)
