"""Draws each row of a batch from its own seed under transformers' `generate`, and decides when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from symphony.chat.reasoning import is_mark, stop_at
from symphony.types import Sampling

if TYPE_CHECKING:
    import torch

_NOISE_NUMBERS = 8192  # random numbers drawn from a row's generator at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One tokenised request. Rows with equal messages share `prompt`."""

    index: int
    prompt: tuple[int, ...]
    sampling: Sampling
    limit: int  # completion tokens
    seed: int
    dropped: int  # parts dropped to shorten the prompt
    opened: str = ""  # tag with which the prompt's template opens the reasoning; the completion's text begins with it


class Decoder:
    """Decodes tokens to text without special tokens, except those that mark reasoning."""

    def __init__(self, tokenizer: Any) -> None:
        special = {id: token.content for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._tokenizer = tokenizer
        self._hidden = {id for id, content in special.items() if not is_mark(content)}
        self._marks = len(self._hidden) < len(special)

    def __call__(self, rows: Sequence[Sequence[int]]) -> list[str]:
        if self._marks:
            rows = [[token for token in row if token not in self._hidden] for row in rows]
        return self._tokenizer.batch_decode(
            rows, skip_special_tokens=not self._marks, clean_up_tokenization_spaces=False
        )


class Sampler:
    """Chooses each row's next token from its own seed, and decides when the row has ended.

    It serves `generate` both as logits processor and as stopping criterion. Adding temperature * Gumbel noise to the
    logits and taking the maximum samples from softmax(logits / temperature). A row's noise depends on its seed and the
    step only, hence not on the other rows of the batch.

    Attributes:
        step: Tokens chosen so far in each row.
        room: Maximum number of tokens of a row.
        tokens, logprobs: The chosen tokens (all rows, room); values after the end of a row are meaningless.
        stopped: Row -> its tokens, for rows ended by a stop string.
    """

    def __init__(self, rows: Sequence[Row], ends: torch.Tensor, decode: Decoder) -> None:
        import torch

        self.torch = torch
        self.ends, self.decode = ends, decode
        device = ends.device
        self.step = 0
        self.room = max(row.limit for row in rows)
        self.tokens = torch.zeros((len(rows), self.room), dtype=torch.long, device=device)
        self.logprobs = torch.zeros((len(rows), self.room), device=device)
        self.stopped: dict[int, int] = {}
        # By place in the batch; `rows` are the rows' numbers among all.
        self.rows = torch.arange(len(rows), device=device)
        self.limits = torch.tensor([row.limit for row in rows], device=device)
        self.done = torch.zeros(len(rows), dtype=torch.bool, device=device)
        self.stops = {place: (place, row) for place, row in enumerate(rows) if row.sampling.stop}
        self.hot = [place for place, row in enumerate(rows) if row.sampling.temperature > 0]
        self.hot_index = torch.tensor(self.hot, device=device)
        self.generators = [torch.Generator(device=device).manual_seed(rows[place].seed) for place in self.hot]
        temperatures = [rows[place].sampling.temperature for place in self.hot]
        self.temperatures = torch.tensor(temperatures, device=device)[:, None, None]
        self.noise = self.temperatures

    def keep(self, places: torch.Tensor) -> None:
        """Keeps only the rows at these places of the batch, in ascending order; the others have ended."""
        new = {old: place for place, old in enumerate(places.tolist())}
        self.rows, self.limits, self.done = self.rows[places], self.limits[places], self.done[places]
        self.stops = {new[old]: stop for old, stop in self.stops.items() if old in new}
        chosen = [number for number, old in enumerate(self.hot) if old in new]
        self.hot = [new[self.hot[number]] for number in chosen]
        self.hot_index = self.torch.tensor(self.hot, device=places.device)
        self.generators = [self.generators[number] for number in chosen]
        self.temperatures, self.noise = self.temperatures[chosen], self.noise[chosen]

    def _fresh_noise(self, vocabulary: int) -> None:
        """Draws the noise of every row for the next steps; the number of steps depends on the vocabulary only."""
        steps = max(1, _NOISE_NUMBERS // vocabulary)
        if self.noise.shape[-1] != vocabulary:
            self.noise = self.temperatures.new_empty((len(self.hot), steps, vocabulary))
        done = self.done.tolist()
        for generator, place, noise in zip(self.generators, self.hot, self.noise, strict=True):
            if not done[place]:
                noise.uniform_(generator=generator)
            else:
                noise.fill_(0.5)
        self.noise.log_().neg_().log_().mul_(-self.temperatures)

    def choose(self, _: object, scores: torch.Tensor) -> torch.Tensor:
        """Logits processor: returns `scores` (rows, vocabulary) such that the maximum is the drawn token."""
        noisy = scores
        if self.hot:
            steps = max(1, _NOISE_NUMBERS // scores.shape[1])
            if self.step % steps == 0:
                self._fresh_noise(scores.shape[1])
            noise = self.noise[:, self.step % steps]
            everyone = len(self.hot) == len(self.rows)
            noisy = scores + noise if everyone else scores.index_add(0, self.hot_index, noise)
        tokens = noisy.argmax(-1, keepdim=True)
        self.tokens[self.rows, self.step] = tokens[:, 0]
        self.logprobs[self.rows, self.step] = scores.gather(1, tokens)[:, 0] - scores.logsumexp(-1)
        return noisy

    def ended(self, *_: object, **__: object) -> torch.Tensor:
        """Stopping criterion: returns which rows have ended (end token, stop string or token limit)."""
        self.done |= self.ends[self.tokens[self.rows, self.step]]
        self.step += 1
        self.done |= self.limits <= self.step
        for place, (row, asked) in self.stops.items():
            stops = asked.sampling.stop
            if row not in self.stopped and not self.done[place]:
                # A token is at least one byte (a split one: four more), so the tail holds any new match.
                tail = max(len(stop.encode()) for stop in stops) + 4
                first = max(0, self.step - tail)
                (text,) = self.decode([self.tokens[row, first : self.step].tolist()])
                if any(stop in text for stop in stops) and self._is_cut(row, asked):
                    self.stopped[row] = self.step
                    self.done[place] = True
        return self.done.clone()

    def _is_cut(self, row: int, asked: Row) -> bool:
        """Whether a stop string occurs in the row's spoken text; one in its reasoning does not end it."""
        (text,) = self.decode([self.tokens[row, : self.step].tolist()])
        return stop_at(asked.opened + text, asked.sampling.stop) is not None
