"""How often Python collects cyclic garbage during a run."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_YOUNG_OBJECTS = 20_000  # new objects after which the garbage collector looks for cycles among them


@contextmanager
def rare_collections() -> Iterator[None]:
    """Makes the cyclic garbage collector run rarely while a group is carried out.

    Nearly all objects stay alive: the libraries (400,000 objects), then trees and records. They have no cycles, so
    reference counts free them, yet by default the collector scans all of them each time they grow by a quarter
    (`bench/search_core.py` shows its cost). Cycles are still collected, every 20,000 new objects instead of 700.
    """
    before = gc.get_threshold()
    gc.set_threshold(_YOUNG_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
