"""What every backend keeps: length and order of the answers, whatever is behind it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from symphony.models.gguf.backend import GGUFBackend
from symphony.models.gguf.files import MODELS_VARIABLE
from symphony.models.scripted import ScriptedBackend
from symphony.models.store import CallStore, StoredBackend
from symphony.types import ModelBackend, Request, SymphonyError

if TYPE_CHECKING:
    from symphony.models.hf.backend import HFBackend

Ask = Callable[..., Request]


REAL = "SmolLM2-135M-Instruct.Q4_1.gguf"
"""A downloaded model, played by hand: where SYMPHONY_MODELS names a folder with it."""


@pytest.fixture(params=["hf", "gguf", "SmolLM2", "scripted", "stored"])
def backend(request: pytest.FixtureRequest, backends: Callable[[str], HFBackend], tmp_path: Path) -> ModelBackend:
    if request.param == "hf":
        return backends("llama")
    if request.param in ("gguf", "SmolLM2"):
        real = Path(os.environ.get(MODELS_VARIABLE, tmp_path)) / REAL
        if request.param == "SmolLM2" and not real.is_file():
            pytest.skip(f"{MODELS_VARIABLE} names no folder with {REAL}")
        file = real if request.param == "SmolLM2" else request.getfixturevalue("file")
        return GGUFBackend(file, threads=1, cells=1024, chunk=64, exact=True)
    script = ScriptedBackend(lambda asked: asked.messages[0].content + str(asked.draw.index))
    return script if request.param == "scripted" else StoredBackend(script, CallStore(tmp_path / "a.sqlite"), "record")


def test_answers_come_in_the_order_of_the_requests(backend: ModelBackend, ask: Ask) -> None:
    requests = [ask("word " * (7 * number % 5), index=number) for number in range(7)]
    together = [answer.text for answer in backend.generate(requests)]
    backwards = [answer.text for answer in backend.generate(requests[::-1])]
    assert together == backwards[::-1]
    assert len(set(together)) == 7


def test_no_requests_have_no_answers(backend: ModelBackend) -> None:
    assert backend.generate([]) == []


def test_a_revision_is_named(backend: ModelBackend) -> None:
    assert backend.revision


def test_a_script_that_is_used_up_says_so(ask: Ask) -> None:
    with pytest.raises(SymphonyError, match="found request number 2, allowed: 1"):
        ScriptedBackend(["a"]).generate([ask(), ask()])


def test_a_script_keeps_the_requests(ask: Ask) -> None:
    script = ScriptedBackend(["a", "b"])
    script.generate([ask(index=1), ask(index=2)])
    assert [call.draw.index for call in script.calls] == [1, 2]
