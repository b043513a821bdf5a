"""Figures from the tables' queries or the views beneath them. Readable without colour: greys, hatches, markers."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from symphony.files import check_own
from symphony.report.stats import Estimate
from symphony.report.study import Study, open_study
from symphony.report.tables import TABLES, Cell, read_table, read_view, short
from symphony.types import SymphonyError

_GREYS = ("#1a1a1a", "#6e6e6e", "#b4b4b4", "#e6e6e6", "#ffffff")
_HATCHES = ("", "///", "...", "", "xxx")
_MARKERS = "osD^vPX*<>hd"
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "white",
}

_MARK = "symphony figure"
"""Written into the head of each file; only files with this mark are replaced."""

TITLE_WIDTH = 34
"""Characters in a line of an experiment's title."""

Rows = list[dict[str, Cell]]


def figure(
    db_path: str | Path, name: str, out_dir: str | Path, plan_json: str | Path | None = None
) -> tuple[Path, Path]:
    """Draws one figure of a loaded database, as SVG and PNG.

    Raises:
        SymphonyError: There is no such figure, or a file is missing or malformed.
    """
    with open_study(db_path, plan_json) as study:
        return write_figure(study, name, out_dir)


def write_figure(study: Study, name: str, out_dir: str | Path) -> tuple[Path, Path]:
    """Draws one figure into `<name>.svg` and `<name>.png` and returns their paths."""
    if name not in _DRAW:
        raise SymphonyError(f"figure: found {name}, allowed: {', '.join(_DRAW)}")
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    source, draw, _ = _DRAW[name]
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    for path in (svg, png):
        check_own(path, lambda head: _MARK.encode() in head)
    # The salt keeps ids distinct between two figures inlined in one page, and equal from run to run.
    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):
        rows = read_table(study, source).records() if source in TABLES else read_view(study, source)
        rows = [row | {"method": wrapped(row["method"])} if "method" in row else row for row in rows]
        drawn = draw(plt, rows) if rows else _empty(plt)
        conditions = f"feedback: {study.provenance.feedback}    commit: {short(study.provenance.commit)}"
        drawn.supxlabel(conditions, fontsize=7.5, color="#555555", x=0.01, ha="left")
        drawn.savefig(svg, metadata={"Date": None, "Creator": _MARK})
        drawn.savefig(png, dpi=150, metadata={"Software": _MARK})
        plt.close(drawn)
    return svg, png


def wrapped(title: Cell) -> str:
    """Breaks a long title of an experiment, as sweeps make them, into lines."""
    return textwrap.fill(str(title), TITLE_WIDTH)


def _height(methods: Sequence[str], line: float) -> float:
    """Returns the inches that a row for each method takes, with `line` inches for one with a single line of title."""
    return sum(line + 0.14 * method.count("\n") for method in methods)


def _empty(plt: Any) -> Any:
    drawn, axes = plt.subplots(figsize=(6, 1.4))
    axes.axis("off")
    axes.text(0, 0.5, "No rows: this study has no runs for this figure.", va="center")
    return drawn


def _panels(plt: Any, count: int, width: float, height: float, across: int, **shared: Any) -> tuple[Any, list[Any]]:
    """Makes a grid of `count` axes and removes the unused ones of the last row."""
    across = min(across, count)
    down = -(-count // across)
    drawn, grid = plt.subplots(down, across, figsize=(width * across, height * down), squeeze=False, **shared)
    axes = [axis for line in grid for axis in line]
    for axis in axes[count:]:
        axis.remove()
    return drawn, axes[:count]


def _unique(rows: Rows, column: str) -> list[Any]:
    return list(dict.fromkeys(row[column] for row in rows))


def _number(cell: Cell) -> float:
    """Returns a cell's number; 0 if it is empty."""
    if isinstance(cell, Estimate):
        return cell.value
    return float(cell) if isinstance(cell, (int, float)) else 0.0


def _success(plt: Any, rows: Rows) -> Any:
    """Draws one panel per task, with a dot and interval per method; a line shows the reference's rate."""
    tasks = _unique(rows, "task")
    tasks = tasks[:1] if len(tasks) == 2 else tasks  # one task, and the same again as all tasks
    methods = _unique([row for row in rows if row["task"] == "all tasks"], "method")
    across = 3 if len(tasks) > 2 else len(tasks)
    drawn, panels = _panels(
        plt, len(tasks), 5.5 if across == 1 else 3.5, 0.8 + _height(methods, 0.3), across, sharey=True, sharex=True
    )
    for axis, task in zip(panels, tasks, strict=True):
        by_method = {row["method"]: row for row in rows if row["task"] == task}
        for position, method in enumerate(methods):
            cell = by_method.get(method, {}).get("success")
            if not isinstance(cell, Estimate):
                continue
            axis.plot([cell.low, cell.high], [position, position], color="#1a1a1a", linewidth=1.4)
            face = "#1a1a1a" if position == 0 else "white"
            axis.plot(
                cell.value, position, marker="o", markersize=6.5, color="#1a1a1a", markerfacecolor=face, clip_on=False
            )
            if position == 0:
                axis.axvline(cell.value, color="#888888", linewidth=0.9, linestyle="--")
        n = ", ".join(f"{n:,}" for n in sorted({int(_number(row["n"])) for row in by_method.values()}))
        axis.set_title(f"{task} (n = {n})")
        axis.set_yticks(range(len(methods)), methods)
        axis.set_xlim(-0.02, 1.02)
        axis.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0", "", "0.5", "", "1"))
        axis.set_ylim(len(methods) - 0.5, -0.5)
        axis.tick_params(labelbottom=True)
    for axis in panels[-across:]:
        axis.set_xlabel("success rate, 95 % interval")
    return drawn


def _cost(plt: Any, rows: Rows) -> Any:
    """Draws tokens against success over all tasks."""
    from matplotlib import ticker

    rows = [row for row in rows if row["task"] == "all tasks"]
    drawn, axis = plt.subplots(figsize=(8, max(4.4, _height(_unique(rows, "method"), 0.2))))
    for position, row in enumerate(rows):
        tokens, turn = row["tokens"], position + position // len(_MARKERS)
        if isinstance(tokens, Estimate):
            axis.plot([tokens.low, tokens.high], [_number(row["success"])] * 2, color="#999999", linewidth=1)
        axis.plot(
            _number(tokens),
            _number(row["success"]),
            marker=_MARKERS[position % len(_MARKERS)],
            markersize=9,
            linestyle="none",
            color="#1a1a1a",
            markerfacecolor=("#1a1a1a", "white", "#b4b4b4")[turn % 3],
            label=row["method"],
        )
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    axis.xaxis.set_minor_formatter(ticker.NullFormatter())
    axis.set_xlabel("tokens per problem, prompt + completion (log scale)")
    axis.set_ylabel("success rate, all tasks")
    axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return drawn


def _anytime(plt: Any, rows: Rows) -> Any:
    """Draws success against the token and call limits, a line per method; intervals at a quarter, half and whole."""
    drawn, panels = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    methods = _unique(rows, "method")
    for axis, measure in zip(panels, ("tokens", "calls"), strict=True):
        panel_rows = [row for row in rows if row["measure"] == measure]
        whole = max(_number(row["most"]) for row in panel_rows)
        for position, method in enumerate(methods):
            line = [row for row in panel_rows if row["method"] == method]
            turn = position + position // len(_MARKERS)  # a marker used again gets another face and line
            style: dict[str, Any] = {
                "color": ("#1a1a1a", "#6e6e6e", "#9a9a9a")[turn % 3],
                "marker": _MARKERS[position % len(_MARKERS)],
                "markersize": 5.5,
                "markerfacecolor": ("#1a1a1a", "white", "#b4b4b4")[turn % 3],
                "linestyle": ("-", "--", ":", "-.")[turn % 4],
            }
            limits, rates = ([_number(row[name]) for row in line] for name in ("most", "success"))
            axis.plot(limits, rates, **style | {"marker": ""}, linewidth=1.3, drawstyle="steps-post")
            for row in line:
                rate = row["success"]
                if row["step"] in (6, 12, 24) and isinstance(rate, Estimate):
                    at = _number(row["most"]) + whole * 0.009 * (position - (len(methods) - 1) / 2)
                    axis.plot([at, at], [rate.low, rate.high], color=style["color"], linewidth=0.7)
                    axis.plot([at], [rate.value], **style, label=method if row["step"] == 24 else None, clip_on=False)
        axis.set_xlim(0, whole * 1.06)
        axis.set_xlabel(f"limit of {measure} per problem")
    panels[0].set_ylim(0, 1)
    panels[0].set_ylabel("success rate, all tasks")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside right center")
    return drawn


def _agents_over_time(plt: Any, rows: Rows) -> Any:
    """Draws one panel per method that iterates: each agent's share of calls while five or more problems go on."""
    rows = [row for row in rows if _number(row["problems"]) >= 5]
    rows = [row for row in rows if len({r["iteration"] for r in rows if r["method"] == row["method"]}) > 1]
    if not rows:
        return _empty(plt)
    methods, agents = _unique(rows, "method"), _unique(rows, "agent")
    drawn, panels = _panels(plt, len(methods), 3.5, 2.4, 3, sharey=True)
    for axis, method in zip(panels, methods, strict=True):
        panel_rows = [row for row in rows if row["method"] == method]
        for position, agent in enumerate(agents):
            line = [row for row in panel_rows if row["agent"] == agent]
            axis.plot(
                [_number(row["iteration"]) for row in line],
                [_number(row["share"]) for row in line],
                marker=_MARKERS[position % len(_MARKERS)],
                markersize=4.5,
                linewidth=1.3,
                linestyle=("-", "--", ":", "-.")[position % 4],
                color=_GREYS[min(position, 1)],
                markerfacecolor=("#1a1a1a", "white", "#b4b4b4")[position % 3],
                label=agent,
            )
        axis.set_title(method)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel("iteration")
    panels[0].set_ylim(0, min(1.0, 1.15 * max(_number(row["share"]) for row in rows)))
    panels[0].set_ylabel("share of calls")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=len(agents))
    return drawn


def _diversity(plt: Any, rows: Rows) -> Any:
    """Draws stacked bars: share of expansions with 4, 3, 2, 1 distinct outputs."""
    levels = [name for name in rows[0] if name.endswith(" distinct") and name[0].isdigit()] + ["none parsed"]
    levels = [name for name in levels if any(_number(row[name]) > 0 for row in rows)]
    kinds = _unique(rows, "distinct by")
    methods = _unique(rows, "method")
    drawn, panels = _panels(plt, len(kinds), 5.0, 1.4 + _height(methods, 0.34), 2, sharey=True)
    for axis, kind in zip(panels, kinds, strict=True):
        by_method = {row["method"]: row for row in rows if row["distinct by"] == kind}
        left = [0.0] * len(methods)
        for level, name in enumerate(levels):
            values = [_number(by_method[method][name]) if method in by_method else 0.0 for method in methods]
            axis.barh(
                range(len(methods)),
                values,
                left=left,
                height=0.7,
                color=_GREYS[level % len(_GREYS)],
                hatch=_HATCHES[level % len(_HATCHES)],
                edgecolor="#1a1a1a" if level != 1 else "#dddddd",
                linewidth=0.6,
                label=name,
            )
            left = [start + value for start, value in zip(left, values, strict=True)]
        axis.set_title(f"distinct by {kind}")
        axis.set_yticks(
            range(len(methods)), [f"{m} ({by_method[m]['models']})" if m in by_method else m for m in methods]
        )
        axis.set_xlim(0, 1)
        axis.set_ylim(len(methods) - 0.4, -0.6)
        axis.set_xlabel("share of expansions")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper center", ncols=len(levels))
    return drawn


def _skills(plt: Any, rows: Rows) -> Any:
    """Draws a heat map with numbers: kinds of problem down, models across."""
    models = [name for name in rows[0] if name not in ("task", "kind", "n")]
    drawn, axis = plt.subplots(figsize=(2.4 + 1.3 * len(models), 1.2 + 0.36 * len(rows)))
    values = [[_number(row[model]) for model in models] for row in rows]
    across, down = ([i - 0.5 for i in range(count + 1)] for count in (len(models), len(rows)))
    axis.pcolormesh(across, down, values, cmap="Greys", vmin=0, vmax=1, edgecolors="#999999", linewidth=0.8)
    axis.invert_yaxis()
    for y, row in enumerate(rows):
        for x, model in enumerate(models):
            value = row[model]
            text = "\N{EN DASH}" if value is None else f"{_number(value):.2f}"
            axis.text(x, y, text, ha="center", va="center", color="white" if values[y][x] > 0.55 else "black")
    axis.set_xticks(range(len(models)), models)
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(rows)), [_kind(row) for row in rows])
    axis.grid(False)
    axis.tick_params(length=0)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    return drawn


def _kind(row: dict[str, Cell]) -> str:
    label = str(row["task"]) if row["task"] == row["kind"] else f"{row['task']}: {row['kind']}"
    return f"{label} (n = {row['n']})"


_DRAW: dict[str, tuple[str, Callable[[Any, Rows], Any], str]] = {
    "success": ("success", _success, "Success by method, with 95 % intervals. The dashed line is the first method's."),
    "anytime": (
        "anytime_curves",
        _anytime,
        "Success over all tasks under smaller limits of tokens and of calls, from one recorded run: what each method "
        "would have answered if its next call had been refused at the limit. There is one experiment per search "
        "method. The bars at a quarter, half and all of the limit, side by side, are 95 % intervals.",
    ),
    "cost": ("cost", _cost, "Success over all tasks against tokens per problem. Bars are 95 % intervals."),
    "agents_over_time": (
        "agents_over_time",
        _agents_over_time,
        "Share of calls per agent over the iterations of the search, as long as at least five problems are "
        "still searched (compare the paper's Figure 3).",
    ),
    "diversity": (
        "diversity",
        _diversity,
        "Distinct outputs among the draws of an expansion (compare the paper's Figure 2). Brackets: number of models.",
    ),
    "skills": ("skills", _skills, "Success rate by kind of problem, for each model alone and for the whole pool."),
}

FIGURES: Sequence[str] = tuple(_DRAW)
"""Every figure, in the order of the report."""

CAPTIONS: dict[str, str] = {name: caption for name, (_, _, caption) in _DRAW.items()}
