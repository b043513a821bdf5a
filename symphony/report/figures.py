"""Writes figures from the tables' queries or the views beneath them, for the page and for papers."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from symphony.files import check_own
from symphony.report import drawings
from symphony.report.cells import short
from symphony.report.drawings import STYLE, TIP, Rows, wrapped
from symphony.report.study import Study, open_study
from symphony.report.tables import TABLES, Table, read_table, read_view
from symphony.types import SymphonyError

_MARK = "symphony figure"
"""Written into each file; only files with this mark are replaced."""

KINDS = (".svg", ".png", ".pdf", "-phone.svg")
"""A figure's files: `<name><kind>`. The last one is narrow and high."""


def figure(
    db_path: str | Path, name: str, out_dir: str | Path, plan_json: str | Path | None = None
) -> tuple[Path, ...]:
    """Draws one figure of a loaded database; see `write_figure`.

    Raises:
        SymphonyError: There is no such figure, or a file is missing or malformed.
    """
    with open_study(db_path, plan_json) as study:
        return write_figure(study, name, out_dir)


def write_figure(
    study: Study, name: str, out_dir: str | Path, tables: Mapping[str, Table] = MappingProxyType({})
) -> tuple[Path, ...]:
    """Draws one figure into `<name>.svg`, `.png`, `.pdf` and `<name>-phone.svg` and returns their paths.

    In the SVG files each mark that says something in words has class "tip" and a title, which viewers show on hover.

    Args:
        tables: Tables of the study that were read already.
    """
    if name not in _DRAW:
        raise SymphonyError(f"figure: found {name}, allowed: {', '.join(_DRAW)}")
    import matplotlib

    matplotlib.use("Agg")

    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    svg, png, pdf, phone = paths = tuple(folder / f"{name}{kind}" for kind in KINDS)
    for path in (svg, png, phone):
        check_own(path, lambda head: _MARK.encode() in head)
    check_own(pdf, lambda _: _MARK.encode() in pdf.read_bytes())  # its metadata are at its end
    source = _DRAW[name][0]
    if source in TABLES:
        rows = (tables[source] if source in tables else read_table(study, source)).records()
    else:
        rows = read_view(study, source)
    conditions = f"feedback: {study.provenance.feedback}    commit: {short(study.provenance.commit)}"
    with _drawn(name, rows, conditions, phone=False) as drawn:
        svg.write_text(_as_svg(drawn), encoding="utf-8")
        drawn.savefig(png, dpi=150, metadata={"Software": _MARK})
        drawn.savefig(pdf, metadata={"Creator": _MARK, "CreationDate": None})
    with _drawn(name, rows, conditions, phone=True) as drawn:
        phone.write_text(_as_svg(drawn), encoding="utf-8")
    return paths


@contextmanager
def _drawn(name: str, rows: Rows, conditions: str, *, phone: bool) -> Iterator[Any]:
    """Yields a drawing with the conditions under it, and closes it; to be saved inside the block."""
    import matplotlib.pyplot as plt

    # The salt keeps ids distinct between two figures inlined in one page, and equal from run to run.
    own = {"svg.hashsalt": f"{name}-phone", "font.size": 7.5} if phone else {"svg.hashsalt": name}
    with plt.rc_context(STYLE | own):
        rows = [row | {"method": wrapped(row["method"], phone)} if "method" in row else row for row in rows]
        drawn = _DRAW[name][1](plt, rows, phone) if rows else drawings.empty(plt)
        lines = textwrap.fill(conditions, int(drawn.get_figwidth() * 15))
        drawn.supxlabel(lines, fontsize=6.5, color=drawings.MID, x=0.01, ha="left")
        drawn.draw_without_rendering()
        drawn.set_layout_engine("none")  # placed once, not once a file
        yield drawn
        plt.close(drawn)


def _as_svg(drawn: Any) -> str:
    """Returns a drawing as SVG whose marks carry what they say as a title, without ids that other drawings repeat."""
    stream = io.StringIO()
    drawn.savefig(stream, format="svg", metadata={"Date": None, "Creator": _MARK})
    text = re.sub(f'<g id="{TIP}([^"]*)">', r'<g class="tip"><title>\1</title>', stream.getvalue())
    return re.sub('<g id="[^"]*"(/?)>', r"<g\1>", text)


_DRAW: dict[str, tuple[str, Callable[[Any, Rows, bool], Any], str]] = {
    "success": (
        "success",
        drawings.success,
        "Success by method and task, with 95 % intervals. The dashed line is the rate of the first method.",
    ),
    "anytime": (
        "anytime_curves",
        drawings.anytime,
        "Success over all tasks under smaller limits of tokens and of calls, from one recorded run: what each method "
        "would have answered if its next call had been refused at the limit. A line ends at its name. There is "
        "one experiment per search method: the reference, else the first in the plan. The band is the 95 % interval of "
        "the first line; the table below has those of all methods.",
    ),
    "cost": (
        "cost",
        drawings.cost,
        "Success and tokens per problem over all tasks, the method that spends the fewest tokens first. Lines are 95 % "
        "intervals.",
    ),
    "agents_over_time": (
        "agents_over_time",
        drawings.agents_over_time,
        "Share of calls per agent over the iterations of the search, as long as at least five problems are still "
        "searched; late iterations have only the problems that were not solved before (compare the paper's Figure 3).",
    ),
    "diversity": (
        "diversity",
        drawings.diversity,
        "Distinct outputs among the draws of an expansion (compare the paper's Figure 2). Brackets: number of models.",
    ),
    "skills": (
        "skills",
        drawings.skills,
        "Success rate by kind of problem, for each model alone under the reference's search and for the whole pool "
        "(compare the paper's Table 8). n is the number of problems of a row, times seeds.",
    ),
}

FIGURES: Sequence[str] = tuple(_DRAW)
"""Every figure, in the order of the report."""

CAPTIONS: dict[str, str] = {name: caption for name, (_, _, caption) in _DRAW.items()}

EXPECTED: dict[str, str] = {
    "success": "If search over a pool helps, the first method lies right of its members alone and of the rivals. "
    "Whether a difference is shown is decided by the table below, which compares the same problems, and not by two "
    "intervals.",
    "anytime": "A line that rises early finds its answers with little. One that still rises at the right was stopped "
    "by its budget; one that is flat there would gain nothing from more.",
    "cost": "A good method lies far right in the left panel and far left in the right one. A search that stops at its "
    "first success spends the less the more it solves, so few tokens and many solutions go together.",
    "agents_over_time": "Lines that part show a scheduler that prefers some agents. They stay level where it asks all "
    "equally often (uniform, round-robin).",
    "diversity": "Several models should bring more distinct outputs than one: a longer first part of the bar.",
    "skills": "A pool can gain if its members differ: then the best single model changes from row to row, and the pool "
    "is near the best one in each.",
}
"""What a figure shows if the method works as meant, or how to tell; said beside it."""
