"""10,000 completions and more through every parser: none crashes one, and each outcome is of a known kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from symphony.agents.scorer import EMCS
from symphony.chat.prompts import split_action
from symphony.tasks.hotpotqa.task import HotpotQA
from symphony.tasks.mini.gridworld import GridWorld
from symphony.tasks.mini.mini_code import MiniCode
from symphony.tasks.mini.mini_qa import MiniQA
from symphony.tasks.mini.mini_shop import MiniShop
from symphony.tasks.planning.blocksworld import Blocksworld
from symphony.tasks.planning.crosswords import Crosswords
from symphony.tasks.programs.data import Target
from symphony.tasks.programs.python_suite import BrokenSuite
from symphony.tasks.programs.task import Programs, _understand
from symphony.tasks.webshop.task import WebShop
from symphony.types import Completion, Task

EXAMPLES = 1200

# What completions are made of: labels, verbs, fences, code, numbers, marks.
COMMON = ["Thought:", "Thought 3:", "Action:", "Action 12 :", "**Action:** ", "Observation:", "\n", "\n\n", "\r\n", " "]
COMMON += [
    "[",
    "]",
    "[[",
    "]]",
    ":",
    ".",
    "*",
    "`",
    "\\",
    "\x00",
    "\u2028",
    "\ufeff",
    "{thought}",
    "{}",
    "%s",
    "<|end|>",
]
VERBS = [
    "search[",
    "SEARCH [",
    "finish[",
    "think[",
    "Buy Now]",
    "B0QX7T41LD]",
    "move[east]",
    "line[x = x]",
    "submit[f]",
]
ODD = {"s": "\u017f", "i": "\u0131", "I": "\u0130", "k": "\u212a"}  # letters that equal others if case is ignored
CODE = [
    "```",
    "```python\n",
    "```rust\n",
    "~~~",
    "def f(x):\n",
    "    return x\n",
    "async def f(): pass\n",
    "def g(): ...\n",
]
CODE += [
    "assert f(1) == 2\n",
    "import os\n",
    "from x import (\n",
    "class A:\n",
    "@",
    "'''",
    '"""',
    "if True:\n",
    "\t",
    "lambda",
]
CODE += [
    "if __name__ == '__main__':\n",
    "fn f(x: i32) -> i32 {\n",
    "}\n",
    "fn main() {\n",
    "assert_eq!(f(1), 2);\n",
    "/*",
    "//",
]
CODE += ["(" * 120, "-" * 300, "'\\d'", "0777", "9" * 5000]
JUDGED = [
    "Value:",
    "value",
    "Score",
    "Confidence:",
    "confidence level is",
    "Correctness =",
    "0.7",
    ".5",
    "9.",
    "1e300",
    "-",
    "/",
]
JUDGED += ["10", "0", "%", " out of ", "1" * 400, "٣", "½", "nan", "inf", "0x1F", "1_000"]
PIECES = st.sampled_from([*COMMON, *VERBS, *CODE, *JUDGED])
JUNK = st.one_of(PIECES, st.text(max_size=12))


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("".join)


def completions(nearly: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Any text, mixtures of the pieces, and right completions with something wrong in them."""
    return st.one_of(
        st.text(max_size=200), st.lists(JUNK, max_size=24).map("".join), nearly, joined(JUNK, nearly, JUNK)
    )


def acting(*verbs: str) -> st.SearchStrategy[str]:
    labels = st.sampled_from(["Thought: so.\nAction: ", "**Thought 1:** so\n\n**Action 1:** ", "Action:", ""])
    opened = st.sampled_from(["[", " [", "[["])
    spelt = [verb.replace(*pair) for verb in (*verbs, *map(str.upper, verbs)) for pair in (("", ""), *ODD.items())]
    return joined(labels, st.sampled_from(spelt), opened, st.one_of(JUNK, st.just("")), st.just("]"))


def programming(program: str, tests: str) -> st.SearchStrategy[str]:
    fences = st.sampled_from(["```python\n", "Thought: so.\nAction: ```rust\n", "```\r\n", ""])
    bodies = st.one_of(st.just(program), st.sampled_from(CODE))
    return joined(fences, bodies, st.sampled_from([tests, ""]), st.one_of(st.just("\n```"), st.just(""), JUNK))


VALUES = st.sampled_from(["0.7", "8/10", "80 %", "1", "-1", ".5", "9."])
JUDGING = joined(st.just("\nValue: "), VALUES, JUNK, st.sampled_from(["\nConfidence: ", ""]), VALUES)


@dataclass(frozen=True)
class Parser:
    """`kind` names the outcome of a completion, one of `kinds`; `nearly` are completions it may well understand."""

    kind: Callable[[str], str]
    kinds: frozenset[str]
    nearly: st.SearchStrategy[str]


def actions(task: Task, *verbs: str) -> Parser:
    def kind(text: str) -> str:
        proposal = task.parse(text)
        if proposal is None:
            return "unparsed"
        verb, argument = split_action(proposal.action)
        assert verb in verbs
        assert "\n" not in proposal.thought + proposal.action
        return "an action" if argument else "an action without an argument"

    return Parser(kind, frozenset({"unparsed", "an action", "an action without an argument"}), acting(*verbs))


def programs(dataset: str, language: str, program: str, tests: str) -> Parser:
    task = Programs(dataset=dataset, count=1)  # type: ignore[arg-type]
    head = "fn f(x: isize) -> isize {" if language == "rust" else "def f(x):"
    target = Target(entry="f", hidden=BrokenSuite(entry="f", why=""), signature=head)

    def kind(text: str) -> str:
        proposal = task.parse(text)
        if proposal is None:
            return "unparsed"
        found, written = _understand(proposal.action, target, language)
        return "no program" if found is None else "a program with tests" if written else "a program"

    kinds = frozenset({"unparsed", "no program", "a program", "a program with tests"})
    return Parser(kind, kinds, programming(program, tests))


def judged(text: str) -> str:
    answer = Completion(text=text, finish_reason="stop", prompt_tokens=0)
    score = EMCS().score([answer])
    if score is None:
        return "not understood"
    assert 0 <= score.value <= 1
    assert 0 < score.confidence < 1
    assert 0 <= score.modulated <= score.value
    return "a score"


PARSERS = {
    "gridworld": actions(GridWorld(seed=0, count=1), "move", "take"),
    "mini_qa": actions(MiniQA(seed=0, count=1), "search", "lookup", "finish"),
    "mini_shop": actions(MiniShop(seed=0, count=1), "search", "click"),
    "mini_code": actions(MiniCode(seed=0, count=1), "line", "submit"),
    "hotpotqa": actions(HotpotQA(count=1), "search", "lookup", "finish", "think"),
    "webshop": actions(WebShop(count=1, price_seed=0), "search", "click", "think"),
    "blocksworld": actions(Blocksworld(count=1), "unstack", "pickup", "stack", "putdown"),
    "crosswords": actions(Crosswords(count=1), "fill"),
    "programs in Python": programs("mbpp_py", "python", "def f(x):\n    return x\n", "assert f(1) == 2\n"),
    "programs in Rust": programs(
        "mbpp_rs", "rust", "fn f(x: i32) -> i32 {\n    x\n}\n", "fn main() {\n    assert_eq!(f(1), 2);\n}\n"
    ),
    "evaluation": Parser(judged, frozenset({"not understood", "a score"}), JUDGING),
}


SLOW = ("programs in Python", "programs in Rust")
"""Parsers whose completions take five seconds and more."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in PARSERS]
)
def test_no_completion_crashes_a_parser_and_every_outcome_is_counted_by_kind(name: str) -> None:
    counts: Counter[str] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None)
    @given(completions(PARSERS[name].nearly))
    def fuzz(text: str) -> None:
        kind = PARSERS[name].kind(text)
        event(kind)
        counts[kind] += 1

    fuzz()
    print(f"{name}: {dict(counts)}")
    assert set(counts) == PARSERS[name].kinds
    assert counts.total() >= EXAMPLES


def test_ten_thousand_completions_are_parsed_in_all() -> None:
    assert len(PARSERS) * EXAMPLES >= 10_000
