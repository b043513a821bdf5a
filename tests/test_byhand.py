"""Grading predictions made elsewhere, and playing by hand: `symphony grade`, `symphony play`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from symphony.__main__ import main
from symphony.byhand import grade_file, play
from symphony.tasks.hotpotqa import HotpotQA
from symphony.tasks.mini_qa import MiniQA
from symphony.types import SymphonyError
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
    file, out, told = tmp_path / "p.jsonl", tmp_path / "g.jsonl", []
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
    assert "5 lines count in no figure" in text
    assert "graded 2 predictions for 3 problems; 1 problems without one" in text
    assert "success 0.5000 (95 % interval" in text


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
        f"{task.prompts.instructions}\nQuestion: Who built the mill?"
    )


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
        (["play", "task=mini_qa"], "found 0 of problem=<id>"),
    ],
)
def test_bad_arguments_are_told_in_one_line(arguments, told, capsys):
    assert main(arguments) == 1
    assert told in capsys.readouterr().err
