"""Measures how long a WebShop catalogue takes to load, how much memory it needs, and how fast it answers.

    python bench/webshop.py                      # 1,000 generated products
    python bench/webshop.py --products 100000

Products are generated from a seed in the original's raw format, about as long as real ones (a hundred indexed words,
drawn from a vocabulary with Zipf's law), and written to a temporary folder. Times are for one process and one thread;
`search_ms` is the mean over queries of eight words drawn alike, each asked once, so no answer was cached.
They read three times the postings of queries written by people.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from symphony.tasks.webshop.task import WebShop
from symphony.types import State

VOCABULARY = 60_000
WORDS = 110
"""Words indexed per product; for the 1,000 real ones at hand the mean is 108, of which 68 distinct (here 100)."""
QUERIES = 200
DRAWN = 4_000_000


class Text:
    """Words of a vocabulary; the n-th most frequent one has a probability proportional to 1 / (n + 5)."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        letters = "etaoinshrdlucmfwypvbgk"
        self.words = ["".join(self.rng.choices(letters, k=self.rng.randint(3, 9))) for _ in range(VOCABULARY)]
        ends = list(accumulate(1 / (n + 5) for n in range(VOCABULARY)))
        self.drawn = self.rng.choices(self.words, cum_weights=ends, k=DRAWN)

    def draw(self, count: int) -> str:
        """Returns neighbours from a random place in one long draw: drawing each word would take longer than loading."""
        first = self.rng.randrange(DRAWN - count)
        return " ".join(self.drawn[first : first + count])


def write(folder: Path, products: int, text: Text) -> None:
    """Writes a catalogue in the original's format, with one human instruction per hundred products."""
    written = {}
    with (folder / "items_shuffle_1000.json").open("w") as stream:
        stream.write("[")
        for number in range(products):
            asin = f"G{number:09}"
            row = {
                "asin": asin,
                "name": text.draw(14).title(),
                "category": "garden",
                "query": text.draw(2),
                "product_category": " \u203a ".join(text.draw(1) for _ in range(4)),
                "full_description": text.draw(WORDS - 44),
                "small_description": [text.draw(20) for _ in range(5)],
                "pricing": f"${text.rng.randint(5, 90)}.99",
                "customization_options": {"color": [{"value": text.draw(1), "image": None} for _ in range(10)]},
                "images": ["https://images.example/" + "x" * 30] * 5,
            }
            stream.write((",\n" if number else "") + json.dumps(row))
            if number % 100 == 0:
                asked = {"instruction": text.draw(12), "instruction_attributes": ["x y"], "instruction_options": []}
                written[asin] = [asked]
        stream.write("]")
    (folder / "items_human_ins.json").write_text(json.dumps(written))
    (folder / "items_ins_v2_1000.json").write_text("{}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "webshop"
        folder.mkdir()
        text = Text(0)
        write(folder, arguments.products, text)
        size = (folder / "items_shuffle_1000.json").stat().st_size
        task = WebShop(count=1, price_seed=0, nouns="words", data=Path(name))
        start = time.perf_counter()
        (problem,) = task.problems()
        load = time.perf_counter() - start

        catalogue, spent = task.catalogue, []
        for _ in range(QUERIES):
            query = text.draw(8)
            start = time.perf_counter()
            found = catalogue.search(query)
            spent.append(1000 * (time.perf_counter() - start))
            assert found
        step, restore = steps(task, task.reset(problem), text.draw(3))
    spent.sort()
    figures = {
        "products": arguments.products,
        "file_mb": round(size / 2**20, 1),
        "load_s": round(load, 2),
        "search_ms": round(sum(spent) / QUERIES, 3),
        "search_p95_ms": round(spent[int(0.95 * QUERIES)], 3),
        "step_ms": round(step, 3),
        "restore_us": round(restore, 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    print(json.dumps({"bench": "webshop", "figures": figures}))


def steps(task: WebShop, start: State, query: str) -> tuple[float, float]:
    """Measures milliseconds per step (clicking an option), and microseconds to go back to an earlier state, a value."""
    results = task.step(start, f"search[{query}]")
    asin = results.observation.partition("\n[Next >] \n[")[2][:10]
    item = task.step(results, f"click[{asin}]")
    value = task.catalogue.product(asin).options[0][1][0]
    began = time.perf_counter()
    for _ in range(200):
        task.step(item, f"click[{value}]")
    step = (time.perf_counter() - began) / 200
    states = [start, item]
    began = time.perf_counter()
    for n in range(10_000):
        state = states[n & 1]
    assert state is item
    return 1e3 * step, 1e6 * (time.perf_counter() - began) / 10_000


if __name__ == "__main__":
    main()
