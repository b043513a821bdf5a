"""The servers of models that runs share (`pool.serve`): found or started at the first call, ended with the last user.

A server belongs to this machine and its port, not to a process: jobs of one study, and studies with equal settings, use
the same one. `symphony.run.keeper` owns it. A process holds a lease on it while it may ask it; nothing needs to be
given back, because the system releases the lease of a process that ends.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from symphony.files import discard
from symphony.models.folder import locate
from symphony.plan.model_spec import models
from symphony.plan.run_config import Server
from symphony.plan.specs import Run
from symphony.run import keeper
from symphony.types import Completion, Endpoint, Request, SymphonyError, canonical_json

_TURN_S = 0.05
_NOTICED_S = 0.5
"""Seconds after which a keeper has surely noticed that its server ended."""
_ENDING_S = 30.0
"""Seconds that a server which nobody used any more may take to end, before it is started anew."""
INSTALL = {
    "llama_cpp": "pip install 'llama-cpp-python[server]'",
    "transformers": "pip install fastapi uvicorn",
    "vllm": "pip install vllm, in an environment of its own if need be, with its `vllm` on the PATH",
}
"""What brings the program of an engine."""


def program(engine: str) -> list[str] | None:
    """Returns the words that start an engine's server; None if it is not installed."""
    if engine == "llama_cpp":
        there = all(map(find_spec, ("llama_cpp", "uvicorn", "sse_starlette")))
        return [sys.executable, "-m", "llama_cpp.server"] if there else None
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
    found = shutil.which(engine, path=path)
    needed = ("fastapi", "uvicorn") if engine == "transformers" else ()
    return [found, "serve"] if found and all(map(find_spec, needed)) else None


def command(server: Server, weights: Path) -> list[str]:
    """Returns the words that start a server; no shell reads them.

    Raises:
        SymphonyError: The engine is not installed; the message begins with the key of the server.
    """
    words = program(server.engine)
    if words is None:
        raise SymphonyError(f"engine: found {server.engine}, which is not installed, allowed: {INSTALL[server.engine]}")
    place = ["--host", "127.0.0.1", "--port", str(server.port)]
    match server.engine:
        case "llama_cpp":
            words += ["--model", str(weights), *place]
        case "vllm":  # pickled weights are never read
            words += [str(weights), "--load-format", "safetensors", *place]
        case _:
            words += place
    return words + server.options


def folder(port: int) -> Path:
    """Returns the folder of a port's locks on this machine; made if it is missing.

    Raises:
        SymphonyError: It belongs to another user, or cannot be made.
    """
    root = Path(tempfile.gettempdir()) / f"symphony-{os.getuid()}"
    try:
        root.mkdir(mode=0o700, exist_ok=True)
        info = root.lstat()
        if info.st_uid != os.getuid() or info.st_mode & 0o022 or root.is_symlink():
            raise SymphonyError(f"{root}: found a folder that others can write, allowed: one of this user alone")
        own = root / f"serve-{port}"
        own.mkdir(exist_ok=True)
    except OSError as error:
        raise SymphonyError(f"{root}: found {error.strerror}, allowed: a folder that can be written") from error
    return own


@contextmanager
def held(runs: Iterable[Run]) -> Iterator[None]:
    """Keeps the servers of runs alive from one group of them to the next; starts none."""
    with ExitStack() as stack:
        for port in sorted({server.port for run in runs for server in run.servers.values()}):
            lease = stack.enter_context((folder(port) / keeper.LEASE).open("a"))
            with suppress(BlockingIOError):  # one is just ending; the next user starts it anew, and holds it
                fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield


class Shared:
    """A server as one process uses it.

    Args:
        name: Its name in `pool.serve`.
        models: The names under which agents ask for its models.
    """

    def __init__(self, name: str, server: Server, models: Sequence[str], data: Path) -> None:
        self._key, self._server, self._data = f"pool.serve.{name}", server, data
        self._models = sorted(set(models))
        settings = {**asdict(server), "weights": str(self._weights())}
        self._settings = hashlib.sha256(canonical_json(settings).encode()).hexdigest()
        self._lease: IO[str] | None = None
        self._starting: asyncio.Task[None] | None = None

    async def started(self) -> None:
        """Returns when the server answers; the first call finds or starts it.

        Raises:
            SymphonyError: It cannot be started, or has ended.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    def check(self) -> None:
        """Raises SymphonyError if the server has ended."""
        place = folder(self._server.port)
        state = _state(place)
        if state is None or state["state"] == "failed":
            raise SymphonyError(f"{self._key}.{_why(state)}")

    def close(self) -> None:
        """Gives up the lease."""
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    async def _start(self) -> None:
        place = folder(self._server.port)
        self._lease = await self._take_lease(place)
        is_mine = has_waited = False
        while True:
            lock = _locked(place / keeper.KEEPER)
            if lock is not None:  # no keeper lives
                with lock:
                    if is_mine:
                        raise SymphonyError(f"{self._key}.{_why(_state(place, alive=False))}")
                    discard(place / keeper.STATE)
                    self._spawn(place, lock)
                    is_mine = has_waited = True
            elif (state := _state(place)) is not None:
                if state["state"] == "failed" and not has_waited:
                    with suppress(OSError):  # it told those who waited; this is a new attempt
                        os.kill(state["keeper"], signal.SIGTERM)
                elif self._is_ready(state):
                    return
                else:
                    has_waited = True
            await asyncio.sleep(_TURN_S)

    def _is_ready(self, state: Mapping[str, Any]) -> bool:
        if state["settings"] != self._settings:
            finding = f"{self._server.port} in use by a server of other settings, which other runs share"
            raise SymphonyError(f"{self._key}.port: found {finding}, allowed: a free port, or equal settings")
        if state["state"] == "failed":
            raise SymphonyError(f"{self._key}.{_why(state)}")
        return bool(state["state"] == "ready")

    async def _take_lease(self, place: Path) -> IO[str]:
        lease = (place / keeper.LEASE).open("a")
        until = asyncio.get_running_loop().time() + _ENDING_S
        while True:
            try:
                fcntl.flock(lease, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return lease
            except BlockingIOError as error:  # a keeper is ending its server
                if asyncio.get_running_loop().time() > until:
                    lease.close()
                    finding = f"a server on {self._server.port} that does not end"
                    raise SymphonyError(f"{self._key}.port: found {finding}, allowed: a free port") from error
            await asyncio.sleep(_TURN_S)

    def _weights(self) -> Path:
        return locate(self._server.path, self._data).absolute()

    def _spawn(self, place: Path, lock: IO[str]) -> None:
        """Starts a keeper, which takes over the lock."""
        weights = self._weights()
        if not weights.exists():
            raise SymphonyError(f"{self._key}.path: found nothing at {weights}, allowed: the weights that it serves")
        try:
            words = command(self._server, weights)
        except SymphonyError as error:
            raise SymphonyError(f"{self._key}.{error}") from error
        job = {
            "command": words,
            "environment": _environment(),
            "cwd": str(weights if weights.is_dir() else weights.parent),
            "port": self._server.port,
            "start_s": self._server.start_s,
            "models": [] if self._server.engine == "transformers" else self._models,  # it lists none of a folder
            "settings": self._settings,
        }
        subprocess.run(
            [sys.executable, "-I", "-S", keeper.__file__, str(place)],
            input=json.dumps(job).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=[lock.fileno()],
            check=True,
        )


class Served:
    """An endpoint (`Endpoint`) behind a server that its first call starts."""

    def __init__(self, endpoint: Any, server: Shared) -> None:
        self._endpoint, self._server = endpoint, server
        self.revision: str = endpoint.revision
        self.counter: str | None = endpoint.counter
        self.size = endpoint.size
        self.ready = endpoint.ready

    async def complete(self, request: Request) -> Completion:
        """Returns the endpoint's answer.

        Raises:
            SymphonyError: As the endpoint, or the server cannot be started or has ended.
        """
        await self._server.started()
        completion: Completion = await self._endpoint.complete(request)
        if completion.error is not None:
            await asyncio.sleep(_NOTICED_S)
            self._server.check()
        return completion


class Servers:
    """The servers that a process uses; a context manager that gives up their leases."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._shared: dict[str, Shared] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *ending: object) -> None:
        for shared in self._shared.values():
            shared.close()

    def behind(self, run: Run, url: Any, endpoint: Any) -> Endpoint:
        """Returns an endpoint of a run's pool, behind its server if the pool serves its address."""
        for name, server in run.servers.items():
            if str(url).rstrip("/") == server.url:
                asked = [spec.settings for spec in models(run.config).values() if spec.is_endpoint]
                names = [each["model"] for each in asked if str(each["base_url"]).rstrip("/") == server.url]
                key = canonical_json(asdict(server))
                if key not in self._shared:
                    self._shared[key] = Shared(name, server, names, self._data)
                wrapped: Endpoint = Served(endpoint, self._shared[key])
                return wrapped
        plain: Endpoint = endpoint
        return plain


def _environment() -> dict[str, str]:
    """Returns a server's variables: no API keys, no limit of threads that is meant for a job, and no downloads."""
    dropped = ("OMP_NUM_THREADS", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if name not in dropped and not name.endswith("_KEY")}
    return {**kept, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def _locked(path: Path) -> IO[str] | None:
    """Returns a file with its lock; None if another process holds it."""
    stream = path.open("a")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        return None
    return stream


def _state(place: Path, *, alive: bool = True) -> Mapping[str, Any] | None:
    """Returns what the keeper of a folder last told; None if there is none, with `alive` also if it has ended."""
    try:
        state = json.loads((place / keeper.STATE).read_text())
        if alive:
            os.kill(state["keeper"], 0)
        return state if isinstance(state["state"], str) and "settings" in state else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _why(state: Mapping[str, Any] | None) -> str:
    if state is not None and state["state"] == "failed":
        return str(state.get("why", "engine: found that its server ended"))
    return "engine: found that the keeper of its server was killed, allowed: a keeper that ends with its last user"
