"""The origin of a run's numbers: commit, versions, hardware, data set."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from symphony.types import Problem, canonical_json

PACKAGE = Path(__file__).parents[1]
PACKAGES = ("symphony", "torch", "transformers", "tokenizers", "bitsandbytes", "numpy")


def commit() -> str:
    """Returns the commit of this code, with "+dirty" appended if the code differs from it; "unknown" outside git.

    conf/ does not count, since a run is named by its config, which is in its folder.
    """
    try:
        _git("ls-files", "--error-unmatch", "types.py")
        head = _git("rev-parse", "HEAD")
        changes = _git("status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+dirty" if changes else "")


def versions() -> str:
    """Returns a JSON object, package -> version, of the packages that affect the numbers."""
    by_package = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            by_package[package] = version(package)
        except PackageNotFoundError:
            by_package[package] = "not installed"
    return canonical_json(by_package)


def hardware(devices: Iterable[str]) -> str:
    """Describes the processor and its cores, and the GPU if a model uses one.

    Args:
        devices: Devices on which the pool's models compute, e.g. "cpu" or "cuda:0".
    """
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.is_file():
        lines = information.read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    description = f"{processor}, {os.cpu_count()} cores"
    gpus = sorted({device for device in devices if device.startswith("cuda")})
    if gpus:
        import torch

        description += "".join(f"; {gpu}: {torch.cuda.get_device_name(gpu)}" for gpu in gpus)
    return description


def dataset(problems: Sequence[Problem]) -> str:
    """Returns a digest of the problems' ids, prompts and targets, in order; not of what a search is shown of them."""
    rows = [[problem.id, problem.prompt, _plain(problem.target)] for problem in problems]
    return hashlib.sha256(canonical_json(rows).encode()).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Returns a target as JSON; sets are sorted, so that their hash order does not matter."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return sorted(([_plain(key), _plain(item)] for key, item in value.items()), key=repr)
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PACKAGE, capture_output=True, text=True, check=True)
    return done.stdout.strip()
