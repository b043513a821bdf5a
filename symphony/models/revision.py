"""Names exactly what answers: a digest of the files, the number format and the quantisation. Needs no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from symphony.files import read_json
from symphony.models.devices import CPU
from symphony.models.dtypes import check_dtype, resolved
from symphony.models.folder import CONFIG, WEIGHTS
from symphony.types import SymphonyError

_QUANTISED = ("nf4", "fp4", "int8")
_ANSWERING_FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
)

_digests: dict[tuple[str, tuple[tuple[str, int, int], ...]], str] = {}  # a memo: the key names the files' state


def weights_digest(folder: str | Path) -> str:
    """Returns the sha256 (first 16 hex digits) of every file that affects the model's answers.

    Raises:
        SymphonyError: No config.json or no weights in the folder.
    """
    root = Path(folder)
    files = [root / name for name in _ANSWERING_FILES if (root / name).is_file()]
    weights = sorted([*root.glob("*.safetensors"), *root.glob("*.bin")])
    if not (root / CONFIG).is_file() or not weights:
        raise SymphonyError(f"{root}: found no model, allowed: a folder with {CONFIG} and {WEIGHTS}")
    files += weights
    state = tuple((file.name, (info := file.stat()).st_size, info.st_mtime_ns) for file in files)
    key = (str(root.resolve()), state)
    if key not in _digests:
        digest = hashlib.sha256()
        for file in files:
            with file.open("rb") as stream:
                digest.update(f"{file.name}\x1f{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
        _digests[key] = digest.hexdigest()[:16]
    return _digests[key]


def check_format(dtype: Any = "float32", quantization: Any = None) -> None:
    """Raises SymphonyError if the number format or the quantisation is unknown."""
    check_dtype(dtype)
    if quantization not in (None, *_QUANTISED):
        raise SymphonyError(f"quantization: found {quantization!r}, allowed: {', '.join(_QUANTISED)} or none")


def revision_of(
    folder: str | Path, *, dtype: str = "float32", quantization: str | None = None, device: str = CPU
) -> str:
    """Returns the model's revision, e.g. "hf:0123456789abcdef:float32:nf4". Needs neither torch nor loaded weights."""
    check_format(dtype, quantization)
    digest = weights_digest(folder)
    stored = read_json(Path(folder) / CONFIG, "the config of a model").get("quantization_config") is not None
    if stored and quantization:
        finding = "a folder that is quantised already"
        raise SymphonyError(f"quantization: found {quantization!r} for {folder}, {finding}, allowed: null")
    return f"hf:{digest}:{resolved(dtype, device)}:{quantization or ('stored' if stored else 'none')}"
