"""Draws each row of a batch from its own seed under transformers' `generate`, and ends it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from symphony.types import Sampling

if TYPE_CHECKING:
    import torch

_NOISE_NUMBERS = 8192  # random numbers drawn from a row's generator at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One request, tokenised. `prompt` is shared by rows of equal messages."""

    index: int
    prompt: tuple[int, ...]
    sampling: Sampling
    limit: int  # completion tokens
    seed: int
    dropped: int  # parts that the prompt was shortened by


class Sampler:
    """Chooses each row's next token from its own seed, and says when the row has ended.

    Serves `generate` both as logits processor and as stopping criterion. Adding temperature * Gumbel noise to the
    logits and taking the maximum samples from softmax(logits / temperature); the noise of a row depends on its seed
    and on the step only, hence not on who shares the batch.
    """

    def __init__(self, rows: Sequence[Row], ends: torch.Tensor, tokenizer: Any, width: int) -> None:
        import torch

        self.torch = torch
        self.rows, self.ends, self.tokenizer, self.width = rows, ends, tokenizer, width
        device = ends.device
        self.step = 0
        self.limits = torch.tensor([row.limit for row in rows], device=device)
        self.done = torch.zeros(len(rows), dtype=torch.bool, device=device)
        self.logprobs: list[torch.Tensor] = []
        self.stops = [(i, row.sampling.stop) for i, row in enumerate(rows) if row.sampling.stop]
        self.stopped: dict[int, int] = {}
        self.hot = [i for i, row in enumerate(rows) if row.sampling.temperature > 0]
        self.hot_index = torch.tensor(self.hot, device=device)
        self.generators = [torch.Generator(device=device).manual_seed(rows[i].seed) for i in self.hot]
        temperatures = [rows[i].sampling.temperature for i in self.hot]
        self.temperatures = torch.tensor(temperatures, device=device)[:, None, None]
        self.noise = self.temperatures

    def _fresh_noise(self, vocabulary: int) -> None:
        """The next steps' noise of every row, drawn together; the number of steps depends on the vocabulary only."""
        steps = max(1, _NOISE_NUMBERS // vocabulary)
        if self.noise.shape[-1] != vocabulary:
            self.noise = self.temperatures.new_empty((len(self.hot), steps, vocabulary))
        done = self.done.tolist()
        for generator, row, noise in zip(self.generators, self.hot, self.noise, strict=True):
            if not done[row]:
                noise.uniform_(generator=generator)
            else:
                noise.fill_(0.5)
        self.noise.log_().neg_().log_().mul_(-self.temperatures)

    def choose(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Logits processor: `scores` (rows, vocabulary) with noise, so that the maximum is the draw."""
        noisy = scores
        if self.hot:
            steps = max(1, _NOISE_NUMBERS // scores.shape[1])
            if self.step % steps == 0:
                self._fresh_noise(scores.shape[1])
            noise = self.noise[:, self.step % steps]
            everyone = len(self.hot) == len(self.rows)
            noisy = scores + noise if everyone else scores.index_add(0, self.hot_index, noise)
        tokens = noisy.argmax(-1, keepdim=True)
        self.logprobs.append(scores.gather(1, tokens)[:, 0] - scores.logsumexp(-1))
        return noisy

    def ended(self, ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        """Stopping criterion: which rows have ended (end token, stop string or token limit)."""
        self.step += 1
        self.done |= self.ends[ids[:, -1]]
        self.done |= self.limits <= self.step
        for row, stops in self.stops:
            if row not in self.stopped and not self.done[row]:
                # A token is at least one byte (four more for one that is split), so the tail holds any new match.
                tail = max(len(stop.encode()) for stop in stops) + 4
                text = self.tokenizer.decode(ids[row, max(self.width, ids.shape[1] - tail) :], skip_special_tokens=True)
                if any(stop in text for stop in stops):
                    self.stopped[row] = self.step
                    self.done[row] = True
        return self.done.clone()
