"""The program in a model's answer is found whole, whatever stands around it."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.tasks.extract import asserts, python_program, rust_program

BODY = "def f(x):\n    return x[0]\n"


@pytest.mark.parametrize(
    "answer",
    [
        f"```python\n{BODY}```",
        f"Here:\n```py\n{BODY}```\nThat was it.",
        f"```\n{BODY}```",
        f"```python\r\n{BODY}```".replace("\n", "\r\n").replace("\r\r", "\r"),
        f"```python\ndef g(x):\n    return 1\n```\nand\n```python\n{BODY}```",
        f"```python\n{BODY}",
        BODY,
        f"Sure, this is it:\n{BODY}\nI hope it helps you.",
        "```python\ndef other(x):\n    return x[0]\n```",
    ],
    ids=[
        "fence",
        "text around",
        "bare fence",
        "CRLF",
        "second block",
        "cut off",
        "no fence",
        "no fence, text",
        "renamed",
    ],
)
def test_a_python_program_is_found(answer):
    assert python_program(answer, "f").strip() == BODY.strip()


def test_imports_and_helpers_are_kept():
    program = "import math\n\ndef helper(x):\n    return math.sqrt(x)\n\ndef f(x):\n    return helper(x)\n"
    assert python_program(f"```python\n{program}```", "f") == program


@pytest.mark.parametrize(
    "answer", ["", "no program", "```python\ndef f(x:\n```", "```python\ndef a(): 0\ndef b(): 0\n```"]
)
def test_where_there_is_no_such_program_nothing_is_made_up(answer):
    assert python_program(answer, "f") is None


def test_asserts_about_the_function_are_found_and_others_are_not():
    text = f"```python\n{BODY}assert f([1]) == 1\nassert 1 == 1\nassert f([1]) == 1\nassert f( [2] )==2\n```"
    assert asserts(text, "f") == ("assert f([1]) == 1", "assert f([2]) == 2")


@given(st.text())
def test_any_text_is_understood_or_refused_without_a_crash(text):
    program = python_program(text, "f")
    if program is not None:
        ast.parse(program)
    rust_program(text, "f")
    asserts(text, "f")


def test_a_rust_program_loses_its_main_and_nothing_else():
    answer = (
        '```rust\nuse std::fmt;\nfn f(x: isize) -> isize { x }\nfn main() { println!("}"); if true { f(1); } }\n'
        "fn g() {}\n```"
    )
    assert rust_program(answer, "f") == "use std::fmt;\nfn f(x: isize) -> isize { x }\n\nfn g() {}\n"


def test_without_the_function_there_is_no_rust_program():
    assert rust_program("fn ff() {}", "f") is None
