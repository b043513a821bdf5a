"""Real servers, real client: what a server honours gives the in-process backend's results; what not, `doctor` tells."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.forecast import doctor
from symphony.models.api.backend import APIModel
from symphony.models.api.probe import probe
from symphony.models.hf.backend import HFBackend
from symphony.plan.compose import plan
from symphony.plan.specs import groups
from symphony.records.records import CallRecord, NodeRecord, PickRecord, ProblemRecord, ReflectionRecord, read_records
from symphony.run.runner import Place, run_group
from symphony.types import Completion, Request
from tests.own_pool import API, conf_with
from tests.scripted_pool import ROOT, Silent

WEIGHTS = ROOT / "symphony" / "embedded" / "weights"
STARTING_S = 120
"""For a server to listen; it imports torch first."""
LIMITS = ("budget.problem.tokens=null", "budget.problem.calls=24")
GREEDY = ("tasks=[mini_qa]", "seeds=[0]", "problems=2", "preset.temperature=0", *LIMITS)
NAMES = ("llama", "qwen3", "neox")
TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|assistant|>",
    "fields": {"content": {"close_pattern": r"\s*<\|end\|>", "content": "text"}},
}
"""How a reply in the embedded models' chat format is read."""


@contextmanager
def serving(command: Sequence[str], port: int, cwd: Path) -> Iterator[str]:
    """A server's base_url while the block lasts; nothing of it is left afterwards."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "hub"), "OMP_NUM_THREADS": "1"}
    log = cwd / "log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        late = time.monotonic() + STARTING_S
        while not listens(port):
            assert server.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < late, log.read_text()[-2000:]
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`transformers serve` over the embedded pool; `qwen3-plain` and `llama-drawn` are the weights otherwise set up."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("llama", "neox", "qwen3", "llama-drawn"):
        shutil.copytree(WEIGHTS / name.partition("-")[0], folder / name)
    (folder / "qwen3-plain").symlink_to(WEIGHTS / "qwen3")
    amend(folder / "qwen3" / "tokenizer_config.json", response_template=TEMPLATE)
    amend(folder / "llama-drawn" / "generation_config.json", do_sample=True)
    port = free_port()
    command = [str(Path(sysconfig.get_path("scripts")) / "transformers"), "serve", "--device", "cpu"]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    with serving(command, port, folder) as url:
        yield url


def amend(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def played(conf: Path, pool: str, outputs: Path) -> dict[type, list[Any]]:
    """Every record of SYMPHONY's greedy run by a pool, without the run's name."""
    (group,) = groups(plan("quickstart", (*GREEDY, f"pool={pool}"), experiment="symphony", conf=conf))
    run_group(group, Place(outputs=outputs), Silent())
    folder = outputs / "runs" / group.runs[0].digest
    kinds = (CallRecord, ProblemRecord, NodeRecord, PickRecord, ReflectionRecord)
    return {kind: [replace(record, run="") for record in read_records(folder, kind)] for kind in kinds}


def remote(url: str, *names: str) -> dict[str, dict[str, object]]:
    """As cheap as a model in this process, so that their records can be equal."""
    free = {"prompt": 0, "completion": 0}
    return {name: {"_target_": API, "base_url": url, "model": name, "price": free} for name in names}


def found_by_doctor(conf: Path, pool: str, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> set[str]:
    """What `symphony doctor` tells of the parameters, for each agent of a pool."""
    patch.setattr(doctor, "_GPU", "print('[]')")  # importing torch takes seconds
    assert main(["doctor", "--conf", str(conf), "--data", str(conf.parent / "data"), "--pool", pool]) == 0
    lines = capsys.readouterr().out.splitlines()
    return {line.partition(" listed; ")[2].partition("; about ")[0] for line in lines if f" pool {pool}, " in line}


@pytest.mark.slow
def test_a_greedy_run_behind_transformers_serve_leaves_the_records_of_one_in_this_process(
    served: str, tmp_path: Path
) -> None:
    conf = conf_with(tmp_path / "conf", "served", remote(served, *NAMES))
    here, there = (played(conf, pool, tmp_path / "out") for pool in ("embedded_trio", "served"))
    assert there == here
    assert {call.agent for call in here[CallRecord]} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_transformers_serve_gives_the_backends_greedy_answers_under_stop_strings_and_limits(
    served: str, name: str, backends: Callable[[str], HFBackend], ask: Callable[..., Request]
) -> None:
    stops: tuple[tuple[str, ...], ...] = ((), ("Action",), ("cti", "."))
    requests = [
        ask(text, temperature=0.0, max_tokens=limit, stop=stop)
        for text in ("go", "Question: Who is the judge of Higuvo?", "Task: shop")
        for limit in (1, 4, 10, 30)
        for stop in stops
    ]
    here = backends(f"embedded-{name}").generate(requests)
    model = APIModel(served, name)
    there = asyncio.run(together(model, requests))
    for request, ours, theirs in zip(requests, here, there, strict=True):
        if ours.completion_tokens == request.sampling.max_tokens and not request.sampling.stop:
            ours = replace(ours, finish_reason="length")  # it says so even where the model ended the answer
        assert shown(theirs) == shown(ours)


async def together(model: APIModel, requests: Sequence[Request]) -> list[Completion]:
    return await asyncio.gather(*(model.complete(request) for request in requests))


def shown(completion: Completion) -> tuple[object, ...]:
    counts = (completion.prompt_tokens, completion.completion_tokens)
    return completion.text, completion.finish_reason, *counts, completion.error


@pytest.mark.slow
def test_doctor_tells_what_transformers_serve_passes_over(
    served: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = remote(served, *NAMES)
    for name, agent in agents.items():
        agent["tokenizer"] = f"package:embedded/weights/{name}"
    conf = conf_with(tmp_path / "conf", "served", agents)
    found = found_by_doctor(conf, "served", capsys, monkeypatch)
    assert found == {"kept: stop; ignored: temperature, n, logprobs; unsure: seed; counts tokens as its tokenizer does"}


@pytest.mark.parametrize(
    ("name", "kept", "ignored", "unsure", "repeats"),
    [
        ("llama-drawn", ("seed", "temperature", "stop"), ("n", "logprobs"), (), False),
        ("qwen3-plain", (), ("temperature", "n", "logprobs"), ("seed", "stop"), True),
    ],
)
def test_its_own_files_decide_whether_transformers_serve_draws_and_how_it_reads_a_reply(
    served: str, name: str, kept: tuple[str, ...], ignored: tuple[str, ...], unsure: tuple[str, ...], repeats: bool
) -> None:
    found = probe({"base_url": served, "model": name})
    assert (found.kept, found.ignored, found.unsure, found.repeats) == (kept, ignored, unsure, repeats)


# --------------------------------------------------------------------------- llama-cpp-python's server

needs_llama_cpp = pytest.mark.skipif(
    not all(map(find_spec, ("llama_cpp", "sse_starlette", "gguf"))),
    reason="needs pip install 'llama-cpp-python[server]' gguf",
)


def write_gguf(folder: Path, path: Path) -> None:
    """A Llama folder's weights in float32 as GGUF, with the chat template; only the ids of the tokens are of use."""
    import gguf
    from safetensors.numpy import load_file

    config = json.loads((folder / "config.json").read_text())
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    heads, width = config["num_attention_heads"], config["head_dim"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token.startswith("<|") else normal for token in tokens])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_chat_template((folder / "chat_template.jinja").read_text())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, weights in load_file(folder / "model.safetensors").items():
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp turns neighbours, transformers halves
            count = heads if "q_proj" in name else config["num_key_value_heads"]
            weights = weights.reshape(count, 2, width // 2, -1).swapaxes(1, 2).reshape(weights.shape)
        told = names.get_name(name, try_suffixes=(".weight",))
        assert told is not None
        writer.add_tensor(told, weights.astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def gguf_served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """llama-cpp-python's server over the embedded Llama, with the tokenizer that GGUF has no form for beside it."""
    folder = tmp_path_factory.mktemp("gguf")
    write_gguf(WEIGHTS / "llama", folder / "llama.gguf")
    port = free_port()
    command = [sys.executable, "-m", "llama_cpp.server", "--model", "llama.gguf", "--model_alias", "llama"]
    command += ["--hf_pretrained_model_name_or_path", str(WEIGHTS / "llama"), "--n_ctx", "768", "--n_threads", "1"]
    with serving([*command, "--host", "127.0.0.1", "--port", str(port)], port, folder) as url:
        yield url


@pytest.mark.slow
@needs_llama_cpp
def test_a_greedy_run_behind_llama_cpp_pythons_server_is_that_of_this_process_but_for_spaces_and_end_tokens(
    gguf_served: str, tmp_path: Path
) -> None:
    agent: dict[str, Any] = {**remote(gguf_served, "llama")["llama"], "extra": {"repeat_penalty": 1.0}}
    conf = conf_with(tmp_path / "conf", "gguf", {"llama": agent})
    here, there = (played(conf, pool, tmp_path / "out") for pool in ("embedded_llama_only", "gguf"))
    assert {call.finish_reason for call in here[CallRecord]} == {"stop"}
    told = [
        replace(call, text=f" {call.text}", completion_tokens=call.completion_tokens - 1) for call in here[CallRecord]
    ]
    assert there[CallRecord] == told
    for kind in (NodeRecord, PickRecord, ReflectionRecord):
        assert there[kind] == here[kind]
    for ours, theirs in zip(here[ProblemRecord], there[ProblemRecord], strict=True):
        assert theirs == replace(ours, completion_tokens=ours.completion_tokens - ours.calls)


@pytest.mark.slow
@needs_llama_cpp
def test_doctor_tells_what_llama_cpp_pythons_server_passes_over(
    gguf_served: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = {"llama": {**remote(gguf_served, "llama")["llama"], "tokenizer": "package:embedded/weights/llama"}}
    conf = conf_with(tmp_path / "conf", "gguf", agents)
    found = found_by_doctor(conf, "gguf", capsys, monkeypatch)
    assert found == {"kept: seed, temperature, stop; ignored: n, logprobs; counts tokens as its tokenizer does"}
