"""Evaluations that nobody reads: none, unless the preset follows a source that makes them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import EMCS, Asking, Plain
from symphony.agents.session import Session
from symphony.search import course
from symphony.search.evaluation import used
from symphony.search.method import Method
from symphony.search.methods.lats import LATS
from symphony.search.methods.master import MASTER
from symphony.search.methods.rap import RAP
from symphony.search.methods.tot import ToT
from symphony.search.official import Official
from symphony.search.result import Search, choose_answer
from symphony.search.symphony import Symphony
from symphony.search.tree import ROOT, Origin, Tree
from symphony.tasks.mini.gridworld import GridWorld
from symphony.tasks.mini.mini_code import MiniCode
from symphony.tasks.mini.mini_qa import MiniQA
from symphony.tasks.mini.mini_shop import MiniShop
from symphony.types import Completion, Phase, Request, Score, State, Task
from tests.stub import Script, pool, session

# --------------------------------------------------------------------------- a value that knows whether it was read


class Value(float):
    """R of one evaluation, or what was calculated from it; comparing it with another number reads it."""

    sources: tuple[Reads, ...]

    def __new__(cls, value: float, sources: tuple[Reads, ...]) -> Value:
        made = super().__new__(cls, value)
        made.sources = sources
        return made

    def read(self) -> None:
        for source in self.sources:
            source.count += 1


@dataclass(eq=False)
class Reads:
    count: int = 0


def calculating(name: str) -> Callable[..., Value]:
    def method(self: Value, *other: float) -> Value:
        sources = self.sources + (other[0].sources if other and isinstance(other[0], Value) else ())
        return Value(getattr(float, name)(self, *other), sources)

    return method


def comparing(name: str) -> Callable[[Value, Any], bool]:
    def method(self: Value, other: Any) -> bool:
        if isinstance(other, float) and not math.isinf(other):  # nothing is compared with what stands for no rival
            self.read()
            if isinstance(other, Value):
                other.read()
        return getattr(operator, name.strip("_"))(float(self), float(other))

    return method


for name in ("add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "neg"):
    setattr(Value, f"__{name}__", calculating(f"__{name}__"))
for name in ("lt", "le", "gt", "ge"):
    setattr(Value, f"__{name}__", comparing(f"__{name}__"))


@dataclass
class Watching:
    """A scorer whose values know whether they were read."""

    inner: EMCS = field(default_factory=EMCS)
    evaluations: list[Reads] = field(default_factory=list)

    @property
    def asking(self) -> Asking:
        return self.inner.asking

    def score(self, answers: Sequence[Completion]) -> Score | None:
        found = self.inner.score(answers)
        return None if found is None else self._watched(found)

    def fallback(self) -> Score:
        return self.inner.fallback()

    def _watched(self, found: Score) -> Score:
        self.evaluations.append(Reads())
        return replace(found, modulated=Value(found.modulated, (self.evaluations[-1],)))


@pytest.fixture(autouse=True)
def readers(monkeypatch):
    """Backing a value up reads it, and so does the answer: of ends, or of all where there is none.

    What the scheduler, the report and the curve of answers read decides nothing in the search.
    """
    backup, credit = Tree.backup, Session.credit

    def backs_up(tree: Tree, id: int, value: float) -> None:
        if isinstance(value, Value):
            value.read()
        backup(tree, id, value)

    def answers(tree: Tree, policy: Any) -> int:
        candidates = [node for node in tree.nodes if node.state.done] or tree.nodes
        for node in candidates:
            if isinstance(node.prior, Value):
                node.prior.read()
        for node in tree.nodes:
            node.prior = None if node.prior is None else float(node.prior)
        return choose_answer(tree, policy)

    monkeypatch.setattr(Tree, "backup", backs_up)
    monkeypatch.setattr(Session, "credit", lambda self, arm, R, pick=None: credit(self, arm, float(R), pick))
    monkeypatch.setattr(course, "choose_answer", answers)
    monkeypatch.setattr(course, "prefixes", lambda tree, policy: None)


# --------------------------------------------------------------------------- the generated tasks


TASKS: dict[type, list[str]] = {
    GridWorld: ["move[north]", "move[east]", "move[south]", "move[west]"],
    MiniQA: ["search[Bo]", "lookup[weds]", "finish[Bo]", "lookup[hosts]"],
    MiniShop: ["search[red]", "search[blue]", "click[1]", "click[buy]"],
    MiniCode: ["line[x = x]", "line[x = sorted(x)]", "line[y]", "submit[]"],
}


def playing(actions: list[str]) -> Script:
    """Any of the actions, and any judgement; all drawn from the request's seed."""

    def script(request: Request) -> str:
        seed = request.draw.rng_seed()
        match request.draw.phase:
            case Phase.EXPAND | Phase.SIM_EXPAND:
                return f"Action: {actions[seed // 7 % len(actions)]}"
            case Phase.REFLECT:
                return f"Lesson: {seed % 100}."
            case _:
                return f"Value: {(1 + seed % 97) / 98:.3f} Confidence: {seed % 89 / 89:.3f}"  # 0 is no number to follow

    return script


async def unread(method: Search, make: type, feedback: str) -> tuple[int, int]:
    """Evaluations that nobody read, and all."""
    task: Task = make(seed=5, count=2, feedback=feedback)
    scorer = Watching()
    for item in task.problems():
        ledger = session(pool(playing(TASKS[make]), playing(TASKS[make][1:])), item)
        await method.solve(item, task=task, session=ledger, scheduler=UCB(), scorer=scorer, memory=PoolFifo())
    return sum(not evaluation.count for evaluation in scorer.evaluations), len(scorer.evaluations)


METHODS: dict[str, Method] = {
    "symphony": Symphony(iterations=5, temperature=0.2),
    "symphony, simulating alone": Symphony(iterations=5, sim_width=1, sim_depth=None),
    "official, cut soon": Official(iterations=5, sim_width=1, sim_depth=1, sim_depth_from="extra"),
    "symphony, two a step": Symphony(n=2, iterations=5, sim_width=2, depth=3),
    "symphony, the sum": Symphony(n=2, iterations=5, sim_width=1, sim_value="sum"),
    "official, the end's reward": Official(n=2, iterations=5, sim_width=2, sim_value="reward", sim_cut=-0.5),
    "symphony, halving": Symphony(n=2, iterations=5, root="sequential_halving"),
    "lats": LATS(n=2, iterations=4),
    "rap": RAP(n=2, iterations=6),
    "master": MASTER(n=2, iterations=6, threshold=1.0),
    "tot_bfs": ToT(n=2, breadth=2, iterations=6),
    "tot_dfs": ToT(n=2, order="dfs", iterations=6),
    "tot_dfs with a threshold": ToT(n=1, order="dfs", threshold=0.1, iterations=6),
}


@pytest.mark.parametrize("feedback", ["oracle", "none"])
@pytest.mark.parametrize("make", TASKS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
async def test_no_evaluation_is_made_that_nobody_reads(method, make, feedback):
    assert (await unread(method, make, feedback))[0] == 0


@pytest.mark.parametrize("method", ["symphony, simulating alone", "lats", "master"])
async def test_where_a_source_judges_every_node_some_are_read_by_nobody(method):
    """The count above can fail."""
    every: dict[str, Any] = {"judge": "every", "n": 1}
    wasted, all_of_them = await unread(replace(METHODS[method], **every), MiniQA, "oracle")
    assert 0 < wasted <= all_of_them


# --------------------------------------------------------------------------- the rule


def nodes(kinds: str, origin: Origin = "expand") -> Tree:
    """Children of the root: o(pen), or e(nded) without a visible reward."""
    tree = Tree(State(observation=""))
    for kind in kinds:
        state = State(observation="", terminated=kind == "e")
        tree.add(ROOT, turn=None, state=state, agent=0, origin=origin, iteration=1)
    return tree


@pytest.mark.parametrize(
    ("kinds", "origin", "places", "judged"),
    [
        ("o", "expand", 1, []),
        ("oo", "expand", 1, [1, 2]),
        ("oe", "expand", 1, [2]),  # a simulation starts from the unfinished one, whatever the end is worth
        ("oe", "simulate", 1, [1, 2]),  # a simulation goes to the better of them
        ("e", "expand", 1, [1]),
        ("o", "expand", 0, [1]),
        ("oo", "expand", 2, []),
        ("ooo", "expand", 2, [1, 2, 3]),
    ],
)
def test_a_value_is_used_where_nodes_compete_or_an_end_is_to_be_chosen(kinds, origin, places, judged):
    tree = nodes(kinds, origin)
    assert used(tree, range(1, len(tree)), places) == judged


async def test_a_cut_simulation_judges_its_last_node_and_backs_up_its_value():
    def script(request: Request) -> str:
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            return "Action: search[Bo]"
        return "Value: 0.5 Confidence: 1"

    task = MiniQA(seed=0, count=1)
    item = task.problems()[0]
    ledger = session(pool(script), item)
    method = Symphony(n=2, iterations=1, sim_width=1, sim_depth=3)
    result = await method.solve(item, task=task, session=ledger, scheduler=UCB(), scorer=Plain(), memory=PoolFifo())
    assert [node.score is not None for node in result.tree.nodes] == [False, False, False, True]
    assert [(call.phase, call.node) for call in ledger.calls][-1] == ("sim_evaluate", 3)
    assert result.tree[ROOT].value_sum == result.tree[3].prior == 0.5
