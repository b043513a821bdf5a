"""Measures the speed and size of the search core, next to TreeQuest's StandardMCTS in the same run.

    python bench/search_core.py

Rates are nodes per second of this process's CPU time, the best of `REPEATS` runs: other load can only slow a run down.
Sizes take turns, so that a slow minute affects all alike. The cyclic garbage collector is on, as the runner sets it
for every run (`symphony.run.garbage.rare_collections`); the cost of a node at 10^5 against 10^3 is also shown with
Python's own setting, under which the collector's passes over the live tree make a node of a large tree about 1.5 times
as expensive. Core trees are full trees of depth 5 whose branching grows with their size (4, 6 and 10 children: 1,364,
9,330 and 111,110 nodes), so that the cost of a node is comparable between sizes: a walk costs depth times branching and
adds as many nodes as the branching, whatever the size. Nodes at depth 5 are closed, which exercises closing as well.
TreeQuest's StandardMCTS runs without the collector, which favours it. The whole loop is `Symphony.solve` on a stub
environment with a scripted pool that answers at once (tests/stub.py), batchers, records made and written: no model and
no benchmark is behind it, so only our own overhead is measured.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import treequest

sys.path.insert(0, str(Path(__file__).parent.parent))

from symphony.agents.budget import Budget, Meter
from symphony.agents.memory import PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import EMCS
from symphony.agents.session import Agent, AgentPool, Session
from symphony.models.batcher import Batcher
from symphony.models.scripted import ScriptedBackend
from symphony.records.recorder import Recorder
from symphony.records.records import RunRecord, WallRecord
from symphony.run.garbage import rare_collections
from symphony.search.result import SearchResult, answer_records, node_records, problem_record
from symphony.search.symphony import Symphony
from symphony.search.tree import Tree
from symphony.types import Grade, Score, State, Turn
from tests.stub import Stub, problem, talk

DEPTH = 5
BRANCHING = {1_000: 4, 10_000: 6, 100_000: 10}
REPEATS = 5
STATE = State(observation="")
TURN = Turn(thought="", action="", observation="")


def build(nodes: int, branching: int, depth: int = DEPTH) -> Tree:
    """Selects, adds children with random values, backs up the best: the work of one search without its agents."""
    rng = random.Random(0)
    tree = Tree(STATE)
    while len(tree) < nodes:
        leaf = tree.select(2.0, "inf")
        if leaf is None:
            break
        closed = tree[leaf].depth + 1 >= depth
        best, best_prior = leaf, -1.0
        for agent in range(branching):
            id = tree.add(leaf, turn=TURN, state=STATE, agent=agent, origin="expand", iteration=1, closed=closed)
            tree[id].prior = prior = rng.random()
            if prior > best_prior:
                best, best_prior = id, prior
        tree.backup(best, best_prior)
        tree.settle(leaf)
    return tree


def cpu_seconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Returns the smallest CPU-seconds of one call."""
    times = []
    for _ in range(repeats):
        gc.collect()
        start = time.process_time()
        result = work()
        times.append(time.process_time() - start)
        del result
    return min(times)


def core_rates() -> dict[int, float]:
    """Measures nodes per CPU-second by size of the tree; the sizes take turns."""
    made = {nodes: len(build(nodes, branching)) - 1 for nodes, branching in BRANCHING.items()}
    seconds = dict.fromkeys(BRANCHING, math.inf)
    for _ in range(2 * REPEATS):
        for nodes, branching in BRANCHING.items():
            times = max(1, 20_000 // nodes)  # small trees several times, because the clock is coarse

            def work(nodes: int = nodes, branching: int = branching, times: int = times) -> None:
                for _ in range(times):
                    build(nodes, branching)

            seconds[nodes] = min(seconds[nodes], cpu_seconds(work, repeats=1) / times)
    rates = {nodes: made[nodes] / seconds[nodes] for nodes in BRANCHING}
    for nodes, branching in BRANCHING.items():
        print(f"core, {branching} children, depth {DEPTH}: {made[nodes]:7,} nodes, {rates[nodes]:9,.0f} a CPU-second")
    return rates


def bytes_per_node() -> float:
    gc.collect()
    tracemalloc.start()
    tree = build(10_000, BRANCHING[10_000])
    bare = tracemalloc.get_traced_memory()[0] / len(tree)
    for node in tree.nodes:  # a node's data in a real search, without its texts
        node.turn, node.state = Turn(thought="", action="", observation=""), State(observation="")
        node.score = Score(value=random.random(), confidence=random.random(), modulated=random.random())
    size = tracemalloc.get_traced_memory()[0] / len(tree)
    tracemalloc.stop()
    print(f"memory: {size:.0f} bytes a node without texts ({bare:.0f} also without turn, state and score)")
    return size


# --------------------------------------------------------------------------- TreeQuest


def treequest_rates() -> dict[str, float]:
    """Measures nodes per CPU-second of StandardMCTS for 10^4 nodes, one mode per key; samples the default step."""
    rates: dict[str, float] = {}
    gc.collect()
    gc.disable()
    for mode in ("ask/tell", "step in place"):
        rng = random.Random(0)
        algorithm = treequest.StandardMCTS(samples_per_action=4)
        state = algorithm.init_tree()
        generate = {"a": lambda parent, rng=rng: ("", rng.random())}
        start = time.process_time()
        for _ in range(10_000):
            if mode == "ask/tell":
                state, trial = algorithm.ask(state, ["a"])
                state = algorithm.tell(state, trial.trial_id, generate["a"](trial.parent_state))
            else:
                state = algorithm.step(state, generate, inplace=True)
        rates[mode] = 10_000 / (time.process_time() - start)
        print(f"treequest StandardMCTS, {mode}: {rates[mode]:9,.0f} nodes a CPU-second to 10^4 nodes")
    gc.enable()  # a copied tree does hold cycles
    steps = 5
    start = time.process_time()
    for _ in range(steps):
        state = algorithm.step(state, generate)
    at_end = steps / (time.process_time() - start)
    # The default step copies the whole tree, so its cost grows with the tree: the mean rate over the build is twice the
    # rate at its end.
    rates["default step"] = 2 * at_end
    print(
        f"treequest StandardMCTS, default step: {at_end:9,.1f} nodes a CPU-second at 10^4 nodes ({steps} steps timed)"
    )
    return rates


# --------------------------------------------------------------------------- the whole loop


def crowd(problems: int, iterations: int) -> list[tuple[Session, SearchResult]]:
    method = Symphony(n=4, iterations=iterations, depth=8, first_visit="inf", sim_depth=4)
    agents = AgentPool("bench", tuple(Agent(name, Batcher(ScriptedBackend(talk("abcdefgh")))) for name in "ABC"))
    task = Stub(length=20)

    async def one(number: int) -> tuple[Session, SearchResult]:
        item = problem("x" * 20, id=f"item {number}")
        session = Session(run="bench", seed=0, problem=item, pool=agents, meter=Meter(Budget()))
        result = await method.solve(item, task=task, session=session, scheduler=UCB(), scorer=EMCS(), memory=PoolFifo())
        return session, result

    async def all_of_them() -> list[tuple[Session, SearchResult]]:
        return await asyncio.gather(*(one(number) for number in range(problems)))

    return asyncio.run(all_of_them())


def records(done: list[tuple[Session, SearchResult]]) -> list[list[Sequence[Any]]]:
    """Returns the tables of each problem."""
    grade = Grade(success=False, score=0.0)
    made: list[list[Sequence[Any]]] = []
    for index, (session, result) in enumerate(done):
        answers = result.answers(session.stood)
        made.append(
            [
                [problem_record(index, session, result, grade)],
                answer_records(session, answers, {answer.node: grade for answer in answers}),
                node_records(session, result.tree),
                session.calls,
                session.picks,
                session.reflections,
                session.timings,
            ]
        )
    return made


def whole_loop() -> tuple[float, float]:
    """Measures rates with and without writing to disk: search, scheduler, scorer, memory, batcher, all records made."""
    made = 0

    def work() -> None:
        nonlocal made
        made = sum(len(nodes) - 1 for _, _, nodes, *_ in records(crowd(problems=16, iterations=10)))

    seconds = cpu_seconds(work)
    rate = made / seconds
    print(f"whole loop, 16 problems of 10 iterations, records made: {made:6,} nodes, {rate:7,.0f} nodes a CPU-second")
    tables = records(crowd(problems=16, iterations=10))
    calls = sum(len(calls) for _, _, _, calls, *_ in tables)
    run = RunRecord(**{name: _any(hint) for name, hint in RunRecord.__annotations__.items()})
    wall = WallRecord(
        run="bench", wall_s=0.0, cpu_s=0.0, generated_tokens=0, halvings=0, batch_tokens=None, swaps=0, swap_s=0.0
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench"

        def write() -> None:
            with Recorder(path) as recorder:
                for index, some in enumerate(tables):
                    recorder.add(index, *some)
                recorder.finish(run, wall, "")

        writing = cpu_seconds(write, repeats=3)
    written = made / (seconds + writing)
    print(
        f"whole loop, records written to disk too: {written:7,.0f} nodes a CPU-second "
        f"({calls:,} calls; {1e6 * seconds / made:.0f} + {1e6 * writing / made:.0f} microseconds a node)"
    )
    return written, rate


def _any(hint: object) -> Any:
    return {"str": "x", "int": 0}.get(str(hint), ["x"])


def main() -> None:
    print("garbage collector as Python sets it:")
    default = core_rates()
    print("garbage collector as the runner sets it:")
    with rare_collections():
        rates = core_rates()
        deep = len(build(10_000, 4, depth=30)) - 1
        rate = deep / cpu_seconds(lambda: build(10_000, 4, depth=30))
        print(f"core, 4 children, depth up to 30: {deep:6,} nodes, {rate:9,.0f} a CPU-second (for information)")
        size = bytes_per_node()
        written, unwritten = whole_loop()
    rivals = treequest_rates()
    figures = {
        "nodes_per_cpu_s_1e3": round(rates[1_000]),
        "nodes_per_cpu_s_1e4": round(rates[10_000]),
        "nodes_per_cpu_s_1e5": round(rates[100_000]),
        "bytes_per_node": round(size),
        "whole_loop_nodes_per_cpu_s": round(written),
        "ratio_to_treequest_1e4": round(rates[10_000] / max(rivals.values()), 1),
        "cost_1e5_over_1e3": round(rates[1_000] / rates[100_000], 2),
        "cost_1e5_over_1e3_default_collector": round(default[1_000] / default[100_000], 2),
        "whole_loop_unwritten_nodes_per_cpu_s": round(unwritten),
    }
    print(f"at 10^4 nodes core is {figures['ratio_to_treequest_1e4']} times as fast as treequest's best mode")
    print(f"a node costs {figures['cost_1e5_over_1e3']} times as much at 10^5 nodes as at 10^3 (goal: at most 1.5)")
    print(json.dumps({"bench": "search_core", "figures": figures}))


if __name__ == "__main__":
    main()
