"""What models, files and configs hold is data: nothing of it is run, unpickled, or followed out of its folder."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.models.hf.backend import HFBackend
from symphony.plan.schema import check_root
from symphony.plan.targets import class_of
from symphony.records.database import load
from symphony.report import build
from symphony.report.viewer.packs import check_name
from symphony.run.runner import run_folders
from symphony.types import SymphonyError
from symphony.weights.fetch import parse_source
from tests.plan.test_mutations import composed_root
from tests.report.conftest import synthetic_run
from tests.test_layers import MODULES, ROOT

SANDBOXED = {
    "symphony/tasks/programs/sandbox_child.py": "it is the process that runs programs, isolated",
    "symphony/tasks/mini/mini_code.py": "evaluates the idioms of its own lexicon to make a problem",
    "symphony/embedded/episodes.py": "trains on programs that its own experts wrote",
}
"""Modules that may execute source text, and why."""
PROGRAMS = {
    "symphony/tasks/programs/sandbox_child.py",
    "symphony/forecast/doctor.py", "symphony/records/provenance.py", "symphony/run/live.py", "symphony/run/serving.py",
    "symphony/run/keeper.py", "symphony/tasks/programs/command.py", "symphony/tasks/programs/sandbox.py",
    "symphony/tasks/programs/rust_suite.py", "symphony/commands/train_pool.py",
}  # fmt: skip
"""Modules that start programs; each gives a list of words."""
UNPICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
SHELLS = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell", "spawnl", "spawnlp"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call in a module, with the dotted name of what is called."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def given(call: ast.Call, name: str) -> list[ast.expr]:
    return [word.value for word in call.keywords if word.arg == name]


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_unpickles(path: Path) -> None:
    for node in ast.walk(tree(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        # These only write with them.
        unpickling = UNPICKLING - ({"marshal"} if str(path) in SANDBOXED else set())
        unpickling -= {"pickle"} if str(path) == "symphony/sharing/treequest_trees.py" else set()
        assert not unpickling & {name.partition(".")[0] for name in names}
    for name, call in calls(path):
        assert name not in (
            "marshal.load",
            "marshal.loads",
            "pickle.load",
            "pickle.loads",
            "pickle.Unpickler",
            "torch.load",
            "numpy.load",
            "np.load",
            "pandas.read_pickle",
        )
        assert not given(call, "allow_pickle")
        assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load") or given(call, "Loader")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_no_module_gives_text_to_a_shell_or_to_an_interpreter(path: Path) -> None:
    for name, call in calls(path):
        last = name.rpartition(".")[2]
        assert last not in SHELLS or name == "platform.system", f"{path}: {name}"
        assert not given(call, "shell"), f"{path}: {name}"
        if name in ("eval", "exec"):
            assert str(path) in SANDBOXED
        if name.startswith(("subprocess.", "os.exec", "os.spawn", "os.posix_spawn")) and last[0].islower():
            assert str(path) in PROGRAMS, f"{path}: {name}"
        if name in ("subprocess.Popen", "subprocess.run", "Popen"):
            assert not isinstance(call.args[0], ast.JoinedStr | ast.Constant), f"{path}: a command in one text"


def test_every_value_in_a_shell_line_of_the_workflow_is_quoted_or_cannot_hold_more_than_a_name() -> None:
    """Wildcards are constrained to letters, digits, '.', '_' and '-'; `params.symphony` is quoted where it is made.

    Threads and GPUs are numbers.
    """
    plain = {"threads", "resources.gpu", "params.symphony", "wildcards.option", "wildcards.model", "wildcards.scheme"}
    lines = 0
    for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        for block in re.findall(r"^    shell:\n((?:        .*\n?)+)", path.read_text(), re.MULTILINE):
            lines += 1
            values = re.findall(r"\{([^{}]+)\}", block)
            assert [value for value in values if value not in plain and not value.endswith(":q")] == [], path
    assert lines >= 6
    common = (ROOT / "workflow" / "rules" / "common.smk").read_text()
    constrained = re.search(r"wildcard_constraints:\n((?:    .*\n?)+)", common)
    assert constrained
    for name in ("option", "scheme", "model", "group", "study"):
        assert f"    {name}=" in constrained[1]
    assert "{shlex.quote(workflow.basedir)}" in common


# ------------------------------------------------------------------ weights


@pytest.fixture
def trapped(tmp_path: Path) -> Path:
    """A model's folder that brings a program of its own for each of its parts."""
    folder = Path(shutil.copytree(ROOT / "symphony" / "embedded" / "weights" / "llama", tmp_path / "model"))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('x')\nclass Own: pass\n")
    for name, keys in (
        ("config.json", ("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer")),
        ("tokenizer_config.json", ("AutoTokenizer",)),
    ):
        content = json.loads((folder / name).read_text())
        own: dict[str, Any] = {key: ["own.Own", None] if key == "AutoTokenizer" else "own.Own" for key in keys}
        (folder / name).write_text(json.dumps({**content, "auto_map": own}))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["llama", "own"])
def test_a_models_own_program_never_runs(trapped: Path, kind: str, tmp_path: Path) -> None:
    config = json.loads((trapped / "config.json").read_text())
    (trapped / "config.json").write_text(json.dumps({**config, "model_type": kind}))
    if kind == "llama":
        HFBackend(str(trapped))
    else:
        with pytest.raises(SymphonyError, match="found "):
            HFBackend(str(trapped))
    assert not (tmp_path / "ran").exists()


def test_every_call_that_loads_a_model_forbids_its_own_program() -> None:
    loading = {"symphony/models/hf/loading.py", "symphony/models/gguf/unpack.py"}
    found = set()
    for path in MODULES:
        for name, call in calls(path):
            if name.endswith(("from_pretrained", "from_config")) and "GenerationConfig" not in name:
                spelt = [ast.unparse(word) for word in call.keywords]
                own = "embedded" in path.parts  # it loads what it has just written
                assert own or "**LOCAL" in spelt or "trust_remote_code=False" in spelt, f"{path}: {name}"
                found.add(str(path))
    assert loading <= found


def test_weights_other_than_safetensors_are_refused(trapped: Path) -> None:
    (trapped / "model.safetensors").rename(trapped / "pytorch_model.bin")
    with pytest.raises(SymphonyError, match=r"found .*allowed: .*safetensors"):
        HFBackend(str(trapped))


# ------------------------------------------------------------------ configs


@pytest.mark.parametrize(
    "target",
    [
        "os.system", "subprocess.Popen", "builtins.eval", "symphony.files.write_atomic", "symphony.__main__.main",
        "symphony.run.keeper.Keeper", "symphony.run.serving.Shared", "symphony.tasks.programs.sandbox.PythonSandbox",
        "symphony..os.system", "symphony.files.os.system", "symphony.run.keeper.subprocess.Popen", "symphony",
        "symphony.", "symphony.files.Path", "", "symphony.models.scripted", 7, None, ["symphony.search.symphony.X"],
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("group", ["search", "scheduler", "scorer", "memory", "task", "pool.agents.one"])
def test_a_target_makes_only_a_class_of_this_project_that_fits_its_place(group: str, target: Any) -> None:
    with pytest.raises(SymphonyError, match=r"_target_: found "):
        class_of(group, target)


def test_a_config_starts_no_program_but_the_three_engines_of_pool_serve() -> None:
    root = composed_root()
    server = {"engine": "sh", "port": 8000, "path": "x", "options": ["-c", "touch /tmp/ran"]}
    with pytest.raises(SymphonyError, match=r"pool\.serve\.a\.engine: found 'sh', allowed: llama_cpp, transformers, v"):
        check_root({**root, "pool": {**root["pool"], "serve": {"a": server}}})


# ------------------------------------------------------------------ paths

OUTSIDE = ("../x", "a/../../x", "/etc/passwd", "..")


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_from_files_and_configs_never_lead_out_of_their_folder(name: str, tmp_path: Path) -> None:
    done = tmp_path / "outputs" / "groups" / "g" / "done.json"
    done.parent.mkdir(parents=True)
    done.write_text(json.dumps({"runs": [name]}))
    with pytest.raises(SymphonyError, match=r"done\.json: runs: found .*allowed: a list of digests"):
        run_folders(done)
    with pytest.raises(SymphonyError, match=r"source\.files: found .*allowed: names inside the folder"):
        parse_source("model/x", {"address": "https://x", "revision": "1", "licence": "MIT", "files": {name: None}})
    with pytest.raises(SymphonyError, match="cannot be a file's"):
        check_name(name)


@pytest.mark.parametrize("command", ["plan", "run", "load", "report"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_a_study_is_a_name_and_no_path(
    command: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, name, "--outputs", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "found " in line
    assert "allowed: " in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_report_of_a_run_with_hostile_names_writes_only_into_its_folder(tmp_path: Path) -> None:
    run = synthetic_run("symphony", problems=1)
    run.run = dataclasses.replace(run.run, experiment="../../x", task="../y", study="/etc", pool="../z")
    out = tmp_path / "a" / "b" / "out"
    load(tmp_path / "a" / "b" / "records.duckdb", [run.write(tmp_path / "a" / "b" / "runs")])
    build(tmp_path / "a" / "b" / "records.duckdb", out)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["b"]
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"records.duckdb", "runs", "out"}
