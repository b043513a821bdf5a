"""MBPP in Python and Rust, MBPP+ and HumanEval: tests, feedback, grades; on made-up rows, and on the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from symphony.search.symphony import Symphony
from symphony.tasks import jsonrows
from symphony.tasks.programs import rust_suite
from symphony.tasks.programs.data import Dataset
from symphony.tasks.programs.python_suite import Suite, checks, judge
from symphony.tasks.programs.rust_suite import canonical, suite
from symphony.tasks.programs.sandbox import Limits, PythonSandbox
from symphony.tasks.programs.task import Programs
from symphony.types import State, SymphonyError
from tests.search.test_symphony import in_turn, search
from tests.shared_data import DATA, needs

SQUARE = {
    "name": "t_1_square",
    "prompt": 'def square(x: int) -> int:\n    """\n\tSquares.\n\t"""\n ',
    "entry_point": "square",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate(-3) == 9\n\n"
    "def test_check():\n    check(square)\n\ntest_check()\n",
}
RUST = {
    "name": "t_1_square",
    "prompt": "/// Squares.\nfn square(x: isize) -> isize {\n",
    "entry_point": "square",
    "test": "}\n\nfn main() {\n    let candidate = square;\n    assert_eq!(candidate(2), 4);\n"
    "    assert_eq!(candidate(-3), 9);\n}\n",
}
RIGHT = "```python\ndef square(x):\n    return x * x\n```"
HALF = "```python\ndef square(x):\n    return x + 2\n```"
LIMITS = Limits(cpu_s=5, wall_s=5.0)
rustc = pytest.mark.skipif(not rust_suite.available(), reason="no rustc on this machine")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mbpp").mkdir()
    (tmp_path / "mbpp" / "mbpp-py.jsonl").write_text(json.dumps(SQUARE))
    (tmp_path / "mbpp" / "mbpp-rs.jsonl").write_text(json.dumps(RUST))
    return tmp_path


def walk(task: Programs, *actions: str) -> State:
    state = task.reset(task.problems()[0])
    for action in actions:
        state = task.step(state, action)
    return state


# --------------------------------------------------------------------------- visible and hidden tests


def test_generated_tests_are_those_below_the_program_and_are_no_part_of_it(data):
    task = Programs(dataset="mbpp_py", count=1, data=data)
    state = walk(task, HALF.replace("\n```", "\nassert square(2) == 4\nassert square(3) == 9\n```"))
    assert state.observation == ("Tests passed:\nassert square(2) == 4\nTests failed:\nassert square(3) == 9  # 5")
    assert "assert" not in state.data.program
    assert (state.reward, state.done) == (None, False)


def test_progress_is_the_share_of_visible_tests_passed(data):
    task = Programs(dataset="mbpp_py", count=1, data=data)
    half = walk(task, HALF.replace("\n```", "\nassert square(2) == 4\nassert square(3) == 9\n```"))
    assert (half.progress, walk(task, RIGHT).progress) == (0.5, None)


def test_a_later_program_faces_the_tests_of_the_earlier_ones(data):
    task = Programs(dataset="mbpp_py", count=1, data=data)
    state = walk(task, HALF.replace("\n```", "\nassert square(3) == 9\n```"), HALF)
    assert "assert square(3) == 9  # 5" in state.observation


def test_without_any_test_nothing_ends(data):
    state = walk(Programs(dataset="mbpp_py", count=1, data=data), RIGHT)
    assert state.observation.startswith("There are no tests to run")
    assert not state.done


def test_a_program_that_passes_the_visible_tests_ends_the_episode_even_if_the_hidden_ones_fail_it(data):
    task = Programs(dataset="mbpp_py", count=1, data=data, internal="first_assert")
    state = walk(task, HALF)
    assert (state.terminated, state.reward) == (True, 1.0)
    assert not task.grade(task.problems()[0], state).success


def test_with_hidden_asserts_the_search_sees_what_decides(data):
    task = Programs(dataset="mbpp_py", count=1, data=data, internal="hidden_asserts")
    assert walk(task, HALF).reward is None
    assert walk(task, RIGHT).reward == 1.0


def test_only_hidden_asserts_count_as_feedback_from_ground_truth(data):
    told = {
        mode: Programs(dataset="mbpp_py", count=1, internal=mode).feedback for mode in ("generated", "first_assert")
    }
    assert set(told.values()) == {"none"}
    assert Programs(dataset="mbpp_py", count=1, internal="hidden_asserts").feedback == "oracle"
    with pytest.raises(SymphonyError, match="found hidden_asserts with feedback=none, allowed: generated"):
        Programs(dataset="mbpp_py", count=1, internal="hidden_asserts", feedback="none")


def test_every_problem_names_its_edition_and_its_visible_tests(data):
    assert Programs(dataset="mbpp_py", count=1, data=data).problems()[0].kind == "published, generated"


async def test_a_search_with_generated_tests_is_the_same_whatever_the_hidden_ones(data):
    seen = []
    for wanted in ("4", "5"):
        row = {**SQUARE, "test": SQUARE["test"].replace("== 4", f"== {wanted}").replace("== 9", f"== {wanted}0")}
        (data / "mbpp" / "mbpp-py.jsonl").write_text(json.dumps(row))
        (item,) = Programs(dataset="mbpp_py", count=1, data=data).problems()

        class Fixed(Programs):
            __slots__ = ()

            def reset(self, problem: object, item=item) -> State:
                return Programs.reset(self, item)

        actions = [a.removeprefix("Action: ") for a in (HALF.replace("\n```", "\nassert square(3) == 9\n```"), RIGHT)]
        script = in_turn(*actions)
        task = Fixed(dataset="mbpp_py", count=1, data=data)
        result, ledger = await search(script, task=task, method=Symphony(iterations=3, n=2, sim_depth=2))
        tree = [(node.turn, node.visits, node.value_sum, node.prior, node.closed) for node in result.tree.nodes]
        seen.append((tree, result.answer, result.stop_reason, len(ledger.calls)))
    assert seen[0] == seen[1]


def test_two_branches_know_nothing_of_each_other_s_tests(data):
    task = Programs(dataset="mbpp_py", count=1, data=data)
    start = walk(task)
    task.step(start, HALF.replace("\n```", "\nassert square(3) == 9\n```"))
    assert task.step(start, HALF).observation.startswith("There are no tests to run")


# --------------------------------------------------------------------------- answers


def test_an_answer_is_thought_and_fenced_program(data):
    proposal = Programs(dataset="mbpp_py", count=1).parse(f"Thought: multiply: x by x.\nAction:\n{RIGHT}\nDone.")
    assert proposal is not None
    assert proposal.thought == "multiply: x by x."
    assert proposal.action == RIGHT


def test_an_answer_without_a_program_is_none(data):
    assert Programs(dataset="mbpp_py", count=1).parse("Thought: I do not know.") is None


def test_a_program_without_the_function_is_invalid_and_costs_a_step(data):
    state = walk(Programs(dataset="mbpp_py", count=1, data=data, max_steps=1), "```python\nx = 1\n```")
    assert state.invalid
    assert state.truncated
    assert state.observation == "Found no program that defines square."


# --------------------------------------------------------------------------- suites


@pytest.fixture(scope="module")
def box():
    with PythonSandbox(memory_mb=512) as sandbox:
        yield sandbox


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        ("assert f(1) == [1, (2,), {3: {4}}]", "def f(x): return [1, (2,), {3: {4}}]"),
        ("assert set(f(1)) == {1, 2}", "def f(x): return (2, 1, 1)"),
        ("assert abs(f(1) - 0.3) < 1e-9", "def f(x): return 0.1 + 0.2"),
        ("assert f(f(2)) == 4", "def f(x): return x + 1"),
        ("assert f(1) == f(2) + 1", "def f(x): return -x"),
        ("assert list(f(2)) == [0, 1]", "def f(x): return (i for i in range(x))"),
        ("assert f(1) == float('inf')", "def f(x): return float('inf')"),
        ("assert f(1) is None", "def f(x): return None"),
        ("assert f(1) == {}", "import collections\ndef f(x): return collections.Counter()"),
        ("assert not f(1)", "def f(x): return ''"),
        ("assert f(1) == 10 ** 5000", "def f(x): return 10 ** 5000"),
    ],
)
def test_what_an_assert_says_of_plain_values_is_what_counts(box, tests, program):
    suite = Suite(entry="f", checks=checks(tests, "f") or ())
    assert judge(box, program, suite, LIMITS).outcome == "pass"
    assert judge(box, "def f(x): return 'w'", suite, LIMITS).outcome == "fail"


def test_a_tuple_is_no_list_and_a_generator_equals_nothing(box):
    suite = Suite(entry="f", checks=checks("assert f(1) == [1]", "f") or ())
    for program in ("def f(x): return (1,)", "def f(x): return iter([1])"):
        assert judge(box, program, suite, LIMITS).outcome == "fail"


def test_each_assert_is_judged_by_itself(box):
    suite = Suite(entry="f", checks=checks("assert f(0) == 1\nassert f(1) == 1\nassert f(2) == 3", "f") or ())
    report = judge(box, "def f(x): return 1 // x", suite, LIMITS)
    assert report.passed == (False, True, False)
    assert report.shown[0].startswith("ZeroDivisionError")
    assert report.shown[2] == "0"


def test_a_test_with_loops_is_played_with_the_program_elsewhere(box):
    script = "def check(candidate):\n    for i in range(5):\n        assert candidate(i) == helper(i) + 1\n"
    suite = Suite(entry="f", checks=(), script=script)
    assert judge(box, "def helper(x): return x\ndef f(x): return x + 1", suite, LIMITS).outcome == "pass"
    assert judge(box, "def helper(x): return x\ndef f(x): return x", suite, LIMITS).outcome == "fail"


@pytest.mark.parametrize(
    ("debug", "same"),
    [
        ('{3: "a, }", 1: {"y", "x"}}', '{1: {"x", "y"}, 3: "a, }"}'),
        ("[-0.0, -0.05, (1, 2)]", "[0.0, -0.05, (1, 2)]"),
        ("Some('{')", "Some('{')"),
        ("[3, 1]", "[3, 1]"),
    ],
)
def test_maps_and_sets_have_no_order_and_lists_have(debug, same):
    assert canonical(debug) == same


@rustc
def test_a_whole_rust_program_passes_the_suite_that_begins_with_a_stray_brace(data):
    task = Programs(dataset="mbpp_rs", count=1, data=data)
    (problem,) = task.problems()
    for body, outcome in (("x * x", "pass"), ("x + 2", "fail"), ('"x"', "compile_error")):
        state = walk(task, f"```rust\nfn square(x: isize) -> isize {{\n    {body}\n}}\n```")
        assert task.grade(problem, state).outcome == outcome


@rustc
def test_generated_rust_tests_are_those_of_main(data):
    task = Programs(dataset="mbpp_rs", count=1, data=data)
    tests = "fn main() {\n    assert_eq!(square(2), 4);\n    assert_eq!(square(3), 9);\n}"
    state = walk(task, f"```rust\nfn square(x: isize) -> isize {{ x + 2 }}\n{tests}\n```")
    assert state.observation.startswith("Tests passed:\nassert_eq!(square(2), 4);\nTests failed:")


def test_a_rust_test_of_another_form_is_refused():
    with pytest.raises(SymphonyError, match=r"found a test other than assert_eq!"):
        suite("square", RUST["prompt"], "}\nfn main() { assert!(square(2) == 4); }")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"dataset": "mbpp_js"}, "task.dataset: found 'mbpp_js', allowed: mbpp_py, mbpp_rs"),
        ({"internal": "all"}, "task.internal: found 'all', allowed: generated, first_assert, hidden_asserts"),
        ({"max_steps": 0}, "task.max_steps: found 0"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(settings, told):
    with pytest.raises(SymphonyError, match=told):
        Programs(**{"dataset": "mbpp_py", "count": 1, **settings})


def test_a_row_of_another_data_set_is_refused(data):
    (data / "mbpp" / "mbpp-py.jsonl").write_text('{"name": "x"}')
    with pytest.raises(SymphonyError, match=r"mbpp-py.jsonl:1: prompt: found nothing, allowed: a value"):
        Programs(dataset="mbpp_py", count=1, data=data).problems()


# --------------------------------------------------------------------------- the published rows


def outcomes(dataset: Dataset, programs: dict[str, str]) -> dict[str, str]:
    task = Programs(dataset=dataset, count=None, data=DATA)
    found = {}
    for problem in task.problems():
        if problem.id in programs:
            state = task.step(task.reset(problem), *task.submission(programs[problem.id]))
            found[problem.id] = task.grade(problem, state).outcome
    return found


@needs("mbpp/gpt4_solutions_py.jsonl")
def test_published_python_programs_get_the_verdicts_listed_with_them():
    rows = jsonrows.rows(DATA / "mbpp/gpt4_solutions_py.jsonl")
    found = outcomes("mbpp_py", {row["name"]: row["solution"] for row in rows})
    assert {name: outcome == "pass" for name, outcome in found.items()} == {
        r["name"]: r["verdict"] == "pass" for r in rows
    }
    assert len(found) == 203


@pytest.mark.slow
@rustc
@needs("mbpp/gpt4_solutions_rs.jsonl")
def test_published_rust_programs_get_the_verdicts_listed_with_them():
    rows = jsonrows.rows(DATA / "mbpp/gpt4_solutions_rs.jsonl")
    found = outcomes("mbpp_rs", {row["name"]: row["solution"] for row in rows})
    kinds = {"pass": "pass", "compile_error": "compile_error"}
    assert {name: kinds.get(outcome, "fail") for name, outcome in found.items()} == {
        r["name"]: r["verdict"] for r in rows
    }
    assert len(found) == 182


@pytest.mark.slow
@needs("mbpp/mbpp.jsonl")
def test_every_mbpp_reference_passes():
    rows = jsonrows.rows(DATA / "mbpp/mbpp.jsonl")
    found = outcomes("mbpp", {str(row["task_id"]): row["code"] for row in rows})
    assert set(found.values()) == {"pass"}
    assert len(found) == 717


@pytest.mark.slow
@needs("humaneval/HumanEval.jsonl")
def test_every_humaneval_solution_passes():
    rows = jsonrows.rows(DATA / "humaneval/HumanEval.jsonl")
    found = outcomes("humaneval", {row["task_id"]: row["prompt"] + row["canonical_solution"] for row in rows})
    assert set(found.values()) == {"pass"}
    assert len(found) == 120


@pytest.mark.slow
@needs("mbpp/MbppPlus.jsonl")
def test_every_mbpp_plus_reference_passes_base_and_plus_inputs():
    rows = jsonrows.rows(DATA / "mbpp/MbppPlus.jsonl")
    found = outcomes("mbpp_plus", {row["task_id"]: row["canonical_solution"] for row in rows})
    assert set(found.values()) == {"pass"}
    assert len(found) == 203


def test_an_edition_is_read_from_its_own_folder_or_its_own_download(tmp_path: Path) -> None:
    task = Programs(dataset="mbpp_py", count=1, variant="upstream", data=tmp_path)
    with pytest.raises(SymphonyError, match="symphony fetch task/mbpp_py_upstream"):
        task.files()
    for place in ("task/mbpp_py_upstream", "mbpp/upstream"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "mbpp-py.jsonl").touch()
        assert task.files() == (tmp_path / place / "mbpp-py.jsonl",)
