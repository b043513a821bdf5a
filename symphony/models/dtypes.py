"""Number formats of a Hugging Face model, and which of them are fast on this machine. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from symphony.models.devices import AUTO, CPU, cards
from symphony.types import SymphonyError

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
BYTES_OF = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes per number."""
_FAST = {"avx512_bf16", "amx_bf16", "bf16"}  # flags of x86 and ARM processors that multiply bfloat16
_CPU_INFO = Path("/proc/cpuinfo")


def check_dtype(dtype: Any) -> None:
    """Raises SymphonyError if the value is not a number format."""
    if dtype not in get_args(Dtype):
        raise SymphonyError(f"dtype: found {dtype!r}, allowed: {', '.join(get_args(Dtype))}")


def resolved(dtype: str, device: str = CPU, info: Path = _CPU_INFO) -> str:
    """Resolves "auto": bfloat16 on a GPU or on a processor that multiplies it, else float32; returns others unchanged.

    Raises:
        SymphonyError: Not a number format.
    """
    check_dtype(dtype)
    if dtype != AUTO:
        return dtype
    on_gpu = device != CPU and (device != AUTO or bool(cards()))
    return "bfloat16" if on_gpu or _FAST & _flags(info) else "float32"


def _flags(info: Path) -> set[str]:
    """Returns the processor's feature flags; empty if the system has no such file."""
    try:
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    values = (line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features")))
    return set(next(values, "").split())
