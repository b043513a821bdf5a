"""Models on devices that do not hold all of them: where each lies, who is loaded, and whose batch is next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from symphony.models.batcher import Batcher, Turns
from symphony.models.devices import Device, LocalModel, Need, candidates, together
from symphony.models.hf.backend import HFBackend
from symphony.models.scripted import ScriptedBackend
from symphony.plan.model_spec import ModelSpec
from symphony.plan.options import model
from symphony.plan.specs import Group
from symphony.records.records import WallRecord, read_records
from symphony.run.pools import PoolFactory
from symphony.run.runner import Place, run_group
from symphony.types import Completion, Request, SymphonyError
from tests.scripted_pool import Silent, one_group, records

if TYPE_CHECKING:
    Ask = Callable[..., Request]

MB = 10**6


def need(weights: int, cache: int = 0) -> Need:
    return Need(weights=weights, cache=cache)


# --------------------------------------------------------------------------- where each lies


def test_models_together_take_all_weights_and_the_largest_cache() -> None:
    assert together([need(5, 3), need(7, 1)]) == 15


# --------------------------------------------------------------------------- who is loaded


class Hall:
    """A device with scripted models, and what was loaded and unloaded in which order."""

    def __init__(self, room: float | None, weights: dict[str, int]) -> None:
        self.device = Device("cpu", room)
        self.log: list[str] = []
        self.models = {name: self._model(name, size) for name, size in weights.items()}

    def _model(self, name: str, size: int) -> LocalModel:
        class Logged(ScriptedBackend):
            def generate(inner, requests: Sequence[Request]) -> list[Completion]:
                self.log.append(f"{name} answers {len(requests)}")
                return super().generate(requests)

        def make() -> Logged:
            self.log.append(f"load {name}")
            return Logged(lambda request: f"{name} {request.draw.problem} {request.draw.index}", revision=name)

        return LocalModel(make, revision=name, need=need(size), device=self.device)

    @property
    def loads(self) -> list[str]:
        return [line.removeprefix("load ") for line in self.log if line.startswith("load")]


def test_models_that_fit_together_are_loaded_once(ask: Ask) -> None:
    hall = Hall(20, {"a": 9, "b": 9})
    for name in "abab":
        hall.models[name].generate([ask()])
    assert hall.loads == ["a", "b"]
    assert hall.device.swaps == 0


def test_without_a_limit_nothing_is_unloaded(ask: Ask) -> None:
    hall = Hall(None, {"a": 10**15, "b": 10**15})
    for name in "abab":
        hall.models[name].generate([ask()])
    assert hall.loads == ["a", "b"]


def test_the_model_that_answered_longest_ago_makes_room(ask: Ask) -> None:
    hall = Hall(20, {"a": 9, "b": 9, "c": 9})
    for name in "abac":
        hall.models[name].generate([ask()])
    assert [hall.device.holds(hall.models[name]) for name in "abc"] == [True, False, True]


def test_a_swap_is_counted_and_timed_once_however_many_models_leave(ask: Ask) -> None:
    hall = Hall(20, {"a": 9, "b": 9, "c": 19})
    for name in "abc":
        hall.models[name].generate([ask()])
    assert hall.device.swaps == 1
    assert hall.device.swap_s > 0


def test_a_model_that_does_not_fit_even_alone_is_told(ask: Ask) -> None:
    hall = Hall(2e9, {"a": 3 * 10**9})
    with pytest.raises(SymphonyError, match=r"memory_gb: found 2 GB for models on cpu, allowed: at least 3 GB"):
        hall.models["a"].generate([ask()])


def test_memory_that_runs_out_while_a_model_is_loaded_is_told(ask: Ask) -> None:
    import torch

    def make() -> ScriptedBackend:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    model = LocalModel(make, revision="a", need=need(1), device=Device("cuda:0", 5e9))
    with pytest.raises(SymphonyError, match="found 5 GB for models on cuda:0, where loading a model ran out of memory"):
        model.generate([ask()])


def test_a_loaded_model_of_another_revision_is_refused(ask: Ask) -> None:
    model = LocalModel(lambda: ScriptedBackend(["x"], revision="b"), revision="a", need=need(1), device=Device("cpu"))
    with pytest.raises(SymphonyError, match="revision: found b, allowed: a"):
        model.generate([ask()])


def test_what_a_model_learnt_of_the_memory_outlives_unloading(folders: dict[str, Path], ask: Ask) -> None:
    device = Device("cpu", 10)
    revision = HFBackend(folders["llama"]).revision
    models = [
        LocalModel(lambda: HFBackend(folders["llama"]), revision=revision, need=need(9), device=device)
        for _ in range(2)
    ]
    models[0].generate([ask()])
    assert models[0].budget is not None
    models[0].budget.tokens = 77
    models[1].generate([ask()])
    models[0].generate([ask()])
    assert device.swaps == 2
    assert models[0].budget.tokens == models[0]._model.budget.tokens == 77


# --------------------------------------------------------------------------- whose batch is next


def batchers(hall: Hall, executor: ThreadPoolExecutor | None = None) -> dict[str, Batcher]:
    turns = Turns(hall.device)
    made = {name: Batcher(model, executor=executor, turns=turns) for name, model in hall.models.items()}
    for name, batcher in made.items():
        turns.join(batcher, hall.models[name])
    return made


async def search(pool: dict[str, Batcher], ask: Ask, problem: str, order: str) -> list[str]:
    """Asks one model after another."""
    return [(await pool[name].complete(ask(problem=problem, index=step))).text for step, name in enumerate(order)]


@pytest.mark.slow
@pytest.mark.parametrize("threads", [0, 1])
async def test_a_model_answers_all_that_waits_for_it_before_another_takes_its_place(ask: Ask, threads: int) -> None:
    hall = Hall(10, {"a": 9, "b": 9})
    with ThreadPoolExecutor(1) as executor:
        pool = batchers(hall, executor if threads else None)
        texts = await asyncio.gather(search(pool, ask, "p", "aaab"), search(pool, ask, "q", "baab"))
    assert hall.loads == ["a", "b", "a", "b"]
    assert list(texts) == [["a p 0", "a p 1", "a p 2", "b p 3"], ["b q 0", "a q 1", "a q 2", "b q 3"]]


@pytest.mark.slow
async def test_many_searches_change_the_model_far_less_often_than_they_ask(ask: Ask) -> None:
    hall = Hall(10, {"a": 9, "b": 9, "c": 9})
    pool = batchers(hall)
    await asyncio.gather(*(search(pool, ask, str(n), ("abc" * 3)[n % 3 :][:6]) for n in range(12)))
    assert sum("answers" in line for line in hall.log) == len(hall.loads)
    assert len(hall.loads) <= 72 / 4


async def test_a_search_that_keeps_asking_the_loaded_model_holds_up_no_other_for_ever(ask: Ask) -> None:
    hall = Hall(10, {"a": 9, "b": 9})
    pool = batchers(hall)
    await asyncio.gather(search(pool, ask, "p", "a" * 100), search(pool, ask, "q", "ab"))
    assert 30 < hall.log.index("b answers 1") < 40
    assert sum("a answers" in line for line in hall.log) == 100


async def test_a_model_that_fits_beside_the_loaded_one_waits_for_nobody(ask: Ask) -> None:
    hall = Hall(20, {"a": 9, "b": 9, "c": 9})
    pool = batchers(hall)
    await asyncio.gather(search(pool, ask, "p", "aaaa"), search(pool, ask, "q", "b"), search(pool, ask, "r", "c"))
    assert hall.log.index("b answers 1") < 5
    assert hall.log.index("c answers 1") > hall.log.index("b answers 1")


async def test_a_cancelled_call_to_the_loaded_model_holds_up_no_other(ask: Ask) -> None:
    hall = Hall(10, {"a": 9, "b": 9})
    pool = batchers(hall)
    await pool["a"].complete(ask())
    gone = pool["a"].complete(ask(index=1))
    waits = asyncio.ensure_future(search(pool, ask, "q", "b"))
    await asyncio.sleep(0)
    gone.cancel()
    assert await asyncio.wait_for(waits, 5) == ["b q 0"]


async def test_a_failure_of_the_loaded_model_holds_up_no_other(ask: Ask) -> None:
    hall = Hall(10, {"a": 9, "b": 9})
    pool = batchers(hall)
    await pool["a"].complete(ask())
    hall.models["a"]._model._answers = []

    async def fails() -> str:
        with pytest.raises(SymphonyError, match="script: found request"):
            await pool["a"].complete(ask(index=1))
        return "failed"

    failed, texts = await asyncio.wait_for(asyncio.gather(fails(), search(pool, ask, "q", "b")), 5)
    assert (failed, texts) == ("failed", ["b q 0"])


# --------------------------------------------------------------------------- runs


def of_real_models(*overrides: str) -> Group:
    return one_group("symphony", "problems=3", "budget.problem.tokens=1500", "execution.store=live", *overrides)


def walls(group: Group, outputs: Path) -> list[WallRecord]:
    return [wall for run in group.runs for wall in read_records(outputs / "runs" / run.digest, WallRecord)]


@pytest.mark.slow
def test_a_pool_that_fits_one_model_at_a_time_leaves_the_records_of_one_that_is_all_loaded(tmp_path: Path) -> None:
    resident, swapped = of_real_models(), of_real_models("execution.memory_gb=0.005")
    assert resident.name == swapped.name
    for group, name in ((resident, "resident"), (swapped, "swapped")):
        run_group(group, Place(outputs=tmp_path / name), Silent())
    assert records(tmp_path / "resident" / "runs") == records(tmp_path / "swapped" / "runs")
    assert [wall.swaps for wall in walls(resident, tmp_path / "resident")] == [0]
    (wall,) = walls(swapped, tmp_path / "swapped")
    assert wall.swaps >= 2
    assert 0 < wall.swap_s < wall.wall_s


def test_a_limit_below_the_largest_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match=r"execution\.memory_gb: found 0.001 GB for models on cpu, allowed: "):
        run_group(of_real_models("execution.memory_gb=0.001"), Place(outputs=tmp_path), Silent())


@pytest.mark.slow
def test_memory_that_ran_out_stands_in_the_records_and_changes_no_other(tmp_path: Path) -> None:
    import torch

    def tight(spec: ModelSpec) -> HFBackend:
        backend: HFBackend = spec.build(tmp_path)

        def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if len(args[0] if args else kwargs["input_ids"]) > 2:
                raise torch.OutOfMemoryError

        backend.model.register_forward_pre_hook(before, with_kwargs=True)
        return backend

    group = of_real_models()
    run_group(group, Place(outputs=tmp_path / "free"), Silent())
    run_group(group, Place(outputs=tmp_path / "tight"), Silent(), tight)
    assert records(tmp_path / "free" / "runs") == records(tmp_path / "tight" / "runs")
    (free,), (wall,) = walls(group, tmp_path / "free"), walls(group, tmp_path / "tight")
    assert (free.halvings, free.batch_tokens) == (0, 16384)
    assert wall.halvings > 0
    assert wall.batch_tokens is not None
    assert wall.batch_tokens < 16384


def on_cards(free: dict[str, int], *overrides: str) -> dict[str, str]:
    """Agent -> device, of a pool that may lie on any card; nothing is loaded."""
    anywhere = [f"pool.agents.{name}.device=cuda" for name in ("llama", "qwen3", "neox")]
    group = of_real_models(*anywhere, *overrides)
    with PoolFactory(None, Path(), cards=lambda: free) as factory:
        pool, _ = factory.pool(group.runs[0])
        return {agent.name: agent.model.backend.backend.device.name for agent in pool.agents}  # type: ignore[attr-defined]


def test_agents_for_any_card_are_spread_over_the_cards() -> None:
    placed = on_cards({"cuda:0": 24 * 10**9, "cuda:1": 24 * 10**9, "cuda:2": 24 * 10**9})
    assert sorted(placed.values()) == ["cuda:0", "cuda:1", "cuda:2"]


def test_an_agent_s_own_card_is_kept() -> None:
    placed = on_cards({"cuda:0": 24 * 10**9, "cuda:1": 24 * 10**9}, "pool.agents.qwen3.device=cuda:1")
    assert placed["qwen3"] == "cuda:1"
    assert "cuda:0" in placed.values()


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_without_a_card_one_that_is_asked_for_is_refused(device: str) -> None:
    with pytest.raises(
        SymphonyError, match=f"device: found '{device}' on a machine with no GPU .*, allowed: auto, cpu$"
    ):
        on_cards({}, f"pool.agents.llama.device={device}")


@pytest.mark.parametrize(("free", "expected"), [({}, {"cpu"}), ({"cuda:0": 24 * 10**9}, {"cuda:0"})])
def test_the_shipped_models_lie_on_a_card_where_there_is_one_and_else_on_the_processor(
    free: dict[str, int], expected: set[str]
) -> None:
    with PoolFactory(None, Path(), cards=lambda: free) as factory:
        run = of_real_models().runs[0]
        factory.pool(run)
        assert set(factory.devices(run)) == expected


def test_every_shipped_model_is_for_any_device() -> None:
    conf = Path(__file__).parents[2] / "conf"
    specs = {path.stem: model(path.stem, conf=conf) for path in (conf / "model").glob("*.yaml")}
    assert {
        name: spec.device
        for name, spec in specs.items()
        if spec.has_weights and not spec.is_stepped and spec.device != "auto"
    } == {}


@pytest.mark.parametrize("device", ["tpu", "CUDA", "cuda:", "cuda:-1", "cuda:x", "gpu", "", "null", "3"])
def test_a_device_that_is_none_is_refused_before_anything_is_loaded(device: str) -> None:
    with pytest.raises(SymphonyError, match=r"device: found .*, allowed: "):
        of_real_models(f"pool.agents.llama.device={device or chr(39) * 2}")


def test_the_processor_is_given_without_asking_for_cards() -> None:
    def fail() -> list[str]:
        raise AssertionError

    assert candidates("cpu", fail) == ["cpu"]


@pytest.mark.parametrize("device", ["cuda:7", "tpu"])
def test_a_backend_on_a_device_that_is_not_there_is_refused(device: str, folders: dict[str, Path]) -> None:
    with pytest.raises(SymphonyError, match=f"device: found '{device}'"):
        HFBackend(folders["llama"], device=device)
