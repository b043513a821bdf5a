"""Memory that runs out costs time and no answer, and rows that have ended free their places."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from symphony.models.hf.backend import HFBackend
from symphony.models.hf.batching import TokenBudget, cut, in_order, ran_out
from symphony.models.sampler import Row
from symphony.types import Completion, Request, Sampling

if TYPE_CHECKING:
    Ask = Callable[..., Request]
    Backends = Callable[[str], HFBackend]


def content(completion: Completion) -> tuple[object, ...]:
    return completion.text, completion.finish_reason, completion.prompt_tokens, completion.completion_tokens


def row(index: int, prompt: int = 6, limit: int = 4) -> Row:
    sampling = Sampling(temperature=1.0, max_tokens=limit)
    return Row(index=index, prompt=(1,) * prompt, sampling=sampling, limit=limit, seed=index, dropped=0)


def watch_rows(backend: HFBackend, most: int | None = None) -> list[int]:
    """Rows of each forward pass; more than `most` run out of memory."""
    import torch

    sizes: list[int] = []

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        rows = len(args[0] if args else kwargs["input_ids"])
        if most is not None and rows > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        sizes.append(rows)

    backend.model.register_forward_pre_hook(before, with_kwargs=True)
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("model", ["llama", "mistral"])
def test_a_batch_that_is_too_much_is_halved_until_it_fits_and_every_request_is_answered(
    model: str, backends: Backends, folders: dict[str, Path], ask: Ask
) -> None:
    requests = [ask("word " * (number % 5), index=number) for number in range(23)]
    tight = HFBackend(folders[model])
    sizes = watch_rows(tight, most=3)
    assert [content(c) for c in tight.generate(requests)] == [content(c) for c in backends(model).generate(requests)]
    assert max(sizes) in (2, 3)
    assert tight.budget.halvings >= 3  # 23 rows, at most 11, 5, 2


@pytest.mark.slow
def test_what_was_learnt_of_the_memory_holds_for_the_next_requests(folders: dict[str, Path], ask: Ask) -> None:
    tight = HFBackend(folders["llama"])
    watch_rows(tight, most=4)
    tight.generate([ask(index=number) for number in range(16)])
    halvings = tight.budget.halvings
    tight.generate([ask(index=number) for number in range(4)])
    assert halvings == tight.budget.halvings == 2


def test_a_row_that_does_not_fit_even_alone_is_an_error_and_the_others_are_answered(
    folders: dict[str, Path], ask: Ask
) -> None:
    import torch

    tight = HFBackend(folders["llama"])

    def before(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if kwargs["attention_mask"].shape[1] > 200:
            raise torch.OutOfMemoryError

    tight.model.register_forward_pre_hook(before, with_kwargs=True)
    answers = tight.generate([ask("a"), ask("x" * 300), ask("b")])
    assert [answer.error is None for answer in answers] == [True, False, True]
    assert "memory: found too little for a prompt of" in (answers[1].error or "")


def test_another_error_of_the_model_is_not_taken_for_a_lack_of_memory(folders: dict[str, Path], ask: Ask) -> None:
    broken = HFBackend(folders["llama"])

    def before(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    broken.model.register_forward_pre_hook(before)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        broken.generate([ask(), ask(index=1)])
    assert broken.budget.halvings == 0


def test_the_processor_s_allocator_says_that_memory_ran_out_in_words() -> None:
    import torch

    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 50)
    assert ran_out(raised.value)


def test_a_batch_ends_at_the_rows_or_at_the_tokens_whichever_comes_first() -> None:
    rows = [row(number) for number in range(8)]
    assert [len(cut(rows, most, tokens)[0]) for most, tokens in ((3, 1000), (8, 45), (8, 3))] == [3, 4, 1]
    assert [cut(rows, most, tokens)[1] for most, tokens in ((3, 1000), (8, 45), (8, 80))] == [False, True, False]


def test_rows_of_like_length_stand_side_by_side() -> None:
    rows = [row(0, limit=9), row(1, prompt=8), row(2), row(3, limit=9), row(4)]
    assert [one.index for one in in_order(rows)] == [2, 4, 1, 0, 3]


def test_a_halved_budget_is_half_of_what_the_failed_batch_held() -> None:
    budget = TokenBudget(10_000)
    budget.halve([row(number) for number in range(6)])
    assert budget.tokens == 30
    assert budget.halvings == 1


def test_a_budget_grows_again_after_full_batches_and_never_beyond_the_most() -> None:
    budget = TokenBudget(100)
    budget.halve([row(number) for number in range(8)])
    seen = []
    for _ in range(40):
        budget.held(full=True)
        seen.append(budget.tokens)
    assert seen[6:8] == [40, 80]
    assert seen[-1] == 100


def test_batches_that_were_not_full_prove_nothing_about_a_larger_budget() -> None:
    budget = TokenBudget(100)
    budget.halve([row(number) for number in range(8)])
    for _ in range(100):
        budget.held(full=False)
    assert budget.tokens == 40


def test_each_failure_makes_the_next_try_of_a_larger_batch_rarer() -> None:
    budget = TokenBudget(1000)
    tries = []
    for _ in range(3):
        budget.halve([row(number) for number in range(8)])
        count = 0
        while budget.tokens == 40:
            budget.held(full=True)
            count += 1
        tries.append(count)
    assert tries == [8, 16, 32]


def test_rows_that_have_ended_leave_the_batch(folders: dict[str, Path], ask: Ask) -> None:
    backend = HFBackend(folders["llama"])
    sizes = watch_rows(backend)
    answers = backend.generate([ask(index=number, temperature=2.5, max_tokens=300) for number in range(32)])
    steps = max(answer.completion_tokens for answer in answers)
    needed = sum(answer.completion_tokens for answer in answers)
    prompts, *sizes = sizes  # equal prompts are computed once, and the first token of each row comes from there
    assert prompts == 1
    assert needed - 32 <= sum(sizes) < 0.75 * 32 * steps
    assert sizes == sorted(sizes, reverse=True)


def test_a_stop_string_frees_its_row_s_place_and_changes_no_other(
    backends: Backends, folders: dict[str, Path], ask: Ask
) -> None:
    free = backends("llama").generate([ask(index=number, max_tokens=40) for number in range(8)])
    stops = [answer.text[3:5] if number % 2 else "not there" for number, answer in enumerate(free)]
    requests = [ask(index=number, max_tokens=40, stop=(stop,)) for number, stop in enumerate(stops)]
    backend = HFBackend(folders["llama"])
    sizes = watch_rows(backend)
    answers = backend.generate(requests)
    assert sizes[1] == 8
    assert sizes[-1] < 8
    for number in range(0, 8, 2):
        assert content(answers[number]) == content(free[number])
    for number in range(1, 8, 2):
        assert content(answers[number]) == content(backend.generate([requests[number]])[0])
