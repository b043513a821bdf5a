"""What the tables say, in plain words. Every sentence is computed; none knows a result beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from symphony.report.stats import Estimate
from symphony.report.tables import Cell, Table

Verdict = Literal["positive", "negative", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence, and whether its interval lies above, below or across 0 (seen from the reference)."""

    verdict: Verdict
    text: str


def summarise(tables: dict[str, Table], reference_title: str) -> list[tuple[str, list[Finding]]]:
    """Headed groups of findings.

    Args:
        tables: Name -> table; needs success, paired, ablation, pool and cost.
        reference_title: Title of the experiment that the others are compared with.
    """
    groups = [
        ("Overall", _overall(tables["success"], reference_title)),
        ("Does each component help?", _components(tables["ablation"])),
        ("Does the pool beat its members?", _pool(tables["pool"])),
        ("Against the other methods", _others(tables, reference_title)),
    ]
    return [(heading, findings) for heading, findings in groups if findings]


def _verdict(estimate: Estimate) -> Verdict:
    if not estimate.excludes_zero:
        return "none"
    return "positive" if estimate.low > 0 else "negative"


def _points(estimate: Estimate) -> str:
    """A difference of rates in percentage points."""
    value, low, high = (
        f"{100 * x:+.1f}".replace("-", "\N{MINUS SIGN}") for x in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} points [{low}, {high}]"


def _overall(success: Table, reference: str) -> list[Finding]:
    found = []
    for row in success.records():
        rate = row["success"]
        if row["method"] == reference and row["task"] == "all tasks" and isinstance(rate, Estimate):
            text = (
                f"{reference} solves {100 * rate.value:.1f} % of {row['n']:,} problems over all tasks "
                f"(95 % interval {100 * rate.low:.1f} to {100 * rate.high:.1f} %), with feedback: {row['feedback']}."
            )
            found.append(Finding(verdict="none", text=text))
    if not found:
        found.append(Finding(verdict="none", text=f"This study has no runs of the reference {reference}."))
    return found


def _components(ablation: Table) -> list[Finding]:
    words = {
        "positive": "the component helps",
        "negative": "the component hurts",
        "none": "no effect seen (the interval contains 0)",
    }
    return [
        Finding(
            verdict=_verdict(gain),
            text=f"{row['variant']} ({row['change']}): {words[_verdict(gain)]}; "
            f"the full method gains {_points(gain)} over it.",
        )
        for row in ablation.records()
        if isinstance(gain := row["gain of the component"], Estimate)
    ]


def _pool(pool: Table) -> list[Finding]:
    found = []
    for row in pool.records():
        gain = row["gain of the pool"]
        if row["role"] != "best single" or not isinstance(gain, Estimate):
            continue
        words = {
            "positive": "Yes: the pool beats its best single member by more than the interval",
            "negative": "No: the best single member beats the pool by more than the interval",
            "none": "Not shown: the interval of the difference contains 0",
        }
        text = (
            f"{words[_verdict(gain)]}. "
            f"Best member under the same search: {row['agents']}; gain of the pool {_points(gain)}."
        )
        found.append(Finding(verdict=_verdict(gain), text=text))
    return found


def _others(tables: dict[str, Table], reference: str) -> list[Finding]:
    told: set[Cell] = {row["variant"] for row in tables["ablation"].records()}
    told |= {row["method"] for row in tables["pool"].records() if row["role"] != ""}
    tokens = {row["method"]: row["tokens"] for row in tables["cost"].records() if row["task"] == "all tasks"}
    own = tokens.get(reference)
    found = []
    for row in tables["paired"].records():
        difference = row["success difference"]
        if row["method"] in told or row["task"] != "all tasks" or not isinstance(difference, Estimate):
            continue
        gain = Estimate(value=-difference.value, low=-difference.high, high=-difference.low)
        words = {"positive": "is better than", "negative": "is worse than", "none": "shows no clear difference to"}
        other = tokens.get(row["method"])
        cost = ""
        if isinstance(own, Estimate) and isinstance(other, Estimate) and other.value > 0:
            cost = f" It consumes {own.value / other.value:.2f} times the tokens."
        text = f"{reference} {words[_verdict(gain)]} {row['method']}: {_points(gain)}.{cost}"
        found.append(Finding(verdict=_verdict(gain), text=text))
    return found
