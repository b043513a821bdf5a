"""WebShop's products, from the original files or processed ones, cleaned by the original rules, and their search.

Only what a search needs is held in memory; a product's text is read from its file when a page shows it, so the 1.18
million products of the full catalogue fit in a few gigabytes. A catalogue is immutable and shared by all branches.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from symphony.files import kind_of
from symphony.tasks import datafiles, jsonrows
from symphony.tasks.bm25 import BM25
from symphony.types import SymphonyError

FOUND = 50
"""Maximum products that a search finds."""
UNPRICED = 100.0
"""Price in dollars of a product without a price."""
_READ = 1 << 22
_LONGEST = 1 << 26
"""Maximum characters read for one product: anything longer is a broken file."""
_BLANK = re.compile(r"[\s\ufeff]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    r"""A product as the shop's pages and the reward see it.

    Attributes:
        asin: Its id.
        price: The price as a page shows it: "$5.0", or "$5.0 to $9.0".
        prices: Dollars: one price, or the ends of a range.
        category: One of five: "beauty", "electronics", "fashion", "garden", "grocery".
        query: The search by which it was scraped.
        path: Its place in the shop's category tree, with parts joined by " \u203a ".
        features: Bullet points.
        options: (name, values) in the page's order.
        attributes: Properties mined from its text; never shown on an ordinary page.
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
        """Returns the text to index: title, description, first bullet point, options."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options)
        first = self.features[0] if self.features else ""
        return f"{self.title} {self.description} {first} {options}".lower()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Catalogue:
    """All products, in file order.

    Attributes:
        asins: Ids of the products.
        low, high: Ends of each product's price range in dollars; equal for a single price.
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
        """Returns the product's position in the catalogue; None if there is no such product."""
        return self._rows.get(asin)

    def product(self, asin: str) -> Product:
        """Reads a product. The catalogue must hold it."""
        row = self._rows[asin]
        first, last = self._places[2 * row], self._places[2 * row + 1]
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(first)
            text = stream.read(last - first)
        _, product = _product(json.loads(text), self.attributes, f"{self.path}: product {asin}")
        assert product is not None  # it was readable when the catalogue was loaded
        return product

    def search(self, query: str) -> list[str]:
        """Returns the ids of up to `FOUND` products, best first."""
        return [self.asins[row] for row in self._index.top(query, FOUND)]


@lru_cache(maxsize=1)
def load(path: Path, attributes: Path | None) -> Catalogue:
    """Reads and indexes a catalogue.

    Args:
        path: The original items_shuffle*.json, or processed products, one per line ({"product": {...}}).
        attributes: The original items_ins_v2*.json; needed for original products only.

    Raises:
        SymphonyError: A file is not what it should be; the message names the product.
    """
    mined = table(attributes, Mined) if attributes is not None and path.suffix == ".json" else {}
    asins: list[str] = []
    rows: dict[str, int] = {}
    low, high, places = array("d"), array("d"), array("q")

    def documents() -> Iterator[tuple[str, str]]:
        for first, last, row, where in _objects(path):
            if path.suffix != ".json" and not (isinstance(row, dict) and "product" in row):
                datafiles.check(_Processed, row, where)  # raises: its attributes would be missing
            asin, product = _product(row, mined, where)
            if product is None:
                continue
            if asin in rows:
                if path.suffix == ".json":  # the original takes the first too
                    continue
                raise SymphonyError(f"{where}: found id {asin!r} again, allowed: once")
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


Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Mined(datafiles.Row):
    """A product in items_ins_v2*.json; its instruction belongs to a synthetic goal."""

    attributes: list[str]
    instruction: datafiles.Text | None = None
    instruction_attributes: list[str] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.instruction is not None and self.instruction_attributes is None:
            raise ValueError("instruction_attributes beside an instruction")
        return self


class Written(datafiles.Row):
    """An instruction in items_human_ins.json."""

    instruction: datafiles.Text
    instruction_attributes: list[str]
    instruction_options: list[str]


class _Value(datafiles.Row):
    value: str


class _Shown(datafiles.Row):
    """What original and processed products have in common."""

    asin: datafiles.Text
    name: str
    category: str
    query: str
    product_category: str
    full_description: str
    small_description: list[str] | str
    Rating: str = "N.A."


class _Original(_Shown):
    pricing: str | None = None
    customization_options: dict[str, list[_Value] | None] | Literal[""] | None


class _Cleaned(_Shown):
    pricing: Annotated[list[Price], Field(min_length=1, max_length=2)]
    options: dict[str, list[str]]
    Attributes: list[str]


class _Processed(datafiles.Row):
    id: datafiles.Text
    product: _Cleaned


@lru_cache(maxsize=4)
def table(path: Path, kind: type[Mined] | type[Written]) -> Mapping[str, Any]:
    """Reads a JSON object of products: one row of the given kind each, or for `Written` a list of rows.

    Raises:
        SymphonyError: The file holds something else; the message names the line.
    """
    text = jsonrows.read_text(path)
    products = jsonrows.parse_json(text, path)
    if not isinstance(products, dict) or not products:
        finding = "an empty object" if products == {} else kind_of(products)
        raise SymphonyError(f"{path}: found {finding}, allowed: a JSON object of products")
    for asin, value in products.items():
        line = text.count("\n", 0, max(0, text.find(json.dumps(asin)))) + 1
        where = f"{path}:{line}: product {asin}"
        if kind is Written and not isinstance(value, list):
            raise SymphonyError(f"{where}: found {kind_of(value)}, allowed: a list of instructions")
        for row in value if kind is Written else [value]:
            datafiles.check(kind, row, where)
    return products


def _objects(path: Path) -> Iterator[tuple[int, int, dict[str, Any], str]]:
    """Yields first byte, end, value and place of each object in a JSON array or JSON lines; never holds the file."""
    if path.suffix == ".gz":  # products are reread from their byte offsets
        raise SymphonyError(f"{path}: found a gzipped file, allowed: an unpacked one (gunzip {path.name})")
    try:
        if path.suffix == ".json":
            yield from _array(path)
            return
        place = 0
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                text = line.removeprefix(BOM_UTF8) if number == 1 else line
                if text.strip():
                    first = place + len(line) - len(text)
                    row = jsonrows.parse_json(text.decode("utf-8"), path, number)
                    yield first, place + len(line), row, f"{path}:{number}"
                place += len(line)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise SymphonyError(f"{path}: found {why}, allowed: a readable UTF-8 file") from error


def _array(path: Path) -> Iterator[tuple[int, int, dict[str, Any], str]]:
    """Yields the objects of a JSON array of any size, reading the file in pieces."""
    held, place, number, line = "", 0, 0, 1
    may_follow = "["  # what the next character may be; "" is an object; "]" is an object or, before any, the end
    with path.open(encoding="utf-8", newline="") as stream:
        while True:
            piece = stream.read(_READ)
            held += piece
            at = 0
            while (begin := _BLANK.match(held, at).end()) < len(held):  # type: ignore[union-attr]
                line += held.count("\n", at, begin)
                place += len(held[at:begin].encode())
                at, end = begin, begin + 1
                if may_follow and held[begin] in may_follow:
                    may_follow = {"[": "]", "]": "end", ",": ""}[held[begin]]
                elif may_follow in ("[", ",]", "end"):
                    wanted = {"[": "a JSON array", ",]": "a comma or the end of the array", "end": "nothing more"}
                    raise SymphonyError(f"{path}:{line}: found {held[begin]!r}, allowed: {wanted[may_follow]}")
                else:
                    try:
                        row, end = jsonrows.DECODER.raw_decode(held, begin)
                    except (ValueError, RecursionError) as error:
                        if piece and isinstance(error, json.JSONDecodeError) and len(held) - begin < _LONGEST:
                            break  # the object continues in the next piece
                        jsonrows.parse_json(held[begin:], path, line)  # raises with the reason
                        raise
                    if "\\ud" in held[begin:end].lower():
                        jsonrows.parse_json(held[begin:end], path, line)
                    number, may_follow = number + 1, ",]"
                    yield place, place + len(held[begin:end].encode()), row, f"{path}:{line}: item {number}"
                line += held.count("\n", begin, end)
                place += len(held[begin:end].encode())
                at = end
            held = held[at:]
            if not piece:
                break
    if may_follow != "end":
        raise SymphonyError(f"{path}:{line}: found the end of the file, allowed: a JSON array")


def _product(row: Any, mined: Mapping[str, Any], where: str) -> tuple[str, Product | None]:
    """Returns a row's id and product, raw or processed, cleaned as in WebShop's loader; None if that skips it."""
    if isinstance(row, dict) and "product" in row:
        processed = datafiles.check(_Processed, row, where)
        if processed.id != processed.product.asin:
            message = f"{where}: product.asin: found {processed.product.asin!r}, allowed: the row's id {processed.id!r}"
            raise SymphonyError(message)
        product = processed.product
        options = {name: tuple(values) for name, values in product.options.items()}
        return processed.id, _make_product(product, tuple(product.pricing), options, tuple(product.Attributes))
    if isinstance(row, dict) and row.get("asin") == "nan":
        return "nan", None
    raw = datafiles.check(_Original, row, where)
    if len(raw.asin) > 10:
        return raw.asin, None
    try:
        prices = _prices(raw.pricing)
    except ValueError as error:
        raise SymphonyError(
            f"{where}: pricing: found {jsonrows.short(raw.pricing)}, allowed: dollars, e.g. $5.00 or $5.00$9.00"
        ) from error
    attributes = tuple(mined.get(raw.asin, {}).get("attributes", ("DUMMY_ATTR",)))
    return raw.asin, _make_product(raw, prices, _options(raw.customization_options or {}), attributes)


def _make_product(
    row: _Shown, prices: tuple[float, ...], options: Mapping[str, tuple[str, ...]], attributes: tuple[str, ...]
) -> Product:
    points = row.small_description
    return Product(
        asin=row.asin,
        title=row.name,
        price=f"${prices[0]}" if len(prices) == 1 else f"${prices[0]} to ${prices[1]}",
        prices=prices,
        category=row.category,
        query=row.query.lower().strip(),
        path=row.product_category,
        description=row.full_description,
        features=tuple(points) if isinstance(points, list) else (points,),
        options=tuple(options.items()),
        attributes=attributes,
        rating=row.Rating,
    )


def _prices(text: str | None) -> tuple[float, ...]:
    """Parses "$5.00" or "$5.00$9.00" into dollars; a product without a price costs `UNPRICED`.

    Raises:
        ValueError: There is no number after a dollar sign, or one is not finite.
    """
    if not text:
        return (UNPRICED,)
    prices = tuple(float(re.sub(r"[^\d.]", "", part)) for part in text.split("$")[1:])
    if not prices or not all(map(math.isfinite, prices)):
        raise ValueError(f"pricing {text!r}")
    return prices[:2]


def _options(groups: Mapping[str, list[_Value] | None]) -> dict[str, tuple[str, ...]]:
    return {
        name.lower(): tuple(value.value.strip().replace("/", " | ").lower() for value in values)
        for name, values in groups.items()
        if values is not None
    }


def files(data: Path, size: str, instructions: str) -> tuple[Path, ...]:
    """Finds the files of a catalogue and its goals: products, then attributes and human instructions if needed.

    Raises:
        SymphonyError: A file is missing.
    """
    small = size == "small"
    raw = "items_shuffle_1000.json" if small else "items_shuffle.json"
    processed = "documents_1k.jsonl" if small else "documents.jsonl"
    mined = ("items_ins_v2_1000.json",) if small else ("items_ins_v2.json",)
    option = "webshop" if small else "webshop_full"
    products = datafiles.find(data, "webshop", (raw, processed), option)
    paths = [products]
    if products.suffix == ".json" or instructions == "synthetic":
        paths.append(datafiles.find(data, "webshop", mined, option))
    if instructions == "human":
        names = ("items_human_ins.json", "items_human_ins_subset.json")
        paths.append(datafiles.find(data, "webshop", names, option))
    return tuple(paths)
