"""Measures the pool SYMPHONY-S in NF4, all three models resident under a memory cap: tokens per second of several ways.

    python bench/gpu_pool.py [--cap 24] [--rounds 2]

The models have random weights in the real models' shapes, so nothing is downloaded. They are drawn and written first,
which takes 46 GB of disk (TMPDIR says where). Without a GPU it runs on the CPU with toy models of two layers: that
tests the script and says nothing about a GPU. Each of n sequences is a request of 512 tokens (toys: 128) with 64 new
ones (toys: 16): four draws each of n/4 prompts that share their first three quarters, as in a search. Results are
tokens per second of the pool (tokens of all models over the sum of their times, the best round of each; of CPU time
if there is no GPU):
  reuse_n    the project's way: agent -> batcher -> store (live) -> backend
  plain_n    the same without reuse of prefixes
  raw_n      plain `generate` with do_sample, one batch of n
  serial     plain `generate`, one request at a time, as the published code asks
  planned_gb, held_gb, peak_gb   planned weights; torch's tensors after loading all; their later peak (CPU: 0)
  load_s     seconds to load and quantise all models, including checksums
  halvings   how often memory ran out
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from shapes import SHAPES, TOYS, write
from throughput import best, pipeline, raw, request
from transformers.utils import logging

from symphony.models.footprint import footprint
from symphony.models.hf.backend import HFBackend
from symphony.models.hf.batching import release
from symphony.types import Request

SEQUENCES = (1, 16, 64)
SERIAL = 4  # requests; the rate of one at a time does not depend on their number


def searched(count: int, prompt: int, new: int) -> list[Request]:
    """Makes requests as a search does: four draws of each prompt, with three quarters shared by all."""
    texts = ["x" * (prompt * 3 // 4) + f"{number:04d}" * (prompt // 16) for number in range(max(1, count // 4))]
    return [request(texts[number // 4], str(number // 4), number % 4, new) for number in range(count)]


def load(root: Path, device: str) -> tuple[dict[str, HFBackend], int, float]:
    """Returns the backends, planned bytes of weights, and seconds to load and quantise."""
    shapes = SHAPES if device == "cuda" else TOYS
    for shape in shapes:
        write(shape, root / shape.name, device=device)
        release()
    settings = {"dtype": "bfloat16", "quantization": "nf4"}
    planned = sum(footprint(root / shape.name, **settings).weights for shape in shapes)
    begin = time.perf_counter()
    backends = {
        shape.name: HFBackend(root / shape.name, device=device, max_batch_tokens=65536, **settings)  # type: ignore[arg-type]
        for shape in shapes
    }
    return backends, planned, time.perf_counter() - begin


def rates(backend: HFBackend, prompt: int, new: int, rounds: int) -> dict[str, tuple[float, float]]:
    """Measures tokens and seconds of each way; on a CPU in CPU-seconds, which other load disturbs less."""

    def without(requests: list[Request]) -> int:
        backend._shares = False
        try:
            return pipeline(backend, requests)
        finally:
            backend._shares = True

    ways: dict[str, Callable[[], int]] = {}
    for count in SEQUENCES:
        asked = searched(count, prompt, new)
        ways[f"reuse_{count}"] = lambda asked=asked: pipeline(backend, asked)  # type: ignore[misc]
        ways[f"plain_{count}"] = lambda asked=asked: without(asked)  # type: ignore[misc]
        ways[f"raw_{count}"] = lambda asked=asked: raw(backend, asked, len(asked))  # type: ignore[misc]
    few = searched(SERIAL, prompt, new)
    ways["serial"] = lambda: raw(backend, few, 1)
    found = best(rounds, *ways.values())
    seconds = [one.cpu_seconds if backend.model.device.type == "cpu" else one.seconds for one in found]
    return {name: (one.rate * one.seconds, spent) for name, one, spent in zip(ways, found, seconds, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cap", type=float, default=24.0, help="GB (10^9 bytes) of the GPU that may be used")
    parser.add_argument("--rounds", type=int, default=2, help="measurements of each; the best one counts")
    given = parser.parse_args()
    logging.set_verbosity_error()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prompt, new = (512, 64) if device == "cuda" else (128, 16)
    if device == "cuda":
        share = given.cap * 1e9 / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    with tempfile.TemporaryDirectory() as root:
        backends, planned, seconds = load(Path(root), device)
    held = torch.cuda.memory_allocated() if device == "cuda" else 0
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    totals: dict[str, list[float]] = {}
    for name, backend in backends.items():
        found = rates(backend, prompt, new, given.rounds)
        print(name, {way: round(tokens / spent, 1) for way, (tokens, spent) in found.items()}, flush=True)
        for way, (tokens, spent) in found.items():
            total = totals.setdefault(way, [0.0, 0.0])
            total[0], total[1] = total[0] + tokens, total[1] + spent
    figures = {way: round(tokens / spent, 1) for way, (tokens, spent) in totals.items()}
    figures |= {
        "planned_gb": round(planned / 1e9, 3),
        "held_gb": round(held / 1e9, 3),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 3) if device == "cuda" else 0.0,
        "load_s": round(seconds, 1),
        "halvings": sum(backend.budget.halvings for backend in backends.values()),
    }
    named = torch.cuda.get_device_name() if device == "cuda" else "CPU, toy models"
    print(json.dumps({"bench": "gpu_pool", "device": named, "figures": figures}))


if __name__ == "__main__":
    main()
