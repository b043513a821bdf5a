"""Measures what evaluators know: verbal value and confidence, EMCS over them, P(True), and the answer's probability.

    SYMPHONY_MODELS=FOLDER python bench/values.py ANSWERS.jsonl [ANSWERS.jsonl ...] [--problems 20] [--wording v2]
        [--siblings 4] [--models coder_1_5b ...]

An ANSWERS file holds programs for mbpp_py with verdicts, one per line: {"id", "draw", "prediction", "passes",
"logprob", "tokens"}. Each program is shown to each model of pool `laptop` as the last step of a search's node, once
with the question of an evaluation and once with that of a verification. For each model and signal:
  auc       share of pairs of a correct and a wrong program in which the correct one has the higher value (ties half)
  shuffled  the 2.5 % and 97.5 % quantiles of the auc for shuffled values: between them a value carries no information
  within    the auc over pairs of one problem, which is what a search needs to choose among siblings
  ece       mean gap of ten bins between the mean value and the share of correct programs; brier: mean squared error
  answered  share of the answers that could be read
With --siblings, the different programs of a problem are judged alone and, so many at most in one call, together, as a
search does with `search.siblings`: a program whose line cannot be read is asked about again alone. Then the tokens per
program and the share of the first answers that could be read are printed beside the figures of verbal values and EMCS.
The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engines import FILES

from symphony.agents.scorer import EMCS, Plain, PTrue, TokenProbability
from symphony.agents.siblings import split_siblings
from symphony.models.gguf.backend import GGUFBackend
from symphony.models.gguf.files import MODELS_VARIABLE
from symphony.plan import compose
from symphony.types import Completion, Draw, Message, Phase, Problem, Request, Sampling, Turn

ROOT = Path(__file__).parents[1]
SHUFFLES = 400
VERBAL = {"verbal value": Plain(), "EMCS": EMCS(), "token probability": TokenProbability()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A program with its verdict, as the last step of a node."""

    problem: Problem
    turn: Turn
    passes: bool
    own: float | None


def candidates(paths: Sequence[Path], count: int, data: Path, wording: str) -> tuple[Any, list[Candidate]]:
    task = compose.task(["task=mbpp_py", f"problems={count}", f"task.wording={wording}"], conf=ROOT / "conf", data=data)
    problems = {problem.id: problem for problem in task.problems()}
    found = []
    for row in (json.loads(line) for path in paths for line in path.read_text().splitlines()):
        proposal = task.parse(row["prediction"]) if row["id"] in problems else None
        if proposal is None:
            continue
        problem = problems[row["id"]]
        state = task.step(task.reset(problem), proposal.action)
        own = math.exp(row["logprob"] / max(1, row["tokens"])) if row.get("logprob") is not None else None
        turn = Turn(thought=proposal.thought, action=proposal.action, observation=state.observation)
        found.append(Candidate(problem=problem, turn=turn, passes=row["passes"], own=own))
    return task, found


def requests(task: Any, found: Sequence[Candidate], *, verify: bool) -> list[Request]:
    build = task.prompts.verification if verify else task.prompts.evaluation
    sampling = Sampling(temperature=0.0, max_tokens=1 if verify else 24)
    asked = []
    for number, one in enumerate(found):
        messages: tuple[Message, ...] = build(one.problem, (one.turn,), ())
        draw = Draw(seed=0, problem=one.problem.id, node=number, phase=Phase.EVALUATE, index=0)
        asked.append(Request(messages=messages, sampling=sampling, draw=draw))
    return asked


def judged(backend: GGUFBackend, task: Any, found: Sequence[Candidate]) -> dict[str, list[float | None]]:
    """Returns signal -> the value of each candidate; None if the answer could not be read."""
    values: dict[str, list[float | None]] = {}
    verbal = backend.generate(requests(task, found, verify=False))
    for name, scorer in VERBAL.items():
        scores = [scorer.score([answer]) for answer in verbal]
        values[name] = [None if score is None else score.modulated for score in scores]
    truth = [PTrue().score([answer]) for answer in backend.generate(requests(task, found, verify=True))]
    values["P(True)"] = [None if score is None else score.value for score in truth]
    return values


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What judging programs one by one gave, and judging those of a problem together.

    Attributes:
        values: Signal -> the value of each program; None if neither way brought one.
        tokens: Tokens per program. read: Share of the first answers that could be read.
    """

    values: dict[str, list[float | None]]
    tokens: dict[str, float]
    read: dict[str, float]


def groups(found: Sequence[Candidate], siblings: int) -> list[list[Candidate]]:
    """Returns the different programs of each problem, so many at most in a group, without groups of one."""
    families: dict[str, dict[str, Candidate]] = {}
    for one in found:
        families.setdefault(one.problem.id, {}).setdefault(one.turn.action, one)
    parted = [
        [*family.values()][at : at + siblings] for family in families.values() for at in range(0, len(family), siblings)
    ]
    return [group for group in parted if len(group) > 1]


def judged_both_ways(backend: GGUFBackend, task: Any, grouped: Sequence[Sequence[Candidate]]) -> Ways:
    members = [one for group in grouped for one in group]
    alone = backend.generate(requests(task, members, verify=False))
    compared = backend.generate([comparison(task, group, node) for node, group in enumerate(grouped)])
    said = [
        text
        for group, answer in zip(grouped, compared, strict=True)
        for text in split_siblings(answer.text, len(group))
    ]
    heard = [one if text is None else replace(one, text=text) for one, text in zip(alone, said, strict=True)]
    values: dict[str, list[float | None]] = {}
    for name, scorer in {"verbal value": Plain(), "EMCS": EMCS()}.items():
        for way, answers in {"alone": alone, "together": heard}.items():
            scores = [scorer.score([answer]) for answer in answers]
            values[f"{name}, {way}"] = [None if score is None else score.modulated for score in scores]
    again = [one for one, text in zip(alone, said, strict=True) if text is None]
    first = sum(value is not None for value in values["verbal value, alone"])
    return Ways(
        values=values,
        tokens={"alone": spent(alone) / len(members), "together": spent([*compared, *again]) / len(members)},
        read={"alone": first / len(members), "together": 1 - len(again) / len(members)},
    )


def spent(answers: Sequence[Completion]) -> int:
    return sum(answer.prompt_tokens + answer.completion_tokens for answer in answers)


def comparison(task: Any, group: Sequence[Candidate], node: int) -> Request:
    messages = task.prompts.comparison(group[0].problem, (), [one.turn for one in group], ())
    draw = Draw(seed=0, problem=group[0].problem.id, node=node, phase=Phase.EVALUATE, index=1)
    return Request(messages=messages, sampling=Sampling(temperature=0.0, max_tokens=24 * len(group)), draw=draw)


def auc(values: Sequence[float], right: Sequence[bool]) -> float | None:
    good = [value for value, passes in zip(values, right, strict=True) if passes]
    bad = [value for value, passes in zip(values, right, strict=True) if not passes]
    if not good or not bad:
        return None
    wins = sum((one > other) + (one == other) / 2 for one in good for other in bad)
    return wins / (len(good) * len(bad))


def within(values: Sequence[float], found: Sequence[Candidate]) -> tuple[float | None, int]:
    """Returns the auc over the pairs of one problem, and how many problems have any pair."""
    wins, pairs, problems = 0.0, 0, 0
    for id in dict.fromkeys(one.problem.id for one in found):
        own = [(value, one.passes) for value, one in zip(values, found, strict=True) if one.problem.id == id]
        share = auc([value for value, _ in own], [passes for _, passes in own])
        if share is not None:
            count = sum(passes for _, passes in own) * sum(not passes for _, passes in own)
            wins, pairs, problems = wins + share * count, pairs + count, problems + 1
    return (wins / pairs if pairs else None), problems


def figures(values: Sequence[float | None], found: Sequence[Candidate]) -> dict[str, Any]:
    kept = [(value, one) for value, one in zip(values, found, strict=True) if value is not None]
    said, those = [value for value, _ in kept], [one for _, one in kept]
    right = [one.passes for one in those]
    rng = random.Random(0)
    shuffled = sorted(auc(rng.sample(said, len(said)), right) or 0.5 for _ in range(SHUFFLES)) if said else []
    bins: dict[int, list[tuple[float, bool]]] = {}
    for value, passes in zip(said, right, strict=True):
        bins.setdefault(min(9, int(value * 10)), []).append((value, passes))
    gaps = [abs(sum(value for value, _ in one) - sum(passes for _, passes in one)) for one in bins.values()]
    among, problems = within(said, those)
    return {
        "answered": len(said) / max(1, len(values)),
        "auc": auc(said, right),
        "shuffled": [shuffled[SHUFFLES // 40], shuffled[-SHUFFLES // 40]] if shuffled else None,
        "within": among,
        "problems": problems,
        "ece": sum(gaps) / max(1, len(said)),
        "brier": sum((value - passes) ** 2 for value, passes in zip(said, right, strict=True)) / max(1, len(said)),
    }


def told(row: Mapping[str, Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, list):
            return "-".join(map(shown, value))
        return "none" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)

    return ", ".join(f"{name} {shown(value)}" for name, value in row.items())


def compare(task: Any, grouped: Sequence[Sequence[Candidate]], models: Sequence[str]) -> None:
    members = [one for group in grouped for one in group]
    print(f"{len(members)} different programs in {len(grouped)} groups, {sum(one.passes for one in members)} right")
    table: dict[str, Any] = {}
    for name in models:
        ways = judged_both_ways(GGUFBackend(Path(os.environ[MODELS_VARIABLE]) / FILES[name]), task, grouped)
        rows = {signal: figures(values, members) for signal, values in ways.values.items()}
        table[name] = {"tokens": ways.tokens, "read": ways.read, **rows}
        print(f"{name}, tokens per program: {told(ways.tokens)}; first answers read: {told(ways.read)}")
        for signal, row in rows.items():
            print(f"{name}, {signal}: {told(row)}", flush=True)
    print(json.dumps(table))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", nargs="+", type=Path)
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--wording", default="v2")
    parser.add_argument("--data", type=Path, default=ROOT / "data")
    parser.add_argument("--models", nargs="+", default=list(FILES), choices=list(FILES))
    parser.add_argument("--siblings", type=int, default=1)
    given = parser.parse_args()
    task, found = candidates(given.answers, given.problems, given.data, given.wording)
    print(f"{len(found)} programs, {sum(one.passes for one in found)} right", flush=True)
    if given.siblings > 1:
        compare(task, groups(found, given.siblings), given.models)
        return
    table = {"the answer's own probability": {"": figures([one.own for one in found], found)}}
    for name in given.models:
        backend = GGUFBackend(Path(os.environ[MODELS_VARIABLE]) / FILES[name])
        table[name] = {signal: figures(values, found) for signal, values in judged(backend, task, found).items()}
        for signal, row in table[name].items():
            print(f"{name}, {signal}: {told(row)}", flush=True)
    print(f"the answer's own probability: {told(table['the answer' + chr(39) + 's own probability'][''])}")
    print(json.dumps(table))


if __name__ == "__main__":
    main()
