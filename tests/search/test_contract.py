"""What every search promises, whatever its method: the rules of `result.Search`."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import inspect
import pkgutil
import re
from importlib.util import find_spec

import pytest

import symphony.search
from symphony.agents.budget import Budget, Meter
from symphony.agents.memory import NoMemory, PoolFifo
from symphony.agents.scheduler import UCB, RoundRobin, Uniform
from symphony.agents.scorer import EMCS
from symphony.agents.session import Agent, AgentPool, Session
from symphony.models.batcher import Batcher
from symphony.models.scripted import ScriptedBackend
from symphony.search.methods.ab_mcts import ABMCTS
from symphony.search.methods.best_of_n import BestOfN
from symphony.search.methods.cot import CoT
from symphony.search.methods.mixture import Mixture
from symphony.search.methods.plus import SymphonyPlus
from symphony.search.methods.tot import ToT
from symphony.search.result import Search, SearchResult, node_records
from symphony.search.symphony import Symphony
from symphony.types import Problem, Request, Task
from tests.stub import Script, Stub, pool, problem, say, session, talk


def methods() -> list[type]:
    """Every search class of the package: one with `solve` and a default for each of its fields."""
    found = {
        cls
        for module in pkgutil.walk_packages(symphony.search.__path__, "symphony.search.")
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        if dataclasses.is_dataclass(cls) and hasattr(cls, "solve") and not inspect.isabstract(cls)
    }
    return sorted(found, key=lambda cls: cls.__name__)


METHODS = methods()
VARIANTS = {
    **{cls.__name__: cls() for cls in METHODS},
    "Symphony, 3 at once": Symphony(parallel=3),
    "Symphony, halving": Symphony(root="sequential_halving"),
    "Symphony, siblings together": Symphony(siblings=3),
    "SymphonyPlus, ends together": SymphonyPlus(worth="judged", siblings=4),
    "BestOfN, a trajectory an agent": BestOfN(per="trajectory"),
    "BestOfN, split": BestOfN(per="split"),
    "Mixture, three layers": Mixture(layers=3, proposers=3, aggregator=0),
    "ToT, depth first": ToT(order="dfs"),
}


def steps(method: Search, usual: int) -> int:
    """Length of an episode that the method can play to its end: CoT has one action."""
    return 1 if isinstance(method, CoT) else usual


HEARD = re.compile(r"lesson (You|Another agent|An agent) answered, rightly or wrongly: ")
"""What a prompt carries of other answers, where a method tells them."""

MIXED_MODEL = ABMCTS(variant="m", models="ucb", n=2)
MIXED = pytest.param(
    MIXED_MODEL,
    id="ABMCTS, a mixed model",
    marks=[
        pytest.mark.slow,  # seconds a decision
        pytest.mark.skipif(find_spec("pymc") is None, reason="the extra ab-mcts-m is not installed"),
        pytest.mark.filterwarnings("ignore"),  # of PyMC and what it stands on
    ],
)
every_method = pytest.mark.parametrize(
    "method", [*(pytest.param(method, id=name) for name, method in VARIANTS.items()), MIXED]
)


async def solve(method: Search, ledger: Session, item: Problem, *, task: Task | None = None, **parts) -> SearchResult:
    return await method.solve(
        item,
        task=task or Stub(length=4),
        session=ledger,
        scheduler=parts.get("scheduler", UCB()),
        scorer=EMCS(),
        memory=parts.get("memory", PoolFifo()),
    )


def trace(ledger: Session, result: SearchResult) -> tuple:
    return (
        node_records(ledger, result.tree),
        ledger.calls,
        ledger.picks,
        ledger.reflections,
        (result.answer, result.stop_reason, result.iterations, result.unparsed, result.fallbacks),
    )


def test_the_methods_are_found():
    trees, others = (
        {"Symphony", "LATS", "RAP", "MASTER", "ToT", "ABMCTS"},
        {"React", "BestOfN", "CoT", "Reflexion", "Debate"},
    )
    assert trees | others | {"Mixture", "AgentCoder"} <= {cls.__name__ for cls in METHODS}


@every_method
@pytest.mark.parametrize("calls", [1, 2, 3, 5, 8, 13, 21])
async def test_the_call_budget_is_kept_to_the_unit(method, calls):
    item = problem("zzz")
    free = session(pool(talk()), item)
    await solve(method, free, item)
    ledger = session(pool(talk()), item, budget=Budget(calls=calls))
    result = await solve(method, ledger, item)
    assert len(ledger.calls) == min(calls, len(free.calls))
    if calls < len(free.calls):
        assert result.stop_reason == "calls"


@every_method
@pytest.mark.parametrize("tokens", [20, 60, 90, 151])
async def test_the_tokens_are_kept_to_the_unit(method, tokens):
    item = problem("zzz")
    ledger = session(pool(talk()), item, budget=Budget(tokens=tokens))
    result = await solve(method, ledger, item, task=Stub(length=9))
    assert result.stop_reason == "tokens" or tokens > 60
    assert ledger.meter.tokens <= tokens
    assert len(ledger.picks) == len(ledger.calls)


@every_method
async def test_the_seconds_are_a_budget_too(method):
    item = problem("zzz")
    clock = iter(range(1000))
    meter = Meter(Budget(seconds=4), clock=lambda: float(next(clock)))
    ledger = Session(run="run", seed=0, problem=item, pool=pool(talk()), meter=meter)
    result = await solve(method, ledger, item)
    assert (result.stop_reason, len(ledger.calls)) == ("seconds", 3)


@every_method
async def test_the_same_seed_gives_the_same_records(method):
    item = problem("zzz")
    first, second = (session(pool(talk(stops=5), talk()), item) for _ in range(2))
    results = [await solve(method, ledger, item, scheduler=Uniform()) for ledger in (first, second)]
    assert trace(first, results[0]) == trace(second, results[1])


@every_method
async def test_another_seed_gives_another_tree(method):
    item = problem("zzz")
    traces = []
    for seed in range(4):
        ledger = session(pool(talk(), talk()), item, seed=seed)
        result = await solve(method, ledger, item, scheduler=Uniform())
        traces.append([node.turn.action for node in result.tree.nodes if node.turn])
    assert any(actions != traces[0] for actions in traces)


@every_method
async def test_a_problem_alone_is_solved_as_in_a_crowd(method):
    backends = AgentPool("batched", tuple(Agent(name, Batcher(ScriptedBackend(talk(stops=6)))) for name in ("A", "B")))
    items = [problem("zzz", id=f"item {number}") for number in range(6)]
    crowd = [session(backends, item) for item in items]
    together = await asyncio.gather(*(solve(method, ledger, item) for ledger, item in zip(crowd, items, strict=True)))
    for item, ledger, result in zip(items, crowd, together, strict=True):
        alone = session(pool(talk(stops=6), talk(stops=6)), item)
        assert trace(alone, await solve(method, alone, item)) == trace(ledger, result)


@every_method
async def test_a_pool_of_one_is_enough(method):
    item = problem("a" * steps(method, 3))
    result = await solve(method, session(pool(talk("a")), item), item, task=Stub(length=steps(method, 3)))
    assert result.stop_reason == "solved"
    assert result.state.reward == 1.0


@every_method
async def test_success_on_the_way_stops_the_search_and_is_the_answer(method):
    item = problem("ab")
    ledger = session(pool(talk("ab")), item, seed=3)
    result = await solve(method, ledger, item, task=Stub(length=2))
    solved = [node.id for node in result.tree.nodes if node.solved]
    assert (result.answer in solved) == bool(solved) == (result.stop_reason == "solved")


NEVER: dict[str, tuple[Script, dict, set[str]]] = {
    "nothing parses": (say(expand="hm", evaluate="hm", reflect="hm"), {}, {"exhausted", "iterations"}),
    "every end is wrong": (
        say(expand="Action: stop", evaluate="Value: 1 Confidence: 1", reflect="Lesson: no."),
        {},
        {"exhausted", "iterations", "accepted"},
    ),
    "every action is refused": (
        say(expand="Action: go nowhere", evaluate="Value: 1 Confidence: 1", reflect="Lesson: no."),
        {},
        {"exhausted", "iterations"},
    ),
    "no evaluation parses": (say(expand="Action: go a", evaluate="?", reflect=""), {}, {"exhausted", "iterations"}),
    "every reflection fails": (
        say(expand="Action: stop", evaluate="Value: 1 Confidence: 1", reflect=None),
        {},
        {"exhausted", "iterations", "accepted", "error"},
    ),
    "every evaluation fails": (
        say(expand="Action: go a", evaluate=None, reflect="Lesson: no."),
        {},
        {"exhausted", "iterations", "error"},
    ),
    "the only agent is dead": (say(expand=None, evaluate=None, reflect=None), {}, {"error", "exhausted"}),
}


@every_method
@pytest.mark.parametrize("case", NEVER)
@pytest.mark.parametrize("feedback", ["oracle", "none"])
async def test_whatever_goes_wrong_the_end_is_a_result_with_a_reason(method, case, feedback):
    script, settings, reasons = NEVER[case]
    item = problem("zzz")
    ledger = session(pool(script), item)
    result = await asyncio.wait_for(
        solve(method, ledger, item, task=Stub(length=30, feedback=feedback, **settings)), timeout=20
    )
    assert result.stop_reason in reasons - ({"accepted"} if feedback == "oracle" else set())
    assert 0 <= result.answer < len(result.tree)


@every_method
@pytest.mark.parametrize("feedback", ["oracle", "none"])
async def test_one_action_is_enough_of_a_choice(method, feedback):
    item = problem("zzzz")
    script = say(expand="Action: go a", evaluate="Value: 0.5 Confidence: 0.9", reflect="Lesson: no.")
    length = steps(method, 4)
    result = await solve(method, session(pool(script), item), item, task=Stub(length=length, feedback=feedback))
    assert result.stop_reason in ("exhausted", "iterations")
    assert result.state.data[0] == "a" * length


@pytest.mark.slow
@every_method
async def test_an_episode_may_last_a_thousand_steps(method):
    if isinstance(method, CoT):
        pytest.skip("one action")
    known = {field.name for field in dataclasses.fields(method)}
    long = {"n": 1, "depth": None, "sim_depth": 1000, "iterations": 1 if "sim_depth" in known else 1001, "trials": 1}
    item = problem("zzz")
    ledger = session(pool(talk("a")), item)
    result = await solve(
        dataclasses.replace(method, **{key: long[key] for key in long if key in known}),
        ledger,
        item,
        task=Stub(length=10_000, horizon=1000),
    )
    assert result.stop_reason in ("exhausted", "iterations")
    assert max(node.depth for node in result.tree.nodes) == 1000
    assert result.state.truncated


@every_method
async def test_with_an_empty_memory_nobody_reflects_and_every_prompt_is_without_lessons(method):
    item = problem("zzz")
    told: list[str] = []

    def script(request: Request) -> str:
        told.append(request.messages[-1].content)
        return talk(stops=4)(request)

    ledger = session(pool(script), item)
    result = await solve(method, ledger, item, memory=NoMemory())
    assert result.stop_reason in ("exhausted", "iterations")
    assert "reflect" not in {call.phase for call in ledger.calls}
    lessons = [line for prompt in told for line in prompt.splitlines() if line.startswith("lesson ")]
    assert not [line for line in lessons if not HEARD.match(line)]


@every_method
async def test_a_budget_of_the_run_is_kept_to_the_unit_by_all_its_problems(method):
    run = Meter(Budget(calls=13))
    items = [problem("zzz", id=f"item {number}") for number in range(4)]
    ledgers = [
        Session(run="run", seed=0, problem=item, pool=pool(talk()), meter=Meter(Budget(), run)) for item in items
    ]
    results = await asyncio.gather(*(solve(method, ledger, ledger.problem) for ledger in ledgers))
    assert sum(len(ledger.calls) for ledger in ledgers) == run.calls == 13
    assert "calls" in {result.stop_reason for result in results}


@every_method
async def test_the_depth_limit_may_be_reached_at_once(method):
    if "depth" not in {field.name for field in dataclasses.fields(method)}:
        pytest.skip("no depth limit")
    item = problem("zzz")
    result = await solve(dataclasses.replace(method, depth=1), session(pool(talk()), item), item)
    assert max(node.depth for node in result.tree.nodes) == 1
    assert result.stop_reason in ("exhausted", "iterations")


@every_method
async def test_one_dead_agent_of_two_ends_no_search(method):
    item = problem("a" * steps(method, 3))
    ledger = session(pool(say(expand=None, evaluate=None, reflect=None), talk("a")), item)
    result = await solve(method, ledger, item, task=Stub(length=steps(method, 3)), scheduler=RoundRobin())
    assert result.stop_reason == "solved"
    assert sum(call.error is not None for call in ledger.calls) >= 1


@every_method
async def test_a_problem_that_has_ended_at_reset_needs_no_call(method):
    class Done(Stub):
        def reset(self, problem):
            return dataclasses.replace(super().reset(problem), terminated=True, reward=0.0)

    item = problem("zzz")
    ledger = session(pool(talk()), item)
    result = await solve(method, ledger, item, task=Done())
    assert (len(ledger.calls), result.answer) == (0, 0)


@every_method
async def test_without_feedback_no_search_stops_as_solved(method):
    item = problem("aaaa")
    ledger = session(pool(talk("a")), item)
    task = Stub(length=steps(method, 4), feedback="none")
    result = await solve(method, ledger, item, task=task, memory=NoMemory())
    assert result.stop_reason != "solved"
    assert result.state.terminated


@every_method
async def test_every_call_is_a_draw_of_its_own(method):
    item = problem("zzz")
    ledger = session(pool(talk()), item)
    await solve(method, ledger, item)
    draws = [(call.node, call.phase, call.draw) for call in ledger.calls]
    assert len(draws) == len(set(draws))
