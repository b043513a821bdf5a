"""Weights to a quantised checkpoint by bitsandbytes; works on a CPU, where it saves memory and costs time."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from symphony.models.hf import HFBackend
from symphony.models.loading import load_model
from symphony.models.revision import weights_digest
from symphony.types import Completion, Draw, Message, Phase, Request, Sampling, SymphonyError

SCHEMES = ("nf4", "fp4", "int8", "none")

_DRAWS, _ANSWER_TOKENS = 2, 48
"""Answers to each prompt that source and target are compared on, and the most tokens of one (as in the searches)."""

_MEASURED = (
    "relative_logit_error",
    "top1_agreement",
    "perplexity_before",
    "perplexity_after",
    "tokens_per_second_before",
    "tokens_per_second_after",
)


def quantise(source: Path, target: Path, scheme: str, *, text: str | None = None) -> dict[str, Any]:
    """Writes the folder `target`: checkpoint, tokenizer and, last, manifest.json.

    nf4 and fp4 quantise their scales too (double quantisation); arithmetic is float32. "none" saves at float32.

    Args:
        source: A Hugging Face folder.
        target: Replaced when it is there.
        scheme: One of `SCHEMES`.
        text: Prompts, one a line. The source answers them, and both are compared on these answers.

    Returns:
        The manifest: source digest, scheme, `source_bytes` and `target_bytes` (weight files), `memory_bytes` (of the
        loaded target), `load_seconds` (of the target), and what `_compare` measures (None without text).

    Raises:
        SymphonyError: Unknown scheme, no model at `source`, or a target that can not be written.
    """
    if scheme not in SCHEMES:
        raise SymphonyError(f"scheme: found {scheme!r}, allowed: {', '.join(SCHEMES)}")
    digest = weights_digest(source)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True)
    made = load_model(source, dtype="float32", device="cpu", quantization=None if scheme == "none" else scheme)
    draft = target.with_name(f"{target.name}.part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        made.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        del made
        begin = time.perf_counter()
        saved = load_model(draft, dtype="float32", device="cpu", quantization=None)
        manifest = {
            "source_digest": digest,
            "scheme": scheme,
            "source_bytes": _weight_bytes(source),
            "target_bytes": _weight_bytes(draft),
            "load_seconds": round(time.perf_counter() - begin, 3),
            "memory_bytes": int(saved.get_memory_footprint()),
            **_compare(source, draft, (text or "").splitlines()),
        }
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        part = target / "manifest.json.part"
        part.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        part.rename(target / "manifest.json")
    except OSError as failure:
        raise SymphonyError(f"{target}: found {failure}, allowed: a folder that can be written") from failure
    return manifest


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern))


def _compare(source: Path, target: Path, prompts: Sequence[str]) -> dict[str, float | None]:
    """What quantisation changes where a search would notice it: at the tokens that the source answers.

    Returns:
        Over these tokens: `relative_logit_error` (2-norm of the difference over that of the source's logits),
        `top1_agreement` (share with the same most probable token) and `perplexity_before` and `perplexity_after`
        (exp of the mean negative log-likelihood); and the speed of batched generation, `tokens_per_second_before` and
        `tokens_per_second_after`.
    """
    if not prompts:
        return dict.fromkeys(_MEASURED)
    requests = [
        Request(
            messages=(Message(role="user", content=prompt),),
            sampling=Sampling(temperature=1.0, max_tokens=_ANSWER_TOKENS),
            draw=Draw(seed=0, problem=prompt, node=0, phase=Phase.EXPAND, index=index),
        )
        for prompt in prompts
        for index in range(_DRAWS)
    ]
    before, after = HFBackend(source), HFBackend(target)
    answers, speed_before = _timed(before, requests)
    speed_after = _timed(after, requests)[1]
    import torch

    with torch.inference_mode():
        parts = zip(*_logits(before, after, requests, answers), strict=True)
        logits, others, ids = (torch.cat(part) for part in parts)
        values = (
            float((others - logits).norm() / logits.norm()),
            float((others.argmax(-1) == logits.argmax(-1)).float().mean()),
            *(math.exp(float(torch.nn.functional.cross_entropy(table, ids))) for table in (logits, others)),
            round(speed_before, 1),
            round(speed_after, 1),
        )
    return dict(zip(_MEASURED, values, strict=True))


def _timed(backend: HFBackend, requests: Sequence[Request]) -> tuple[list[Completion], float]:
    """The answers, and completion tokens a second: of the faster of two times, as the first one warms up."""
    speeds = []
    for _ in range(2):
        begin = time.perf_counter()
        answers = backend.generate(requests)
        speeds.append(sum(answer.completion_tokens for answer in answers) / (time.perf_counter() - begin))
    return answers, max(speeds)


def _logits(
    before: HFBackend, after: HFBackend, requests: Sequence[Request], answers: Sequence[Completion]
) -> Iterator[tuple[Any, Any, Any]]:
    """For each answer: both models' logits (tokens, vocabulary) where its tokens were drawn, and the tokens."""
    import torch

    tokenizer = before.tokenizer
    for request, answer in zip(requests, answers, strict=True):
        turns = [{"role": message.role, "content": message.content} for message in request.messages]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        first, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer.text))
        if not first or not ids:
            continue
        whole = torch.tensor([first + ids])
        tables = [backend.model(whole).logits[0, len(first) - 1 : -1].float() for backend in (before, after)]
        yield tables[0], tables[1], whole[0, len(first) :]
