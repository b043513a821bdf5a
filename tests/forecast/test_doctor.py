"""What the machine has: told in a line each, keys never shown, and a code that is not 0 only for what was asked for."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.forecast import doctor
from symphony.models.api.probe import Probe, probe
from tests.stub_server import Asked, Reply, StubServer

ROOT = Path(__file__).parents[2]
CANARY = "sk-canary/0123456789+abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(doctor, "_GPU", "print('[]')")  # importing torch takes seconds, and is looked at once below


def server(asked: Asked, *, ignoring: tuple[str, ...] = ()) -> Any:
    """A server that takes every parameter but some."""
    if asked.path.endswith("/models"):
        return {"data": [{"id": "m"}]}
    body = {name: value for name, value in asked.body.items() if name not in ignoring}
    chance = body.get("seed", asked.number) if body.get("temperature") else "greedy"
    text = f"The ship {chance} sails to a far harbour."
    for stop in body.get("stop", ()):
        text = text.partition(stop)[0]
    choice: dict[str, Any] = {"message": {"content": text}}
    if body.get("logprobs"):
        choice["logprobs"] = {"content": [{"token": "The", "logprob": -0.1}]}
    return {"choices": [choice] * body.get("n", 1), "usage": {"prompt_tokens": 15, "completion_tokens": 9}}


def probed(*ignoring: str, **settings: Any) -> Probe:
    with StubServer(lambda asked: server(asked, ignoring=ignoring)) as stub:
        return probe({"base_url": stub.url, "model": "m", **settings})


# --------------------------------------------------------------------------- endpoints


def test_a_server_that_takes_every_parameter_ignores_none() -> None:
    found = probed()
    assert (found.answers, found.models) == (True, 1)
    assert set(found.kept) == {"seed", "temperature", "n", "stop", "logprobs"}


@pytest.mark.parametrize("name", ["seed", "n", "stop", "logprobs"])
def test_a_parameter_that_is_passed_over_is_named(name: str) -> None:
    assert probed(name).ignored == (name,)


@pytest.mark.parametrize(("sequential", "delay"), [(True, 0.15), (False, 0.15), (None, 0.0)])
def test_a_server_that_answers_one_at_a_time_is_told_apart(sequential: bool | None, delay: float) -> None:
    free = [0.0]

    def script(asked: Asked) -> Reply:
        now = time.monotonic()
        begin = max(now, free[0]) if sequential else now
        free[0] = begin + delay
        return Reply(content=server(asked), delay_s=begin + delay - now)

    with StubServer(script) as stub:
        assert probe({"base_url": stub.url, "model": "m"}).sequential is sequential


def test_one_answer_at_every_temperature_shows_that_it_is_ignored_and_nothing_about_the_seed() -> None:
    found = probed("temperature")
    assert (found.ignored, found.unsure) == (("temperature",), ("seed",))


def test_one_answer_to_every_seed_leaves_both_unsure_where_no_higher_temperature_is_taken() -> None:
    def sure(asked: Asked) -> Any:
        if asked.body.get("temperature", 0) > 1:
            return Reply(status=400, content="temperature: at most 1")
        return server(asked, ignoring=("seed", "temperature"))

    with StubServer(sure) as stub:
        assert probe({"base_url": stub.url, "model": "m"}).unsure == ("seed", "temperature")


def test_a_stop_string_that_ends_the_answer_is_taken_though_it_stays_in_the_text() -> None:
    def inclusive(asked: Asked) -> Any:
        reply = server(asked, ignoring=("stop",))
        for stop in asked.body.get("stop", ()):
            message = reply["choices"][0]["message"]
            message["content"] = message["content"].partition(stop)[0] + stop
        return reply

    with StubServer(inclusive) as stub:
        assert "stop" in probe({"base_url": stub.url, "model": "m"}).kept


def test_an_answer_that_repeats_the_prompt_is_told(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def echo(asked: Asked) -> Any:
        reply = server(asked)
        for choice in reply.get("choices", ()):
            choice["message"]["content"] = f"<user> {asked.body['messages'][0]['content']} <end> The ship."
        return reply

    with StubServer(echo) as stub:
        remote(conf, stub.url, key="null")
        code, text = told(capsys, conf, "--pool", "remote")
    assert code == 0
    assert "; repeats the prompt in its answer; " in text
    assert text.rstrip().endswith("; about the prompt: see docs/models.md, What servers ignore")


def test_a_parameter_that_the_config_omits_is_neither_sent_nor_judged() -> None:
    with StubServer(server) as stub:
        found = probe({"base_url": stub.url, "model": "m", "omit": ["stop"]})
    assert not [asked for asked in stub.asked if "stop" in asked.body]
    assert "stop" not in (*found.kept, *found.ignored, *found.refused, *found.unsure)


def test_a_parameter_that_ends_in_an_error_is_refused() -> None:
    def strict(asked: Asked) -> Any:
        return Reply(content="no", status=400) if "n" in asked.body else server(asked)

    with StubServer(strict) as stub:
        assert probe({"base_url": stub.url, "model": "m"}).refused == ("n",)


@pytest.mark.parametrize("reply", [Reply(status=500, content="broken"), Reply(content="no json"), Reply(cut="before")])
def test_an_endpoint_that_completes_nothing_does_not_answer(reply: Reply) -> None:
    with StubServer(lambda _: reply) as stub:
        found = probe({"base_url": stub.url, "model": "m"})
    assert not found.answers
    assert found.problem.startswith("found ")


def test_a_key_is_not_sent_on_by_a_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", CANARY)
    with StubServer(server) as other:
        away = Reply(status=307, headers={"location": other.url})
        with StubServer(lambda _: away) as stub:
            assert not probe({"base_url": stub.url, "model": "m", "key_env": "SOME_API_KEY"}).answers
    assert other.asked == []


# --------------------------------------------------------------------------- the command


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """Few options, so that it is quick; `pool` has a remote agent at an address to be filled in."""
    for folder in ("model", "task", "pool"):
        (tmp_path / "conf" / folder).mkdir(parents=True)
    for path in (ROOT / "conf").iterdir():
        if path.name not in ("model", "task", "pool"):
            (tmp_path / "conf" / path.name).symlink_to(path)
    for name in (
        "model/embedded_llama",
        "model/qwen2_5_0_5b",
        "task/gridworld",
        "task/mbpp",
        "task/hotpotqa",
        "pool/embedded_trio",
    ):
        (tmp_path / "conf" / f"{name}.yaml").write_text((ROOT / "conf" / f"{name}.yaml").read_text())
    trio = "defaults:\n  - /model@agents.llama: embedded_llama\n"
    (tmp_path / "conf" / "pool" / "embedded_trio.yaml").write_text(trio)
    return tmp_path / "conf"


def remote(conf: Path, url: str, key: str = "SOME_API_KEY", tokenizer: str = "null") -> None:
    values = {"base_url": url, "model": "m", "key_env": key, "tokenizer": tokenizer}
    text = "_target_: symphony.models.api.backend.APIModel\n" + "".join(
        f"{name}: {value}\n" for name, value in values.items()
    )
    (conf / "model" / "api_some.yaml").write_text(text)
    (conf / "pool" / "remote.yaml").write_text("defaults:\n  - /model@agents.remote: api_some\n")


def told(capsys: pytest.CaptureFixture[str], conf: Path, *arguments: str) -> tuple[int, str]:
    code = main(["doctor", "--all", "--conf", str(conf), "--data", str(conf.parent / "data"), *arguments])
    captured = capsys.readouterr()
    return code, captured.out + captured.err


def test_what_is_missing_but_not_asked_for_is_told_with_what_to_do(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = told(capsys, conf)
    assert code == 0
    assert "ok  model embedded_llama: shipped\n" in text
    assert "-   model qwen2_5_0_5b: not fetched; symphony fetch model/qwen2_5_0_5b\n" in text
    assert "symphony fetch task/mbpp\n" in text


def test_a_pool_whose_weights_are_not_there_is_an_error(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "pool" / "small.yaml").write_text("defaults:\n  - /model@agents.qwen: qwen2_5_0_5b\n")
    code, text = told(capsys, conf, "--pool", "small")
    assert code == 1
    assert "pool small, agent qwen: not fetched; symphony fetch model/qwen2_5_0_5b" in text


def test_a_pool_that_is_all_there_is_none(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, conf, "--pool", "embedded_trio")[0] == 0


def test_a_method_that_a_study_has_to_leave_out_is_told_and_is_no_error(
    conf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("symphony.search.methods.ab_mcts.find_spec", lambda name: None)
    (conf / "experiment").unlink()
    (conf / "experiment" / "mine").mkdir(parents=True)
    for name in ("symphony", "ab_mcts_a"):
        text = f"# @package _global_\ndefaults: [override /search: {name}]\ntasks: [gridworld]\nseeds: [0]\n"
        (conf / "experiment" / "mine" / f"{name}.yaml").write_text(text)
    code, text = told(capsys, conf, "--study", "mine")
    assert code == 0
    assert "-   study mine, experiment ab_mcts_a: left out: found no treequest, allowed: after pip install" in text
    assert "experiment symphony" not in text


def test_an_unknown_pool_is_told_the_known_ones(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = told(capsys, conf, "--pool", "nothing")
    assert code == 1
    assert "pool: found 'nothing', allowed: embedded_trio" in text


def test_an_endpoint_of_a_pool_is_asked_and_its_silence_about_a_parameter_told(
    conf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", CANARY)
    with StubServer(lambda asked: server(asked, ignoring=("stop",))) as stub:
        remote(conf, stub.url)
        code, text = told(capsys, conf, "--pool", "remote")
    assert code == 0
    assert "1 models listed" in text
    assert "ignored: stop; about stop: nothing to do, since answers are cut at stop strings here as well" in text


def test_an_endpoint_that_counts_no_tokens_is_an_error(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StubServer(lambda asked: {**server(asked), "usage": {"prompt_tokens": -1}}) as stub:
        remote(conf, stub.url, key="null")
        code, text = told(capsys, conf, "--pool", "remote")
    assert code == 1
    assert "answers without a usable `usage`" in text


@pytest.mark.parametrize(
    ("counted", "said"),
    [(34, "; counts tokens as its tokenizer does"), (15, "; counts 15 prompt tokens, its tokenizer 34")],
)
def test_an_endpoints_count_of_tokens_is_compared_with_its_tokenizers_where_there_is_one(
    conf: Path, capsys: pytest.CaptureFixture[str], counted: int, said: str
) -> None:
    usage = {"prompt_tokens": counted, "completion_tokens": 9}
    with StubServer(lambda asked: {**server(asked), "usage": usage}) as stub:
        remote(conf, stub.url, key="null", tokenizer="package:embedded/weights/llama")
        code, text = told(capsys, conf, "--pool", "remote")
    assert code == 0
    assert said in text


def test_a_tokenizer_that_is_not_there_is_told(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StubServer(server) as stub:
        remote(conf, stub.url, key="null", tokenizer="model/nothing")
        assert "model/nothing: found no such folder" in told(capsys, conf, "--pool", "remote")[1]


def test_a_key_is_told_to_be_there_or_not_and_never_shown(
    conf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def repeats(asked: Asked) -> Any:
        return Reply(status=500, content=f"you sent {asked.headers.get('authorization')}")

    with StubServer(repeats) as stub:
        remote(conf, stub.url)
        assert "key SOME_API_KEY: not set; export it for api_some" in told(capsys, conf)[1]
        monkeypatch.setenv("SOME_API_KEY", CANARY)
        code, text = told(capsys, conf, "--pool", "remote")
    assert code == 1
    assert "key SOME_API_KEY: set\n" in text
    assert "HTTP 500 you sent Bearer ***" in text
    assert CANARY not in text


def test_a_gpu_is_looked_for_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_GPU", """print('[["H100", 80000000000]]')""")
    assert doctor._gpu(doctor._cards()).text == "H100, 80.0 GB"
    monkeypatch.setattr(doctor, "_GPU", "import nothing_of_that_name")
    assert doctor._gpu(doctor._cards()).ok is False


# --------------------------------------------------------------------------- the engine for GGUF files


def pretended(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> doctor.Finding:
    """What is told of an engine whose library does what `source` says when it is imported."""
    (folder / "llama_cpp").mkdir()
    (folder / "llama_cpp" / "__init__.py").write_text(source)
    info = folder / "llama_cpp_python-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: 9.9\n")
    for size in (1, 2):
        (folder / f"{size}.gguf").write_bytes(b"GGUF" * size)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
    monkeypatch.setenv("SYMPHONY_MODELS", str(folder))
    return doctor._engine()


def test_an_engine_that_crashes_is_told_with_the_file_and_how_to_compile_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pretended(tmp_path, monkeypatch, "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert found.ok is False
    assert "llama-cpp-python 9.9 crashes at the first prompt with 1.gguf (SIGSEGV)" in found.text
    assert "-DGGML_NATIVE=OFF" in found.remedy


def test_an_engine_that_computes_nothing_is_told_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = pretended(tmp_path, monkeypatch, "raise ImportError('built for another world')")
    assert found.ok is False
    assert "cannot compute a prompt with 1.gguf (llama_cpp: found no such package" in found.text


def test_what_matters_comes_first_and_options_that_nobody_asked_for_take_a_line_each(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--conf", str(conf), "--data", str(conf.parent / "data"))
    remote(conf, "http://127.0.0.1:9/v1", key="NOT_SET_KEY")
    assert main(["doctor", *place, "--pool", "remote"]) == 1
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert 0 < len(lines) < 30, captured.err
    assert lines[0].startswith("no  pool remote, agent remote: ")
    assert any(line.startswith("ok  model: ") and "embedded_llama" in line for line in lines)
    assert any(line.startswith("-   model: ") and line.endswith("not needed yet; --all lists them") for line in lines)


def test_a_broken_option_is_shown_though_nobody_asked_for_it(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (conf / "model" / "broken.yaml").write_text("_target_: symphony.models.hf.backend.HFBackend\npth: x\n")
    main(["doctor", "--conf", str(conf), "--data", str(conf.parent / "data")])
    assert any(line.startswith("no  model broken: ") for line in capsys.readouterr().out.splitlines())
