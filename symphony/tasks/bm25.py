"""BM25 as Lucene computes it, for a million documents in about a gigabyte.

Texts are tokenised, stopped and stemmed as in Lucene's English analyzer, document lengths are rounded like its norms,
and equal scores are ordered by document name as in Anserini, so rankings match those of its index. General libraries
hold a list of tokens per document while indexing; for a million products that takes too much memory.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import Stemmer

_CHUNK = 20_000
"""Number of documents sorted into postings at a time."""
_BLOCK = 64
"""Number of documents represented by their best score when looking for the score threshold of the top."""

_STOPPED = """a an and are as at be but by for if in into is it no not of on or such that the their then there these
they this to was will with"""
_STOP_WORDS = frozenset(_STOPPED.split())
# Words as Lucene's tokenizer splits them (Unicode word boundaries): runs of letters and digits, in which some signs
# join letters and some join digits; each ideograph and pictograph alone. Superscript and circled digits are not words.
_SINGLE = "\u3040-\u309f\u3400-\u4dbf\u4e00-\u9fff"
_NO_WORD = (
    "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2080-\u2089\u2150-\u215f\u2460-\u249b\u24ea-\u24ff\u2776-\u2793"
)
_PICTOGRAPH = (  # Extended_Pictographic of Unicode 11, as in Lucene 8, without the signs it calls accidental (c, R, TM)
    "[\u203c\u2049\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u2388\u23cf\u23e9-\u23f3\u23f8-\u23fa\u2600-\u2605"
    "\u2607-\u2612\u2614-\u2685\u2690-\u2705\u2708-\u2712\u2714\u2716\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c"
    "\u274e\u2753-\u2755\u2757\u2763-\u2767\u2795-\u2797\u27a1\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50"
    "\u2b55\u3297\u3299\U0001f000-\U0001f0ff\U0001f18e\U0001f191-\U0001f19a\U0001f201-\U0001f20f\U0001f249-\U0001f3fa"
    "\U0001f400-\U0001f53d\U0001f546-\U0001f64f\U0001f680-\U0001f6ff\U0001f90c-\U0001faff]"
)
_RUN = rf"[^\W{_SINGLE}{_NO_WORD}]+"
_WORD = re.compile(
    rf"{_RUN}(?:(?:(?<=[^\W\d_])[:.'\u2019\u00b7](?=[^\W\d_{_SINGLE}{_NO_WORD}])|(?<=\d)[,;.'\u2019](?=\d)){_RUN})*"
    rf"|[{_SINGLE}]|{_PICTOGRAPH}\ufe0f?(?:\u200d{_PICTOGRAPH}\ufe0f?)*"
)
_POSSESSIVE = ("'s", "\u2019s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Postings of some documents, sorted by term: `counts[i]` of them belong to `terms[i]`."""

    terms: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int32]
    frequencies: npt.NDArray[np.uint16]


class Analyzer:
    """Numbers the stems of texts; each word form is stemmed once."""

    def __init__(self) -> None:
        self.terms: dict[str, int] = {}
        self._forms: dict[str, int] = dict.fromkeys(_STOP_WORDS, -1)
        self._stemmer = Stemmer.Stemmer("porter")

    def stem(self, form: str) -> str:
        word: str = self._stemmer.stemWord(form[:-2] if form.endswith(_POSSESSIVE) else form)
        return word

    def index(self, text: str) -> list[int]:
        """Returns the term numbers of a text to be indexed; new terms get the next numbers."""
        forms = self._forms
        numbers = []
        for form in _WORD.findall(text.lower()):
            term = forms.get(form)
            if term is None:
                stopped = form.endswith(_POSSESSIVE) and form[:-2] in _STOP_WORDS
                term = forms[form] = -1 if stopped else self.terms.setdefault(self.stem(form), len(self.terms))
            if term >= 0:
                numbers.append(term)
        return numbers

    def close(self) -> None:
        """Forgets the word forms, which only indexing needs."""
        self._forms = {}

    def query(self, text: str) -> Counter[int]:
        """Counts how often each known term occurs in a query."""
        counts: Counter[int] = Counter()
        for form in _WORD.findall(text.lower()):
            bare = form[:-2] if form.endswith(_POSSESSIVE) else form
            term = None if bare in _STOP_WORDS else self.terms.get(self.stem(form))
            if term is not None:
                counts[term] += 1
        return counts


class BM25:
    """An index of texts, immutable once built.

    Args:
        documents: (name, text) of each document.
        k1: Saturation of the term frequency, >= 0.
        b: Weight of the document's length, in [0, 1].

    Source: Robertson and Zaragoza 2009, in Lucene's form: idf = ln(1 + (N - n + 0.5) / (n + 0.5)), times
    f / (f + k1 (1 - b + b l / mean l)), without the constant factor k1 + 1.
    """

    def __init__(self, documents: Iterable[tuple[str, str]], *, k1: float = 0.9, b: float = 0.4) -> None:
        self._analyzer = Analyzer()
        names: list[str] = []
        chunks, lengths = self._postings(documents, names)
        self._analyzer.close()
        self._order = np.empty(len(names), np.int32)  # rank of each name, to break ties
        self._order[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names), dtype=np.int32)
        count = len(self._analyzer.terms)
        holding = np.zeros(count, np.int64)
        for chunk in chunks:
            holding[chunk.terms] += chunk.counts
        self.size = len(lengths)
        self._starts = np.concatenate([[0], np.cumsum(holding)])
        idf = np.log1p((self.size - holding + 0.5) / (holding + 0.5)).astype(np.float32)
        mean = float(lengths.mean()) if self.size else 1.0
        norms = (k1 * (1 - b + b * _round_lengths(lengths) / max(mean, 1e-9))).astype(np.float32)
        self._documents = np.empty(self._starts[-1], np.int32)
        self._weights = np.empty(self._starts[-1], np.float32)
        free = self._starts[:-1].copy()
        for number, chunk in enumerate(chunks):
            first = np.cumsum(chunk.counts) - chunk.counts
            places = np.repeat(free[chunk.terms] - first, chunk.counts) + np.arange(len(chunk.documents))
            frequencies = chunk.frequencies.astype(np.float32)
            self._documents[places] = chunk.documents
            saturated = frequencies / (frequencies + norms[chunk.documents])
            self._weights[places] = saturated * np.repeat(idf[chunk.terms], chunk.counts)
            free[chunk.terms] += chunk.counts
            chunks[number] = _EMPTY  # free what is already placed

    def _postings(
        self, documents: Iterable[tuple[str, str]], names: list[str]
    ) -> tuple[list[Chunk], npt.NDArray[np.int64]]:
        chunks: list[Chunk] = []
        lengths, terms = array("q"), array("q")
        first = 0
        for name, text in documents:
            names.append(name)
            numbers = self._analyzer.index(text)
            terms.extend(numbers)
            lengths.append(len(numbers))
            if len(lengths) - first == _CHUNK:
                chunks.append(_chunk(terms, lengths[first:], first))
                terms, first = array("q"), len(lengths)
        chunks.append(_chunk(terms, lengths[first:], first))
        return chunks, np.frombuffer(lengths, np.int64) if lengths else np.zeros(0, np.int64)

    def top(self, query: str, count: int) -> list[int]:
        """Returns the numbers of the best-matching documents, best first; leaves out those that share no word."""
        terms = self._analyzer.query(query)
        if not terms:
            return []
        padded = -(-self.size // _BLOCK) * _BLOCK
        scores = np.zeros(padded, np.float32)
        for term in sorted(terms):
            span = slice(self._starts[term], self._starts[term + 1])
            weights = self._weights[span]
            scores[self._documents[span]] += weights if terms[term] == 1 else weights * np.float32(terms[term])
        # At least `count` documents reach the count-th best block maximum, so the whole top does.
        best = scores.reshape(-1, _BLOCK).max(axis=1)
        bound = np.partition(best, -count)[-count] if len(best) > count else np.float32(0)
        candidates = np.flatnonzero(scores >= max(bound, np.finfo(np.float32).tiny))
        order = np.lexsort((self._order[candidates], -scores[candidates]))[:count]
        numbers: list[int] = candidates[order].tolist()
        return numbers


def _chunk(terms: array[int], lengths: array[int], first: int) -> Chunk:
    """Sorts the terms of consecutive documents, starting at number `first`, into postings."""
    numbers = np.repeat(np.arange(len(lengths), dtype=np.int64), np.asarray(lengths, np.int64))
    keys = np.asarray(terms, np.int64) * _CHUNK + numbers
    pairs, frequencies = np.unique(keys, return_counts=True)
    distinct, counts = np.unique(pairs // _CHUNK, return_counts=True)
    return Chunk(
        terms=distinct,
        counts=counts,
        documents=(pairs % _CHUNK + first).astype(np.int32),
        frequencies=np.minimum(frequencies, 65535).astype(np.uint16),
    )


_EMPTY = _chunk(array("q"), array("q"), 0)


def _round_lengths(lengths: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Rounds lengths as Lucene's one-byte norms do: exact below 40, then the part above 24 to four significant bits."""
    above = np.maximum(lengths - 24, 0)
    shift = np.maximum(np.floor(np.log2(np.maximum(above, 1))).astype(np.int64) - 3, 0)
    return np.where(lengths < 24, lengths, 24 + ((above >> shift) << shift))
