"""The Hugging Face backend: every row is drawn from its own seed, and its counts are real."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from symphony.models.hf.backend import HFBackend
from symphony.models.revision import revision_of
from symphony.types import Completion, Request, SymphonyError

if TYPE_CHECKING:
    Ask = Callable[..., Request]
    Backends = Callable[[str], HFBackend]

EMBEDDED = sorted((Path(__file__).parents[2] / "symphony" / "embedded" / "weights").glob("*/config.json"))
REUSING = ["llama", "qwen3", "gpt_neox", *(f"embedded-{path.parent.name}" for path in EMBEDDED)]
MODELS = [*REUSING, "mistral"]
SHARED = "Rules of the house: open the door with the key and say the word. " * 3


def content(completion: Completion) -> tuple[object, ...]:
    return completion.text, completion.finish_reason, completion.prompt_tokens, completion.completion_tokens


def mixed(ask: Ask) -> list[Request]:
    """Short and long prompts, twins, a common prefix, greedy and hot rows, different limits."""
    rng = random.Random(3)
    texts = [SHARED + "".join(rng.choices("abcdefgh ", k=length)) for length in (1, 9, 30, 80)]
    texts += ["".join(rng.choices("abcdefgh ", k=length)) for length in (2, 25, 60)]
    return [
        ask(text, index=index, temperature=(0.0, 0.7, 1.5)[index], max_tokens=4 + 5 * index)
        for text in texts
        for index in range(3)
    ]


@pytest.mark.parametrize("model", MODELS)
def test_a_request_has_the_same_answer_alone_and_in_a_batch(model: str, backends: Backends, ask: Ask) -> None:
    requests = mixed(ask)
    together = backends(model).generate(requests)
    alone = [backends(model).generate([request])[0] for request in requests]
    assert [content(c) for c in together] == [content(c) for c in alone]


@pytest.mark.parametrize("model", MODELS)
def test_a_request_has_the_same_answer_in_any_order(model: str, backends: Backends, ask: Ask) -> None:
    requests = mixed(ask)
    order = random.Random(5).sample(range(len(requests)), len(requests))
    straight = backends(model).generate(requests)
    shuffled = backends(model).generate([requests[number] for number in order])
    assert [content(straight[number]) for number in order] == [content(c) for c in shuffled]


@pytest.mark.parametrize("model", REUSING)
def test_reusing_prefixes_changes_no_token(model: str, backends: Backends, folders: dict[str, Path], ask: Ask) -> None:
    requests = [ask(SHARED + text, index=index) for text in ("a", "bcd", "efghijkl") for index in range(3)]
    plain = HFBackend(folders[model], share_prefixes=False)
    shared = backends(model).generate(requests)
    assert [content(c) for c in shared] == [content(c) for c in plain.generate(requests)]
    assert sum(c.cached_tokens for c in shared) > sum(c.prompt_tokens for c in shared) // 2
    assert all(c.cached_tokens == 0 for c in plain.generate(requests))


@pytest.mark.parametrize("cache_tokens", [0, 200, 4096])
@pytest.mark.parametrize("model", REUSING)
def test_what_earlier_calls_computed_changes_no_token(
    model: str, cache_tokens: int, backends: Backends, folders: dict[str, Path], ask: Ask
) -> None:
    backend = HFBackend(folders[model], cache_tokens=cache_tokens)
    told = [SHARED + text for text in ("a", "a key", "a key and", "a key and a word", "b", "b key and a word")]
    calls = [[ask(text, index=index) for index in range(2)] for text in told] + [[ask(text, index=7) for text in told]]
    plain = HFBackend(folders[model], share_prefixes=False)
    for requests in calls:
        assert [content(c) for c in backend.generate(requests)] == [content(c) for c in plain.generate(requests)]


def test_a_prompt_costs_only_the_tokens_that_no_prompt_before_it_had(folders: dict[str, Path], ask: Ask) -> None:
    backend = HFBackend(folders["llama"])
    texts = [SHARED + text for text in ("a", "a key", "a key and", "b", "b word")]
    answers = [backend.generate([ask(text)])[0] for text in texts]
    prompts = [backend._chats.rows([ask(text)], {})[0].prompt for text in texts]
    distinct = {prompt[: end + 1] for prompt in prompts for end in range(len(prompt))}
    computed = sum(answer.prompt_tokens - answer.cached_tokens for answer in answers)
    assert len(distinct) <= computed <= len(distinct) + len(prompts)  # the last token of a prompt is always computed


def test_a_cache_of_no_tokens_keeps_nothing(folders: dict[str, Path], ask: Ask) -> None:
    backend = HFBackend(folders["llama"], cache_tokens=0)
    assert [backend.generate([ask(SHARED)])[0].cached_tokens for _ in range(2)] == [0, 0]


def test_a_model_with_a_sliding_window_reuses_nothing(backends: Backends, ask: Ask) -> None:
    # Its window counts places, and padding between prefix and suffix would push real tokens out of it.
    answers = backends("mistral").generate([ask(SHARED + text, index=n) for text in ("a", "bcd") for n in range(2)])
    assert [c.cached_tokens for c in answers] == [0] * 4


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_set_of_prompts_answers_as_without_a_cache(
    data: st.DataObject, backends: Backends, folders: dict[str, Path], ask: Ask
) -> None:
    texts = data.draw(st.lists(st.text("abc ", min_size=0, max_size=40), min_size=2, max_size=6))
    prefix = data.draw(st.integers(0, 150))
    requests = [ask(SHARED[:prefix] + text, index=number) for number, text in enumerate(texts)] * 2
    batch = backends("llama").generate(requests)
    alone = {request: backends("llama").generate([request])[0] for request in requests}
    assert [content(c) for c in batch] == [content(alone[request]) for request in requests]


def test_small_batches_give_the_same_answers_as_large_ones(
    backends: Backends, folders: dict[str, Path], ask: Ask
) -> None:
    requests = mixed(ask)
    small = HFBackend(folders["llama"], max_batch_rows=3, max_batch_tokens=500)
    assert [content(c) for c in small.generate(requests)] == [content(c) for c in backends("llama").generate(requests)]


def test_different_draws_of_one_prompt_differ(backends: Backends, ask: Ask) -> None:
    texts = {c.text for c in backends("llama").generate([ask(index=index) for index in range(8)])}
    assert len(texts) > 6


def test_greedy_rows_ignore_the_draw(backends: Backends, ask: Ask) -> None:
    texts = {c.text for c in backends("llama").generate([ask(index=index, temperature=0.0) for index in range(8)])}
    assert len(texts) == 1


def test_greedy_rows_are_what_plain_generate_says(backends: Backends, ask: Ask) -> None:
    import torch

    backend = backends("qwen3")
    ids = torch.tensor([backend.tokenizer("<|user|>hello<|end|><|assistant|>")["input_ids"]])
    plain = backend.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
    tokens = plain[0, ids.shape[1] :].tolist()
    tokens = tokens[: tokens.index(1)] if 1 in tokens else tokens
    answer = backend.generate([ask("hello", temperature=0.0)])[0]
    assert answer.text == backend.tokenizer.decode(tokens, skip_special_tokens=True)


def test_samples_follow_the_model_s_distribution(backends: Backends, ask: Ask) -> None:
    import torch

    backend, temperature, n = backends("llama"), 1.3, 1500
    ids = torch.tensor([backend.tokenizer("<|user|>hello<|end|><|assistant|>")["input_ids"]])
    with torch.inference_mode():
        expected = torch.softmax(backend.model(ids).logits[0, -1] / temperature, -1)
    answers = backend.generate([ask("hello", index=i, temperature=temperature, max_tokens=1) for i in range(n)])
    shown = backend.tokenizer.batch_decode([[token] for token in range(len(expected))], skip_special_tokens=True)
    for text in set(shown):  # lone bytes of a character all decode to the replacement sign
        p = sum(float(expected[token]) for token, other in enumerate(shown) if other == text)
        share = sum(answer.text == text for answer in answers) / n
        assert abs(share - p) < 5 * (p * (1 - p) / n) ** 0.5 + 2 / n


def test_token_counts_are_those_of_the_row_alone(backends: Backends, ask: Ask) -> None:
    backend = backends("llama")
    requests = [ask(text, max_tokens=limit) for text, limit in (("a", 3), ("b" * 50, 9))]
    for request, answer in zip(requests, backend.generate(requests), strict=True):
        prompt = f"<|user|>{request.messages[0].content}<|end|><|assistant|>"
        assert answer.prompt_tokens == len(backend.tokenizer(prompt)["input_ids"])
        assert 1 <= answer.completion_tokens <= request.sampling.max_tokens


def test_the_end_token_is_counted_and_not_shown(backends: Backends, ask: Ask) -> None:
    backend = backends("llama")
    answers = backend.generate([ask(index=index, temperature=2.5, max_tokens=200) for index in range(40)])
    ended = [a for a in answers if a.finish_reason == "stop"]
    assert ended
    assert all("<|end|>" not in a.text for a in answers)
    assert all(a.completion_tokens == 200 for a in answers if a.finish_reason == "length")
    assert all(a.completion_tokens <= 200 for a in ended)


def test_a_stop_string_ends_the_row_and_is_cut(backends: Backends, ask: Ask) -> None:
    backend = backends("llama")
    free = backend.generate([ask(temperature=0.0, max_tokens=12)])[0]
    middle = len(free.text) // 2
    stop = free.text[middle : middle + 2]
    cut, other = backend.generate(
        [ask(temperature=0.0, max_tokens=12, stop=("not there", stop)), ask(temperature=0.0, max_tokens=12)]
    )
    assert cut.text == free.text[: free.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.completion_tokens < free.completion_tokens
    assert other.text == free.text


def test_the_logprob_is_the_sum_over_the_generated_tokens(backends: Backends, ask: Ask) -> None:
    import torch

    backend = backends("llama")
    answer = backend.generate([ask("hello", temperature=0.0, max_tokens=1)])[0]
    ids = torch.tensor([backend.tokenizer("<|user|>hello<|end|><|assistant|>")["input_ids"]])
    with torch.inference_mode():
        expected = float(torch.log_softmax(backend.model(ids).logits[0, -1], -1).max())
    assert answer.logprob == pytest.approx(expected, abs=1e-3)


def test_a_prompt_beyond_the_context_is_an_error_and_the_others_are_answered(backends: Backends, ask: Ask) -> None:
    long, short = backends("llama").generate([ask("x" * 600), ask("x")])
    assert long.finish_reason == "error"
    assert "allowed: 1 to 511" in (long.error or "")
    assert short.error is None


def test_a_completion_ends_where_the_context_ends(backends: Backends, ask: Ask) -> None:
    answer = backends("llama").generate([ask("x" * 500, temperature=0.0, max_tokens=100)])[0]
    assert answer.prompt_tokens + answer.completion_tokens <= 512


def test_no_requests_have_no_answers(backends: Backends) -> None:
    assert backends("llama").generate([]) == []


def test_the_revision_names_weights_dtype_and_quantisation(folders: dict[str, Path], backends: Backends) -> None:
    assert backends("llama").revision == revision_of(folders["llama"])
    revisions = {revision_of(folders[name]) for name in ("llama", "qwen3", "gpt_neox")}
    revisions |= {revision_of(folders["llama"], dtype="bfloat16"), revision_of(folders["llama"], quantization="nf4")}
    assert len(revisions) == 5


def test_a_changed_tokenizer_is_another_revision(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in folders["llama"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    before = revision_of(tmp_path)
    assert before == revision_of(folders["llama"])
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert revision_of(tmp_path) != before


@pytest.mark.parametrize(
    ("keywords", "named"), [({"dtype": "float8"}, "dtype"), ({"quantization": "int3"}, "quantization")]
)
def test_an_impossible_setting_is_named(folders: dict[str, Path], keywords: dict[str, str], named: str) -> None:
    with pytest.raises(SymphonyError, match=f"{named}: found .*allowed"):
        HFBackend(folders["llama"], **keywords)  # type: ignore[arg-type]


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(SymphonyError, match=f"{tmp_path}/nothing: found no such folder"):
        HFBackend(tmp_path / "nothing")


def test_importing_the_module_does_not_import_torch() -> None:
    modules = "symphony.models.hf.backend, symphony.models.store, symphony.weights.quantise"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
