"""Quantised checkpoints: saved, loaded again by the same path as any model, and compared with their source."""

from __future__ import annotations

import hashlib
import json
import math
import runpy
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from symphony.models.folder import PACKAGE
from symphony.models.gguf.backend import GGUFBackend
from symphony.models.hf.backend import HFBackend
from symphony.models.revision import revision_of, weights_digest
from symphony.types import Draw, Message, Phase, Request, Sampling, SymphonyError
from symphony.weights.quantise import TEXT as SHIPPED
from symphony.weights.quantise import peak_memory, quantise
from tests import tiny_gguf

write_model = runpy.run_path(str(Path(__file__).parents[1] / "models" / "conftest.py"))["write_model"]
EMBEDDED = PACKAGE / "embedded" / "weights" / "llama"
TEXT = "Open the red door with the key."
BALLAST = 1_500_000_000  # bytes, far more than the tiny models and their libraries take


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    write_model(folder, "llama")
    return folder


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scheme -> checkpoint; that of nf4 is compared with its source, while this process holds much memory."""
    folder = tmp_path_factory.mktemp("made")
    ballast = bytearray(b"x") * BALLAST
    quantise(source, folder / "nf4", "nf4", text=TEXT)
    del ballast
    for scheme in ("fp4", "int8"):
        quantise(source, folder / scheme, scheme)
    return {scheme: folder / scheme for scheme in ("nf4", "fp4", "int8")}


def manifest_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["nf4", "fp4", "int8"])
def test_a_quantised_checkpoint_is_smaller_loads_and_answers(made: dict[str, Path], scheme: str) -> None:
    manifest = manifest_of(made[scheme])
    assert manifest["target_bytes"] < manifest["source_bytes"]
    backend = HFBackend(made[scheme])
    request = Request(
        messages=(Message(role="user", content="go"),),
        sampling=Sampling(temperature=1.0, max_tokens=5),
        draw=Draw(seed=0, problem="p", node=0, phase=Phase.EXPAND, index=0),
    )
    first = backend.generate([request])
    assert first[0].completion_tokens > 0
    assert HFBackend(made[scheme]).generate([request]) == first


def test_the_manifest_says_what_was_made_of_what(source: Path, made: dict[str, Path]) -> None:
    manifest = manifest_of(made["nf4"])
    assert manifest["source_digest"] == weights_digest(source)
    assert manifest["scheme"] == "nf4"


def test_the_manifest_says_what_quantisation_costs(made: dict[str, Path]) -> None:
    manifest = manifest_of(made["nf4"])
    assert 0 < manifest["relative_logit_error"] < 1
    assert 0 <= manifest["top1_agreement"] <= 1
    assert manifest["perplexity_after"] != manifest["perplexity_before"] > 1
    assert manifest["tokens_per_second_before"] > 0
    assert manifest["tokens_per_second_after"] > 0
    assert manifest["load_seconds"] > 0


def test_both_models_are_read_on_the_shipped_text(source: Path, made: dict[str, Path]) -> None:
    import torch

    backend = HFBackend(source)
    ids = torch.tensor(backend.tokenizer(SHIPPED.read_text(), add_special_tokens=False)["input_ids"])
    losses = []
    with torch.inference_mode():
        for window in ids.split(256):
            table = torch.log_softmax(backend.model(window[None]).logits[0].double(), -1)
            losses += [-float(table[place, token]) for place, token in enumerate(window[1:])]
    manifest = manifest_of(made["nf4"])
    assert manifest["text_perplexity_before"] == pytest.approx(math.exp(sum(losses) / len(losses)), rel=1e-4)
    assert manifest["text_perplexity_after"] not in (manifest["text_perplexity_before"], None)


def test_the_peak_is_of_a_process_of_its_own(made: dict[str, Path]) -> None:
    assert peak_memory("cpu") > BALLAST
    for name in ("peak_memory_before", "peak_memory_after"):
        assert 100e6 < manifest_of(made["nf4"])[name] < BALLAST


def test_without_prompts_nothing_is_compared(source: Path, tmp_path: Path) -> None:
    manifest = quantise(source, tmp_path / "q", "nf4")
    assert manifest["relative_logit_error"] is manifest["perplexity_after"] is None


@pytest.mark.slow
def test_a_copy_at_full_precision_has_no_error(source: Path, tmp_path: Path) -> None:
    manifest = quantise(source, tmp_path / "q", "none", text=TEXT)
    assert manifest["relative_logit_error"] == 0
    assert manifest["top1_agreement"] == 1
    assert manifest["perplexity_after"] == manifest["perplexity_before"]
    assert manifest["text_perplexity_after"] == manifest["text_perplexity_before"]


def test_another_scheme_is_another_revision(source: Path, tmp_path: Path) -> None:
    quantise(source, tmp_path / "q", "nf4")
    assert revision_of(tmp_path / "q").endswith(":stored")
    assert revision_of(tmp_path / "q") != revision_of(source, quantization="nf4")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the tests as a GGUF file."""
    folder = tmp_path_factory.mktemp("file")
    write_model(folder, "qwen3", head_dim=128)  # transformers does not read it from a GGUF file, and takes it as 128
    tiny_gguf.write(folder, folder / "tiny.gguf")
    return folder / "tiny.gguf"


def test_a_gguf_file_is_read_as_the_numbers_that_it_stands_for(file: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    manifest = quantise(file, tmp_path / "q", "none")
    assert manifest["source_bytes"] == file.stat().st_size
    assert manifest["source_digest"] == hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    before, after = (load_file(folder / "model.safetensors") for folder in (file.parent, tmp_path / "q"))
    assert before.keys() == after.keys()
    assert all(bool((before[name] == after[name]).all()) for name in before)


@pytest.mark.slow
def test_a_gguf_file_is_compared_with_its_own_engine(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    engine = partial(GGUFBackend, file, cells=1024)
    manifest = quantise(file, tmp_path / "q", "nf4", text=TEXT, engine=engine)
    assert manifest["tokens_per_second_before"] > manifest["tokens_per_second_after"] > 0, (
        "llama.cpp is the quicker one"
    )
    assert manifest["perplexity_before"] != manifest["perplexity_after"]


@pytest.mark.slow
def test_sixteen_bits_halve_a_model_and_change_little(source: Path, tmp_path: Path) -> None:
    manifest = quantise(source, tmp_path / "q", "bfloat16", text=TEXT)
    assert manifest["target_bytes"] == pytest.approx(manifest["source_bytes"] / 2, rel=0.1)
    assert 0 < manifest["relative_logit_error"] < 0.05


def test_a_file_that_is_no_gguf_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"nothing of the kind")
    with pytest.raises(SymphonyError, match=r"x\.gguf: found a file that begins with b'noth', allowed: a GGUF file"):
        quantise(tmp_path / "x.gguf", tmp_path / "q", "nf4")


def test_an_unknown_scheme_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="scheme: found 'int3', allowed: nf4, fp4, int8, bfloat16, none"):
        quantise(source, tmp_path / "q", "int3")


def test_a_target_that_can_not_be_written_is_told_before_anything_is_loaded(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("symphony.weights.quantise.load_tokenizer", None)
    monkeypatch.setattr("symphony.weights.quantise.load_model", None)
    with pytest.raises(SymphonyError, match="allowed: a folder that can be written"):
        quantise(source, tmp_path / "file" / "q", "nf4")


# --------------------------------------------------------------------------- what is there already


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def notes(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "thesis.md").write_text("years of work")
    return folder


def foreign(folder: Path) -> Path:
    notes(folder)
    (folder / "manifest.json").write_text(json.dumps({"source_digest": "0" * 16, "scheme": "nf4"}))
    return folder


def added_to(folder: Path, made: Path) -> Path:
    shutil.copytree(made, folder)
    (folder / "thesis.md").write_text("years of work")
    return folder


def linked(folder: Path) -> Path:
    notes(folder.with_name("real"))
    folder.symlink_to(folder.with_name("real"))
    return folder


def test_a_target_that_is_a_link_to_itself_is_told(source: Path, tmp_path: Path) -> None:
    (tmp_path / "q").symlink_to(tmp_path / "q")
    with pytest.raises(SymphonyError, match=rf"{tmp_path}/q: found .*, allowed: "):
        quantise(source, tmp_path / "q", "nf4")
    assert (tmp_path / "q").is_symlink()


@pytest.mark.parametrize("prepare", [notes, foreign, linked, lambda folder: folder.write_text("x") and folder])
def test_a_target_that_this_command_did_not_make_stays_and_is_named(source: Path, tmp_path: Path, prepare: Any) -> None:
    target = prepare(tmp_path / "q")
    before = contents(tmp_path)
    with pytest.raises(SymphonyError, match=rf"{tmp_path}/(q|real): found .*, allowed: "):
        quantise(source, target, "nf4")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("where", [".", "..", "inside"])
def test_a_target_that_is_within_or_above_its_source_is_refused(tmp_path: Path, where: str) -> None:
    shutil.copytree(EMBEDDED, tmp_path / "source")
    before = contents(tmp_path)
    with pytest.raises(SymphonyError, match=r"--out: found .*, allowed: a folder neither within nor above the source"):
        quantise(tmp_path / "source", tmp_path / "source" / where, "nf4")
    assert contents(tmp_path) == before


def test_a_checkpoint_is_replaced_by_one_of_the_same_source_also_without_its_manifest(
    source: Path, made: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(made["int8"], tmp_path / "q")
    (tmp_path / "q" / "manifest.json").unlink()  # as the workflow does before it makes one again
    quantise(source, tmp_path / "q", "nf4")
    assert manifest_of(tmp_path / "q")["scheme"] == "nf4"
    assert [path.name for path in tmp_path.iterdir()] == ["q"]


def test_a_checkpoint_of_other_weights_stays(made: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(made["int8"], tmp_path / "q")
    with pytest.raises(SymphonyError, match=r"q: found a checkpoint made from .*, allowed: "):
        quantise(EMBEDDED, tmp_path / "q", "nf4")


def test_what_was_added_to_a_checkpoint_keeps_it(source: Path, made: dict[str, Path], tmp_path: Path) -> None:
    added_to(tmp_path / "q", made["int8"])
    with pytest.raises(SymphonyError, match=r"q: found thesis\.md, which this command did not make"):
        quantise(source, tmp_path / "q", "nf4")
