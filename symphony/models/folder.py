"""Finds a model's folder, and checks by its files' headers alone that it holds a complete language model."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from symphony.files import read_json
from symphony.types import SymphonyError

PACKAGE = Path(__file__).parents[1]
BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2,
    "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "C64": 8,
}  # fmt: skip
"""Bytes per number, by its name in safetensors; formats below one byte are not listed."""
FLOATS = ("float32", "bfloat16", "float16", "float64")
"""Number formats that a config may name: those in which torch can make a model."""
CONFIG, GENERATION, TOKENIZER = "config.json", "generation_config.json", "tokenizer.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
MANIFEST = "manifest.json"
"""Written last into a folder that `fetch` or `quantise` makes; a folder without it is incomplete."""
CHECKED = (
    GENERATION,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
)
"""JSON files beside the config that a folder may lack; they are read if present."""
_TOKENIZERS = (TOKENIZER, "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_OBJECT = "a file saved by transformers"
_ALLOWED = f"a language model's folder with {CONFIG}, a tokenizer and *.safetensors"


def locate(path: Any, data: Path) -> Path:
    """Returns the folder for a path of the config, without checking that it exists.

    `package:x` is inside this package, `outputs:x` under outputs/, any other path under `data` or absolute.

    Raises:
        SymphonyError: Not a text, or another word before the colon.
    """
    allowed = "package:<folder>, outputs:<folder>, <folder under the data folder>, <absolute path>"
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise SymphonyError(f"model.path: found {path!r}, allowed: {allowed}")
    scheme, _, rest = path.rpartition(":")
    root = {"package": PACKAGE, "outputs": Path("outputs"), "": data}.get(scheme)
    if root is None:
        raise SymphonyError(f"model.path: found {path!r}, allowed: {allowed}")
    return root / rest


def check_folder(folder: Path, *, tokenizer_alone: bool = False) -> None:
    """Checks every file that answers depend on: it must exist, be complete, and match its name.

    Args:
        tokenizer_alone: Skips the check of config and weights.

    Raises:
        SymphonyError: A file is missing or broken; the message names the file, the fault, and what is allowed.
    """
    try:
        if not folder.is_dir():
            finding = "a file" if folder.exists() else "no such folder"
            raise SymphonyError(f"{folder.absolute()}: found {finding}, allowed: {_ALLOWED}")
        files = sorted(path for path in folder.iterdir() if path.is_file())
        state = tuple((file.name, (info := file.stat()).st_size, info.st_mtime_ns) for file in files)
    except OSError as error:
        raise SymphonyError(f"{folder.absolute()}: found {error.strerror}, allowed: {_ALLOWED}") from error
    if not tokenizer_alone:
        _check_model(folder.absolute(), state)
    _check_tokenizer(folder.absolute(), state)


State = tuple[tuple[str, int, int], ...]
"""Names, sizes and times of a folder's files, so that each process reads an unchanged folder once."""


@lru_cache(maxsize=64)
def _check_model(folder: Path, state: State) -> None:
    names = {name for name, _, _ in state}
    if "adapter_config.json" in names:
        raise SymphonyError(f"{folder}: found an adapter (adapter_config.json), allowed: the model it was merged into")
    if CONFIG not in names:
        raise SymphonyError(f"{folder}: found no {CONFIG}, allowed: {_ALLOWED}")
    config = read_json(folder / CONFIG, _OBJECT)
    if not isinstance(config.get("model_type"), str):
        model_type = repr(config["model_type"]) if "model_type" in config else "none"
        raise SymphonyError(f"{folder / CONFIG}: model_type: found {model_type}, allowed: one that transformers knows")
    for key in ("dtype", "torch_dtype"):
        if config.get(key) is not None and config[key] not in FLOATS:
            allowed = f"{', '.join(FLOATS)}, or null"
            raise SymphonyError(f"{folder / CONFIG}: {key}: found {config[key]!r}, allowed: {allowed}")
    _check_weights(folder)


@lru_cache(maxsize=64)
def _check_tokenizer(folder: Path, state: State) -> None:
    names = {name for name, _, _ in state}
    if not names.intersection(_TOKENIZERS):
        raise SymphonyError(f"{folder}: found no tokenizer, allowed: {TOKENIZER} beside the weights")
    if TOKENIZER in names and not isinstance(read_json(folder / TOKENIZER, _OBJECT).get("model"), dict):
        raise SymphonyError(f"{folder / TOKENIZER}: found no `model` in it, allowed: a file of the tokenizers library")
    for name in sorted(names.intersection(CHECKED)):
        read_json(folder / name, _OBJECT)


def weights_files(folder: Path) -> list[Path]:
    """Lists the *.safetensors that transformers loads: a single file, or the parts that an index names.

    Raises:
        SymphonyError: There are none, or the index is broken or names a missing file.
    """
    named = _index(folder)
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not named:
        others = sorted(path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".gguf"))
        finding = f"{', '.join(others)} alone" if others else f"no {WEIGHTS}"
        raise SymphonyError(f"{folder}: found {finding}, allowed: {WEIGHTS}, or parts that {INDEX} names")
    files = [folder / name for name in sorted(set(named.values()))]
    for file in files:
        if not file.is_file():
            raise SymphonyError(f"{file}: found no such file, allowed: every file that {INDEX} names")
    return files


def _index(folder: Path) -> dict[str, str]:
    """Returns tensor -> file for weights in parts; {} if there is no index."""
    file = folder / INDEX
    if not file.is_file():
        return {}
    plain = read_json(file, _OBJECT)
    named = plain.get("weight_map")
    if not isinstance(named, dict) or not named or not all(isinstance(name, str) for name in named.values()):
        raise SymphonyError(f"{file}: found no `weight_map` in it, allowed: tensor -> file")
    for name in named.values():
        if (
            not name or Path(name).name != name or "\0" in name
        ):  # a file in another folder would not be in the model's digest
            raise SymphonyError(f"{file}: found {name!r}, allowed: names of files in the same folder")
    if not isinstance(plain.get("metadata"), dict):
        raise SymphonyError(f"{file}: found no `metadata` in it, allowed: an object, at least {{}}")
    return named


def _check_weights(folder: Path) -> None:
    """Checks that each file is as long as its header says and has the tensors that the index lists."""
    files = weights_files(folder)
    named = _index(folder) if files != [folder / WEIGHTS] else {}
    for file in files:
        tensors = header(file)
        try:
            needed = sum(_tensor_bytes(name, tensor) for name, tensor in tensors.items())
        except (ValueError, KeyError, TypeError) as error:
            raise SymphonyError(f"{file}: found {error}, allowed: a whole safetensors file") from error
        begin = _begin(file)
        size = file.stat().st_size
        if begin + needed != size:
            allowed = f"{begin + needed}, as its header says"
            raise SymphonyError(f"{file}: found {size} bytes of {len(tensors)} tensors, allowed: {allowed}")
        lacking = {tensor for tensor, name in named.items() if name == file.name} - set(tensors)
        if lacking:
            raise SymphonyError(f"{file}: found no tensor {min(lacking)}, allowed: every tensor that {INDEX} names")


def header(file: Path) -> dict[str, dict[str, Any]]:
    """Reads a safetensors file's header: tensor -> its dtype, shape and place.

    Raises:
        SymphonyError: The file does not begin with a whole header.
    """
    try:
        begin, size = _begin(file), file.stat().st_size
        if begin > size:
            raise ValueError(f"a header of {begin - 8} bytes in a file of {size}")
        with file.open("rb") as stream:
            plain = json.loads(stream.read(begin)[8:])
        tensors = {name: tensor for name, tensor in plain.items() if name != "__metadata__"}
        if not tensors or not all(isinstance(tensor, dict) for tensor in tensors.values()):
            raise ValueError("a header without tensors")
    except (OSError, ValueError, RecursionError, struct.error, AttributeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise SymphonyError(f"{file}: found {reason}, allowed: a safetensors file") from error
    return tensors


def _begin(file: Path) -> int:
    """Returns where the numbers of a safetensors file begin: after the header's length and the header."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
    return 8 + int(length)


def _tensor_bytes(name: str, tensor: Mapping[str, Any]) -> int:
    """Returns the bytes of a tensor, checking its place against its shape."""
    begin, end = tensor["data_offsets"]
    shape = tensor["shape"]
    if not all(isinstance(number, int) and number >= 0 for number in (begin, end, *shape)) or end < begin:
        raise ValueError(f"tensor {name} at {begin} to {end} with shape {shape}")
    width = BYTES.get(tensor["dtype"])
    if width is not None and math.prod(shape) * width != end - begin:
        raise ValueError(f"{end - begin} bytes for tensor {name} with shape {shape} of {tensor['dtype']}")
    return int(end - begin)
