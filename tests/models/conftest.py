"""Tiny random models in Hugging Face folders, with a byte-level tokenizer and a chat template."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from symphony.types import Draw, Message, Phase, Request, Sampling

if TYPE_CHECKING:
    from symphony.models.hf.backend import HFBackend

FAMILIES = ("llama", "qwen3", "gpt_neox", "mistral")  # the last has a sliding window
VOCABULARY = 320
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
EMBEDDED = sorted((Path(__file__).parents[2] / "symphony" / "embedded" / "weights").glob("*/config.json"))


@pytest.fixture(scope="module", autouse=True)
def _direct() -> Iterator[None]:
    """Whatever proxy or account the machine has is not used."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.lower().endswith("_proxy") or name.startswith("OPENAI_"):
                patch.delenv(name)
        yield


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    merges = [("a", letter) for letter in letters[: VOCABULARY - len(vocabulary)]]
    vocabulary |= {"".join(merge): len(vocabulary) + number for number, merge in enumerate(merges)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)


def write_model(folder: Path, family: str, **own: int) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(7)
    extras = {
        "qwen3": {"num_key_value_heads": 2, "head_dim": 16},
        "mistral": {"num_key_value_heads": 2, "sliding_window": 24},
    }
    config = AutoConfig.for_model(
        family,
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.25,  # flat enough for varied samples, sharp enough for clear maxima
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
        **{**extras.get(family, {}), **own},
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    write_tokenizer(folder)


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    for family in FAMILIES:
        write_model(root / family, family)
    return {family: root / family for family in FAMILIES} | {f"embedded-{p.parent.name}": p.parent for p in EMBEDDED}


@pytest.fixture(scope="session")
def backends(folders: dict[str, Path]) -> Callable[[str], HFBackend]:
    from symphony.models.hf.backend import HFBackend

    made: dict[str, HFBackend] = {}

    def backend(name: str) -> HFBackend:
        if name not in made:
            made[name] = HFBackend(folders[name])
        return made[name]

    return backend


@pytest.fixture(scope="session")
def ask() -> Callable[..., Request]:
    def request(
        text: str = "go",
        *,
        index: int = 0,
        temperature: float = 1.0,
        max_tokens: int = 8,
        stop: tuple[str, ...] = (),
        seed: int = 0,
        problem: str = "p",
    ) -> Request:
        return Request(
            messages=(Message(role="user", content=text),),
            sampling=Sampling(temperature=temperature, max_tokens=max_tokens, stop=stop),
            draw=Draw(seed=seed, problem=problem, node=0, phase=Phase.EXPAND, index=index),
        )

    return request


@pytest.fixture(scope="session")
def file(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GGUF file of a random model."""
    pytest.importorskip("llama_cpp", reason="the extra gguf is not installed")
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    from tests.tiny_gguf import write

    made = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write(folders["qwen3"], made)
    return made
