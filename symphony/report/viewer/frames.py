"""The pages' HTML from the templates in `assets/`, which share one head, and the files that pages name."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

_ASSETS = resources.files("symphony.report.viewer") / "assets"

SCRIPTS = {
    "index": ("common.js", "index.js"),
    "tree": ("common.js", "layout.js", "map.js", "panel.js", "tree.js"),
}
"""The page's name -> the scripts beside it, in the order in which they are loaded."""


def asset(name: str) -> str:
    """Returns the text of a style sheet or script."""
    return (_ASSETS / name).read_text(encoding="utf-8")


def frame(kind: str, **values: Any) -> str:
    """Returns the HTML of a page: `kind` is the name of a template, "index", "tree" or "diff"."""
    template = _templates().get_template(f"{kind}.html.j2")
    return str(template.render(kind=kind, scripts=SCRIPTS.get(kind, ()), **values)) + "\n"


@cache
def _templates() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("symphony.report.viewer", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
