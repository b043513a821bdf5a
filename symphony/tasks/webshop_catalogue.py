"""The products of WebShop: the original files or processed ones, cleaned by the original rules, and their search.

Only what a search needs is held in memory; a product's text is read from its file when a page shows it, so that the
1.18 million products of the full catalogue fit in a few gigabytes. A catalogue is immutable and shared by all branches.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from symphony.tasks import datafiles
from symphony.tasks.bm25 import BM25
from symphony.types import SymphonyError

FOUND = 50
"""Products that a search finds at most."""
UNPRICED = 100.0
"""Dollars asked for a product without a price."""
_READ = 1 << 22
_LONGEST = 1 << 26
"""Characters that are read for one product at most: more are no product but a broken file."""
_BETWEEN = re.compile(r"[\s,\[\]]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    r"""A product as the shop's pages and the reward know it.

    Attributes:
        asin: Its id.
        price: As a page shows it: "$5.0", or "$5.0 to $9.0".
        prices: Dollars: one price, or the ends of a range.
        category: One of five: "beauty", "electronics", "fashion", "garden", "grocery".
        query: The search by which it was scraped.
        path: Its place in the shop's tree of categories, the parts joined by " \u203a ".
        features: Bullet points.
        options: (name, values) in the page's order.
        attributes: What it is, as mined from its text; never shown on an ordinary page.
    """

    asin: str
    title: str
    price: str
    prices: tuple[float, ...]
    category: str
    query: str
    path: str
    description: str
    features: tuple[str, ...]
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    attributes: tuple[str, ...] = ("DUMMY_ATTR",)
    rating: str = "N.A."

    def contents(self) -> str:
        """The text that is indexed: title, description, first bullet point, options."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options)
        first = self.features[0] if self.features else ""
        return f"{self.title} {self.description} {first} {options}".lower()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Catalogue:
    """All products, in the file's order.

    Attributes:
        asins: Their ids.
        low, high: Dollars: ends of a product's price range; equal for a single price.
    """

    asins: list[str] = field(repr=False)
    low: array[float] = field(repr=False)
    high: array[float] = field(repr=False)
    path: Path
    attributes: Mapping[str, Any] = field(repr=False)
    _places: array[int] = field(repr=False)
    _rows: Mapping[str, int] = field(repr=False)
    _index: BM25 = field(repr=False)

    def __len__(self) -> int:
        return len(self.asins)

    def row(self, asin: str) -> int | None:
        """The product's place in the catalogue; None where there is no such product."""
        return self._rows.get(asin)

    def product(self, asin: str) -> Product:
        """Reads a product. The catalogue must hold it."""
        row = self._rows[asin]
        first, last = self._places[2 * row], self._places[2 * row + 1]
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(first)
            text = stream.read(last - first)
        return _product(self.path, json.loads(text), self.attributes)

    def search(self, query: str) -> list[str]:
        """The ids of up to `FOUND` products, the best first."""
        return [self.asins[row] for row in self._index.top(query, FOUND)]


@lru_cache(maxsize=1)
def load(path: Path, attributes: Path | None) -> Catalogue:
    """Reads and indexes a catalogue.

    Args:
        path: The original items_shuffle*.json, or processed products one a line ({"product": {...}}).
        attributes: The original items_ins_v2*.json; needed for original products only.

    Raises:
        SymphonyError: A file is not what it should be; the message names the product.
    """
    mined = table(attributes) if attributes is not None and path.suffix == ".json" else {}
    asins: list[str] = []
    rows: dict[str, int] = {}
    low, high, places = array("d"), array("d"), array("q")

    def documents() -> Iterator[tuple[str, str]]:
        for first, last, row in _objects(path):
            asin = str(row.get("asin") or row.get("id") or "nan")
            if asin == "nan" or len(asin) > 10 or asin in rows:
                continue
            product = _product(path, row, mined)
            rows[asin] = len(asins)
            asins.append(asin)
            low.append(product.prices[0])
            high.append(product.prices[-1])
            places.extend((first, last))
            yield asin, product.contents()

    index = BM25(documents())
    if not asins:
        raise SymphonyError(f"{path}: found no product, allowed: a catalogue of WebShop")
    return Catalogue(
        asins=asins, low=low, high=high, path=path, attributes=mined, _places=places, _rows=rows, _index=index
    )


@lru_cache(maxsize=4)
def table(path: Path) -> Mapping[str, Any]:
    """A JSON object.

    Raises:
        SymphonyError: The file holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SymphonyError(f"{path}: found {error}, allowed: a JSON object of products") from error
    if not isinstance(found, dict):
        raise SymphonyError(f"{path}: found {type(found).__name__}, allowed: a JSON object of products")
    return found


def _objects(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """First byte, end and value of each object of a JSON array or of JSON lines, without holding the file."""
    if path.suffix == ".json":
        yield from _array(path)
        return
    place = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield place, place + len(line), _checked(path, f"line {number}", line)
            place += len(line)


def _checked(path: Path, where: str, text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise SymphonyError(f"{path}: {where}: found {error}, allowed: a JSON object") from error
    if not isinstance(found, dict):
        raise SymphonyError(f"{path}: {where}: found {type(found).__name__}, allowed: a JSON object")
    return found


def _array(path: Path) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """The objects of a JSON array of any size, a piece of the file at a time."""
    decode = json.JSONDecoder().raw_decode
    held, place, number = "", 0, 0
    with path.open(encoding="utf-8", newline="") as stream:
        while True:
            piece = stream.read(_READ)
            held += piece
            at = 0
            while (begin := _BETWEEN.match(held, at).end()) < len(held):  # type: ignore[union-attr]
                try:
                    row, end = decode(held, begin)
                except json.JSONDecodeError as error:
                    if piece and len(held) - begin < _LONGEST:
                        break  # the object goes on in the next piece
                    raise SymphonyError(f"{path}: item {number + 1}: found {error}, allowed: a JSON object") from error
                number += 1
                if not isinstance(row, dict):
                    raise SymphonyError(f"{path}: item {number}: found {type(row).__name__}, allowed: a JSON object")
                first = place + len(held[at:begin].encode())
                place = first + len(held[begin:end].encode())
                yield first, place, row
                at = end
            held = held[at:]
            if not piece:
                return


def _product(path: Path, row: Mapping[str, Any], mined: Mapping[str, Any]) -> Product:
    """A product of a raw or processed row, cleaned as WebShop's loader does it."""
    processed = row.get("product")
    try:
        return _cleaned(processed, None) if isinstance(processed, Mapping) else _cleaned(row, mined)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SymphonyError(
            f"{path}: product {row.get('asin') or row.get('id')}: found {type(error).__name__} {error}, "
            "allowed: asin, name, category, query, product_category, full_description, small_description, pricing, "
            "customization_options"
        ) from error


def _cleaned(row: Mapping[str, Any], mined: Mapping[str, Any] | None) -> Product:
    points = row["small_description"]
    asin = str(row["asin"])
    if mined is None:  # processed: prices, options and attributes are cleaned already
        prices = tuple(float(price) for price in row["pricing"])
        options = {name: tuple(values) for name, values in row["options"].items()}
        attributes = tuple(row["Attributes"])
    else:
        prices = _prices(row.get("pricing"))
        options = _options(row["customization_options"])
        attributes = tuple(mined.get(asin, {}).get("attributes", ("DUMMY_ATTR",)))
    return Product(
        asin=asin,
        title=str(row["name"]),
        price=f"${prices[0]}" if len(prices) == 1 else f"${prices[0]} to ${prices[1]}",
        prices=prices,
        category=str(row["category"]),
        query=str(row["query"]).lower().strip(),
        path=str(row["product_category"]),
        description=str(row["full_description"]),
        features=tuple(points) if isinstance(points, list) else (str(points),),
        options=tuple(options.items()),
        attributes=attributes,
        rating=str(row.get("Rating", "N.A.")),
    )


def _prices(text: str | None) -> tuple[float, ...]:
    """Dollars of "$5.00" or "$5.00$9.00"; a product without a price costs `UNPRICED`.

    Raises:
        ValueError: There is no number after a dollar sign.
    """
    if not text:
        return (UNPRICED,)
    prices = tuple(float(re.sub(r"[^\d.]", "", part)) for part in text.split("$")[1:])
    if not prices:
        raise ValueError(f"pricing {text!r}")
    return prices[:2]


def _options(groups: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]]:
    return {
        name.lower(): tuple(value["value"].strip().replace("/", " | ").lower() for value in values)
        for name, values in (groups or {}).items()
        if values is not None
    }


def files(data: Path, size: str, instructions: str) -> tuple[Path, ...]:
    """What a catalogue and its goals are read from: products, then attributes, then human instructions where needed.

    Raises:
        SymphonyError: One is not there.
    """
    small = size == "small"
    raw = "items_shuffle_1000.json" if small else "items_shuffle.json"
    processed = "documents_1k.jsonl" if small else "documents.jsonl"
    mined = ("items_ins_v2_1000.json",) if small else ("items_ins_v2.json",)
    option = "webshop" if small else "webshop_full"
    products = datafiles.find(data, "webshop", (raw, processed), option)
    found = [products]
    if products.suffix == ".json" or instructions == "synthetic":
        found.append(datafiles.find(data, "webshop", mined, option))
    if instructions == "human":
        names = ("items_human_ins.json", "items_human_ins_subset.json")
        found.append(datafiles.find(data, "webshop", names, option))
    return tuple(found)
