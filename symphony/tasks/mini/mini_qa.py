"""Multi-hop questions about a small closed world, in the protocol of HotpotQA: search, lookup, finish.

    Question: Who is the rival of the spouse of Karomi?
    search[Karomi] -> Karomi weds Belure, thanks Zapute, heeds Timaso, visits Ridoka, ...
    search[Belure] -> Belure heeds Karomi, weds Norive, ...
    lookup[fears]  -> Belure fears Tavone.
    finish[Tavone]

The question's words ("spouse") differ from the pages' ("weds"), a page shows four of its five facts, and every
wrong turn leads to a page that looks as good as the right one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar

from annotated_types import Interval, MinLen

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_answer, split_action
from symphony.fields import Count, check_fields
from symphony.tasks.answers import exact_match, normalise
from symphony.tasks.feedback import visible
from symphony.tasks.mini import generated
from symphony.types import Feedback, Grade, Problem, Proposal, State

FACTS = 5
SHOWN = 4
ENTITIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A closed world and one question about it. `pages` maps each page to its facts (phrase -> name), in page order."""

    pages: Mapping[str, Mapping[str, str]]
    asks: tuple[str, ...]
    start: str
    answer: str
    lexicon: generated.Lexicon


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    world: World
    page: str = ""
    steps: int = 0
    answer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniQA:
    """The question environment; the reward is 1 for the exact (normalised) answer, else 0, and comes only at `finish`.

    Args:
        seed: The seed that problems are generated from.
        count: How many problems.
        hops: Allowed numbers of relations in a question, each in 1..5.
        max_steps: Horizon; the episode is truncated there.
        feedback: Whether a search learns if its answer was right.
    """

    seed: int
    count: Count
    hops: Annotated[tuple[Annotated[int, Interval(ge=1, le=FACTS)], ...], MinLen(1)] = (4, 5)
    max_steps: Count = 11
    feedback: Feedback = "oracle"
    split: generated.Split = "test"
    verbs: ClassVar[tuple[str, ...]] = ("search", "lookup", "finish")
    name: str = "mini_qa"
    prompts: ChatPrompts = field(default_factory=ChatPrompts)

    def __post_init__(self) -> None:
        check_fields("task", self)

    def problems(self) -> Sequence[Problem]:
        return list(generated.problems(self.name, self.seed, self.count, self.split, self.generate))

    def generate(
        self, rng: random.Random, id: str, lexicon: generated.Lexicon = generated.LEXICONS["relation"]
    ) -> Problem:
        hops = rng.choice(self.hops)
        asks = tuple(rng.sample(sorted(lexicon), hops))
        rest = [phrase for phrase in lexicon.values() if phrase not in {lexicon[ask] for ask in asks}]
        phrases = [lexicon[ask] for ask in asks] + rng.sample(rest, FACTS - hops)
        people = generated.names(rng, ENTITIES, self.split)
        pages = {}
        for person in people:
            others = rng.sample([other for other in people if other != person], FACTS)
            order = rng.sample(phrases, FACTS)
            pages[person] = dict(zip(order, others, strict=True))
        answer = start = people[0]
        for ask in asks:
            answer = pages[answer][lexicon[ask]]
        question = " of ".join(f"the {ask}" for ask in reversed(asks))
        return Problem(
            id=id,
            kind=f"{hops} hops",
            prompt=f"Task: qa. Question: Who is {question} of {start}?",
            target=World(pages=pages, asks=asks, start=start, answer=answer, lexicon=lexicon),
        )

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=Data(world=problem.target))

    def parse(self, text: str) -> Proposal | None:
        return parse_proposal(text, self.verbs)

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = replace(state.data, steps=state.data.steps + 1)
        verb, argument = split_action(action)
        facts = data.world.pages.get(argument if verb == "search" else data.page)
        invalid = False
        if verb == "finish":
            return self._finish(data, argument)
        if verb == "search" and facts is not None:
            data = replace(data, page=argument)
            shown = [f"{phrase} {name}" for phrase, name in list(facts.items())[:SHOWN]]
            observation = f"{argument} {', '.join(shown)}, ..."
        elif verb == "lookup" and facts is not None and argument in facts:
            observation = f"{data.page} {argument} {facts[argument]}."
        else:
            invalid = verb not in ("search", "lookup")
            observation = "Invalid action." if invalid else "Not found."
        truncated = data.steps >= self.max_steps
        reward = visible(0.0, self.feedback, truncated)
        return State(observation=observation, reward=reward, truncated=truncated, invalid=invalid, data=data)

    def _finish(self, data: Data, answer: str) -> State:
        reward = float(exact_match(answer, data.world.answer))
        shows_verdict = self.feedback == "oracle"
        return State(
            observation=("Correct." if reward else "Wrong.") if shows_verdict else "Answer given.",
            reward=visible(reward, self.feedback),
            terminated=True,
            data=replace(data, answer=answer),
        )

    def failure_key(self, state: State) -> str:
        return normalise(state.data.answer) if state.data.answer is not None else "no answer"

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Returns the finish action of an answer, which may be bare, an action, or a whole completion."""
        return (read_answer(prediction, self.parse),)

    def grade(self, problem: Problem, state: State) -> Grade:
        answer = state.data.answer
        success = answer is not None and exact_match(answer, problem.target.answer)
        return Grade(success=success, score=float(success), detail=answer or "no answer")
