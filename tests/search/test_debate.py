"""Rules of the debate: who hears what, in which round, and how the votes are counted."""

from __future__ import annotations

import pytest

from symphony.agents.budget import Budget
from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import RoundRobin
from symphony.agents.scorer import EMCS
from symphony.agents.session import Session
from symphony.search.methods.debate import Debate
from symphony.search.result import SearchResult
from symphony.types import Request, SymphonyError
from tests.stub import Script, Stub, pool, problem, say, session


def letters(*, first: str, later: str, heard: list[list[str]] | None = None) -> Script:
    """Answers with one letter before anything is heard, and with another after."""

    def script(request: Request) -> str:
        lines = request.messages[0].content.splitlines()
        told = [line.removeprefix("lesson ") for line in lines if line.startswith("lesson ")]
        if heard is not None:
            heard.append(told)
        return f"Action: go {later if told else first}"

    return script


async def search(
    method: Debate, *scripts: Script, calls: int | None = None, target: str = "z", **task
) -> tuple[SearchResult, Session]:
    item = problem(target)
    ledger = session(pool(*scripts), item, budget=Budget(calls=calls))
    result = await method.solve(
        item,
        task=Stub(**{"length": 1, "feedback": "none", **task}),
        session=ledger,
        scheduler=RoundRobin(),
        scorer=EMCS(),
        memory=NoMemory(),
    )
    return result, ledger


async def test_from_the_second_round_on_each_hears_all_answers_of_the_round_before_and_knows_its_own():
    heard: list[list[str]] = []
    await search(Debate(), letters(first="a", later="c", heard=heard), letters(first="b", later="d", heard=heard))
    assert heard == [
        [],
        [],
        ["You answered, rightly or wrongly: a", "Another agent answered, rightly or wrongly: b"],
        ["Another agent answered, rightly or wrongly: a", "You answered, rightly or wrongly: b"],
    ]


@pytest.mark.parametrize(
    ("firsts", "laters", "rounds", "answer"),
    [
        ("aab", "ccd", 1, "a"),
        ("aab", "cdd", 2, "d"),
        ("abb", "cde", 2, "c"),
        ("abc", "xyz", 1, "a"),
        ("abb", "xyy", 3, "y"),
    ],
)
async def test_the_majority_of_the_last_round_wins_and_ties_go_to_the_first_debater(firsts, laters, rounds, answer):
    scripts = [letters(first=first, later=later) for first, later in zip(firsts, laters, strict=True)]
    result, ledger = await search(Debate(rounds=rounds), *scripts)
    assert (result.state.data[0], len(ledger.calls), result.iterations) == (answer, 3 * rounds, rounds)


@pytest.mark.parametrize(("calls", "answer"), [(1, "a"), (3, "b"), (4, "b"), (5, "d")])
async def test_a_round_that_is_cut_leaves_the_latest_answer_of_each(calls, answer):
    """By hand: a b b; then d b b, where b still leads; then d d b."""
    scripts = [letters(first=first, later="d") for first in "abb"]
    result, _ = await search(Debate(), *scripts, calls=calls)
    assert (result.stop_reason, result.state.data[0]) == ("calls", answer)


async def test_debaters_answer_side_by_side_each_by_the_agent_of_its_place():
    _, ledger = await search(Debate(debaters=3, rounds=1), letters(first="a", later=""), letters(first="b", later=""))
    assert "".join(call.agent for call in ledger.calls) == "ABA"
    _, longer = await search(
        Debate(rounds=1), letters(first="a", later=""), letters(first="b", later=""), length=3, target="zzz"
    )
    assert "".join(call.agent for call in longer.calls) == "ABABAB"


async def test_who_has_no_answer_is_not_heard_and_has_no_vote():
    heard: list[list[str]] = []
    result, _ = await search(Debate(), say(expand="hm"), letters(first="b", later="c", heard=heard))
    assert heard == [[], ["You answered, rightly or wrongly: b"]]
    assert result.state.data[0] == "c"


async def test_success_that_is_shown_breaks_off_the_others():
    result, ledger = await search(
        Debate(), letters(first="z", later=""), letters(first="b", later=""), feedback="oracle", length=2, target="zz"
    )
    assert (result.stop_reason, result.state.data[0]) == ("solved", "zz")
    assert len(ledger.calls) == 4


async def test_one_agent_debates_with_itself():
    heard: list[list[str]] = []
    result, _ = await search(Debate(debaters=2), letters(first="a", later="b", heard=heard))
    assert len(heard[2]) == len(heard[3]) == 2
    assert result.state.data[0] == "b"


@pytest.mark.parametrize("wrong", [{"debaters": 0}, {"rounds": 0}, {"depth": 0}, {"max_misses": 0}])
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        Debate(**wrong)
