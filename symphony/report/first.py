"""Computes the page's first screen: the answer in words, what each method solves, and the claims with verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from symphony.report import mechanisms
from symphony.report.cells import signed
from symphony.report.grids import ALL
from symphony.report.stats import Estimate
from symphony.report.study import Study
from symphony.report.summary import VERDICTS, answer, difference_verdict
from symphony.report.tables import Table

RATES = 16
"""Methods that are shown at first."""
COMPARED = 10
"""Claims or differences that are shown at first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """An estimate with its words and its place on an axis, in percent of the axis.

    Attributes:
        own: Whether it is the reference's.
        verdict: Of the claim or difference; "" for a rate.
        note: Words in small print: where a claim is from, or what the mark says on hover.
        value, interval: The numbers as text; "" where nothing was run.
        at, low, high: Places of the value and of the ends of its interval.
    """

    name: str
    own: bool = False
    verdict: str = ""
    note: str = ""
    value: str = ""
    interval: str = ""
    at: float = 0.0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """The first screen.

    Attributes:
        answer, shown: See `summary.answer`.
        covers: What the rates cover.
        rates: Success of every method over all tasks, the highest first.
        heading: What `compared` holds. counted: How many of each verdict.
        compared: The claims, or without any the differences from the reference, the decided ones first.
        bound: End of the axis of differences, in points.
    """

    answer: str
    shown: str
    covers: str
    rates: tuple[Bar, ...]
    heading: str
    counted: str
    compared: tuple[Bar, ...]
    bound: int

    @property
    def shown_rates(self) -> tuple[Sequence[Bar], Sequence[Bar]]:
        """The rates that are shown and those that are folded."""
        return _split(self.rates, RATES)

    @property
    def shown_compared(self) -> tuple[Sequence[Bar], Sequence[Bar]]:
        """The claims or differences that are shown and those that are folded."""
        return _split(self.compared, COMPARED)


def _split(bars: Sequence[Bar], most: int) -> tuple[Sequence[Bar], Sequence[Bar]]:
    """Returns the bars that are shown and those that are folded, if more than two are; the reference's is shown."""
    if len(bars) <= most + 2:
        return bars, ()
    first = [bar for at, bar in enumerate(bars) if at < most or bar.own]
    return first, [bar for bar in bars if bar not in first]


def first_screen(tables: Mapping[str, Table], reference: str) -> First:
    """Computes the first screen from the tables.

    Args:
        reference: Title of the experiment that the others are compared with.
    """
    rows = [row for row in tables["success"].records() if row["task"] == ALL]
    spans = [f"{count:,}" for count in sorted({int(str(row["problems"])) for row in rows})]
    text, shown = answer(tables, reference)
    claims = [
        (str(row["verdict"]), str(row["claim"]), str(row["source"]), row["success difference"])
        for row in tables["claims"].records()
    ]
    differences = [
        (difference_verdict(-gain, row), f"{reference} against {row['method']}", "", -gain)
        for row in rows
        if isinstance(gain := row["success difference"], Estimate)
    ]
    compared = claims or differences
    ends = [abs(end) for *_, gain in compared if isinstance(gain, Estimate) for end in (gain.low, gain.high)]
    bound = max(10, -(-int(100 * max(ends, default=0.1) + 0.999) // 10) * 10)
    order = (*VERDICTS[:2], "better", "worse", *VERDICTS[2:])
    counts = Counter(verdict for verdict, *_ in compared)
    return First(
        answer=text,
        shown=shown,
        covers=f"{' or '.join(spans)} problems over all tasks" if spans else "",
        rates=tuple(
            sorted(
                (
                    _rate(str(row["method"]), row["success"], row["method"] == reference, row["success difference"])
                    for row in rows
                    if isinstance(row["success"], Estimate)
                ),
                key=lambda bar: -bar.at,
            )
        ),
        heading="Claims" if claims else f"{reference} against the other methods",
        counted=", ".join(f"{counts[verdict]} {verdict}" for verdict in order if counts[verdict]),
        compared=tuple(
            _gain(verdict, name, source, gain, bound)
            for verdict, name, source, gain in sorted(compared, key=lambda one: order.index(one[0]))
        ),
        bound=bound,
    )


def setting(study: Study) -> str:
    """Says what the reference met and with what: tasks, models and limits; "" if it has no runs."""
    rows = study.rows(
        "SELECT DISTINCT task, agents, token_limit, call_limit FROM outcomes WHERE reference ORDER BY ALL"
    )
    if not rows:
        return ""
    tasks = list(dict.fromkeys(row[0] for row in rows))
    agents = list(dict.fromkeys(agent for row in rows for agent in row[1]))
    limits = [text for at, unit in ((2, "tokens"), (3, "calls")) if (text := _span({row[at] for row in rows}, unit))]
    most = f"at most {' and '.join(limits)} a problem" if limits else "no limit of tokens or calls"
    models = f"{len(agents)} models ({', '.join(agents)})" if len(agents) > 1 else f"One model ({agents[0]})"
    return f"Tasks: {', '.join(tasks)}. {models}, {most}."


def _span(limits: set[int | None], unit: str) -> str:
    known = sorted(limit for limit in limits if limit is not None)
    if len(known) < len(limits):
        return ""
    return f"{known[0]:,} {unit}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,} {unit}"


def _rate(name: str, rate: Estimate, own: bool, difference: object) -> Bar:
    note = f"{name}: {100 * rate.value:.1f} % [{100 * rate.low:.1f}, {100 * rate.high:.1f}]"
    if isinstance(difference, Estimate):
        note += f"; minus the reference: {mechanisms.points(difference)}"
    return Bar(
        name=name,
        own=own,
        note=note,
        value=f"{100 * rate.value:.0f}\N{NO-BREAK SPACE}%",
        interval=f"[{100 * rate.low:.0f}, {100 * rate.high:.0f}]",
        at=100 * rate.value,
        low=100 * rate.low,
        high=100 * rate.high,
    )


def _gain(verdict: str, name: str, source: str, gain: object, bound: int) -> Bar:
    if not isinstance(gain, Estimate):
        return Bar(name=name, verdict=verdict, note=source)
    at, low, high = (50 + 50 * 100 * end / bound for end in (gain.value, gain.low, gain.high))
    value, start, end = (signed(100 * number, 1) for number in (gain.value, gain.low, gain.high))
    return Bar(
        name=name, verdict=verdict, note=source, value=value, interval=f"[{start}, {end}]", at=at, low=low, high=high
    )
