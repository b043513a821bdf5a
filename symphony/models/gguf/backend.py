"""A model in a GGUF file as one agent of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symphony.fields import Count
from symphony.models.chats import ChatTokenizer
from symphony.models.cores import usable_cores
from symphony.models.footprint import Footprint
from symphony.models.gguf.engine import Engine
from symphony.models.gguf.files import check_sha256, revision_of, weights_file
from symphony.models.gguf.llama import Llama, Vocabulary, library
from symphony.models.sampler import Row
from symphony.models.sizes import Size
from symphony.types import Completion, Request, SymphonyError

CELLS = 16384
"""Of the cache, unless a model's option says otherwise."""


def footprint(path: str | Path, *, file: str | None = None) -> Footprint:
    """What a file takes of memory: itself, and a cache of 16-bit keys and values.

    Raises:
        SymphonyError: Its metadata lack a number.
    """
    vocabulary = Vocabulary(weights_file(path, file))
    kind = vocabulary.meta("general.architecture")

    def number(name: str, default: int | None = None) -> int:
        text = vocabulary.meta(f"{kind}.{name}")
        if text is None and default is not None:
            return default
        if text is None or not text.isdecimal():
            raise SymphonyError(f"{vocabulary.file}: {kind}.{name}: found {text}, allowed: a number")
        return int(text)

    heads = number("attention.head_count")
    width = number("embedding_length") // heads
    keys, values = (number(f"attention.{name}_length", width) for name in ("key", "value"))
    layers, shared = number("block_count"), number("attention.head_count_kv", heads)
    return Footprint(
        weights=vocabulary.file.stat().st_size,
        parameters=vocabulary.parameters,
        cache_per_token=2 * layers * shared * (keys + values),
    )


class GGUFBackend:
    """A GGUF file through llama.cpp (`ModelBackend`, `Stepped`).

    Chat template, special tokens and end tokens are the file's. What a row answers depends a little on who shares its
    batches, and on whether its prompt was computed or copied: sums are taken in another order, which may tip a close
    choice. The call store makes runs repeatable; with `exact` a row is computed alone from an empty cache, and the same
    request gets the same answer, bit for bit, on the same machine.

    Args:
        path: Folder with the file, or the file.
        file: Name of the file; None where `path` names it.
        sha256: The file's, 64 hex digits, where it is known; checked when the file is loaded.
        cells: Tokens that the cache holds, >= 256. A prompt and its completion have to fit in.
        rows: Requests that generate at once at most, 1 to 255.
        chunk: Tokens of one batch at most, >= `rows`.
        threads: >= 1; None is as many as the process has cores.
        gpu_layers: Layers that are put on a GPU; -1 is all, 0 none.
        exact: See above; slow.

    Raises:
        SymphonyError: No such file, one that is no whole language model or has no chat template, another checksum,
            llama-cpp-python is not installed, a value out of its range.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        file: str | None = None,
        sha256: str | None = None,
        cells: Count = CELLS,
        rows: Count = 32,
        chunk: Count = 512,
        threads: Count | None = None,
        gpu_layers: int = 0,
        exact: bool = False,
    ) -> None:
        _check_range("cells", cells, 256, None)
        _check_range("rows", rows, 1, 255)
        _check_range("chunk", chunk, rows, None)
        _check_range("threads", 1 if threads is None else threads, 1, None)
        _check_range("gpu_layers", gpu_layers, -1, None)
        self.path = weights_file(path, file)
        self.revision = revision_of(path, file=file, sha256=sha256, exact=exact)
        check_sha256(self.path, sha256)
        self.counter: str | None = self.revision
        self.threads = threads or usable_cores()
        self.llama = Llama(self.path, cells=cells, chunk=chunk, threads=self.threads, gpu_layers=gpu_layers)
        self._exact = exact
        self.engine = Engine(self.llama, cells=cells, rows=1 if exact else rows, share=not exact)
        self._chats = _chats(self.llama.vocabulary, min(cells, self.llama.vocabulary.trained), self.counter)

    @staticmethod
    def sizing(path: str | Path, revision: str, *, file: str | None = None, cells: int = CELLS) -> ChatTokenizer:
        """What knows the sizes of a file's prompts without its weights."""
        vocabulary = Vocabulary(weights_file(path, file))
        return _chats(vocabulary, min(cells, vocabulary.trained), revision)

    revision_of = staticmethod(revision_of)
    check_weights = staticmethod(weights_file)
    footprint = staticmethod(footprint)

    def size(self, request: Request) -> Size:
        """See `Sizing`."""
        return self._chats.size(request)

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Answers in the same length and order. A prompt without room for a completion becomes an error."""
        answers = dict(self.submit(requests))
        while len(answers) < len(requests):
            answers.update(self.step())
        return [answers[index] for index in range(len(requests))]

    def submit(self, requests: Sequence[Request], first: int = 0) -> list[tuple[int, Completion]]:
        """Takes requests in; they are numbered from `first` on.

        Returns:
            Those that can't be answered, with their errors; the others are answered by the next calls of `step`.
        """
        refused: dict[int, Completion] = {}
        for row in self.rows(requests, refused, first):
            self.engine.submit(row)
        return list(refused.items())

    def rows(
        self, requests: Sequence[Request], refused: dict[int, Completion] | None = None, first: int = 0
    ) -> list[Row]:
        """The requests as tokens, without those that get no answer; their errors are put into `refused`."""
        return self._chats.rows(requests, {} if refused is None else refused, first=first)

    def step(self) -> list[tuple[int, Completion]]:
        """The answers that have ended with one more batch, by the requests' numbers."""
        try:
            return self.engine.step()
        except BaseException:
            self.engine.abandon()
            raise


def _check_range(name: str, value: int, least: int, most: int | None) -> None:
    if value < least or (most is not None and value > most):
        told = f">= {least}" if most is None else f"{least} to {most}"
        raise SymphonyError(f"{name}: found {value}, allowed: {told}")


class _Tokenizer:
    """The part of a transformers tokenizer that `ChatTokenizer` needs, by a GGUF file's vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        library()
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        template = vocabulary.template()
        if template is None:
            raise SymphonyError(f"{vocabulary.file}: found no chat template, allowed: a file with one")
        self.name_or_path = str(vocabulary.file)
        self._vocabulary = vocabulary
        self._format = Jinja2ChatFormatter(
            template=template, eos_token=vocabulary.special("eos"), bos_token=vocabulary.special("bos")
        )

    def apply_chat_template(self, turns: list[dict[str, str]], **_: Any) -> str:
        return str(self._format(messages=turns).prompt)

    def __call__(self, texts: Sequence[str], **_: Any) -> dict[str, list[tuple[int, ...]]]:
        return {"input_ids": [self._vocabulary.encode(text) for text in texts]}


def _chats(vocabulary: Vocabulary, context: int, counter: str | None) -> ChatTokenizer:
    return ChatTokenizer(_Tokenizer(vocabulary), context, counter, vocabulary=vocabulary.size)
