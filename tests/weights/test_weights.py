"""Weights that are not there, or not whole: plan, run and doctor say the same before anything is spent."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from symphony.__main__ import main
from symphony.forecast import doctor
from symphony.models.folder import PACKAGE
from symphony.plan.model_spec import ModelSpec, NotThere
from symphony.plan.options import model
from symphony.types import SymphonyError, canonical_json

ROOT = Path(__file__).parents[2]
WHOLE = PACKAGE / "embedded" / "weights" / "llama"


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def absent(folder: Path) -> str:
    return f"{folder}: found no such folder"


def a_file(folder: Path) -> str:
    folder.write_text("x")
    return f"{folder}: found a file"


def cut(folder: Path) -> str:
    shutil.copytree(WHOLE, folder)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1000])
    return f"{folder}/model.safetensors: found {len(content) - 1000} bytes"


def in_html(folder: Path) -> str:
    shutil.copytree(WHOLE, folder)
    (folder / "config.json").write_text("<html></html>")
    return f"{folder}/config.json: found a file that is not JSON"


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [absent, a_file, cut, in_html])
@pytest.mark.parametrize("command", ["plan", "run"])
def test_plan_and_run_refuse_a_folder_that_is_no_whole_model(
    command: str, spoil: Callable[[Path], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = spoil(tmp_path / "mine")
    place = ["--experiment", "symphony", "--task", "gridworld", "--seed", "11", "--outputs", str(tmp_path / "outputs")]
    assert main([command, "quickstart", *place, "problems=1", f"pool.agents.llama.path={tmp_path}/mine"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"symphony {command}: ")]
    assert told in line
    assert "fetch" not in line
    assert not (tmp_path / "outputs" / "runs").exists()


@pytest.mark.parametrize("spoil", [absent, cut])
def test_doctor_refuses_it_too(
    spoil: Callable[[Path], str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_GPU", "print('[]')")
    told = spoil(tmp_path / "mine")
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for path in (tmp_path / "conf" / "model").glob("*.yaml"):
        path.unlink()
    text = f"_target_: symphony.models.hf.backend.HFBackend\npath: {tmp_path}/mine\ndevice: auto\n"
    (tmp_path / "conf" / "model" / "mine.yaml").write_text(text)
    (tmp_path / "conf" / "pool" / "mine.yaml").write_text("defaults:\n  - /model@agents.mine: mine\n")
    for path in (tmp_path / "conf" / "task").glob("*.yaml"):
        if path.stem != "gridworld":
            path.unlink()
    assert main(["doctor", "--conf", str(tmp_path / "conf"), "--pool", "mine"]) == 1
    assert f"no  pool mine, agent mine: {told}" in capsys.readouterr().out


# --------------------------------------------------------------------------- what brings them


def spec(path: object, *, pinned: bool = False) -> ModelSpec:
    return ModelSpec(
        target="symphony.models.hf.backend.HFBackend", arguments=canonical_json({"path": path}), pinned=pinned
    )


@pytest.mark.parametrize("name", ["llama_3_2_1b", "embedded_llama_nf4"])
def test_weights_that_a_command_brings_are_told_with_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = model(name)
    monkeypatch.chdir(tmp_path)
    command = {
        "llama_3_2_1b": "symphony fetch model/llama_3_2_1b",
        "embedded_llama_nf4": "snakemake outputs/quantised/embedded_llama-nf4/manifest.json",
    }[name]
    with pytest.raises(NotThere, match=f"found no such folder, .*; get it with `{command}`"):
        found.folder(tmp_path)


@pytest.mark.parametrize("path", ["model/mine", "outputs:mine", "package:mine", "mine"])
def test_nothing_is_advised_where_nothing_brings_them(path: str, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="/mine: found no such folder, allowed: ") as caught:
        spec(path).folder(tmp_path)
    assert not isinstance(caught.value, NotThere)


@pytest.mark.parametrize("path", [None, 3, "", " ", ["a"], {"a": 1}, "data:mine", "a\0b"])
def test_a_path_that_is_none_is_refused(path: object, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match=r"model\.path: found .*, allowed: package:<folder>"):
        spec(path).folder(tmp_path)


def test_plan_goes_on_where_a_command_brings_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--experiment", "symphony", "--task", "gridworld", "--seed", "11", "--data", str(tmp_path)]
    assert main(["plan", "quickstart", *place, "pool=single_llama_3_2_1b"]) == 0
    assert "get it with `symphony fetch model/llama_3_2_1b`" in capsys.readouterr().err
