"""Grading predictions made elsewhere, and playing by hand: `symphony grade`, `symphony play`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from symphony.__main__ import main
from symphony.byhand import UNCOUNTED, grade_file, play
from symphony.tasks.hotpotqa.task import HotpotQA
from symphony.tasks.mini.mini_qa import MiniQA
from symphony.tasks.mini.mini_shop import MiniShop
from symphony.types import SymphonyError, Task
from tests.tasks.test_hotpotqa import data  # noqa: F401

TASK = MiniQA(seed=0, count=3)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_line_gets_a_grade_and_none_is_lost(tmp_path):
    right, wrong, _ = TASK.problems()
    given = [
        json.dumps({"id": right.id, "prediction": right.target.answer}),
        json.dumps({"id": wrong.id, "prediction": ["search[x]", "finish[nobody]"]}),
        json.dumps({"id": "unknown", "prediction": "x"}),
        json.dumps({"id": right.id, "prediction": 3}),
        "no json",
        json.dumps({"id": right.id, "prediction": "again"}),
        json.dumps({"prediction": "x"}),
    ]
    file, out, told = tmp_path / "p.jsonl", tmp_path / "g.jsonl", list[str]()
    file.write_text("\n".join(given))
    grade_file(TASK, file, out, told.append)
    grades = lines(out)
    assert [grade["outcome"] for grade in grades] == [
        "pass",
        "fail",
        "unknown_id",
        "malformed",
        "malformed",
        "duplicate",
        "malformed",
    ]
    assert [grade["passed"] for grade in grades] == [True] + [False] * 6
    assert set(grades[0]) == {"id", "passed", "score", "outcome", "seconds", "detail"}
    text = "\n".join(told)
    assert f"{file}:3: found id 'unknown'" in text
    assert f"{file}:4: found a prediction that is 3, allowed: " in text
    assert f"{file}:5: found Expecting value at character 1, allowed: JSON" in text
    assert f"{file}:7: found no id, allowed: " in text
    assert "5 lines are counted in no metric" in text
    assert "graded 2 predictions for 3 problems; 1 problems have none" in text
    assert "success 0.5000 (95 % interval" in text


def graded(task: Task, tmp_path: Path, *predictions: object, id: str = "") -> list[bool]:
    """Whether each prediction of a problem passes, graded alone."""
    problem, file = task.problems()[0], tmp_path / "p.jsonl"
    passed = []
    for prediction in predictions:
        file.write_text(json.dumps({"id": id or problem.id, "prediction": prediction}))
        (one,) = grade_file(task, file, None, lambda _: None)
        passed.append(one.passed)
    return passed


def test_an_answer_is_graded_as_a_search_reads_it(tmp_path):
    answer = TASK.problems()[0].target.answer
    forms = (
        answer,
        f"Finish[{answer}]",
        f"Action: finish[{answer}] [1]",
        f"Thought: so.\n**Action 2:** Finish[{answer}]",
        f"<think>finish[nobody]</think>{answer}",
        f"Thought: so.\nAction 1: search[x]\nObservation 1: y\nAction 2: Finish[{answer}]",
        f"<think>Action: finish[nobody]</think>\nAction: finish[{answer}]<|im_end|>",
        [f"Finish[{answer}]"],
        ["Thought: so.\nAction: search[x]", f"**Action**: FINISH[{answer}]"],
    )
    assert graded(TASK, tmp_path, *forms) == [True] * len(forms)
    assert graded(TASK, tmp_path, "Finish[nobody]", f"search[{answer}]", f"<think>{answer}") == [False] * 3


def test_actions_are_graded_as_a_search_reads_them(tmp_path):
    task = MiniShop(seed=0, count=1)
    world = task.problems()[0].target
    material, colour, pattern = world.wanted
    item = next(one for one in world.items if one.material == material and one.price < world.limit)
    actions = [f"search[{world.type}]", f"click[{item.id}]", f"click[{colour}]", f"click[{pattern}]", "click[buy]"]
    forms = (
        "\n".join(actions),
        "\n".join(action[0].upper() + action[1:] for action in actions),
        "\n\n".join(f"- `{action}` [1]" for action in actions),
        "<think>click[buy]</think>I buy it.\n"
        + "\r\n".join(f"Action {n}: {action}" for n, action in enumerate(actions)),
        [action.replace("click", "CLICK ") for action in actions],
    )
    assert graded(task, tmp_path, *forms) == [True] * len(forms)


def test_what_is_no_action_of_the_task_is_still_a_step(tmp_path):
    task = MiniShop(seed=0, count=1, max_steps=1)
    world = task.problems()[0].target
    assert task.submission(f"Thought: so.\nDance[tango]\nSearch[{world.type}]") == (
        "Dance[tango]",
        f"search[{world.type}]",
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"id": 1, "prediction": ' + "[" * 100_000 + "]" * 100_000 + "}", "found values nested too deep"),
        ('{"id": ' + "9" * 5000 + ', "prediction": "x"}', "found an integer with too many digits"),
        ('{"id": "a", "prediction": "\\ud800"}', "found half of a surrogate pair"),
        ('{"id": "a", "id": "b", "prediction": "x"}', "found a key twice"),
        ('{"id": true, "prediction": "x"}', "found an id that is True, allowed: "),
        ('{"id": ["a"], "prediction": "x"}', "found an id that is ['a'], allowed: "),
        ('{"id": " ", "prediction": "x"}', "found an id that is ' ', allowed: "),
        ('{"id": "a", "prediction": NaN}', "found a prediction that is nan, allowed: "),
        ('{"id": "a", "prediction": {"a": 1}}', "found a prediction that is {'a': 1}, allowed: "),
        ('{"id": "a", "prediction": ["x", null]}', "found a prediction that is ['x', None], allowed: "),
        ('["a", "x"]', "found no JSON object, allowed: "),
    ],
    ids=lambda text: text[:30],
)
def test_a_line_that_cannot_be_used_is_told_with_its_place_and_the_others_are_graded(line, told, tmp_path):
    right = TASK.problems()[0]
    file, said = tmp_path / "p.jsonl", list[str]()
    file.write_text(f"{json.dumps({'id': right.id, 'prediction': right.target.answer})}\n{line}\n")
    graded = grade_file(TASK, file, tmp_path / "g.jsonl", said.append)
    assert [one.outcome for one in graded] == ["pass", "malformed"]
    assert said[0].startswith(f"{file}:2: {told}")
    assert len(said[0]) < 400


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
    right = TASK.problems()[0]
    file = tmp_path / "p.jsonl"
    file.write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"id": right.id, "prediction": right.target.answer}).encode() + b"\r\n"
    )
    assert [one.outcome for one in grade_file(TASK, file, None, lambda _: None)] == ["pass"]


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_predictions_is_refused(content, tmp_path):
    (tmp_path / "p.jsonl").write_bytes(content)
    with pytest.raises(SymphonyError, match=r"p\.jsonl: found no lines, allowed: "):
        grade_file(TASK, tmp_path / "p.jsonl", None, lambda _: None)


@pytest.mark.parametrize("content", [b"\xff\xfe{", b"\xff", None])
def test_a_file_that_cannot_be_read_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "p.jsonl").write_bytes(content)
    with pytest.raises(SymphonyError, match=r"p\.jsonl: found .*, allowed: a readable UTF-8 file"):
        grade_file(TASK, tmp_path / "p.jsonl", None, lambda _: None)


def test_a_play_shows_each_observation_and_ends_with_the_grade(tmp_path):
    problem = TASK.problems()[0]
    out = io.StringIO()
    play(
        TASK, problem.id, [f"Search[{problem.target.start}]", "", f"finish[{problem.target.answer}]"], out, as_json=True
    )
    seen = [json.loads(line) for line in out.getvalue().splitlines()]
    assert problem.prompt in seen[0]["observation"]
    assert seen[1]["observation"].startswith(problem.target.start)
    assert (seen[2]["reward"], seen[2]["terminated"], seen[2]["truncated"]) == (1.0, True, False)
    assert seen[3]["grade"]["success"]


def test_a_play_begins_with_what_to_do_and_the_problem_without_worked_examples(tmp_path):
    (tmp_path / "hotpotqa").mkdir()
    row = {"_id": "q", "question": "Who built the mill?", "answer": "Ann", "context": [["A", ["B."]]]}
    (tmp_path / "hotpotqa" / "hotpot_dev_distractor_sample.jsonl").write_text(json.dumps(row))
    task = HotpotQA(count=1, data=tmp_path)
    out = io.StringIO()
    play(task, "q", ["finish[Ann]"], out, as_json=True)
    assert json.loads(out.getvalue().splitlines()[0])["observation"] == (
        f"{task.prompts.instructions}\nQuestion: Who built the mill?\n"
        "Actions: search[...], lookup[...], finish[...], think[...]"
    )


def test_a_play_lists_the_verbs_at_the_beginning_and_after_an_invalid_action():
    out = io.StringIO()
    play(TASK, TASK.problems()[0].id, ["dance[now]", "finish[nobody]"], out, as_json=False)
    assert out.getvalue().count("Actions: search[...], lookup[...], finish[...]\n") == 2


def test_a_play_without_feedback_shows_no_reward_but_its_grade():
    task = MiniQA(seed=0, count=1, feedback="none")
    problem = task.problems()[0]
    out = io.StringIO()
    play(task, problem.id, [f"finish[{problem.target.answer}]"], out, as_json=True)
    *_, end, grade = [json.loads(line) for line in out.getvalue().splitlines()]
    assert end["reward"] is None
    assert grade["grade"]["success"]


def test_an_unknown_problem_is_refused_with_some_that_exist():
    with pytest.raises(
        SymphonyError, match=r"problem: found 'x', allowed: an id of the task, such as mini_qa-test-0-0"
    ):
        play(TASK, "x", [], io.StringIO(), as_json=False)


def test_the_command_line_grades_all_items_of_a_file(data, tmp_path, capsys):  # noqa: F811
    file = tmp_path / "p.jsonl"
    file.write_text('{"id": "abc", "prediction": "No."}\n')
    assert main(["grade", "task=hotpotqa", f"data_dir={data}", str(file), "--out", str(tmp_path / "g.jsonl")]) == 0
    assert "graded 1 predictions for 2 problems" in capsys.readouterr().err
    assert lines(tmp_path / "g.jsonl")[0]["passed"] is True


def test_the_command_line_takes_words_after_options(data, tmp_path):  # noqa: F811
    file = tmp_path / "p.jsonl"
    file.write_text('{"id": "abc", "prediction": "yes"}\n')
    assert main(["grade", "--data", str(data), "task=hotpotqa", "--out", str(tmp_path / "g.jsonl"), str(file)]) == 0
    assert lines(tmp_path / "g.jsonl")[0]["passed"] is False


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["grade", "p.jsonl"], "found no task=<name>"),
        (["grade", "task=mini_qa"], "found 0 files of predictions"),
        (["grade", "task=nonsense", "p.jsonl"], "task: found 'nonsense', allowed: "),
        (["play", "task=mini_qa"], "found problem=<id> 0 times"),
    ],
)
def test_bad_arguments_are_told_in_one_line(arguments, told, capsys):
    assert main(arguments) == 1
    assert told in capsys.readouterr().err


def test_files_that_were_joined_with_their_marks_are_read(tmp_path):
    lines = [json.dumps({"id": one.id, "prediction": "x"}) for one in TASK.problems()[:2]]
    file = tmp_path / "p.jsonl"
    file.write_text("".join(f"\ufeff{line}\n" for line in lines), encoding="utf-8")
    graded = grade_file(TASK, file, None, lambda _: None)
    assert [one.outcome in UNCOUNTED for one in graded] == [False, False]
