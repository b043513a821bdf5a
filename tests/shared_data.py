"""Real benchmark data, where it is at hand; it is never part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("SYMPHONY_DATA") or Path(__file__).parents[2] / "shared" / "data")


LAPTOP = (
    "mbpp/mbpp-py.jsonl",
    "mbpp/mbpp-rs.jsonl",
    "hotpotqa/hotpot_dev_distractor_sample.jsonl",
    "webshop/documents_1k.jsonl",
    "webshop/items_ins_v2_1000.json",
)
"""What the study laptop reads."""


def needs(*files: str) -> pytest.MarkDecorator:
    missing = [file for file in files if not (DATA / file).is_file()]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)} (SYMPHONY_DATA names the folder)")
