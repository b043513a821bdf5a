"""Stands for vLLM's `vllm` in tests: an OpenAI-compatible server in a process of its own that answers from a script.

`options` of `pool.serve` tell what goes wrong with it: `--slow S` until it listens, `--die-after N` answers, `--mute`
never answers a health check. `--log FILE` gets a line for each start, and one for each request for a completion.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.stub_server import Asked, Reply, StubServer, said


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("serve", choices=["serve"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--load-format", choices=["safetensors"])
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("--die-after", type=int, default=10**9)
    parser.add_argument("--mute", action="store_true")
    parser.add_argument("--names", default="one,two")
    args = parser.parse_args()
    print("loading", flush=True)
    write(args.log, f"start {os.getpid()}")
    time.sleep(args.slow)
    count = 0

    def script(asked: Asked) -> Any:
        nonlocal count
        if asked.path.endswith("/models"):
            return Reply(status=503) if args.mute else {"data": [{"id": name} for name in args.names.split(",")]}
        count += 1
        if count > args.die_after:
            print("CUDA error: out of memory", flush=True)
            os._exit(3)
        write(args.log, f"asked {asked.body['model']}")
        return said(f"Thought: {count % 3}.\nAction: search[Bo]\nValue: 0.5 Confidence: 0.5")

    with StubServer(script, port=args.port):
        threading.Event().wait()


def write(log: Path, line: str) -> None:
    with log.open("a") as stream:
        stream.write(f"{line}\n")


if __name__ == "__main__":
    main()
