"""Loads causal language models from Hugging Face folders, quantised by bitsandbytes where that is asked for."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

from symphony.types import SymphonyError

Quantization = Literal["nf4", "fp4", "int8"]
_BLOCK = 64  # weights that share a scale in four-bit schemes


def cards() -> dict[str, int]:
    """Free bytes of each GPU that torch can use, in torch's order."""
    import torch

    return {f"cuda:{number}": torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())}


def load_model(folder: Path, *, dtype: str, device: str, quantization: str | None) -> Any:
    """The model in evaluation mode. `quantization` quantises while loading; a quantised folder loads as it is.

    Raises:
        SymphonyError: The folder holds no model that transformers can load.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # int8 warns at every matrix product otherwise
    torch_dtype = getattr(torch, dtype)
    config = None
    if quantization == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    elif quantization is not None:
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch_dtype,
            llm_int8_skip_modules=_left_whole(folder),
        )
    placed: dict[str, Any] = {} if config is None else {"quantization_config": config, "device_map": device}
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch_dtype, local_files_only=True, **placed)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise SymphonyError(f"{folder}: found {error}, allowed: a causal language model's folder") from error
    if getattr(model, "quantization_method", None) is None:
        model = model.to(device)
    if config is not None and device == "cpu":
        # What was left whole lies in the mapped file, and would keep the quantised layers' source in memory as well.
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.clone()
    return model.eval()


def _left_whole(folder: Path) -> list[str]:
    """Modules that four bits leave alone: the head, and layers whose rows are not whole blocks.

    On CPUs with avx512_bf16, bitsandbytes 0.50 packs row by row and fails on an input width that is no multiple of 64.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
    except (OSError, ValueError, KeyError) as error:
        raise SymphonyError(f"{folder}: found {error}, allowed: a causal language model's folder") from error
    head = model.get_output_embeddings()
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return [name for name, module in linear if module is head or module.in_features % _BLOCK]
