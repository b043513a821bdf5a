"""HotpotQA with the ReAct protocol: search, lookup and finish over Wikipedia pages.

    Question: Were Scott Derrickson and Ed Wood of the same nationality?
    search[Scott Derrickson] -> Scott Derrickson (born July 16, 1966) is an American director, ...
    lookup[California]       -> (Result 1 / 1) He lives in Los Angeles, California.
    finish[yes]

The page that a branch has opened is part of its state, so branches never see each other's pages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_answer, split_action
from symphony.chat.reasoning import spoken
from symphony.fields import Count, FromZero, check_fields
from symphony.tasks import datafiles
from symphony.tasks.answers import exact_match, f1, normalise
from symphony.tasks.feedback import visible
from symphony.tasks.hotpotqa.corpus import Corpus, Page, Paragraphs
from symphony.tasks.hotpotqa.wikipedia import Mode, Wikipedia
from symphony.tasks.repeats import Repeats, Seen, note_repeat
from symphony.tasks.wording import read_prompts
from symphony.types import Feedback, Grade, Problem, Proposal, State, SymphonyError

Setting = Literal["distractor", "fullwiki"]
Split = Literal["dev", "train"]
Pages = Literal["union", "context", "live"]
Reading = Literal["tolerant", "official"]

SHOWN = 5
"""How many sentences of a page a search shows (published environment: 5)."""

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
    """The gold answer and the pages that come with the question."""

    answer: str
    context: tuple[tuple[str, tuple[str, ...]], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What a branch has done so far; the corpus is immutable and shared."""

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
    """The HotpotQA environment; the reward is 1 for the exact (normalised) answer, else 0, and comes only at `finish`.

    Deviations from the published environment: a search that finds no page closes the open page; pages are found by
    title, and otherwise similar titles are shown; `lookup` needs an open page.

    Args:
        first: Position of the first item, in the file or among `ids`.
        count: How many items; None means all that follow.
        ids: Ids of the items to use, in this order; None means all, in file order. Unlike positions, ids are the same
            in every file that has the items.
        setting: Which contexts: the gold paragraphs among distractors, or what a retriever found (fullwiki).
        split: Which questions.
        pages: Where search looks: in the contexts of every item of the file ("union"), of the item ("context"), or
            in today's Wikipedia ("live").
        record: Under "live", whether new titles may be asked for ("record") or only recorded ones ("replay").
        max_steps: Horizon; the episode is truncated there (published code: 7).
        repeats: Whether the agent is told that an action brought the same page again ("told"; published code:
            "official", no).
        feedback: Whether a search learns if its answer was right.
        data: Folder of the data sets.
        wording: Version of the prompts, or a prompt file of your own.
        reading: How a completion is parsed: as in all tasks ("tolerant"), or as in the published code ("official").
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
    verbs: ClassVar[tuple[str, ...]] = ("search", "lookup", "finish", "think")
    name: str = "hotpotqa"

    def __post_init__(self) -> None:
        check_fields("task", self)
        if (self.split, self.setting) not in _OFFICIAL:
            raise SymphonyError(f"task.setting: found {self.setting!r}, allowed with split=train: distractor")
        read_prompts("hotpotqa", self.wording)  # reports errors in the file right away

    @property
    def prompts(self) -> ChatPrompts:
        """The prompts, read once per process."""
        return read_prompts("hotpotqa", self.wording)

    def files(self) -> tuple[Path, ...]:
        """Returns the files the problems are read from.

        Raises:
            SymphonyError: A file is missing.
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
        """See `plays_slowly`: live pages are requested from a server."""
        return self.pages == "live"

    def problems(self) -> Sequence[Problem]:
        (path,) = self.files()
        rows = datafiles.items(path, self._chosen(path), self.first, self.count)
        return self.prompts.apart([_problem(row) for row in rows])

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
        observation, seen = note_repeat(self.repeats, data.seen, action, observation)
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
        """Returns the finish action of an answer, which may be bare, an action, or a whole completion."""
        return (read_answer(prediction, _tolerant),)

    def grade(self, problem: Problem, state: State) -> Grade:
        """Grades the answer: success is exact match, score is F1."""
        answer = state.data.answer
        if answer is None:
            return Grade(success=False, score=0.0, detail="no answer")
        gold = problem.target.answer
        return Grade(success=exact_match(answer, gold), score=f1(answer, gold), detail=answer)


def _tolerant(text: str) -> Proposal | None:
    return parse_proposal(text, HotpotQA.verbs)


def _official(text: str) -> Proposal | None:
    """Reads the first line up to a colon as the thought, and the last action line up to its second colon as the action.

    An argument ends at its first closing bracket. So titles and thoughts are cut at colons, a completion that starts
    with its action has no action, and thought and action may come from different steps; an action without brackets is
    invalid, not a lost sample. Source: ZHUWEI-hub/SYMPHONY, commit 3fbe298, hotpot/symphony.py:125-141, 484-512.
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
    result = data.corpus.find(entity)
    if isinstance(result, Page):
        return replace(data, page=result, keyword="", hits=0), " ".join(result.sentences[:SHOWN])
    similar = f" Similar: {'; '.join(result)}." if result else ""
    return replace(data, page=None, keyword="", hits=0), f"Could not find {entity}.{similar}"


def _lookup(data: Data, word: str) -> tuple[Data, str]:
    """Finds the next sentence with the word; a new word starts from the top."""
    if data.page is None:
        return data, "No page is open."
    hits = [sentence for sentence in data.page.sentences if word.lower() in sentence.lower()] if word else []
    seen = data.hits if word.lower() == data.keyword else 0
    data = replace(data, keyword=word.lower(), hits=seen + 1)
    if seen >= len(hits):
        return data, "No more results."
    return data, f"(Result {seen + 1} / {len(hits)}) {hits[seen]}"


def _pair_titles(context: Any) -> Any:
    """Pairs titles with their sentences, which the hub's Parquet files keep separate."""
    if not isinstance(context, dict):
        return context
    titles, sentences = context.get("title"), context.get("sentences")
    if not isinstance(titles, list) or not isinstance(sentences, list) or len(titles) != len(sentences):
        raise ValueError("a list of [title, [sentence, ...]], or title and sentences of the same length")
    return list(zip(titles, sentences, strict=True))


_Sentences = Annotated[tuple[str, ...], Field(strict=False)]
_Paragraph = Annotated[tuple[datafiles.Text, _Sentences], Field(strict=False)]


class _Row(datafiles.Row):
    """An item of the data set; the first of its three ids that exists counts."""

    published: Annotated[datafiles.Text | None, Field(alias="_id")] = None
    id: datafiles.Text | None = None
    dev_index: int | None = None
    question: datafiles.Text
    answer: datafiles.Text
    type: str = ""
    context: Annotated[tuple[_Paragraph, ...], Field(strict=False), BeforeValidator(_pair_titles)]

    @model_validator(mode="after")
    def _check_key(self) -> Self:
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
    """Returns the paragraphs of every item; of several with one title, the first in the file."""
    pages: dict[str, tuple[str, ...]] = {}
    for row in _rows(path):
        for title, sentences in row.context:
            pages.setdefault(title, sentences)
    return Paragraphs(pages)
