"""Prompt files: what they must hold, that their examples are true, and that none is a problem that is searched."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from symphony.agents.scorer import parse_score
from symphony.agents.siblings import split_siblings
from symphony.chat.prompts import ChatPrompts, Shot, parse_proposal
from symphony.plan.compose import plan
from symphony.tasks import jsonrows
from symphony.tasks.hotpotqa.task import HotpotQA
from symphony.tasks.programs import rust_suite
from symphony.tasks.programs.data import Dataset
from symphony.tasks.programs.extract import asserts
from symphony.tasks.programs.task import OWN_TESTS, Programs
from symphony.tasks.webshop.task import HINT, WebShop
from symphony.tasks.wording import FOLDER, read_prompts
from symphony.types import Message, Problem, SymphonyError, Turn
from tests.shared_data import DATA, needs

CONF = Path(__file__).parents[2] / "conf"
TASKS = sorted(folder.name for folder in FOLDER.iterdir())
VERBS = {
    "blocksworld": ("unstack", "pickup", "stack", "putdown"),
    "crosswords": ("fill",),
    "hotpotqa": ("search", "lookup", "finish"),
    "webshop": ("search", "click"),
}
# A published version never changes: a better wording is a new file.
DIGESTS = {
    "blocksworld/v1": "ea62f405521e60ba",
    "crosswords/v1": "202b04722aa5fe2e",
    "hotpotqa/v1": "4ff46e6afc37467f",
    "hotpotqa/v2": "30d6a07e738f6527",
    "programs_python/v1": "e1d6d9ce652f3226",
    "programs_python/v2": "17178710e98bb9f0",
    "programs_python/v2_given": "a7f86945214c9f8a",
    "programs_rust/v1": "e1dd029ae82de51b",
    "programs_rust/v2": "f1e20eff2365caa8",
    "programs_rust/v2_given": "1f8b41fc38057a46",
    "webshop/v1": "6e72e4cff74a4caa",
    "webshop/v2": "d7496c32f6538dd4",
}
ANSWERS = {
    "blocksworld": "367fade2ce180367",
    "crosswords": "7f532c264666fdb0",
    "hotpotqa": "6cafa28ac793a356",
    "programs_python": "a47b70ab8230c7c5",
    "programs_rust": "289b417915e06d60",
    "webshop": "799c55d702efedb7",
}
"""Digests of the wording of answers in one call."""
COMPARISONS = {
    "blocksworld/v1": "ebcfc33fa41e7ae3",
    "crosswords/v1": "c704d2b27c39fec0",
    "game24/v1": "7699389a9c612544",
    "hotpotqa/v2": "d47c38c1ea9a647a",
    "programs_python/v2": "b391e437d7e7fda8",
    "programs_rust/v2": "d3767a201b28554b",
    "webshop/v2": "981e63d5e1eeff4d",
}
"""Digests of the wording of questions about several siblings."""
PROBLEM = Problem(id="p", prompt="Question: who?", target=None)
PATH = (Turn(thought="Look.", action="search[x]", observation="Seen."),) * 2
LESSONS = ("Do not guess.", "Read on.")


def chats(prompts: ChatPrompts) -> Iterator[tuple[Message, ...]]:
    """Every prompt of every phase, at the root and below it, with and without lessons, whole and shortened."""
    for dropped in range(9):
        for path in ((), PATH):
            for lessons in ((), LESSONS):
                yield prompts.expansion(PROBLEM, path, lessons, dropped)
                yield prompts.evaluation(PROBLEM, path, lessons, dropped)
            yield prompts.reflection(PROBLEM, path, dropped)


def test_a_published_version_never_changes():
    found = {
        f"{path.parent.name}/{path.stem}": read_prompts(path.parent.name, path.stem).digest
        for path in FOLDER.glob("*/*.yaml")
    }
    assert {name: found[name] for name in DIGESTS} == DIGESTS


def test_a_published_wording_of_answers_never_changes():
    assert {task: read_prompts(task, "v1").answer_digest for task in ANSWERS} == ANSWERS


def test_a_published_wording_of_comparisons_never_changes():
    found = {name: read_prompts(*name.split("/")).comparison_digest for name in COMPARISONS}
    assert found == COMPARISONS


@pytest.mark.parametrize("name", ["", *COMPARISONS])
def test_siblings_are_shown_and_asked_for_under_their_numbers_in_a_form_that_the_reader_reads(name):
    prompts = read_prompts(*name.split("/")) if name else ChatPrompts()
    steps = [Turn(thought=f"Thus {n}.", action=f"search[x{n}]", observation=f"Seen {n}.") for n in range(1, 4)]
    asked = prompts.comparison(PROBLEM, PATH, steps, LESSONS)[-1].content
    for n, step in enumerate(steps, 1):
        shown = asked.partition(f"Candidate {n}:\n")[2].partition("Candidate ")[0]
        assert all(part in shown for part in (step.thought, step.action, step.observation))
    form = re.sub("<[^<>]*>", "0.5", asked[asked.index("\n1: ") :])
    assert [said is not None for said in split_siblings(form, 4)] == [True, True, True, False]


@pytest.mark.parametrize("language", ["python", "rust"])
def test_where_tests_are_given_none_are_asked_for_and_nothing_else_differs(language):
    base, given = (read_prompts(f"programs_{language}", version) for version in ("v2", "v2_given"))
    assert dataclasses.replace(given, instructions=base.instructions) == base
    assert "assert" in base.instructions
    assert "assert" not in given.instructions


@pytest.mark.parametrize("like", ["v9", "mine", "other", ["v1"], 3, None])
def test_a_wording_is_like_a_whole_version_beside_it(like, tmp_path):
    (tmp_path / "v1.yaml").write_text((FOLDER / "webshop" / "v1.yaml").read_text())
    (tmp_path / "other.yaml").write_text("like: v1\ninstructions: Buy.\n")
    assert read_prompts("webshop", str(tmp_path / "other.yaml")).instructions == "Buy."
    (tmp_path / "mine.yaml").write_text(json.dumps({"like": like, "instructions": "Buy."}))
    with pytest.raises(SymphonyError, match=r"mine\.yaml: like: found .*, allowed: v1$"):
        read_prompts("webshop", str(tmp_path / "mine.yaml"))


def test_tests_are_asked_for_without_a_program_and_as_many_as_are_run():
    for task in ("programs_python", "programs_rust"):
        for version in ("v1", "v2"):
            (message,) = read_prompts(task, version).answer("tests", PROBLEM, ())
            assert f"up to {OWN_TESTS} " in message.content
            assert PROBLEM.prompt in message.content


@pytest.mark.parametrize("style", ["direct", "cot"])
def test_an_answer_in_one_call_has_instructions_of_its_own_and_no_examples(style):
    assert {task for task in ANSWERS if not getattr(read_prompts(task, "v1"), style)} == {"webshop"}
    for task in TASKS:
        prompts = read_prompts(task, "v1")
        if not getattr(prompts, style):  # a purchase in WebShop takes several actions
            assert prompts.answer(style, PROBLEM, LESSONS) == prompts.expansion(PROBLEM, (), LESSONS)
        else:
            (message,) = prompts.answer(style, PROBLEM, LESSONS)
            assert message.content.startswith(getattr(prompts, style))
            assert message.content.endswith("\n- ".join(("", *LESSONS)))
            assert not prompts.answer(style, PROBLEM, LESSONS, len(LESSONS) + 1)


@pytest.mark.parametrize("task", ["", *TASKS])
def test_roles_alternate_from_user_to_user_in_every_prompt(task):
    prompts = read_prompts(task, "v1") if task else ChatPrompts()
    some = [messages for messages in chats(prompts) if messages]
    assert len(some) >= 10
    for messages in some:
        assert [message.role for message in messages] == (["user", "assistant"] * len(messages))[: len(messages)]
        assert messages[-1].role == "user"
        assert all(message.content.strip() for message in messages)


@pytest.mark.parametrize("task", TASKS)
def test_evaluations_are_asked_for_and_shown_as_labelled_lines(task):
    prompts = read_prompts(task, "v1")
    assert re.search(r"(?m)^Value: <.*\nConfidence: <", prompts.evaluate)
    values: list[float] = []
    for shot in prompts.evaluate_shots:
        assert re.fullmatch(r"Value: [01]\.\d+\nConfidence: [01]\.\d+", shot.answer)
        score = parse_score(shot.answer)
        assert score is not None
        values.append(score[0])
    assert not values or (max(values) > 0.7 and min(values) < 0.3)


@pytest.mark.parametrize("task", TASKS)
def test_reflections_are_asked_for_and_shown_with_their_label(task):
    prompts = read_prompts(task, "v1")
    assert "\nLesson: <" in prompts.reflect
    assert all(shot.answer.startswith("Lesson: ") for shot in prompts.reflect_shots)


@pytest.mark.parametrize("task", VERBS)
def test_examples_are_written_in_the_form_that_the_parser_reads(task):
    for shot in read_prompts(task, "v1").shots:
        for turn in shot.path:
            said = f"Thought: {turn.thought}\nAction: {turn.action}"
            proposal = parse_proposal(said, VERBS[task])
            assert proposal is not None
            assert (proposal.thought, proposal.action) == (turn.thought, turn.action)
    for shot in read_prompts(task, "v1").expand_shots:
        assert parse_proposal(shot.answer, VERBS[task]) is not None


def test_examples_are_as_many_as_in_the_paper_and_as_many_again_where_it_is_silent():
    hotpotqa, webshop, python, rust = (
        read_prompts(task, "v1") for task in ("hotpotqa", "webshop", "programs_python", "programs_rust")
    )
    assert [len(prompts.expand_shots) for prompts in (hotpotqa, webshop, python, rust)] == [3, 1, 0, 0]
    assert [prompts.refine_shots and len(prompts.refine_shots) for prompts in (hotpotqa, python, rust)] == [None, 1, 1]
    assert [len(prompts.evaluate_shots) for prompts in (hotpotqa, webshop, python, rust)] == [2, 2, 2, 2]
    assert [len(prompts.reflect_shots) for prompts in (hotpotqa, webshop, python, rust)] == [3, 2, 2, 1]


def test_what_the_environments_say_in_examples_is_what_they_say():
    webshop = {turn.observation for shot in read_prompts("webshop", "v1").shots for turn in shot.path}
    assert HINT in webshop
    for task in ("programs_python", "programs_rust"):
        assert f"up to {OWN_TESTS} " in read_prompts(task, "v1").instructions


def play(shot: Shot, dataset: Dataset, folder: Path) -> None:
    """Has the environment answer an example's path, whose observations must be the same."""
    named = re.search(r"(?:def|fn) (\w+)", shot.problem)
    assert named is not None
    entry = named[1]
    row = {"name": "x", "prompt": shot.problem, "entry_point": entry}
    if dataset == "mbpp_py":
        row["test"] = f"def check(candidate):\n    assert candidate is not {entry}\n    assert candidate() == 1\n"
    else:
        row["test"] = "}\nfn main() {\n    let candidate = f;\n    assert_eq!(candidate(), 1);\n}\n"
    (folder / "mbpp").mkdir(exist_ok=True)
    (folder / "mbpp" / f"{dataset.replace('_', '-')}.jsonl").write_text(json.dumps(row))
    own = folder / "none.yaml"  # an example may not be played where it is one
    own.write_text(yaml.safe_dump(dict.fromkeys(("instructions", "lessons", "evaluate", "reflect"), "x")))
    task = Programs(dataset=dataset, count=1, data=folder, wording=str(own))
    state = task.reset(task.problems()[0])
    for turn in shot.path:
        found = task.parse(f"{turn.thought}\n{turn.action}")
        assert found is not None
        state = task.step(state, found.action)
        told = [text.partition("\nerror: aborting")[0] for text in (state.observation, turn.observation)]
        assert told[0] == told[1]  # what compilers say at the end differs by version


def test_python_examples_are_true_and_their_mended_programs_pass(tmp_path):
    prompts = read_prompts("programs_python", "v1")
    for shot in prompts.shots:
        play(shot, "mbpp_py", tmp_path)
    assert prompts.refine_shots
    for shot in prompts.refine_shots:
        names: dict[str, Any] = {}
        exec(shot.answer.partition("```python\n")[2].removesuffix("```"), names)
        assert len(asserts(shot.answer, "ferry_trips")) == OWN_TESTS


@pytest.mark.skipif(not rust_suite.available(), reason="no rustc on this machine")
def test_rust_examples_are_true(tmp_path):
    for shot in read_prompts("programs_rust", "v1").shots:
        play(shot, "mbpp_rs", tmp_path)


# --------------------------------------------------------------------------- overlap


def own_file(folder: Path, example: str) -> str:
    """A prompt file whose only example is the problem given."""
    words = {name: "x" for name in ("instructions", "lessons", "evaluate", "reflect")}
    shot = {"problem": example, "answer": "y"}
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump({**words, "shots": {"reflect": [shot]}}))
    return str(path)


def rows(folder: Path, name: str, *found: Mapping[str, object]) -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder


def test_a_question_that_is_an_example_is_refused(tmp_path):
    row = {"_id": "q7", "question": "Who built the  Mill", "answer": "Ann", "context": [["A", ["B."]]]}
    data = rows(tmp_path, "hotpotqa/hotpot_dev_distractor_sample.jsonl", row)
    HotpotQA(count=1, data=data).problems()
    poisoned = HotpotQA(count=1, data=data, wording=own_file(tmp_path, "Question: who built the mill?"))
    with pytest.raises(
        SymphonyError, match=r"task\.wording: found problem q7 as a worked example \(Question: who built"
    ):
        poisoned.problems()


def test_a_function_that_is_an_example_is_refused_whatever_its_text(tmp_path):
    row = {"name": "t1", "prompt": "def near(n: int) -> int:\n    '''Nearest.'''\n", "entry_point": "near"}
    row["test"] = "def check(candidate):\n    assert candidate(1) == 1\n"
    data = rows(tmp_path, "mbpp/mbpp-py.jsonl", row)
    Programs(dataset="mbpp_py", count=1, data=data).problems()
    example = own_file(tmp_path, "Write a function.\nIts signature is: def near(x):")
    with pytest.raises(SymphonyError, match="found problem t1 as a worked example"):
        Programs(dataset="mbpp_py", count=1, data=data, wording=example).problems()


@needs("webshop/documents_1k.jsonl")
def test_an_instruction_that_is_an_example_is_refused(tmp_path):
    settings: dict[str, Any] = {"count": 1, "price_seed": 0, "instructions": "synthetic", "data": DATA}
    (problem,) = WebShop(**settings).problems()
    with pytest.raises(SymphonyError, match="found problem fixed_0 as a worked example"):
        WebShop(**settings, wording=own_file(tmp_path, problem.prompt.upper())).problems()


@needs("hotpotqa/hotpot_dev_qa.jsonl", "webshop/human_goals.jsonl")
@pytest.mark.parametrize("task", ["hotpotqa", "webshop"])
def test_no_example_is_a_question_or_an_instruction_of_the_real_data(task):
    texts = [
        f"Question: {row['question']}"
        for name in ("hotpot_dev_qa", "hotpot_train_distractor_sample")
        for row in jsonrows.rows(DATA / "hotpotqa" / f"{name}.jsonl")
    ]
    texts += [f"Instruction: {row['instruction']}" for row in jsonrows.rows(DATA / "webshop" / "human_goals.jsonl")]
    assert len(texts) > 10_000
    read_prompts(task, "v1").apart([Problem(id=text, prompt=text, target=None) for text in texts])


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("mbpp_py", "mbpp/mbpp-py.jsonl"),
        ("mbpp_rs", "mbpp/mbpp-rs.jsonl"),
        ("mbpp", "mbpp/mbpp.jsonl"),
        ("mbpp_plus", "mbpp/MbppPlus.jsonl"),
        ("humaneval", "humaneval/HumanEval.jsonl"),
    ],
)
def test_no_example_is_a_function_of_the_real_data(dataset, file):
    if not (DATA / file).is_file() or (dataset == "mbpp_rs" and not rust_suite.available()):
        pytest.skip(f"no {file}, or no rustc")
    problems = Programs(dataset=dataset, count=None, data=DATA).problems()
    assert len(problems) > 100


# --------------------------------------------------------------------------- files of one's own


def test_an_own_file_is_read_and_its_words_name_the_run(tmp_path):
    def digest(example: str) -> str:
        rows(tmp_path, "hotpotqa/hotpot_dev_distractor_sample.jsonl", {"question": "a"})
        overrides = [
            "tasks=[hotpotqa]",
            f"data_dir={tmp_path}",
            f"task.wording={own_file(tmp_path, example)}",
        ]
        read_prompts.cache_clear()
        return plan("quickstart", overrides, experiment="symphony", conf=CONF)[0].digest

    assert digest("Question: one?") == digest("Question: one?") != digest("Question: two?")


def test_the_wording_of_answers_and_of_comparisons_names_the_runs_that_ask_with_it(tmp_path):
    def digests(words: str) -> list[str]:
        rows(tmp_path, "hotpotqa/hotpot_dev_distractor_sample.jsonl", {"question": "a"})
        own = tmp_path / "own.yaml"
        own.write_text(
            yaml.safe_dump(
                {
                    **dict.fromkeys(("instructions", "lessons", "evaluate", "reflect"), "x"),
                    "cot": words,
                    "compare": f"{words} {{number}}",
                }
            )
        )
        task = ["tasks=[hotpotqa]", f"data_dir={tmp_path}", f"task.wording={own}"]
        read_prompts.cache_clear()
        return [
            plan("quickstart", [*task, *search], experiment="react", conf=CONF)[0].digest
            for search in (["search=symphony"], ["search=cot"], ["search=symphony", "search.siblings=4"])
        ]

    alone, cot, together = zip(digests("Think."), digests("Think well."), strict=True)
    assert alone[0] == alone[1]
    assert cot[0] != cot[1]
    assert together[0] != together[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("instructions: a\nlessons: b\nevaluate: c\n", "found no reflect, allowed: text for each of instructions"),
        ("instructions: a\nlessons: b\nevaluate: c\nreflect: d\nshot: e", "found the key 'shot', allowed: .*shots"),
        ("instructions: 3\nlessons: b\nevaluate: c\nreflect: d", "instructions: found 3, allowed: text"),
        ("instructions: a\nlessons: b\nevaluate: c\nreflect: d\nturn: '{x}'", "turn: found '{x}', allowed: only"),
        ("instructions: a\nlessons: b\nevaluate: c\nreflect: d\nturn: '{action.x}'", "turn: found .*: only {thought}"),
        ("instructions: a\nlessons: b\nevaluate: c\nreflect: d\nturn: said", "turn: found 'said', allowed: text with"),
        (
            "instructions: a\nlessons: b\nevaluate: c\nreflect: d\nshots: {expand: [{problem: e}]}",
            r"shots\.expand\[0\]: found no answer",
        ),
        ("instructions: a\nlessons: b\nevaluate: c\nreflect: d\ncompare: e", "compare: found 'e', allowed: text with"),
        ("instructions: [", "allowed: YAML"),
        ("- a", "found a list, allowed: the keys instructions"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_by_its_key(tmp_path, text, told):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(SymphonyError, match=told) as raised:
        HotpotQA(count=1, wording=str(path))
    assert "\n" not in str(raised.value)


def test_an_unknown_version_is_told_the_known_ones():
    with pytest.raises(SymphonyError, match=r"task\.wording: found 'v0', allowed: .*v1.*, or a file .*\.yaml"):
        HotpotQA(count=1, wording="v0")
