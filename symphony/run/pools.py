"""The models of a process: each is made once, on first use, and shared by the runs of a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from symphony.agents.ledger import Ledger, Purse
from symphony.agents.session import Agent, AgentPool
from symphony.models.batcher import Batcher, Turns
from symphony.models.devices import CARD, Device, LocalModel, Need, candidates, cards
from symphony.models.gguf.files import CELLS
from symphony.models.hf.backend import CACHE_TOKENS, MAX_BATCH_TOKENS
from symphony.models.placement import ALLOWANCE, needed_by, place
from symphony.models.stepper import Stepper
from symphony.models.store import CallStore, StoredBackend, StoredModel
from symphony.plan.model_spec import ModelSpec, is_endpoint, models
from symphony.plan.specs import Run
from symphony.run.serving import Servers
from symphony.types import AsyncModel, Endpoint, ModelBackend, SymphonyError

MakeBackend = Callable[[ModelSpec], ModelBackend | Endpoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCost:
    """The cost of limited memory so far.

    Attributes:
        halvings: How often memory ran out at a batch.
        batch_tokens: The smallest token limit now in force among the loaded local models; None if none was loaded.
        swaps: How often a model was loaded in place of another.
        swap_s: Seconds spent on this.
    """

    halvings: int
    batch_tokens: int | None
    swaps: int
    swap_s: float


class PoolFactory:
    """Makes the agents of runs; used as a context manager.

    A batch of a local model blocks the event loop. If there are endpoints, whose answers and timeouts go on
    meanwhile, or if models are on several devices, it is computed in a thread of its device instead.

    Args:
        store: The call store; None if every run is "live".
        data: Folder of the downloads.
        make: Makes a model that is needed; by default as the config says.
        ledger: The study's ledger, if its spending is limited or priced.
        memory_gb: Memory for models on each device, in 10^9 bytes; None means a card's free memory, and no limit
            elsewhere.
        cards: Gives free bytes by GPU; called only if a model may be placed on any of them.
    """

    def __init__(
        self,
        store: CallStore | None,
        data: Path,
        make: MakeBackend | None = None,
        *,
        ledger: Ledger | None = None,
        memory_gb: float | None = None,
        cards: Callable[[], Mapping[str, int]] = cards,
    ) -> None:
        self._store, self._data, self._make, self._ledger = store, data, make, ledger
        self._memory = float("inf") if memory_gb is None else memory_gb * 1e9
        self._ask_cards = cards
        self._free: Mapping[str, int] | None = None
        self._made: dict[ModelSpec, ModelBackend | Endpoint] = {}
        self._ready: dict[tuple[ModelSpec, str], tuple[AsyncModel, str]] = {}
        self._local: dict[ModelSpec, LocalModel] = {}
        self._devices: dict[str, Device] = {}
        self._turns: dict[str, Turns] = {}
        self._workers: dict[str, Executor] = {}
        self._stack = ExitStack()
        self._servers = self._stack.enter_context(Servers(data))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def pool(self, run: Run) -> tuple[AgentPool, dict[str, str]]:
        """Returns the run's agents, and the revision of each agent's model."""
        specs = models(run.config)
        for spec in specs.values():
            if spec not in self._made and (self._make or spec.is_endpoint):
                self._made[spec] = self._servers.behind(run, spec.settings.get("base_url"), self._new(spec))
        self._place(specs.values())
        ready = {name: self._model(spec, run.how.store, specs) for name, spec in specs.items()}
        agents = tuple(Agent(name, model, specs[name].price) for name, (model, _) in ready.items())
        return AgentPool(run.pool, agents), {name: revision for name, (_, revision) in ready.items()}

    def devices(self, run: Run) -> list[str]:
        """Returns the devices of a run's local models; `pool` must have been called for it before."""
        placed = [self._local.get(spec) for spec in models(run.config).values()]
        return [local.device.name for local in placed if local]

    def memory_cost(self) -> MemoryCost:
        """Returns the cost of limited memory so far, over all models."""
        optional = [getattr(model, "budget", None) for model in (*self._local.values(), *self._made.values())]
        budgets = [budget for budget in optional if budget is not None]
        return MemoryCost(
            halvings=sum(budget.halvings for budget in budgets),
            batch_tokens=min((budget.tokens for budget in budgets), default=None),
            swaps=sum(device.swaps for device in self._devices.values()),
            swap_s=sum(device.swap_s for device in self._devices.values()),
        )

    def _new(self, spec: ModelSpec) -> Any:
        return self._make(spec) if self._make else spec.build(self._data)

    def _place(self, specs: Iterable[ModelSpec]) -> None:
        """Places each new local model on a device; loads only models that cannot give their revision otherwise."""
        anywhere: dict[ModelSpec, int] = {}
        known: dict[ModelSpec, str] = {}
        for spec in specs:
            if spec in self._made or spec in self._local or spec in known:
                continue
            revision = spec.revision(self._data)
            if revision is None:
                self._made[spec] = self._new(spec)
                continue
            known[spec] = revision
            places = candidates(spec.device, self._cards)
            if len(places) > 1:
                anywhere[spec] = needed_by(spec.footprint(self._data))
            else:
                self._settle(spec, spec if places == [spec.device] else spec.on(places[0]), revision)
        left = {name: self._device(name).left for name in self._cards()} if anywhere else {}
        for spec, name in (place(anywhere, left) if anywhere else {}).items():
            self._settle(spec, spec.on(name), known[spec])

    def _settle(self, spec: ModelSpec, placed: ModelSpec, revision: str) -> None:
        device = self._device(placed.device)
        need = Need() if device.room is None else self._need(spec)
        self._local[spec] = LocalModel(
            partial(self._new, placed),
            revision=revision,
            need=need,
            device=device,
            make_sizing=partial(placed.sizing, self._data, revision),
        )

    def _need(self, spec: ModelSpec) -> Need:
        footprint = spec.footprint(self._data)
        settings = spec.settings
        if spec.is_stepped:  # its cache exists as long as it is loaded
            return Need(weights=footprint.weights + footprint.cache_per_token * settings.get("cells", CELLS))
        return Need(
            weights=footprint.weights,
            kept=footprint.cache_per_token * settings.get("cache_tokens", CACHE_TOKENS),
            cache=footprint.cache_per_token * settings.get("max_batch_tokens", MAX_BATCH_TOKENS),
        )

    def _cards(self) -> Mapping[str, int]:
        if self._free is None:
            self._free = self._ask_cards()
        return self._free

    def _device(self, name: str) -> Device:
        if name not in self._devices:
            room = self._memory
            if name.startswith(CARD):
                room = min(room, self._cards().get(name, float("inf"))) - ALLOWANCE
            self._devices[name] = Device(name, None if room == float("inf") else room)
        return self._devices[name]

    def _model(self, spec: ModelSpec, mode: Any, pool: Mapping[str, ModelSpec]) -> tuple[AsyncModel, str]:
        key = (spec, str(mode))
        if key in self._ready:
            return self._ready[key]
        backend: Any = self._made.get(spec)
        purse = Purse(self._ledger, spec.price) if self._ledger else None
        if is_endpoint(backend):
            model = StoredModel(
                lambda: self._check_keys(backend),
                self._store,
                mode,
                revision=backend.revision,
                purse=purse,
                sizes=backend,
            )
            self._ready[key] = (model, model.revision)
            return self._ready[key]
        local = self._local.get(spec)
        name = local.device.name if local else spec.device
        devices = {placed.device.name for placed in self._local.values()}
        beside = len(devices) > 1 or any(is_endpoint(self._made.get(other)) for other in pool.values())
        if spec.is_stepped and mode == "strict" and not spec.settings.get("exact"):
            description = "a model whose draws depend slightly on the rest of its batch"
            raise SymphonyError(
                f"execution.store: found strict for {description}, allowed: `exact: true` at every GGUF model"
            )
        if spec.is_stepped and mode != "strict" and not (local and local.device.crowded):
            stepper = Stepper(local or backend, executor=self._worker(name) if beside else None)
            kept = StoredModel(stepper, self._store, mode, purse=purse, sizes=local or backend)
            self._ready[key] = (kept, kept.revision)
            return self._ready[key]
        turns = self._turns.setdefault(name, Turns(local.device)) if local else None
        stored = StoredBackend(local or backend, self._store, mode, purse=purse)
        batcher = Batcher(stored, executor=self._worker(name) if beside else None, turns=turns)
        if local and turns:
            turns.join(batcher, local)
        self._ready[key] = (batcher, stored.revision)
        return self._ready[key]

    def _worker(self, device: str) -> Executor:
        """Returns the device's thread, made on first use."""
        if device not in self._workers:
            self._workers[device] = self._stack.enter_context(ThreadPoolExecutor(1))
        return self._workers[device]

    def _check_keys(self, endpoint: Endpoint) -> Endpoint:
        """Returns an endpoint that is now needed; if a pool lacks a key, none of its endpoints is asked anything."""
        for model in self._made.values():
            if is_endpoint(model):
                model.ready()
        return endpoint
