"""A model's folder is whole, or refused in one line that names it: nothing broken is loaded."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from symphony.models.folder import PACKAGE, check_folder, header
from symphony.models.hf.backend import HFBackend
from symphony.types import Draw, Message, Phase, Request, Sampling, SymphonyError

WHOLE = PACKAGE / "embedded" / "weights" / "llama"
Mutate = Callable[[Path], None]
HTML = "<!DOCTYPE html><html><body>Sign in to download</body></html>"


# --------------------------------------------------------------------------- ways to break a folder


def text(name: str, content: str) -> Mutate:
    return lambda folder: void((folder / name).write_text(content))


def raw(name: str, content: bytes) -> Mutate:
    return lambda folder: void((folder / name).write_bytes(content))


def without(*names: str) -> Mutate:
    def mutate(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return mutate


def cut(name: str, share: float) -> Mutate:
    def mutate(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share) or -1])

    return mutate


def keys(name: str, **values: Any) -> Mutate:
    def mutate(folder: Path) -> None:
        plain = {**json.loads((folder / name).read_text()), **values}
        plain = {key: value for key, value in plain.items() if value is not ...}
        (folder / name).write_text(json.dumps(plain))

    return mutate


def tensors(change: Callable[[dict[str, Any]], None]) -> Mutate:
    def mutate(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})

    return mutate


def parts(**index: Any) -> Mutate:
    """The weights as one part that an index names, changed by `index`."""

    def mutate(folder: Path) -> None:
        part = folder / "model-00001-of-00001.safetensors"
        (folder / "model.safetensors").rename(part)
        plain = {"metadata": {}, "weight_map": dict.fromkeys(header(part), part.name), **index}
        (folder / "model.safetensors.index.json").write_text(json.dumps(plain))

    return mutate


def spoil(name: str, value: float) -> Mutate:
    def change(held: dict[str, Any]) -> None:
        held[name].view(-1)[7] = value

    return tensors(change)


def rename(held: dict[str, Any]) -> None:
    held["model.layers.0.mlp.up.weight"] = held.pop("model.layers.0.mlp.up_proj.weight")


def more_words(folder: Path) -> None:
    plain = json.loads((folder / "tokenizer.json").read_text())
    plain["model"]["vocab"]["beyond"] = 9999
    (folder / "tokenizer.json").write_text(json.dumps(plain))


def void(_: object) -> None:
    return None


def config_as_folder(folder: Path) -> None:
    (folder / CONFIG).unlink()
    (folder / CONFIG).mkdir()


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def as_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("x")


CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
MUTATIONS: dict[str, Mutate] = {
    "config.json: none": without(CONFIG),
    "config.json: empty": text(CONFIG, ""),
    "config.json: cut": cut(CONFIG, 0.5),
    "config.json: HTML": text(CONFIG, HTML),
    "config.json: not UTF-8": raw(CONFIG, b"\xff\xfe{}"),
    "config.json: a list": text(CONFIG, "[]"),
    "config.json: null": text(CONFIG, "null"),
    "config.json: nested too deep": text(CONFIG, "[" * 100_000),
    "config.json: a number of 5,000 digits": text(CONFIG, '{"model_type": ' + "9" * 5000 + "}"),
    "config.json: a folder": config_as_folder,
    "config.json: no architecture": keys(CONFIG, model_type=...),
    "config.json: a number format that is none": keys(CONFIG, torch_dtype="nonsense"),
    "config.json: a number format that is no text": keys(CONFIG, dtype=7),
    "config.json: an unknown architecture": keys(CONFIG, model_type="nothing"),
    "config.json: an architecture that is no text": keys(CONFIG, model_type=7),
    "config.json: an architecture that speaks no text": keys(CONFIG, model_type="vit"),
    "config.json: a program of its own": keys(CONFIG, model_type="own", auto_map={"AutoConfig": "own.Config"}),
    "config.json: more layers": keys(CONFIG, num_hidden_layers=5),
    "config.json: fewer layers": keys(CONFIG, num_hidden_layers=2),
    "config.json: layers as text": keys(CONFIG, num_hidden_layers="three"),
    "config.json: layers null": keys(CONFIG, num_hidden_layers=None),
    "config.json: another width": keys(CONFIG, hidden_size=64),
    "config.json: no width": keys(CONFIG, hidden_size=0),
    "config.json: no heads": keys(CONFIG, num_attention_heads=0, head_dim=...),
    "config.json: a smaller vocabulary": keys(CONFIG, vocab_size=100),
    "config.json: a larger vocabulary": keys(CONFIG, vocab_size=1000),
    "config.json: an untied head": keys(CONFIG, tie_word_embeddings=False),
    "config.json: an unknown activation": keys(CONFIG, hidden_act="nothing"),
    "config.json: a negative context": keys(CONFIG, max_position_embeddings=-1),
    "config.json: no context": keys(CONFIG, max_position_embeddings=0),
    "config.json: another inner width": keys(CONFIG, intermediate_size=8),
    "config.json: a context as text": keys(CONFIG, max_position_embeddings="many"),
    "config.json: an end beyond the vocabulary": keys(CONFIG, eos_token_id=128009),
    "config.json: an unknown quantisation": keys(CONFIG, quantization_config={"quant_method": "nothing"}),
    "config.json: a quantisation that is none": keys(CONFIG, quantization_config=[]),
    "config.json: four bits that the weights have not": keys(
        CONFIG, quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    ),
    "config.json: eight bits that the weights have not": keys(
        CONFIG, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}
    ),
    "weights: none": without(WEIGHTS),
    "weights: empty": text(WEIGHTS, ""),
    "weights: cut": cut(WEIGHTS, 0.5),
    "weights: cut in the header": cut(WEIGHTS, 0.0005),
    "weights: cut by a byte": lambda folder: void((folder / WEIGHTS).write_bytes((WHOLE / WEIGHTS).read_bytes()[:-1])),
    "weights: a byte more": lambda folder: void((folder / WEIGHTS).write_bytes((WHOLE / WEIGHTS).read_bytes() + b"\0")),
    "weights: HTML": text(WEIGHTS, HTML),
    "weights: a header that is no JSON": raw(WEIGHTS, struct.pack("<Q", 9) + b"x" * 50),
    "weights: a header of a list": raw(WEIGHTS, struct.pack("<Q", 2) + b"[]"),
    "weights: a header of nothing": raw(WEIGHTS, struct.pack("<Q", 2) + b"{}"),
    "weights: a huge header": raw(WEIGHTS, struct.pack("<Q", 2**62) + b"{}"),
    "weights: a pointer of Git LFS": text(WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "weights: a tensor too few": tensors(lambda held: void(held.pop("model.norm.weight"))),
    "weights: a tensor too many": tensors(lambda held: held.update(other=held["model.norm.weight"].clone())),
    "weights: a renamed tensor": tensors(rename),
    "weights: a misshapen tensor": tensors(
        lambda held: held.update({"model.norm.weight": held["model.norm.weight"][:7].clone()})
    ),
    "weights: NaN": spoil("model.layers.1.mlp.up_proj.weight", float("nan")),
    "weights: infinity": spoil("model.embed_tokens.weight", float("-inf")),
    "weights: pickled": lambda folder: void((folder / WEIGHTS).rename(folder / "pytorch_model.bin")),
    "weights: an adapter": text("adapter_config.json", "{}"),
    "index: names a file that is not there": parts(weight_map={"model.norm.weight": "gone.safetensors"}),
    "index: names a tensor that is not there": parts(weight_map={"x": "model-00001-of-00001.safetensors"}),
    "index: names another folder's file": parts(weight_map={"model.norm.weight": "../model.safetensors"}),
    "index: names a file of the system": parts(weight_map={"model.norm.weight": "/etc/passwd"}),
    "index: names nothing": parts(weight_map={"model.norm.weight": ""}),
    "index: no weight_map": parts(weight_map=None),
    "index: no metadata": parts(metadata=None),
    "index: no JSON": lambda folder: (parts()(folder), text("model.safetensors.index.json", "{")(folder))[1],
    "tokenizer.json: none": without(TOKENIZER),
    "tokenizer.json: empty": text(TOKENIZER, ""),
    "tokenizer.json: cut": cut(TOKENIZER, 0.5),
    "tokenizer.json: HTML": text(TOKENIZER, HTML),
    "tokenizer.json: a list": text(TOKENIZER, "[]"),
    "tokenizer.json: nothing in it": text(TOKENIZER, "{}"),
    "tokenizer.json: an unknown kind": keys(TOKENIZER, model={"type": "nothing"}),
    "tokenizer.json: no words": keys(TOKENIZER, model={"type": "BPE", "vocab": {}, "merges": []}),
    "tokenizer.json: words beyond the model's": more_words,
    "tokenizer_config.json: empty": text("tokenizer_config.json", ""),
    "tokenizer_config.json: cut": cut("tokenizer_config.json", 0.5),
    "tokenizer_config.json: a list": text("tokenizer_config.json", "[1]"),
    "special_tokens_map.json: no JSON": text("special_tokens_map.json", "{"),
    "generation_config.json: empty": text("generation_config.json", ""),
    "generation_config.json: HTML": text("generation_config.json", HTML),
    "generation_config.json: a list": text("generation_config.json", "[]"),
    "generation_config.json: an end beyond the vocabulary": keys("generation_config.json", eos_token_id=[2, 128009]),
    "generation_config.json: a negative end": keys("generation_config.json", eos_token_id=-1),
    "generation_config.json: an end as text": keys("generation_config.json", eos_token_id="</s>"),
    "chat template: none": without("chat_template.jinja"),
    "chat template: empty": text("chat_template.jinja", ""),
    "chat template: no Jinja": text("chat_template.jinja", "{% for %}"),
    "chat template: raises": text("chat_template.jinja", "{{ raise_exception('no') }}"),
    "chat template: makes nothing": text("chat_template.jinja", "{% if false %}x{% endif %}"),
    "chat template: the same of any chat": text("chat_template.jinja", "{{ bos_token }}x"),
    "chat template: roles alone": text("chat_template.jinja", "{% for one in messages %}{{ one.role }}{% endfor %}"),
    "chat template: not UTF-8": raw("chat_template.jinja", b"\xff\xfe\x00"),
    "folder: empty": empty,
    "folder: none": lambda folder: shutil.rmtree(folder),
    "folder: a file": as_file,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(WHOLE, tmp_path / "model")
    return tmp_path / "model"


def test_a_whole_folder_is_none_of_them(folder: Path) -> None:
    assert HFBackend(folder).context == 768


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_broken_folder_is_refused_in_one_line_that_names_it(name: str, folder: Path) -> None:
    MUTATIONS[name](folder)
    with pytest.raises(SymphonyError) as caught:
        HFBackend(folder)
    told = str(caught.value)
    assert "\n" not in told
    assert str(folder) in told
    assert ": found " in told
    assert ", allowed: " in told


def test_misshapen_tensors_are_named(folder: Path) -> None:
    MUTATIONS["config.json: another inner width"](folder)
    with pytest.raises(
        SymphonyError, match=r"found misshapen tensors: model\.layers\.0\.mlp\.down_proj\.weight and 8 more"
    ):
        HFBackend(folder)


@pytest.mark.parametrize("theta", [0.0, -1.0])
def test_an_answer_of_no_numbers_is_a_failed_call(theta: float, folder: Path) -> None:
    keys(CONFIG, rope_parameters={"rope_type": "default", "rope_theta": theta})(folder)
    for answer in HFBackend(folder).generate([ask_for("go"), ask_for("go on")]):
        assert answer.finish_reason == "error"
        assert answer.error is not None
        assert "logits: found NaN or infinity, allowed: " in answer.error


@pytest.mark.parametrize("scheme", ["nf4", "int8"])
def test_nan_is_found_in_a_quantised_layer_too(scheme: Any, folder: Path) -> None:
    MUTATIONS["weights: NaN"](folder)
    with pytest.raises(SymphonyError, match=r"found NaN or infinity in tensor model\.layers\.1\.mlp\.up_proj\.weight"):
        HFBackend(folder, quantization=scheme)


def test_weights_in_parts_are_whole(folder: Path) -> None:
    parts()(folder)
    check_folder(folder)
    assert HFBackend(folder).context == 768


def test_a_padding_token_that_the_model_does_not_know_is_replaced(folder: Path) -> None:
    plain = json.loads((folder / TOKENIZER).read_text())
    added = {**plain["added_tokens"][0], "id": 9999, "content": "<|fill|>"}
    (folder / TOKENIZER).write_text(json.dumps({**plain, "added_tokens": [*plain["added_tokens"], added]}))
    keys("tokenizer_config.json", pad_token="<|fill|>")(folder)
    backend = HFBackend(folder)
    assert backend.tokenizer.pad_token_id > 576
    request = [ask_for(text) for text in ("go", "go on and on")]
    assert [answer.finish_reason for answer in backend.generate(request)] != ["error", "error"]


def test_a_prompt_of_a_token_that_the_model_does_not_know_is_a_failed_call(folder: Path) -> None:
    plain = json.loads((folder / TOKENIZER).read_text())
    added = {**plain["added_tokens"][0], "id": 9999, "content": "<|image|>"}
    (folder / TOKENIZER).write_text(json.dumps({**plain, "added_tokens": [*plain["added_tokens"], added]}))
    (answer,) = HFBackend(folder).generate([ask_for("see <|image|>")])
    assert answer.error is not None
    assert ", allowed: 0 to 576" in answer.error


def ask_for(content: str) -> Request:
    return Request(
        messages=(Message(role="user", content=content),),
        sampling=Sampling(temperature=0.0, max_tokens=4),
        draw=Draw(seed=0, problem="p", node=0, phase=Phase.EXPAND, index=0),
    )
