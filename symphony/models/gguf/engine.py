"""Continuous batching over a cache in which prompts share their common prefixes.

Rows join and leave at every step. A new row begins with a copy of the longest prefix of it that any sequence in the
cache holds, so only the tokens that no earlier prompt had are computed. If another row is still computing the longest
prefix, the new row waits for it. The sequence of a row that has ended stays until its cells are needed.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from symphony.chat.reasoning import is_mark, stop_at
from symphony.models.gguf.drawing import Drawer
from symphony.models.gguf.llama import Llama, Span
from symphony.models.gguf.sequences import Ints, Sequence, Sequences
from symphony.models.sampler import Row
from symphony.types import Completion

_WORTH_WAITING = 16  # tokens of a prefix that another row is computing


@dataclass(slots=True)
class _Going:
    """A row that is being answered, with its sequence."""

    row: Row
    held: Sequence
    reused: int
    rng: np.random.Generator
    tokens: list[int] = field(default_factory=list)
    text: bytearray = field(default_factory=bytearray)
    logprob: float = 0.0


class Engine:
    """Answers rows, as many at once as fit into the cache.

    Args:
        llama: The model and its cache.
        cells: Tokens that the cache holds.
        rows: Maximum number of rows that generate at once, >= 1.
        share: Whether prompts share their common prefixes.

    Attributes:
        prompted: Tokens of all prompts so far. reused: Those of them taken from the cache.
        generated: Tokens generated so far.
    """

    def __init__(self, llama: Llama, *, cells: int, rows: int, share: bool = True) -> None:
        self._llama, self._cells, self._rows = llama, cells, rows
        self._share = share and llama.shares
        self._sequences = Sequences(cells, llama.sequences)
        self._drawer = Drawer()
        self._waiting: deque[Row] = deque()
        self._going: list[_Going] = []
        self.prompted = self.reused = self.generated = 0

    @property
    def busy(self) -> bool:
        return bool(self._waiting or self._going)

    def submit(self, row: Row) -> None:
        """Adds a row, to be answered in the steps that follow. Its prompt plus `limit` must fit into the cache."""
        self._waiting.append(row)

    def step(self) -> list[tuple[int, Completion]]:
        """Computes one batch: the next token of every generating row, and as much of the prompts as there is room for.

        Returns:
            The index of each row that has ended, and its answer.
        """
        self._admit()
        spans: list[Span] = []
        computing: list[tuple[_Going, int]] = []
        room = self._llama.chunk
        # Generating rows come first, since a prompt may be long.
        for going in sorted(self._going, key=lambda going: len(going.held.tokens) - going.held.computed > 1):
            held = going.held
            count = min(room, len(held.tokens) - held.computed)
            if count:
                end = held.computed + count
                tokens = held.tokens[held.computed : end]
                wanted = end == len(held.tokens)
                spans.append(Span(sequence=held.id, begin=held.computed, tokens=tokens, wanted=wanted))
                computing.append((going, count))
                room -= count
        if not spans:
            return []
        logits = iter(self._llama.compute(spans))
        answers = []
        for (going, count), span in zip(computing, spans, strict=True):
            self._sequences.extend(going.held, count)
            if span.wanted and (answer := self._go_on(going, next(logits))):
                answers.append((going.row.index, answer))
                self._going.remove(going)
                self._leave(going.held)
        return answers

    def abandon(self) -> None:
        """Forgets all unanswered rows, after an error."""
        for going in self._going:  # what the cache holds of them is unknown
            self._sequences.drop(going.held)
            self._llama.forget(going.held.id)
        self._going, self._waiting = [], deque()

    def clear(self) -> None:
        """Forgets all sequences that no row uses."""
        self._make_room(self._cells + 1, None)

    def _make_room(self, cells: int, source: Sequence | None) -> bool:
        """Frees cells if needed; returns whether a sequence with that many own cells now fits beside `source`."""
        for dropped in self._sequences.spare(cells, source):
            self._llama.forget(dropped.id)
        return self._sequences.has_room(cells)

    def _leave(self, held: Sequence) -> None:
        self._sequences.rest(held)
        if not self._share or not held.computed:
            self._sequences.drop(held)
            self._llama.forget(held.id)

    def _admit(self) -> None:
        """Gives waiting rows a sequence, in order, while there is room; skips rows that wait for a prefix."""
        passed: deque[Row] = deque()
        while self._waiting and len(self._going) < self._rows:
            row = self._waiting.popleft()
            prompt = np.array(row.prompt, np.int32)
            source, length, planned = self._sequences.match(prompt) if self._share else (None, 0, 0)
            if planned >= length + _WORTH_WAITING:
                passed.append(row)
                continue
            promised = sum(len(active.row.prompt) + active.row.limit - active.held.computed for active in self._going)
            if not self._make_room(len(prompt) - length + row.limit + promised, source):
                if self._going:
                    self._waiting.appendleft(row)
                    break
                self.clear()  # alone it has room, even if not beside its source
                source, length = None, 0
            self._open(row, prompt, source, length)
        self._waiting.extendleft(reversed(passed))

    def _open(self, row: Row, prompt: Ints, source: Sequence | None, length: int) -> None:
        held = self._sequences.open(prompt)
        if source is not None and length:
            self._sequences.take(held, source, length)
            self._llama.copy(source.id, held.id, length)
        self._going.append(_Going(row, held, length, np.random.Generator(np.random.PCG64(row.seed))))
        self.prompted += len(prompt)
        self.reused += length

    def _go_on(self, going: _Going, logits: NDArray[np.float32]) -> Completion | None:
        """Draws the row's next token; returns the row's answer if that token is the last."""
        row, vocabulary = going.row, self._llama.vocabulary
        token, logprob = self._drawer.draw(logits, row.sampling.temperature, going.rng)
        going.tokens.append(token)
        going.logprob += logprob
        self.generated += 1
        if not math.isfinite(going.logprob):
            return _fail(row, len(going.tokens), "logits: found NaN or infinity, allowed: finite numbers")
        ended = vocabulary.is_end(token)
        if not ended:
            going.text += shown(vocabulary.piece(token), vocabulary.is_control(token))
        at = None if ended else self._find_stop(going)
        if not (ended or at is not None or len(going.tokens) >= row.limit):
            self._sequences.add(going.held, token)
            return None
        text = row.opened + going.text.decode(errors="replace")
        at = stop_at(text, row.sampling.stop)
        return Completion(
            text=text[:at],
            finish_reason="stop" if ended or at is not None else "length",
            prompt_tokens=len(row.prompt),
            cached_tokens=going.reused,
            completion_tokens=len(going.tokens),
            logprob=going.logprob,
            dropped=row.dropped,
        )

    def _find_stop(self, going: _Going) -> int | None:
        """Returns where a stop string that ends the row begins; None if there is none."""
        stops = going.row.sampling.stop
        if not stops:
            return None
        last = len(self._llama.vocabulary.piece(going.tokens[-1]))
        tail = going.text[-(last + max(len(stop.encode()) for stop in stops)) :]
        if not any(stop.encode() in tail for stop in stops):
            return None
        return stop_at(going.row.opened + going.text.decode(errors="replace"), stops)


def shown(piece: bytes, control: bool) -> bytes:
    """Returns the part of a token that appears in the text; of special tokens, only those that mark reasoning."""
    return b"" if control and not is_mark(piece.decode(errors="replace")) else piece


def _fail(row: Row, tokens: int, error: str) -> Completion:
    return Completion(
        text="",
        finish_reason="error",
        prompt_tokens=len(row.prompt),
        completion_tokens=tokens,
        error=error,
        dropped=row.dropped,
    )
