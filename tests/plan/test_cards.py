"""The pools for cards of a size fit them: from the public configs of their models, without any weights."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import pytest

from symphony.models.footprint import Footprint, footprint
from symphony.models.hf.backend import CACHE_TOKENS, MAX_BATCH_TOKENS
from symphony.models.placement import ALLOWANCE, fit
from symphony.plan.compose import pool

CONF = Path(__file__).parents[2] / "conf"
GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Public:
    """What a model's config.json says, and its number of parameters as published."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv: int
    size: int
    words: int
    parameters: int
    tied: bool = True
    biases: bool = False
    head_norms: bool = False
    norms: int = 2


PUBLIC = {
    "qwen2_5_7b_1m": Public(
        hidden=3584, inner=18944, layers=28, heads=28, kv=4, size=128, words=152064, parameters=7615616512,
        tied=False, biases=True,
    ),
    "mistral_7b_v0_3": Public(
        hidden=4096, inner=14336, layers=32, heads=32, kv=8, size=128, words=32768, parameters=7248023552, tied=False
    ),
    "llama_3_1_8b": Public(
        hidden=4096, inner=14336, layers=32, heads=32, kv=8, size=128, words=128256, parameters=8030261248, tied=False
    ),
    "qwen2_5_0_5b": Public(
        hidden=896, inner=4864, layers=24, heads=14, kv=2, size=64, words=151936, parameters=494032768, biases=True
    ),
    "qwen2_5_1_5b": Public(
        hidden=1536, inner=8960, layers=28, heads=12, kv=2, size=128, words=151936, parameters=1543714304, biases=True
    ),
    "qwen2_5_3b": Public(
        hidden=2048, inner=11008, layers=36, heads=16, kv=2, size=128, words=151936, parameters=3085938688, biases=True
    ),
    "qwen3_4b_2507": Public(
        hidden=2560, inner=9728, layers=36, heads=32, kv=8, size=128, words=151936, parameters=4022468096,
        head_norms=True,
    ),
    "llama_3_2_1b": Public(
        hidden=2048, inner=8192, layers=16, heads=32, kv=8, size=64, words=128256, parameters=1235814400
    ),
    "llama_3_2_3b": Public(
        hidden=3072, inner=8192, layers=28, heads=24, kv=8, size=128, words=128256, parameters=3212749824
    ),
    "phi_4_mini": Public(
        hidden=3072, inner=8192, layers=32, heads=24, kv=8, size=128, words=200064, parameters=3836021760
    ),
    "smollm2_1_7b": Public(
        hidden=2048, inner=8192, layers=24, heads=32, kv=32, size=64, words=49152, parameters=1711376384
    ),
    "gemma_2_2b": Public(
        hidden=2304, inner=9216, layers=26, heads=8, kv=4, size=256, words=256000, parameters=2614341888, norms=4
    ),
}  # fmt: skip


def planned(folder: Path, option: str, quantization: str | None) -> Footprint:
    public = PUBLIC[option]
    hidden, inner, queries, keys = public.hidden, public.inner, public.heads * public.size, public.kv * public.size
    shapes = {"model.embed_tokens.weight": [public.words, hidden], "model.norm.weight": [hidden]}
    if not public.tied:
        shapes["lm_head.weight"] = [public.words, hidden]
    linear = {"q": [queries, hidden], "k": [keys, hidden], "v": [keys, hidden], "o": [hidden, queries]}
    linear |= {"gate": [inner, hidden], "up": [inner, hidden], "down": [hidden, inner]}
    small = {f"norm{number}": [hidden] for number in range(public.norms)}
    small |= {"q.bias": [queries], "k.bias": [keys], "v.bias": [keys]} if public.biases else {}
    small |= {"q_norm": [public.size], "k_norm": [public.size]} if public.head_norms else {}
    for layer in range(public.layers):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in (linear | small).items()}
    tensors = {name: {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]} for name, shape in shapes.items()}
    header = json.dumps(tensors).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    config = {"num_hidden_layers": public.layers, "num_attention_heads": public.heads, "hidden_size": hidden}
    config |= {"num_key_value_heads": public.kv, "head_dim": public.size}
    (folder / "config.json").write_text(json.dumps(config))
    return footprint(folder, dtype="bfloat16", quantization=quantization)


@pytest.mark.parametrize("option", PUBLIC)
def test_the_shapes_of_a_public_config_make_the_published_number_of_parameters(option: str, tmp_path: Path) -> None:
    assert planned(tmp_path, option, None).parameters == PUBLIC[option].parameters


@pytest.mark.parametrize(
    ("name", "size", "weights", "sequences"),
    [("symphony_s", 24, 15.4, 5), ("card_8gb", 8, 4.3, 4), ("card_12gb", 12, 7.8, 1), ("card_16gb", 16, 12.6, 1)],
)
def test_a_pool_for_a_card_stays_in_it_whole_and_takes_what_it_says(
    name: str, size: int, weights: float, sequences: int, tmp_path: Path
) -> None:
    models: dict[str, Footprint] = {}
    caches, batches = {}, {}
    for agent, spec in pool(name, conf=CONF).items():
        given = spec.settings
        (tmp_path / agent).mkdir()
        models[agent] = planned(tmp_path / agent, given["path"].removeprefix("model/"), given["quantization"])
        assert given.get("max_batch_tokens", MAX_BATCH_TOKENS) <= 4096 * sequences
        caches[agent] = models[agent].cache_per_token * given.get("cache_tokens", CACHE_TOKENS)
        batches[agent] = models[agent].cache_per_token * given.get("max_batch_tokens", MAX_BATCH_TOKENS)
    kept = sum(model.weights for model in models.values()) + sum(caches.values()) + max(batches.values())
    assert kept + ALLOWANCE <= size * GB  # or its models would take turns
    found = fit(models, [size * GB], 4096)
    assert found.resident
    assert set(found.sequences.values()) == {sequences}
    assert round(sum(model.weights for model in models.values()) / GB, 1) == weights
    assert f"weights {weights} GB" in " ".join((CONF / "pool" / f"{name}.yaml").read_text().split())
