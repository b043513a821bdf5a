"""Compares a model's memory with the plan: NF4, the three layer shapes of SYMPHONY-S at reduced depth.

    python bench/footprint.py [--layers 2] [--model qwen2_5_7b]

Each model has random weights. It is written, and loaded, in a process of its own on the CPU, with bfloat16 for what is
not quantised. First the process loads and asks a tiny model, so that libraries and their buffers are not counted.
Sizes are growth of the process's resident memory (GB, 10^9 bytes):
  planned, measured  weights: `symphony.models.footprint` against resident memory after loading
  error              measured over planned, minus 1; goal: within 0.10
  cache              planned cache of the 16 sequences of 256 tokens that are then answered
  beside             the peak meanwhile, minus measured weights and planned cache: covered by the plan's allowance
                     (1 GB on a GPU; on a CPU bitsandbytes unpacks one matrix at a time)
At reduced depth the embedding and the head, which stay bfloat16, are a larger share than in the whole model.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from shapes import SHAPES, TOYS, Shape, write
from throughput import request

from symphony.models.footprint import footprint
from symphony.models.hf.backend import HFBackend

ROWS, PROMPT, NEW = 16, 248, 4
TURNS = 4  # tokens that the chat template adds to a prompt


def resident(field: str = "VmRSS") -> int:
    """Returns the bytes of this process now ("VmRSS") or at its peak ("VmHWM")."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024


def settled() -> int:
    """Returns the bytes in use, without those that the allocator keeps for later."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    return resident()


def ask(backend: HFBackend) -> None:
    """Asks for rows of one prompt, which is prefilled once, so that this takes little time."""
    backend.generate([request("x" * PROMPT, "p", index, NEW) for index in range(ROWS)])


def measure(tiny: Path, folder: Path) -> tuple[int, int]:
    """Measures the growth by loading, and the peak while answering."""
    ask(HFBackend(tiny, dtype="bfloat16", quantization="nf4"))
    before = settled()
    backend = HFBackend(folder, dtype="bfloat16", quantization="nf4")
    loaded = settled()
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    ask(backend)
    return loaded - before, resident("VmHWM") - before


def alone(function, *arguments):  # type: ignore[no-untyped-def]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def compare(shape: Shape, layers: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as root:
        tiny, folder = Path(root) / "tiny", Path(root) / shape.name
        alone(write, TOYS[0], tiny)
        alone(in_depth, shape, folder, layers)
        plan = footprint(folder, dtype="bfloat16", quantization="nf4")
        loaded, busy = alone(measure, tiny, folder)
    cache = ROWS * (PROMPT + TURNS + NEW) * plan.cache_per_token
    return {
        "planned": round(plan.weights / 1e9, 3),
        "measured": round(loaded / 1e9, 3),
        "error": round(loaded / plan.weights - 1, 4),
        "cache": round(cache / 1e9, 3),
        "beside": round((busy - loaded - cache) / 1e9, 3),
    }


def in_depth(shape: Shape, folder: Path, layers: int) -> None:
    write(shape, folder, layers=layers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2, help="layers of each model")
    parser.add_argument("--model", choices=[shape.name for shape in SHAPES], help="only this model")
    given = parser.parse_args()
    figures = {}
    for shape in SHAPES:
        if given.model in (None, shape.name):
            found = compare(shape, given.layers)
            print(shape.name, found, flush=True)
            figures |= {f"{shape.name}_{name}": value for name, value in found.items()}
    print(json.dumps({"bench": "footprint", "figures": figures}))


if __name__ == "__main__":
    main()
