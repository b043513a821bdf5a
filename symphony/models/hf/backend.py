"""Runs any causal language model in a Hugging Face folder, in batches in which each row draws from its own seed.

torch and transformers are imported when a backend is made, so importing this module costs nothing.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from symphony.chat.reasoning import stop_at
from symphony.fields import Count
from symphony.models.chats import ChatTokenizer, context_of, load_chats
from symphony.models.devices import candidates, cards
from symphony.models.dtypes import Dtype, resolved
from symphony.models.folder import CONFIG, GENERATION, TOKENIZER, check_folder
from symphony.models.hf.batching import TokenBudget, cut, in_order, ran_out, release
from symphony.models.hf.caches import roomy_caches
from symphony.models.hf.loading import Quantization, load_generation_config, load_model, load_tokenizer
from symphony.models.hf.prefixes import PrefixTree, Prompt, of_like_rest, shared_prefixes
from symphony.models.revision import revision_of
from symphony.models.sampler import Decoder, Row, Sampler
from symphony.models.sizes import Size
from symphony.types import Completion, Request, SymphonyError

if TYPE_CHECKING:
    import torch

MAX_BATCH_TOKENS = 16384
"""Maximum tokens in a batch, unless a model's option says otherwise."""
CACHE_TOKENS = 4096
"""Tokens kept of earlier prompts, unless a model's option says otherwise."""
_WORTH_KEEPING = 0.75  # share of a batch's rows; copying its caches to drop fewer rows costs about what it saves
_WORTH_SHARING = 192  # prompt tokens; below this the extra forward pass of a shared prefill costs more than it saves
_WORTH_FINDING = 32  # prompt tokens; below this, copying them out of the tree takes longer than computing them


class HFBackend:
    """A causal language model from a Hugging Face folder (`ModelBackend`).

    Args:
        path: Folder with config, weights, tokenizer and chat template.
        dtype: "float32", "bfloat16", "float16", or "auto": bfloat16 on a GPU and on a processor that multiplies it
            (AVX-512 BF16, AMX), float32 on others, where half precision is slow.
        device: "cpu", "cuda:0", "cuda" (any GPU), or "auto": a GPU if there is one, else the CPU.
        quantization: bitsandbytes scheme applied while loading; None loads the folder as it is.
        threads: torch threads of this process, >= 1 (CPU only).
        max_batch_rows: Maximum number of requests in one batch, >= 1.
        max_batch_tokens: Maximum of rows times padded length (prompt and completion) in one batch, >= 1; one row may
            exceed it. Halved when memory runs out, see `TokenBudget`.
        cache_tokens: Tokens of earlier prompts whose keys and values are kept, >= 0; fewer when memory runs out.
        share_prefixes: Compute equal prompts, common prefixes and beginnings of earlier prompts only once. In float32
            this changes the speed, not the tokens; in half precision a draw may depend on the other rows.

    Raises:
        SymphonyError: The folder is missing, broken or incomplete; there is no chat template; the device does not
            exist; or a value is out of its range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        dtype: Dtype = "float32",
        device: str = "cpu",
        quantization: Quantization | None = None,
        threads: Count = 1,
        max_batch_rows: Count = 64,
        max_batch_tokens: Count = MAX_BATCH_TOKENS,
        cache_tokens: int = CACHE_TOKENS,
        share_prefixes: bool = True,
    ) -> None:
        limits = {"threads": threads, "max_batch_rows": max_batch_rows, "max_batch_tokens": max_batch_tokens}
        for name, value in limits.items():
            if value < 1:
                raise SymphonyError(f"{name}: found {value}, allowed: >= 1")
        if cache_tokens < 0:
            raise SymphonyError(f"cache_tokens: found {cache_tokens}, allowed: >= 0")
        self.budget = TokenBudget(max_batch_tokens)
        self.path = Path(path)
        check_folder(self.path)
        held_as = resolved(dtype, device)
        self.revision = revision_of(path, dtype=held_as, quantization=quantization)
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
        self.model = load_model(self.path, dtype=held_as, device=device, quantization=quantization)
        vocabulary = len(self.model.get_output_embeddings().weight)
        text_config = self.model.config.get_text_config(decoder=True)
        self.context = context_of(self.model.config)
        self._decode_text = Decoder(self.tokenizer)
        self._chats = ChatTokenizer(self.tokenizer, self.context, vocabulary=vocabulary)
        self._chats.check(self.path)
        self._end_ids = self._end_tokens(ends, vocabulary)
        pad = self.tokenizer.pad_token_id
        # Any token can pad, since padding is masked; the tokenizer's pad token may be unknown to the model.
        self._pad = int(pad if pad is not None and pad < vocabulary else min(self._end_ids, default=0))
        self._ends = torch.zeros(vocabulary, dtype=torch.bool, device=device)
        self._ends[list(self._end_ids)] = True
        # The sampler ends rows and draws tokens, so none of the model's own sampling defaults may remain.
        self.model.generation_config = GenerationConfig(pad_token_id=self._pad)
        # Padding between prefix and suffix needs positions from the mask, and attention without a window.
        accepted = inspect.signature(self.model.forward).parameters
        self._cache_name = "cache" if "cache" in accepted else "past_key_values"  # renamed by a transformers 5 release
        self._plain = {"position_ids", "logits_to_keep"} <= set(accepted) and all(
            type(layer) is DynamicLayer for layer in DynamicCache(config=text_config).layers
        )
        self._shares = share_prefixes and self._plain
        self._tree = PrefixTree(cache_tokens)
        self._new_cache = roomy_caches(text_config.num_hidden_layers)

    revision_of = staticmethod(revision_of)

    @staticmethod
    def sizing(path: str | Path, revision: str) -> ChatTokenizer:
        """Returns an object that gives the sizes of a folder's prompts without its weights."""
        return load_chats(Path(path), counter=revision)

    def size(self, request: Request) -> Size:
        """Returns a request's size, see `Sizing`."""
        return self._chats.size(request)

    def _end_tokens(self, generation: Any, vocabulary: int) -> set[int]:
        """Returns the ids that end a completion: those of the generation config, the config and the tokenizer."""
        ends: set[int] = set()
        declared = {
            GENERATION: getattr(generation, "eos_token_id", None),
            CONFIG: self.model.config.eos_token_id,
            TOKENIZER: self.tokenizer.eos_token_id,
        }
        for name, ids in declared.items():
            for end in ids if isinstance(ids, list) else [] if ids is None else [ids]:
                if type(end) is not int or not 0 <= end < vocabulary:
                    allowed = f"tokens that the model knows, 0 to {vocabulary - 1}"
                    raise SymphonyError(f"{self.path / name}: eos_token_id: found {end!r}, allowed: {allowed}")
                ends.add(end)
        return ends

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Returns one answer per request, in the same order.

        A prompt that leaves no room for the completion is shortened; if it is still too long, or does not fit the
        memory even alone, it becomes an error.
        """
        answers: dict[int, Completion] = {}
        waiting = in_order(self._chats.rows(requests, answers))
        with self._torch.inference_mode():
            while waiting:
                batch, full = cut(waiting, self.max_batch_rows, self.budget.tokens)
                completions = self._attempt(batch)
                if completions is not None:
                    self.budget.held(full=full)
                    answers.update(completions)
                    del waiting[: len(batch)]
        return [answers[index] for index in range(len(requests))]

    def _attempt(self, batch: list[Row]) -> dict[int, Completion] | None:
        """Returns the batch's answers; None if memory ran out and smaller batches should be tried."""
        try:
            return self._answer(batch)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
        kept = self._tree.tokens
        self._tree.clear()
        release()  # here and not above: an exception being handled keeps the tensors of its frames alive
        if kept:
            self._tree.most //= 4
            return None
        if len(batch) > 1:
            self.budget.halve(batch)
            return None
        (row,) = batch
        length = len(row.prompt)
        message = f"memory: found too little for a prompt of {length} tokens and {row.limit} new ones, allowed: fewer"
        refused = Completion(text="", finish_reason="error", prompt_tokens=length, error=message, dropped=row.dropped)
        return {row.index: refused}

    def _answer(self, rows: list[Row]) -> dict[int, Completion]:
        """Answers one batch, running all of its rows to their end."""
        asked = [row.prompt for row in rows]
        sampler = Sampler(rows, self._ends, self._decode_text)
        if self._plain:
            prompts = sorted(set(asked)) if self._shares else asked
            batch, computed = self._prefill(prompts, sampler.room)
            if prompts != asked:
                batch = batch.select([prompts.index(prompt) for prompt in asked])
            self._decode(batch, sampler)
        else:  # sliding windows, linear attention: `generate` chooses the cache
            ids, mask = self._pad_prompts(asked, [0] * len(asked))
            self.model.generate(
                ids,
                attention_mask=mask,
                do_sample=False,
                max_new_tokens=sampler.room,
                logits_processor=[sampler.choose],
                stopping_criteria=[sampler.ended],
            )
            computed = {}
        # Of rows with equal prompts, the first computed the prompt's tokens, each of the others only the last token.
        reused = [len(prompt) - computed.pop(prompt, 1) if self._shares else 0 for prompt in asked]
        return self._completions(rows, sampler, reused)

    def _prefill(self, prompts: list[Prompt], room: int) -> tuple[_Batch, dict[Prompt, int]]:
        """Makes a batch of prompts with room to generate; returns it and the number of tokens computed for each prompt.

        A common prefix of several prompts is computed once, and prefixes in the tree not at all.
        """
        if not self._shares:
            return self._forward(prompts, room), {}
        computed = dict.fromkeys(prompts, 0)

        def compute(prefixes: list[Prompt]) -> None:
            prefixes = list(dict.fromkeys(prefixes))
            for prefix in prefixes:
                owner = next(prompt for prompt in prompts if prompt[: len(prefix)] == prefix)
                computed[owner] += len(prefix) - self._held_length(prefix)
            self._forward(prefixes, 0)

        for prefixes in shared_prefixes(
            prompts, {prompt: self._held_length(prompt) for prompt in prompts}, _WORTH_SHARING
        ):
            compute(prefixes)
        # Otherwise rows with little left to compute would be padded to those with much left.
        rests = {prompt: len(prompt) - self._held_length(prompt) for prompt in prompts}
        for group in of_like_rest(rests)[:-1]:
            compute([prompt[:-1] for prompt in group])
        for prompt in prompts:
            computed[prompt] = min(computed[prompt] + len(prompt) - self._held_length(prompt), len(prompt))
        return self._forward(prompts, room), computed

    def _held_length(self, prompt: Prompt) -> int:
        """Returns how many tokens of a prompt are taken from the tree: all that it holds, or none if they are few."""
        length = self._tree.match(prompt)
        return length if length >= _WORTH_FINDING else 0

    def _forward(self, prompts: list[Prompt], room: int) -> _Batch:
        """Computes the parts of some prompts that the tree does not hold, and adds them to it.

        Args:
            room: Tokens to generate; 0 if nothing is generated and no logits are needed.
        """
        torch = self._torch
        held = [self._held_length(prompt) for prompt in prompts] if self._shares else [0] * len(prompts)
        ids, mask = self._pad_prompts(prompts, held)
        most, width = max(held), ids.shape[1]
        pieces = (
            [self._tree.gather(prompt, length) for prompt, length in zip(prompts, held, strict=True)] if most else ()
        )
        cache = self._new_cache(width + room, pieces, most)
        if room:
            mask = torch.cat((mask, mask.new_ones(len(ids), room)), dim=1)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        batch = _Batch(cache=cache, mask=mask, positions=positions, length=most)
        if room:
            batch.logits = self._advance(batch, ids[:, most:])
        else:
            self.model.base_model(
                ids[:, most:],
                attention_mask=mask,
                position_ids=positions[:, most:],
                use_cache=True,
                **{self._cache_name: cache},
            )
        if self._shares:
            for row, (prompt, begin) in enumerate(zip(prompts, held, strict=True)):
                first = width - len(prompt) + begin
                layers = [(layer.keys[row, :, first:], layer.values[row, :, first:]) for layer in cache.layers]
                self._tree.add(prompt, begin, layers)
        return batch

    def _advance(self, batch: _Batch, fed: torch.Tensor) -> torch.Tensor:
        """Feeds tokens (rows, count) to a batch; returns the last token's logits (rows, vocabulary)."""
        begin = batch.length
        batch.length = end = begin + fed.shape[1]
        output = self.model(
            fed,
            attention_mask=batch.mask[:, :end],
            position_ids=batch.positions[:, begin:end],
            use_cache=True,
            logits_to_keep=1,
            **{self._cache_name: batch.cache},
        )
        logits: torch.Tensor = output.logits[:, -1].float()
        return logits

    def _decode(self, batch: _Batch, sampler: Sampler) -> None:
        """Generates as `generate` does, and removes rows from the batch when they have ended."""
        while True:
            sampler.choose(None, batch.logits)
            going = sampler.ended().logical_not().nonzero()[:, 0]
            if not len(going):
                return
            if len(going) <= _WORTH_KEEPING * len(batch.mask):
                batch = batch.select(going)
                sampler.keep(going)
            batch.logits = self._advance(batch, sampler.tokens[sampler.rows, sampler.step - 1, None])

    def _pad_prompts(self, prompts: list[Prompt], held: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns token ids and mask (prompts, width): the held part, padding, then the rest of each prompt."""
        most = max(held)
        width = most + max(len(prompt) - length for prompt, length in zip(prompts, held, strict=True))
        ids, mask = [], []
        for prompt, length in zip(prompts, held, strict=True):
            gap = width - len(prompt)
            ids.append((*prompt[:length], *(self._pad,) * gap, *prompt[length:]))
            mask.append((*(1,) * length, *(0,) * gap, *(1,) * (len(prompt) - length)))
        device = self._ends.device
        return self._torch.tensor(ids, device=device), self._torch.tensor(mask, device=device)

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


@dataclass(slots=True)
class _Batch:
    """Sequences that are generated together.

    Attributes:
        cache: Keys and values of their first tokens.
        mask: Which tokens are real (rows, prompt and room).
        positions: Positions of the real tokens, shaped like the mask (rows, prompt and room).
        length: Tokens in the cache, padding included.
        logits: Logits of the next token (rows, vocabulary); None before anything was computed.
    """

    cache: Any
    mask: torch.Tensor
    positions: torch.Tensor
    length: int
    logits: Any = None

    def select(self, rows: Any) -> _Batch:
        """Continues with these rows only, in this order; a row may occur more than once."""
        index = self.mask.new_tensor(rows) if isinstance(rows, list) else rows
        self.cache.batch_select_indices(index)
        return _Batch(self.cache, self.mask[index], self.positions[index], self.length, self.logits[index])


def _unknown(row: Row, tokens: int) -> Completion:
    """Returns the error for a row in which the model computed NaN at some token."""
    message = (
        "logits: found NaN or infinity, allowed: finite numbers (another dtype, or the config that the weights had)"
    )
    return Completion(
        text="",
        finish_reason="error",
        prompt_tokens=len(row.prompt),
        completion_tokens=tokens,
        error=message,
        dropped=row.dropped,
    )
