"""The fork server behind `sandbox.PythonSandbox`: forks one limited process per program and hands on what it reports.

It is passed to a bare interpreter as text (`python -s -S -B -c TEXT CONFIG`), so it imports nothing but the standard
library. Frames on stdin and stdout are a 4-byte length and that many bytes. Nothing it reads from a program is trusted.
"""

import ast
import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import resource
import select
import signal
import struct
import sys
import time
import types
from typing import Any

# What short programs import, loaded once here and found in memory by every fork.
PRELOADED = (
    *("bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions", "functools"),
    *("heapq", "itertools", "math", "operator", "re", "statistics", "string", "typing"),
)
NEW_NAMESPACES = 0x10000000 | 0x20000 | 0x20000000 | 0x40000000 | 0x8000000 | 0x4000000  # user, mnt, pid, net, ipc, uts
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = (ctypes.c_long(n) for n in (444, 445, 446))
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38
MAX_REPORT_BYTES = 8 << 20


def read_frame(descriptor: int) -> "bytes | None":
    """One frame, or None where the other side has gone."""
    head = read_exactly(descriptor, 4)
    return head and read_exactly(descriptor, struct.unpack("!I", head)[0])


def read_exactly(descriptor: int, size: int) -> "bytes | None":
    data = b""
    while len(data) < size:
        chunk = os.read(descriptor, size - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


# ------------------------------------------------------------------ isolation of the server and its forks


def enter_namespaces(libc: ctypes.CDLL) -> bool:
    """Moves on into a fork that is process 1 of new namespaces; False where the machine does not allow them."""
    uid, gid = os.getuid(), os.getgid()
    if libc.unshare(NEW_NAMESPACES):
        return False
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    pid = os.fork()
    if pid:
        os.closerange(0, 64)
        os.waitpid(pid, 0)
        os._exit(0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    return True


def landlock_rules(libc: ctypes.CDLL) -> int:
    """A rule set: read the standard library, touch no other file, no TCP, no signal out. -1 without Landlock."""
    abi = libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return -1
    files = 0x1FFF | (abi >= 2) << 13 | (abi >= 3) << 14 | (abi >= 5) << 15
    attributes = struct.pack("=QQQ", files, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules: int = libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    prefix = sys.base_prefix
    for path in (f"{prefix}/lib", f"{prefix}/lib64", "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"):
        with contextlib.suppress(OSError):
            target = os.open(path, os.O_PATH)
            access = 4 | 8 * os.path.isdir(path)  # read a file, list a folder
            libc.syscall(LANDLOCK_ADD, rules, 1, struct.pack("=Qi", access, target), 0)
            os.close(target)
    return rules


def limit_process(config: dict[str, Any]) -> None:
    cpu, memory = config["cpu_s"], config["memory_bytes"]
    for name, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NPROC, 0, 0),  # no fork and no thread; the kernel does not hold root to it
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, 64, 64),
    ):
        resource.setrlimit(name, (soft, hard))


# ------------------------------------------------------------------ inside the fork


def plain(value: Any) -> Any:
    """A copy made of builtin data only, so that its repr says the whole of it and never an address."""
    if value is None or isinstance(value, bool):
        return value
    scalars: tuple[Any, ...] = (int, float, complex, str, bytes)
    containers: tuple[Any, ...] = (list, tuple, set, frozenset)
    for kind in scalars:
        if isinstance(value, kind):
            return kind(value)
    for kind in containers:
        if isinstance(value, kind):
            return kind(plain(item) for item in value)
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    raise TypeError(f"result of type {type(value).__name__} is not plain data")


def execute(job: dict[str, Any], max_chars: int) -> dict[str, Any]:
    """Runs the program and the calls; the report of how it went."""
    values: list[str] = []
    outcome, error = "ok", ""
    try:
        arguments = [ast.literal_eval(text) for text in job["arguments"]]
        module = sys.modules["program"] = types.ModuleType("program")
        exec(compile(job["source"], "<program>", "exec", dont_inherit=True), module.__dict__)
        if job["function"] not in module.__dict__:
            raise NameError(f"name {job['function']!r} is not defined")
        for given in arguments:
            text = repr(plain(module.__dict__[job["function"]](*given)))
            values.append(text if len(text) <= max_chars else text[:max_chars] + "...")
    except BaseException as raised:  # SystemExit and KeyboardInterrupt are results like any other
        outcome, error = "error", type(raised).__name__
        with contextlib.suppress(BaseException):
            said = str(raised).strip().partition("\n")[0].partition(" at 0x")[0]
            error += f": {said[:max_chars]}" if said else ""
    return {"outcome": outcome, "values": values, "error": error}


def run_fork(libc: ctypes.CDLL, config: dict[str, Any], rules: int, request: bytes, report: int) -> None:
    """The life of a forked process: give everything away, run, report."""
    os.setsid()
    if rules >= 0 and libc.syscall(LANDLOCK_RESTRICT, rules, 0):
        return
    os.closerange(3, report)
    os.closerange(report + 1, 64)
    limit_process(config)
    random.seed(0)
    dump, write, leave = json.dumps, write_all, os._exit
    write(report, dump(execute(json.loads(request), config["max_chars"])).encode())
    leave(0)


# ------------------------------------------------------------------ the server


def collect(report: int, requests: int, deadline: float) -> "tuple[bytes, bool]":
    """What the fork wrote until it closed the pipe, and whether the deadline passed first."""
    poller = select.poll()
    poller.register(report, select.POLLIN)
    poller.register(requests, 0)  # only tells that the caller has gone
    data = b""
    while len(data) <= MAX_REPORT_BYTES:
        left = deadline - time.monotonic()
        ready = dict(poller.poll(left * 1000)) if left > 0 else {}
        if requests in ready:
            os._exit(0)
        if not ready:
            return data, True
        chunk = os.read(report, 1 << 16)
        if not chunk:
            break
        data += chunk
    return data, False


def end_all(pid: int) -> "tuple[int, float]":
    """Kills and reaps the fork and whatever it left; its wait status and processor seconds."""
    if os.getpid() == 1:
        with contextlib.suppress(OSError):
            os.kill(-1, signal.SIGKILL)
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(pid, signal.SIGKILL)
    _, status, usage = os.wait4(pid, 0)
    with contextlib.suppress(ChildProcessError):
        while os.getpid() == 1:
            os.wait()
    return status, usage.ru_utime + usage.ru_stime


def serve(libc: ctypes.CDLL, config: dict[str, Any], rules: int, requests: int, replies: int) -> None:
    while (request := read_frame(requests)) is not None:
        report, fork_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                run_fork(libc, config, rules, request, fork_end)
            finally:
                os._exit(1)
        os.close(fork_end)
        data, expired = collect(report, requests, time.monotonic() + config["wall_s"])
        os.close(report)
        status, cpu_s = end_all(pid)
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        expired = expired or killed == signal.SIGXCPU or bool(killed and cpu_s >= config["cpu_s"])
        write_all(replies, struct.pack("!I?B", len(data) + 2, expired, killed) + data)


def main() -> None:
    config = json.loads(sys.argv[1])
    sys.path[:] = [path for path in sys.path if path]
    os.environ.clear()
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 0)
    os.dup2(2, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    in_force = ["namespaces"] if "namespaces" in config["layers"] and enter_namespaces(libc) else []
    libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    rules = landlock_rules(libc) if "landlock" in config["layers"] else -1
    in_force += ["landlock"] if rules >= 0 else []
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    hello = json.dumps(in_force).encode()
    write_all(replies, struct.pack("!I", len(hello)) + hello)
    serve(libc, config, rules, requests, replies)


if __name__ == "__main__":
    main()
