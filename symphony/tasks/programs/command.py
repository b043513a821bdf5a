"""Runs one command, isolated and limited: a compiler, or the program it built."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from symphony.tasks.programs.sandbox import LAYERS, NOBODY, START_S, SYSTEM_PYTHON, bubblewrap
from symphony.tasks.programs.sandbox_server import Server
from symphony.types import SymphonyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command to run isolated and limited.

    Attributes:
        words: Absolute path of the executable, and arguments.
        environment: The only variables it sees.
        run: Files and folders it may read and execute.
        write: Folders it may write in.
        cpu_s, wall_s, memory_mb, file_mb, processes, output_kb: Limits.
        own_proc: Whether bubblewrap gives it a /proc of its own processes, which compilers use to find their parts.
        as_user: Whether it runs as an ordinary user if the caller is root (what it needs must be readable by all).
    """

    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()
    run: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    cpu_s: int = 10
    wall_s: float = 10.0
    memory_mb: int = 1024
    file_mb: int = 0
    processes: int = 0
    output_kb: int = 1024
    own_proc: bool = False
    as_user: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended.

    Attributes:
        outcome: "ok" (it exited by itself, with whatever code), "timeout", or "killed".
        code: Its exit status; 255 if it was killed.
        output: What it wrote to stdout and stderr, at most `output_kb`.
    """

    outcome: Literal["ok", "timeout", "killed"]
    code: int
    output: str


def run_command(command: Command, stdin: bytes, *, layers: Sequence[str] = LAYERS) -> Ended:
    """Runs a command in its own process tree, which ends with it: under Landlock, else under bubblewrap.

    Args:
        layers: Protections that may be used if the machine has them.

    Raises:
        SymphonyError: Neither is available.
    """
    config = {
        "command": command.words, "environment": dict(command.environment), "run": command.run, "write": command.write,
        "cpu_s": command.cpu_s, "wall_s": command.wall_s, "memory_bytes": command.memory_mb << 20,
        "file_bytes": command.file_mb << 20, "processes": command.processes, "max_bytes": command.output_kb << 10,
    }  # fmt: skip
    text = Path(__file__).with_name("sandbox_child.py").read_text(encoding="utf-8")
    dropped = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if command.as_user and os.geteuid() == 0 else {}
    for outer, inner in _ways(command, layers):
        try:
            process = subprocess.Popen(
                [*outer, "-s", "-S", "-B", "-c", text, json.dumps(config | inner)], stdin=subprocess.PIPE, bufsize=0,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env={}, start_new_session=True, **dropped,
            )  # type: ignore[call-overload]  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            continue
        server = Server(process, "")
        try:
            reply = server.send_and_close(stdin, command.wall_s + START_S)
        finally:
            server.stop()
        if reply is not None:
            expired, signal_number, code = struct.unpack_from("!?BB", reply)
            outcome: Literal["ok", "timeout", "killed"] = "timeout" if expired else "killed" if signal_number else "ok"
            return Ended(outcome=outcome, code=code, output=reply[3:].decode(errors="replace"))
    raise SymphonyError("sandbox: found neither landlock nor bubblewrap on this machine, allowed: Linux with one")


def _ways(command: Command, layers: Sequence[str]) -> Iterator[tuple[list[str], dict[str, list[str]]]]:
    """Yields ways to start the interpreter that runs the command, with the protections it adds and insists on."""
    pythons = dict.fromkeys((os.path.realpath(getattr(sys, "_base_executable", sys.executable)), SYSTEM_PYTHON))
    inner = [name for name in layers if name != "bubblewrap"]
    if "landlock" in layers:
        yield from (([python], {"layers": inner, "minimum": ["landlock"]}) for python in pythons)
    bwrap = shutil.which("bwrap") if "bubblewrap" in layers else None
    if bwrap:
        inner = [name for name in inner if name != "namespaces"]
        for python in pythons:
            proc = ["--proc", "/proc"] if command.own_proc else []
            wrap = [bwrap, *proc, *bubblewrap(python, command.run, command.write), python]
            yield wrap, {"layers": inner, "minimum": []}
