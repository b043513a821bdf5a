"""Converts a GGUF file to a Hugging Face folder, with its weights as the numbers that their four bits stand for."""

from __future__ import annotations

from pathlib import Path

from symphony.models.hf.loading import LOCAL, explained


def unpack(file: Path, folder: Path) -> Path:
    """Writes config, tokenizer and float32 weights. transformers reads the file, with the package `gguf`.

    Args:
        file: A GGUF file with an architecture that transformers can read from GGUF.
        folder: The folder to write.

    Returns:
        The folder.

    Raises:
        SymphonyError: transformers cannot read the file.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    with explained(file, "a GGUF file that transformers can read (pip install gguf)"):
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **LOCAL)
        # transformers reads the template for some architectures only.
        tokenizer.chat_template = tokenizer.chat_template or _template(file)
        tokenizer.save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32", **LOCAL)
        model.hf_quantizer = None  # the weights are float32 now, but transformers would not save it as quantised
        model.config.quantization_config = None
        model.save_pretrained(folder)
    return folder


def _template(file: Path) -> str | None:
    from gguf import GGUFReader

    field = GGUFReader(file).fields.get("tokenizer.chat_template")
    return str(field.contents()) if field else None
