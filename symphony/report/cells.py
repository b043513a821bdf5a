"""Writes single cells of tables for readers."""

from __future__ import annotations

from symphony.agents.budget import money
from symphony.report.paper import HERE, NOT_RUN
from symphony.report.stats import Estimate

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
UNKNOWN = "unknown"

Cell = str | int | float | bool | Estimate | None


def size(cell: Cell) -> float:
    """Returns the largest absolute number in a cell, which decides the digits of its column."""
    if isinstance(cell, Estimate):
        return max(abs(cell.low), abs(cell.high))
    return abs(cell) if isinstance(cell, float) else 0.0


def as_text(column: str, cell: Cell, size: float) -> str:
    """Returns a cell for readers: a dash for None, signs in columns of differences.

    Args:
        size: The largest number of the column; larger ones get fewer digits.
    """
    if cell is None and column.endswith(HERE):
        return NOT_RUN
    if cell is None:
        return UNKNOWN if column.startswith("dollars") else DASH
    if isinstance(cell, Estimate):
        plus = column.startswith("gain") or column.endswith("difference")
        value, low, high = (_number(number, size, plus) for number in (cell.value, cell.low, cell.high))
        return f"{value} [{low}, {high}]"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        if column.endswith(" p"):
            return "<0.001" if cell < 0.001 else f"{cell:.3f}"
        if column.startswith("dollars"):
            return money(cell)
        return _number(cell, size, False)
    return short(cell) if column == "commit" else cell


def short(commits: str) -> str:
    """Shortens commits, joined by ", ", to ten digits each."""
    parts = (part.partition("+") for part in commits.split(", "))
    return ", ".join(name[:10] + plus + rest for name, plus, rest in parts)


def _number(value: float, size: float, plus: bool) -> str:
    digits = 0 if size >= 100 else 1 if size >= 10 else 3
    return signed(value, digits) if plus else signed(value, digits).lstrip("+")


def signed(value: float, digits: int) -> str:
    """Writes a number with its sign; no negative zero, and a minus sign instead of a hyphen."""
    text = f"{value:+,.{digits}f}"
    return text.lstrip("+-") if float(text.replace(",", "")) == 0 else text.replace("-", MINUS)


def interval(estimate: Estimate) -> str:
    """Writes a rate with its interval: ".77 [.68, .84]" is "0.77 [0.68, 0.84]"."""
    value, low, high = (signed(number, 2).lstrip("+") for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"
