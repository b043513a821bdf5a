"""WebShop in one process: search a catalogue of scraped products, choose options, and buy what is asked for.

    Instruction: i need a 120 ml hair mask treatment, and price lower than 30.00 dollars
    search[hair mask treatment 120ml] -> Page 1 (Total results: 50) ... [B09R4RJSFP] ...
    click[B09R4RJSFP]                 -> color [120ml][60ml] ... [Buy Now]
    click[120ml]                      -> You have clicked 120ml.
    click[Buy Now]                    -> Your score (min 0.0, max 1.0): 1.0

A branch's state is small: its page, query and options; the catalogue is immutable and shared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

from symphony.chat.prompts import ChatPrompts, parse_proposal, read_actions, split_action
from symphony.chat.reasoning import spoken
from symphony.fields import Count, FromZero, check_fields
from symphony.tasks.feedback import visible
from symphony.tasks.repeats import Repeats, Seen, note_repeat
from symphony.tasks.webshop.catalogue import Catalogue, Mined, Product, Written, files, load, table
from symphony.tasks.webshop.goals import Goal, Goals, Instructions, Nouns, Reward, goals, judge, noun_finder, nouns_by
from symphony.tasks.wording import read_prompts
from symphony.types import Feedback, Grade, Problem, Proposal, State, SymphonyError

Size = Literal["small", "full"]
Reading = Literal["tolerant", "official"]
Page = Literal["start", "results", "item", "part", "end"]

LISTED = 10
"""Products per page of results."""
DETAILED = 3
"""How many of these show title and price (published agents: 3)."""
PARTS = ("Description", "Features", "Reviews", "Attributes")
"""Pages of a product besides its main page."""
HINT = (
    "Invalid action. Choose one that the latest page offers: search[words] where it has [Search], else click[button]."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """Where a branch is. `goal` is set only if the search may learn the reward.

    Attributes:
        page: "start" (the search box), "results", "item", "part" (of an item) or "end" (bought).
        number: Number of the results page, from 1.
        chosen: (name, value) of the options clicked, in the order they were first clicked.
        part: One of `PARTS`.
    """

    goal: Goal | None = field(default=None, repr=False)
    instruction: str = ""
    page: Page = "start"
    query: str = ""
    number: int = 1
    asin: str = ""
    chosen: tuple[tuple[str, str], ...] = ()
    part: str = ""
    steps: int = 0
    seen: Seen = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebShop:
    """The WebShop environment; the reward of a purchase is the original's, in [0, 1].

    Deviations from the published agents' environment: every purchase ends the episode, even one that earns nothing;
    `< Prev` needs its button, so there is no results page 0; an option must be on the open product's page; names of
    buttons, products and options match regardless of case and spaces.

    Args:
        count: How many goals; None means all that follow.
        first: Number of the first goal, the original's `fixed_<first>` (its test split: 0 to 499).
        size: Which catalogue: the first 1,000 products or all 1.18 million.
        instructions: Whether instructions are written by people or made from a product's attributes and options.
        price_seed: Seed of the prices drawn from price ranges and of the ceilings in the instructions.
        nouns: What finds nouns in titles: spaCy's model ("spacy"), all words except function words and numbers
            ("words"), or spaCy if installed ("auto").
        max_steps: Horizon; the episode is truncated there (published code: depth 10, then up to 10 simulated steps).
        repeats: Whether the agent is told that an action brought the same page again ("told"; original: "official",
            no).
        feedback: Whether a search learns what a purchase earned.
        data: Folder of the data sets.
        wording: Version of the prompts, or a prompt file of your own.
        reading: How a completion is parsed: as in all tasks ("tolerant"), or as in the published code ("official").
    """

    count: Count | None
    price_seed: int
    first: FromZero = 0
    size: Size = "small"
    instructions: Instructions = "human"
    nouns: Nouns = "auto"
    max_steps: Count = 15
    repeats: Repeats = "official"
    feedback: Feedback = "oracle"
    data: Path = Path("data")
    wording: str = "v1"
    reading: Reading = "tolerant"
    verbs: ClassVar[tuple[str, ...]] = ("search", "click", "think")
    name: str = "webshop"

    def __post_init__(self) -> None:
        check_fields("task", self)
        nouns_by(self.nouns)
        read_prompts("webshop", self.wording)  # reports errors in the file right away

    @property
    def prompts(self) -> ChatPrompts:
        """The prompts, read once per process."""
        return read_prompts("webshop", self.wording)

    def files(self) -> tuple[Path, ...]:
        """Returns the files the problems are read from.

        Raises:
            SymphonyError: A file is missing.
        """
        return files(self.data, self.size, self.instructions)

    @property
    def catalogue(self) -> Catalogue:
        """The products, read once per process."""
        return _catalogue(self.files())

    @property
    def goals(self) -> Goals:
        """Every goal, in the original's order."""
        return _goals(self.files(), self.instructions, self.price_seed)

    def problems(self) -> Sequence[Problem]:
        """Returns the goals of this run; their ids are the original's session names.

        Raises:
            SymphonyError: There are fewer goals.
        """
        every = self.goals
        last = len(every) if self.count is None else self.first + self.count
        if not 0 <= self.first < last <= len(every):
            raise SymphonyError(
                f"task.count: found {self.count} from goal {self.first} on, allowed: 1 to {len(every)} goals"
                f" ({self.files()[-1]} has no more for this catalogue)"
            )
        return self.prompts.apart([_problem(index, every[index]) for index in range(self.first, last)])

    def reset(self, problem: Problem) -> State:
        goal = problem.target if self.feedback == "oracle" else None
        return State(observation="", data=Data(goal=goal, instruction=problem.prompt))

    def parse(self, text: str) -> Proposal | None:
        return READINGS[self.reading](text)

    def step(self, state: State, action: str) -> State:
        if state.done:
            return state
        data: Data = replace(state.data, steps=state.data.steps + 1)
        verb, argument = split_action(action)
        after = data if verb == "think" else self._after(data, verb, argument)
        if after is not None and after.page == "end":
            return self._bought(after)
        shown = HINT if after is None else self._shown(data, after)
        observation, seen = note_repeat(self.repeats, data.seen, action, shown)
        truncated = data.steps >= self.max_steps
        return State(
            observation=observation,
            reward=visible(0.0, self.feedback, truncated),
            truncated=truncated,
            invalid=after is None,
            data=replace(data if after is None else after, seen=seen),
        )

    def _after(self, data: Data, verb: str, argument: str) -> Data | None:
        """Returns the page that an action leads to; None if the open page does not offer the action."""
        if verb == "search" and data.page == "start" and argument:
            return replace(data, page="results", query=argument)
        if verb != "click":
            return None
        button = _spelling(argument)
        if button == "back to search" and data.page != "start":
            return Data(goal=data.goal, instruction=data.instruction, steps=data.steps)
        if data.page == "results":
            return self._from_results(data, button)
        if data.page == "item":
            return self._from_item(data, button)
        return replace(data, page="item", part="") if data.page == "part" and button == "< prev" else None

    def _from_results(self, data: Data, button: str) -> Data | None:
        if button == "next >":
            return replace(data, number=data.number + 1)
        if button == "< prev":
            return replace(data, number=data.number - 1) if data.number > 1 else None
        asin = button.upper()
        return replace(data, page="item", asin=asin) if asin in self._list_page(data)[1] else None

    def _from_item(self, data: Data, button: str) -> Data | None:
        if button == "buy now":
            return replace(data, page="end")
        if button == "< prev":
            return replace(data, page="results", asin="", chosen=())
        part = next((part for part in PARTS if part.lower() == button), None)
        if part is not None:
            return replace(data, page="part", part=part)
        # If two options have the same value, the original clicks the later one.
        for name, values in reversed(self.catalogue.product(data.asin).options):
            for value in values:
                if _spelling(value) == button:
                    return replace(data, chosen=tuple((dict(data.chosen) | {name: value}).items()))
        return None

    def _list_page(self, data: Data) -> tuple[int, list[str]]:
        """Returns how many products the query finds, and the ids of those on the open page of results."""
        ids = _search_results(self.files(), data.query)
        return len(ids), ids[(data.number - 1) * LISTED : data.number * LISTED]

    def _shown(self, before: Data, data: Data) -> str:
        if data.page == "item" and data.chosen != before.chosen and data.chosen:
            value = next(value for name, value in data.chosen if (name, value) not in before.chosen)
            return f"You have clicked {value}."
        if data.page == "start":
            return f"WebShop \n{data.instruction} \n[Search] "
        if data.page == "results":
            return self._results(data)
        product = self.catalogue.product(data.asin)
        return _item(product, data.chosen) if data.page == "item" else _part(product, data.part)

    def _results(self, data: Data) -> str:
        total, asins = self._list_page(data)
        buttons = ["[< Prev] ", "[Next >] "] if data.number > 1 else ["[Next >] "]
        lines = ["[Back to Search] ", f"Page {data.number} (Total results: {total}) ", *buttons]
        for place, asin in enumerate(asins):
            lines.append(f"[{asin}] ")
            if place < DETAILED:
                product = self.catalogue.product(asin)
                lines += [f"{product.title} ", f"{product.price} "]
        return "\n".join(lines)

    def _bought(self, data: Data) -> State:
        if data.goal is None:  # feedback "none": nothing is compared at all
            return State(observation="Thank you for shopping with us!", terminated=True, data=data)
        reward = self._judge(data, data.goal).total
        return State(observation=f"Your score (min 0.0, max 1.0): {reward}", reward=reward, terminated=True, data=data)

    def _judge(self, data: Data, goal: Goal) -> Reward:
        row = self.catalogue.row(data.asin)
        assert row is not None
        return judge(
            self.catalogue.product(data.asin),
            goal,
            price=self.goals.prices[row],
            chosen=[value for _, value in data.chosen],
            nouns=noun_finder(nouns_by(self.nouns)),
        )

    def failure_key(self, state: State) -> str:
        """Returns what was bought with which options; all failures to buy share one key."""
        data: Data = state.data
        return _purchase(data) if data.page == "end" else "nothing bought"

    def submission(self, prediction: str) -> tuple[str, ...]:
        """Reads one action per line."""
        return read_actions(prediction, self.parse)

    def grade(self, problem: Problem, state: State) -> Grade:
        """Grades a purchase: success is a reward of 1, score is the reward; the detail says what found the nouns."""
        data: Data = state.data
        if data.page != "end":
            return Grade(success=False, score=0.0, detail="nothing bought")
        reward = self._judge(data, problem.target)
        detail = (
            f"{_purchase(data)}: type {reward.type}, attributes {reward.attributes}/{len(problem.target.attributes)}, "
            f"options {reward.options}/{len(problem.target.options)}, price {'met' if reward.price else 'not met'}, "
            f"nouns by {nouns_by(self.nouns)}"
        )
        return Grade(success=reward.total == 1.0, score=reward.total, detail=detail)


def _tolerant(text: str) -> Proposal | None:
    return parse_proposal(text, WebShop.verbs, bare=True)


def _official(text: str) -> Proposal | None:
    """Reads the first action line from its label to the next colon, else the first line of the text.

    So an option's name is cut at a colon, and a text without an action is an invalid action, not a lost sample.
    Source: ZHUWEI-hub/SYMPHONY, commit 3fbe298, webshop/symphony.py:313-331, 741.
    """
    labelled = [line for line in text.split("\n") if line.startswith("Action") and ":" in line]
    answer = (labelled[0].split(":")[1].strip() if labelled else "") or text.strip()
    for _ in range(2):
        answer = answer[answer.find(":") + 1 :].strip() if answer.startswith("Action") else answer
    action = answer.split("\n")[0].split(":")[0].strip()
    return Proposal(thought="", action=action) if action else None


READINGS: dict[Reading, Callable[[str], Proposal | None]] = {
    "tolerant": _tolerant,
    "official": lambda text: _official(spoken(text)),
}


def _purchase(data: Data) -> str:
    return " ".join([data.asin, *(f"{name}={value}" for name, value in sorted(data.chosen))])


def _spelling(text: str) -> str:
    """Normalises a button's name, without the brackets it is shown in: `click[[Buy Now]]`."""
    return " ".join(text.lower().strip("[] ").split())


def _item(product: Product, chosen: Sequence[tuple[str, str]]) -> str:
    picked = {value for _, value in chosen}
    lines = ["[Back to Search] ", "[< Prev] "]
    for name, values in product.options:
        marks = "".join(f"[[{value}]]" if value in picked else f"[{value}]" for value in values)
        lines.append(f"{name} {marks}")
    lines += [f"{product.title} ", f"Price: {product.price} ", f"Rating: {product.rating} "]
    return "\n".join([*lines, "[Description] ", "[Features] ", "[Reviews] ", "[Buy Now] "])


def _part(product: Product, part: str) -> str:
    texts = {
        "Description": (product.description,),
        "Features": product.features,
        "Reviews": (),  # the original's loader reads none
        "Attributes": (*product.attributes, product.category, product.query, product.path),
    }[part]
    return "\n".join(["[Back to Search] ", "[< Prev] ", *(f"{text} " for text in texts if text.strip())])


def _problem(index: int, goal: Goal) -> Problem:
    return Problem(id=f"fixed_{index}", kind=goal.category, prompt=f"Instruction: {goal.instruction}", target=goal)


def _catalogue(paths: tuple[Path, ...]) -> Catalogue:
    original = paths[0].suffix == ".json"
    return load(paths[0], paths[1] if original else None)


@lru_cache(maxsize=2)
def _goals(paths: tuple[Path, ...], instructions: Instructions, seed: int) -> Goals:
    return goals(_catalogue(paths), table(paths[-1], Written if instructions == "human" else Mined), instructions, seed)


@lru_cache(maxsize=4096)
def _search_results(paths: tuple[Path, ...], query: str) -> list[str]:
    """Runs a search; its pages, and branches that ask the same, share the result."""
    return _catalogue(paths).search(query)
