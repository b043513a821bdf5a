"""The lists of dependencies agree, and what the package needs at run time is packed."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def listed(project: dict[str, Any]) -> list[str]:
    return [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]


def test_environment_yml_lists_what_pyproject_lists(project: dict[str, Any]) -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert pip == listed(project)


def test_every_dependency_has_a_lower_and_an_upper_bound(project: dict[str, Any]) -> None:
    for entry in listed(project):
        operators = {specifier.operator for specifier in Requirement(entry).specifier}
        assert operators in ({"=="}, {">=", "<"}), entry


def test_the_installed_versions_are_within_the_bounds(project: dict[str, Any]) -> None:
    from importlib.metadata import version

    for entry in listed(project):
        requirement = Requirement(entry)
        assert requirement.specifier.contains(version(requirement.name)), entry


def test_every_file_that_is_no_module_is_package_data(project: dict[str, Any]) -> None:
    packed = project["tool"]["setuptools"]["package-data"]
    folders = {ROOT / Path(*package.split(".")): patterns for package, patterns in packed.items()}
    covered = {path for folder, patterns in folders.items() for pattern in patterns for path in folder.glob(pattern)}
    files = {
        path
        for path in (ROOT / "symphony").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    }
    assert not sorted(str(path.relative_to(ROOT)) for path in files - covered)
