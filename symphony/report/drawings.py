"""Draws figures with matplotlib: greys and one accent, readable without colour, with names beside the lines.

Each function takes matplotlib.pyplot, the rows of a table or view, and whether the drawing is for a phone. It returns
the drawing. What a mark shows in words is its group id, `TIP` and the words (see `figures.write_figure`).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from symphony.report.cells import Cell, interval
from symphony.report.stats import Estimate

INK, MID, SOFT, PALE, PAPER, GRID = "#1a1a1a", "#6e6e6e", "#b4b4b4", "#e6e6e6", "#ffffff", "#dddddd"
ACCENT = "#2456a6"
FILLS = (INK, MID, SOFT, PALE, PAPER)
STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MID,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.grid": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.09,  # a browser's font may be a little wider
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}

TIP = "tip "
"""Begins the group id of a mark that says something in words."""

_HATCHES = ("", "///", "...", "", "xxx")
_MARKERS = "osD^vPX*<>hd"
_DASHES = ("-", "--", ":", "-.")
_LINE = 0.2  # inches that a row or label with one line of text takes

Rows = list[dict[str, Cell]]


def width(phone: bool) -> float:
    """Returns a drawing's width in inches: that of the page's text, or of a phone's screen."""
    return 3.8 if phone else 7.6


def wrapped(title: Cell, phone: bool = False) -> str:
    """Breaks a long title of an experiment, as sweeps make them, into lines."""
    return textwrap.fill(str(title), 22 if phone else 34)


def empty(plt: Any) -> Any:
    drawn, axes = plt.subplots(figsize=(3.8, 0.9))
    axes.axis("off")
    axes.text(0, 0.5, "No rows: this study has no runs for this figure.", va="center")
    return drawn


def _heights(methods: Sequence[str]) -> list[float]:
    """Returns the inches that each method's row takes: a title of several lines takes more."""
    return [_LINE + 0.15 * method.count("\n") for method in methods]


def _places(methods: Sequence[str]) -> list[float]:
    """Returns the middle of each method's row, in inches from the top."""
    heights = _heights(methods)
    return [bottom - height / 2 for bottom, height in zip(accumulate(heights), heights, strict=True)]


def _panels(plt: Any, count: int, phone: bool, height: float, across: int, **shared: Any) -> tuple[Any, list[Any]]:
    """Makes a grid of `count` axes, each `height` inches high, and removes the unused ones of the last row."""
    across = min(across, count)
    down = -(-count // across)
    drawn, grid = plt.subplots(down, across, figsize=(width(phone), height * down), squeeze=False, **shared)
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


def _tip(*parts: object) -> dict[str, str]:
    """Returns the argument that makes an artist say this."""
    return {"gid": TIP + " ".join(" ".join(map(str, parts)).split())}


def _dot(axis: Any, x: float, y: float, first: bool, **tip: str) -> None:
    """Draws a value; that of the first method, the reference, is filled and in the accent."""
    axis.plot(
        x, y, marker="o", markersize=5.5, color=ACCENT if first else INK,
        markerfacecolor=ACCENT if first else PAPER, clip_on=False, **tip,
    )  # fmt: skip


def _names(axis: Any, methods: Sequence[str]) -> None:
    """Writes the methods down the side, the reference in the accent."""
    axis.set_yticks(_places(methods), methods)
    axis.set_ylim(sum(_heights(methods)), 0)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(visible=False, axis="y")


def success(plt: Any, rows: Rows, phone: bool) -> Any:
    """Draws one panel per task, with a dot and interval per method; a line shows the reference's rate."""
    tasks = _unique(rows, "task")
    tasks = tasks[:1] if len(tasks) == 2 else tasks  # one task, and the same again as all tasks
    methods = _unique([row for row in rows if row["task"] == "all tasks"], "method")
    across = 1 if phone else 3
    drawn, panels = _panels(plt, len(tasks), phone, 0.9 + sum(_heights(methods)), across, sharey=True, sharex=True)
    for axis, task in zip(panels, tasks, strict=True):
        by_method = {row["method"]: row for row in rows if row["task"] == task}
        for place, method in zip(_places(methods), methods, strict=True):
            row, first = by_method.get(method, {}), method == methods[0]
            cell = row.get("success")
            if not isinstance(cell, Estimate):
                continue
            axis.plot([cell.low, cell.high], [place] * 2, color=ACCENT if first else INK, linewidth=1.3)
            _dot(axis, cell.value, place, first, **_tip(method, interval(cell), f"n = {row['n']}"))
            if first:
                axis.axvline(cell.value, color=ACCENT, linewidth=0.8, linestyle="--", zorder=1)
        n = ", ".join(f"{n:,}" for n in sorted({int(_number(row["n"])) for row in by_method.values()}))
        axis.set_title(f"{task}\nn = {n}", fontsize=8)
        _names(axis, methods)
        axis.set_xlim(-0.02, 1.02)
        axis.set_xticks((0, 0.25, 0.5, 0.75, 1), ("0", "", "0.5", "", "1"))
        axis.tick_params(labelbottom=True)
    for axis in panels[-across:]:
        axis.set_xlabel("success, 95 % interval")
    return drawn


def cost(plt: Any, rows: Rows, phone: bool) -> Any:
    """Draws success and tokens over all tasks side by side, the cheapest method first."""
    from matplotlib import ticker

    rows = [row for row in rows if row["task"] == "all tasks"]
    reference = rows[0]["method"]
    rows = sorted(rows, key=lambda row: _number(row["tokens"]))
    methods = [str(row["method"]) for row in rows]
    drawn, (left, right) = plt.subplots(1, 2, figsize=(width(phone), 0.9 + sum(_heights(methods))), sharey=True)
    for place, row in zip(_places(methods), rows, strict=True):
        first, tokens = row["method"] == reference, row["tokens"]
        if isinstance(tokens, Estimate):
            right.plot([tokens.low, tokens.high], [place] * 2, color=ACCENT if first else INK, linewidth=1.3)
        tip = _tip(row["method"], f"{_number(row['success']):.2f} solved, {_number(tokens):,.0f} tokens per problem")
        _dot(left, _number(row["success"]), place, first, **tip)
        _dot(right, _number(tokens), place, first, **tip)
    _names(left, methods)
    right.tick_params(axis="y", length=0)
    left.set_xlim(-0.02, 1.02)
    left.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
    left.set_xlabel("success" if phone else "success, all tasks")
    right.grid(visible=False, axis="y")
    right.set_xscale("log")
    right.xaxis.set_major_locator(ticker.LogLocator(subs=(1,) if phone else (1, 2, 5)))
    right.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}"))
    right.xaxis.set_minor_formatter(ticker.NullFormatter())
    right.set_xlabel("tokens (log)" if phone else "tokens per problem (log)")
    return drawn


def anytime(plt: Any, rows: Rows, phone: bool) -> Any:
    """Draws success against the token and call limits, a line per method with its name at its end."""
    methods = _unique(rows, "method")
    step = 0.14 * max(1 + method.count("\n") for method in methods)
    height = max(2.2, 0.6 + step * len(methods))
    drawn, panels = plt.subplots(2, 1, figsize=(width(phone), 2 * height), sharey=True)
    for axis, measure in zip(panels, ("tokens", "calls"), strict=True):
        panel_rows = [row for row in rows if row["measure"] == measure]
        whole = max(_number(row["most"]) for row in panel_rows)
        lines = {method: [row for row in panel_rows if row["method"] == method] for method in methods}
        lasts = {method: _number(line[-1]["success"]) for method, line in lines.items() if line}
        beside = _spread(lasts, step / (height - 0.55))
        for position, (method, line) in enumerate(lines.items()):
            if not line:
                continue
            color, thick = (ACCENT, 1.9) if position == 0 else ((INK, MID)[position % 2], 1.0)
            limits, rates = ([_number(row[name]) for row in line] for name in ("most", "success"))
            style: dict[str, Any] = {"color": color, "linestyle": _DASHES[position % 4] if position else "-"}
            tip = _tip(method, f"{lasts[method]:.2f} with all of it")
            axis.plot(limits, rates, **style, linewidth=thick, drawstyle="steps-post", clip_on=False, **tip)
            if position == 0:
                cells = [cell for row in line if isinstance(cell := row["success"], Estimate)]
                low, high = [cell.low for cell in cells], [cell.high for cell in cells]
                axis.fill_between(limits, low, high, step="post", color=ACCENT, alpha=0.13, linewidth=0)
            ends = ([whole, whole * 1.03], [lasts[method], beside[method]])
            axis.plot(*ends, color=SOFT, linewidth=0.7, clip_on=False)
            axis.text(whole * 1.04, beside[method], method, color=color, va="center", fontsize=7.5, linespacing=0.95)
        axis.set_xlim(0, whole)
        axis.set_xlabel(f"limit of {measure} per problem")
        axis.set_ylabel("success, all tasks")
    panels[0].set_ylim(0, 1)
    return drawn


def _spread(values: dict[str, float], gap: float) -> dict[str, float]:
    """Returns heights for labels between 0 and 1, in the order of their values and at least `gap` apart."""
    names = sorted(values, key=lambda name: values[name])
    up, down = [values[name] for name in names], [values[name] for name in names]
    for at in range(1, len(names)):
        up[at] = max(up[at], up[at - 1] + gap)
        down[-1 - at] = min(down[-1 - at], down[-at] - gap)
    heights = [(one + other) / 2 for one, other in zip(up, down, strict=True)]  # both keep the gap, so their mean does
    for at in reversed(range(len(names))):
        heights[at] = min(heights[at], 1 - gap * (len(names) - 1 - at))
    for at in range(len(names)):
        heights[at] = max(heights[at], gap * at)
    return dict(zip(names, heights, strict=True))


def agents_over_time(plt: Any, rows: Rows, phone: bool) -> Any:
    """Draws one panel per method that iterates: each agent's share of calls while five or more problems go on."""
    rows = [row for row in rows if _number(row["problems"]) >= 5]
    rows = [row for row in rows if len({r["iteration"] for r in rows if r["method"] == row["method"]}) > 1]
    if not rows:
        return empty(plt)
    methods, agents = _unique(rows, "method"), _unique(rows, "agent")
    titles = [textwrap.fill(" ".join(method.split()), 22) for method in methods]
    lines = max(title.count("\n") for title in titles)
    drawn, panels = _panels(plt, len(methods), phone, 1.75 + 0.14 * lines, 2 if phone else 3, sharey=True)
    for axis, method, title in zip(panels, methods, titles, strict=True):
        panel_rows = [row for row in rows if row["method"] == method]
        for position, agent in enumerate(agents):
            line = [row for row in panel_rows if row["agent"] == agent]
            axis.plot(
                [_number(row["iteration"]) for row in line],
                [_number(row["share"]) for row in line],
                marker=_MARKERS[position % len(_MARKERS)],
                markersize=3.5,
                linewidth=1.2,
                linestyle=_DASHES[position % 4],
                color=(ACCENT, INK, MID)[position % 3],
                markerfacecolor=PAPER if position % 2 else None,
                label=agent,
                **_tip(agent, "in", method),
            )
        axis.set_title(title, fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
    for axis in panels[-(2 if phone else 3) :]:
        axis.set_xlabel("iteration")
    panels[0].set_ylim(0, min(1.0, 1.15 * max(_number(row["share"]) for row in rows)))
    panels[0].set_ylabel("share of calls")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside upper left", ncols=2 if phone else 4)
    return drawn


def diversity(plt: Any, rows: Rows, phone: bool) -> Any:
    """Draws stacked bars: share of expansions with 4, 3, 2, 1 distinct outputs."""
    levels = [name for name in rows[0] if name.endswith(" distinct") and name[0].isdigit()] + ["none parsed"]
    levels = [name for name in levels if any(_number(row[name]) > 0 for row in rows)]
    kinds = _unique(rows, "distinct by")
    methods = _unique(rows, "method")
    drawn, panels = _panels(plt, len(kinds), phone, 1.1 + sum(_heights(methods)) * 1.1, 1 if phone else 2, sharey=True)
    for axis, kind in zip(panels, kinds, strict=True):
        by_method = {row["method"]: row for row in rows if row["distinct by"] == kind}
        left = [0.0] * len(methods)
        for level, name in enumerate(levels):
            values = [_number(by_method[method][name]) if method in by_method else 0.0 for method in methods]
            bars = axis.barh(
                _places(methods),
                values,
                left=left,
                height=0.7 * _LINE,
                color=FILLS[level % len(FILLS)],
                hatch=_HATCHES[level % len(_HATCHES)],
                edgecolor=INK if level != 1 else GRID,
                linewidth=0.6,
                label=name,
            )
            for bar, method, value in zip(bars, methods, values, strict=True):
                bar.set(**_tip(method, f"{value:.2f} {name}"))
            left = [start + value for start, value in zip(left, values, strict=True)]
        axis.set_title(f"distinct by {kind}")
        labels = [f"{m} ({by_method[m]['models']})" if m in by_method else m for m in methods]
        _names(axis, labels)
        axis.set_xlim(0, 1)
        axis.set_xlabel("share of expansions")
    handles, names = panels[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside upper left", ncols=2 if phone else 5)
    return drawn


def skills(plt: Any, rows: Rows, phone: bool) -> Any:
    """Draws a heat map with numbers: kinds of problem down, models across."""
    from matplotlib.colors import LinearSegmentedColormap

    models = [name for name in rows[0] if name not in ("task", "kind", "n")]
    drawn, axis = plt.subplots(figsize=(min(width(phone), 2.4 + 1.1 * len(models)), 0.9 + 0.3 * len(rows)))
    values = [[_number(row[model]) for model in models] for row in rows]
    across, down = ([i - 0.5 for i in range(count + 1)] for count in (len(models), len(rows)))
    # No cell has a colour that the page replaces in the dark, so a number stays readable on it.
    shades = LinearSegmentedColormap.from_list("shades", ["#eef2f8", "#1d4587"])
    axis.pcolormesh(across, down, values, cmap=shades, vmin=0, vmax=1, edgecolors="#fbfbfb", linewidth=1.2)
    axis.invert_yaxis()
    for y, row in enumerate(rows):
        for x, model in enumerate(models):
            text = "\N{EN DASH}" if row[model] is None else f"{_number(row[model]):.2f}"
            axis.text(x, y, text, ha="center", va="center", color="#fdfdfd" if values[y][x] > 0.5 else "#111111")
    names = [textwrap.fill(model.replace("_", "_\u200b"), 12).replace("\u200b", "") for model in models]
    axis.set_xticks(range(len(models)), names, fontsize=7.5)
    axis.xaxis.tick_top()
    axis.set_yticks(range(len(rows)), [wrapped(_kind(row), phone) for row in rows], fontsize=7.5 if phone else 8.5)
    axis.grid(visible=False)
    axis.tick_params(length=0)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)
    return drawn


def _kind(row: dict[str, Cell]) -> str:
    label = str(row["task"]) if row["task"] == row["kind"] else f"{row['task']}: {row['kind']}"
    return f"{label} (n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{row['n']})"
