"""What the documents say of the results and of the code is what the results and the code show."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import faults
from tests.test_layers import MODULES, imports

ROOT = Path(__file__).parent.parent

# A rate or a difference in points, with its interval: ".77 [.68, .84]", "+3.1 points [-4.3, +10.6]".
_INTERVAL = re.compile(r"(?P<value>[-+]?\d*\.\d+)(?: points)?\s+\[(?P<low>[-+]?\d*\.\d+),\s+(?P<high>[-+]?\d*\.\d+)\]")
Interval = tuple[float, ...]


def stated(text: str) -> set[Interval]:
    """The values with an interval that a text states: rates as they are, points as shares of 100."""
    found = set()
    for match in _INTERVAL.finditer(text):
        numbers = match.groups()
        points = len(numbers[1].partition(".")[2]) == 1
        found.add(tuple(round(float(number) / 100, 3) if points else float(number) for number in numbers))
    return found


def shown(tables: Path) -> Iterator[Interval]:
    """Every value with an interval in a report's tables, as rates (two decimals) and as points, in either direction."""
    for file in tables.glob("*.csv"):
        for row in csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))):
            for name in row:
                if row[name] and row.get(f"{name} low") and row.get(f"{name} high"):
                    value, low, high = (float(row[key]) for key in (name, f"{name} low", f"{name} high"))
                    yield tuple(round(number, 2) for number in (value, low, high))
                    yield tuple(round(number, 3) + 0.0 for number in (value, low, high))
                    yield tuple(round(number, 3) + 0.0 for number in (-value, -high, -low))


@pytest.mark.parametrize(
    ("document", "begin", "end", "study"),
    [
        ("README.md", "\nResults at commit", "\n## ", "quickstart"),
        ("docs/methods.md", "\nResults of the first command", "\n\n", "methods"),
    ],
)
def test_a_document_states_intervals_that_the_report_shows(document: str, begin: str, end: str, study: str) -> None:
    tables = ROOT / "outputs" / study / "tables"
    if not os.environ.get("CHECK_FIGURES"):
        pytest.skip("CHECK_FIGURES=1 compares the figures; other processors may draw other samples")
    if not tables.is_dir():
        pytest.skip(f"no results of study {study} here (make run STUDY={study})")
    text = (ROOT / document).read_text().partition(begin)[2].partition(end)[0]
    assert stated(text)
    assert stated(text) - set(shown(tables)) == set()


def test_operations_name_tests_and_faults_that_exist() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    notes = re.findall(r"\*((?:Faults? `|`tests/)[^*]*)\*", text)
    named = {name for note in notes for name in re.findall(r"`([^`]+)`", note)}
    tests = {name for name in named if name.startswith("tests/")}
    assert len(tests) > 10
    assert [name for name in tests if not (ROOT / name).is_file()] == []
    assert named - tests == {fault.__name__ for fault in faults.FAULTS}


def test_contributing_names_only_packages_that_a_search_does_not_import() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    sentence = re.search(r"[Aa] search (?:never )?imports ([^.]*)\.", text)
    assert sentence
    named = re.findall(r"\b(?:task|model|scorer|memory)\b", sentence[1])
    assert named
    for path in MODULES:
        if "search" in path.parts:
            for target, _ in imports(path):
                assert not [name for name in named if re.search(rf"\.{name}s?\b", target)], f"{path} imports {target}"
