"""Weights to a quantised checkpoint by bitsandbytes; works on a CPU, where it saves memory and costs time."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

from symphony.models.hf import load_model
from symphony.models.revision import weights_digest
from symphony.types import SymphonyError

SCHEMES = ("nf4", "fp4", "int8", "none")


def quantise(source: Path, target: Path, scheme: str, *, text: str | None = None) -> dict[str, Any]:
    """Writes the folder `target`: checkpoint, tokenizer and, last, manifest.json.

    nf4 and fp4 quantise their scales too (double quantisation); arithmetic is float32. "none" saves at float32.

    Args:
        source: A Hugging Face folder.
        target: Replaced when it is there.
        scheme: One of `SCHEMES`.
        text: Compared on: relative error of the logits (2-norm) and share of positions with the same best token.

    Returns:
        The manifest: source digest, scheme, `source_bytes` and `target_bytes` (weight files), `memory_bytes` (of the
        loaded target), `load_seconds` (of the target), `relative_logit_error` and `top1_agreement` (None
        without text).

    Raises:
        SymphonyError: Unknown scheme, no model at `source`, or a target that can not be written.
    """
    if scheme not in SCHEMES:
        raise SymphonyError(f"scheme: found {scheme!r}, allowed: {', '.join(SCHEMES)}")
    digest = weights_digest(source)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    before = None if text is None else _logits(_load(source, None), tokenizer, text)
    made = _load(source, None if scheme == "none" else scheme)
    draft = target.with_name(f"{target.name}.part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        made.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        del made
        begin = time.perf_counter()
        saved = _load(draft, None)
        load_seconds = time.perf_counter() - begin
        error, agreement = (None, None) if before is None else _compare(before, _logits(saved, tokenizer, text or ""))
        manifest = {
            "source_digest": digest,
            "scheme": scheme,
            "source_bytes": _weight_bytes(source),
            "target_bytes": _weight_bytes(draft),
            "memory_bytes": int(saved.get_memory_footprint()),
            "load_seconds": round(load_seconds, 3),
            "relative_logit_error": error,
            "top1_agreement": agreement,
        }
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        part = target / "manifest.json.part"
        part.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        part.rename(target / "manifest.json")
    except OSError as failure:
        raise SymphonyError(f"{target}: found {failure}, allowed: a folder that can be written") from failure
    return manifest


def _load(folder: Path, quantization: str | None) -> Any:
    return load_model(folder, dtype="float32", device="cpu", quantization=quantization)


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern))


def _logits(model: Any, tokenizer: Any, text: str) -> Any:
    import torch

    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    if ids.shape[1] < 1:
        raise SymphonyError("text: found no tokens, allowed: at least one")
    with torch.inference_mode():
        return model(ids).logits[0].float()


def _compare(before: Any, after: Any) -> tuple[float, float]:
    """Relative 2-norm error and share of equal best tokens of two logit tables (positions, vocabulary)."""
    error = float((after - before).norm() / before.norm())
    return error, float((after.argmax(-1) == before.argmax(-1)).float().mean())
