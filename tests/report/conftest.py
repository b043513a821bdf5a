"""SYNTHETIC records, made up by a random generator for these tests only. They say nothing about any method."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from symphony.records.database import load
from symphony.records.prompts import prompt_line
from symphony.records.records import (
    AnswerRecord,
    CallRecord,
    NodeRecord,
    PickRecord,
    ProblemRecord,
    ReflectionRecord,
    RunRecord,
    TimingRecord,
    WallRecord,
)
from tests.run_writer import write_run

POOL = ["llama", "neox", "qwen3"]
TASKS = {"gridworld": ["maze", "key"], "mini_qa": ["bridge", "compare"]}

# name: (search, scheduler, scorer, memory, pool, rate of success)
METHODS: dict[str, tuple[str, str, str, str, str, float]] = {
    "symphony": ("symphony", "ucb", "emcs", "fifo", "trio", 0.8),
    "uniform": ("symphony", "uniform", "emcs", "fifo", "trio", 0.75),
    "no_memory": ("symphony", "ucb", "emcs", "none", "trio", 0.35),
    "no_emcs": ("symphony", "ucb", "plain", "fifo", "trio", 0.8),
    "single_llama": ("symphony", "ucb", "emcs", "fifo", "llama", 0.5),
    "single_neox": ("symphony", "ucb", "emcs", "fifo", "neox", 0.3),
    "lats": ("lats", "round_robin", "plain", "fifo", "trio", 0.6),
    "react": ("react", "uniform", "emcs", "none", "trio", 0.2),
    "nf4": ("symphony", "ucb", "emcs", "fifo", "trio_nf4", 0.7),
}
APART = ("nf4",)
PROMPT = "digest"
MESSAGES = ({"role": "user", "content": "Find the key.\n- Lesson: synthetic."},)
"""The one prompt of every call, and its digest."""


@dataclass
class SyntheticRun:
    """The records of one made-up run; tests may spoil them before they are written."""

    run: RunRecord
    problems: list[ProblemRecord] = field(default_factory=list)
    answers: list[AnswerRecord] | None = None
    nodes: list[NodeRecord] = field(default_factory=list)
    calls: list[CallRecord] = field(default_factory=list)
    picks: list[PickRecord] = field(default_factory=list)
    reflections: list[ReflectionRecord] = field(default_factory=list)
    timings: list[TimingRecord] = field(default_factory=list)

    def fail(self, problem: int, reasons: list[str]) -> None:
        """The first calls of a problem failed, for these reasons."""
        named = self.problems[problem].problem
        at = next(index for index, call in enumerate(self.calls) if call.problem == named)
        for index, reason in enumerate(reasons, at):
            self.calls[index] = _replace(self.calls[index], error=reason)
        self.problems[problem] = _replace(self.problems[problem], errors=len(reasons))

    def write(self, folder: Path, config: str = "synthetic: true\n") -> Path:
        wall = WallRecord(
            run=self.run.run,
            wall_s=12.5,
            cpu_s=20.0,
            generated_tokens=sum(c.completion_tokens for c in self.calls),
            halvings=0,
            batch_tokens=None,
            swaps=0,
            swap_s=0.0,
        )
        target = folder / self.run.run
        tables: list[Sequence[Any]] = [
            self.problems,
            _answers(self) if self.answers is None else self.answers,
            self.nodes,
            self.calls,
            self.picks,
            self.reflections,
            self.timings,
        ]
        prompts = [
            prompt_line(one.run, one.problem, PROMPT, [json.dumps(message) for message in MESSAGES])
            for one in self.problems
        ]
        write_run(target, self.run, tables, wall, config, prompts)
        return target


def synthetic_run(
    method: str = "symphony", task: str = "gridworld", seed: int = 1, problems: int = 6, **changed: Any
) -> SyntheticRun:
    search, scheduler, scorer, memory, pool, rate = METHODS[method]
    agents = POOL if pool.startswith("trio") else [pool]
    values: dict[str, Any] = {
        "run": f"{method}-{task}-{seed}",
        "study": "synthetic",
        "experiment": method,
        "task": task,
        "feedback": "oracle",
        "search": search,
        "scheduler": scheduler,
        "scorer": scorer,
        "memory": memory,
        "preset": "default",
        "pool": pool,
        "agents": agents,
        "models": json.dumps({a: f"sha-{a}" for a in agents}),
        "seed": seed,
        "problems": problems,
        "call_limit": None,
        "token_limit": 4000,
        "prompts": "p0",
        "dataset": f"data-{task}-{seed}",
        "commit": "0123456789abcdef",
        "versions": json.dumps({"torch": "2.13.0"}),
        "hardware": "synthetic CPU, 2 cores",
    }
    made = SyntheticRun(run=RunRecord(**(values | changed)))
    for index in range(problems):
        _add_problem(made, index, rate, TASKS[task][index % 2])
    return made


def _add_problem(made: SyntheticRun, index: int, rate: float, kind: str) -> None:
    run, problem = made.run.run, f"{made.run.task}-{index}"
    rng = random.Random(f"{run}/{problem}")
    success = rng.random() < rate
    width = 1 if made.run.search == "react" else 4
    first_call, first_node = len(made.calls), len(made.nodes)
    made.nodes.append(_node(run, problem, 0, None, 0, "root", None, 0))
    for iteration in range(rng.randint(1, 3)):
        parent = 0 if iteration == 0 else 1
        actions = [rng.choice(["go[north]", "go[south]", "take[key]", "open[door]", "wait[]"]) for _ in range(width)]
        callers = [rng.choice(made.run.agents) for _ in range(width)]
        for draw, (agent, action) in enumerate(zip(callers, actions, strict=True)):
            _call(
                made,
                problem,
                iteration,
                parent,
                "expand",
                draw,
                agent,
                f"Thought: try it. Action: {action}",
                first_call,
            )
        for action in dict.fromkeys(actions):
            node = len(made.nodes) - first_node
            agent = callers[actions.index(action)]
            made.nodes.append(_node(run, problem, node, parent, iteration + 1, "expand", agent, iteration, action, rng))
            judge = rng.choice(made.run.agents)
            _call(made, problem, iteration, node, "evaluate", 0, judge, "Value: 0.7 Confidence: 0.6", first_call)
    answer = len(made.nodes) - first_node - 1
    if success:
        made.nodes[-1] = _replace(made.nodes[-1], solved=True, terminal=True, reward=1.0)
    made.reflections.append(
        ReflectionRecord(
            run=run,
            problem=problem,
            reflection=0,
            iteration=0,
            node=1,
            agent=made.run.agents[0],
            key="k",
            text="Lesson: synthetic.",
        )
    )
    calls = made.calls[first_call:]
    made.problems.append(
        ProblemRecord(
            run=run,
            problem=problem,
            index=index,
            kind=kind,
            success=success,
            score=1.0 if success else rng.choice([0.0, 0.4]),
            detail="",
            stop_reason="solved" if success else rng.choice(["iterations", "exhausted"]),
            iterations=calls[-1].iteration + 1,
            nodes_tree=len(made.nodes) - first_node - 1,
            nodes_simulated=0,
            guesses=1,
            calls=len(calls),
            prompt_tokens=sum(c.prompt_tokens for c in calls),
            completion_tokens=sum(c.completion_tokens for c in calls),
            cost=sum(c.cost or 0.0 for c in calls),
            unparsed=0,
            invalid=rng.randint(0, 2),
            fallbacks=0,
            errors=0,
            answer_node=answer,
        )
    )


def _answers(made: SyntheticRun) -> list[AnswerRecord]:
    """Nothing at first, then the graded answer once every call was made."""
    return [
        AnswerRecord(
            run=one.run,
            problem=one.problem,
            calls=calls,
            tokens=tokens,
            node=node,
            success=success,
            score=one.score if success else 0.0,
        )
        for one in made.problems
        for calls, tokens, node, success in (
            (0, 0, 0, False),
            (one.calls, one.prompt_tokens + one.completion_tokens, one.answer_node, one.success),
        )
    ]


def _replace(record: Any, **changed: Any) -> Any:
    import dataclasses

    return dataclasses.replace(record, **changed)


def _node(
    run: str,
    problem: str,
    node: int,
    parent: int | None,
    depth: int,
    origin: str,
    agent: str | None,
    iteration: int,
    action: str = "",
    rng: random.Random | None = None,
) -> NodeRecord:
    value = None if rng is None else round(rng.random(), 1)
    return NodeRecord(
        run=run,
        problem=problem,
        node=node,
        parent=parent,
        depth=depth,
        origin=origin,
        agent=agent,
        iteration=iteration,
        thought="try it" if rng else "",
        action=action,
        observation="You see a wall.\nAnd <a door>.",
        value=value,
        confidence=None if value is None else 0.6,
        prior=None if value is None else value * 0.3269,
        fallback=False,
        visits=1,
        value_sum=0.2,
        reward=None,
        terminal=False,
        solved=False,
        invalid=False,
        closed=False,
    )


def _call(
    made: SyntheticRun,
    problem: str,
    iteration: int,
    node: int,
    phase: str,
    draw: int,
    agent: str,
    text: str,
    first: int,
) -> None:
    call = len(made.calls) - first
    made.calls.append(
        CallRecord(
            run=made.run.run,
            problem=problem,
            call=call,
            iteration=iteration,
            node=node,
            phase=phase,
            draw=draw,
            agent=agent,
            temperature=0.8,
            seed=7,
            prompt=PROMPT,
            dropped_lessons=0,
            dropped_shots=0,
            prompt_tokens=100 + 10 * iteration,
            completion_tokens=12,
            cost=0.0,
            finish_reason="stop",
            text=text,
            error=None,
        )
    )
    made.timings.append(
        TimingRecord(run=made.run.run, problem=problem, call=call, latency_s=0.01, cached_tokens=0, from_store=False)
    )
    made.picks.append(
        PickRecord(
            run=made.run.run,
            problem=problem,
            pick=call,
            iteration=iteration,
            node=node,
            phase=phase,
            agent=agent,
            counts=[0] * len(made.run.agents),
            means=[0.0] * len(made.run.agents),
            bonuses=[1.0] * len(made.run.agents),
        )
    )


@pytest.fixture
def make_run() -> Callable[..., SyntheticRun]:
    return synthetic_run


@pytest.fixture(scope="session")
def plan_json(tmp_path_factory: pytest.TempPathFactory) -> Path:
    titles = {
        "symphony": "SYMPHONY",
        "uniform": "without scheduling (uniform)",
        "no_memory": "without memory",
        "no_emcs": "without EMCS",
        "single_llama": "only llama",
        "single_neox": "only neox",
        "lats": "LATS",
        "nf4": "SYMPHONY with NF4 weights",
    }
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    experiments = {
        name: {"title": title, "question": f"What of {title}?", "table": "quantisation" if name in APART else ""}
        for name, title in titles.items()
    }
    claim = {"claim": "SYMPHONY beats LATS", "source": "synthetic", "better": "symphony", "than": "lats"}
    claims = [{**claim, "least": 0.0, "within": None, "task": None}]
    path.write_text(json.dumps({"experiments": experiments, "claims": claims}))
    return path


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantised") / "llama-nf4" / "manifest.json"
    path.parent.mkdir()
    path.write_text(
        json.dumps(
            {
                "scheme": "nf4",
                "source_bytes": 4_000_000,
                "target_bytes": 1_000_000,
                "relative_logit_error": 0.08,
                "top1_agreement": None,
            }
        )
    )
    return path


@pytest.fixture(scope="session")
def synthetic_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every method on two tasks with two seeds; what stands apart with one seed."""
    folder = tmp_path_factory.mktemp("synthetic")
    runs = [
        synthetic_run(method, task, seed, problems=20)
        for method in METHODS
        for task in TASKS
        for seed in ((1,) if method in APART else (1, 2))
    ]
    runs[0].fail(0, ["timeout: no answer within 60 s"])
    load(folder / "study.duckdb", [run.write(folder / "runs") for run in runs])
    return folder / "study.duckdb"
