"""Local models and the devices that hold them: which device each model is on, and which models are loaded."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from symphony.models.hf.batching import TokenBudget, ran_out, release
from symphony.models.sizes import Size, Sizing, sizing
from symphony.types import Completion, ModelBackend, Request, SymphonyError

AUTO, CPU, CARD = "auto", "cpu", "cuda"
_DEVICE_FILES = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg")  # of CUDA (also on Tegra), ROCm and WSL


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a model takes of its device's memory, in bytes.

    Attributes:
        weights: Memory for its weights, as long as it is loaded.
        kept: Memory for results of earlier calls, as long as it is loaded; less if there is less room.
        cache: Cache of its largest batch while it answers; only one model of a device answers at a time.
    """

    weights: int = 0
    kept: int = 0
    cache: int = 0


def cards() -> dict[str, int]:
    """Returns the free bytes of each GPU that torch can use, in torch's order."""
    if not any(next(Path("/dev").glob(name), None) for name in _DEVICE_FILES):
        return {}  # importing torch would take seconds; a run from the call store needs no torch
    import torch

    return {f"cuda:{number}": torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())}


def check_device(device: Any) -> None:
    """Raises SymphonyError if the text is not the name of a device, whether or not this machine has it."""
    if not isinstance(device, str) or not re.fullmatch(f"{AUTO}|{CPU}|{CARD}(:[0-9]+)?", device):
        allowed = f"{AUTO} (a GPU if there is one, else the CPU), {CPU}, {CARD} (any GPU) or {CARD}:<number>"
        raise SymphonyError(f"device: found {device!r}, allowed: {allowed}")


def candidates(device: str, cards: Callable[[], Iterable[str]]) -> list[str]:
    """Where a model for `device` may lie: the CPU, one GPU, or any of them.

    Args:
        device: See `check_device`.
        cards: Names of this machine's GPUs; asked only where it matters.

    Raises:
        SymphonyError: This machine has no such GPU.
    """
    check_device(device)
    if device == CPU:
        return [CPU]
    available = list(cards())
    matching = [card for card in available if device in (AUTO, CARD, card)]
    if not matching and device != AUTO:
        raise SymphonyError(
            f"device: found {device!r} on a machine with {', '.join(available) or 'no GPU that torch can use'}, "
            f"allowed: {', '.join([AUTO, CPU, *([CARD] if available else []), *available])}"
        )
    return matching or [CPU]


def together(needs: Sequence[Need]) -> int:
    """Returns the bytes that models take of one device when all are loaded and one answers."""
    return sum(need.weights + need.kept for need in needs) + max((need.cache for need in needs), default=0)


class Device:
    """A device with the models placed on it, some of which are loaded.

    Args:
        name: The device's name in torch.
        room: Bytes for weights and caches; None means no limit.

    Attributes:
        swaps: How often models were unloaded so that another could be loaded.
        swap_s: Seconds spent on this, including the loading.
    """

    def __init__(self, name: str, room: float | None = None) -> None:
        self.name, self.room = name, room
        self.swaps, self.swap_s = 0, 0.0
        self._models: list[LocalModel] = []
        self._loaded: list[LocalModel] = []  # the model that answered last is last

    @property
    def left(self) -> float:
        """Bytes left beside its models' weights; below 0 if they do not fit together."""
        room = float("inf") if self.room is None else self.room
        return room - sum(model.need.weights for model in self._models)

    @property
    def crowded(self) -> bool:
        """Whether its models cannot all be loaded together."""
        return self.room is not None and together([model.need for model in self._models]) > self.room

    def join(self, model: LocalModel) -> None:
        """Places a model on this device."""
        self._models.append(model)

    def has_room(self, model: LocalModel) -> bool:
        """Whether the model is loaded, or can be loaded without unloading another."""
        if self.room is None or model in self._loaded:
            return True
        return together([other.need for other in (*self._loaded, model)]) <= self.room

    def holds(self, model: LocalModel) -> bool:
        return model in self._loaded

    def hold(self, model: LocalModel) -> None:
        """Loads the model if needed; first unloads as many others as necessary, least recently used first.

        Raises:
            SymphonyError: The model does not fit even alone, or loading it fails.
        """
        if model not in self._loaded:
            if self.room is not None and model.need.weights > self.room:
                needs, has = (f"{size / 1e9:.3g} GB" for size in (model.need.weights, self.room))
                raise SymphonyError(
                    f"execution.memory_gb: found {has} for models on {self.name}, allowed: at least {needs}"
                )
            begin = time.perf_counter()
            leaving = 0
            while self._loaded and not self.has_room(model):
                self._loaded.pop(0).unload()
                leaving += 1
            self._load(model)
            if leaving:
                self.swaps += 1
                self.swap_s += time.perf_counter() - begin
        else:
            self._loaded.remove(model)
        self._loaded.append(model)

    def _load(self, model: LocalModel) -> None:
        try:
            model.load()
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
            has = "no limit" if self.room is None else f"{self.room / 1e9:.3g} GB for models"
            finding = f"execution.memory_gb: found {has} on {self.name}, where loading a model ran out of memory"
            raise SymphonyError(f"{finding}, allowed: at most what is free there") from error


class LocalModel:
    """A model that is loaded when a call needs it and unloaded when its device needs the memory (`ModelBackend`).

    Args:
        make: Loads the model.
        revision: The revision that the loaded model must have.
        need: What the model takes of the device's memory.
        device: The device it is placed on.
        make_sizing: Makes the object that knows prompt sizes without loading the model; None if there is none.
    """

    def __init__(
        self,
        make: Callable[[], ModelBackend],
        *,
        revision: str,
        need: Need,
        device: Device,
        make_sizing: Callable[[], Sizing | None] = lambda: None,
    ) -> None:
        self.revision, self.need, self.device = revision, need, device
        self.counter: str | None = revision
        self._make = make
        self._make_sizing = make_sizing
        self._model: Any = None
        self._budget: TokenBudget | None = None
        device.join(self)

    @property
    def budget(self) -> TokenBudget | None:
        """The token budget learnt so far, which outlives unloading; None if it was never loaded or learns nothing."""
        return self._budget

    def size(self, request: Request) -> Size:
        """Returns a request's size, see `Sizing`; the sizing is made on first use and outlives unloading."""
        return self._size(request)

    @cached_property
    def _size(self) -> Callable[[Request], Size]:
        return sizing(self._make_sizing())

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        self.device.hold(self)
        answers: list[Completion] = self._model.generate(requests)
        return answers

    def submit(self, requests: Sequence[Request], first: int = 0) -> list[tuple[int, Completion]]:
        """As in `Stepped`. Needs a `Stepped` model and an uncrowded device: nothing unloads it between steps."""
        self.device.hold(self)
        refused: list[tuple[int, Completion]] = self._model.submit(requests, first)
        return refused

    def step(self) -> list[tuple[int, Completion]]:
        answers: list[tuple[int, Completion]] = self._model.step()
        return answers

    def load(self) -> None:
        """Loads the model; called by the device."""
        model: Any = self._make()
        if model.revision != self.revision:
            raise SymphonyError(f"revision: found {model.revision}, allowed: {self.revision}")
        if self._budget is not None:
            model.budget = self._budget
        self._budget = getattr(model, "budget", None)
        self._model = model

    def unload(self) -> None:
        """Unloads the model; called by the device."""
        self._model = None
        release()
