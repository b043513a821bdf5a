"""Runs short untrusted Python functions, each program in its own process that can do no harm.

A bare interpreter is started once, isolated as well as the machine allows, and forks one limited process per program
(see `sandbox_child`). Programs only ever claim values; the caller compares them with what it expects. The server must
ignore the caller's environment but keep a fixed hash seed, so it runs with `-s -S` and a cleared environment instead of
`-I`: iteration over a set is then the same in every run.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from symphony.tasks.programs.sandbox_server import Server
from symphony.types import SymphonyError

Outcome = Literal["ok", "error", "timeout", "killed"]

NOBODY = 65534
MAX_CHARS = 4096
SYSTEM_PYTHON = os.path.realpath("/usr/bin/python3")
START_S = 10.0  # to start an interpreter, and to wait for a reply beyond the program's own limit
LAYERS = ("bubblewrap", "namespaces", "landlock", "seccomp")
ENOUGH = ("bubblewrap", "namespaces", "landlock")
"""Protections of which at least one must be active before a model's program is run."""
_PLAIN = {"known": False, "every": False, "needs": ""}
_TRIAL = json.dumps({**_PLAIN, "source": "import csv", "expressions": ["1"], "max_chars": MAX_CHARS}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How one program went.

    Attributes:
        outcome: "ok" (every call returned), "error" (an exception), "timeout" (processor or wall time), or "killed"
            (the process ended without a report: `os._exit`, a signal).
        values: The repr of each call's result as builtin data (subclasses as their builtin base; at most `MAX_CHARS`
            characters, then "..."), up to the first call that failed.
        error: The exception on one line, e.g. "TypeError: ..."; "" if the outcome is "ok".
    """

    outcome: Outcome
    values: tuple[str, ...]
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one program may use.

    Attributes:
        cpu_s: Processor seconds, a whole number >= 1.
        wall_s: Wall-clock seconds in total, > 0.
        max_chars: Maximum characters of a value; longer ones are cut and end in "...".
    """

    cpu_s: int
    wall_s: float
    max_chars: int = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """How one program and the expressions in its namespace went.

    Attributes:
        outcome: As in `Execution`; "ok" if every expression was reached.
        values: For each expression reached, its value as a Python expression (`sandbox_child.spell`), or None on error.
        errors: For each expression reached, the exception on one line, or "" if there is a value.
        error: Why not every expression was reached; "" if the outcome is "ok".
    """

    outcome: Outcome
    values: tuple[str | None, ...]
    errors: tuple[str, ...]
    error: str


def shortfall(protection: str, unprotected: bool) -> str:
    """Says why programs should not run under a protection; "" if they may.

    Args:
        protection: As in `PythonSandbox.protection`.
        unprotected: Whether the user runs them anyway.
    """
    if unprotected or set(protection.split("+")) & set(ENOUGH):
        return ""
    allowed = f"one of {', '.join(ENOUGH)} (task.unprotected=true runs programs anyway)"
    return f"found the protections {protection}, allowed: {allowed}"


class PythonSandbox:
    """Runs programs one at a time; safe to call from several threads, and a forked copy starts its own server.

    The processes get no standard streams, no environment, an empty read-only folder, no file growth, and no threads or
    processes; `random` starts from the same seed each time. With bubblewrap or namespaces they also have no network and
    cannot reach other processes; with bubblewrap or landlock they can read only the interpreter's and the system's
    files. Started as root, the server runs as an ordinary user (65534).

    Args:
        cpu_s: Processor seconds a program may use, >= 1.
        wall_s: Wall-clock seconds a program may take in total (matters if it sleeps), > 0.
        memory_mb: Address space in MiB, interpreter included, >= 64.
        layers: The protections that may be used if the machine has them; resource limits are always on.
    """

    def __init__(
        self, *, cpu_s: int = 1, wall_s: float = 5.0, memory_mb: int = 256, layers: Sequence[str] = LAYERS
    ) -> None:
        if unknown := set(layers) - set(LAYERS):
            raise SymphonyError(f"sandbox.layers: found {', '.join(sorted(unknown))}, allowed: {', '.join(LAYERS)}")
        self._layers = tuple(layers)
        self._wall_s = wall_s
        self._config: dict[str, Any] = {"cpu_s": cpu_s, "wall_s": wall_s, "file_bytes": 0, "processes": 0}
        self._config["memory_bytes"] = memory_mb << 20
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._finalizer: weakref.finalize[[], PythonSandbox] | None = None
        _sandboxes.add(self)

    @property
    def protection(self) -> str:
        """The active protections, e.g. "bubblewrap+landlock+user+limits"; starts the server if need be."""
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
        calls = [f"{function}(*{text})" for text in arguments]
        job = {**_PLAIN, "source": source, "needs": function, "expressions": calls, "max_chars": MAX_CHARS}
        done = self._evaluate(job, len(calls), self._wall_s)
        values = tuple(value for value in done.values if value is not None)
        return Execution(
            outcome=done.outcome, values=() if done.outcome in ("timeout", "killed") else values, error=done.error
        )

    def evaluate(
        self, source: str, expressions: Sequence[str], limits: Limits, *, needs: str = "", known: bool = False
    ) -> Evaluation:
        """Executes `source`, then evaluates every expression in its namespace, even if earlier ones failed.

        Args:
            source: The program.
            expressions: Python expressions.
            limits: For the program and all expressions together.
            needs: A name that the program must define; "" means none.
            known: Whether the namespace starts with the names that spelt values use.

        Raises:
            SymphonyError: No interpreter can be started.
        """
        job = {"source": source, "expressions": list(expressions), "known": known, "every": True, "needs": needs}
        job |= {"cpu_s": limits.cpu_s, "wall_s": limits.wall_s, "max_chars": limits.max_chars}
        return self._evaluate(job, len(expressions), limits.wall_s)

    def _evaluate(self, job: dict[str, Any], count: int, wall_s: float) -> Evaluation:
        request = json.dumps(job).encode()
        with self._lock:
            for _ in range(2):
                try:
                    reply = self._running().exchange(request, wall_s + START_S)
                except BaseException:  # e.g. an interrupt: a late reply must not answer the next call
                    self._stop()
                    raise
                if reply is not None:
                    return _understand(reply, count, int(job["max_chars"]))
                self._stop()
        return Evaluation(outcome="killed", values=(), errors=(), error="the sandbox was killed")

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

    def _running(self) -> Server:
        if self._server is None:
            self._server = _start(self._layers, self._config)
            self._finalizer = weakref.finalize(self, self._server.stop)
        return self._server

    def _forget(self) -> None:
        """Drops the server in a forked copy of the caller: it belongs to the original."""
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


def _start(layers: Sequence[str], config: dict[str, Any]) -> Server:
    """Starts the best-protected server that this machine allows."""
    text = Path(__file__).with_name("sandbox_child.py").read_text(encoding="utf-8")
    for names, command, user in _ways(layers):
        inner = [name for name in layers if name != "bubblewrap" and not (name == "namespaces" and names)]
        argument = json.dumps(config | {"layers": inner})
        folder = tempfile.mkdtemp()
        try:
            server = _launch([*command, "-s", "-S", "-B", "-c", text, argument], folder, user, names)
        finally:
            os.rmdir(folder)  # the server stays in it, and nobody can create anything there
        if server is not None:
            return server
    raise SymphonyError("sandbox: found no Python that starts in it, allowed: one that an ordinary user can execute")


def _ways(layers: Sequence[str]) -> Iterator[tuple[list[str], list[str], int | None]]:
    """Yields outer protections, command and user to try, best first."""
    bwrap = shutil.which("bwrap") if "bubblewrap" in layers else None
    own = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    pythons = dict.fromkeys((own, SYSTEM_PYTHON))
    for user in (NOBODY, None) if os.geteuid() == 0 else (None,):
        for outer in (bwrap, None) if bwrap else (None,):
            for python in pythons:
                wrap = [outer, *bubblewrap(python), python] if outer else [python]
                yield ["bubblewrap"] if outer else [], wrap, user


def bubblewrap(python: str, run: Sequence[str] = (), write: Sequence[str] = ()) -> list[str]:
    """Returns bubblewrap options under which an interpreter sees its libraries, little else, and no network.

    Args:
        run: Additional files and folders to read and execute.
        write: Folders to write in.
    """
    home = Path(python).parent.parent
    options = ["--unshare-all", "--new-session", "--as-pid-1", "--clearenv", "--setenv", "PYTHONHASHSEED", "0"]
    for path in ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", home / "lib", home / "lib64", python):
        options += ["--ro-bind-try", str(path), str(path)]
    for path in run:
        options += ["--ro-bind-try", path, path]
    for path in write:
        options += ["--bind-try", path, path]
    options += ["--dev-bind", "/dev/null", "/dev/null", "--dir", "/scratch", "--chdir", "/scratch"]
    return [*options, "--remount-ro", "/", "--"]


def _launch(command: list[str], folder: str, user: int | None, names: list[str]) -> Server | None:
    os.chmod(folder, 0o555)
    dropped = {} if user is None else {"user": user, "group": user, "extra_groups": ()}
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
            cwd=folder, env={"PYTHONHASHSEED": "0"}, start_new_session=True, **dropped,  # type: ignore[call-overload]
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    server = Server(process, "")
    hello = server.exchange(b"", START_S)
    tried = hello and server.exchange(_TRIAL, START_S)
    if hello is None or tried is None or _understand(tried, 1, MAX_CHARS).outcome != "ok":
        server.stop()
        return None
    parts = [*names, *json.loads(hello), *(["user"] if dropped else []), "limits"]
    return Server(process, "+".join(parts))


# --------------------------------------------------------------------------- replies


def _understand(reply: bytes, count: int, max_chars: int) -> Evaluation:
    """Reads a reply whose report an untrusted program may have written."""
    expired, signal_number = struct.unpack_from("!?B", reply)
    *lines, rest = reply[2:].split(b"\n")
    values: list[str | None] = []
    errors: list[str] = []
    ended = None
    try:
        for line in lines:
            kind, text = json.loads(line)
            if ended is not None or not isinstance(text, str) or kind not in ("value", "error", "end"):
                raise ValueError(kind)
            text = text[: max_chars + 3].encode(errors="backslashreplace").decode()
            if kind == "end":
                ended = text
            else:
                values.append(text if kind == "value" else None)
                errors.append("" if kind == "value" else text)
        valid = len(values) <= count and (ended != "" or len(values) == count) and not rest
    except (ValueError, TypeError, RecursionError):
        valid = False
    if not valid and not expired:
        values, errors, ended = [], [], None
    outcome: Outcome = "error" if ended else "ok"
    if expired:
        outcome, ended = "timeout", "time limit reached"
    elif ended is None:
        how = f"signal {signal_number}" if signal_number else "no report"
        outcome, ended = "killed", f"process ended: {how}"
    return Evaluation(outcome=outcome, values=tuple(values[:count]), errors=tuple(errors[:count]), error=ended)
