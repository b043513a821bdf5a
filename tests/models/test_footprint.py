"""Memory is planned from file headers alone, and is what the loaded model takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.models.folder import PACKAGE
from symphony.models.footprint import Footprint, cache_per_token, fit, footprint, nearest, told
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


def model(gigabytes: float) -> Footprint:
    return Footprint(weights=int(gigabytes * GB), parameters=1, cache_per_token=100_000)


def test_a_pool_that_fits_stays_whole_and_shares_what_is_left_among_its_sequences() -> None:
    found = fit({"a": model(5), "b": model(5)}, [24 * GB], 4000, allowance=1 * GB)
    assert found.resident == ("a", "b")
    assert found.sequences == {"a": 16, "b": 16}  # 13 GB over 2 x 100 kB x 4,000


def test_a_pool_that_does_not_fit_is_swapped_and_each_model_has_the_device_alone() -> None:
    found = fit({"a": model(15), "b": model(15)}, [24 * GB], 4000, allowance=1 * GB)
    assert found.resident == ()
    assert found.sequences == {"a": 20, "b": 20}
    assert found.spare > 0


def test_a_pool_is_spread_over_devices_and_shares_each_among_its_own_models() -> None:
    pool = {"a": model(5), "b": model(5), "c": model(15)}
    assert not fit(pool, [24 * GB], 4000, allowance=1 * GB).resident
    found = fit(pool, [24 * GB, 24 * GB], 4000, allowance=1 * GB)
    assert found.resident == ("a", "b", "c")
    assert found.devices == {"c": 0, "a": 1, "b": 1}
    assert found.sequences == {"a": 16, "b": 16, "c": 20}


def test_a_pool_that_fits_only_when_packed_tightly_is_packed() -> None:
    pool = {"a": model(9), "b": model(5), "c": model(5)}
    found = fit(pool, [13 * GB, 11 * GB], 1, allowance=1 * GB)
    assert found.devices == {"a": 1, "b": 0, "c": 0}


def test_a_model_is_not_split_between_devices() -> None:
    assert fit({"a": model(30)}, [24 * GB, 24 * GB], 4000, allowance=1 * GB).spare < 0


def test_the_plan_says_what_a_swap_costs() -> None:
    pool = {"a": model(15), "b": model(12)}
    lines = told(pool, fit(pool, [24 * GB], 4000), [24 * GB], 4000, load_rate=3 * GB)
    assert lines[-1].endswith("loads its weights anew: a 5.0 s, b 4.0 s, 9.0 s a round of all, at 3.0 GB a second")


def test_of_the_pools_that_fit_the_largest_is_nearest() -> None:
    pools = {"big": {"a": model(30)}, "middle": {"a": model(10)}, "small": {"a": model(1)}}
    assert nearest(pools, [24 * GB], 4000) == "middle"
    assert nearest({"big": pools["big"]}, [24 * GB], 4000) is None


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match=r"config\.json: found nothing"):
        footprint(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(SymphonyError, match=r"found no model\.safetensors"):
        footprint(tmp_path)
    (tmp_path / "model.safetensors").write_text("nonsense")
    with pytest.raises(SymphonyError, match="allowed: a safetensors file"):
        footprint(tmp_path)


def test_the_command_line_tells_the_fit_of_each_pool(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "quickstart", "--experiment", "symphony", "--memory", "24"]) == 0
    lines = capsys.readouterr().err
    assert "pool embedded_trio:" in lines
    assert "all 3 models stay in 24.0 GB together" in lines


def test_the_command_line_takes_several_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "quickstart", "--experiment", "symphony", "--memory", "8,8"]) == 0
    lines = capsys.readouterr().err
    assert "all 3 models stay in 8.0 GB + 8.0 GB together" in lines
    assert "device 1 (8.0 GB): " in lines


def test_an_impossible_plan_is_refused_with_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "quickstart", "--experiment", "symphony", "--memory", "0.5", "--pilot"]) == 1
    error = capsys.readouterr().err
    assert "pool embedded_trio: found a model that does not fit into 0.5 GB (" in error
    assert "GB with one sequence, and 1.0 GB for the runtime), allowed: " in error
    assert "pilot:" not in error  # nothing was spent
