"""Memory is planned from file headers alone, and is what the loaded model takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from symphony.models.folder import PACKAGE
from symphony.models.footprint import cache_per_token, footprint
from symphony.types import SymphonyError

GB = 10**9


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of one layer with the proportions of large ones."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("wide")
    sizes = {"hidden_size": 512, "intermediate_size": 1792, "vocab_size": 1024}
    config = LlamaConfig(**sizes, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2)
    torch.manual_seed(0)
    LlamaForCausalLM(config).half().save_pretrained(folder)
    return folder


def held(model: Any) -> int:
    """Bytes of every number that a loaded model keeps, the scales of its quantised layers included."""
    size = sum(value.numel() * value.element_size() for value in (*model.parameters(), *model.buffers()))
    for module in model.modules():
        weight = getattr(module, "weight", None)
        state, rows = getattr(weight, "quant_state", None), getattr(weight, "SCB", None)
        if state is not None:
            size += state.absmax.numel() * state.absmax.element_size() + 4 * state.code.numel()
            size += 4 * (state.state2.absmax.numel() + state.state2.code.numel()) if state.nested else 0
        if rows is not None:
            size += 4 * rows.numel()
    return size


@pytest.mark.parametrize("quantization", [None, "nf4", "fp4", "int8"])
def test_the_plan_is_within_two_percent_of_what_the_loaded_model_takes(wide: Path, quantization: str | None) -> None:
    from symphony.models.hf.loading import load_model

    planned = footprint(wide, dtype="float32", quantization=quantization).weights
    model = load_model(wide, dtype="float32", device="cpu", quantization=quantization)
    assert planned == pytest.approx(held(model), rel=0.02)


def test_a_checkpoint_that_is_quantised_already_is_taken_as_it_is(tmp_path: Path) -> None:
    from symphony.weights.quantise import quantise

    source = PACKAGE / "embedded" / "weights" / "llama"
    manifest = quantise(source, tmp_path / "nf4", "nf4")
    planned = footprint(tmp_path / "nf4", dtype="float32").weights
    assert planned == pytest.approx(manifest["memory_bytes"], rel=0.1)


@pytest.mark.parametrize(
    ("config", "bytes_a_token"),
    [
        # Llama-3.1-8B: 2 x 32 layers x 8 heads x 128 x 2 bytes
        ({"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}, 131072),
        # Qwen2.5-7B: 2 x 28 layers x 4 heads x 128 x 2 bytes
        ({"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}, 57344),
        ({"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64, "head_dim": 32}, 1024),
    ],
)
def test_the_cache_of_a_token_is_two_times_layers_heads_and_size(config: dict[str, int], bytes_a_token: int) -> None:
    assert cache_per_token(config, 2) == bytes_a_token


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match=r"config\.json: found nothing"):
        footprint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(SymphonyError, match=r"found no model\.safetensors"):
        footprint(tmp_path)
    (tmp_path / "model.safetensors").write_text("nonsense")
    with pytest.raises(SymphonyError, match="allowed: a safetensors file"):
        footprint(tmp_path)
