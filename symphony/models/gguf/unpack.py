"""A GGUF file as a Hugging Face folder, its weights as the numbers that their four bits stand for."""

from __future__ import annotations

from pathlib import Path

from symphony.models.hf.loading import LOCAL, explained


def unpack(file: Path, folder: Path) -> Path:
    """Writes config, tokenizer and float32 weights; transformers reads the file, which needs the package `gguf`.

    Args:
        file: Of an architecture that transformers knows from GGUF.
        folder: To be written.

    Returns:
        The folder.

    Raises:
        SymphonyError: transformers can't read the file.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    with explained(file, "a GGUF file that transformers can read (pip install gguf)"):
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **LOCAL)
        # transformers takes the template of some architectures alone.
        tokenizer.chat_template = tokenizer.chat_template or _template(file)
        tokenizer.save_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32", **LOCAL)
        model.hf_quantizer = None  # its weights are float32 now, but it refuses to be saved as a quantised model
        model.config.quantization_config = None
        model.save_pretrained(folder)
    return folder


def _template(file: Path) -> str | None:
    from gguf import GGUFReader

    field = GGUFReader(file).fields.get("tokenizer.chat_template")
    return str(field.contents()) if field else None
