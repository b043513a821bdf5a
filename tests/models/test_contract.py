"""What every backend keeps: length and order of the answers, whatever is behind it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from symphony.models.scripted import ScriptedBackend
from symphony.models.store import CallStore, StoredBackend
from symphony.types import ModelBackend, Request, SymphonyError

if TYPE_CHECKING:
    from symphony.models.hf import HFBackend

Ask = Callable[..., Request]


@pytest.fixture(params=["hf", "scripted", "stored"])
def backend(request: pytest.FixtureRequest, backends: Callable[[str], HFBackend], tmp_path: Path) -> ModelBackend:
    if request.param == "hf":
        return backends("llama")
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
