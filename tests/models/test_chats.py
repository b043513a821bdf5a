"""Chats as tokens: templates of other kinds than the embedded models', and prompts that are too long."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from symphony.agents.budget import Budget
from symphony.agents.scheduler import Fixed
from symphony.agents.scorer import FORMAT_REMINDER
from symphony.agents.sent import digest
from symphony.agents.session import Agent, AgentPool, BudgetExceeded, Session
from symphony.chat.prompts import ChatPrompts, Shot, remind
from symphony.models.batcher import Batcher
from symphony.models.chats import ChatTokenizer
from symphony.models.devices import Device, LocalModel, Need
from symphony.models.hf.backend import HFBackend
from symphony.models.store import CallStore, Mode, StoredBackend
from symphony.tasks.wording import FOLDER, read_prompts
from symphony.types import Completion, Message, Phase, Problem, Request, Sampling, Turn
from tests.stub import session

if TYPE_CHECKING:
    Ask = Callable[..., Request]

# Written for these tests; each refuses, or does, what the models of its kind are known for.
STRICT = (  # no system role, strict alternation, the roles by other names (as Gemma's)
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "<turn>{{ 'model' if message.role == 'assistant' else 'user' }}\n{{ message.content | trim }}</turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
BRACKETS = (  # user turns in brackets, ended assistant turns, strict alternation (as Mistral's)
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('after the optional system message, roles must alternate') }}{% endif %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }}[/INST]"
    "{% else %} {{ message['content'] }}{{ eos_token }}{% endif %}{% endfor %}"
)
HEADED = (  # a system turn of the template's own before everything (as Llama's and Qwen's)
    "{% if messages[0].role != 'system' %}<|system|>You are a helpful assistant.<|end|>{% endif %}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
OPENING = STRICT.replace("<turn>model\n{% endif %}", "<turn>model\n<think>\n{% endif %}")  # as DeepSeek-R1's
TEMPLATES = {"strict": STRICT, "brackets": BRACKETS, "headed": HEADED}
ROOMY = 10**6
PROBLEM = Problem(id="p", prompt="Question: who?", target=None)
PATH = (Turn(thought="Look.", action="search[x]", observation="Seen."),)


def tokenizer(folder: Path, template: str) -> Any:
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    loaded.chat_template = template
    return loaded


def rows_of(chats: ChatTokenizer, ask: Ask, *chats_asked: tuple[Message, ...]) -> tuple[int, list[str | None]]:
    """How many of the chats become rows, and what is told of the others."""
    answers: dict[int, Completion] = {}
    rows = chats.rows([replace(ask(max_tokens=8), messages=messages) for messages in chats_asked], answers)
    return len(rows), [answer.error for answer in answers.values()]


@pytest.mark.parametrize("kind", TEMPLATES)
@pytest.mark.parametrize("task", ["", *sorted(folder.name for folder in FOLDER.iterdir())])
def test_every_template_takes_every_prompt_of_every_phase(kind, task, folders: dict[str, Path], ask: Ask):
    prompts = read_prompts(task, "v1") if task else ChatPrompts()
    chats = ChatTokenizer(tokenizer(folders["llama"], TEMPLATES[kind]), ROOMY)
    asked = [
        prompts.expansion(PROBLEM, (), ()),
        prompts.expansion(PROBLEM, PATH, ("a",)),
        prompts.evaluation(PROBLEM, PATH, ("a",)),
        remind(lambda dropped: prompts.evaluation(PROBLEM, PATH, (), dropped), FORMAT_REMINDER, 0),
        prompts.reflection(PROBLEM, PATH),
    ]
    assert FORMAT_REMINDER in asked[3][-1].content
    assert rows_of(chats, ask, *asked) == (5, [])


@pytest.mark.parametrize("kind", ["strict", "brackets"])
def test_a_strict_template_refuses_two_turns_of_one_role_and_says_so(kind, folders: dict[str, Path], ask: Ask):
    chats = ChatTokenizer(tokenizer(folders["llama"], TEMPLATES[kind]), ROOMY)
    user = Message(role="user", content="so")
    count, (told,) = rows_of(chats, ask, (user, user), (user,))
    assert count == 1
    assert "chat template: " in (told or "")
    assert "alternate" in (told or "")


def test_a_template_without_a_system_role_refuses_one(folders: dict[str, Path], ask: Ask):
    chats = ChatTokenizer(tokenizer(folders["llama"], STRICT), ROOMY)
    system = (Message(role="system", content="so"), Message(role="user", content="so"))
    assert rows_of(chats, ask, system) == (0, ["chat template: no system role"])


def without_pad(folder: Path, target: Path) -> Path:
    """The model again, whose tokenizer and config name no padding."""
    shutil.copytree(folder, target)
    for name in ("tokenizer_config.json", "config.json", "generation_config.json", "special_tokens_map.json"):
        if (path := target / name).is_file():
            kept = {
                key: value for key, value in json.loads(path.read_text()).items() if not key.startswith("pad_token")
            }
            path.write_text(json.dumps(kept))
    return target


def test_a_tokenizer_without_padding_answers_in_a_batch_as_alone(folders: dict[str, Path], tmp_path: Path, ask: Ask):
    backend = HFBackend(without_pad(folders["llama"], tmp_path / "bare"))
    assert backend.tokenizer.pad_token is None
    requests = [ask(text, temperature=0.0) for text in ("a", "bcd" * 9, "e f g " * 20)]
    together = [answer.text for answer in backend.generate(requests)]
    assert together == [backend.generate([request])[0].text for request in requests]
    assert together == [answer.text for answer in HFBackend(folders["llama"]).generate(requests)]


# --------------------------------------------------------------------------- prompts that are too long

SHOTS = tuple(Shot(problem=f"Question: {letter}?" + letter * 60, answer=letter * 40) for letter in "xyz")
PROMPTS = ChatPrompts(instructions="Answer.", next="Next.", expand_shots=SHOTS)
LESSONS = ("old" * 20, "middle" * 10, "new" * 20)


def request(ask: Ask, max_tokens: int = 8) -> Request:
    def shorten(dropped: int) -> tuple[Message, ...]:
        return PROMPTS.expansion(PROBLEM, PATH, LESSONS, dropped)

    return replace(ask(max_tokens=max_tokens), messages=shorten(0), shorten=shorten)


def lengths(chats: ChatTokenizer, ask: Ask) -> list[int]:
    """Tokens of the prompt with 0, 1, ... parts dropped."""
    whole = request(ask)
    assert whole.shorten is not None
    cut = [replace(whole, messages=whole.shorten(dropped)) for dropped in range(len(LESSONS) + len(SHOTS) + 1)]
    return [len(row.prompt) for row in chats.rows(cut, {})]


@pytest.mark.parametrize("name", ["llama", "embedded-llama"])
def test_as_few_parts_are_dropped_as_leave_room_by_the_model_s_own_tokenizer(name, folders: dict[str, Path], ask: Ask):
    own = tokenizer(folders[name], HEADED)
    counts = lengths(ChatTokenizer(own, ROOMY), ask)
    assert counts == sorted(set(counts), reverse=True)
    for context in range(counts[-1] + 8, counts[0] + 9):
        (row,) = ChatTokenizer(own, context).rows([request(ask)], {})
        needed = next(dropped for dropped, count in enumerate(counts) if count + 8 <= context)
        assert (row.dropped, len(row.prompt), row.limit) == (needed, counts[needed], 8)


def test_tokenizers_that_count_differently_drop_differently(folders: dict[str, Path], ask: Ask):
    dropped = []
    for name in ("llama", "embedded-llama"):
        (row,) = ChatTokenizer(tokenizer(folders[name], HEADED), 500).rows([request(ask)], {})
        dropped.append(row.dropped)
    assert dropped[0] != dropped[1]


def test_with_nothing_left_to_drop_the_completion_is_cut_and_then_it_is_an_error(folders: dict[str, Path], ask: Ask):
    own = tokenizer(folders["llama"], HEADED)
    least = lengths(ChatTokenizer(own, ROOMY), ask)[-1]
    (row,) = ChatTokenizer(own, least + 3).rows([request(ask)], {})
    assert (row.dropped, row.limit) == (6, 3)
    answers: dict[int, Completion] = {}
    assert ChatTokenizer(own, least).rows([request(ask)], answers) == []
    assert answers[0].error == f"prompt: found {least} tokens, allowed: 1 to {least - 1}"
    assert answers[0].dropped == 6


def test_prompts_that_fit_are_tokenised_once(folders: dict[str, Path], ask: Ask):
    class Counting:
        def __init__(self, inner: Any) -> None:
            self.inner, self.texts = inner, 0
            self.apply_chat_template = inner.apply_chat_template

        def __call__(self, texts: list[str], **settings: Any) -> Any:
            self.texts += len(texts)
            return self.inner(texts, **settings)

    counting = Counting(tokenizer(folders["llama"], HEADED))
    ChatTokenizer(counting, ROOMY).rows([request(ask)] * 5, {})
    assert counting.texts == 1


@pytest.mark.parametrize("name", ["llama", "embedded-llama"])
def test_the_size_of_a_request_is_that_of_its_row(name, folders: dict[str, Path], ask: Ask):
    own = tokenizer(folders[name], HEADED)
    counts = lengths(ChatTokenizer(own, ROOMY), ask)
    for context in range(counts[-1] - 3, counts[0] + 9, 5):
        chats = ChatTokenizer(own, context)
        answers: dict[int, Completion] = {}
        rows = chats.rows([request(ask)], answers)
        told = [(len(row.prompt), row.limit, row.dropped) for row in rows]
        told += [(answer.prompt_tokens, 0, answer.dropped) for answer in answers.values()]
        size = chats.size(request(ask))
        assert told == [(size.prompt, size.completion, size.dropped)]


def test_a_model_that_is_not_loaded_knows_the_sizes_that_it_has_loaded(
    folders: dict[str, Path], backends: Callable[[str], HFBackend], ask: Ask
):
    def forbidden() -> HFBackend:
        raise AssertionError("a model was loaded")

    path, loaded = folders["embedded-llama"], backends("embedded-llama")
    make = partial(HFBackend.sizing, path, loaded.revision)
    waiting = LocalModel(forbidden, revision=loaded.revision, need=Need(), device=Device("cpu"), make_sizing=make)
    for asked in (request(ask), ask("go", max_tokens=700), ask("go " * 2000)):
        assert waiting.size(asked) == loaded.size(asked)
    assert waiting.counter == loaded.counter == make().counter


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_an_answer_within_a_cut_limit_is_the_one_that_the_whole_limit_gives(
    temperature, backends: Callable[[str], HFBackend], ask: Ask
):
    """By every limit: the shortened prompt is that of the whole one, and no token more is taken than is left."""
    backend = backends("embedded-llama")
    prompt = partial(PROMPTS.expansion, PROBLEM, PATH, LESSONS)
    sampling = Sampling(temperature=temperature, max_tokens=40)

    async def call(tokens: int | None) -> tuple[list[Completion], Session]:
        pool = AgentPool("one", (Agent("A", Batcher(backend)),))
        ledger = session(pool, PROBLEM, budget=Budget(tokens=tokens))
        arm = ledger.pick(Fixed(), Phase.EXPAND, 0)
        ticket = ledger.ask(arm, Phase.EXPAND, 0, prompt, sampling, lessons=len(LESSONS))
        return await ledger.answers([ticket]), ledger

    (whole,), free = await call(None)
    most = whole.prompt_tokens + 40
    for tokens in (most, most - 1, most - 12, most - 24):
        stood, ledger = await call(tokens)
        assert ledger.meter.tokens <= tokens
        within = whole.prompt_tokens + whole.completion_tokens <= tokens and (
            whole.finish_reason == "stop" or tokens == most
        )
        assert len(stood) == within
        if within:
            assert ledger.calls == free.calls
    with pytest.raises(BudgetExceeded, match="tokens"):
        await call(most - 25)


async def test_what_was_dropped_is_on_record_and_replayed_without_a_model(
    folders: dict[str, Path], tmp_path: Path, backends: Callable[[str], HFBackend]
):
    def forbidden() -> HFBackend:
        raise AssertionError("a model was loaded")

    records = []
    sources: dict[Mode, HFBackend | Callable[[], HFBackend]] = {"record": backends("llama"), "replay": forbidden}
    for mode, source in sources.items():
        with CallStore(tmp_path / "a.sqlite") as store:
            stored = StoredBackend(source, store, mode, revision=backends("llama").revision)
            ledger = session(AgentPool("one", (Agent("A", Batcher(stored)),)), PROBLEM)
            prompt = partial(PROMPTS.expansion, PROBLEM, PATH, LESSONS)
            arm = ledger.pick(Fixed(), Phase.EXPAND, 0)
            sampling = Sampling(temperature=0.0, max_tokens=150)
            await ledger.answers([ledger.ask(arm, Phase.EXPAND, 0, prompt, sampling, lessons=len(LESSONS))])
            records.append(ledger.calls)
    (call,) = records[0]
    assert records[0] == records[1]
    assert (call.error, call.dropped_lessons) == (None, 3)
    assert 0 < call.dropped_shots < 3
    assert call.prompt == digest(prompt(call.dropped_lessons + call.dropped_shots))


def test_a_completion_whose_reasoning_the_template_opens_begins_with_the_tag(folders: dict[str, Path], ask: Ask):
    chats = ChatTokenizer(tokenizer(folders["llama"], OPENING), ROOMY)
    (row,) = chats.rows([ask(max_tokens=8)], {})
    assert row.opened == "<think>\n"
