"""Corpora of pages to look things up in; this module has the offline pages of a data set."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from symphony.tasks.bm25 import BM25

SIMILAR = 5
"""Maximum similar titles shown if there is no page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    title: str
    sentences: tuple[str, ...]


class Corpus(Protocol):
    def find(self, entity: str) -> Page | tuple[str, ...]:
        """Returns the page with that title, or up to `SIMILAR` similar titles, most similar first."""
        ...


_SAME: dict[int, str | None] = str.maketrans({"_": " "} | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff")) | {
    ord(letter): plain
    for plain, letters in {
        "'": "\u2018\u2019\u201b\u2032`\u00b4",
        '"': "\u201c\u201d\u201e\u2033\u00ab\u00bb",
        "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212",
    }.items()
    for letter in letters
}
"""Characters that can be typed in several ways."""
_PLAIN = str.maketrans(
    {
        "\u00f8": "o",
        "\u0142": "l",
        "\u0111": "d",
        "\u00f0": "d",
        "\u00fe": "th",
        "\u00e6": "ae",
        "\u0153": "oe",
        "\u0131": "i",
    }
)
"""Letters that Unicode does not decompose into a base letter and an accent."""


def spelling(title: str) -> str:
    """Normalises a title: case, spaces, HTML entities and the kinds of quotes and dashes make no difference."""
    return " ".join(unicodedata.normalize("NFKC", unescaped(title)).translate(_SAME).casefold().split())


def unescaped(title: str) -> str:
    """Replaces HTML entities by their characters: some data sets hold `&amp;`, some even `&amp;amp;`."""
    while (plain := html.unescape(title)) != title:
        title = plain
    return title


def loose(title: str) -> str:
    """Strips accents and punctuation from a title, with "&" as a word; "" if nothing is left."""
    letters = unicodedata.normalize("NFKD", spelling(title).replace("&", " and ").translate(_PLAIN))
    kept = "".join(letter for letter in letters if not unicodedata.combining(letter))
    words = " ".join(
        re.sub(
            r"[\"!?:;,/\[\]\u00a1\u00bf-]", " ", re.sub(r"['.]|(?<=\w)\*(?=\w)|(?<=[0-9]),(?=[0-9])", "", kept)
        ).split()
    )
    return re.sub(r"(?<=\b\w) (?=\w\b)", "", words)  # J. R. R. and J.R.R.


class Paragraphs:
    """The paragraphs of a data set as pages, found by title; BM25 over titles and texts finds similar titles.

    Args:
        pages: Sentences of each page, by title.
    """

    def __init__(self, pages: Mapping[str, Iterable[str]]) -> None:
        self._pages = [
            Page(title=title, sentences=tuple(filter(None, (sentence.strip() for sentence in sentences))))
            for title, sentences in pages.items()
        ]
        numbered = list(reversed(list(enumerate(self._pages))))  # the first of equal titles counts
        self._titles = {spelling(page.title): index for index, page in numbered}
        self._loose = {loose(page.title): index for index, page in numbered}
        self._index: BM25 | None = None

    def __len__(self) -> int:
        return len(self._pages)

    def find(self, entity: str) -> Page | tuple[str, ...]:
        """See `Corpus.find`; a page that shares no word is not similar."""
        index = self._titles.get(spelling(entity))
        if index is None and (key := loose(entity)):
            index = self._loose.get(key)
        return self._pages[index] if index is not None else self._similar(entity)

    def _similar(self, entity: str) -> tuple[str, ...]:
        if self._index is None:
            # The title three times: a word in a title says more than one in a text.
            self._index = BM25((page.title, f"{page.title} " * 3 + " ".join(page.sentences)) for page in self._pages)
        return tuple(self._pages[index].title for index in self._index.top(entity, SIMILAR))
