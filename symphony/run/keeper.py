"""A process that starts one server of models, watches it, and ends it with the last process that uses it.

`symphony.run.serving` starts it, by its path, with the lock of `KEEPER` inherited and a JSON object as standard input.
It uses nothing but the standard library, so that it starts at once. Whoever uses the server holds a shared lock on
`LEASE`; the system releases it when that process ends, however it ends. When nobody holds one, the keeper ends the
server. If the keeper itself is killed, the system kills the server.
"""

from __future__ import annotations

import ctypes
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

LEASE, KEEPER, STATE, LOG = "lease", "keeper", "state.json", "server.log"
"""Files of a server's folder: two locks, what the keeper tells, and what the server prints."""
LOG_BYTES = 5_000_000
"""A longer log begins again."""
_HOST = "127.0.0.1"
_TURN_S = 0.1
_PORT_S = 3.0
"""Seconds in which a port may become free: a server whose keeper was killed is just ending."""
_END_S = 5.0
"""Seconds from SIGTERM to SIGKILL."""
_PR_SET_PDEATHSIG = 1


class Ended(Exception):
    """Raised when the server cannot be used, with the reason."""


def write_state(folder: Path, **state: Any) -> None:
    """Replaces the state as a whole."""
    temporary = folder / f".{STATE}.{os.getpid()}"
    temporary.write_text(json.dumps({"keeper": os.getpid(), **state}))
    temporary.replace(folder / STATE)


def listed(port: int, timeout_s: float = 5.0) -> list[str] | None:
    """Returns the models that a server says it has; None if it does not answer as an OpenAI-compatible server does."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", "/v1/models")
        reply = connection.getresponse()
        content = json.loads(reply.read(1_000_000)) if reply.status == 200 else None
        return [str(model["id"]) for model in content["data"]] if content else None
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError, RecursionError):
        return None
    finally:
        connection.close()


def is_listening(port: int) -> bool:
    """Whether a program listens on the port."""
    with socket.socket() as knock:
        knock.settimeout(1.0)
        return knock.connect_ex((_HOST, port)) == 0


class Keeper:
    """One server, from its start to its end.

    Args:
        folder: The server's folder.
        job: command: words; environment: its variables; cwd: its working directory; port; start_s; engine; models:
            names that a server found on the port must have; settings: digest of what the server is made from.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self._folder, self._job = folder, job
        self._lease = (folder / LEASE).open("w")
        self._server: subprocess.Popen[bytes] | None = None

    def keep(self) -> None:
        """Starts the server, or takes one that is there, and returns when nobody uses it any more."""
        try:
            if self._is_free():
                self._start()
                self._tell("ready")
            else:
                self._tell("ready", found=True)
            turns = 0
            while not self._abandoned():
                time.sleep(_TURN_S)
                turns += 1
                self._watch(look=self._server is None and turns % 50 == 0)
        except Ended as error:
            self.end()
            self._tell("failed", why=str(error))
            while not self._abandoned():  # all who wait for it must read why
                time.sleep(_TURN_S)

    def end(self) -> None:
        """Ends the server and every process of its session."""
        if self._server is None:
            return
        for number, seconds in ((signal.SIGTERM, _END_S), (signal.SIGKILL, _END_S)):
            with suppress(OSError):
                os.killpg(self._server.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._server.wait(seconds)
        self._server = None

    def _tell(self, state: str, **more: Any) -> None:
        write_state(self._folder, state=state, settings=self._job["settings"], port=self._job["port"], **more)

    def _abandoned(self) -> bool:
        """Whether nobody uses the server; then nobody can begin to until this process has ended."""
        try:
            fcntl.flock(self._lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _is_free(self) -> bool:
        """Whether the port is free; if not, a server that has the models listens there."""
        port, until = self._job["port"], time.monotonic() + _PORT_S
        while is_listening(port):
            models = listed(port)
            if models is not None and set(self._job["models"]) <= set(models):
                return False
            if time.monotonic() > until:
                has = "no server of models" if models is None else f"a server of {', '.join(models) or 'no model'}"
                wanted = f"a server of {', '.join(self._job['models']) or 'models'}"
                raise Ended(f"port: found {port} in use by {has}, allowed: a free port, or {wanted}")
            time.sleep(_TURN_S)
        return True

    def _start(self) -> None:
        """Returns when the server answers."""
        libc = ctypes.CDLL(None)
        with (self._folder / LOG).open("wb") as log:
            pass
        with (self._folder / LOG).open("ab") as log:
            self._server = self._spawn(log, lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL))
        until = time.monotonic() + self._job["start_s"]
        while listed(self._job["port"], timeout_s=1.0) is None:
            self._watch()
            if self._abandoned():
                raise Ended("nobody waits for it any more")
            if time.monotonic() > until:
                finding = f"no answer within {self._job['start_s']:g} s ({self._last_line()})"
                raise Ended(f"start_s: found {finding}, allowed: {self._advice()}")
            time.sleep(_TURN_S)

    def _spawn(self, log: BinaryIO, prepare: Any) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._job["command"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._job["cwd"],
                env=self._job["environment"],
                start_new_session=True,
                preexec_fn=prepare,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Ended(f"engine: found {self._job['command'][0]}, which cannot be started ({error})") from error

    def _watch(self, *, look: bool = False) -> None:
        """Checks that the server lives; with `look`, asks one that this process has not started."""
        if self._server is not None:
            code = self._server.poll()
            if code is not None:
                how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
                raise Ended(
                    f"engine: found that its server ended ({how}: {self._last_line()}), allowed: {self._advice()}"
                )
            with suppress(OSError):
                if (self._folder / LOG).stat().st_size > LOG_BYTES:
                    os.truncate(self._folder / LOG, 0)
        elif look and listed(self._job["port"]) is None:
            finding = f"that the server which was on {self._job['port']} answers no more"
            raise Ended(f"port: found {finding}, allowed: a server that lasts as long as its users")

    def _last_line(self) -> str:
        with (self._folder / LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode(errors="replace").split("\n")
        words = [" ".join("".join(c if c.isprintable() else " " for c in line).split()) for line in lines]
        return next((line[:200] for line in reversed(words) if line), "it printed nothing")

    def _advice(self) -> str:
        return f"a server that answers at /v1/models; it printed {self._folder / LOG}"


def _stop(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def main(folder: Path) -> None:
    """Keeps the server that standard input describes."""
    job = json.loads(sys.stdin.read())
    if os.fork():  # the parent waits for this process alone
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    write_state(folder, state="starting", settings=job["settings"], port=job["port"])
    keeper = Keeper(folder, job)
    try:
        keeper.keep()
    except OSError as error:  # e.g. the folder was removed
        with suppress(OSError):
            write_state(folder, state="failed", settings=job["settings"], why=f"its keeper ended: {error}")
    finally:
        keeper.end()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
