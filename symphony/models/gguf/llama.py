"""llama.cpp through its low-level interface: a model, its vocabulary, its cache, and one batch at a time.

llama_cpp is imported when a file is opened, so importing this module costs nothing.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symphony.models.gguf.files import INSTALL, check_file
from symphony.types import SymphonyError

MOST_SEQUENCES = 256
"""Maximum number of sequences in one cache of llama.cpp."""
KEPT_SEQUENCES = 64
"""Default number of sequences in a cache. Each takes memory for the logits of one token (600 kB for 152,000 tokens)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Consecutive tokens of one sequence in a batch.

    Attributes:
        sequence: The sequence's number.
        begin: Position of the first token in the sequence.
        tokens: Token ids (count,).
        wanted: Whether the logits after the last token are needed.
    """

    sequence: int
    begin: int
    tokens: NDArray[np.int32]
    wanted: bool


@dataclass(frozen=True, slots=True)
class _Fields:
    """Views of a batch's arrays (chunk,)."""

    token: NDArray[np.int32]
    pos: NDArray[np.int32]
    logits: NDArray[np.int8]
    n_seq_id: NDArray[np.int32]


def library() -> Any:
    """Returns llama_cpp, set to wait passively and to print nothing.

    Raises:
        SymphonyError: It is not installed.
    """
    # Threads that spin while waiting make decoding eight times slower next to one busy process on two cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        import llama_cpp
    except ImportError as error:
        raise SymphonyError(f"llama_cpp: found no such package, allowed: {INSTALL}") from error
    _quiet(llama_cpp)
    return llama_cpp


@cache
def _quiet(llama_cpp: Any) -> Any:
    """Returns the log callback; it is referenced here, since llama.cpp keeps only its address."""
    silent = llama_cpp.llama_log_callback(lambda *_: None)
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    return silent


class Vocabulary:
    """Tokens, metadata and chat template of a GGUF file, read without its weights.

    Attributes:
        size: Number of tokens.
        trained: Number of tokens that the model was trained to take, prompt and completion.
        parameters: Count of numbers in its weights; 0 if they were not read.
    """

    def __init__(self, file: Path, model: Any = None) -> None:
        self._lib = library()
        self.file = file
        self._own, self._model = model is None, model
        if self._own:
            self._model = _open(self._lib, file, vocab_only=True)
        self._vocab = self._lib.llama_model_get_vocab(self._model)
        self._alone = threading.Lock()
        self._pieces: dict[int, bytes] = {}
        self.size = int(self._lib.llama_vocab_n_tokens(self._vocab))
        trained = self.meta(f"{self.meta('general.architecture')}.context_length") or ""
        self.trained = int(trained) if trained.isdecimal() else 0  # llama.cpp gives it only for loaded weights
        self.parameters = int(self._lib.llama_model_n_params(self._model))

    def meta(self, key: str) -> str | None:
        """Returns a value of the file's metadata as text; None if there is none."""
        name, length = key.encode(), 1 << 12
        while True:
            buffer = ctypes.create_string_buffer(length)
            size = self._lib.llama_model_meta_val_str(self._model, name, buffer, length)
            if size < length:
                return None if size < 0 else buffer.raw[:size].decode(errors="replace")
            length = size + 1

    def template(self) -> str | None:
        return self.meta("tokenizer.chat_template")

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokenises a prompt written by a chat template: special tokens in it are recognised, none are added."""
        raw = text.encode("utf-8", errors="replace")
        room = len(raw) + 8
        tokens = (ctypes.c_int32 * room)()
        with self._alone:
            count = self._lib.llama_tokenize(self._vocab, raw, len(raw), tokens, room, False, True)
        if count < 0:
            raise SymphonyError(f"{self.file}: found a prompt that makes {-count} tokens, allowed: {room}")
        return tuple(tokens[:count])

    def piece(self, token: int) -> bytes:
        """Returns the bytes that a token stands for; a special token gives its name."""
        if token not in self._pieces:
            buffer = ctypes.create_string_buffer(512)
            count = self._lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
            self._pieces[token] = buffer.raw[: max(0, count)]
        return self._pieces[token]

    def is_control(self, token: int) -> bool:
        return bool(self._lib.llama_vocab_is_control(self._vocab, token))

    def is_end(self, token: int) -> bool:
        """Whether the token ends a completion."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def special(self, which: str) -> str:
        """Returns the text of the "bos" or "eos" token; "" if there is none."""
        token = int(getattr(self._lib, f"llama_vocab_{which}")(self._vocab))
        return self.piece(token).decode(errors="replace") if token >= 0 else ""

    def close(self) -> None:
        if self._own and self._model is not None:
            self._lib.llama_model_free(self._model)
        self._model = None

    def __del__(self) -> None:
        self.close()


class Llama:
    """A loaded model with a cache.

    Args:
        file: A GGUF file.
        cells: Tokens that the cache holds, >= 1; rounded up to a multiple of 256.
        chunk: Maximum number of tokens in one batch, >= 1.
        threads: >= 1.
        gpu_layers: Layers that are put on a GPU; -1 means all, 0 none.
        sequences: Maximum number of sequences in the cache, 1 to 256.

    Attributes:
        shares: Whether a sequence may begin with a copy of any prefix of another; false for recurrent models.
        decoded: Tokens computed so far.
    """

    def __init__(
        self,
        file: Path,
        *,
        cells: int,
        chunk: int,
        threads: int,
        gpu_layers: int = 0,
        sequences: int = KEPT_SEQUENCES,
    ) -> None:
        lib = self._lib = library()
        self._model = _open(lib, file, vocab_only=False, gpu_layers=gpu_layers)
        self.vocabulary = Vocabulary(file, self._model)
        self.shares = not (lib.llama_model_is_recurrent(self._model) or lib.llama_model_is_hybrid(self._model))
        self.chunk, self.threads, self.sequences, self.decoded = chunk, threads, sequences, 0
        settings = lib.llama_context_default_params()
        settings.n_ctx = -(-cells // 256) * 256
        settings.n_batch = settings.n_ubatch = max(chunk, sequences)  # must be at least the number of sequences
        settings.n_seq_max = sequences
        settings.n_threads = settings.n_threads_batch = threads
        settings.kv_unified = True  # otherwise a copied prefix is computed or stored again
        settings.swa_full = True  # otherwise a sliding window drops what a later copy needs
        settings.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED  # skips the cells of other sequences
        settings.no_perf = True
        self._context = lib.llama_init_from_model(self._model, settings)
        if not self._context:
            lib.llama_model_free(self._model)
            raise SymphonyError(f"{file}: found too little memory for a cache of {cells} tokens, allowed: fewer cells")
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(chunk, 0, 1)
        names = ("token", "pos", "logits", "n_seq_id")
        self._fields = _Fields(**{name: np.ctypeslib.as_array(getattr(self._batch, name), (chunk,)) for name in names})
        self._fields.n_seq_id[:] = 1

    def compute(self, spans: Sequence[Span]) -> list[NDArray[np.float32]]:
        """Computes a batch of at most `chunk` tokens.

        Returns:
            The logits (vocabulary,) after each span that wants them; valid until the next call.
        """
        batch, fields, at, places = self._batch, self._fields, 0, []
        for span in spans:
            count = len(span.tokens)
            fields.token[at : at + count] = span.tokens
            fields.pos[at : at + count] = np.arange(span.begin, span.begin + count)
            fields.logits[at : at + count] = 0
            for offset in range(at, at + count):
                batch.seq_id[offset][0] = span.sequence
            at += count
            if span.wanted:
                fields.logits[at - 1] = 1
                places.append(at - 1)
        batch.n_tokens = at
        code = self._lib.llama_decode(self._context, batch)
        if code:
            kind = "a full cache" if code == 1 else f"error {code} of llama.cpp"
            raise SymphonyError(f"{self.vocabulary.file}: found {kind} at a batch of {at} tokens, allowed: no error")
        self.decoded += at
        pointers = [self._lib.llama_get_logits_ith(self._context, place) for place in places]
        return [np.ctypeslib.as_array(pointer, (self.vocabulary.size,)) for pointer in pointers]

    def copy(self, source: int, target: int, length: int) -> None:
        """Makes the target sequence begin with the first tokens of the source; this takes no further cells."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, length)

    def forget(self, sequence: int) -> None:
        self._lib.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def close(self) -> None:
        if getattr(self, "_context", None):
            self._lib.llama_batch_free(self._batch)
            self._lib.llama_free(self._context)
            self._lib.llama_model_free(self._model)
            self._context = None

    def __del__(self) -> None:
        self.close()


def _open(lib: Any, file: Path, *, vocab_only: bool, gpu_layers: int = 0) -> Any:
    check_file(file)
    settings = lib.llama_model_default_params()
    settings.vocab_only = vocab_only
    settings.n_gpu_layers = gpu_layers
    # The processor computes with its own reordered copy of the weights; a mapped file would take memory beside it.
    settings.load_mode = lib.LLAMA_LOAD_MODE_NONE
    model = lib.llama_model_load_from_file(str(file).encode(), settings)
    if not model:
        raise SymphonyError(f"{file}: found a GGUF file that llama.cpp can't load, allowed: a whole language model")
    return model
