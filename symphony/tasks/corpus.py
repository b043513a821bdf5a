"""Pages to look things up in: those of a data set, offline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from symphony.tasks.bm25 import BM25

SIMILAR = 5
"""Titles told where there is no page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    title: str
    sentences: tuple[str, ...]


class Corpus(Protocol):
    def find(self, entity: str) -> Page | tuple[str, ...]:
        """The page of that title, or up to `SIMILAR` similar titles, the most similar first."""
        ...


def spelling(title: str) -> str:
    """What makes two titles the same: neither case, nor spaces, nor underscores."""
    return " ".join(title.replace("_", " ").casefold().split())


class Paragraphs:
    """The paragraphs of a data set as pages, found by title; similar titles by BM25 over titles and texts.

    Args:
        pages: Title -> sentences.
    """

    def __init__(self, pages: Mapping[str, Iterable[str]]) -> None:
        self._pages = [
            Page(title=title, sentences=tuple(filter(None, (sentence.strip() for sentence in sentences))))
            for title, sentences in pages.items()
        ]
        self._titles = {spelling(page.title): index for index, page in reversed(list(enumerate(self._pages)))}
        self._index: BM25 | None = None

    def __len__(self) -> int:
        return len(self._pages)

    def find(self, entity: str) -> Page | tuple[str, ...]:
        """See `Corpus.find`; a page without a word in common is not similar."""
        index = self._titles.get(spelling(entity))
        return self._pages[index] if index is not None else self._similar(entity)

    def _similar(self, entity: str) -> tuple[str, ...]:
        if self._index is None:
            # The title thrice: a word in a title says more than one in a text.
            self._index = BM25((page.title, f"{page.title} " * 3 + " ".join(page.sentences)) for page in self._pages)
        return tuple(self._pages[index].title for index in self._index.top(entity, SIMILAR))
