"""An OpenAI-compatible endpoint on this machine that answers from a script; no model is behind it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as it arrived; `body` is the JSON of it."""

    number: int
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What to answer.

    Attributes:
        content: Bytes, text, or what is sent as JSON.
        delay_s: Seconds before the answer.
        cut: Closes the connection: "before" any byte of the answer, or in the "middle" of it.
    """

    content: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: str = ""


def said(text: Any, *, prompt: int = 7, completion: int = 3, reason: str = "stop", **usage: Any) -> dict[str, Any]:
    """A chat completion with one choice."""
    message = {"role": "assistant", "content": text}
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, **usage}
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": counts}


Script = Callable[[Asked], Any]
"""A `Reply`, or its content."""


class StubServer:
    """Serves on a port, by default a free one, in a thread, while the `with` block lasts.

    Attributes:
        asked: Every request, in order of arrival.
        most: Requests that were in flight at once, at most.
    """

    def __init__(self, script: Script, port: int = 0) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.most = 0
        self.port = port
        self._open = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        async def begin() -> asyncio.Server:
            return await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)

        async def end() -> None:
            server.close()
            for _ in range(3):  # a connection that was just accepted has no handler yet
                await asyncio.sleep(0)
                for handler in self._handlers:
                    handler.cancel()
                await asyncio.gather(*self._handlers, return_exceptions=True)
            await asyncio.sleep(0)

        server = self._loop.run_until_complete(begin())
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(end())
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        self._handlers.add(handler)
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self._handlers.discard(handler)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answers one request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:]) if name}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(
            number=len(self.asked), path=head[0].split(" ")[1], headers=headers, body=json.loads(content or b"{}")
        )
        self.asked.append(asked)
        self._open += 1
        self.most = max(self.most, self._open)
        try:
            reply = self.script(asked)
            reply = reply if isinstance(reply, Reply) else Reply(content=reply)
            await asyncio.sleep(reply.delay_s)
        finally:
            self._open -= 1
        if reply.cut == "before":
            return False
        raw = reply.content
        raw = raw if isinstance(raw, bytes) else raw.encode() if isinstance(raw, str) else json.dumps(raw).encode()
        sent = {"content-type": "application/json", "content-length": str(len(raw)), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
        whole = "\r\n".join(lines).encode("latin-1") + raw
        writer.write(whole[: len(whole) - len(raw) // 2] if reply.cut else whole)
        await writer.drain()
        if reply.cut:  # let what was written arrive
            writer.close()
            await writer.wait_closed()
        return not reply.cut
