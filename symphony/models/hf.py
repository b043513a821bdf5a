"""Any causal language model in a Hugging Face folder, in batches in which each row draws from its own seed.

torch and transformers are imported when a backend is made, so the module itself costs nothing.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from symphony.models.chats import ChatTokenizer
from symphony.models.revision import revision_of
from symphony.models.sampler import Row, Sampler
from symphony.types import Completion, Request, SymphonyError

if TYPE_CHECKING:
    import torch

Quantization = Literal["nf4", "fp4", "int8"]
_BLOCK = 64  # weights that share a scale in four-bit schemes
_WORTH_SHARING = 192  # prompt tokens; below this the extra forward pass of a shared prefill costs more than it saves


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


class HFBackend:
    """A causal language model from a Hugging Face folder (`ModelBackend`).

    Args:
        path: Folder with config, weights, tokenizer and chat template.
        dtype: "float32", "bfloat16" or "float16"; float32 is the fast one on a CPU.
        device: As torch names it.
        quantization: bitsandbytes scheme applied while loading; None loads the folder as it is.
        threads: torch threads of this process, >= 1 (CPU only).
        max_batch_rows: Requests in one batch, >= 1.
        max_batch_tokens: Rows times padded length (prompt and completion) in one batch, >= 1; one row may exceed it.
        share_prefixes: Prefill equal prompts and long common prefixes once. Changes the speed, not the tokens.

    Raises:
        SymphonyError: Missing or unreadable folder, no chat template, a value out of its range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        dtype: str = "float32",
        device: str = "cpu",
        quantization: Quantization | None = None,
        threads: int = 1,
        max_batch_rows: int = 64,
        max_batch_tokens: int = 16384,
        share_prefixes: bool = True,
    ) -> None:
        limits = {"threads": threads, "max_batch_rows": max_batch_rows, "max_batch_tokens": max_batch_tokens}
        for name, value in limits.items():
            if value < 1:
                raise SymphonyError(f"{name}: found {value}, allowed: >= 1")
        self.path = Path(path)
        self.revision = revision_of(path, dtype=dtype, quantization=quantization)
        self.max_batch_rows, self.max_batch_tokens = max_batch_rows, max_batch_tokens
        import torch
        from transformers import AutoTokenizer, DynamicCache, GenerationConfig
        from transformers.cache_utils import DynamicLayer

        self._torch = torch
        if device == "cpu":
            torch.set_num_threads(threads)
        self.model = load_model(self.path, dtype=dtype, device=device, quantization=quantization)
        self.tokenizer = AutoTokenizer.from_pretrained(self.path, local_files_only=True)
        if not self.tokenizer.chat_template:
            raise SymphonyError(f"{self.path}: found no chat template, allowed: a tokenizer with one")
        text_config = self.model.config.get_text_config(decoder=True)
        self.context = int(getattr(text_config, "max_position_embeddings", None) or 2**30)
        self._chats = ChatTokenizer(self.tokenizer, self.context)
        ends = _end_tokens(self.model, self.tokenizer)
        pad = self.tokenizer.pad_token_id
        self._pad = int(pad if pad is not None else min(ends, default=0))
        self._ends = torch.zeros(self.model.get_output_embeddings().weight.shape[0], dtype=torch.bool, device=device)
        self._ends[list(ends)] = True
        # The sampler ends rows and draws tokens, so nothing of the model's own sampling defaults may remain.
        self.model.generation_config = GenerationConfig(pad_token_id=self._pad)
        # Padding between prefix and suffix needs positions from the mask and attention that is not windowed.
        accepted = inspect.signature(self.model.forward).parameters
        self._cache_name = "cache" if "cache" in accepted else "past_key_values"  # renamed by a transformers 5 release
        self._plain = "position_ids" in accepted and all(
            type(layer) is DynamicLayer for layer in DynamicCache(config=text_config).layers
        )
        self._shares = share_prefixes and self._plain
        self._new_cache = _roomy_caches(text_config.num_hidden_layers)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers in the same length and order.

        A prompt that leaves no room for the completion is shortened; what is still too long becomes an error.
        """
        answers: dict[int, Completion] = {}
        rows = self._chats.rows(requests, answers)
        with self._torch.inference_mode():
            for batch in self._batches(rows):
                answers.update(self._answer(batch))
        return [answers[index] for index in range(len(requests))]

    def _batches(self, rows: list[Row]) -> Iterator[list[Row]]:
        """Static batches of rows of like length under the row and token limits."""
        batch: list[Row] = []
        longest = 0
        for row in sorted(rows, key=lambda row: (row.limit, len(row.prompt), row.prompt, row.index)):
            length = max(longest, len(row.prompt) + row.limit)
            full = len(batch) == self.max_batch_rows or (len(batch) + 1) * length > self.max_batch_tokens
            if batch and full:
                yield batch
                batch, length = [], len(row.prompt) + row.limit
            batch.append(row)
            longest = length
        if batch:
            yield batch

    def _answer(self, rows: list[Row]) -> dict[int, Completion]:
        """One batch through `generate`."""
        torch = self._torch
        prompts = list(dict.fromkeys(row.prompt for row in rows))
        prefix = _shared_prefix(prompts) if self._shares and len(rows) > 1 else 0
        if prefix * (len(prompts) - 1 if len(prompts) > 1 else len(rows) - 1) < _WORTH_SHARING:
            prefix = 0
        width, room = max(len(prompt) for prompt in prompts), max(row.limit for row in rows)
        place = {prompt: number for number, prompt in enumerate(prompts)}
        chosen = torch.tensor([place[row.prompt] for row in rows], device=self._ends.device)
        ids, mask = self._pad_between(prompts, prefix, width)
        cache, reused = self._prefill(ids, mask, prefix, chosen, room)
        sampler = Sampler(rows, self._ends, self.tokenizer, width)
        output = self.model.generate(
            ids[chosen],
            attention_mask=mask[chosen],
            do_sample=False,
            max_new_tokens=room,
            logits_processor=[sampler.choose],
            stopping_criteria=[sampler.ended],
            **{self._cache_name: cache},
        )
        tokens = output[:, width:].tolist()
        logprobs = torch.stack(sampler.logprobs, dim=1).double().cumsum(1).tolist()
        return self._completions(rows, tokens, logprobs, sampler.stopped, reused)

    def _pad_between(
        self, prompts: list[tuple[int, ...]], prefix: int, width: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and mask (prompts, width): the shared prefix, padding, then each prompt's own part."""
        ids, mask = [], []
        for prompt in prompts:
            gap = width - len(prompt)
            ids.append((*prompt[:prefix], *(self._pad,) * gap, *prompt[prefix:]))
            mask.append((*(1,) * prefix, *(0,) * gap, *(1,) * (len(prompt) - prefix)))
        device = self._ends.device
        return self._torch.tensor(ids, device=device), self._torch.tensor(mask, device=device)

    def _prefill(
        self, ids: torch.Tensor, mask: torch.Tensor, prefix: int, chosen: torch.Tensor, room: int
    ) -> tuple[Any, list[int]]:
        """A cache (a row each of `chosen`) of the prefix and of repeated prompts, and how many tokens each row reused.

        None leaves the choice of the cache to `generate` (sliding windows, linear attention). `generate`
        computes what the cache does not hold: at least each prompt's last token.
        """
        rows, width = len(chosen), ids.shape[1]
        first = [0] * rows
        cache: Any = self._new_cache(width + room) if self._plain else None
        repeats = int(mask[chosen].sum() - mask.sum())
        twins = self._shares and repeats >= _WORTH_SHARING
        if prefix:
            self.model.base_model(ids[:1, :prefix], use_cache=True, **{self._cache_name: cache})
        if twins and prefix < width - 1:
            if prefix and len(ids) > 1:
                cache.batch_repeat_interleave(len(ids))
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, prefix : width - 1]
            self.model.base_model(
                ids[:, prefix : width - 1],
                attention_mask=mask[:, : width - 1],
                position_ids=positions,
                use_cache=True,
                **{self._cache_name: cache},
            )
            cache.batch_select_indices(chosen)
        elif prefix:
            cache.batch_repeat_interleave(rows)
        seen: set[int] = set()
        lengths = (mask.sum(-1) - 1).tolist()
        for row, prompt in enumerate(chosen.tolist()):
            if twins and prompt in seen:
                first[row] = lengths[prompt]
            elif row:
                first[row] = prefix
            seen.add(prompt)
        return cache, first

    def _completions(
        self,
        rows: list[Row],
        tokens: list[list[int]],
        logprobs: list[list[float]],
        stopped: dict[int, int],
        reused: list[int],
    ) -> dict[int, Completion]:
        ends = self._ends.tolist() if len(self._ends) < 4096 else self._ends
        counts = []
        for number, row in enumerate(rows):
            limit = stopped.get(number, row.limit)
            ended = next((k + 1 for k, token in enumerate(tokens[number][:limit]) if ends[token]), None)
            counts.append((ended or min(limit, len(tokens[number])), ended is not None))
        kept = [row_tokens[: count - ended] for row_tokens, (count, ended) in zip(tokens, counts, strict=True)]
        texts = self.tokenizer.batch_decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        answers = {}
        for number, (row, (count, ended)) in enumerate(zip(rows, counts, strict=True)):
            cuts = [at for stop in row.sampling.stop if (at := texts[number].find(stop)) >= 0]
            answers[row.index] = Completion(
                text=texts[number][: min(cuts)] if cuts else texts[number],
                finish_reason="stop" if ended or cuts else "length",
                prompt_tokens=len(row.prompt),
                cached_tokens=reused[number],
                completion_tokens=count,
                logprob=logprobs[number][count - 1],
                dropped=row.dropped,
            )
        return answers


def _roomy_caches(layers: int) -> Callable[[int], Any]:
    """Makes key-value caches of a known final length.

    A DynamicCache copies everything at each step, which was a third of the time of small models on a CPU.
    """
    from transformers import Cache
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        """Keys and values (rows, heads, tokens, width) are views into buffers with room for `length` tokens."""

        def __init__(self, length: int) -> None:
            super().__init__()
            self.keys: torch.Tensor
            self.values: torch.Tensor
            self.length = length
            self.buffers: tuple[torch.Tensor, torch.Tensor] | None = None

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            begin = self.get_seq_length()
            end = begin + key_states.shape[-2]
            if self.buffers is None:
                if not self.is_initialized:
                    self.lazy_initialization(key_states, value_states)
                self.buffers = self._roomy(key_states, self.keys, begin), self._roomy(value_states, self.values, begin)
            keys, values = self.buffers
            keys[:, :, begin:end] = key_states
            values[:, :, begin:end] = value_states
            self.keys, self.values = keys[:, :, :end], values[:, :, :end]
            return self.keys, self.values

        def _roomy(self, like: torch.Tensor, held: torch.Tensor, count: int) -> torch.Tensor:
            rows, heads, _, width = like.shape
            buffer = like.new_empty((rows, heads, self.length, width))
            if count:
                buffer[:, :, :count] = held
            return buffer

        def batch_repeat_interleave(self, repeats: int) -> None:
            super().batch_repeat_interleave(repeats)
            self.buffers = None

        def batch_select_indices(self, indices: torch.Tensor) -> None:
            super().batch_select_indices(indices)
            self.buffers = None

    return lambda length: Cache(layers=[RoomyLayer(length) for _ in range(layers)])


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Ids that end a completion: the generation config's and the tokenizer's."""
    ends: set[int] = set()
    for found in (model.generation_config.eos_token_id, model.config.eos_token_id, tokenizer.eos_token_id):
        ends.update(found if isinstance(found, list) else [] if found is None else [found])
    return ends


def _shared_prefix(prompts: list[tuple[int, ...]]) -> int:
    """Length of the prefix that all prompts share; at least one token of each stays outside it."""
    low, high = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    return next((k for k in range(limit) if low[k] != high[k]), limit)
