"""The engine for GGUF files: the same answers as transformers, one prefix computed once, whoever shares the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.cores import usable_cores
from symphony.models.gguf.backend import GGUFBackend
from symphony.models.gguf.drawing import Drawer
from symphony.models.gguf.files import MODELS_VARIABLE, revision_of, weights_file
from symphony.models.gguf.llama import Vocabulary
from symphony.models.gguf.sequences import Sequences, common_prefix
from symphony.models.stepper import Stepper
from symphony.models.store import CallStore, StoredModel
from symphony.types import Request, SymphonyError

if TYPE_CHECKING:
    from symphony.models.hf.backend import HFBackend

Ask = Callable[..., Request]
PROMPTS = ["one two", "one two three", "one two three four", "a", "the river of the town", "one two"]


@pytest.fixture
def make(file: Path) -> Callable[..., GGUFBackend]:
    return lambda **settings: GGUFBackend(file, threads=1, **{"cells": 1024, "chunk": 64, **settings})


# --------------------------------------------------------------------------- answers


@pytest.mark.parametrize("exact", [True, False])
def test_greedy_answers_are_those_of_transformers(exact, make, backends: Callable[[str], HFBackend], ask: Ask) -> None:
    requests = [ask(prompt, temperature=0.0) for prompt in PROMPTS]
    ours, theirs = make(exact=exact).generate(requests), backends("qwen3").generate(requests)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.text, one.finish_reason) == (other.text, other.finish_reason)
        assert (one.prompt_tokens, one.completion_tokens) == (other.prompt_tokens, other.completion_tokens)
        assert one.logprob == pytest.approx(other.logprob, abs=1e-2)


def test_an_exact_answer_depends_on_its_request_alone(make, ask: Ask) -> None:
    backend = make(exact=True)
    requests = [ask(prompt, temperature=0.9, index=index) for index, prompt in enumerate(PROMPTS)]
    assert backend.generate(requests) == backend.generate(requests[::-1])[::-1]


def test_draws_of_one_prompt_differ_and_come_again_with_their_seeds(make, ask: Ask) -> None:
    requests = [ask("one two", temperature=1.0, index=index) for index in range(6)]
    texts = [answer.text for answer in make().generate(requests)]
    assert len(set(texts)) > 1
    assert texts == [answer.text for answer in make().generate(requests)]


def test_a_stop_string_ends_an_answer_and_is_no_part_of_it(make, ask: Ask) -> None:
    (whole,) = make().generate([ask("one two", temperature=0.0, max_tokens=20)])
    stop = whole.text[3:5]
    (cut,) = make().generate([ask("one two", temperature=0.0, max_tokens=20, stop=(stop,))])
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"


def test_a_prompt_without_room_is_an_error_and_the_others_are_answered(make, ask: Ask) -> None:
    long, short = make().generate([ask("word " * 600), ask("one")])
    assert long.error is not None
    assert "prompt: found" in long.error
    assert short.error is None


def test_what_an_interrupt_left_behind_is_no_answer_to_the_next_requests(make, ask: Ask) -> None:
    backend = make()
    backend.submit([ask("the river", temperature=0.0, max_tokens=30)], first=0)
    backend.step()
    after = [ask("one two", temperature=0.0), ask("a", temperature=0.0)]
    assert [one.text for one in backend.generate(after)] == [one.text for one in make().generate(after)]


def test_an_error_after_a_batch_leaves_no_cell_behind(make, ask: Ask) -> None:
    backend = make(cells=512)
    whole = backend.llama.compute

    def fail(spans):
        if spans[0].begin:  # the second batch of a prompt
            whole(spans)
            raise KeyboardInterrupt
        return whole(spans)

    for number in range(12):
        backend.llama.compute = fail
        with pytest.raises(KeyboardInterrupt):
            backend.generate([ask(f"{number} " + "word " * 40, max_tokens=1)])
    backend.llama.compute = whole
    (answer,) = backend.generate([ask("word " * 45, max_tokens=20, temperature=0.0)])
    assert answer.error is None


def test_prompts_that_fill_the_cache_wait_for_each_other(make, ask: Ask) -> None:
    requests = [ask(f"{number} " + "word " * 30, temperature=0.0, max_tokens=8) for number in range(12)]
    tight, wide = make(cells=256), make(cells=4096)
    one, other = tight.generate(requests), wide.generate(requests)
    assert [answer.text for answer in one] == [answer.text for answer in other]


# --------------------------------------------------------------------------- prefixes


def test_a_prompt_costs_the_tokens_that_no_prompt_before_it_had(make, ask: Ask) -> None:
    backend = make()
    path = "the river of the town " * 3
    prompts = [path + "and " * count for count in range(8)]
    for prompt in prompts:
        backend.generate([ask(prompt, temperature=0.0, max_tokens=1)])
    encoded = [row.prompt for row in backend.rows([ask(prompt) for prompt in prompts])]
    distinct = len({prompt[: end + 1] for prompt in encoded for end in range(len(prompt))})
    # The last token of a prompt is computed for its logits whoever had it before.
    assert backend.llama.decoded <= distinct + len(prompts)


def test_a_prefix_that_is_being_computed_is_waited_for(make, ask: Ask) -> None:
    backend = make()
    requests = [ask("word " * 60 + str(number), temperature=0.0, max_tokens=2) for number in range(8)]
    answers = backend.generate(requests)
    assert sum(answer.cached_tokens for answer in answers) > 6 * answers[0].prompt_tokens
    assert answers[0].cached_tokens == 0


def test_rows_join_and_leave_at_every_step(make, ask: Ask) -> None:
    backend = make()
    backend.submit([ask("one", temperature=0.0, max_tokens=30)], first=0)
    ended: dict[int, int] = {}
    for step in range(200):
        if step == 5:
            backend.submit([ask("two", temperature=0.0, max_tokens=2)], first=1)
        ended.update({number: step for number, _ in backend.step()})
        if len(ended) == 2:
            break
    assert ended[1] < ended[0]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=30))
def test_no_cell_is_lost_and_no_prefix_is_wrong(prompts: list[list[int]]) -> None:
    """Sequences that rest are dropped as room is needed; what is held is always what the account says."""
    sequences = Sequences(40, 4)
    contents: dict[int, tuple[int, ...]] = {}
    for prompt in prompts:
        tokens = np.array(prompt, np.int32)
        source, length, _ = sequences.match(tokens)
        for dropped in sequences.spare(len(prompt) - length, source):
            del contents[dropped.id]
        if not sequences.has_room(len(prompt) - length):
            continue
        if source is not None:
            assert contents[source.id][:length] == tuple(prompt[:length])
        assert length < len(prompt)
        held = sequences.open(tokens)
        if source is not None and length:
            sequences.take(held, source, length)
        sequences.extend(held, len(prompt) - length)
        sequences.rest(held)
        contents[held.id] = tuple(prompt)
    sequences.spare(41, None)
    assert sequences.free == 40


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_a_common_prefix_is_the_longest(one: list[int], other: list[int]) -> None:
    length = common_prefix(np.array(one, np.int32), np.array(other, np.int32))
    assert one[:length] == other[:length]
    assert one[length : length + 1] != other[length : length + 1] or not one[length:] or not other[length:]


# --------------------------------------------------------------------------- draws


def test_draws_are_as_frequent_as_their_probabilities() -> None:
    logits = np.log(np.array([0.1, 0.2, 0.7], np.float32))
    rng = np.random.Generator(np.random.PCG64(0))
    counts = np.bincount([Drawer().draw(logits, 1.0, rng)[0] for _ in range(20_000)], minlength=3) / 20_000
    assert counts == pytest.approx([0.1, 0.2, 0.7], abs=0.015)
    cold = np.bincount([Drawer().draw(logits, 0.5, rng)[0] for _ in range(20_000)], minlength=3) / 20_000
    assert cold == pytest.approx(np.array([0.01, 0.04, 0.49]) / 0.54, abs=0.015)


@pytest.mark.filterwarnings("error")
def test_the_smallest_temperatures_are_greedy_and_the_largest_uniform() -> None:
    logits = np.array([1.0, 9.0, 2.0, -300.0], np.float32)
    rng = np.random.default_rng(0)
    assert {Drawer().draw(logits, cold, rng)[0] for cold in (5e-324, 1e-300, 1e-46, 1e-40, 1e-30)} == {1}
    for hot in (1e39, 1e308):
        assert {Drawer().draw(logits, hot, rng)[0] for _ in range(100)} == {0, 1, 2, 3}


@given(st.integers(1, 3000), st.floats(0.05, 5), st.integers(0, 2**32 - 1))
def test_a_draw_is_the_first_token_at_which_the_sum_of_probabilities_passes_the_number(
    size: int, temperature: float, seed: int
) -> None:
    drawer, rng = Drawer(), np.random.default_rng(seed)
    for logits in rng.normal(0, 3, (2, size)).astype(np.float32):
        weights = np.exp((logits - logits.max()) / np.float32(temperature)).astype(np.float64)
        sums = np.cumsum(weights)
        token, logprob = drawer.draw(logits, temperature, np.random.default_rng(seed))
        passed = np.random.default_rng(seed).random() * sums[-1]
        assert sums[token] - weights[token] <= passed * (1 + 1e-9)
        assert passed <= sums[token] * (1 + 1e-9)
        assert logprob == pytest.approx(float(logits[token] - np.logaddexp.reduce(logits.astype(np.float64))), abs=1e-5)


def test_a_log_probability_is_that_at_temperature_1() -> None:
    logits = np.log(np.array([0.1, 0.2, 0.7], np.float32)) + 5
    token, logprob = Drawer().draw(logits, 0.0, np.random.default_rng(0))
    assert token == 2
    assert logprob == pytest.approx(np.log(0.7), abs=1e-6)


# --------------------------------------------------------------------------- among the searches


def test_searches_share_steps_and_the_store_answers_again(make, ask: Ask, tmp_path: Path) -> None:
    requests = [ask(prompt, temperature=0.0, index=index) for index, prompt in enumerate(PROMPTS)]

    async def all_of(model: StoredModel) -> list[str]:
        return [answer.text for answer in await asyncio.gather(*(model.complete(one) for one in requests))]

    backend = make()
    with CallStore(tmp_path / "calls.sqlite") as store:
        live = asyncio.run(all_of(StoredModel(Stepper(backend), store, "record")))
        replay = StoredModel(lambda: pytest.fail("made"), store, "replay", revision=backend.revision)
        assert asyncio.run(all_of(replay)) == live
    assert live == [answer.text for answer in make().generate(requests)]


def test_an_error_of_a_step_reaches_every_search(ask: Ask) -> None:
    class Broken:
        revision = "broken"

        def submit(self, requests, first=0):
            return []

        def step(self):
            raise SymphonyError("cache: found none, allowed: one")

    async def ask_twice() -> Sequence[object]:
        model = Stepper(Broken())
        return await asyncio.gather(model.complete(ask()), model.complete(ask(index=1)), return_exceptions=True)

    assert all("cache: found none" in str(error) for error in asyncio.run(ask_twice()))


# --------------------------------------------------------------------------- files


def test_a_file_is_found_in_the_folder_that_the_variable_names(file: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(file.parent))
    assert weights_file(tmp_path / "model", file.name) == file
    monkeypatch.delenv(MODELS_VARIABLE)
    with pytest.raises(SymphonyError, match=f"found no such file.*{MODELS_VARIABLE}"):
        weights_file(tmp_path / "model", file.name)


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="the system lists no mapped files")
def test_a_file_does_not_lie_in_memory_beside_the_weights(make, file: Path) -> None:
    backend = make()
    assert backend.llama.decoded == 0
    assert file.name not in Path("/proc/self/maps").read_text()


def test_sizes_are_the_same_without_the_weights(make, file: Path, ask: Ask) -> None:
    sizing, request = GGUFBackend.sizing(file, "gguf:0", cells=1024), ask("go")
    assert sizing.size(request) == make().size(request)
    assert sizing.size(request).completion > 0


@pytest.mark.parametrize("wrong", ["abc", "A" * 64])
def test_a_checksum_that_is_none_is_told(wrong: str, file: Path) -> None:
    with pytest.raises(SymphonyError, match=r"sha256: found .*, allowed: 64 hex digits"):
        GGUFBackend(file, sha256=wrong)


def test_another_file_under_the_same_name_is_refused(file: Path) -> None:
    with pytest.raises(SymphonyError, match="found sha256"):
        GGUFBackend(file, sha256="0" * 64)


def test_a_pinned_file_need_not_be_there_to_name_its_revision(tmp_path: Path) -> None:
    assert revision_of(tmp_path, file="no.gguf", sha256="ab" * 32) == "gguf:abababababababab"
    assert revision_of(tmp_path, file="no.gguf", sha256="ab" * 32, exact=True) == "gguf:abababababababab:exact"


@pytest.mark.parametrize("content", [b"", b"<html>", b"GGUF", b"GGUF" + bytes(64)])
def test_a_broken_file_is_told_in_one_line(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the extra gguf is not installed")
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(SymphonyError, match=r"m\.gguf: found"):
        GGUFBackend(tmp_path / "m.gguf")
    with pytest.raises(SymphonyError, match=r"m\.gguf: found"):
        GGUFBackend.footprint(tmp_path / "m.gguf")  # and nothing is left that fails when it is collected


def test_a_file_that_is_cut_is_told_in_one_line(file: Path, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(SymphonyError, match=r"m\.gguf: found"):
        GGUFBackend(tmp_path / "m.gguf")


def test_a_file_without_a_chat_template_is_refused(folders: dict[str, Path], file: Path, tmp_path: Path) -> None:
    from tests.tiny_gguf import write

    write(folders["qwen3"], tmp_path / "base.gguf", template=False)
    with pytest.raises(SymphonyError, match="no chat template"):
        GGUFBackend(tmp_path / "base.gguf")


def test_a_chat_template_that_is_none_is_told_in_one_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Vocabulary, "template", lambda _: "{% for turn in messages %}")
    with pytest.raises(SymphonyError, match=r"tiny\.gguf: found a chat template that fails with TemplateSyntaxError"):
        GGUFBackend(file)


def test_a_name_that_is_none_of_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match="found no such file"):
        weights_file(tmp_path, "n" * 300)
    with pytest.raises(SymphonyError, match="found a folder, allowed: a GGUF file, or `file`"):
        weights_file(tmp_path)


@pytest.mark.parametrize(
    ("heads", "cache"), [({}, 2 * 2 * 2 * 32), ({"qwen3.attention.head_count_kv": "[0, 3]"}, 2 * 3 * 32)]
)
def test_layers_may_differ_in_their_heads(heads, cache, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meta = Vocabulary.meta
    monkeypatch.setattr(Vocabulary, "meta", lambda self, key: heads.get(key, meta(self, key)))
    assert GGUFBackend.footprint(file).cache_per_token == cache


@pytest.mark.parametrize(
    "wrong",
    [
        {"cells": 255},
        {"cells": 2**32},
        {"rows": 0},
        {"rows": 256},
        {"chunk": 8},
        {"chunk": 10**10},
        {"threads": 0},
        {"threads": 1000},
        {"gpu_layers": -2},
    ],
)
def test_a_value_out_of_its_range_is_told(wrong: dict[str, Any], file: Path) -> None:
    (name,) = wrong
    with pytest.raises(SymphonyError, match=f"{name}: found {wrong[name]}"):
        GGUFBackend(file, **wrong)


# --------------------------------------------------------------------------- cores


@pytest.mark.parametrize(("text", "cores"), [("50000 100000", 1), ("150000 100000", 2), ("max 100000", None)])
def test_cores_are_those_that_the_control_group_grants(text, cores, tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path) == (cores or 8)


def test_a_share_of_the_machine_is_kept_to(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    assert usable_cores(tmp_path) == 3
