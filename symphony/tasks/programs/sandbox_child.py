"""The fork server behind `sandbox.PythonSandbox`: forks one limited process per program and forwards its report.

It is passed to a bare interpreter as text (`python -s -S -B -c TEXT CONFIG`), so it imports only the standard library.
Frames on stdin and stdout are a 4-byte length and that many bytes. Nothing it reads from a program is trusted. If its
config has a command, it runs that once, with the same limits, instead of serving.
"""

import collections
import contextlib
import ctypes
import datetime
import errno
import gc
import importlib
import json
import marshal
import math
import os
import random
import re
import resource
import select
import signal
import struct
import sys
import time
import types
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

# Modules that short programs import, loaded once here and found in memory by every fork.
PRELOADED = (
    *("bisect", "cmath", "collections", "copy", "dataclasses", "datetime", "decimal", "fractions", "functools"),
    *("heapq", "itertools", "math", "operator", "re", "statistics", "string", "typing"),
)
CONTAINERS: "tuple[tuple[Any, str], ...]" = (
    (list, "[{}]"),
    (tuple, "({})"),
    (set, "{{{}}}"),
    (frozenset, "frozenset({{{}}})"),
    (collections.abc.KeysView, "{{{}}}"),
    (collections.abc.ItemsView, "{{{}}}"),
    (collections.deque, "collections.deque([{}])"),
    (collections.abc.ValuesView, "iter([{}])"),
)
UNSPELT = re.compile(r"inf|nan|[<.]\.\.|<code|Ellipsis")  # in the repr of builtin data: may not be an expression
# Names that `spell` uses, for programs that read its expressions.
KNOWN = {"collections": collections, "datetime": datetime, "Decimal": Decimal, "Fraction": Fraction, "spell": None}
NEW_NAMESPACES = 0x10000000 | 0x20000 | 0x20000000 | 0x40000000 | 0x8000000 | 0x4000000  # user, mnt, pid, net, ipc, uts
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = (ctypes.c_long(n) for n in (444, 445, 446))
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
# Machine -> its name in seccomp's data, and its numbers of socket, ptrace, process_vm_readv and _writev, keyctl,
# perf_event_open, bpf, userfaultfd, io_uring_setup, pidfd_getfd.
REFUSED = {
    "x86_64": (0xC000003E, (41, 101, 310, 311, 250, 298, 321, 323, 425, 438)),
    "aarch64": (0xC00000B7, (198, 117, 270, 271, 219, 241, 280, 282, 425, 438)),
}
MAX_REPORT_BYTES = 256 << 20


def read_frame(descriptor: int) -> "bytes | None":
    """Reads one frame; None if the other side has gone."""
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
    """Continues in a fork that is process 1 of new namespaces; returns False if the machine does not allow them."""
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


def landlock_rules(libc: ctypes.CDLL, run: "tuple[str, ...]" = (), write: "tuple[str, ...]" = ()) -> int:
    """Builds a rule set: read the standard library, touch no other file, no TCP, no signals out. -1 without Landlock.

    Args:
        run: Files and folders that may also be read and executed.
        write: Folders in which files may also be created, changed and executed.
    """
    abi = libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    if abi < 1:
        return -1
    files = 0x1FFF | (abi >= 2) << 13 | (abi >= 3) << 14 | (abi >= 5) << 15
    attributes = struct.pack("=QQQ", files, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    rules: int = libc.syscall(LANDLOCK_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    prefix = sys.base_prefix
    read = (f"{prefix}/lib", f"{prefix}/lib64", "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache")
    for paths, on_file, on_folder in ((read, 4, 8), (run, 5, 8), (write, 7 | files & 0x4000, files & 0x31BF)):
        for path in paths:
            with contextlib.suppress(OSError):
                target = os.open(path, os.O_PATH)
                access = on_file | on_folder * os.path.isdir(path)  # read (a file 4, a folder 8), execute 1, write 2
                libc.syscall(LANDLOCK_ADD, rules, 1, struct.pack("=Qi", access, target), 0)
                os.close(target)
    return rules


def filter_calls(libc: ctypes.CDLL) -> bool:
    """Refuses system calls that no program here needs: sockets, tracing, others' memory, io_uring."""
    numbers = REFUSED.get(os.uname().machine)
    if numbers is None:
        return False
    audit, refused = numbers
    lines = [(0x20, 0, 0, 4), (0x15, 1, 0, audit), (0x06, 0, 0, 0x80000000), (0x20, 0, 0, 0)]  # another machine: kill
    lines += [(0x15, len(refused) - index, 0, number) for index, number in enumerate(refused)]
    lines += [(0x06, 0, 0, 0x7FFF0000), (0x06, 0, 0, 0x00050000 | errno.EPERM)]  # allow, refuse
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    program = struct.pack("@HxxxxxxP", len(lines), ctypes.addressof(code))
    return not libc.prctl(PR_SET_SECCOMP, 2, program, 0, 0)


def limit_process(config: dict[str, Any]) -> None:
    cpu, memory, size, processes = (config[name] for name in ("cpu_s", "memory_bytes", "file_bytes", "processes"))
    for name, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, size, size),
        (resource.RLIMIT_NPROC, processes, processes),  # 0: no fork and no thread; the kernel does not hold root to it
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NOFILE, 64, 64),
    ):
        resource.setrlimit(name, (soft, hard))


# ------------------------------------------------------------------ inside the fork


def spell(value: Any) -> str:
    """Writes a value as a Python expression of builtin and standard data only, complete and without addresses.

    Subclasses become their base type; an iterator is used up and becomes `iter([...])`.
    """
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        return repr(int(value)) if abs(value) < 10**4000 else hex(int(value))  # decimal digits are limited
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else f"float({str(float(value))!r})"
    if isinstance(value, complex):
        return repr(complex(value))
    if isinstance(value, (str, bytes)):
        return repr(str(value) if isinstance(value, str) else bytes(value))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{spell(key)}: {spell(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (Decimal, Fraction, range, datetime.date, datetime.time, datetime.timedelta)):
        return repr(value)
    for kind, form in CONTAINERS:
        if isinstance(value, kind):
            with contextlib.suppress(ValueError):
                marshal.dumps(value)  # takes builtin data only, no subclass, down to the last item
                text = repr(value)
                if not UNSPELT.search(text):
                    return text
            inner = ", ".join(spell(item) for item in value) + ("," if kind is tuple and len(value) == 1 else "")
            return form.format(inner) if value or kind in (tuple, list, collections.deque) else f"{kind.__name__}()"
    if isinstance(value, Iterator):
        return f"iter([{', '.join(spell(item) for item in value)}])"
    raise TypeError(f"result of type {type(value).__name__} is not plain data")


KNOWN["spell"] = spell


def execute(job: dict[str, Any], tell: Callable[[str, str], None]) -> None:
    """Runs the program, then the expressions in its namespace; reports each value or error, and lastly how it ended."""
    longest, spelt = job["max_chars"], spell

    def shown(raised: BaseException) -> str:
        text = type(raised).__name__
        with contextlib.suppress(BaseException):
            message = str(raised).strip().partition("\n")[0].partition(" at 0x")[0]
            text += f": {message[:longest]}" if message else ""
        return text

    try:
        module = sys.modules["program"] = types.ModuleType("program")
        space = module.__dict__
        space.update(KNOWN if job["known"] else {})
        exec(compile(job["source"], "<program>", "exec", dont_inherit=True), space)
        if job["needs"] and job["needs"] not in space:
            raise NameError(f"name {job['needs']!r} is not defined")
    except BaseException as raised:  # SystemExit and KeyboardInterrupt are results like any other
        tell("end", shown(raised))
        return
    for expression in job["expressions"]:
        try:
            text = spelt(eval(compile(expression, "<call>", "eval", dont_inherit=True), space))
            tell("value", text if len(text) <= longest else text[:longest] + "...")
        except BaseException as raised:
            if not job["every"]:
                tell("end", shown(raised))
                return
            tell("error", shown(raised))
    tell("end", "")


def run_fork(libc: ctypes.CDLL, job: dict[str, Any], rules: int, report: int) -> None:
    """Does the work of a forked process: drops all privileges, runs the program, and reports."""
    os.setsid()
    if rules >= 0 and libc.syscall(LANDLOCK_RESTRICT, rules, 0):
        return
    os.closerange(3, report)
    os.closerange(report + 1, 64)
    limit_process(job)
    random.seed(0)
    dump, write, leave = json.dumps, write_all, os._exit
    execute(job, lambda kind, text: write(report, dump([kind, text]).encode() + b"\n"))
    leave(0)


# ------------------------------------------------------------------ the server


def collect(report: int, caller: int, deadline: float, most: int = MAX_REPORT_BYTES) -> "tuple[bytes, bool]":
    """Returns what the fork wrote until it closed the pipe or wrote too much, and whether the deadline passed first."""
    poller = select.poll()
    poller.register(report, select.POLLIN)
    poller.register(caller, 0)  # only tells that the caller has gone
    data = bytearray()
    while len(data) <= most:
        left = deadline - time.monotonic()
        ready = dict(poller.poll(left * 1000)) if left > 0 else {}
        if caller in ready:
            os._exit(0)
        if not ready:
            return bytes(data), True
        chunk = os.read(report, 1 << 16)
        if not chunk:
            break
        data += chunk
    return bytes(data), False


def end_all(pid: int, leave_until: float = 0.0) -> "tuple[int, float]":
    """Kills and reaps the fork and whatever it left behind; returns its wait status and processor seconds.

    Args:
        leave_until: Time (`time.monotonic`) until which a fork that has closed its pipe may end by itself.
    """
    while time.monotonic() < leave_until and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.002)
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
        job = config | json.loads(request)
        report, fork_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                run_fork(libc, job, rules, fork_end)
            finally:
                os._exit(1)
        os.close(fork_end)
        data, expired = collect(report, requests, time.monotonic() + job["wall_s"])
        os.close(report)
        status, cpu_s = end_all(pid)
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        expired = expired or killed == signal.SIGXCPU or bool(killed and cpu_s >= job["cpu_s"])
        write_all(replies, struct.pack("!I?B", len(data) + 2, expired, killed) + data)


def run_command(libc: ctypes.CDLL, config: dict[str, Any], rules: int, output: int) -> None:
    """Runs one command with the caller's stdin, and forwards how it ended and what it wrote."""
    report, fork_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            limit_process(config)
            for target in (1, 2):
                os.dup2(fork_end, target)
            os.closerange(3, 64) if rules < 0 else os.closerange(3, rules)
            if rules >= 0 and libc.syscall(LANDLOCK_RESTRICT, rules, 0):
                os._exit(127)
            os.closerange(3, 64)
            os.execve(config["command"][0], config["command"], config["environment"])
        finally:
            os._exit(127)
    os.close(fork_end)
    deadline = time.monotonic() + config["wall_s"]
    data, expired = collect(report, output, deadline, config["max_bytes"])
    os.close(report)
    status, cpu_s = end_all(pid, deadline if len(data) <= config["max_bytes"] else 0.0)
    killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    expired = (
        expired or time.monotonic() >= deadline or killed == signal.SIGXCPU or bool(killed and cpu_s >= config["cpu_s"])
    )
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 255
    write_all(output, struct.pack("!I?BB", len(data) + 3, expired, killed, code) + data)


def main() -> None:
    config = json.loads(sys.argv[1])
    sys.path[:] = [path for path in sys.path if path]
    os.environ.clear()
    once = "command" in config
    requests, replies = os.dup(0), os.dup(1)
    if not once:
        os.dup2(2, 0)
    os.dup2(2, 1)
    libc = ctypes.CDLL(None, use_errno=True)
    in_force = ["namespaces"] if "namespaces" in config["layers"] and enter_namespaces(libc) else []
    libc.capset(struct.pack("=Ii", 0x20080522, 0), bytes(24))
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    paths = (tuple(config["run"]), tuple(config["write"])) if once else ()
    rules = landlock_rules(libc, *paths) if "landlock" in config["layers"] else -1
    in_force += ["landlock"] if rules >= 0 else []
    in_force += ["seccomp"] if "seccomp" in config["layers"] and filter_calls(libc) else []
    if once:
        if set(config["minimum"]) <= set(in_force):
            run_command(libc, config, rules, replies)
        return
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()
    hello = json.dumps(in_force).encode()
    write_all(replies, struct.pack("!I", len(hello)) + hello)
    serve(libc, config, rules, requests, replies)


if __name__ == "__main__":
    main()
