"""Drawings stay readable, whatever the names in them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from symphony.report import figures
from symphony.report.stats import Estimate


@pytest.mark.parametrize("phone", [False, True], ids=["wide", "phone"])
@pytest.mark.parametrize("figure", ["success", "cost", "diversity"])
def test_long_and_short_names_beside_a_figure_do_not_overlap(figure: str, phone: bool) -> None:
    names = [
        "SYMPHONY",
        "without lazy evaluation (agents judge hidden ends), feedback oracle",
        "without grafting (every attempt begins at the root), feedback none",
        "best of n",
        "roulette (one attempt, a random model a step), feedback oracle",
    ]
    rate = Estimate(value=0.5, low=0.4, high=0.6)
    rows: list[dict[str, Any]] = [
        {"method": name, "task": "all tasks", "n": 8, "success": rate, "tokens": rate}
        | {"distinct by": "text", "1 distinct": 0.4, "2 distinct": 0.6, "none parsed": 0.0, "models": 3}
        for name in names
    ]
    with figures._drawn(figure, rows, "feedback: oracle", phone=phone) as drawn:
        renderer = drawn.canvas.get_renderer()
        boxes = [label.get_window_extent(renderer) for label in drawn.axes[0].get_yticklabels()]
    assert len(boxes) == len(names)
    for above, below in pairwise(sorted(boxes, key=lambda box: -box.y0)):
        assert above.y0 >= below.y1
