"""Random models with the layer shapes of the paper's SYMPHONY-S, at any depth, for benches that download nothing.

The sizes are those of the models' public configs. The tokenizer works on bytes, so that n letters are n tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sizes of a model; `family` is transformers' name."""

    name: str
    family: str
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    vocabulary: int
    layers: int


SHAPES = (
    Shape(name="qwen2_5_7b", family="qwen2", hidden=3584, intermediate=18944, heads=28, key_value_heads=4,
          vocabulary=152064, layers=28),
    Shape(name="mistral_7b_v0_3", family="mistral", hidden=4096, intermediate=14336, heads=32, key_value_heads=8,
          vocabulary=32768, layers=32),
    Shape(name="llama_3_1_8b", family="llama", hidden=4096, intermediate=14336, heads=32, key_value_heads=8,
          vocabulary=128256, layers=32),
)  # fmt: skip
TOYS = tuple(
    Shape(name=f"toy_{shape.family}", family=shape.family, hidden=128, intermediate=384, heads=4, key_value_heads=2,
          vocabulary=704, layers=2)
    for shape in SHAPES
)  # fmt: skip


def write_tokenizer(folder: Path) -> None:
    """Writes a byte-level tokenizer with a chat template."""
    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def write(shape: Shape, folder: Path, *, layers: int | None = None, device: str = "cpu") -> None:
    """Writes a folder with random bfloat16 weights, drawn on the device; of full depth unless `layers` is given."""
    config = AutoConfig.for_model(
        shape.family,
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=layers or shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        **({"sliding_window": None} if shape.family == "mistral" else {}),
    )
    logging.disable_progress_bar()
    torch.manual_seed(0)
    with torch.device(device):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder)
    write_tokenizer(folder)
