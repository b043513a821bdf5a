"""Builds the self-contained HTML page, which needs no network, and the same as data (`report.json`)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from symphony.files import check_own
from symphony.report import drawings, paper
from symphony.report.cells import short
from symphony.report.figures import CAPTIONS, EXPECTED, FIGURES, write_figure
from symphony.report.first import First, first_screen, setting
from symphony.report.grids import Grid, Legends, grid
from symphony.report.stats import FEW
from symphony.report.study import Study, open_study
from symphony.report.summary import Finding, folded, summarise
from symphony.report.tables import TABLES, Table, read_table, write_table
from symphony.report.trees import pick_trees
from symphony.report.viewer.beside import trees_beside
from symphony.types import SymphonyError


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A folded part of the page.

    Attributes:
        about: What is in it; shown while it is closed.
        findings: Heading of the group of findings that it opens with; "" if there is none.
    """

    heading: str
    about: str
    findings: str = ""
    figures: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()

    @property
    def anchor(self) -> str:
        return "chapter-" + re.sub(r"\W+", "-", self.heading.lower()).strip("-")


_CHAPTERS = (
    Chapter(heading="Claims", about="What was tested, with p and the problems needed to decide", tables=("claims",)),
    Chapter(
        heading="Success",
        about="Every method by task, and its difference from the reference on the same problems",
        findings="Against the other methods",
        figures=("success",),
        tables=("success",),
    ),
    Chapter(
        heading="The paper's tables",
        about="What the paper reports, and what this study measured on the same benchmarks",
        tables=paper.layouts(),
    ),
    Chapter(
        heading="Components",
        about="What is lost without the scheduler, the scorer or the memory",
        findings="Does each component help?",
        tables=("ablation",),
    ),
    Chapter(
        heading="The pool and its members",
        about="The whole pool against each model alone",
        findings="Does the pool beat its members?",
        figures=("skills",),
        tables=("pool", "best_pool", "complementarity", "shapley", "members"),
    ),
    Chapter(
        heading="Budgets",
        about="Success under one budget, and under smaller ones",
        figures=("anytime",),
        tables=("methods", "anytime"),
    ),
    Chapter(
        heading="Cost",
        about="Tokens, calls, nodes and seconds, and what they were spent on",
        figures=("cost",),
        tables=("cost", "shape", "hardware"),
    ),
    Chapter(
        heading="Scheduling",
        about="Who was asked, and what decided it",
        figures=("agents_over_time",),
        tables=("scheduling", "agents", "what_if"),
    ),
    Chapter(heading="Memory", about="Lessons written and read, and what they changed", tables=("memory",)),
    Chapter(heading="Evaluators", about="Whether values and confidence order the nodes", tables=("emcs",)),
    Chapter(
        heading="Diversity",
        about="How many different branches an expansion brings",
        figures=("diversity",),
        tables=("diversity",),
    ),
    Chapter(
        heading="Failures",
        about="What went wrong, and why searches ended",
        tables=("signatures", "failures", "errors"),
    ),
)
_APPENDIX = (
    Chapter(heading="Calibration", about="Values and confidence against outcomes", tables=("calibration",)),
    Chapter(
        heading="Quantisation",
        about="What fewer bits change in the models and in the searches",
        findings="Do quantised weights change what is solved?",
        tables=("quantised_success", "quantisation"),
    ),
)
_DRAWN = ("skills",)
"""Tables that the page shows as a figure only."""

_MARK = '<meta name="generator" content="symphony report">'
"""Written into the page's head; only a page with this mark is replaced."""
_MADE = '{"made by":"symphony report"'
"""Begins the JSON twin; only a file that begins so is replaced."""

_COLOURS = {
    value: f"var(--{name.lower()})"
    for name, value in vars(drawings).items()
    if name in ("INK", "MID", "SOFT", "PALE", "PAPER", "GRID", "ACCENT")
}
"""Colours of drawings that follow the page's light or dark scheme."""


def build(
    db_path: str | Path, out_dir: str | Path, plan_json: str | Path | None = None, quantised: Sequence[str | Path] = ()
) -> Path:
    """Builds the whole report: `tables/*`, `figures/*`, `trees/*`, `report.html` and `report.json` in `out_dir`.

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
    database = Path(db_path).absolute()
    with (
        open_study(database, plan_json, quantised) as study,
        trees_beside(study, database, database.parents[1] / "runs", folder / "trees"),
    ):
        tables = {name: read_table(study, name) for name in TABLES}
        for table in tables.values():
            write_table(table, folder / "tables")
        for name in FIGURES:
            write_figure(study, name, folder / "figures", tables)
        return _render(study, tables, folder / "figures", folder / "report.html")


def render(
    db_path: str | Path,
    figures_dir: str | Path,
    page: str | Path,
    plan_json: str | Path | None = None,
    quantised: Sequence[str | Path] = (),
) -> Path:
    """Builds the page and its JSON twin alone, from a loaded database and the figures' SVG files; returns `page`.

    Raises:
        SymphonyError: A figure or another file is missing or malformed.
    """
    with open_study(db_path, plan_json, quantised) as study:
        return _render(study, {name: read_table(study, name) for name in TABLES}, Path(figures_dir), Path(page))


def _render(study: Study, tables: dict[str, Table], figures_dir: Path, page: Path) -> Path:
    twin = page.with_suffix(".json")
    check_own(page, lambda head: _MARK.encode() in head)
    check_own(twin, lambda head: head.startswith(_MADE.encode()))
    reference = study.title(study.reference)
    groups = dict(summarise(tables, reference))
    first = first_screen(tables, reference)
    legends = Legends()
    grids = {name: grid(table, reference, legends) for name, table in tables.items() if name not in _DRAWN}
    style, script = (_own(f"templates/report.{kind}") for kind in ("css", "js"))
    text = _template().render(
        study=study,
        reference=reference,
        first=first,
        setting=setting(study),
        groups=groups,
        folded=folded,
        chapters=_filled(_CHAPTERS, grids) + _others(grids),
        appendix=_filled(_APPENDIX, grids),
        grids=grids,
        drawing=_inliner(figures_dir),
        captions=CAPTIONS,
        expected=EXPECTED,
        legends=legends,
        mark=_MARK,
        style=style,
        script=script,
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        short=short,
        share=_share,
        few=FEW,
        trees=pick_trees(study),
        every_tree="trees/index.html" if (page.parent / "trees" / "index.html").is_file() else "",
        reported=paper.shown(),
        provenance=_provenance(study),
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    twin.write_text(_as_json(study, tables, groups, first), encoding="utf-8")
    return page


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("symphony.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _filled(chapters: Sequence[Chapter], grids: dict[str, Grid]) -> tuple[Chapter, ...]:
    """Leaves out chapters of which this study has nothing to show."""
    return tuple(one for one in chapters if one.figures or any(grids[name].rows for name in one.tables))


def _others(grids: dict[str, Grid]) -> tuple[Chapter, ...]:
    placed = {name for chapter in (*_CHAPTERS, *_APPENDIX) for name in chapter.tables}
    more = tuple(name for name in grids if name not in placed)
    return (Chapter(heading="More tables", about="Tables of no other chapter", tables=more),) if more else ()


def _as_json(study: Study, tables: dict[str, Table], groups: dict[str, list[Finding]], first: First) -> str:
    """Returns what the page says as JSON, an estimate as an object with value, low and high."""
    twin = {
        **json.loads(_MADE + "}"),
        "study": study.name,
        "reference": study.title(study.reference),
        **asdict(study.provenance),
        "question": study.question,
        "setting": setting(study),
        "answer": [first.answer, first.shown],
        "findings": {heading: [asdict(finding) for finding in findings] for heading, findings in groups.items()},
        "tables": {
            name: {"title": table.title, "caption": table.caption, "mirrors": table.mirrors, "rows": table.records()}
            for name, table in tables.items()
        },
        "provenance": dict(_provenance(study)),
    }
    return json.dumps(twin, default=asdict, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def _share(some: int, every: int) -> str:
    """Writes a count and its share, never rounded to zero."""
    share = some / every
    return f"{some:,} of {every:,} ({'less than 0.1' if share < 0.001 else f'{100 * share:.1f}'} %)"


def _inliner(folder: Path) -> Callable[[str], str]:
    """Returns a function from the name of an SVG file to the drawing for the page, in the page's colours.

    It has no XML head; the caption gives its title for screen readers.
    """
    coloured = re.compile("|".join(_COLOURS))

    def inline(name: str) -> str:
        path = folder / f"{name}.svg"
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SymphonyError(f"{path}: cannot be read ({error.strerror}); draw the figures first") from error
        return coloured.sub(lambda match: _COLOURS[match[0]], text[text.index("<svg") :])

    return inline


def _own(name: str) -> str:
    """Returns the text of a file of this package."""
    return resources.files("symphony.report").joinpath(name).read_text("utf-8")


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
