"""Rules of choosing the answer, and of the records written of a search."""

from __future__ import annotations

import json

import pytest

from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import EMCS
from symphony.records.records import ProblemRecord
from symphony.search.result import choose_answer, node_records, problem_record
from symphony.search.symphony import Symphony
from symphony.search.tree import ROOT, Tree
from symphony.types import Grade, State
from tests.stub import Stub, pool, problem, session, talk


def tree(*states: tuple[str, float | None, float | None]) -> Tree:
    """Children of the root: kind (open, end, cut), visible reward, R."""
    made = Tree(State(observation=""))
    for kind, reward, prior in states:
        state = State(observation="", reward=reward, terminated=kind == "end", truncated=kind == "cut")
        id = made.add(ROOT, turn=None, state=state, agent=0, origin="expand", iteration=1)
        made[id].prior = prior
    return made


SEEN = [("open", None, 0.9), ("end", 0.2, 0.2), ("end", 0.7, 0.7), ("cut", 0.0, 0.0)]
UNSEEN = [("open", None, 0.9), ("end", None, 0.2), ("cut", None, 0.8), ("end", None, 0.6)]


@pytest.mark.parametrize(
    ("policy", "states", "answer"),
    [
        ("oracle_best", SEEN, 3),
        ("best_value", SEEN, 3),
        ("first_terminal", SEEN, 2),
        ("oracle_best", UNSEEN, 4),
        ("best_value", UNSEEN, 4),
        ("first_terminal", UNSEEN, 2),
        ("oracle_best", [("open", None, 0.3), ("open", None, 0.4)], 2),
        ("best_value", [("open", None, 0.9), ("cut", None, 0.1)], 2),
        ("first_terminal", [("open", None, 0.9), ("cut", None, 0.1)], 2),
        ("oracle_best", [], 0),
        ("most_visited", [], 0),
        ("oracle_best", [("end", 0.0, 0.0), ("end", 0.0, 0.0)], 1),
        ("oracle_best", [("cut", 0.0, 0.0), ("end", 0.0, 0.0)], 2),  # a wrong answer before none
        ("oracle_best", [("open", None, None), ("open", None, None)], 1),  # judged or not, more than nothing
    ],
)
def test_the_policy_chooses_the_answer(policy, states, answer):
    assert choose_answer(tree(*states), policy) == answer


@pytest.mark.parametrize("origin", ["expand", "simulate"])
def test_the_end_of_an_iteration_is_kept_when_its_branch_is_taken_out(origin):
    """The root leads to a, a to ends worth .9 and .3; .9 is backed up, and a is taken out: .9 stays, and beats .1."""
    made = tree(("open", None, 0.5), ("end", 0.1, 0.1))
    for reward in (0.9, 0.3):
        state = State(observation="", reward=reward, terminated=True)
        made.add(1, turn=None, state=state, agent=0, origin=origin, iteration=2)
    made.backup(3, 0.9)
    made.detach(1)
    assert made[choose_answer(made, "oracle_kept")].state.reward == 0.9


@pytest.mark.parametrize(("visits", "answer"), [((1, 2), 4), ((2, 1), 3), ((2, 2), 4), ((0, 0), 3)])
def test_the_most_visited_policy_answers_from_the_most_visited_child_of_the_root(visits, answer):
    made = tree(("open", None, 0.9), ("open", None, 0.1))
    for parent, prior in ((1, 0.2), (2, 0.3)):
        state = State(observation="", terminated=True)
        id = made.add(parent, turn=None, state=state, agent=0, origin="expand", iteration=1)
        made[id].prior = prior
        for _ in range(visits[parent - 1]):
            made.backup(parent, prior)  # of equally visited children the one with the higher Q counts
    assert choose_answer(made, "most_visited") == answer


async def test_the_records_of_a_problem_agree_with_its_ledger_and_its_tree():
    item = problem("zzz")
    ledger = session(pool(talk(stops=4), lambda _: "hm"), item)
    result = await Symphony(sim_depth=2).solve(
        item, task=Stub(length=5), session=ledger, scheduler=UCB(), scorer=EMCS(), memory=PoolFifo()
    )
    record = problem_record(7, ledger, result, Grade(success=False, score=0.25, detail="x"))
    nodes = node_records(ledger, result.tree)
    assert isinstance(record, ProblemRecord)
    assert (record.index, record.score, record.detail, record.answer_node) == (7, 0.25, "x", result.answer)
    assert record.calls == len(ledger.calls) == ledger.meter.calls == len(ledger.timings)
    assert record.prompt_tokens + record.completion_tokens == ledger.meter.tokens
    assert record.nodes_tree == sum(node.origin == "expand" for node in nodes) > 0
    assert record.nodes_simulated == sum(node.origin == "simulate" for node in nodes) > 0
    assert record.guesses == sum(node.terminal for node in nodes) > 0
    assert record.unparsed == sum(call.text == "hm" and "expand" in call.phase for call in ledger.calls) > 0
    assert record.fallbacks == sum(node.fallback for node in nodes)
    assert [node.node for node in nodes] == list(range(len(nodes)))
    assert all(node.parent is None or node.parent < node.node for node in nodes)
    assert {node.agent for node in nodes} <= {"A", "B", None}
    assert [call.call for call in ledger.calls] == list(range(len(ledger.calls)))
    assert len(ledger.picks) == len(ledger.calls)
    assert [(pick.agent, pick.phase, pick.node) for pick in ledger.picks] == [
        (call.agent, call.phase, call.node) for call in ledger.calls
    ]
    assert sum(arm.calls for arm in ledger.arms) == len(ledger.calls)
    json.dumps([[getattr(node, name) for name in node.__slots__] for node in nodes])
