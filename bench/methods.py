"""Measures the planning cost of every option under conf/search, and what several iterations at once distort.

    python bench/methods.py

**Planner's time.** CPU time of this process per model call, the best of `REPEATS` runs: search, scheduler, scorer,
memory, batcher and every record made, for `PROBLEMS` concurrent problems with `CALLS` calls each. The models answer
at once from a script (tests/stub.py); its own time and that of the stub environment are included. Settings are those
of conf/search under `preset: embedded`.

**Iterations at once** (`parallel: k` of Symphony). A sequential search of a known tree is stopped before each iteration
and asked which k leaves it would take at once:
  parallel_k_last_leaf_differs   share of these whose k-th leaf is not the leaf of the k-th iteration from there
  parallel_k_leaves_unwanted     share of their leaves that none of these k iterations selects
In the known trees each child's true value is its parent's, moved by up to 0.3; the evaluator reads it with an error of
up to 0.2. Then whole searches run in a word-guessing environment, with an evaluator that knows the share of correct
letters to within 0.3, at equal iterations:
  parallel_k_solved              share of problems solved
  parallel_k_rounds              batches of calls that a problem waits for, one after another
  halving_solved                 share solved, one iteration after another, with sequential halving at the root

**AB-MCTS beside TreeQuest**, which makes its decisions: CPU time per decision, averaged over a tree that grows to k
attempts of three models with random scores.
  ab_mcts_a_us_per_decision_to_k    as the search asks and tells, saving the process's random generators each time
  treequest_a_us_per_decision_to_k  `ask` and `tell` of TreeQuest's ABMCTSA alone
  treequest_a_us_per_call           its share of us_per_call_ab_mcts_a: a tree with as many attempts as a problem had
  treequest_m_s_per_decision_to_k   seconds of ABMCTSM alone, once; only if the extra `ab-mcts-m` is installed
  us_per_call_ab_mcts_m             then also the time per call as for the others, but of one problem, once
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

import treequest

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.search_core import DEPTH, STATE, TURN, cpu_seconds, records
from symphony.agents.budget import Budget, Meter
from symphony.agents.memory import NoMemory, PoolFifo
from symphony.agents.scheduler import UCB
from symphony.agents.scorer import EMCS, Plain
from symphony.agents.session import Agent, AgentPool, Session
from symphony.models.batcher import Batcher
from symphony.models.scripted import ScriptedBackend
from symphony.plan.compose import plan
from symphony.plan.specs import build
from symphony.run.garbage import rare_collections
from symphony.search.halving import RootRule
from symphony.search.methods.ab_mcts import Attempt, Planner
from symphony.search.result import Search, SearchResult
from symphony.search.symphony import Symphony
from symphony.search.tree import Tree
from symphony.types import Completion, Phase, Request
from tests.stub import Stub, problem, talk

CONF = Path(__file__).parents[1] / "conf"
REPEATS = 5
PROBLEMS, CALLS = 16, 100
ITERATIONS = 24
AT_ONCE = (1, 2, 4, 8)
ATTEMPTS = (10, 30, 100, 300)
ATTEMPTS_M = 6

# --------------------------------------------------------------------------- the planner's own time


def methods() -> dict[str, Search]:
    """Returns every search option by name, with the settings of its file."""
    found = {}
    for path in sorted((CONF / "search").glob("*.yaml")):
        overrides = (f"search={path.stem}", "tasks=[gridworld]", "seeds=[0]")
        (run,) = plan("quickstart", overrides, experiment="symphony", conf=CONF)
        found[path.stem] = build(run.config).search
    return found


def crowd(method: Search, problems: int = PROBLEMS) -> list[tuple[Session, SearchResult]]:
    agents = AgentPool("bench", tuple(Agent(name, Batcher(ScriptedBackend(talk("abcdefgh")))) for name in "ABC"))
    task = Stub(length=8)

    async def one(number: int) -> tuple[Session, SearchResult]:
        item = problem("x" * 8, id=f"item {number}")
        session = Session(run="bench", seed=0, problem=item, pool=agents, meter=Meter(Budget(calls=CALLS)))
        result = await method.solve(item, task=task, session=session, scheduler=UCB(), scorer=EMCS(), memory=PoolFifo())
        return session, result

    async def all_of_them() -> list[tuple[Session, SearchResult]]:
        return await asyncio.gather(*(one(number) for number in range(problems)))

    return asyncio.run(all_of_them())


def microseconds_a_call(name: str, method: Search) -> float:
    done = crowd(method)
    calls = sum(len(session.calls) for session, _ in done)
    nodes = sum(len(result.tree) - 1 for _, result in done)
    cost = 1e6 * cpu_seconds(lambda: records(crowd(method)), REPEATS) / calls
    print(f"{name:>20}: {cost:6.1f} microseconds a call ({calls / PROBLEMS:5.1f} calls, {nodes / PROBLEMS:5.1f} nodes)")
    return cost


# --------------------------------------------------------------------------- leaves taken at once


def leaves_compared(at_once: int, trees: int = 200, branching: int = 4) -> tuple[float, float]:
    """Returns the share of batches whose last leaf differs, and of leaves that sequential selection does not choose."""
    batches = last = unwanted = 0
    for seed in range(trees):
        planned, actual = one_tree(seed, at_once, branching)
        for start in range(len(actual) - at_once + 1):
            wanted = actual[start : start + at_once]
            taken = planned[start]
            batches += 1
            last += taken[-1:] != wanted[-1:] or len(taken) < at_once
            unwanted += len(set(taken) - set(wanted))
    return last / batches, unwanted / (batches * at_once)


def one_tree(seed: int, at_once: int, branching: int) -> tuple[list[Sequence[int]], list[int]]:
    """Returns the leaves that each iteration would take at once, and the leaf that it took."""
    rng = random.Random(seed)
    method = Symphony()
    tree = Tree(STATE)
    truth = [0.5]
    planned: list[Sequence[int]] = []
    actual: list[int] = []
    for iteration in range(ITERATIONS):
        planned.append(method.leaves(tree, at_once))
        leaves = method.leaves(tree, 1)
        if not leaves:
            break
        (leaf,) = leaves
        actual.append(leaf)
        closed = tree[leaf].depth + 1 >= DEPTH
        for agent in range(branching):
            id = tree.add(
                leaf, turn=TURN, state=STATE, agent=agent, origin="expand", iteration=iteration, closed=closed
            )
            truth.append(min(1.0, max(0.0, truth[leaf] + rng.uniform(-0.3, 0.3))))
            tree[id].prior = min(1.0, max(0.0, truth[id] + rng.uniform(-0.2, 0.2)))
        best = max(tree[leaf].children, key=lambda id: tree[id].prior or 0.0)
        tree.backup(best, tree[best].prior or 0.0)
        tree.settle(leaf)
    return planned, actual


# --------------------------------------------------------------------------- whole searches at equal iterations


@dataclass(slots=True)
class Counted:
    """A scripted backend that counts its batches."""

    inner: ScriptedBackend
    revision: str = "counted"
    batches: int = field(default=0)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        self.batches += 1
        return self.inner.generate(requests)


def guesser(target: str) -> ScriptedBackend:
    """Returns a backend that proposes any letter and values a word by its share of correct letters, to within 0.3."""
    draw = talk("abcd")

    def answer(request: Request) -> str:
        if request.draw.phase in (Phase.EXPAND, Phase.SIM_EXPAND):
            return draw(request)
        word = request.messages[-1].content.rpartition(" ")[2]
        right = sum(a == b for a, b in zip(word, target, strict=False)) / max(1, len(word))
        error = random.Random(request.draw.rng_seed()).uniform(-0.3, 0.3)
        return f"Value: {min(1.0, max(0.0, right + error)):.3f} Confidence: 1"

    return ScriptedBackend(answer)


def searches(*, parallel: int = 1, root: RootRule = "uct", problems: int = 600, length: int = 5) -> tuple[float, float]:
    """Returns the share of problems solved, and the batches of calls that a problem waits for."""
    method = Symphony(iterations=ITERATIONS, depth=None, sim_width=1, sim_depth=length, parallel=parallel, root=root)
    solved = rounds = 0
    for number in range(problems):
        target = "".join(random.Random(number).choices("abcd", k=length))
        backend = Counted(guesser(target))
        item = problem(target, id=f"item {number}")
        pool = AgentPool("bench", (Agent("A", Batcher(backend)),))
        session = Session(run="bench", seed=0, problem=item, pool=pool, meter=Meter(Budget()))
        task = Stub(length=length)
        result = asyncio.run(
            method.solve(item, task=task, session=session, scheduler=UCB(), scorer=Plain(), memory=NoMemory())
        )
        solved += result.stop_reason == "solved"
        rounds += backend.batches
    return solved / problems, rounds / problems


# --------------------------------------------------------------------------- AB-MCTS beside TreeQuest


def grow(algorithm: treequest.Algorithm, attempts: int) -> None:
    """Asks and tells TreeQuest alone until the tree has that many attempts."""
    scores = random.Random(0)
    state = algorithm.init_tree()
    for _ in range(attempts):
        state, trial = algorithm.ask(state, ["A", "B", "C"])
        state = algorithm.tell(state, trial.trial_id, (trial, scores.random()))


def grow_ours(attempts: int) -> None:
    scores = random.Random(0)
    planner = Planner("a", "thompson", ["A", "B", "C"], random.Random(0))
    for _ in range(attempts):
        trial = planner.ask()
        planner.tell(trial, Attempt(0, trial.refines), scores.random())


def adaptive() -> dict[str, float]:
    figures = {}
    for attempts in ATTEMPTS:
        repeats = max(1, 100 // attempts)
        ours = 1e6 * cpu_seconds(lambda attempts=attempts: grow_ours(attempts), repeats) / attempts
        bare = 1e6 * cpu_seconds(lambda attempts=attempts: grow(treequest.ABMCTSA(), attempts), repeats) / attempts
        print(f"AB-MCTS-A to {attempts} attempts: {ours:,.0f} microseconds a decision, TreeQuest alone {bare:,.0f}")
        figures[f"ab_mcts_a_us_per_decision_to_{attempts}"] = round(ours)
        figures[f"treequest_a_us_per_decision_to_{attempts}"] = round(bare)
    done = crowd(methods()["ab_mcts_a"])
    calls = sum(len(session.calls) for session, _ in done)
    sizes = [result.iterations for _, result in done]
    share = 1e6 * cpu_seconds(lambda: [grow(treequest.ABMCTSA(), size) for size in sizes]) / calls
    print(f"TreeQuest's share of a call of ab_mcts_a: {share:.1f} microseconds ({sum(sizes) / PROBLEMS:.1f} attempts)")
    figures["treequest_a_us_per_call"] = round(share, 1)
    if find_spec("pymc"):
        start = time.process_time()
        grow(treequest.ABMCTSM(), ATTEMPTS_M)
        seconds = (time.process_time() - start) / ATTEMPTS_M
        print(f"AB-MCTS-M to {ATTEMPTS_M} attempts: TreeQuest alone {seconds:.1f} CPU-seconds a decision")
        figures[f"treequest_m_s_per_decision_to_{ATTEMPTS_M}"] = round(seconds, 1)
        start = time.process_time()
        ((session, _),) = crowd(replace(methods()["ab_mcts_m"], n=ATTEMPTS_M), 1)
        cost = 1e6 * (time.process_time() - start) / len(session.calls)
        print(f"ab_mcts_m: {cost:,.0f} microseconds a call ({len(session.calls)} calls, {ATTEMPTS_M} attempts at most)")
        figures["us_per_call_ab_mcts_m"] = round(cost)
    return figures


def main() -> None:
    figures: dict[str, float] = {}
    with rare_collections():
        for name, method in methods().items():
            if name == "ab_mcts_m":  # separately, since its decisions take seconds
                continue
            figures[f"us_per_call_{name}"] = round(microseconds_a_call(name, method), 1)
        for at_once in AT_ONCE:
            last, unwanted = leaves_compared(at_once)
            solved, rounds = searches(parallel=at_once)
            print(
                f"{at_once} at once: the last leaf differs in {last:.3f} of the batches, {unwanted:.3f} of the leaves "
                f"are unwanted; {solved:.3f} solved in {ITERATIONS} iterations, {rounds:.1f} rounds a problem"
            )
            figures[f"parallel_{at_once}_last_leaf_differs"] = round(last, 3)
            figures[f"parallel_{at_once}_leaves_unwanted"] = round(unwanted, 3)
            figures[f"parallel_{at_once}_solved"] = round(solved, 3)
            figures[f"parallel_{at_once}_rounds"] = round(rounds, 1)
        halving, _ = searches(root="sequential_halving")
        print(f"sequential halving at the root: {halving:.3f} solved in {ITERATIONS} iterations")
        figures["halving_solved"] = round(halving, 3)
        figures |= adaptive()
    print(json.dumps({"bench": "methods", "figures": figures}))


if __name__ == "__main__":
    main()
