"""A model that is not loaded yet: the settings of its option, where its weights are, and how to build it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeGuard

from symphony.fields import shown
from symphony.files import read_json
from symphony.models.devices import CPU, check_device
from symphony.models.endpoint import FREE, Price, price_of
from symphony.models.folder import MANIFEST, check_folder, locate
from symphony.models.footprint import Footprint, footprint
from symphony.models.revision import check_format
from symphony.plan.targets import class_of
from symphony.types import Endpoint, SymphonyError, canonical_json

NOT_ARGUMENTS = ("name", "_target_", "source", "made_from", "weights", "takes")
"""Keys of an agent that are not arguments of its model's constructor."""


class NotThere(SymphonyError):
    """Raised for weights that are missing or incomplete and that a command can provide.

    Attributes:
        command: The command that provides them.
    """

    def __init__(self, message: str, command: str) -> None:
        super().__init__(f"{message}; get it with `{command}`")
        self.command = command


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model that is not loaded yet; equal specs mean the same model.

    Attributes:
        arguments: Arguments of its class as canonical JSON, by which specs are compared; `settings` has their values.
        origin: Digest of the weights that a quantised checkpoint must be made from; "" if it is not made here.
        pinned: Whether its option has a `source` to download it from; does not affect equality.
        takes: The memory it takes according to its option, for a plan without its files; None if the option is silent.
    """

    target: str
    arguments: str
    origin: str = ""
    pinned: bool = field(default=False, compare=False)
    takes: Footprint | None = field(default=None, compare=False)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The arguments of its class by name."""
        arguments: dict[str, Any] = json.loads(self.arguments)  # no read-only view: specs go to other processes
        return arguments

    @property
    def is_endpoint(self) -> bool:
        """Whether it builds an `Endpoint`, which answers each request separately."""
        return is_endpoint(class_of("model", self.target))

    @property
    def is_simulated(self) -> bool:
        """Whether it is no model at all but an agent of known skill."""
        return self.target.startswith("symphony.simulated.")

    @property
    def is_stepped(self) -> bool:
        """Whether it builds a `Stepped` backend, which accepts requests at every step."""
        return hasattr(class_of("model", self.target), "step")

    @property
    def price(self) -> Price:
        """The price of its tokens; zero if it runs on this machine."""
        return price_of(self.settings.get("price")) if self.is_endpoint else FREE

    @property
    def device(self) -> str:
        """The device on which a local model should compute, see `devices.check_device`."""
        return str(self.settings.get("device", CPU))

    def on(self, device: str) -> ModelSpec:
        """Returns the same model on a device."""
        return replace(self, arguments=canonical_json({**self.settings, "device": device}))

    def footprint(self, data: Path) -> Footprint:
        """Returns the memory that a local model takes, by its files' headers.

        Raises:
            SymphonyError: Its weights are missing, or are not safetensors.
        """
        memory: Footprint = self._ask("footprint", self.folder(data), default=footprint)
        return memory

    @property
    def has_weights(self) -> bool:
        """Whether it is loaded from a folder."""
        return not self.is_endpoint and "path" in self.settings

    @property
    def brought_by(self) -> str:
        """The command that downloads or makes its weights; "" if there is none."""
        path = str(self.settings.get("path"))
        if path.startswith("outputs:quantised/"):
            return f"snakemake outputs/{path.removeprefix('outputs:')}/{MANIFEST}"
        return f"symphony fetch {path}" if self.pinned and path.startswith("model/") else ""

    def check(self) -> None:
        """Raises SymphonyError if its arguments do not fit a model; loads nothing and needs no key."""
        if self.is_endpoint:
            self.build(Path())
            return
        check_device(self.device)
        self._ask("check_settings", default=check_format)

    def folder(self, data: Path) -> Path:
        """Returns the folder of its weights, after checking that they are complete.

        Raises:
            NotThere: They are missing or incomplete, and a command provides them.
            SymphonyError: The same if no command does, or they were made from other weights than the config says.
        """
        if self.is_endpoint:
            raise SymphonyError("model: found an API endpoint, allowed: a model with weights")
        path = self.settings.get("path")
        folder = locate(path, data)
        try:
            self._ask("check_weights", folder, default=check_folder)
        except SymphonyError as error:
            if self.brought_by and not (folder / MANIFEST).is_file():
                raise NotThere(str(error), self.brought_by) from error
            raise
        if self.origin and (origin := _origin(folder)) != self.origin:
            raise SymphonyError(f"model.path: found {path!r} made from weights {origin}, allowed: from {self.origin}")
        return folder

    def file(self, data: Path) -> Path | None:
        """Returns the file with all its weights, if it is loaded from a single file."""
        file = self._ask("check_weights", self.folder(data))
        return file if isinstance(file, Path) else None

    def build(self, data: Path) -> Any:
        """Constructs the backend; `data` is the folder of the downloads."""
        arguments = dict(self.settings)
        if "path" in arguments:
            arguments["path"] = str(self.folder(data))
        if arguments.get("tokenizer"):
            arguments["tokenizer"] = str(locate(arguments["tokenizer"], data))
        return class_of("model", self.target)(**arguments)

    def sizing(self, data: Path, revision: str) -> Any:
        """Returns an object that gives prompt sizes without loading the weights; None if its kind has none."""
        return self._ask("sizing", self.folder(data), revision)

    def revision(self, data: Path) -> str | None:
        """Returns the model's revision without loading it; None if only the loaded model knows it."""
        if self.is_endpoint:
            return str(self.build(data).revision)
        if not hasattr(class_of("model", self.target), "revision_of"):
            return None
        known = self.settings.get("sha256")  # with it a replay needs no file
        folder = locate(self.settings["path"], data) if known else self.folder(data)
        return str(self._ask("revision_of", folder))

    def _ask(self, name: str, *arguments: Any, default: Callable[..., Any] | None = None) -> Any:
        """Calls a static function of the model's class with those arguments that it takes.

        If the class lacks the function, it calls `default`, or returns None if there is no default.
        """
        function = getattr(class_of("model", self.target), name, default)
        if function is None:
            return None
        known = list(inspect.signature(function).parameters)[len(arguments) :]
        settings = {key: value for key, value in self.settings.items() if key in known}
        return function(*arguments, **settings)


def models(config: Mapping[str, Any]) -> dict[str, ModelSpec]:
    """Returns the models of a run's pool by agent name, in the pool's order; loads nothing."""
    specs = {}
    for agent in config["pool"]["agents"]:
        arguments = {key: value for key, value in agent.items() if key not in NOT_ARGUMENTS}
        pinned = _pinned_sha256(agent)
        if pinned and arguments.setdefault("sha256", pinned) != pinned:
            finding = f"{agent['name']}.sha256: found {shown(arguments['sha256'])}"
            raise SymphonyError(f"{finding}, allowed: the one in its source.files, or none")
        origin = agent["weights"] if "made_from" in agent and "weights" in agent else ""
        specs[agent["name"]] = ModelSpec(
            target=agent["_target_"],
            arguments=canonical_json(arguments),
            origin=origin,
            pinned=agent.get("source") is not None,
            takes=_takes(agent),
        )
    return specs


def _takes(agent: Mapping[str, Any]) -> Footprint | None:
    takes = agent.get("takes")
    if takes is None:
        return None
    names = list(Footprint.__slots__)
    wrong = not isinstance(takes, Mapping) or set(takes) != set(names)
    if wrong or not all(type(number) is int and number > 0 for number in takes.values()):
        raise SymphonyError(f"{agent['name']}.takes: found {takes}, allowed: {', '.join(names)}, each a number > 0")
    return Footprint(**takes)


def _pinned_sha256(agent: Mapping[str, Any]) -> str:
    """Returns the checksum in an agent's `source` for its one `file`; "" if there is none."""
    entry = ((agent.get("source") or {}).get("files") or {}).get(agent.get("file"))
    return str((entry.get("sha256") if isinstance(entry, Mapping) else entry) or "")


def is_endpoint(model: Any) -> TypeGuard[Endpoint]:
    """Whether a model, or a class of models, has the methods of an `Endpoint`."""
    return all(hasattr(model, name) for name in ("complete", "ready"))


def _origin(folder: Path) -> str:
    """Returns what a quantised checkpoint was made from, according to its manifest."""
    manifest = folder / MANIFEST
    content = read_json(manifest, "the manifest of a quantised checkpoint") if manifest.is_file() else {}
    return str(content.get("source_digest", "that its manifest does not name"))
