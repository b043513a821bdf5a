"""Runs short untrusted Python functions, each program in a process of its own that can hurt nothing.

A bare interpreter is started once, isolated as well as the machine allows, and forks one limited process per program
(see `sandbox_child`). Programs only ever claim values; the caller compares them with what it expects. That the server
ignores the caller's environment while its hash seed is fixed is why it runs with `-s -S` and a cleared environment
instead of `-I`: iteration over a set is then the same in every run.
"""

from __future__ import annotations

import ast
import json
import os
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from symphony.types import SymphonyError

NOBODY = 65534
MAX_CHARS = 4096
START_S = 10.0  # to start an interpreter, and to wait for a reply beyond the program's own limit
LAYERS = ("bubblewrap", "namespaces", "landlock")
_TRIAL = json.dumps({"source": "import csv\ndef f(): return 1", "function": "f", "arguments": ["()"]}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How one program went.

    Attributes:
        outcome: "ok" (every call returned), "error" (an exception), "timeout" (processor or wall time), or "killed"
            (the process ended without a report: `os._exit`, a signal).
        values: The repr of each call's result as builtin data (subclasses as their builtin base; at most `MAX_CHARS`
            characters, then "..."), up to the first call that failed.
        error: The exception in one line, e.g. "TypeError: ..."; "" when the outcome is "ok".
    """

    outcome: Literal["ok", "error", "timeout", "killed"]
    values: tuple[str, ...]
    error: str


@dataclass(frozen=True, slots=True)
class _Server:
    process: subprocess.Popen[bytes]
    protection: str

    def exchange(self, request: bytes, timeout_s: float) -> bytes | None:
        """The reply frame, or None where the server has gone or does not answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            data = struct.pack("!I", len(request)) + request if request else b""
            while data:
                data = data[os.write(self.process.stdin.fileno(), data) :]
            return _read_frame(self.process.stdout.fileno(), time.monotonic() + timeout_s)
        except OSError:
            return None

    def stop(self) -> None:
        """Ends the server, which leaves of itself, and takes its processes along, when its pipes close."""
        self.close_pipes()
        try:
            self.process.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class PythonSandbox:
    """Runs programs one at a time, safe to call from several threads; a forked copy starts a server of its own.

    The processes get no standard streams, no environment, an empty folder that cannot be written, no file growth, no
    threads or processes; `random` starts from the same seed each time. With bubblewrap or namespaces they also have no
    network and cannot reach other processes; with bubblewrap or landlock they can read no files but the interpreter's
    and the system's. Started as root, the server runs as an ordinary user (65534).

    Args:
        cpu_s: Processor seconds a program may use, >= 1.
        wall_s: Seconds a program may take in all (matters to sleepers), > 0.
        memory_mb: Address space in MiB, interpreter included, >= 64.
        layers: The protections that may be used where the machine has them; resource limits are always on.
    """

    def __init__(
        self, *, cpu_s: int = 1, wall_s: float = 5.0, memory_mb: int = 256, layers: Sequence[str] = LAYERS
    ) -> None:
        if unknown := set(layers) - set(LAYERS):
            raise SymphonyError(f"sandbox.layers: found {', '.join(sorted(unknown))}, allowed: {', '.join(LAYERS)}")
        self._layers = tuple(layers)
        self._wall_s = wall_s
        self._config = {
            "cpu_s": cpu_s, "wall_s": wall_s, "memory_bytes": memory_mb << 20, "max_chars": MAX_CHARS
        }  # fmt: skip
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._finalizer: weakref.finalize[[], PythonSandbox] | None = None
        _sandboxes.add(self)

    @property
    def protection(self) -> str:
        """What is in force, e.g. "bubblewrap+landlock+user+limits"; starts the server if need be."""
        with self._lock:
            return self._running().protection

    def call(self, source: str, function: str, arguments: Sequence[str]) -> Execution:
        """Executes `source`, then calls `function` once per argument list, all in one fresh process.

        Args:
            source: The program.
            function: Name of the function it should define.
            arguments: One tuple literal per call, e.g. "(1, [2, 3])".

        Raises:
            ValueError: An argument is not a tuple literal.
            SymphonyError: No interpreter can be started.
        """
        if not all(isinstance(ast.literal_eval(text), tuple) for text in arguments):
            raise ValueError("arguments: every one must be a tuple literal")
        job = {"source": source, "function": function, "arguments": list(arguments)}
        request = json.dumps(job).encode()
        with self._lock:
            for _ in range(2):
                try:
                    reply = self._running().exchange(request, self._wall_s + START_S)
                except BaseException:  # an interrupt: its reply must not answer the next call
                    self._stop()
                    raise
                if reply is not None:
                    return _understand(reply, len(arguments))
                self._stop()
        return Execution(outcome="killed", values=(), error="the sandbox was killed")

    def close(self) -> None:
        """Ends the server; a later call starts a new one."""
        with self._lock:
            self._stop()

    def __enter__(self) -> PythonSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _stop(self) -> None:
        if self._finalizer is not None:
            self._finalizer()
        self._server = None

    def _running(self) -> _Server:
        if self._server is None:
            self._server = _start(self._layers, self._config)
            self._finalizer = weakref.finalize(self, self._server.stop)
        return self._server

    def _forget(self) -> None:
        """Lets go of the server in a forked copy of the caller: it belongs to the original."""
        if self._server is not None and self._finalizer is not None:
            self._finalizer.detach()
            self._server.close_pipes()
            self._server.process.returncode = 0  # not this process's child
        self._lock = threading.Lock()
        self._server = self._finalizer = None


_sandboxes: weakref.WeakSet[PythonSandbox] = weakref.WeakSet()


def _forget_all() -> None:
    for sandbox in list(_sandboxes):
        sandbox._forget()


os.register_at_fork(after_in_child=_forget_all)


# --------------------------------------------------------------------------- starting


def _start(layers: Sequence[str], config: dict[str, Any]) -> _Server:
    """The best protected server that starts here."""
    text = Path(__file__).with_name("sandbox_child.py").read_text(encoding="utf-8")
    for names, command, user in _ways(layers):
        inner = [name for name in layers if name != "bubblewrap" and not (name == "namespaces" and names)]
        argument = json.dumps(config | {"layers": inner})
        folder = tempfile.mkdtemp()
        try:
            server = _launch([*command, "-s", "-S", "-B", "-c", text, argument], folder, user, names)
        finally:
            os.rmdir(folder)  # the server stays in it: a folder where nobody can create anything
        if server is not None:
            return server
    raise SymphonyError("sandbox: found no Python that starts there, allowed: one that an ordinary user can execute")


def _ways(layers: Sequence[str]) -> Iterator[tuple[list[str], list[str], int | None]]:
    """Names of the outer protections, command and user to try, best first."""
    bwrap = shutil.which("bwrap") if "bubblewrap" in layers else None
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    pythons = dict.fromkeys((own, os.path.realpath("/usr/bin/python3")))
    for user in (NOBODY, None) if os.geteuid() == 0 else (None,):
        for outer in (bwrap, None) if bwrap else (None,):
            for python in pythons:
                wrap = [outer, *_bubblewrap(python), python] if outer else [python]
                yield ["bubblewrap"] if outer else [], wrap, user


def _bubblewrap(python: str) -> list[str]:
    home = Path(python).parent.parent
    options = ["--unshare-all", "--new-session", "--as-pid-1", "--clearenv", "--setenv", "PYTHONHASHSEED", "0"]
    for path in ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", home / "lib", home / "lib64", python):
        options += ["--ro-bind-try", str(path), str(path)]
    options += ["--dev-bind", "/dev/null", "/dev/null", "--dir", "/scratch", "--chdir", "/scratch"]
    return [*options, "--remount-ro", "/", "--"]


def _launch(command: list[str], folder: str, user: int | None, names: list[str]) -> _Server | None:
    os.chmod(folder, 0o555)
    dropped = {} if user is None else {"user": user, "group": user, "extra_groups": ()}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            cwd=folder, env={"PYTHONHASHSEED": "0"}, start_new_session=True, **dropped,  # type: ignore[call-overload]
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    server = _Server(process, "")
    hello = server.exchange(b"", START_S)
    tried = hello and server.exchange(_TRIAL, START_S)
    if hello is None or tried is None or _understand(tried, 1).outcome != "ok":
        server.stop()
        return None
    parts = [*names, *json.loads(hello), *(["user"] if dropped else []), "limits"]
    return _Server(process, "+".join(parts))


# --------------------------------------------------------------------------- replies


def _read_frame(descriptor: int, deadline: float) -> bytes | None:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    data, size = bytearray(), 4
    while len(data) < size:
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return None
        chunk = os.read(descriptor, size - len(data))
        if not chunk:
            return None
        data += chunk
        if size == 4 == len(data):
            size += struct.unpack("!I", data)[0]
    return bytes(data[4:])


def _understand(reply: bytes, calls: int) -> Execution:
    """Reads a reply whose report an untrusted program may have written."""
    expired, signal_number = struct.unpack_from("!?B", reply)
    if expired:
        return Execution(outcome="timeout", values=(), error="time limit reached")
    try:
        report = json.loads(reply[2:])
        outcome, values, error = report["outcome"], report["values"], report["error"]
        texts = [*values, error]
        valid = outcome in ("ok", "error") and all(isinstance(text, str) for text in texts)
        valid = valid and (len(values) == calls if outcome == "ok" else len(values) <= calls)
    except (ValueError, KeyError, TypeError, RecursionError):
        valid = False
    if not valid:
        how = f"signal {signal_number}" if signal_number else "no report"
        return Execution(outcome="killed", values=(), error=f"process ended: {how}")
    *shown, error = (text[: MAX_CHARS + 3].encode(errors="backslashreplace").decode() for text in texts)
    return Execution(outcome=outcome, values=tuple(shown), error=error)
