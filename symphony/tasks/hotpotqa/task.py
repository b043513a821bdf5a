"""HotpotQA in the protocol of ReAct: search, lookup and finish over Wikipedia pages.

    Question: Were Scott Derrickson and Ed Wood of the same nationality?
    search[Scott Derrickson] -> Scott Derrickson (born July 16, 1966) is an American director, ...
    lookup[California]       -> (Result 1 / 1) He lives in Los Angeles, California.
    finish[yes]

The page that a branch has opened is part of its state, so branches never see each other's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_answer, split_action
from symphony.chat.reasoning import spoken
from symphony.fields import Count, FromZero, check_fields
from symphony.tasks import datafiles
from symphony.tasks.answers import exact_match, f1, normalise
from symphony.tasks.feedback import visible
from symphony.tasks.hotpotqa.corpus import Corpus, Page, Paragraphs
from symphony.tasks.hotpotqa.wikipedia import Mode, Wikipedia
from symphony.tasks.repeats import Repeats, Seen, told
from symphony.tasks.wording import read_prompts
from symphony.types import Feedback, Grade, Problem, Proposal, State, SymphonyError

Setting = Literal["distractor", "fullwiki"]
Split = Literal["dev", "train"]
Pages = Literal["union", "context", "live"]
Reading = Literal["tolerant", "official"]

SHOWN = 5
"""Sentences of a page that search shows (published environment: 5)."""

_OFFICIAL = {
    ("dev", "distractor"): "hotpot_dev_distractor_v1.json",
    ("dev", "fullwiki"): "hotpot_dev_fullwiki_v1.json",
    ("train", "distractor"): "hotpot_train_v1.1.json",
}

_OPTIONS = {
    ("dev", "distractor"): "hotpotqa",
    ("dev", "fullwiki"): "hotpotqa_fullwiki",
    ("train", "distractor"): "hotpotqa_train",
}
"""Options of conf/task/ that fetch these files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The gold answer, and the pages that come with the question."""

    answer: str
    context: tuple[tuple[str, tuple[str, ...]], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What a branch has done; the corpus is immutable and shared."""

    gold: str = field(repr=False)
    corpus: Corpus = field(repr=False, compare=False)
    page: Page | None = None
    keyword: str = ""
    hits: int = 0
    steps: int = 0
    answer: str | None = None
    seen: Seen = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HotpotQA:
    """The environment; reward 1 for the exact (normalised) answer, else 0, at `finish` only.

    Deviations from the published one: a search that finds no page closes the open page; pages are found by title, then
    similar titles are told; `lookup` needs an open page.

    Args:
        first: Position of the first item, in the file or among `ids`.
        count: How many items; None is all that follow.
        ids: These items of the file in this order; None is all as they stand. They are the same in every file that has
            them, where a position is not.
        setting: Which contexts: the gold paragraphs among distractors, or what a retriever brought (fullwiki).
        split: Which questions.
        pages: Where search looks: in the contexts of every item of the file ("union"), of the item ("context"), or
            in today's Wikipedia ("live").
        record: Under "live", whether new titles may be asked for ("record") or only recorded ones ("replay").
        max_steps: Horizon; the episode is truncated there (published code: 7).
        repeats: Whether an action that brings the same again is told so ("told"; published code: "official", no).
        feedback: Whether a search learns if its answer was right.
        data: Folder of the data sets.
        wording: Version of the prompts, or a file of one's own.
        reading: How a completion is understood: as in all tasks, or as the published code does ("official").
    """

    count: Count | None
    first: FromZero = 0
    ids: tuple[str, ...] | None = None
    setting: Setting = "distractor"
    split: Split = "dev"
    pages: Pages = "union"
    record: Mode = "record"
    max_steps: Count = 7
    repeats: Repeats = "official"
    feedback: Feedback = "oracle"
    data: Path = Path("data")
    wording: str = "v1"
    reading: Reading = "tolerant"
    name: str = "hotpotqa"

    def __post_init__(self) -> None:
        check_fields("task", self)
        if (self.split, self.setting) not in _OFFICIAL:
            raise SymphonyError(f"task.setting: found {self.setting!r}, allowed with split=train: distractor")
        read_prompts("hotpotqa", self.wording)  # says at once what is wrong with the file

    @property
    def prompts(self) -> ChatPrompts:
        """Read once a process."""
        return read_prompts("hotpotqa", self.wording)

    def files(self) -> tuple[Path, ...]:
        """What the problems are read from.

        Raises:
            SymphonyError: It is not there.
        """
        hub = "validation" if self.split == "dev" else "train"
        names = (
            _OFFICIAL[self.split, self.setting],
            f"{self.setting}/{hub}-00000-of-0000{1 if self.split == 'dev' else 2}.parquet",
            f"hotpot_{self.split}_{self.setting}_sample.jsonl",
        )
        option = _OPTIONS[self.split, self.setting]
        return (datafiles.find(self.data, self.name, names, option),)

    @property
    def slow_steps(self) -> bool:
        """As `SlowSteps`: live pages are asked of a server."""
        return self.pages == "live"

    def problems(self) -> Sequence[Problem]:
        (path,) = self.files()
        found = datafiles.items(path, self._chosen(path), self.first, self.count)
        return self.prompts.apart([_problem(row) for row in found])

    def _chosen(self, path: Path) -> Sequence[_Row]:
        rows = _rows(path)
        if self.ids is None:
            return rows
        known = {row.key: row for row in rows}
        if missing := [id for id in self.ids if id not in known]:
            raise SymphonyError(f"task.ids: found {missing[0]!r}, allowed: ids of the items of {path}")
        return [known[id] for id in self.ids]

    def reset(self, problem: Problem) -> State:
        return State(observation="", data=Data(gold=problem.target.answer, corpus=self._corpus(problem)))

    def _corpus(self, problem: Problem) -> Corpus:
        if self.pages == "live":
            return Wikipedia(folder=self.data / "wikipedia", mode=self.record)
        if self.pages == "context":
            return Paragraphs(dict(problem.target.context))
        return _union(*self.files())

    def parse(self, text: str) -> Proposal | None:
        return READINGS[self.reading](text)

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = replace(state.data, steps=state.data.steps + 1)
        verb, argument = split_action(action)
        invalid = False
        if verb == "finish":
            return self._finish(data, argument)
        if verb == "search":
            data, observation = _search(data, argument)
        elif verb == "lookup":
            data, observation = _lookup(data, argument)
        elif verb == "think":
            observation = "OK."
        else:
            invalid = True
            observation = "Invalid action. Allowed: search[title], lookup[word], finish[answer]."
        observation, seen = told(self.repeats, data.seen, action, observation)
        data = replace(data, seen=seen)
        truncated = data.steps >= self.max_steps
        reward = visible(0.0, self.feedback, truncated)
        return State(observation=observation, reward=reward, truncated=truncated, invalid=invalid, data=data)

    def _finish(self, data: Data, answer: str) -> State:
        shown = self.feedback == "oracle"
        right = shown and exact_match(answer, data.gold)  # under "none" nothing is compared at all
        return State(
            observation=("Correct." if right else "Wrong.") if shown else "Answer given.",
            reward=visible(float(right), self.feedback),
            terminated=True,
            data=replace(data, answer=answer),
        )

    def failure_key(self, state: State) -> str:
        return normalise(state.data.answer) if state.data.answer is not None else "no answer"

    def submission(self, prediction: str) -> tuple[str, ...]:
        """The answer, or an action or a completion that finishes with it."""
        return (read_answer(prediction, _tolerant),)

    def grade(self, problem: Problem, state: State) -> Grade:
        """Success is exact match, score is F1."""
        answer = state.data.answer
        if answer is None:
            return Grade(success=False, score=0.0, detail="no answer")
        gold = problem.target.answer
        return Grade(success=exact_match(answer, gold), score=f1(answer, gold), detail=answer)


def _tolerant(text: str) -> Proposal | None:
    return parse_proposal(text, ("search", "lookup", "finish", "think"))


def _official(text: str) -> Proposal | None:
    """The thought is what the first line says up to a colon; the action that of the last action line, up to its second.

    An argument ends at its first closing bracket. So titles and thoughts are cut at colons, a completion that begins
    with its action has none, and thought and action may be of different steps; what has no brackets is an invalid
    action, not a lost sample. Source: ZHUWEI-hub/SYMPHONY, commit 3fbe298, hotpot/symphony.py:125-141, 484-512.
    """
    if text.startswith("Thought"):
        text = text[text.find(":") + 1 :].strip()
    first, *others = text.split("\n")
    labelled = [line for line in others if line.startswith("Action") and ":" in line]
    if not labelled:
        return None
    action = labelled[-1].split(":")[1].strip()
    if not action:
        return None
    verb, _, rest = action.partition("[")
    return Proposal(thought=first.split(":")[0].strip(), action=f"{verb.lower()}[{rest.split(']')[0]}]")


READINGS: dict[Reading, Callable[[str], Proposal | None]] = {
    "tolerant": _tolerant,
    "official": lambda text: _official(spoken(text)),
}


def _search(data: Data, entity: str) -> tuple[Data, str]:
    found = data.corpus.find(entity)
    if isinstance(found, Page):
        return replace(data, page=found, keyword="", hits=0), " ".join(found.sentences[:SHOWN])
    similar = f" Similar: {'; '.join(found)}." if found else ""
    return replace(data, page=None, keyword="", hits=0), f"Could not find {entity}.{similar}"


def _lookup(data: Data, word: str) -> tuple[Data, str]:
    """The next sentence with the word; another word starts anew."""
    if data.page is None:
        return data, "No page is open."
    hits = [sentence for sentence in data.page.sentences if word.lower() in sentence.lower()] if word else []
    seen = data.hits if word.lower() == data.keyword else 0
    data = replace(data, keyword=word.lower(), hits=seen + 1)
    if seen >= len(hits):
        return data, "No more results."
    return data, f"(Result {seen + 1} / {len(hits)}) {hits[seen]}"


def _paired(context: Any) -> Any:
    """The hub's Parquet files keep titles and sentences apart."""
    if not isinstance(context, dict):
        return context
    titles, sentences = context.get("title"), context.get("sentences")
    if not isinstance(titles, list) or not isinstance(sentences, list) or len(titles) != len(sentences):
        raise ValueError("a list of [title, [sentence, ...]], or title and sentences of the same length")
    return list(zip(titles, sentences, strict=True))


_Sentences = Annotated[tuple[str, ...], Field(strict=False)]
_Paragraph = Annotated[tuple[datafiles.Text, _Sentences], Field(strict=False)]


class _Row(datafiles.Row):
    """An item of the data set. Of its three ids the first that is there is meant."""

    published: Annotated[datafiles.Text | None, Field(alias="_id")] = None
    id: datafiles.Text | None = None
    dev_index: int | None = None
    question: datafiles.Text
    answer: datafiles.Text
    type: str = ""
    context: Annotated[tuple[_Paragraph, ...], Field(strict=False), BeforeValidator(_paired)]

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.key:
            raise ValueError("an _id, an id or a dev_index")
        return self

    @property
    def key(self) -> str:
        return self.published or self.id or ("" if self.dev_index is None else str(self.dev_index))


def _rows(path: Path) -> list[_Row]:
    return [row for _, row in datafiles.typed(path, _Row, lambda row: row.key)]


def _problem(row: _Row) -> Problem:
    target = Target(answer=row.answer, context=row.context)
    return Problem(id=row.key, kind=row.type, prompt=f"Question: {row.question}", target=target)


@lru_cache(maxsize=2)
def _union(path: Path) -> Paragraphs:
    """The paragraphs of every item; of one title the first paragraph, as in the file."""
    pages: dict[str, tuple[str, ...]] = {}
    for row in _rows(path):
        for title, sentences in row.context:
            pages.setdefault(title, sentences)
    return Paragraphs(pages)
