"""Any causal language model in a Hugging Face folder, in batches in which each row draws from its own seed.

torch and transformers are imported when a backend is made, so the module itself costs nothing.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from symphony.fields import Count
from symphony.models.batching import TokenBudget, cut, in_order, ran_out, release
from symphony.models.caches import roomy_caches
from symphony.models.chats import ChatTokenizer, context_of, load_chats
from symphony.models.devices import candidates
from symphony.models.folder import CONFIG, GENERATION, TOKENIZER, check_folder
from symphony.models.loading import Quantization, cards, load_generation_config, load_model, load_tokenizer
from symphony.models.revision import revision_of
from symphony.models.sampler import Decoder, Row, Sampler
from symphony.models.sizes import Size
from symphony.reasoning import stop_at
from symphony.types import Completion, Request, SymphonyError

if TYPE_CHECKING:
    import torch

MAX_BATCH_TOKENS = 16384
"""Of a batch, unless a model's option says otherwise."""
_WORTH_KEEPING = 0.75  # of a batch; copying its caches to drop fewer rows costs about what it saves
_WORTH_SHARING = 192  # prompt tokens; below this the extra forward pass of a shared prefill costs more than it saves


class HFBackend:
    """A causal language model from a Hugging Face folder (`ModelBackend`).

    Args:
        path: Folder with config, weights, tokenizer and chat template.
        dtype: "float32", "bfloat16" or "float16"; float32 is the fast one on a CPU.
        device: "cpu", "cuda:0", "cuda" (any GPU), or "auto": a GPU where there is one, else the CPU.
        quantization: bitsandbytes scheme applied while loading; None loads the folder as it is.
        threads: torch threads of this process, >= 1 (CPU only).
        max_batch_rows: Requests in one batch, >= 1.
        max_batch_tokens: Rows times padded length (prompt and completion) in one batch, >= 1; one row may exceed it.
            Halved while it is too much for the memory, see `TokenBudget`.
        share_prefixes: Prefill equal prompts and long common prefixes once. Changes the speed, not the tokens.

    Raises:
        SymphonyError: A folder that is not there, broken or holds not all of a model, no chat template, a device that
            is not there, a value out of its range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        device: str = "cpu",
        quantization: Quantization | None = None,
        threads: Count = 1,
        max_batch_rows: Count = 64,
        max_batch_tokens: Count = MAX_BATCH_TOKENS,
        share_prefixes: bool = True,
    ) -> None:
        limits = {"threads": threads, "max_batch_rows": max_batch_rows, "max_batch_tokens": max_batch_tokens}
        for name, value in limits.items():
            if value < 1:
                raise SymphonyError(f"{name}: found {value}, allowed: >= 1")
        self.budget = TokenBudget(max_batch_tokens)
        self.path = Path(path)
        check_folder(self.path)
        self.revision = revision_of(path, dtype=dtype, quantization=quantization)
        self.counter: str | None = self.revision
        self.max_batch_rows = max_batch_rows
        device = candidates(device, cards)[0]
        import torch
        from transformers import DynamicCache, GenerationConfig
        from transformers.cache_utils import DynamicLayer

        self._torch = torch
        if device == "cpu":
            torch.set_num_threads(threads)
        ends = load_generation_config(self.path)
        self.tokenizer = load_tokenizer(self.path)
        self.model = load_model(self.path, dtype=dtype, device=device, quantization=quantization)
        vocabulary = len(self.model.get_output_embeddings().weight)
        text_config = self.model.config.get_text_config(decoder=True)
        self.context = context_of(self.model.config)
        self._decode_text = Decoder(self.tokenizer)
        self._chats = ChatTokenizer(self.tokenizer, self.context, vocabulary=vocabulary)
        self._chats.check(self.path)
        self._end_ids = self._end_tokens(ends, vocabulary)
        pad = self.tokenizer.pad_token_id
        # Any token pads, as it is masked; that of a tokenizer may be one that the model does not know.
        self._pad = int(pad if pad is not None and pad < vocabulary else min(self._end_ids, default=0))
        self._ends = torch.zeros(vocabulary, dtype=torch.bool, device=device)
        self._ends[list(self._end_ids)] = True
        # The sampler ends rows and draws tokens, so nothing of the model's own sampling defaults may remain.
        self.model.generation_config = GenerationConfig(pad_token_id=self._pad)
        # Padding between prefix and suffix needs positions from the mask and attention that is not windowed.
        accepted = inspect.signature(self.model.forward).parameters
        self._cache_name = "cache" if "cache" in accepted else "past_key_values"  # renamed by a transformers 5 release
        self._plain = {"position_ids", "logits_to_keep"} <= set(accepted) and all(
            type(layer) is DynamicLayer for layer in DynamicCache(config=text_config).layers
        )
        self._shares = share_prefixes and self._plain
        self._new_cache = roomy_caches(text_config.num_hidden_layers)

    revision_of = staticmethod(revision_of)

    @staticmethod
    def sizing(path: str | Path, revision: str) -> ChatTokenizer:
        """What knows the sizes of a folder's prompts without its weights."""
        return load_chats(Path(path), counter=revision)

    def size(self, request: Request) -> Size:
        """See `Sizing`."""
        return self._chats.size(request)

    def _end_tokens(self, generation: Any, vocabulary: int) -> set[int]:
        """Ids that end a completion: those of the generation config, the config and the tokenizer."""
        ends: set[int] = set()
        told = {
            GENERATION: getattr(generation, "eos_token_id", None),
            CONFIG: self.model.config.eos_token_id,
            TOKENIZER: self.tokenizer.eos_token_id,
        }
        for name, found in told.items():
            for end in found if isinstance(found, list) else [] if found is None else [found]:
                if type(end) is not int or not 0 <= end < vocabulary:
                    allowed = f"tokens that the model knows, 0 to {vocabulary - 1}"
                    raise SymphonyError(f"{self.path / name}: eos_token_id: found {end!r}, allowed: {allowed}")
                ends.add(end)
        return ends

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers in the same length and order.

        A prompt that leaves no room for the completion is shortened; what is still too long, or does not fit the memory
        even alone, becomes an error.
        """
        answers: dict[int, Completion] = {}
        waiting = in_order(self._chats.rows(requests, answers))
        with self._torch.inference_mode():
            while waiting:
                batch, full = cut(waiting, self.max_batch_rows, self.budget.tokens)
                found = self._attempt(batch)
                if found is not None:
                    self.budget.held(full=full)
                    answers.update(found)
                    del waiting[: len(batch)]
        return [answers[index] for index in range(len(requests))]

    def _attempt(self, batch: list[Row]) -> dict[int, Completion] | None:
        """The batch's answers; None where it was too much for the memory and smaller ones are to be tried."""
        try:
            return self._answer(batch)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
        release()  # here and not above: an error that is handled keeps the tensors of its frames alive
        if len(batch) > 1:
            self.budget.halve(batch)
            return None
        (row,) = batch
        length = len(row.prompt)
        told = f"memory: found too little for a prompt of {length} tokens and {row.limit} to come, allowed: fewer"
        refused = Completion(text="", finish_reason="error", prompt_tokens=length, error=told, dropped=row.dropped)
        return {row.index: refused}

    def _answer(self, rows: list[Row]) -> dict[int, Completion]:
        """One batch, all of its rows to their end."""
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
        sampler = Sampler(rows, self._ends, self._decode_text)
        if cache is not None:
            self._decode(ids[chosen], mask[chosen], cache, sampler)
        else:
            self.model.generate(
                ids[chosen],
                attention_mask=mask[chosen],
                do_sample=False,
                max_new_tokens=room,
                logits_processor=[sampler.choose],
                stopping_criteria=[sampler.ended],
            )
        return self._completions(rows, sampler, reused)

    def _decode(self, ids: torch.Tensor, mask: torch.Tensor, cache: Any, sampler: Sampler) -> None:
        """Generates as `generate` does, and takes rows out of the batch when they have ended.

        Args:
            ids, mask: Of the prompts (rows, width).
            cache: Of their first tokens, perhaps of none.
        """
        torch = self._torch
        mask = torch.cat((mask, mask.new_ones(len(ids), sampler.room)), dim=1)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        begin, end = cache.get_seq_length(), ids.shape[1]
        fed = ids[:, begin:]
        while True:
            output = self.model(
                fed,
                attention_mask=mask[:, :end],
                position_ids=positions[:, begin:end],
                use_cache=True,
                logits_to_keep=1,
                **{self._cache_name: cache},
            )
            sampler.choose(None, output.logits[:, -1].float())
            going = sampler.ended().logical_not().nonzero()[:, 0]
            if not len(going):
                return
            if len(going) <= _WORTH_KEEPING * len(fed):
                cache.batch_select_indices(going)
                sampler.keep(going)
                mask, positions = mask[going], positions[going]
            fed = sampler.tokens[sampler.rows, sampler.step - 1, None]
            begin, end = end, end + 1

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

    def _completions(self, rows: list[Row], sampler: Sampler, reused: list[int]) -> dict[int, Completion]:
        tokens, stopped = sampler.tokens[:, : sampler.step].tolist(), sampler.stopped
        logprobs = sampler.logprobs[:, : sampler.step].double().cumsum(1).tolist()
        counts = []
        for number, row in enumerate(rows):
            limit = stopped.get(number, row.limit)
            ended = next((k + 1 for k, token in enumerate(tokens[number][:limit]) if token in self._end_ids), None)
            counts.append((ended or min(limit, len(tokens[number])), ended is not None))
        kept = [row_tokens[: count - ended] for row_tokens, (count, ended) in zip(tokens, counts, strict=True)]
        texts = self._decode_text(kept)
        answers = {}
        for number, (row, (count, ended)) in enumerate(zip(rows, counts, strict=True)):
            logprob = logprobs[number][count - 1]
            if not math.isfinite(logprob):
                answers[row.index] = _unknown(row, count)
                continue
            text = row.opened + texts[number]
            at = stop_at(text, row.sampling.stop)
            answers[row.index] = Completion(
                text=text[:at],
                finish_reason="stop" if ended or at is not None else "length",
                prompt_tokens=len(row.prompt),
                cached_tokens=reused[number],
                completion_tokens=count,
                logprob=logprob,
                dropped=row.dropped,
            )
        return answers


def _unknown(row: Row, tokens: int) -> Completion:
    """The answer to a row for which the model computed no number at some token."""
    told = "logits: found NaN or infinity, allowed: finite numbers (another dtype, or the config that the weights had)"
    return Completion(
        text="",
        finish_reason="error",
        prompt_tokens=len(row.prompt),
        completion_tokens=tokens,
        error=told,
        dropped=row.dropped,
    )


def _shared_prefix(prompts: list[tuple[int, ...]]) -> int:
    """Length of the prefix that all prompts share; at least one token of each stays outside it."""
    low, high = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    return next((k for k in range(limit) if low[k] != high[k]), limit)
