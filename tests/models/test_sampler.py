"""The sampler ends a row where the model speaks, not where it reasons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from symphony.models.sampler import Decoder, Row, Sampler
from symphony.types import Sampling

PIECES = ("<think>", " Observation", "</think>", " so", "<|end|>")


class Tokenizer:
    """Token i is piece i; some of them are special."""

    def __init__(self, *special: str) -> None:
        self.added_tokens_decoder = {i: Added(piece, piece in special) for i, piece in enumerate(PIECES)}

    def batch_decode(self, rows: Sequence[Sequence[int]], *, skip_special_tokens: bool, **_: Any) -> list[str]:
        hidden = {i for i, one in self.added_tokens_decoder.items() if one.special and skip_special_tokens}
        return ["".join(PIECES[token] for token in row if token not in hidden) for row in rows]


class Added:
    def __init__(self, content: str, special: bool) -> None:
        self.content, self.special = content, special


def steps(tokens: Sequence[int], opened: str = "", special: Sequence[str] = ("<|end|>",)) -> int:
    """How many of the tokens are taken before a stop string ends the row."""
    sampling = Sampling(temperature=0.0, max_tokens=len(tokens), stop=("Observation",))
    row = Row(index=0, prompt=(0,), sampling=sampling, limit=len(tokens), seed=0, dropped=0, opened=opened)
    sampler = Sampler([row], torch.zeros(len(PIECES), dtype=torch.bool), Decoder(Tokenizer(*special)))
    for number, token in enumerate(tokens, 1):
        sampler.choose(None, torch.nn.functional.one_hot(torch.tensor([token]), len(PIECES)).float())
        if sampler.ended().item():
            return number
    raise AssertionError


THINK, OBSERVE, CLOSE, SO = range(4)


@pytest.mark.parametrize(
    ("tokens", "opened", "taken"),
    [
        ((SO, OBSERVE, SO, SO), "", 2),
        ((THINK, OBSERVE, CLOSE, SO), "", 4),
        ((THINK, OBSERVE, CLOSE, SO, OBSERVE, SO), "", 5),
        ((OBSERVE, CLOSE, SO, SO), "<think>\n", 4),
        ((OBSERVE, CLOSE, OBSERVE, SO), "<think>\n", 3),
    ],
)
def test_a_stop_string_ends_a_row_outside_its_reasoning_only(tokens, opened, taken):
    assert steps(tokens, opened) == taken


def test_special_tokens_that_tell_reasoning_from_speech_are_kept_in_the_text():
    rows = [[THINK, SO, CLOSE, SO, 4]]
    assert Decoder(Tokenizer("<think>", "</think>", "<|end|>"))(rows) == ["<think> so</think> so"]
    assert Decoder(Tokenizer("<|end|>"))(rows) == ["<think> so</think> so"]
    assert steps((THINK, OBSERVE, CLOSE, SO), special=("<think>", "</think>", "<|end|>")) == 4
