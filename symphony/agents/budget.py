"""Budgets of a problem, a run and a study, and what is consumed of them; see also `ledger`.

The budgets of a problem and a run count what was consumed, whether a model or the call store answered: so methods are
compared at equal cost, and a repeated run ends where it ended before. The budget of a study counts only new calls to
models, by all of its processes: it limits real spending, and never refuses a stored answer.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from symphony.models.sizes import Size
from symphony.types import Completion, Limit, Message, SymphonyError

LIMITS: tuple[Limit, ...] = get_args(Limit)
USEFUL_TOKENS = 16
"""A call is refused if fewer tokens than this are left for its completion (or than its own limit, if smaller)."""
LimitScope = Literal["problem", "run", "study"]
BudgetReason = Literal[
    "calls",
    "tokens",
    "money",
    "seconds",
    "computed",
    "run_calls",
    "run_tokens",
    "run_money",
    "run_seconds",
    "run_computed",
    "study_calls",
    "study_tokens",
    "study_money",
    "study_seconds",
]
"""Which limit ended a search: one of the problem's own budget, the run's or the study's."""


def reason(scope: LimitScope, limit: Limit) -> BudgetReason:
    """Returns the stop reason for a limit that is reached."""
    return cast(BudgetReason, limit if scope == "problem" else f"{scope}_{limit}")


def money(dollars: float) -> str:
    """Formats dollars for people: two decimals, or two significant digits below a tenth of a dollar."""
    digits = 2 if dollars >= 0.1 or dollars <= 0 else 1 - math.floor(math.log10(dollars))
    return f"{dollars:,.{digits}f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A set of limits; None means no limit.

    Attributes:
        calls: Model calls, failed ones included; kept exactly, as calls in flight count.
        tokens: Prompt and completion tokens; kept exactly, as calls in flight count with the most they may take.
        money: Dollars; no new call once this much is spent (calls in flight finish).
        seconds: Wall-clock time; no new call after that.
        computed: Tokens that a model with a cache of earlier prompts has to compute: completions, and of each prompt
            what no earlier prompt of the same agent and problem began with. No new call once this many are computed.
    """

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None
    seconds: float | None = None
    computed: int | None = None

    def __post_init__(self) -> None:
        for name in LIMITS:
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise SymphonyError(f"budget.{name}: found {limit}, allowed: > 0, or null for no limit")

    def reached(
        self, calls: int, tokens: int, money: float, seconds: Callable[[], float], computed: int = 0
    ) -> Limit | None:
        """Returns the first limit that is spent; None if another call may be made."""
        if self.calls is not None and calls >= self.calls:
            return "calls"
        if self.tokens is not None and tokens >= self.tokens:
            return "tokens"
        if self.money is not None and money >= self.money:
            return "money"
        if self.seconds is not None and seconds() >= self.seconds:
            return "seconds"
        if self.computed is not None and computed >= self.computed:
            return "computed"
        return None


class Meter:
    """Tracks consumption against a budget; a problem's meter also charges its run's meter.

    Attributes:
        calls: Calls made, in flight included.
        tokens: Prompt and completion tokens of finished calls.
        reserved: Tokens that calls in flight may take.
        money: Cost of finished calls in dollars, as far as known.
        computed: Computed tokens of finished calls, if this meter or its parent limits them.
    """

    __slots__ = (
        "_clock", "_closed", "_scope", "_started",
        "budget", "calls", "computed", "money", "parent", "reserved", "tokens",
    )  # fmt: skip

    def __init__(
        self,
        budget: Budget,
        parent: Meter | None = None,
        *,
        scope: LimitScope = "problem",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget = budget
        self.parent = parent
        self.calls = 0
        self.tokens = 0
        self.reserved = 0
        self.money = 0.0
        self.computed = 0
        self._scope = scope
        self._closed: BudgetReason | None = None
        self._clock = clock
        self._started = clock()

    def exceeded(self) -> BudgetReason | None:
        """Returns the reason why no further call may be made, from this meter or its parents; None if one may."""
        if self._closed is not None:
            return self._closed
        taken = self.tokens + self.reserved
        limit = self.budget.reached(self.calls, taken, self.money, lambda: self._clock() - self._started, self.computed)
        if limit is not None:
            return reason(self._scope, limit)
        return None if self.parent is None else self.parent.exceeded()

    def left(self) -> tuple[int, BudgetReason] | None:
        """Returns the tokens neither taken nor reserved, and the limit that applies; None if nothing limits tokens.

        The tightest limit of this meter and its parents applies; the number is negative if more was taken than
        reserved.
        """
        above = None if self.parent is None else self.parent.left()
        if self.budget.tokens is None:
            return above
        own = self.budget.tokens - self.tokens - self.reserved, reason(self._scope, "tokens")
        return own if above is None or own[0] <= above[0] else above

    @property
    def limits_computed(self) -> bool:
        """Whether this meter or its parent limits computed tokens."""
        return self.budget.computed is not None or (self.parent is not None and self.parent.limits_computed)

    def charge(
        self, *, calls: int = 0, tokens: int = 0, money: float = 0.0, reserved: int = 0, computed: int = 0
    ) -> None:
        """Adds to what is consumed and reserved, in this meter and its parents."""
        self.calls += calls
        self.tokens += tokens
        self.reserved += reserved
        self.money += money
        self.computed += computed
        if self.parent is not None:
            self.parent.charge(calls=calls, tokens=tokens, money=money, reserved=reserved, computed=computed)

    def overrun(self) -> BudgetReason | None:
        """Returns the token limit that is exceeded, of this meter or its parents; None if none is."""
        if self.budget.tokens is not None and self.tokens > self.budget.tokens:
            return reason(self._scope, "tokens")
        return None if self.parent is None else self.parent.overrun()

    def close(self, why: BudgetReason) -> None:
        """Forbids this problem any further call: one was refused, or did not finish within what was left for it."""
        self._closed = self._closed or why


def useful(size: Size) -> int:
    """Returns the fewest completion tokens with which a call is still made."""
    return min(USEFUL_TOKENS, size.completion)


class Needs:
    """Computes how large a token budget the calls of a problem need, one after another.

    Attributes:
        least: For each booked call, the smallest token budget under which the search is the same up to its answer.
    """

    __slots__ = ("_reserved", "_spent", "least")

    def __init__(self) -> None:
        self.least: list[int] = []
        self._spent, self._reserved = [0], [0]  # sums over the calls booked

    def book(self, before: int, size: Size, completion: Completion) -> None:
        """Books the next call once it has ended.

        Calls in flight at the same time count with all they might have taken: of calls asked together, one whose limit
        must be cut is the last.

        Args:
            before: Number of calls already booked when this one was asked; the rest before it were in flight.
            size: Size of the call with its full completion limit.
        """
        used = completion.prompt_tokens + completion.completion_tokens
        taken = self._spent[before] + self._reserved[-1] - self._reserved[before]
        asked = taken + size.prompt + max(completion.completion_tokens, useful(size))
        ended = self._spent[-1] + used
        self.least.append(max(asked, ended, self.least[-1] if self.least else 0))
        self._spent.append(ended)
        self._reserved.append(self._reserved[-1] + size.prompt + size.completion)


class Begun:
    """The prompts that were sent to one agent for one problem: tells what of the next call is computed anew."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: list[str] = []

    def computed(self, prompt: Sequence[Message], answer: Completion) -> int:
        """Returns the tokens of a call without those of its prompt's longest common beginning with an earlier prompt.

        The tokens of that beginning are estimated from its share of the prompt's letters. The prompt counts as sent
        from now on. In sorted order the longest common beginning is with a neighbour.
        """
        text = "\n".join([message.content for message in prompt])
        at = bisect_left(self._texts, text)
        shared = max([_common(text, near) for near in self._texts[max(0, at - 1) : at + 1]], default=0)
        self._texts.insert(at, text)
        return round(answer.prompt_tokens * (1.0 - shared / max(1, len(text)))) + answer.completion_tokens


def _common(first: str, second: str) -> int:
    """Returns the length of the longest common beginning."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))
