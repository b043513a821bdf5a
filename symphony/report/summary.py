"""States what the tables say in plain words. Every sentence is computed and presumes no result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from symphony.report import mechanisms
from symphony.report.cells import Cell
from symphony.report.stats import LEVEL, Estimate
from symphony.report.tables import Table

Verdict = Literal["positive", "negative", "none"]

FOLD = 6
"""Findings of a group that are shown unfolded."""

NAMED = 5
"""Methods that a sentence lists by name; the others are counted."""

VERDICTS = ("reproduced", "contradicted", "undecided", "not run")

_SINGLE = ("single", "best single")
"""Roles of single members in the table `pool`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A claim, whether and in which direction a difference is shown (relative to the reference), and its evidence.

    A difference is shown if its interval excludes 0 and its p, corrected for the rows of its table, is at most 5 %.

    Attributes:
        why: What the records say about the mechanism; "" if they say nothing.
    """

    verdict: Verdict
    text: str
    why: str = ""


def summarise(tables: dict[str, Table], reference_title: str) -> list[tuple[str, list[Finding]]]:
    """Returns groups of findings, each with a heading.

    Args:
        tables: Every table by its name.
        reference_title: Title of the experiment that the others are compared with.
    """
    groups = [
        ("Claims", _claims(tables["claims"])),
        ("Overall", _overall(tables["success"], reference_title)),
        ("Does each component help?", _components(tables, reference_title)),
        ("Does the pool beat its members?", _pool(tables, reference_title)),
        ("Against the other methods", [*_others(tables, reference_title), *_apart(tables, reference_title)]),
        ("Do quantised weights change what is solved?", _quantised(tables["quantised_success"])),
    ]
    return [(heading, findings) for heading, findings in groups if findings]


def answer(tables: Mapping[str, Table], reference: str) -> tuple[str, str]:
    """Answers a study's question: what the reference solves beside the other methods, and which differences are shown.

    Methods that did not run on as many problems as the reference, times seeds, are left out.

    Args:
        tables: At least the table "success".
        reference: Title of the experiment that the others are compared with.

    Returns:
        One sentence, and the sentences that follow.
    """
    rows = {str(row["method"]): row for row in tables["success"].records() if row["task"] == "all tasks"}
    if reference not in rows:
        return f"This study has no runs of the reference {reference}.", ""
    row = rows.pop(reference)
    reference, own = _quoted(reference), _rate(row)
    others = {name: other for name, other in rows.items() if other["n"] == row["n"]}
    apart = len(rows) - len(others)
    text = f"{reference} solves {mechanisms.percent(own)}"
    if not others:
        return f"{text} of {_counted(row)}.", ""
    rates = {name: _rate(other) for name, other in others.items()}
    best, worst = max(rates, key=lambda name: rates[name]), min(rates, key=lambda name: rates[name])
    best_named, worst_named = _quoted(best), _quoted(worst)
    most, fewest = f"{best_named} the most ({mechanisms.percent(rates[best])})", f"({mechanisms.percent(rates[worst])})"
    if own >= rates[best]:
        text += f" and no other method more; {worst_named} solves the fewest {fewest}."
    elif own <= rates[worst]:
        text += f" and no other method fewer; {most.replace(' the most', ' solves the most')}."
    else:
        text += f", {most} and {worst_named} the fewest {fewest}."
    more, fewer = (sum(sign * (rate - own) > 0 for rate in rates.values()) for sign in (1, -1))
    equal = len(rates) - more - fewer
    rest = (
        f"On {_counted(row)}, {more} of the other {_plural(len(rates), 'method')} "
        f"{'solves' if more == 1 else 'solve'} more, {fewer} fewer and {equal} as many."
    )
    rest += f" Left out, for other problems: {_plural(apart, 'method')}." if apart else ""
    return text, f"{rest} {_shown_differences(rows, reference)}".strip()


def _rate(row: Mapping[str, Cell]) -> float:
    return rate.value if isinstance(rate := row["success"], Estimate) else 0.0


def _quoted(title: str) -> str:
    """Returns a title as it can stand in a sentence."""
    return f"“{title}”" if "," in title else title


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _shown_differences(rows: Mapping[str, Mapping[str, Cell]], reference: str) -> str:
    """Says of which methods a difference from the reference is shown."""
    verdicts = {
        name: _verdict(-difference, row)
        for name, row in rows.items()
        if isinstance(difference := row["success difference"], Estimate)
    }
    if not verdicts:
        return ""
    parts: list[str] = []
    for verdict, words in (("positive", "better"), ("negative", "worse")):
        names = [_quoted(name) for name, found in verdicts.items() if found == verdict]
        listing = "; ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        shown = f"is shown to be {words} than {listing}" if names else f"is not shown to be {words} than any method"
        parts.append(f"{'It' if parts else reference} {shown}.")
    undecided = sum(found == "none" for found in verdicts.values())
    if undecided == len(verdicts):
        return f"No difference from {reference} is shown."
    rest = {0: "No difference is", 1: "One difference is"}.get(undecided, f"{undecided} differences are")
    return f"{' '.join(parts)} {rest} undecided."


def difference_verdict(gain: Estimate, row: Mapping[str, Cell]) -> str:
    """Returns whether the reference is "better" or "worse" than a method by a shown difference, or "undecided".

    Args:
        gain: The reference minus the method.
    """
    words: Mapping[Verdict, str] = {"positive": "better", "negative": "worse", "none": "undecided"}
    return words[_verdict(gain, row)]


def _verdict(estimate: Estimate, row: Mapping[str, Cell]) -> Verdict:
    if not estimate.excludes_zero or not _significant(row):
        return "none"
    return "positive" if estimate.low > 0 else "negative"


def _significant(row: Mapping[str, Cell]) -> bool:
    p = row["Holm p"]
    return isinstance(p, (int, float)) and p <= LEVEL


def _why_not(estimate: Estimate, row: Mapping[str, Cell]) -> str:
    """Returns why a difference is not shown."""
    if not estimate.excludes_zero:
        return "the interval contains 0"
    p = row["Holm p"]
    p_text = f"{p:.2f}" if isinstance(p, (int, float)) else "unknown"
    return f"p {p_text} after correction for the number of rows"


def folded(findings: Sequence[Finding]) -> list[tuple[bool, list[Finding]]]:
    """Splits a long group of findings into those that are shown and those that a reader may unfold.

    The first finding and those with a difference are shown; without any, the first `FOLD`.
    """
    if len(findings) <= FOLD:
        return [(True, list(findings))]
    first = [finding for at, finding in enumerate(findings) if at == 0 or finding.verdict != "none"]
    first = first if len(first) > 1 else list(findings[:FOLD])
    rest = [finding for finding in findings if finding not in first]
    return [(True, first), (False, rest)] if rest else [(True, first)]


def _claims(claims: Table) -> list[Finding]:
    """Counts the verdicts in the first finding, then states each."""
    words: Mapping[str, Verdict] = {"reproduced": "positive", "contradicted": "negative"}
    counts = Counter(str(row["verdict"]) for row in claims.records())
    if not counts:
        return []
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    findings = [Finding(verdict="none", text=f"Claims tested: {counts.total()}. Of these: {verdicts}.")]
    for row in claims.records():
        gain, verdict = row["success difference"], str(row["verdict"])
        text = f"{verdict.capitalize()}: {row['claim']} ({row['source']})"
        if isinstance(gain, Estimate):
            text += f": {mechanisms.points(gain)}, {_counted(row)}"
        if verdict == "undecided" and row["problems needed"]:
            text += f"; about {row['problems needed']:,} problems would show such a difference"
        findings.append(Finding(verdict=words.get(verdict, "none"), text=f"{text}."))
    return findings


def _overall(success: Table, reference: str) -> list[Finding]:
    findings = []
    for row in success.records():
        rate = row["success"]
        if row["method"] == reference and row["task"] == "all tasks" and isinstance(rate, Estimate):
            text = (
                f"{reference} solves {100 * rate.value:.1f} % of {_counted(row)} over all its tasks "
                f"(95 % interval {100 * rate.low:.1f} to {100 * rate.high:.1f} %), with feedback: {row['feedback']}."
            )
            findings.append(Finding(verdict="none", text=text))
    if not findings:
        findings.append(Finding(verdict="none", text=f"This study has no runs of the reference {reference}."))
    return findings


def _counted(row: Mapping[str, Cell]) -> str:
    """Describes how many problems a row covers, and how many runs if seeds repeat them."""
    problems, runs = f"{row['problems']:,} problems", f"{row['n']:,} runs"
    return problems if row["n"] == row["problems"] else f"{runs} of {problems}"


def _components(tables: dict[str, Table], reference: str) -> list[Finding]:
    findings = []
    told: dict[str, str] = {}  # evidence -> the first variant that it was stated for
    for row in tables["ablation"].records():
        gain = row["gain of the component"]
        if not isinstance(gain, Estimate):
            continue
        words = {
            "positive": "the component helps",
            "negative": "the component hurts",
            "none": f"no effect shown ({_why_not(gain, row)})",
        }
        against, variant = str(row["compared with"]), str(row["variant"])
        verdict = _verdict(gain, row)
        claim = f"{row['variant']} ({row['change']}): {words[verdict]}"
        other = "full method" if against == reference else against
        text = f"{claim}; {other} minus variant: {mechanisms.points(gain)}."
        same = mechanisms.same_calls(tables["success"], variant) if against == reference else ""
        evidence = same or mechanisms.why(str(row["change"]), tables, against, variant)
        first = told.setdefault(evidence, variant) if evidence else ""
        again = first not in ("", variant)
        findings.append(Finding(verdict=verdict, text=text, why=f"As for {first}." if again else evidence))
    return findings


def _pool(tables: dict[str, Table], reference: str) -> list[Finding]:
    findings = []
    rows = tables["pool"].records()
    own = next((row["search"] for row in rows if row["role"] == "reference"), None)
    best = Counter(row["search"] for row in rows if row["role"] == "best single")
    singles = {row["method"] for row in rows if row["search"] == own and row["role"] in _SINGLE}
    for row in rows:
        gain = row["gain of the pool"]
        if row["role"] != "best single" or not isinstance(gain, Estimate):
            continue
        words = {
            "positive": "the pool beats its best single member",
            "negative": "the best single member beats the pool",
            "none": f"no difference shown ({_why_not(gain, row)})",
        }
        which = f" ({row['method']})" if best[row["search"]] > 1 else ""  # one for each feedback
        text = (
            f"Under {row['search']}{which}: {words[_verdict(gain, row)]}. Best member (chosen on these same problems, "
            f"which favours it): {row['agents']}; gain of the pool {mechanisms.points(gain)}."
        )
        evidence = (
            mechanisms.pool(tables["members"], tables["diversity"], reference, str(row["agents"]), singles)
            if row["search"] == own
            else ""
        )
        findings.append(Finding(verdict=_verdict(gain, row), text=text, why=evidence))
    return findings


def _others(tables: dict[str, Table], reference: str) -> list[Finding]:
    covered: set[Cell] = {row["variant"] for row in tables["ablation"].records()}
    covered |= {row["method"] for row in tables["pool"].records() if row["role"] in _SINGLE}
    words = {"positive": "is better than", "negative": "is worse than", "none": "shows no clear difference from"}
    findings = []
    for row in tables["success"].records():
        difference = row["success difference"]
        if row["method"] in covered or row["task"] != "all tasks" or not isinstance(difference, Estimate):
            continue
        gain = -difference
        verdict = _verdict(gain, row)
        reason = f" ({_why_not(gain, row)})" if verdict == "none" else ""
        text = f"{reference} {words[verdict]} {row['method']}: {mechanisms.points(gain)}{reason}."
        evidence = mechanisms.shape(tables["shape"], reference, str(row["method"]))
        findings.append(Finding(verdict=verdict, text=text, why=evidence))
    return findings


def _apart(tables: dict[str, Table], reference: str) -> list[Finding]:
    """Reports methods that cannot be compared, because the reference had none of their problems."""
    methods = [str(row["method"]) for row in tables["success"].records() if row["task"] == "all tasks"]
    paired = {row["method"] for row in tables["success"].records() if row["success difference"] is not None}
    apart = [name for name in methods if name != reference and name not in paired]
    if not apart or reference not in methods:
        return []
    text = f"Not compared with {reference}, as they share no problem (same task, data, seed): {', '.join(apart)}."
    return [Finding(verdict="none", text=text)]


def _quantised(success: Table) -> list[Finding]:
    words = {"positive": "solves more", "negative": "solves less", "none": "no change shown"}
    return [
        Finding(
            verdict=_verdict(difference, row),
            text=f"{row['method']}: {words[_verdict(difference, row)]} ({mechanisms.points(difference)} in "
            f"{row['pairs']} runs of the same problems; {mechanisms.percent(row['success before'])} before, "
            f"{mechanisms.percent(row['success after'])} after).",
        )
        for row in success.records()
        if row["task"] == "all tasks" and isinstance(difference := row["success difference"], Estimate)
    ]
