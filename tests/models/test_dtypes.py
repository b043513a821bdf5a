"""Which number format "auto" is."""

from __future__ import annotations

from pathlib import Path

import pytest

from symphony.models import dtypes
from symphony.models.dtypes import resolved
from symphony.types import SymphonyError

X86 = "processor\t: 0\nflags\t\t: fpu avx512f {}\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.mark.parametrize(
    ("told", "dtype"),
    [
        (X86.format("avx512_bf16"), "bfloat16"),
        (X86.format("amx_bf16 amx_tile"), "bfloat16"),
        (ARM.format("bf16"), "bfloat16"),
        (X86.format("avx2"), "float32"),
        (ARM.format(""), "float32"),
        ("", "float32"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(told: str, dtype: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(told)
    assert resolved("auto", "cpu", tmp_path / "cpuinfo") == dtype


@pytest.mark.parametrize(("device", "dtype"), [("cpu", "float32"), ("auto", "bfloat16"), ("cuda:0", "bfloat16")])
def test_auto_is_bfloat16_on_a_gpu(device: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtypes, "cards", lambda: {"cuda:0": 1})
    assert resolved("auto", device, tmp_path / "none") == dtype


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_format_that_is_named_is_that_on_every_machine(dtype: str) -> None:
    assert resolved(dtype, "cpu") == resolved(dtype, "cuda:0") == dtype


def test_any_other_format_is_refused() -> None:
    with pytest.raises(SymphonyError, match="dtype: found 'half', allowed: auto, float32, bfloat16, float16"):
        resolved("half")
