"""The direction of dependencies: who may import whom, and where heavy libraries may be named."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "symphony"
MODULES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))

# A module's layer is that of its longest prefix here; it may import its own layer's package and lower layers only.
LAYERS = {
    "symphony.types": 0,
    "symphony.chat.reasoning": 0,
    "symphony.stop": 0,
    "symphony.files": 1,
    "symphony.fields": 1,
    "symphony.plan.yaml_files": 1,
    "symphony.chat.prompts": 1,
    "symphony.records.manifest": 1,
    "symphony.records.records": 1,
    "symphony.records.recorder": 1,
    "symphony.agents.ridge": 1,
    "symphony.agents.scheduler": 1,
    "symphony.agents.bandits": 1,
    "symphony.search.tree": 1,
    "symphony.models": 1,
    "symphony.tasks": 2,
    "symphony.records.provenance": 2,
    "symphony.run.progress": 2,
    "symphony.weights.hub": 2,
    "symphony.weights.fetch": 2,
    "symphony.records.database": 2,
    "symphony.weights.quantise": 2,
    "symphony.agents.scores": 1,
    "symphony.agents.scorer": 2,
    "symphony.agents.memory": 2,
    "symphony.agents.budget": 2,
    "symphony.agents.session": 3,
    "symphony.search": 4,
    "symphony.report": 4,
    "symphony.plan.targets": 3,
    "symphony.plan.specs": 3,
    "symphony.plan.needs": 3,
    "symphony.plan.schema": 4,
    "symphony.plan.compose": 4,
    "symphony.plan.options": 4,
    "symphony.forecast.bounds": 4,
    "symphony.run.pools": 4,
    "symphony.embedded": 4,
    "symphony.run.recordings": 4,
    "symphony.run.runner": 5,
    "symphony.byhand": 5,
    "symphony.forecast.estimate": 5,
    "symphony.forecast.forecast": 5,
    "symphony.forecast.doctor": 5,
    "symphony.__main__": 6,
}
# Neighbours on one layer or below that still must not know each other.
FORBIDDEN = [
    ("symphony.search", "symphony.tasks"),
    ("symphony.search", "symphony.models"),
    ("symphony.search", "symphony.plan.compose"),
    ("symphony.report", "symphony.search"),
    ("symphony.report", "symphony.models"),
    ("symphony.report", "symphony.plan.compose"),
    ("symphony.tasks", "symphony.models"),
    ("symphony.plan.compose", "symphony.search"),
    ("symphony.plan.compose", "symphony.agents.session"),
    ("symphony.plan.specs", "symphony.search"),
    ("symphony.plan.targets", "symphony.search"),
]
HEAVY = {
    ("torch", "transformers", "bitsandbytes", "safetensors", "tokenizers", "accelerate"): (
        "symphony/models/hf/batching.py",
        "symphony/models/hf/caches.py",
        "symphony/models/chats.py",
        "symphony/models/devices.py",
        "symphony/models/gguf/unpack.py",
        "symphony/models/hf/backend.py",
        "symphony/models/hf/loading.py",
        "symphony/models/hf/prefixes.py",
        "symphony/models/sampler.py",
        "symphony/weights/quantise.py",
        "symphony/records/provenance.py",  # the name of a GPU, where one is used
        "symphony/embedded/",
    ),
    ("hydra", "omegaconf"): ("symphony/plan/compose.py", "symphony/plan/yaml_files.py"),
    ("duckdb",): ("symphony/records/database.py", "symphony/report/", "symphony/tasks/jsonrows.py"),
    ("matplotlib", "jinja2"): ("symphony/report/",),
    ("rich",): ("symphony/run/progress.py",),
    ("openai", "httpx", "httpx2"): ("symphony/models/api/backend.py",),
    ("Stemmer", "thefuzz", "spacy"): ("symphony/tasks/",),
    ("treequest", "pymc"): ("symphony/search/methods/ab_mcts.py",),
}


def name_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def layer(module: str) -> int | None:
    while module:
        if module in LAYERS:
            return LAYERS[module]
        module = module.rpartition(".")[0]
    return None


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every imported module, and whether the import stands inside a function."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                is_module = (ROOT / Path(*below.split("."))).with_suffix(".py").is_file()
                yield below if is_module else str(node.module), inside
        inner = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inner)

    yield from walk(ast.parse((ROOT / path).read_text()), False)


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_imports_no_higher_layer(path: Path) -> None:
    module = name_of(path)
    own = layer(module)
    if module == "symphony":
        assert not list(imports(path))
        return
    assert own is not None, f"{module} has no layer: add it to LAYERS"
    for target, _ in imports(path):
        if target.startswith("symphony."):
            below = layer(target)
            assert below is not None
            assert below <= own, f"{module} (layer {own}) imports {target} (layer {below})"


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_packages_that_must_not_know_each_other_do_not(path: Path) -> None:
    module = name_of(path)
    for importer, imported in FORBIDDEN:
        if module.startswith(importer):
            assert not [target for target, _ in imports(path) if target.startswith(imported)]


COMMON = {
    "symphony.agents.scorer": {"FORMAT_REMINDER", "Scorer"},
    "symphony.agents.memory": {"Lessons", "Memory", "situation"},
}
"""What all scorers, and all memories, have in common."""


@pytest.mark.parametrize("path", [path for path in MODULES if "search" in path.parts], ids=str)
def test_a_search_knows_no_kind_of_scorer_and_no_kind_of_memory(path: Path) -> None:
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module in COMMON:
            assert {alias.name for alias in node.names} <= COMMON[node.module]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_project_import_hides_inside_a_function(path: Path) -> None:
    assert not [target for target, inside in imports(path) if inside and target.startswith("symphony")]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_heavy_libraries_are_named_only_where_they_belong(path: Path) -> None:
    for libraries, homes in HEAVY.items():
        named = {target for target, _ in imports(path) if target.split(".")[0] in libraries}
        assert not named or str(path).startswith(homes), f"{path} imports {sorted(named)}"


def test_the_layers_are_those_of_modules_that_exist() -> None:
    names = {name_of(path) for path in MODULES}
    assert set(LAYERS) <= names | {name.rpartition(".")[0] for name in names}


def test_only_the_runner_and_grading_by_hand_ask_for_ground_truth() -> None:
    callers = set()
    for path in MODULES:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "grade":
                callers.add(path.as_posix())
    # The embedded pool's training measures its models against ground truth; no search runs there.
    outside = {path for path in callers if not path.startswith("symphony/embedded/")}
    assert outside == {"symphony/run/runner.py", "symphony/byhand.py"}
