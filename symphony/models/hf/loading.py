"""Loads causal language models from Hugging Face folders, quantised by bitsandbytes if asked."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from symphony.models.folder import CONFIG, GENERATION
from symphony.models.footprint import BLOCK
from symphony.models.hf.batching import ran_out
from symphony.types import SymphonyError

Quantization = Literal["nf4", "fp4", "int8"]
LOCAL = {"local_files_only": True, "trust_remote_code": False}
"""Used for everything that is loaded: no network, and no question on the terminal about a folder's own program."""
_MOST_LETTERS = 300  # characters repeated of a library's message
_WHOLE = "a checkpoint with the tensors of its config, each once and finite"


@contextmanager
def explained(place: Path, allowed: str) -> Iterator[None]:
    """Turns any error that a library raises over the files at `place` into one line.

    A folder's values reach code of each architecture, which may raise anything; only out-of-memory errors pass.
    """
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity(logging.CRITICAL)  # it prints many lines about what is checked here
    try:
        yield
    except SymphonyError:
        raise
    except Exception as error:
        if ran_out(error):
            raise
        name = "" if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: "
        reason = f"{name}{' '.join(str(error).split())[:_MOST_LETTERS]}" or type(error).__name__
        raise SymphonyError(f"{place}: found {reason}, allowed: {allowed}") from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def load_model(folder: Path, *, dtype: str, device: str, quantization: str | None) -> Any:
    """Loads the model in evaluation mode. `quantization` quantises while loading; a quantised folder loads as it is.

    Args:
        device: An existing device, e.g. "cpu" or "cuda:0".

    Raises:
        SymphonyError: The folder holds no model that transformers can load, or an incomplete one.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # otherwise int8 warns at every matrix product
    torch_dtype = getattr(torch, dtype)
    config = load_config(folder)
    with explained(folder / CONFIG, "the config of a causal language model"), torch.device("meta"):
        plan = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    quantised = None
    if quantization == "int8":
        quantised = BitsAndBytesConfig(load_in_8bit=True)
    elif quantization is not None:
        quantised = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=quantization,
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch_dtype,
            llm_int8_skip_modules=_left_whole(plan),
        )
    placed: dict[str, Any] = {} if quantised is None else {"quantization_config": quantised, "device_map": device}
    with explained(folder, "a causal language model's folder"):
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch_dtype, output_loading_info=True, ignore_mismatched_sizes=True, **LOCAL, **placed
        )  # those are reported below; otherwise only a report of many lines would name them
        if getattr(model, "quantization_method", None) is None:
            model = model.to(device)
    _check_whole(folder, model, report)
    if quantised is not None and device == "cpu":
        # Modules left whole are views of the mapped file, and would keep the quantised layers' source in memory.
        for parameter in model.parameters():
            if parameter.is_floating_point():
                parameter.data = parameter.data.clone()
    return model.eval()


def load_config(folder: Path) -> Any:
    """Loads the config of a folder.

    Raises:
        SymphonyError: transformers cannot load it.
    """
    from transformers import AutoConfig

    with explained(folder / CONFIG, "the config of a causal language model"):
        return AutoConfig.from_pretrained(folder, **LOCAL)


def load_tokenizer(folder: Path) -> Any:
    """Loads the tokenizer of a folder, which must have a chat template.

    Raises:
        SymphonyError: transformers cannot load it, or it has no chat template.
    """
    from transformers import AutoTokenizer

    with explained(folder, "a tokenizer with a chat template"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL)
    if not tokenizer.chat_template:
        raise SymphonyError(f"{folder}: found no chat template, allowed: a tokenizer with one")
    return tokenizer


def load_generation_config(folder: Path) -> Any:
    """Loads a folder's generation config; None if there is none."""
    from transformers import GenerationConfig

    if not (folder / GENERATION).is_file():
        return None
    with explained(folder / GENERATION, "a generation config of transformers"):
        return GenerationConfig.from_pretrained(folder, local_files_only=True)


def _check_whole(folder: Path, model: Any, report: dict[str, Any]) -> None:
    """Raises SymphonyError if transformers filled in tensors at random, skipped any, or read NaN or infinity."""
    for words, key in (("lacking", "missing_keys"), ("unknown", "unexpected_keys"), ("misshapen", "mismatched_keys")):
        if names := sorted(str(name[0] if isinstance(name, tuple) else name) for name in report.get(key) or ()):
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise SymphonyError(f"{folder}: found {words} tensors: {names[0]}{more}, allowed: {_WHOLE}")
    if errors := report.get("error_msgs"):
        raise SymphonyError(f"{folder}: found {' '.join(str(errors[0]).split())[:_MOST_LETTERS]}, allowed: {_WHOLE}")
    stored = getattr(model.config, "quantization_config", None)
    if stored is not None and getattr(model, "quantization_method", None) is None:
        allowed = "one that transformers and the installed libraries can load"
        raise SymphonyError(f"{folder / CONFIG}: quantization_config: found {stored}, allowed: {allowed}")
    if name := next(_unquantised(model), None):
        allowed = "quantised tensors, as its config says"
        raise SymphonyError(f"{folder}: found tensor {name} unquantised, allowed: {allowed}")
    for name, values in _numbers(model):
        if values.numel() and not all(bool(bound.isfinite()) for bound in values.aminmax()):
            raise SymphonyError(f"{folder}: found NaN or infinity in tensor {name}, allowed: {_WHOLE}")


def _unquantised(model: Any) -> Iterator[str]:
    """Yields weights of bitsandbytes layers that were never quantised, so bitsandbytes cannot compute with them."""
    if getattr(model, "quantization_method", None) != "bitsandbytes":
        return
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    for name, module in model.named_modules():
        if isinstance(module, (Linear4bit, Linear8bitLt)):
            weight = module.weight
            if weight.is_floating_point() and getattr(weight, "quant_state", None) is None:
                yield f"{name}.weight"


def _numbers(model: Any) -> Iterator[tuple[str, Any]]:
    """Yields the floating-point numbers of a model: its weights and, for quantised ones, their scales."""
    for name, parameter in model.named_parameters():
        state, rows = getattr(parameter, "quant_state", None), getattr(parameter, "SCB", None)
        inner = getattr(state, "state2", None)
        for values in (
            parameter.data, rows, *(getattr(part, key, None) for part in (state, inner) for key in ("absmax", "offset"))
        ):  # fmt: skip
            if values is not None and values.is_floating_point():
                yield name, values


def _left_whole(model: Any) -> list[str]:
    """Returns the modules that stay unquantised at four bits: the head, and layers whose rows are not whole blocks.

    On CPUs with avx512_bf16, bitsandbytes 0.50 packs row by row and fails if the input width is not a multiple of 64.
    """
    import torch

    head = model.get_output_embeddings()
    linear = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    return [name for name, module in linear if module is head or module.in_features % BLOCK]
