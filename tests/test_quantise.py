"""Quantised checkpoints: saved, loaded again by the same path as any model, and compared with their source."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from symphony.models.hf import HFBackend
from symphony.models.revision import revision_of, weights_digest
from symphony.quantise import quantise
from symphony.types import Draw, Message, Phase, Request, Sampling, SymphonyError

write_model = runpy.run_path(str(Path(__file__).parent / "models" / "conftest.py"))["write_model"]
TEXT = "Open the red door with the key."


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_model(folder, "llama")
    return folder


@pytest.mark.parametrize("scheme", ["nf4", "int8"])
def test_a_quantised_checkpoint_is_smaller_loads_and_answers(source: Path, tmp_path: Path, scheme: str) -> None:
    manifest = quantise(source, tmp_path / "q", scheme, text=TEXT)
    assert manifest["target_bytes"] < manifest["source_bytes"]
    backend = HFBackend(tmp_path / "q")
    request = Request(
        messages=(Message(role="user", content="go"),),
        sampling=Sampling(temperature=1.0, max_tokens=5),
        draw=Draw(seed=0, problem="p", node=0, phase=Phase.EXPAND, index=0),
    )
    first = backend.generate([request])
    assert first[0].completion_tokens > 0
    assert HFBackend(tmp_path / "q").generate([request]) == first


def test_the_manifest_says_what_was_made_of_what(source: Path, tmp_path: Path) -> None:
    manifest = quantise(source, tmp_path / "q", "nf4", text=TEXT)
    assert manifest == json.loads((tmp_path / "q" / "manifest.json").read_text())
    assert manifest["source_digest"] == weights_digest(source)
    assert 0 < manifest["relative_logit_error"] < 1
    assert 0 <= manifest["top1_agreement"] <= 1
    assert manifest["perplexity_after"] != manifest["perplexity_before"] > 1
    assert manifest["tokens_per_second_before"] > 0
    assert manifest["tokens_per_second_after"] > 0


def test_without_prompts_nothing_is_compared(source: Path, tmp_path: Path) -> None:
    manifest = quantise(source, tmp_path / "q", "nf4")
    assert manifest["relative_logit_error"] is manifest["perplexity_after"] is None


def test_a_copy_at_full_precision_has_no_error(source: Path, tmp_path: Path) -> None:
    manifest = quantise(source, tmp_path / "q", "none", text=TEXT)
    assert manifest["relative_logit_error"] == 0
    assert manifest["top1_agreement"] == 1
    assert manifest["perplexity_after"] == manifest["perplexity_before"]


def test_another_scheme_is_another_revision(source: Path, tmp_path: Path) -> None:
    quantise(source, tmp_path / "q", "nf4")
    assert revision_of(tmp_path / "q").endswith(":stored")
    assert revision_of(tmp_path / "q") != revision_of(source, quantization="nf4")


def test_an_unknown_scheme_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="scheme: found 'int3', allowed: nf4, fp4, int8, none"):
        quantise(source, tmp_path / "q", "int3")


def test_a_target_that_can_not_be_written_is_told_and_leaves_nothing(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SymphonyError, match="allowed: a folder that can be written"):
        quantise(source, tmp_path / "file" / "q", "nf4")
