"""One command, isolated and limited: the compiler of a program, and the program it made."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from symphony.tasks.sandbox import LAYERS, NOBODY, START_S, SYSTEM_PYTHON, Server
from symphony.types import SymphonyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command, isolated and limited.

    Attributes:
        words: Absolute path of the executable, and arguments.
        environment: The only variables it sees.
        run: Files and folders it may read and execute.
        write: Folders it may write in.
        cpu_s, wall_s, memory_mb, file_mb, processes, output_kb: Limits.
        as_user: Whether it runs as an ordinary user where the caller is root (what it needs must be readable to all).
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
    as_user: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended.

    Attributes:
        outcome: "ok" (it exited by itself, with whatever code), "timeout", or "killed".
        code: Its exit status; 255 where it was killed.
        output: What it wrote to stdout and stderr, at most `output_kb`.
    """

    outcome: Literal["ok", "timeout", "killed"]
    code: int
    output: str


def run_command(
    command: Command, stdin: bytes, *, layers: Sequence[str] = LAYERS, minimum: Sequence[str] = ("landlock",)
) -> Ended:
    """Runs a command in a process tree of its own that ends with it.

    Args:
        layers: Protections that may be used where the machine has them (bubblewrap is none of them here).
        minimum: Protections without which nothing runs.

    Raises:
        SymphonyError: The minimum is not to be had.
    """
    config = {
        "layers": [name for name in layers if name != "bubblewrap"], "minimum": list(minimum),
        "command": command.words, "environment": dict(command.environment), "run": command.run, "write": command.write,
        "cpu_s": command.cpu_s, "wall_s": command.wall_s, "memory_bytes": command.memory_mb << 20,
        "file_bytes": command.file_mb << 20, "processes": command.processes, "max_bytes": command.output_kb << 10,
    }  # fmt: skip
    text = Path(__file__).with_name("sandbox_child.py").read_text(encoding="utf-8")
    dropped = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if command.as_user and os.geteuid() == 0 else {}
    for python in dict.fromkeys((os.path.realpath(getattr(sys, "_base_executable", sys.executable)), SYSTEM_PYTHON)):
        try:
            process = subprocess.Popen(
                [python, "-s", "-S", "-B", "-c", text, json.dumps(config)], stdin=subprocess.PIPE, bufsize=0,
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
    raise SymphonyError(f"sandbox: found no {', '.join(minimum)} on this machine, allowed: a Linux that has it")
