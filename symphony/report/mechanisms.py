"""Explains why an effect did or did not appear: each component's evidence, read from its table as plain sentences.

Every sentence is computed and presumes no result. A table without rows for a method gives no sentence.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from symphony.report.cells import Cell, signed
from symphony.report.stats import Estimate
from symphony.report.tables import Table

Row = Mapping[str, Cell]

_RANDOM = re.compile(r"scorer \S+ → random")
NO_INFORMATION = 0.55
"""Values with an AUC below this are said to carry no information."""
_RANDOM_ROW = "random scores"  # of the table emcs
"""The change of an ablation that only replaces the evaluators' scores by random ones."""


def why(change: str, tables: Mapping[str, Table], reference: str, variant: str) -> str:
    """Returns the evidence on the components that an ablation changes.

    Args:
        change: The changed components, as in the table `ablation`, e.g. "scheduler ucb → uniform".
        reference: Title of the full method. variant: Title of the ablation.
    """
    parts = [part.split(" ")[0] for part in change.split("; ")]
    evidence = {
        "scheduler": scheduling(tables["scheduling"], tables["agents"], reference, variant),
        "memory": memory(tables["memory"], reference),
        "scorer": emcs(tables["emcs"], tables["ablation"]),
    }
    return " ".join(evidence[part] for part in parts if part in evidence).strip()


def same_calls(success: Table, variant: str) -> str:
    """Says so if a variant made the reference's calls on every problem, so that its component changed nothing."""
    row = next((row for row in success.records() if (row["method"], row["task"]) == (variant, "all tasks")), None)
    if row is None or row["same calls"] != 1:
        return ""
    return f"It made the same calls in all {row['pairs']} runs: within this budget the component changed nothing."


def scheduling(picks: Table, agents: Table, reference: str, variant: str) -> str:
    """Describes how far the scheduler departed from equal shares, and what decided its picks."""
    rows = {row["method"]: row for row in picks.records()}
    own, other = rows.get(reference), rows.get(variant)
    if own is None:
        return ""
    text = f"Per problem, the agents' shares of the calls are {percent(own['unequal share'])} away from equal"
    text += f" ({variant}: {percent(other['unequal share'])})" if other else ""
    if own["learned rewards"] is not None:
        text += (
            f"; the rewards it had learned decided {percent(own['learned rewards'])} of its picks "
            f"({percent(own['mean at tied bonuses'])} between agents whose bonuses tied, "
            f"{percent(own['mean against bonus'])} against a larger bonus). The bonus alone decided "
            f"{percent(own['bonus alone'])}, both agreed in {percent(own['bonus and mean agree'])}, "
            f"{percent(own['first calls'])} were first calls, {percent(own['order of the pool'])} followed the order "
            f"of the pool. Rewards differed by {number(own['spread of mean rewards'])} between agents, bonuses by "
            f"{number(own['spread of bonuses'])}"
        )
    shares = [
        f"{row['agent']}: {percent(row['all phases'])} of the calls, mean reward {number(row['mean reward'])}"
        for row in agents.records()
        if row["method"] == reference
    ]
    return f"{text}. {'; '.join(shares)}." if shares else f"{text}."


def memory(lessons: Table, reference: str) -> str:
    """Describes how often lessons were present, and what they changed on the problems that had one."""
    row = next((row for row in lessons.records() if row["method"] == reference), None)
    if row is None:
        return ""
    text = (
        f"{reference} wrote {number(row['lessons per problem'])} lessons per problem; "
        f"{percent(row['problems with a lesson'])} of the problems had one, and {percent(row['calls with a lesson'])} "
        f"of its expansions and evaluations carried one. A lesson follows a failure, which selects harder problems: it "
        f"solves {percent(row['success with a lesson'])} of them and "
        f"{percent(row['success without a lesson'])} of the others, which does not say what lessons do"
    )
    if row["difference"] is None:
        return f"{text}."
    return (
        f"{text}. Of the {row['pairs with a lesson']} problems with a lesson, the variant without memory solves "
        f"{percent(row['same problems, no memory'])} (difference {points(row['difference'])})."
    )


def emcs(order: Table, ablation: Table) -> str:
    """Describes whether values order a tree's nodes better than chance, R better than Z, and what that is worth."""
    rows = [row for row in order.records() if row["task"] == "all tasks"]
    whole = next((row for row in rows if row["agent"] == "all agents"), None)
    if whole is None or whole["AUC of Z"] is None:
        return ""
    each = ", ".join(
        f"{row['agent']} {number(row['AUC of Z'])} → {number(row['AUC of R'])} (shuffled {number(row['R shuffled'])}"
        f"{'; no information' if _tells_nothing(row) else ''})"
        for row in rows
        if row["agent"] not in ("all agents", _RANDOM_ROW) and row["AUC of Z"] is not None
    )
    text = (
        f"Within a tree Z ranks a node that led to success above one that did not in {percent(whole['AUC of Z'])} of "
        f"the pairs, R in {percent(whole['AUC of R'])} (difference {points(whole['AUC difference'])}). The search "
        f"continues from high values, so chance is not 50 %: shuffled values get {percent(whole['R shuffled'])} (R is "
        f"{points(whole['lift'])} above), which is too high where success ended the search"
    )
    random = next((row for row in rows if row["agent"] == _RANDOM_ROW), None)
    if random is not None and random["AUC of R"] is not None:
        text += f"; random scores get {percent(random['AUC of R'])} in separate runs"
    text += f" (by evaluator, Z → R: {each})" if each else ""
    if _tells_nothing(whole):
        text += f". Values below {NO_INFORMATION:g} carry no information"
    text += _floor(ablation)
    text += (
        f". Confidence is {number(whole['mean C'])} on average, standard deviation {number(whole['std. dev. of C'])}"
    )
    changed = whole["best child changed"]
    return (
        f"{text}; weighing by it changes the best child in {percent(changed)} of the expansions."
        if changed is not None
        else f"{text}."
    )


def _tells_nothing(row: Mapping[str, object]) -> bool:
    area = row["AUC of R"]
    return isinstance(area, float) and area < NO_INFORMATION


def _floor(ablation: Table) -> str:
    """Compares the evaluators with random scores at the same number of calls."""
    row = next((row for row in ablation.records() if _RANDOM.fullmatch(str(row["change"]))), None)
    if row is None or not isinstance(row["gain of the component"], Estimate):
        return ""
    return (
        f". With random scores for the same calls the search solves {percent(row['all tasks'])}: the evaluators are "
        f"worth {points(row['gain of the component'])}"
    )


def pool(members: Table, diversity: Table, reference: str, best: str, singles: Collection[Cell]) -> str:
    """Describes whether members solve different problems, and whether the pool is strong where each of them is.

    Args:
        best: The best member.
        singles: Titles of the single members under the reference's search.
    """
    rows = {row["model"]: row for row in members.records()}
    union, own = rows.get("at least one"), rows.get(best)
    if union is None or own is None:
        return ""
    lone = ", ".join(
        f"{name} {percent(row['only this one'])}" for name, row in rows.items() if row["only this one"] is not None
    )
    text = (
        f"At least one member alone solves {percent(union['success'])} (each with its own budget). Solved by only one "
        f"member: {lone}. The pool solves {percent(own['pool where it solves'])} of the problems that {best} solves "
        f"and {percent(own['pool where it fails'])} of those that it does not."
    )
    actions = [row for row in diversity.records() if row["distinct by"] == "action"]
    alone = [row for row in actions if row["method"] in singles]
    whole = next((row for row in actions if row["method"] == reference), None)
    if whole is None or not alone:
        return text
    single = ", ".join(f"{row['pool']} {number(row['mean distinct'])}" for row in alone)
    return f"{text} Different actions among {whole['n']} draws: pool {number(whole['mean distinct'])}; {single}."


def shape(spent: Table, reference: str, other: str) -> str:
    """Compares what both methods did with their tokens."""
    rows = {row["method"]: row for row in spent.records() if row["task"] == "all tasks"}
    own, its = rows.get(reference), rows.get(other)
    if own is None or its is None:
        return ""
    return (
        f"Tokens per problem: {whole(own['tokens'])} against {whole(its['tokens'])}; on unsolved problems "
        f"{_unsolved(own)} against {_unsolved(its)}; searches that ended at the "
        f"token limit: {percent(own['at the limit'])} against {percent(its['at the limit'])}. Complete attempts per "
        f"problem: {number(own['attempts'])} against {number(its['attempts'])}; first actions tried: "
        f"{number(own['first actions'])} ({number(own['of these visited'])} visited) against "
        f"{number(its['first actions'])} ({number(its['of these visited'])})."
    )


def _unsolved(row: Row) -> str:
    return "none (all are solved)" if row["tokens if unsolved"] is None else whole(row["tokens if unsolved"])


# --------------------------------------------------------------------------- numbers in words


def points(cell: Cell) -> str:
    """Writes a difference of rates in percentage points, with its interval."""
    assert isinstance(cell, Estimate)
    value, low, high = (signed(100 * x, 1) for x in (cell.value, cell.low, cell.high))
    return f"{value} points [{low}, {high}]"


def percent(cell: Cell) -> str:
    return "n/a (there are none)" if (value := _value(cell)) is None else f"{100 * value:.0f}\N{NO-BREAK SPACE}%"


def number(cell: Cell) -> str:
    return "none" if (value := _value(cell)) is None else f"{value:.2f}"


def whole(cell: Cell) -> str:
    return "none" if (value := _value(cell)) is None else f"{value:,.0f}"


def _value(cell: Cell) -> float | None:
    if isinstance(cell, Estimate):
        return cell.value
    return float(cell) if isinstance(cell, (int, float)) else None
