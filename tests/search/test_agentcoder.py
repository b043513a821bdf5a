"""Rules of AgentCoder, on programs that are really run: who writes the tests, what they see, and when it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from symphony.agents.budget import Budget
from symphony.agents.memory import NoMemory
from symphony.agents.scheduler import RoundRobin
from symphony.agents.scorer import EMCS
from symphony.agents.session import Session
from symphony.search.methods.agentcoder import AgentCoder
from symphony.search.result import SearchResult
from symphony.tasks.mini.gridworld import GridWorld
from symphony.tasks.mini.mini_code import WANTED, MiniCode, line
from symphony.tasks.programs import rust_suite
from symphony.tasks.programs.task import Programs
from symphony.types import Request, SymphonyError
from tests.stub import Script, pool, session
from tests.tasks.test_programs import HALF, RIGHT, RUST, SQUARE

TESTS = "```python\nassert square(2) == 4\nassert square(3) == 9\n```"
OWN = HALF.replace("\n```", "\nassert square(1) == 3\n```")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mbpp").mkdir()
    (tmp_path / "mbpp" / "mbpp-py.jsonl").write_text(json.dumps(SQUARE))
    (tmp_path / "mbpp" / "mbpp-rs.jsonl").write_text(json.dumps(RUST))
    return tmp_path


def team(tests: str | None, *programs: str, prompts: list[str] | None = None) -> Script:
    """Answers the call for tests, and with the programs in turn, the last for good."""
    written = iter(programs)
    last = programs[-1]

    def script(request: Request) -> str | None:
        if prompts is not None:
            prompts.append("\n".join(message.content for message in request.messages))
        if request.messages[0].content.startswith(("You test", WANTED)):
            return tests
        return next(written, last)

    return script


async def search(
    data: Path, *scripts: Script, calls: int | None = None, method: AgentCoder | None = None, **task
) -> tuple[SearchResult, Session]:
    coding = Programs(**{"dataset": "mbpp_py", "count": 1, "data": data, **task})
    (item,) = coding.problems()
    ledger = session(pool(*scripts), item, budget=Budget(calls=calls))
    result = await (method or AgentCoder()).solve(
        item, task=coding, session=ledger, scheduler=RoundRobin(), scorer=EMCS(), memory=NoMemory()
    )
    return result, ledger


async def test_the_tests_are_written_first_from_the_problem_alone_and_programs_are_mended_until_they_pass(data):
    prompts: list[str] = []
    result, ledger = await search(data, team(TESTS, OWN, RIGHT, prompts=prompts))
    assert (result.stop_reason, len(ledger.calls)) == ("solved", 3)
    assert result.state.data.program.strip() == "def square(x):\n    return x * x"
    assert prompts[0].startswith("You test")
    assert not any("return x" in prompt for prompt in prompts[:2])
    assert "Tests failed:\nassert square(3) == 9  # 5" in prompts[2]


async def test_tests_that_were_only_thought_of_are_not_run(data):
    thought = "<think>```python\nassert square(2) == 5\n```</think>"
    result, ledger = await search(data, team(f"{thought}\n{TESTS}", RIGHT))
    assert (result.stop_reason, len(ledger.calls)) == ("solved", 2)


async def test_the_programmer_s_own_tests_are_dropped(data):
    result, _ = await search(data, team(TESTS, OWN, RIGHT))
    assert result.state.data.tests == ("assert square(2) == 4", "assert square(3) == 9")
    assert not any("square(1)" in node.turn.action for node in result.tree.nodes if node.turn)


@pytest.mark.parametrize("tests", [None, "I cannot.", "```python\nassert cube(2) == 8\n```"])
async def test_without_a_readable_test_the_programmer_s_stand(data, tests):
    result, _ = await search(data, team(tests, OWN))
    assert (result.stop_reason, result.state.data.tests) == ("solved", ("assert square(1) == 3",))


async def test_the_last_program_is_the_answer_when_none_has_passed(data):
    last = HALF.replace("+ 2", "+ 3")
    result, ledger = await search(data, team(TESTS, HALF, last), method=AgentCoder(depth=2))
    assert (result.stop_reason, len(ledger.calls), result.answer) == ("iterations", 3, 2)
    cut, _ = await search(data, team(TESTS, HALF, last), calls=2)
    assert (cut.stop_reason, cut.answer) == ("calls", 1)


async def test_tester_and_programmers_are_scheduled(data):
    _, ledger = await search(data, team(TESTS, HALF), team(TESTS, HALF), method=AgentCoder(depth=2))
    assert "".join(call.agent for call in ledger.calls) == "ABA"


@pytest.mark.skipif(not rust_suite.available(), reason="no rustc on this machine")
async def test_tests_of_rust_are_put_into_main(data):
    tests = "```rust\nassert_eq!(square(2), 4);\nassert_eq!(square(-3), 9);\n```"
    wrong = "```rust\nfn square(x: isize) -> isize { x + 2 }\nfn main() { assert_eq!(square(1), 3); }\n```"
    result, _ = await search(data, team(tests, wrong, wrong.replace("+ 2", "* x")), dataset="mbpp_rs")
    assert result.stop_reason == "solved"
    turn = result.tree[1].turn
    assert turn is not None
    assert "fn main() {\n    assert_eq!(square(2), 4);\n    assert_eq!(square(-3), 9);\n}" in turn.action


@pytest.mark.parametrize("internal", ["first_assert", "hidden_asserts"])
async def test_a_task_with_other_tests_is_refused(data, internal):
    with pytest.raises(SymphonyError, match=rf"task\.internal: found {internal}, allowed: generated"):
        await search(data, team(TESTS, RIGHT), internal=internal)


async def test_a_task_without_programs_is_refused():
    task = GridWorld(seed=0, count=1)
    item = task.problems()[0]
    ledger = session(pool(team(TESTS, RIGHT)), item)
    with pytest.raises(SymphonyError, match="search on gridworld: found agentcoder, allowed only on tasks of programs"):
        await AgentCoder().solve(
            item, task=task, session=ledger, scheduler=RoundRobin(), scorer=EMCS(), memory=NoMemory()
        )
    assert not ledger.calls


async def test_a_program_of_lines_is_mended_until_the_written_tests_pass_before_it_is_handed_in():
    task = MiniCode(seed=1, count=1, operations=1)
    (item,) = task.problems()
    right = f"Action: line[{line(item.target.lexicon[item.target.asks[0]])}]"
    example = item.prompt.partition("Example: ")[2]
    ledger = session(pool(team(example, "Action: submit[f]", right, "Action: submit[f]")), item)
    result = await AgentCoder().solve(
        item, task=task, session=ledger, scheduler=RoundRobin(), scorer=EMCS(), memory=NoMemory()
    )
    actions = [node.turn.action for node in result.tree.nodes if node.turn]
    assert actions[0] == actions[2] == f"submit[{example.rstrip('.')}]"
    assert [node.state.terminated for node in result.tree.nodes] == [False, False, False, True]
    assert result.stop_reason == "solved"


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"max_misses": 0}, {"tests_tokens": 0}])
def test_an_impossible_value_is_refused_with_its_key(wrong):
    with pytest.raises(SymphonyError, match=rf"search\.{next(iter(wrong))}"):
        AgentCoder(**wrong)
