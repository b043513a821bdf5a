"""Builds the self-contained HTML page: tables, figures, plain text, trees, provenance; needs no network or script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from symphony.files import check_own
from symphony.report.figures import CAPTIONS, FIGURES, write_figure
from symphony.report.stats import FEW
from symphony.report.study import Study, open_study
from symphony.report.summary import folded, summarise
from symphony.report.tables import TABLES, numeric_columns, read_table, short, shown, write_table
from symphony.report.trees import pick_trees
from symphony.report.viewer.pages import write_trees
from symphony.types import SymphonyError

_CHAPTERS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("Claims", (), ("claims",)),
    ("Success", ("success",), ("success", "paired")),
    ("Methods under one budget", ("anytime",), ("methods", "anytime")),
    ("Components", (), ("ablation",)),
    ("Scheduling: who was asked", ("agents_over_time",), ("scheduling", "agents", "agents_over_time")),
    ("Memory", (), ("memory",)),
    ("Evaluators and confidence", (), ("emcs", "calibration")),
    ("The pool and its members", ("skills",), ("pool", "shapley", "members", "skills")),
    ("Diversity of branches", ("diversity",), ("diversity",)),
    ("Cost", ("cost",), ("cost", "shape")),
    ("Failures", (), ("signatures", "failures", "errors")),
    ("Quantisation", (), ("quantised_success", "quantisation")),
)
"""Heading, figures, tables; tables in no chapter get one of their own at the end."""

_MARK = '<meta name="generator" content="symphony report">'
"""Written into the page's head; only a page with this mark is replaced."""
LONG = 24
"""Tables with more rows are folded on the page; rows on all tasks, or on the reference, stay visible."""


def build(
    db_path: str | Path, out_dir: str | Path, plan_json: str | Path | None = None, quantised: Sequence[str | Path] = ()
) -> Path:
    """Builds the whole report: `tables/*`, `figures/*`, `trees/*` and `report.html` in `out_dir`.

    The prompts that the trees show are read from `runs/` beside the folder of the database (`outputs/runs`).

    Args:
        db_path: A database built by `symphony.records.database.load`.
        plan_json: The study's plan; see `open_study`.
        quantised: manifest.json files of quantised checkpoints.

    Returns:
        Path of report.html.

    Raises:
        SymphonyError: A file is missing or malformed.
    """
    folder = Path(out_dir)
    with open_study(db_path, plan_json, quantised) as study:
        for name in TABLES:
            write_table(read_table(study, name), folder / "tables")
        for name in FIGURES:
            write_figure(study, name, folder / "figures")
        write_trees(study, Path(db_path).absolute().parents[1] / "runs", folder / "trees")
        return _render(study, folder / "figures", folder / "report.html")


def render(
    db_path: str | Path,
    figures_dir: str | Path,
    page: str | Path,
    plan_json: str | Path | None = None,
    quantised: Sequence[str | Path] = (),
) -> Path:
    """Builds the page alone from a loaded database and the figures' SVG files; returns `page`.

    Raises:
        SymphonyError: A figure or another file is missing or malformed.
    """
    with open_study(db_path, plan_json, quantised) as study:
        return _render(study, Path(figures_dir), Path(page))


def _render(study: Study, figures_dir: Path, page: Path) -> Path:
    import jinja2

    check_own(page, lambda head: _MARK.encode() in head)
    tables = {name: read_table(study, name) for name in TABLES}
    more = tuple(name for name in TABLES if not any(name in names for _, _, names in _CHAPTERS))
    chapters = (*_CHAPTERS, ("More tables", (), more)) if more else _CHAPTERS
    chapters = tuple(chapter for chapter in chapters if chapter[1] or any(tables[name].rows for name in chapter[2]))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("symphony.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("report.html.j2").render(
        study=study,
        groups=summarise(tables, study.title(study.reference)),
        folded=folded,
        chapters=[
            (heading, [(name, _svg(figures_dir, name), CAPTIONS[name]) for name in figures], [tables[n] for n in names])
            for heading, figures, names in chapters
        ],
        numeric=numeric_columns,
        shown=shown,
        mark=_MARK,
        short=short,
        long=LONG,
        share=_share,
        few=FEW,
        trees=pick_trees(study),
        reported=_reported(),
        provenance=_provenance(study),
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    return page


def _share(some: int, every: int) -> str:
    """Writes a count and its share, never rounded to zero."""
    share = some / every
    return f"{some:,} of {every:,} ({'less than 0.1' if share < 0.001 else f'{100 * share:.1f}'} %)"


def _svg(folder: Path, name: str) -> str:
    """Returns the drawing without its XML head; the caption gives its title for screen readers."""
    path = folder / f"{name}.svg"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SymphonyError(f"{path}: cannot be read ({error.strerror}); draw the figures first") from error
    return text[text.index("<svg") :]


def _reported() -> dict[str, Any]:
    reported: dict[str, Any] = json.loads((resources.files("symphony.report") / "reported.json").read_text("utf-8"))
    return reported


def _provenance(study: Study) -> list[tuple[str, list[str]]]:
    """Collects the runs' provenance: heading -> distinct values."""

    def distinct(expression: str) -> list[str]:
        return [str(row[0]) for row in study.rows(f"SELECT DISTINCT {expression} AS x FROM runs ORDER BY x")]

    models = {f"{agent}: {revision}" for text in distinct("models") for agent, revision in json.loads(text).items()}
    versions = {
        f"{package} {version}" for text in distinct("versions") for package, version in json.loads(text).items()
    }
    left_out = [("Left out", list(study.left_out))] if study.left_out else []
    recorded = [("Recorded answers", list(study.recorded))] if study.recorded else []
    return [
        *left_out,
        *recorded,
        ("Reference", [study.reference]),
        ("Commit", distinct("commit")),
        ("Feedback", distinct("task || ': ' || feedback")),
        ("Preset", distinct("preset")),
        ("Models", sorted(models)),
        ("Hardware", distinct("hardware")),
        ("Memory", _memory(study)),
        ("Packages", sorted(versions)),
        ("Prompts", distinct("task || ': ' || prompts")),
        ("Data", distinct("task || ', seed ' || seed || ': ' || dataset")),
        ("Runs", [f"{study.rows('SELECT count(*) FROM runs')[0][0]} runs, seeds " + ", ".join(distinct("seed"))]),
    ]


def _memory(study: Study) -> list[str]:
    """Describes what limited memory did to the runs; runs searched together share the figures of their process."""
    ((runs, halved, tokens, swapped, swaps, seconds),) = study.rows(
        "SELECT count(*), count(*) FILTER (halvings > 0), min(batch_tokens) FILTER (halvings > 0), "
        "count(*) FILTER (swaps > 0), max(swaps), max(swap_s) FROM walls"
    )
    sentences = []
    if halved:
        sentences.append(
            f"In {halved} of {runs} runs memory ran out during a batch, which was split into smaller ones, "
            f"down to {tokens} tokens at once."
        )
    if swapped:
        sentences.append(
            f"In {swapped} of {runs} runs models were swapped in memory, "
            f"up to {swaps} times a run, which took up to {seconds:.1f} s."
        )
    return sentences or ["Enough: no batch was too large, and no model had to make room for another."]
