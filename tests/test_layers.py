"""The direction of dependencies: who may import whom, and where heavy libraries may be named."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from symphony.plan.compose import plan

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "symphony"
MODULES = sorted(path.relative_to(ROOT) for path in PACKAGE.rglob("*.py"))

# The packages by layers, from the lowest; a package (or a module beside them) imports only those of lower layers.
LAYERS = (
    ("types",),
    ("fields", "files", "stop", "chat", "cores"),
    ("models", "records"),
    ("agents", "tasks", "weights"),
    ("plan", "search", "report", "embedded", "simulated"),
    ("run", "byhand"),
    ("forecast", "studies", "status"),
    ("sharing",),
    ("commands",),
    ("__main__",),
)
# Packages that must not know each other, though one is below the other.
FORBIDDEN = [
    ("search", "models"),
    ("search", "tasks"),
    ("report", "models"),
    ("tasks", "models"),
    ("plan", "agents"),
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
    ("hydra", "omegaconf"): (
        "symphony/plan/compose.py",
        "symphony/plan/composition.py",
        "symphony/plan/sweeps.py",
        "symphony/plan/yaml_files.py",
    ),
    ("duckdb",): (
        "symphony/records/database.py",
        "symphony/report/",
        "symphony/sharing/exports.py",
        "symphony/tasks/jsonrows.py",
        "symphony/status/query.py",
    ),
    ("matplotlib", "jinja2"): ("symphony/report/",),
    ("rich",): ("symphony/run/progress.py",),
    ("openai", "httpx", "httpx2"): ("symphony/models/api/backend.py",),
    ("Stemmer", "thefuzz", "spacy"): ("symphony/tasks/",),
    ("treequest", "pymc"): ("symphony/search/methods/ab_mcts.py", "symphony/sharing/treequest_trees.py"),
    ("inspect_ai",): ("symphony/sharing/inspect_logs.py",),
}


def name_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def package(module: str) -> str:
    """The folder or the module beside the folders that a module belongs to."""
    return module.split(".")[1]


def layer(module: str) -> int | None:
    return next((number for number, packages in enumerate(LAYERS) if package(module) in packages), None)


@cache
def imports(path: Path) -> tuple[tuple[str, bool], ...]:
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

    return tuple(walk(ast.parse((ROOT / path).read_text()), False))


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_package_imports_only_packages_of_lower_layers(path: Path) -> None:
    module = name_of(path)
    targets = [target for target, _ in imports(path) if target.startswith("symphony")]
    if module == "symphony":
        assert not targets
        return
    own = layer(module)
    assert own is not None, f"{package(module)} is in no layer: add it to LAYERS"
    for target in targets:
        below = layer(target)
        assert below is not None
        assert below < own or package(target) == package(module), (
            f"{module} (layer {own}) imports {target} (layer {below})"
        )


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_packages_that_must_not_know_each_other_do_not(path: Path) -> None:
    for importer, imported in FORBIDDEN:
        if path.parts[1:2] == (importer,):
            assert not [target for target, _ in imports(path) if target.startswith(f"symphony.{imported}.")]


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {
        name_of(path): {target for target, _ in imports(path) if target.startswith("symphony.")} for path in MODULES
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules of a circle


def module_of(frame: FrameType) -> str:
    """The project's module in which a function runs; "" for other code, and while a module is being imported."""
    name = str(frame.f_globals.get("__name__", ""))
    return name if name.startswith("symphony.") and frame.f_code.co_name != "<module>" else ""


@pytest.mark.parametrize(("study", "task"), [("quickstart", "mini_qa"), ("laptop", "webshop")])
def test_no_call_that_plans_a_study_goes_up(study: str, task: str) -> None:
    calls: dict[str, set[str]] = defaultdict(set)

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and (callee := module_of(frame)):
            above = frame.f_back
            while above is not None and not (caller := module_of(above)):
                above = above.f_back
            if above is not None and caller != callee:
                calls[caller].add(callee)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        plan(study, [f"tasks=[{task}]"], experiment="symphony", conf=ROOT / "conf")
    finally:
        sys.setprofile(before)
    assert len(calls) > 10
    TopologicalSorter(calls).prepare()  # no module calls, by any way, one that called it
    for caller, callees in calls.items():
        for callee in callees:
            above, below = layer(caller), layer(callee)
            assert above is not None
            assert below is not None
            assert below <= above, f"{caller} calls {callee}"  # a `_target_` may name a search, of the same layer


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_module_is_short_enough_to_read(path: Path) -> None:
    assert len((ROOT / path).read_text().splitlines()) <= 400


COMMON = {
    "symphony.agents.scorer": {"FORMAT_REMINDER", "Scorer", "emcs"},
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


def needs() -> dict[str, set[str]]:
    """Packages that each package imports."""
    found: dict[str, set[str]] = {}
    for path in MODULES:
        if name_of(path) != "symphony":
            own = package(name_of(path))
            targets = {package(target) for target, _ in imports(path) if target.startswith("symphony.")}
            found[own] = found.get(own, set()) | (targets - {own})
    return found


def test_the_diagram_is_that_of_the_code() -> None:
    graph = needs()

    def below(name: str) -> set[str]:
        return set().union(*({one} | below(one) for one in graph[name]))

    arrows = {
        (name, one)
        for name, others in graph.items()
        for one in others
        if not any(one in below(other) for other in others)
    }
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert set(re.findall(r"^    (\w+) --> (\w+)$", text, re.MULTILINE)) == arrows
    assert set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) == {
        name for name in graph if (PACKAGE / name).is_dir()
    }


def test_the_packages_are_those_that_exist_and_each_is_in_one_layer() -> None:
    packages = [name for layer in LAYERS for name in layer]
    assert sorted(packages) == sorted({package(name_of(path)) for path in MODULES if name_of(path) != "symphony"})


def test_only_the_runner_and_grading_by_hand_ask_for_ground_truth() -> None:
    callers = set()
    for path in MODULES:
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "grade":
                callers.add(path.as_posix())
    # The embedded pool's training measures its models against ground truth; no search runs there.
    outside = {path for path in callers if not path.startswith("symphony/embedded/")}
    assert outside == {"symphony/run/runner.py", "symphony/byhand.py"}
