"""Turns a loaded database into tables, figures, and one self-contained page."""

from symphony.report.figures import FIGURES, figure
from symphony.report.page import build, render
from symphony.report.tables import TABLES, table

__all__ = ["FIGURES", "TABLES", "build", "figure", "render", "table"]
