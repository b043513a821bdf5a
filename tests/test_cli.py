"""The command line: quick to answer, one clear message and a code that is not 0 when something is wrong."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from symphony.__main__ import main
from symphony.commands import COMMANDS
from symphony.plan.specs import freeze
from symphony.report import page
from tests.scripted_pool import one_group

ROOT = Path(__file__).parent.parent


def call(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "symphony", *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_an_interrupt_while_the_arguments_are_read_is_no_traceback() -> None:
    code = """
import symphony.__main__ as command
def interrupted(given):
    raise KeyboardInterrupt
command._parser = interrupted
command.main(["ls"])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "Traceback" not in told.stderr


def test_python_says_nothing_of_the_programs_that_models_wrote(tmp_path: Path) -> None:
    code = f"""
import ast
from symphony.__main__ import main
main(["ls", "--outputs", {str(tmp_path)!r}])
ast.parse("1if 2else 3")
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "SyntaxWarning" not in told.stderr


def test_help_names_every_command_in_an_instant() -> None:
    def spent() -> float:
        """CPU-seconds of this process's children, which other load on the machine changes little."""
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    seconds = []
    for _ in range(5):
        begin = spent()
        answer = call("--help")
        seconds.append(spent() - begin)
        assert answer.returncode == 0
        assert all(command in answer.stdout for command in COMMANDS)
    assert min(seconds) < 0.3  # a tenth on a slow core: the modules of the commands take a third by themselves


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert "usage: symphony" in capsys.readouterr().out


def modules_after(code: str) -> set[str]:
    """The modules that a new process has imported when it has carried out some code."""
    code = f"import sys\ntry:\n    {code}\nfinally: print('loaded:', *sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_the_modules_of_the_commands_load_no_heavy_library() -> None:
    heavy = {"torch", "transformers", "hydra", "omegaconf", "duckdb", "matplotlib", "jinja2", "rich", "numpy"}
    heavy |= {"scipy", "pydantic", "openai"}
    loaded = modules_after("from symphony.commands import COMMANDS, load; [load(name) for name in COMMANDS]")
    assert loaded >= {f"symphony.commands.{name.replace('-', '_')}" for name in COMMANDS}
    assert not heavy & loaded


@pytest.mark.parametrize(
    ("arguments", "commands"), [(["--help"], set()), (["ls", "--help"], {"symphony.commands.ls"})], ids=str
)
def test_only_the_command_that_is_asked_for_is_loaded(arguments: list[str], commands: set[str]) -> None:
    loaded = modules_after(f"from symphony.__main__ import main; main({arguments})")
    named = {f"symphony.commands.{name.replace('-', '_')}" for name in COMMANDS}
    assert "symphony.commands" in loaded
    assert named & loaded == commands


def test_every_module_of_a_command_is_one_that_the_command_line_names() -> None:
    shared = {"__init__", "common", "study"}
    modules = {path.stem for path in (ROOT / "symphony" / "commands").glob("*.py")} - shared
    assert modules == {name.replace("-", "_") for name in COMMANDS}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "quikstart"), "study: found 'quikstart'"),
        (("plan", "quickstart", "serach=1"), "serach"),
        (
            ("plan", "quickstart", "--experiment", "react", "--task", "chess"),
            "--task: found 'chess', allowed: gridworld",
        ),
        (("run",), "allowed: one of them"),
        (("run", "--group", "nowhere"), "nowhere/plan.json: found nothing"),
        (("fetch", "model/nothing"), "found 'model/nothing'"),
        (("quantise", "nothing", "nf4", "--out", "nowhere"), "model: found 'nothing', allowed: "),
        (("quantise", "api_local", "nf4", "--out", "nowhere"), "model: found an API endpoint, allowed"),
        (("load", "--database", "/nowhere/x.duckdb", "nowhere"), "nowhere"),
    ],
)
def test_an_error_is_one_line_and_a_code(arguments: tuple[str, ...], message: str) -> None:
    answer = call(*arguments)
    assert answer.returncode == 1
    assert message in answer.stderr
    assert len(answer.stderr.strip().splitlines()) == 1
    assert answer.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--memory", "inf"), "--memory: found inf, allowed: > 0"),
        (("--memory", "1e400"), "--memory: found inf, allowed: > 0"),
        (("--tokens", "-5"), "--tokens: found -5, allowed: > 0"),
        (("--load-rate", "nan"), "--load-rate: found nan, allowed: > 0"),
    ],
)
def test_a_size_is_a_positive_number(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "quickstart", *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("plan", "quickstart", "--outputs", ""), "argument --outputs: found nothing, allowed: a path"),
        (("fetch", "task/mbpp", "--data", ""), "argument --data: found nothing, allowed: a path"),
        (("load", "--database", "x", ""), "found nothing, allowed: a study or a path"),
        (("plan", "quickstart", "--memory", "a,b"), "argument --memory: found 'a,b', allowed: numbers"),
    ],
)
def test_an_argument_that_is_none_is_told(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert message in capsys.readouterr().err


def test_nobody_is_told_to_delete_a_folder_that_is_none_of_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("years: of work")
    assert main(["load", "--database", str(tmp_path / "x.duckdb"), str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(f"{tmp_path}: found no files of a run, allowed: the folder of a finished run")


DAMAGED = {
    "empty": ("", "found a file that is not JSON"),
    "cut": ('{"runs": [', "found a file that is not JSON"),
    "no text": ("\udcff", "found a file that is not JSON"),
    "deep": ("[" * 100_000, "found a file that is not JSON"),
    "a list": ("[]", "found a list"),
    "another object": ("{}", "found "),
    "no list": ('{"runs": 3, "name": "x", "shared": []}', "found "),
    "a list of something else": ('{"runs": [3], "name": "x", "shared": []}', "found "),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("name", ["plan.json", "done.json"])
def test_a_damaged_file_of_a_group_is_one_line(
    name: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, message = DAMAGED[damage]
    (tmp_path / name).write_bytes(content.encode(errors="surrogateescape"))
    load = ["load", "--database", str(tmp_path / "study.duckdb"), str(tmp_path / "done.json")]
    assert main(["run", "--group", str(tmp_path)] if name == "plan.json" else load) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / name}: " in line
    assert message in line
    assert "allowed: " in line


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"problems": 1', '"problems": 2'),
        ('"study": "quickstart"', '"study": "other"'),
        ('"experiment": "react"', '"experiment": null'),
        ('"pool": "embedded_trio"', '"pool": 5'),
        ('"name": "mini_qa', '"name": "../mini_qa'),
        ('"in_flight": ', '"in_flight": 1'),
        ('"shared": [', '"shared": ["task", '),
    ],
)
def test_a_plan_that_was_changed_is_refused(
    before: str, after: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = freeze(one_group("react", "problems=1"), tmp_path)
    whole = plan.read_text()
    plan.write_text(whole.replace(before, after))
    assert plan.read_text() != whole
    assert main(["run", "--group", str(plan.parent)]) == 1
    told = capsys.readouterr().err
    assert "found contents that have changed since it was frozen" in told
    assert "delete it and start snakemake again" in told


def test_a_plan_that_was_damaged_is_frozen_anew(tmp_path: Path) -> None:
    group = one_group("react", "problems=1")
    plan = freeze(group, tmp_path)
    whole = plan.read_bytes()
    plan.write_bytes(b"\xff" + whole)
    assert freeze(group, tmp_path).read_bytes() == whole


@pytest.mark.parametrize("command", [("plan", "quickstart"), ("run", "quickstart"), ("doctor",)])
@pytest.mark.parametrize("key", ["--outputs", "--data"])
@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_is_no_folder(
    command: tuple[str, ...], key: str, below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([*command, key, str(tmp_path / "file" / below)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"symphony {command[0]}: {key}: found {tmp_path / 'file'}, a file, allowed: a folder"


@pytest.mark.parametrize("error", [PermissionError, OSError])
def test_what_the_system_refuses_is_one_line_that_names_the_file(
    error: type[OSError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: object) -> None:
        raise error(30, "Read-only file system", "report.html")

    monkeypatch.setattr(page, "build", refuse)
    assert main(["report", "--database", "x", "--out", "x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("symphony report: report.html: found Read-only file system, allowed: ")


def test_memory_that_runs_out_is_one_line_that_says_what_to_change(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*given: object) -> None:
        raise MemoryError

    monkeypatch.setattr(page, "build", refuse)
    assert main(["report", "--database", "x", "--out", "x"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("symphony report: found no memory left, allowed: a smaller execution.in_flight")


def test_plan_lists_a_studys_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["plan", "quickstart", "tasks=[mini_qa]", "--experiment", "symphony", "--seed", "12", "--runs"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split("\t")[1:] == ["symphony", "mini_qa", "embedded_trio", "12"]


def test_plan_tells_each_experiment_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["plan", "quickstart", "--experiment", "symphony", "--outputs", str(tmp_path)]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (
        line
        == "symphony: 12 runs, 0 finished; gridworld, mini_qa, mini_shop, mini_code; pool embedded_trio; seeds 11 to 13"
    )


SIMULATED = ("tasks=[simulated]", "pool=simulated_trio", "seeds=[0]", "problems=3", "execution.store=live")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outputs folder with two of the quickstart's experiments finished, by simulated agents."""
    outputs = tmp_path_factory.mktemp("named") / "outputs"
    for name in ("symphony", "uniform"):
        told = call("run", "quickstart", *SIMULATED, "--experiment", name, "--outputs", str(outputs))
        assert told.returncode == 0, told.stderr
    return outputs


@pytest.mark.slow
def test_a_study_is_loaded_and_reported_by_its_name(
    simulated: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["report", "quickstart", *SIMULATED, "--outputs", str(simulated)]) == 0
    told = capsys.readouterr().err
    assert "quickstart: 2 of " in told
    page_text = (simulated / "quickstart" / "report.html").read_text()
    assert "runs are not finished" in page_text
    assert 'UCB scheduling beats uniform picks <span class="source">paper, Table 5</span>' in page_text
    assert (simulated / "quickstart" / "tables" / "claims.csv").is_file()
    assert main(["load", "quickstart", *SIMULATED, "--outputs", str(simulated)]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("load", "alpha"), "found none of the"),
        (("report", "alpha"), "found none of the"),
        (("load", "quikstart"), "study: found 'quikstart'"),
        (("report",), "found no study and no --database, allowed: a study, or --database and --out"),
        (("report", "--database", "x"), "found no study and no --out"),
        (("report", "quickstart", "--database", "x"), "found a study and --database, allowed: one of them"),
    ],
)
def test_a_study_that_cannot_be_loaded_is_told(
    arguments: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(ROOT)
    assert main([*arguments, "--outputs", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]
