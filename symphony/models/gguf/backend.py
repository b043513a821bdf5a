"""Runs a model in a GGUF file as one agent of a pool."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from symphony.cores import usable_cores
from symphony.fields import check, kinds
from symphony.models.chats import ChatTokenizer
from symphony.models.footprint import Footprint
from symphony.models.gguf.engine import Engine
from symphony.models.gguf.files import CELLS, check_sha256, revision_of, weights_file
from symphony.models.gguf.llama import KEPT_SEQUENCES, MOST_SEQUENCES, Llama, Vocabulary, library
from symphony.models.sampler import Row
from symphony.models.sizes import Size
from symphony.types import Completion, Request, SymphonyError

Cells = Annotated[int, Interval(ge=256, le=1 << 24)]
Rows = Annotated[int, Interval(ge=1, le=MOST_SEQUENCES - 1)]
Chunk = Annotated[int, Interval(ge=1, le=1 << 16)]
Threads = Annotated[int, Interval(ge=1, le=512)]
"""At most ggml's own limit (GGML_MAX_N_THREADS)."""
Layers = Annotated[int, Interval(ge=-1, le=1 << 16)]
_HEX = re.compile("[0-9a-f]{64}")
_NUMBERS = re.compile(r"[0-9]+|\[[0-9, ]+\]")


def footprint(path: str | Path, *, file: str | None = None) -> Footprint:
    """Returns the memory that a file takes: its own size, and a cache of 16-bit keys and values.

    Raises:
        SymphonyError: Its metadata lack a number.
    """
    vocabulary = Vocabulary(weights_file(path, file))
    kind = vocabulary.meta("general.architecture")

    def numbers(name: str, default: Sequence[int] = ()) -> Sequence[int]:
        """Returns one number per layer, for models whose layers differ."""
        text = vocabulary.meta(f"{kind}.{name}")
        digits = re.findall("[0-9]+", text or "") if text is None or _NUMBERS.fullmatch(text) else []
        if not digits and not (text is None and default):
            raise SymphonyError(f"{vocabulary.file}: {kind}.{name}: found {text}, allowed: a number, or one per layer")
        return [int(number) for number in digits] or default

    (layers, *_), heads = numbers("block_count"), numbers("attention.head_count")
    shared = numbers("attention.head_count_kv", heads)
    width = max(numbers("embedding_length")) // max(1, *heads)
    keys, values = (max(numbers(f"attention.{name}_length", [width])) for name in ("key", "value"))
    each = sum(shared) if len(shared) > 1 else layers * shared[0]
    return Footprint(
        weights=vocabulary.file.stat().st_size,
        parameters=vocabulary.parameters,
        cache_per_token=max(1, 2 * each * (keys + values)),  # recurrent layers keep no more for more tokens
    )


class GGUFBackend:
    """A GGUF file through llama.cpp (`ModelBackend`, `Stepped`).

    Chat template, special tokens and end tokens come from the file. A row's answer depends slightly on the other rows
    in its batches, and on whether its prompt was computed or copied: sums are taken in another order, which may tip a
    close choice. The call store makes runs repeatable. With `exact` a row is computed alone from an empty cache, and
    the same request gets the same answer, bit for bit, on the same machine.

    Args:
        path: Folder with the file, or the file.
        file: Name of the file; None if `path` names it.
        sha256: The file's checksum, 64 hex digits, if known; checked when the file is loaded.
        cells: Tokens that the cache holds, 256 to 16,777,216. A prompt and its completion must fit.
        rows: Maximum number of requests that generate at once, 1 to 255.
        chunk: Maximum number of tokens in one batch, `rows` to 65,536.
        threads: 1 to 512; None means the number of cores of the process.
        gpu_layers: Layers that are put on a GPU; -1 means all, 0 none.
        exact: See above; slow.

    Raises:
        SymphonyError: The file is missing, is not a complete language model, has no chat template or another checksum;
            llama-cpp-python is not installed; or a value is out of its range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        file: str | None = None,
        sha256: str | None = None,
        cells: Cells = CELLS,
        rows: Rows = 32,
        chunk: Chunk = 512,
        threads: Threads | None = None,
        gpu_layers: Layers = 0,
        exact: bool = False,
    ) -> None:
        settings = {"cells": cells, "rows": rows, "chunk": chunk, "threads": threads, "gpu_layers": gpu_layers}
        for name, value in settings.items():
            check(name, value, kinds(GGUFBackend)[name])
        self.check_settings(sha256=sha256, rows=rows, chunk=chunk)
        self.path = weights_file(path, file)
        self.revision = revision_of(path, file=file, sha256=sha256, exact=exact)
        check_sha256(self.path, sha256)
        self.counter: str | None = self.revision
        self.threads = threads or usable_cores()
        self.llama = Llama(
            self.path,
            cells=cells,
            chunk=chunk,
            threads=self.threads,
            gpu_layers=gpu_layers,
            sequences=min(MOST_SEQUENCES, max(KEPT_SEQUENCES, 2 * rows)),  # some are kept after their rows have ended
        )
        self.engine = Engine(self.llama, cells=cells, rows=1 if exact else rows, share=not exact)
        self._chats = _chats(self.llama.vocabulary, min(cells, self.llama.vocabulary.trained), self.counter)

    @staticmethod
    def check_settings(sha256: str | None = None, rows: int = 32, chunk: int = 512) -> None:
        """Raises SymphonyError if the settings conflict or the checksum is malformed; opens no file."""
        if chunk < rows:
            raise SymphonyError(f"chunk: found {chunk}, allowed: >= {rows} (`rows`)")
        if sha256 is not None and not _HEX.fullmatch(str(sha256)):
            raise SymphonyError(f"sha256: found {sha256!r}, allowed: 64 hex digits (0 to 9, a to f)")

    @staticmethod
    def sizing(path: str | Path, revision: str, *, file: str | None = None, cells: int = CELLS) -> ChatTokenizer:
        """Returns an object that gives the sizes of a file's prompts without its weights."""
        vocabulary = Vocabulary(weights_file(path, file))
        return _chats(vocabulary, min(cells, vocabulary.trained), revision)

    revision_of = staticmethod(revision_of)
    check_weights = staticmethod(weights_file)
    footprint = staticmethod(footprint)

    def size(self, request: Request) -> Size:
        """Returns a request's size, see `Sizing`."""
        return self._chats.size(request)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Returns one answer per request, in the same order; a prompt without room for a completion is an error."""
        self.engine.abandon()  # rows left over after an interrupt
        answers = dict(self.submit(requests))
        while len(answers) < len(requests):
            answers.update(self.step())
        return [answers[index] for index in range(len(requests))]

    def submit(self, requests: Sequence[Request], first: int = 0) -> list[tuple[int, Completion]]:
        """Accepts requests, which are numbered from `first`.

        Returns:
            The requests that cannot be answered, with their errors; later calls of `step` answer the others.
        """
        refused: dict[int, Completion] = {}
        for row in self.rows(requests, refused, first):
            self.engine.submit(row)
        return list(refused.items())

    def rows(
        self, requests: Sequence[Request], refused: dict[int, Completion] | None = None, first: int = 0
    ) -> list[Row]:
        """Turns requests into tokens, leaving out those that get no answer; their errors are put into `refused`."""
        return self._chats.rows(requests, {} if refused is None else refused, first=first)

    def step(self) -> list[tuple[int, Completion]]:
        """Computes one more batch and returns the answers that ended with it, by request number."""
        try:
            return self.engine.step()
        except BaseException:
            self.engine.abandon()
            raise


class _Tokenizer:
    """The part of a transformers tokenizer that `ChatTokenizer` needs, with a GGUF file's vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        library()
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = vocabulary.template()
        if template is None:
            raise SymphonyError(f"{vocabulary.file}: found no chat template, allowed: a file with one")
        self.name_or_path = str(vocabulary.file)
        self._vocabulary = vocabulary
        words = {f"{name}_token": vocabulary.special(name) for name in ("eos", "bos")}
        try:
            self._format = Jinja2ChatFormatter(template=template, **words)
        except Exception as error:  # a file's template may be anything
            finding = f"a chat template that fails with {type(error).__name__}: {' '.join(str(error).split())}"
            raise SymphonyError(f"{vocabulary.file}: found {finding}, allowed: one that jinja2 can read") from error

    def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
        return str(self._format(messages=turns).prompt)

    def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, list[tuple[int, ...]]]:
        return {"input_ids": [self._vocabulary.encode(text) for text in texts]}


def _chats(vocabulary: Vocabulary, context: int, counter: str | None) -> ChatTokenizer:
    return ChatTokenizer(_Tokenizer(vocabulary), context, counter, vocabulary=vocabulary.size)
