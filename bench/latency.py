"""Measures how close concurrent searches come to an endpoint's latency, and how much of a rate limit they use.

    python bench/latency.py [--latency 0.2] [--problems 100]

A stub endpoint (tests/stub_server.py, in a process of its own) answers every call after the same latency, so that only
our own waiting and computing is measured; it counts one token per four letters of a prompt. One run of the
quickstart on mini_qa (100 problems, all in flight) by a pool of two API agents goes through `run_group`, store
included; both processes share the machine's cores. The critical path is a problem's longest chain of successive calls
times the latency; calls that a search makes together count once.
  wall_over_critical_path  wall-clock of the run (its `wall.json`) over the critical path; goal at 1 s latency: at most
                           1.2 (at 0.2 s the client's own work, some 3 ms per call on one core, takes longer)
  share_of_rate_limit      requests per minute that arrived over the limit of 1,200 per minute, from the first to the
                           last of 300 calls requested at once; goal: at least 0.95
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import multiprocessing
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from symphony.models.api.backend import APIModel
from symphony.plan.compose import plan
from symphony.plan.model_spec import ModelSpec
from symphony.plan.specs import Group, groups
from symphony.records.records import CallRecord, WallRecord, read_records
from symphony.run.progress import watch
from symphony.run.runner import Place, run_group
from symphony.types import Completion, Draw, Message, Phase, Request, Sampling
from tests.models.test_api_runs import talk
from tests.stub_server import Asked, Reply, StubServer, said

ROOT = Path(__file__).parents[1]
LIMIT = 1200
CALLS = 300


class Chained:
    """An endpoint that counts how many calls of a problem had to follow one another."""

    def __init__(self, inner: APIModel, open_calls: collections.Counter[str], chain: collections.Counter[str]) -> None:
        self._inner, self._open, self._chain = inner, open_calls, chain
        self.revision = inner.revision

    def ready(self) -> None:
        self._inner.ready()

    async def complete(self, request: Request) -> Completion:
        problem = request.draw.problem
        if not self._open[problem]:
            self._chain[problem] += 1
        self._open[problem] += 1
        try:
            return await self._inner.complete(request)
        finally:
            self._open[problem] -= 1


def serve(latency: float, told: Any) -> None:
    """Serves an endpoint until the parent process ends it; then reports when the first and last requests arrived."""
    times: list[float] = []

    def script(asked: Asked) -> Reply:
        times.append(time.monotonic())
        letters = sum(len(message["content"]) for message in asked.body["messages"])
        return Reply(content=said(talk(asked), prompt=letters // 4, completion=12), delay_s=latency)

    with StubServer(script) as server:
        told.send(server.url)
        told.recv()
    told.send((times[0], times[-1], len(times)))


def two_agents(url: str, problems: int) -> Group:
    overrides = ("tasks=[mini_qa]", "seeds=[0]", f"problems={problems}", f"execution.in_flight={problems}")
    (group,) = groups(plan("quickstart", overrides, experiment="symphony", conf=ROOT / "conf"))
    agent = {"_target_": "symphony.models.api.backend.APIModel", "base_url": url}
    agents = [{"name": name, "model": name, **agent} for name in ("one", "two")]
    (run,) = group.runs
    return replace(group, runs=(replace(run, config={**run.config, "pool": {"agents": agents}}),))


def wall_over_critical_path(url: str, latency: float, problems: int, outputs: Path) -> float:
    open_calls: collections.Counter[str] = collections.Counter()
    chain: collections.Counter[str] = collections.Counter()

    def make(spec: ModelSpec) -> Chained:
        return Chained(spec.build(Path()), open_calls, chain)

    group = two_agents(url, problems)
    with watch() as progress:
        run_group(group, Place(outputs=outputs), progress, make)
    folder = outputs / "runs" / group.runs[0].digest
    (wall,) = read_records(folder, WallRecord)
    calls = read_records(folder, CallRecord)
    failed = sum(call.error is not None for call in calls)
    path = max(chain.values()) * latency
    print(
        f"{len(calls)} calls, {failed} failed; wall {wall.wall_s:.1f} s, CPU {wall.cpu_s:.1f} s, "
        f"critical path {path:.1f} s ({max(chain.values())} calls in a row at {latency:g} s)"
    )
    return wall.wall_s / path


def request(index: int) -> Request:
    return Request(
        messages=(Message(role="user", content="go"),),
        sampling=Sampling(temperature=1.0, max_tokens=8),
        draw=Draw(seed=0, problem="p", node=0, phase=Phase.EXPAND, index=index),
    )


def ask_at_once(url: str) -> None:
    model = APIModel(url, "m", requests_per_minute=LIMIT)

    async def together() -> None:
        await asyncio.gather(*(model.complete(request(index)) for index in range(CALLS)))

    asyncio.run(together())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds an answer takes")
    parser.add_argument("--problems", type=int, default=100)
    given = parser.parse_args()
    figures = {}
    for name in ("wall_over_critical_path", "share_of_rate_limit"):
        here, there = multiprocessing.Pipe()
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(given.latency, there))
        server.start()
        url = here.recv()
        if name == "wall_over_critical_path":
            with tempfile.TemporaryDirectory() as outputs:
                figures[name] = round(wall_over_critical_path(url, given.latency, given.problems, Path(outputs)), 3)
        else:
            ask_at_once(url)
        here.send("enough")
        first, last, count = here.recv()
        server.join()
        if name == "share_of_rate_limit":
            figures[name] = round((count - 1) / (last - first) * 60 / LIMIT, 3)
    print(json.dumps({"bench": "latency", "figures": figures}))


if __name__ == "__main__":
    main()
