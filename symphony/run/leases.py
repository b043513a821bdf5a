"""Leases of GPUs: several processes of a machine share its GPUs, and each sees only those that it holds.

Snakemake counts GPUs but does not say which one a job gets. `SYMPHONY_GPUS` names them, e.g. `0,1,2,3` (whatever
CUDA_VISIBLE_DEVICES accepts). A lease is a lock on a file a GPU, which the system releases however the process ends.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from symphony.types import SymphonyError

VARIABLE = "SYMPHONY_GPUS"
VISIBLE = "CUDA_VISIBLE_DEVICES"
_PAUSE_S = 0.5
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)*")
_MOST = 1024


def gpus(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Returns the GPUs that may be leased, in order; none without `SYMPHONY_GPUS`.

    Raises:
        SymphonyError: The variable is no list of different names.
    """
    text = environment.get(VARIABLE, "")
    names = [name.strip() for name in text.split(",")] if text.strip() else []
    if not all(_NAME.fullmatch(name) for name in names) or len(set(names)) < len(names) or len(names) > _MOST:
        allowed = f"different names separated by commas, as for {VISIBLE}, e.g. 0,1,2,3"
        raise SymphonyError(f"{VARIABLE}: found {text[:80]!r}, allowed: {allowed}")
    return names


@contextmanager
def leased(count: int, say: Callable[[str], None], *, pause_s: float = _PAUSE_S) -> Iterator[list[str]]:
    """Holds GPUs, waiting until as many are free, and shows this process no others (`CUDA_VISIBLE_DEVICES`).

    It must be entered before anything uses a GPU. It holds all of them or none, so that two processes that need
    several never wait for each other.

    Args:
        count: How many; 0 holds none, and changes nothing.
        say: Gets one line if it must wait.

    Yields:
        Names of the GPUs that it holds; none without `SYMPHONY_GPUS`, where the process uses what it sees.

    Raises:
        SymphonyError: More are needed than there are, or the folder of the locks belongs to somebody else.
    """
    names = gpus()
    if not names or count < 1:
        yield []
        return
    if count > len(names):
        raise SymphonyError(f"--gpus: found {count}, allowed: at most {len(names)}, the GPUs that {VARIABLE} names")
    folder = _folder()
    with ExitStack() as stack:
        told = False
        while not (held := _try(names, count, folder, stack)):
            if not told:
                say(f"waiting for {count} of the GPUs {', '.join(names)}")
                told = True
            time.sleep(random.uniform(0.5, 1.5) * pause_s)
        before = os.environ.get(VISIBLE)
        os.environ[VISIBLE] = ",".join(held)
        stack.callback(_restore, before)
        yield held


def _folder() -> Path:
    """Returns the folder of the locks: one for each user of this machine (and for each job of Slurm, whose GPU 0 may
    be another than that of the next job)."""
    name = f"symphony-gpus-{os.getuid()}" + (f"-{job}" if (job := os.environ.get("SLURM_JOB_ID", "")).isdigit() else "")
    folder = Path(tempfile.gettempdir()) / name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise SymphonyError(f"{folder}: found {error.strerror}, allowed: a folder for the locks of GPUs") from error
    if status.st_uid != os.getuid() or folder.is_symlink():
        raise SymphonyError(f"{folder}: found a folder of somebody else, allowed: one that this user has made")
    return folder


def _try(names: list[str], count: int, folder: Path, stack: ExitStack) -> list[str]:
    """Locks that many GPUs for as long as `stack` is open; none if fewer are free."""
    with ExitStack() as own:
        held: list[str] = []
        for name in names:
            if len(held) == count:
                break
            stream = own.enter_context((folder / f"{name.replace('/', '_')}.lock").open("w"))
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.close()
                continue
            held.append(name)
        if len(held) < count:
            return []
        stack.push(own.pop_all())
        return held


def _restore(before: str | None) -> None:
    if before is None:
        os.environ.pop(VISIBLE, None)
    else:
        os.environ[VISIBLE] = before
