"""The caller's side of a `sandbox_child` process: sends and receives frames, each preceded by its length."""

from __future__ import annotations

import contextlib
import os
import select
import struct
import subprocess
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Server:
    """A process of `sandbox_child` and the frames exchanged with it."""

    process: subprocess.Popen[bytes]
    protection: str

    def exchange(self, request: bytes, timeout_s: float) -> bytes | None:
        """Sends a request and returns the reply frame, or None if the server has gone or does not answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            data = struct.pack("!I", len(request)) + request if request else b""
            while data:
                data = data[os.write(self.process.stdin.fileno(), data) :]
            return read_frame(self.process.stdout.fileno(), time.monotonic() + timeout_s)
        except OSError:
            return None

    def send_and_close(self, data: bytes, timeout_s: float) -> bytes | None:
        """Writes all of stdin, closes it, and waits for the single reply; None if there is none."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self.process.stdin.fileno(), data) :]
        self.process.stdin.close()
        try:
            return read_frame(self.process.stdout.fileno(), time.monotonic() + timeout_s)
        except OSError:
            return None

    def stop(self) -> None:
        """Ends the server: closing its pipes makes it exit and end its processes; it is killed if it does not."""
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


def read_frame(descriptor: int, deadline: float) -> bytes | None:
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
