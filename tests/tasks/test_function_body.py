"""Answers that go on where their prompt ends, and other forms that a function takes than a definition of its name."""

from __future__ import annotations

import ast

import pytest

from symphony.tasks.programs.data import OriginalRow, PythonRow
from symphony.tasks.programs.extract import python_program, rust_program
from symphony.tasks.programs.function_body import has_body, python_signature, rust_signature
from symphony.tasks.programs.python_source import with_preamble
from symphony.tasks.programs.task import Programs

HEAD = "def f(x: int) -> int:"
BODY = "    y = 1\n    for _ in range(3):\n        y *= x\n    return y\n"
FENCE = "```"


def told(source: str | None) -> str | None:
    return None if source is None else ast.unparse(ast.parse(source))


@pytest.mark.parametrize(
    "answer",
    [
        BODY,
        BODY.strip(),
        f"{FENCE}python\n{BODY}{FENCE}",
        f"Here is the completion:\n\n{FENCE}python\n{BODY.strip()}\n{FENCE}\nIt's short.",
        f"{FENCE}\ny = 1\nfor _ in range(3):\n    y *= x\nreturn y\n{FENCE}",
        f"Here's the body:\n\n{BODY}\nThat's all, it isn't long.",
        f"Sure:\n{BODY}",
        f"{BODY}\n\nif __name__ == '__main__':\n    main()\n\ndef main():\n    print(f(2))\n",
        f"<think>Maybe\n    return 0\n</think>\n{BODY}<|im_end|>",
        f"[PYTHON]\n{BODY}[/PYTHON]",
        BODY.replace("    ", "\t"),
        f"{FENCE}python\n{HEAD}\n    ...\n{FENCE}\nwith this body:\n{FENCE}python\n{BODY}{FENCE}",
        f"{FENCE}python\n    return 0\n{FENCE}\nCorrected:\n{FENCE}python\n{BODY}{FENCE}",
    ],
)
def test_a_body_stands_below_the_signature_of_its_prompt(answer):
    assert told(python_program(answer, "f", signature=HEAD)) == told(f"{HEAD}\n{BODY}")
    assert has_body(answer, "python")


def test_a_body_has_its_nested_functions_and_the_helpers_below_it():
    answer = "    def g(y):\n        return h(y)\n    return g(x)\n\n\ndef h(y):\n    return y\n"
    program = python_program(answer, "f", signature=HEAD)
    assert program is not None
    space: dict = {}
    exec(program, space)
    assert space["f"](3) == 3


@pytest.mark.parametrize(
    "answer",
    [
        "I do not know.",
        "    x = 1\n",
        "    return [1,\n",
        "- one\n    - two",
        "class A:\n    def g(self):\n        return 1\n",
        "def g(x):\n    return x\n\ndef h(\n    x,\n):\n    return x\n",
    ],
)
def test_what_belongs_to_something_else_is_no_body(answer):
    assert python_program(answer, "f", signature=HEAD) is None
    assert not has_body(answer, "python")


def test_a_complete_definition_comes_before_a_body():
    answer = f"{FENCE}python\n{HEAD}\n{BODY}{FENCE}\nThe last line is:\n\n    return 0\n"
    assert told(python_program(answer, "f", signature=HEAD)) == told(f"{HEAD}\n{BODY}")


def test_prompts_tell_their_signatures():
    assert python_signature(ast.parse("import math\n@deco\ndef f(x, *, y=1) -> int:\n    return x"), "f") == (
        "@deco\ndef f(x, *, y=1) -> int:"
    )
    assert python_signature(ast.parse("def g(): pass"), "f") == ""
    assert rust_signature("/// Doc.\nfn f<T: Ord>(x: &[T]) -> Vec<T> {\n", "f") == "fn f<T: Ord>(x: &[T]) -> Vec<T> {"
    assert rust_signature("fn f() {}", "f") == ""
    row = PythonRow(
        name="a",
        prompt='def f(x: int) -> int:\n    import math\n    """Doc."""\n',
        entry_point="f",
        test="def check(candidate):\n    assert candidate(1) == 1\n",
    )
    assert (row.problem()[1].signature, row.problem()[1].preamble) == (HEAD, "import math")
    original = OriginalRow(task_id=1, text="Do.", code="def f(a, b):\r\n  return a", test_list=["assert f(1, 2) == 1"])
    assert original.problem()[1].signature == "def f(a, b):"


def test_a_search_takes_a_bare_body_for_an_answer():
    proposal = Programs(dataset="humaneval", count=1).parse(f"{BODY}\n\ndef main():\n    print(f(2))\n")
    assert proposal is not None
    assert told(python_program(proposal.action, "f", signature=HEAD)) == told(f"{HEAD}\n{BODY}")


# --------------------------------------------------------------------------- methods, sessions, stubs


@pytest.mark.parametrize(
    "body",
    [
        "    def f(self, x):\n        return x ** 3",
        "    @staticmethod\n    def f(x):\n        return x ** 3",
        "    @classmethod\n    def f(cls, x):\n        return x ** 3",
        "    def f(self, x: int) -> int:\n        return self.g(x)\n\n    def g(self, x):\n        return x ** 3",
    ],
)
@pytest.mark.parametrize("below", ["", "\n\nprint(Solution().f(2))\n", "\n\ndef main():\n    print(Solution().f(2))\n"])
def test_a_method_stands_in_for_the_function(body, below):
    program = python_program(f"{FENCE}python\nclass Solution:\n{body}\n{below}\n{FENCE}", "f", signature=HEAD)
    assert program is not None
    space: dict = {}
    exec(program, space)
    assert space["f"](3) == 27


@pytest.mark.parametrize(
    "answer",
    [
        f"{FENCE}python\n>>> def f(x):\n...     return x**3\n...\n>>> f(2)\n8\n{FENCE}",
        "`def f(x):\n    return x**3`",
        "`def f(x): return x**3`.",
        "<fim_middle>def f(x):\n    return x**3<file_sep>",
    ],
)
def test_prompts_ticks_and_marks_around_a_program_go(answer):
    assert told(python_program(answer, "f")) == told("def f(x):\n    return x**3")


def test_an_example_that_asks_for_a_value_leaves_the_function_its_own():
    answer = f"{FENCE}python\nN = 3\ndef f(x):\n    return x**N\nN = int(input())\nprint(f(N))\n{FENCE}"
    assert told(python_program(answer, "f")) == told("N = 3\ndef f(x):\n    return x**N")


@pytest.mark.parametrize(
    "stub",
    [
        "return None  # your code here",
        "return",
        "return NotImplemented",
        "assert False, 'not implemented'",
        "print('not implemented')",
        "raise Exception('to be done')",
    ],
)
def test_a_python_stub_never_beats_a_complete_function(stub):
    right = "def f(x):\n    return x**3"
    answer = f"{FENCE}python\n{right}\n{FENCE}\nThe template was:\n{FENCE}python\ndef f(x):\n    {stub}\n{FENCE}"
    assert told(python_program(answer, "f")) == told(right)


def test_a_stub_of_what_the_prompt_defines_does_not_replace_it():
    helper = "def g(x):\n    return x + 1"
    own = "def f(x):\n    return g(x)"
    assert told(with_preamble(helper, f"def g(x):\n    ...\n\n{own}")) == told(f"{helper}\n{own}")
    other = "def g(x):\n    return x + 2"
    assert told(with_preamble(helper, f"{other}\n{own}")) == told(f"{helper}\n{other}\n{own}")


def test_the_prompt_repeated_with_its_import_is_a_stub():
    answer = f"{FENCE}python\n{HEAD}\n    import math\n    'Doc.'\n{FENCE}\n\n{FENCE}python\n{BODY}{FENCE}"
    assert told(python_program(answer, "f", signature=HEAD)) == told(f"{HEAD}\n{BODY}")


@pytest.mark.parametrize("mark", ["\0", "\u200b", "\ufeff"])
def test_marks_that_nobody_sees_go(mark):
    for answer in (f"{FENCE}python\n{mark}def f(x):\n    return x{mark}\n{FENCE}", f"def f(x):\n    return x{mark}"):
        assert told(python_program(answer, "f")) == told("def f(x):\n    return x")


RUST_HEAD = "fn f(x: isize) -> isize {"
RUST = "    let y = x * x;\n    y * x\n"


@pytest.mark.parametrize(
    "stub",
    [
        'panic!("not implemented")',
        "unreachable!()",
        "todo!()",
        'std::unimplemented!("x");',
        "",
        "// here",
        "let _ = x;\n    todo!()",
        "return todo!();",
    ],
)
def test_a_rust_stub_never_beats_a_complete_function(stub):
    right = f"{RUST_HEAD}\n{RUST}}}\n"
    answer = f"{FENCE}rust\n{right}{FENCE}\nThe template was:\n{FENCE}rust\n{RUST_HEAD}\n    {stub}\n}}\n{FENCE}"
    assert rust_program(answer, "f") == right


@pytest.mark.parametrize(
    "answer",
    [
        RUST,
        f"{RUST}}}",
        f"{FENCE}rust\n{RUST}{FENCE}",
        f"{FENCE}rust\n{RUST}}}\n{FENCE}\nDone.",
        f"Here's the body:\n\n{RUST}}}\n\nThat's it.",
        f'{RUST}}}\n\nfn main() {{\n    println!("{{}}", f(2));\n}}\n',
        f"{FENCE}rust\n{RUST_HEAD}\n    todo!()\n}}\n{FENCE}\nThe body:\n{FENCE}rust\n{RUST}{FENCE}",
    ],
)
def test_a_rust_body_stands_below_the_signature_of_its_prompt(answer):
    assert rust_program(answer, "f", RUST_HEAD) == f"{RUST_HEAD}\n{RUST}}}\n"
    assert has_body(answer, "rust")


def test_a_rust_body_whose_first_blanks_were_stripped_is_whole():
    assert rust_program(RUST.strip(), "f", RUST_HEAD) == f"{RUST_HEAD}\n{RUST.strip()}\n}}\n"


@pytest.mark.parametrize("answer", ["Sorry", "I can't do it; sorry.", "    todo!()\n", "fn g() {}\nfn h() {}"])
def test_what_is_no_rust_body_is_none(answer):
    assert rust_program(answer, "f", RUST_HEAD) is None


def test_the_only_rust_function_is_renamed():
    assert rust_program(f"{FENCE}rust\nfn cube(x: isize) -> isize {{ x }}\n{FENCE}", "f") == (
        "fn f(x: isize) -> isize { x }\n"
    )
