"""Makes a quantised checkpoint by bitsandbytes; works on a CPU, where it saves memory and costs time."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from symphony.files import check_own_folder, read_json
from symphony.models.devices import CPU, candidates, cards
from symphony.models.dtypes import Dtype
from symphony.models.folder import MANIFEST, check_folder
from symphony.models.gguf import files
from symphony.models.gguf.unpack import unpack
from symphony.models.hf.backend import HFBackend
from symphony.models.hf.loading import load_model, load_tokenizer
from symphony.models.revision import weights_digest
from symphony.types import Completion, Draw, Message, ModelBackend, Phase, Request, Sampling, SymphonyError

SCHEMES = ("nf4", "fp4", "int8", "bfloat16", "none")
_KEPT: dict[str, Dtype] = {"bfloat16": "bfloat16"}
"""Number format in which a scheme saves its weights, if not float32."""

TEXT = Path(__file__).parent / "quantise.txt"
"""Plain text, dialogue and code on which every model is tested; written for this, under this project's licence."""
_WINDOW = 256  # tokens per window

MARK = "quantised.json"
"""A file in a checkpoint's folder: its origin, and the files that this command made.

The workflow removes a manifest before it makes a checkpoint again; this file stays.
"""

_DRAWS, _ANSWER_TOKENS = 2, 48
"""Answers per prompt on which source and target are compared, and their maximum tokens (as in the searches)."""

_MEASURED = (
    "relative_logit_error",
    "top1_agreement",
    "perplexity_before",
    "perplexity_after",
    "text_perplexity_before",
    "text_perplexity_after",
    "tokens_per_second_before",
    "tokens_per_second_after",
    "peak_memory_before",
    "peak_memory_after",
)


def quantise(
    source: Path,
    target: Path,
    scheme: str,
    *,
    text: str | None = None,
    device: str = "cpu",
    engine: Callable[[], ModelBackend] | None = None,
) -> dict[str, Any]:
    """Writes the folder `target`: checkpoint, tokenizer and, last, manifest.json.

    nf4 and fp4 also quantise their scales (double quantisation); arithmetic is float32. "bfloat16" keeps 16 bits of
    each number and computes with them, "none" saves in float32.

    Args:
        source: A Hugging Face folder, or a GGUF file, whose weights are taken as the numbers that they stand for.
        target: Replaced if this command made it from the same source; never within or above `source`.
        scheme: One of `SCHEMES`.
        text: Prompts, one per line. The source answers them, and both are compared on these answers.
        device: The device on which both are loaded: see `devices.check_device`.
        engine: Loads a backend for a GGUF file, in a separate process; it is timed in place of the source.

    Returns:
        The manifest: source digest (for a file, the beginning of its sha256), scheme, `source_bytes` and `target_bytes`
        (weight files), `memory_bytes` (of the loaded target), `load_seconds` (of the target), and the results of
        `_compare` (None without text).

    Raises:
        SymphonyError: Unknown scheme, no model at `source`, or a target that cannot be written or holds files that this
            command did not make.
    """
    if scheme not in SCHEMES:
        raise SymphonyError(f"scheme: found {scheme!r}, allowed: {', '.join(SCHEMES)}")
    device = candidates(device, cards)[0]
    is_file = source.is_file()
    if is_file:
        files.check_file(source)
    else:
        check_folder(source)
    digest = files.file_sha256(source)[:16] if is_file else weights_digest(source)
    source, target = (Path(os.path.realpath(path)) for path in (source, target))  # also handles circular links
    _check_target(target, source, digest)
    _check_parent(target)
    dtype, quantization = _KEPT.get(scheme, "float32"), None if scheme in ("bfloat16", "none") else scheme
    try:
        with _scratch(target) as scratch:
            folder = unpack(source, Path(scratch) / "source") if is_file else source
            tokenizer = load_tokenizer(folder)
            model = load_model(folder, dtype=dtype, device=device, quantization=quantization)
            draft = Path(scratch) / target.name
            model.save_pretrained(draft)
            tokenizer.save_pretrained(draft)
            del model
            begin = time.perf_counter()
            saved = load_model(draft, dtype=dtype, device=device, quantization=None)
            manifest = {
                "source_digest": digest,
                "scheme": scheme,
                "source_bytes": source.stat().st_size if is_file else _weight_bytes(source),
                "target_bytes": _weight_bytes(draft),
                "load_seconds": round(time.perf_counter() - begin, 3),
                "memory_bytes": int(saved.get_memory_footprint()),
                **_compare(folder, draft, (text or "").splitlines(), device, dtype, engine),
            }
            del saved
            own = sorted([*(path.name for path in draft.iterdir()), MARK, MANIFEST])
            mark = {"source": str(source), "source_digest": digest, "files": own}
            (draft / MARK).write_text(json.dumps(mark, indent=2, sort_keys=True) + "\n")
            (draft / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
            _check_target(target, source, digest)  # again: minutes may have passed
            if target.exists():
                target.rename(Path(scratch) / "before")
            draft.rename(target)
    except OSError as failure:
        raise _unwritable(target, failure) from failure
    return manifest


def _check_parent(target: Path) -> None:
    """Checks, minutes before it is needed, that a folder can be made for the target."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _scratch(target).cleanup()
    except OSError as failure:
        raise _unwritable(target, failure) from failure


def _scratch(target: Path) -> TemporaryDirectory[str]:
    return TemporaryDirectory(prefix=f".{target.name}.", suffix=".part", dir=target.parent)


def _unwritable(target: Path, failure: OSError) -> SymphonyError:
    return SymphonyError(f"{target}: found {failure}, allowed: a folder that can be written")


def _check_target(target: Path, source: Path, digest: str) -> None:
    """Checks that the target is replaceable: made by this command from the same folder or the same weights."""
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise SymphonyError(f"--out: found {target}, allowed: a folder neither within nor above the source, {source}")
    mark = target / MARK
    manifest = read_json(mark, "a file written by `symphony quantise`") if mark.is_file() else {}
    if manifest and str(source) != manifest.get("source") and digest != manifest.get("source_digest"):
        finding = f"a checkpoint made from {manifest.get('source')}"
        raise SymphonyError(f"{target}: found {finding}, allowed: a new folder, or one made from {source}")
    files = manifest.get("files")
    check_own_folder(target, files if isinstance(files, list) else [])


def _weight_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern))


def peak_memory(device: str) -> int:
    """Returns the most bytes this process has held so far: on a GPU torch's tensors, else all main memory.

    The latter is the high-water mark of this program with its libraries; getrusage would include the parent's.
    """
    import torch

    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _compare(
    source: Path,
    target: Path,
    prompts: Sequence[str],
    device: str,
    dtype: Dtype,
    engine: Callable[[], ModelBackend] | None,
) -> dict[str, float | None]:
    """Measures what quantisation changes for a search and on plain text. Each model gets its own process.

    Args:
        dtype: Number format in which the target computes; the source computes in float32.
        engine: As in `quantise`.

    Returns:
        Over the tokens of the source's answers: `relative_logit_error` (2-norm of the difference over that of the
        source's logits), `top1_agreement` (share with the same most probable token) and `perplexity_*` (exp of the
        mean negative log-likelihood). `text_perplexity_*`: the same over the shipped text. `tokens_per_second_*`:
        batched generation. `peak_memory_*`: see `peak_memory`; after loading and answering.
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
    before = _alone(_examine, source, device, "float32", requests, None)
    after = _alone(_examine, target, device, dtype, requests, before.answers)
    speed, peak = _alone(_speed, engine, requests) if engine else (before.tokens_per_second, before.peak_memory)
    values = (
        float((((after.logits - before.logits) ** 2).sum(dtype=float) / (before.logits**2).sum(dtype=float)) ** 0.5),
        float((after.logits.argmax(-1) == before.logits.argmax(-1)).mean()),
        *(measured.perplexity for measured in (before, after)),
        *(measured.text_perplexity for measured in (before, after)),
        *(round(rate, 1) for rate in (speed, after.tokens_per_second)),
        *(peak, after.peak_memory),
    )
    return dict(zip(_MEASURED, values, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examined:
    """A model's figures; `logits` (tokens, vocabulary) is an array, which outlives the process."""

    answers: list[Completion]
    logits: Any
    perplexity: float
    text_perplexity: float
    tokens_per_second: float
    peak_memory: int


def _alone(function: Callable[..., Any], *arguments: Any) -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def _speed(engine: Callable[[], ModelBackend], requests: Sequence[Request]) -> tuple[float, int]:
    """Returns completion tokens per second, and the most memory that the process held."""
    _, speed = _time(engine(), requests)
    return speed, peak_memory(CPU)


def _examine(
    folder: Path, device: str, dtype: Dtype, requests: Sequence[Request], answers: Sequence[Completion] | None
) -> _Examined:
    """Measures one model at the tokens of `answers`, or of its own answers if there are none."""
    import torch

    backend = HFBackend(folder, device=device, dtype=dtype)
    own, speed = _time(backend, requests)
    peak = peak_memory(device)
    with torch.inference_mode():
        parts = zip(*_logits(backend, requests, answers or own), strict=True)
        logits, ids = (torch.cat(part) for part in parts)
        perplexity = math.exp(float(torch.nn.functional.cross_entropy(logits, ids)))
        return _Examined(
            answers=own,
            logits=logits.numpy(),
            perplexity=perplexity,
            text_perplexity=_text_perplexity(backend),
            tokens_per_second=speed,
            peak_memory=peak,
        )


def _time(backend: ModelBackend, requests: Sequence[Request]) -> tuple[list[Completion], float]:
    """Returns the answers, and completion tokens per second of the faster of two runs (the first warms up)."""
    speeds = []
    for _ in range(2):
        begin = time.perf_counter()
        answers = backend.generate(requests)
        speeds.append(sum(answer.completion_tokens for answer in answers) / (time.perf_counter() - begin))
    return answers, max(speeds)


def _logits(
    backend: HFBackend, requests: Sequence[Request], answers: Sequence[Completion]
) -> Iterator[tuple[Any, Any]]:
    """Yields for each answer the logits (tokens, vocabulary) from which its tokens were drawn, and the tokens."""
    import torch

    tokenizer, device = backend.tokenizer, backend.model.device
    for request, answer in zip(requests, answers, strict=True):
        turns = [{"role": message.role, "content": message.content} for message in request.messages]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        first, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, answer.text))
        if not first or not ids:
            continue
        whole = torch.tensor([first + ids], device=device)
        yield backend.model(whole).logits[0, len(first) - 1 : -1].float().cpu(), whole[0, len(first) :].cpu()


def _text_perplexity(backend: HFBackend) -> float:
    """Returns the perplexity on the shipped text, in windows of `_WINDOW` tokens whose first token is given."""
    import torch

    ids = backend.tokenizer(TEXT.read_text(encoding="utf-8"), add_special_tokens=False, verbose=False)["input_ids"]
    losses = []
    for begin in range(0, len(ids) - 1, _WINDOW):
        window = torch.tensor([ids[begin : begin + _WINDOW]], device=backend.model.device)
        logits = backend.model(window).logits[0, :-1].float()
        losses.append(torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="none"))
    return math.exp(float(torch.cat(losses).mean()))
