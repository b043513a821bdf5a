"""With enough budget every search finds the best policy of a tiny problem, whatever its evaluator says on the way."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import EMCS
from symphony.search.method import Method
from symphony.types import Feedback, Phase, Request, State
from tests.search.test_contract import MIXED, MIXED_MODEL, VARIANTS
from tests.stub import Stub, pool, problem, session

BANDIT = {"a": 0.2, "b": 0.5, "c": 0.9, "d": 0.1}
# The mean below a is .5, below b .3; the best end lies behind b, and behind the worse step again.
TREE = {"aaa": 0.5, "aab": 0.5, "aba": 0.5, "abb": 0.5, "baa": 0.1, "bab": 0.1, "bba": 0.1, "bbb": 0.9}
ENOUGH: dict[str, Any] = {"n": 40, "iterations": 200, "breadth": 8, "answer": "oracle_best", "worth": "judged"}
FEW = {**ENOUGH, "n": 8}
"""Enough of attempts between which a model is fitted for seconds."""


def given(method: Method, settings: dict[str, Any]) -> Method:
    known = {field.name for field in dataclasses.fields(method)}
    return dataclasses.replace(method, **{key: settings[key] for key in settings if key in known})


searches = pytest.mark.parametrize(
    "method",
    [
        *(
            pytest.param(given(method, ENOUGH), id=name)
            for name, method in VARIANTS.items()
            if "n" in {field.name for field in dataclasses.fields(method)}  # one trajectory searches nothing
        ),
        pytest.param(given(MIXED_MODEL, FEW), id=MIXED.id, marks=MIXED.marks),
    ],
)


class Payoffs(Stub):
    """Each letter is a step; the word of full length pays what the table says."""

    def __init__(self, table: dict[str, float], feedback: Feedback) -> None:
        super().__init__(length=len(next(iter(table))), feedback=feedback)
        self.table = table

    def step(self, state: State, action: str) -> State:
        after = super().step(state, action)
        if not after.terminated or after.reward is None:
            return after
        return dataclasses.replace(after, reward=self.table[after.data[0]])


@searches
@pytest.mark.parametrize("feedback", ["oracle", "none"])
@pytest.mark.parametrize(("table", "best"), [(BANDIT, "c"), (TREE, "bbb")], ids=["bandit", "decision tree"])
async def test_the_best_policy_is_found(method, feedback, table, best):
    letters = sorted({letter for word in table for letter in word})

    def script(request: Request) -> str:
        """Draws any action, and judges a word by the mean of what lies below it."""
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            return f"Action: go {letters[request.draw.rng_seed() // 7 % len(letters)]}"
        if request.draw.phase is Phase.REFLECT:
            return "Lesson: another way."
        lines = request.messages[-1].content.splitlines()
        words = [line.rpartition(" ")[2] for line in lines if line.startswith(("word ", "submitted "))]
        siblings = int(lines[0].removeprefix("compare ")) if lines[0].startswith("compare ") else 1
        return "\n".join([f"{number}. {judge(word)}" for number, word in enumerate(words[-siblings:], 1)])

    def judge(word: str) -> str:
        below = [pay for end, pay in table.items() if end.startswith(word)]
        return f"Value: {sum(below) / len(below):.3f} Confidence: 1"

    item = problem("-" * len(best))
    result = await method.solve(
        item,
        task=Payoffs(table, feedback),
        session=session(pool(script, script), item),
        scheduler=UCB(),
        scorer=EMCS(),
        memory=PoolFifo(),
    )
    assert result.state.data[0] == best
