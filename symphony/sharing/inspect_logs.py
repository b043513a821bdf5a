"""Runs as logs of Inspect (`.eval`), one log a run, one sample a problem.

A sample's conversation leads from the problem to the answer that was graded. Its events are, iteration by iteration,
the model calls with prompt, answer, tokens and cost, then the nodes and lessons that the iteration made. The records
have no clock times, so every event bears the time at which the run was written; `ModelOutput.time` has a call's
seconds. The right answers are not in the records, so a sample's target is empty.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from symphony.files import check_own_folder
from symphony.records.configs import read_config
from symphony.records.manifest import MANIFEST
from symphony.records.prompts import read_packs
from symphony.records.records import (
    CallRecord,
    NodeRecord,
    ProblemRecord,
    ReflectionRecord,
    RunRecord,
    TimingRecord,
    read_records,
)

_STOPPED = {"stop": "stop", "length": "max_tokens"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """The records of one problem."""

    problem: ProblemRecord
    nodes: Sequence[NodeRecord]
    calls: Sequence[tuple[CallRecord, TimingRecord]]
    lessons: Sequence[ReflectionRecord]
    prompts: Mapping[str, Sequence[Mapping[str, str]]]


def export(database: Path, folders: Sequence[Path], out: Path, say: Callable[[str], None]) -> None:
    """Writes `<run>.eval` for each run."""
    from inspect_ai.log import write_eval_log

    check_own_folder(out, [f"{folder.name}.eval" for folder in folders])
    out.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        write_eval_log(_log(folder), out / f"{folder.name}.eval", format="eval")
    say(f"{out}: {len(folders)} logs; `inspect view --log-dir {out}` shows them")


def _log(folder: Path) -> Any:
    """Returns the log of a run."""
    from inspect_ai.log import EvalLog, EvalMetric, EvalResults, EvalScore, EvalStats

    (run,) = read_records(folder, RunRecord)
    written = datetime.fromtimestamp((folder / MANIFEST).stat().st_mtime, UTC)
    searches = _searches(folder)
    successes = [search.problem.success for search in searches]
    accuracy = EvalMetric(name="accuracy", value=sum(successes) / max(1, len(successes)))
    scored = EvalScore(name="success", scorer="symphony", scored_samples=len(successes), metrics={"accuracy": accuracy})
    return EvalLog(
        status="success",
        eval=_spec(run, folder, written, [search.problem.problem for search in searches]),
        results=EvalResults(total_samples=run.problems, completed_samples=len(successes), scores=[scored]),
        stats=EvalStats(
            started_at=written.isoformat(),
            completed_at=written.isoformat(),
            model_usage=_usage(pair for search in searches for pair in search.calls),
        ),
        samples=[_sample(run, search, written) for search in searches],
    )


def _searches(folder: Path) -> list[_Search]:
    nodes, calls, lessons = defaultdict(list), defaultdict(list), defaultdict(list)
    for node in read_records(folder, NodeRecord):
        nodes[node.problem].append(node)
    timings = {(timing.problem, timing.call): timing for timing in read_records(folder, TimingRecord)}
    for call in read_records(folder, CallRecord):
        calls[call.problem].append((call, timings[call.problem, call.call]))
    for lesson in read_records(folder, ReflectionRecord):
        lessons[lesson.problem].append(lesson)
    prompts = {pack.problem: pack.read() for pack in read_packs(folder)}
    return [
        _Search(
            problem=problem,
            nodes=nodes[problem.problem],
            calls=calls[problem.problem],
            lessons=lessons[problem.problem],
            prompts=prompts.get(problem.problem, {}),
        )
        for problem in read_records(folder, ProblemRecord)
    ]


def _spec(run: RunRecord, folder: Path, written: datetime, problems: list[str]) -> Any:
    from inspect_ai.log import EvalConfig, EvalDataset, EvalRevision, EvalSpec

    commit, _, dirty = run.commit.partition("+")
    known = commit != "unknown"
    return EvalSpec(
        eval_id=run.run,
        run_id=run.run,
        created=written.isoformat(),
        task=run.task,
        task_id=run.run,
        task_args={"experiment": run.experiment, "seed": run.seed, "feedback": run.feedback, "search": run.search},
        solver=run.experiment,
        dataset=EvalDataset(name=run.task, samples=run.problems, sample_ids=problems),
        model=run.pool,
        config=EvalConfig(epochs=1, token_limit=run.token_limit),
        revision=EvalRevision(type="git", origin="", commit=commit, dirty=bool(dirty)) if known else None,
        packages=json.loads(run.versions),
        metadata={**asdict(run), "config": read_config(folder)},
    )


def _sample(run: RunRecord, search: _Search, written: datetime) -> Any:
    from inspect_ai.log import EvalSample
    from inspect_ai.model import ModelOutput
    from inspect_ai.scorer import Score

    problem = search.problem
    conversation = _conversation(search)
    answer = next((node for node in search.nodes if node.node == problem.answer_node), None)
    action = answer.action if answer else ""
    return EvalSample(
        id=problem.problem,
        epoch=1,
        uuid=f"{run.run}-{problem.problem}",
        input=conversation[0].text if conversation else problem.problem,
        target="",
        messages=conversation,
        output=ModelOutput.from_content(model=(answer and answer.agent) or run.pool, content=action),
        scores={
            "success": Score(value="C" if problem.success else "I", answer=action, explanation=problem.detail),
            "score": Score(value=problem.score),
        },
        metadata=asdict(problem),
        events=_events(run, search, written),
        model_usage=_usage(search.calls),
    )


def _conversation(search: _Search) -> list[Any]:
    """Returns the steps from the root to the answer: what the environment showed, and what agents did."""
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser

    by_number = {node.node: node for node in search.nodes}
    line, at = [], by_number.get(search.problem.answer_node)
    while at is not None:
        line.append(at)
        at = None if at.parent is None else by_number.get(at.parent)
    first = next((prompt for call, _ in search.calls if (prompt := search.prompts.get(call.prompt))), ())
    asked = first[-1]["content"] if first else search.problem.problem
    messages: list[Any] = [ChatMessageUser(id="0", content=asked)]
    for node in line[-2::-1]:
        text = f"{node.thought}\n{node.action}" if node.thought else node.action
        messages.append(ChatMessageAssistant(id=f"{node.node}a", content=text, model=node.agent))
        if node.observation:
            messages.append(ChatMessageUser(id=f"{node.node}o", content=node.observation))
    return messages


def _events(run: RunRecord, search: _Search, written: datetime) -> list[Any]:
    from inspect_ai.event import InfoEvent, SpanBeginEvent, SpanEndEvent

    made: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    asked: dict[int, list[tuple[CallRecord, TimingRecord]]] = defaultdict(list)
    for call, timing in search.calls:
        asked[call.iteration].append((call, timing))
    for node in search.nodes:
        made[node.iteration].append(("node", asdict(node)))
    for lesson in search.lessons:
        made[lesson.iteration].append(("lesson", asdict(lesson)))
    events: list[Any] = []

    def common() -> dict[str, Any]:
        return {"uuid": f"{run.run}-{search.problem.problem}-{len(events)}", "timestamp": written, "working_start": 0.0}

    for iteration in sorted({*asked, *made}):
        span = f"iteration-{iteration}"
        events.append(
            SpanBeginEvent(id=span, name=f"iteration {iteration}", type="iteration", span_id=span, **common())
        )
        for call, timing in asked[iteration]:
            events.append(_model_event(search, call, timing, span_id=span, **common()))
        for kind, record in made[iteration]:
            events.append(InfoEvent(source=f"symphony/{kind}", data=record, span_id=span, **common()))
        events.append(SpanEndEvent(id=span, span_id=span, **common()))
    return events


def _model_event(search: _Search, call: CallRecord, timing: TimingRecord, **common: Any) -> Any:
    from inspect_ai.event import ModelEvent
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        GenerateConfig,
        ModelOutput,
    )

    kinds: dict[str, Any] = {
        "system": ChatMessageSystem,
        "user": ChatMessageUser,
        "assistant": ChatMessageAssistant,
    }
    messages = search.prompts.get(call.prompt, ())
    answer = ChatMessageAssistant(id=f"c{call.call}", content=call.text, model=call.agent)
    choice = ChatCompletionChoice(message=answer, stop_reason=_STOPPED.get(call.finish_reason, "unknown"))
    return ModelEvent(
        model=call.agent,
        role=call.phase,
        input=[
            kinds[message["role"]](id=f"{call.prompt}-{at}", content=message["content"])
            for at, message in enumerate(messages)
        ],
        tools=[],
        tool_choice="none",
        config=GenerateConfig(temperature=call.temperature, seed=call.seed),
        output=ModelOutput(
            model=call.agent,
            choices=[choice],
            usage=_usage([(call, timing)])[call.agent],
            time=timing.latency_s,
            error=call.error,
        ),
        error=call.error,
        cache="read" if timing.from_store else None,
        metadata={"call": call.call, "node": call.node, "phase": call.phase, "draw": call.draw, "prompt": call.prompt},
        **common,
    )


def _usage(calls: Iterable[tuple[CallRecord, TimingRecord]]) -> dict[str, Any]:
    """Returns the tokens and dollars of each agent; cached prompt tokens are told apart, as Inspect does."""
    from inspect_ai.model import ModelUsage

    usage: dict[str, Any] = {}
    for call, timing in calls:
        cached = min(timing.cached_tokens, call.prompt_tokens)
        own = ModelUsage(
            input_tokens=call.prompt_tokens - cached,
            output_tokens=call.completion_tokens,
            total_tokens=call.prompt_tokens + call.completion_tokens,
            input_tokens_cache_read=cached,
            total_cost=call.cost,
        )
        usage[call.agent] = usage[call.agent] + own if call.agent in usage else own
    return usage
