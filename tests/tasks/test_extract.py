"""The program in a model's answer is found whole, whatever stands around it."""
# ruff: noqa: E501

import ast
from collections.abc import Set

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.tasks.programs.extract import asserts, python_program, rust_program
from symphony.tasks.programs.python_source import joined
from symphony.tasks.programs.rust_source import with_preamble

BODY = "def f(x):\n    return x[0]\n"


def python(text: str, also: Set[str] = frozenset()) -> str:
    found = python_program(text, "f", also)
    assert found is not None
    return found


def rust(text: str) -> str:
    found = rust_program(text, "f")
    assert found is not None
    return found


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
    assert python(answer).strip() == BODY.strip()


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


# --------------------------------------------------------------------------- what real answers look like

CUBE = "def f(x):\n    return x**3\n"
DOC = 'def f(x):\n{0}"""Cubes.\n{0}```\n{0}f(2)\n{0}```\n{0}"""\n{0}return x**3\n'


def fence(code: str, tag: str = "python") -> str:
    return f"```{tag}\n{code.rstrip()}\n```\n"


@pytest.mark.parametrize(
    ("answer", "program"),
    {
        "stray closing fence": (f"{CUBE}```\nThis works, it's short.\n", CUBE),
        "fence in a docstring": (fence(DOC.format("  ")) + "So it's done.", DOC.format("  ")),
        "fence in a docstring of a bare program": (DOC.format("  ") + "\nSo it's done.", DOC.format("  ")),
        "fence in a list item": ("1. Here:\n\n   ```python\n   def f(x):\n       return x**3\n   ```\n2. Done.", CUBE),
        "fence in a quotation": ("> ```python\n> def f(x):\n>     return x**3\n> ```", CUBE),
        "indented fence": ("    ```python\n    def f(x):\n        return x**3\n    ```", CUBE),
        "closing fence on a line of code": ("```python\ndef f(x):\n    return x**3 ```\nThis cubes, doesn't it?", CUBE),
        "words behind it": ("```python\ndef f(x):\n    return x**3 ``` That's it.", CUBE),
        "fence behind a label": (f"Action: ```python\n{CUBE}```", CUBE),
        "all on one line": ("```python def f(x): return x**3```", CUBE),
        "code behind the fence": ("```def f(x):\n    return x**3\n```", CUBE),
        "unclosed fence, prose below": (f"```python\n{CUBE}\nThis isn't code.", CUBE),
        "a wrong draft, then the right block": (fence("def f(x):\n    return 0") + "Corrected:\n" + fence(CUBE), CUBE),
        "a stub, then the real one": (fence("def f(x):\n    ...") + fence(CUBE), CUBE),
        "a stub with a docstring": (fence('def f(x):\n    """Doc."""') + fence(CUBE), CUBE),
        "the real one, then a template": (fence(CUBE) + fence("def f(x):\n    raise NotImplementedError"), CUBE),
        "two definitions in a block": (fence("def f(x):\n    return 0\n\n" + CUBE), CUBE),
        "lambda": (fence("f = lambda x: x**3"), "f = lambda x: x**3"),
        "under except": (
            fence("try:\n    from lib import f\nexcept ImportError:\n    def f(x):\n        return x**3"),
            "try:\n    from lib import f\nexcept ImportError:\n    def f(x):\n        return x**3",
        ),
        "under if": (fence("if True:\n    def f(x):\n        return x**3"), "if True:\n    def f(x):\n        return x**3"),
        "wrapped": (fence(f"import functools\n{CUBE}f = functools.cache(f)"), f"import functools\n{CUBE}f = functools.cache(f)"),
        "a callable object": (
            fence("class C:\n    def __call__(self, x):\n        return x**3\nf = C()"),
            "class C:\n    def __call__(self, x):\n        return x**3\nf = C()",
        ),
        "async": (fence("async def f(x):\n    return x"), "async def f(x):\n    return x"),
        "an example that fails": (fence(CUBE + "print(f('a'))\nraise SystemExit"), CUBE),
        "an example that rebinds the function": (fence(CUBE + "f = f(3)\nprint(f)"), CUBE),
        "an example that rebinds a builtin": (
            fence("def f(x):\n    return list(x)\nlist = [1]\nprint(f(list))"), "def f(x):\n    return list(x)"
        ),
        "an example that reads input": (fence(CUBE + "n = int(input())\nprint(f(n))"), CUBE),
        "a table filled in a loop": (
            fence("t = {}\nfor i in range(3):\n    t[i] = i\nprint(t)\ndef f(x):\n    return t[x]"),
            "t = {}\nfor i in range(3):\n    t[i] = i\ndef f(x):\n    return t[x]",
        ),
        "a module's state": (
            fence("import sys\nsys.setrecursionlimit(9999)\nsys.stdout.write('a')\n" + CUBE),
            "import sys\nsys.setrecursionlimit(9999)\n" + CUBE,
        ),
        "an example that fails, of a function with a memory": (
            fence("memo = {}\ndef f(x):\n    memo[x] = x\n    return memo[x]\nprint(f(-5))\ny = f('a')\nfor i in [0]:\n    f(i)"),
            "memo = {}\ndef f(x):\n    memo[x] = x\n    return memo[x]",
        ),
        "an example in main": (
            fence("memo = {}\ndef h(x):\n    memo[x] = x\n    return x\ndef f(x):\n    return h(x)\ndef main():\n    h(input())\nmain()"),
            "memo = {}\ndef h(x):\n    memo[x] = x\n    return x\ndef f(x):\n    return h(x)",
        ),
        "a memory of the function's own": (fence("def f(x):\n    return f.memo.get(x)\nf.memo = {}\nprint(f(1))"), "def f(x):\n    return f.memo.get(x)\nf.memo = {}"),
        "an attribute set later": (
            fence("class A:\n    pass\nA.k = 3\nsetattr(A, 'm', 4)\nA.go()\ndef f(x):\n    return A.k + A.m"),
            "class A:\n    pass\nA.k = 3\nsetattr(A, 'm', 4)\ndef f(x):\n    return A.k + A.m",
        ),
        "cases registered with it": (
            fence("import functools\n@functools.singledispatch\ndef f(x):\n    return 0\n@f.register\ndef _(x: int):\n    return 1\n@functools.cache\ndef g():\n    pass"),
            "import functools\n@functools.singledispatch\ndef f(x):\n    return 0\n@f.register\ndef _(x: int):\n    return 1",
        ),
        "a table filled by decorators": (
            fence("t = {}\ndef add(g):\n    t[g.__name__] = g\n    return g\n@add\ndef a(x):\n    return x\ndef f(x):\n    return t['a'](x)"),
            "t = {}\ndef add(g):\n    t[g.__name__] = g\n    return g\n@add\ndef a(x):\n    return x\ndef f(x):\n    return t['a'](x)",
        ),
        "the state of a module imported with a star": (
            fence("from decimal import *\ngetcontext().prec = 50\ndef f(x):\n    return Decimal(x)"),
            "from decimal import *\ngetcontext().prec = 50\ndef f(x):\n    return Decimal(x)",
        ),
        "blanks of another kind": (f"```python\n\u200b{CUBE.replace('    ', chr(0xa0) * 4)}```", CUBE),
        "a label before bare code": (f"Thought: so.\n**Action 1:** {CUBE}", CUBE),
        "another user's turn": (f"{fence(CUBE)}<|im_end|>\n<|im_start|>user\nNo.<|im_end|>\n{fence('def f(x): return 0')}", CUBE),
        "another user's turn in a string": (fence("def f(x):\n    return x.split(' <|im_start|>user')"), "def f(x):\n    return x.split(' <|im_start|>user')"),
        "names that only eval sees": (
            fence("import math\ndef f(x):\n    return eval('math.pi')\nprint(f(1))"),
            "import math\ndef f(x):\n    return eval('math.pi')",
        ),
        "imports in a fence of their own": (
            fence("import math") + "and\n" + fence("def f(x):\n    return math.pi"), "import math\ndef f(x):\n    return math.pi"
        ),
        "a helper in a fence below": (
            fence("def f(x):\n    return h(x)") + "with\n" + fence("def h(x):\n    return x"),
            "def h(x):\n    return x\ndef f(x):\n    return h(x)",
        ),
        "statements on one line": (fence("import math; print(1)\ndef f(x): return math.pi"), "import math\ndef f(x): return math.pi"),
        "cut off below the function": (f"```python\n{CUBE}\nprint(f(", CUBE),
        "the prompt before it": (f"<s>[INST] Write f. [/INST]\n{fence(CUBE)}</s>", CUBE),
        "turns before it": (f"<bos><start_of_turn>user\nWrite f.<end_of_turn>\n<start_of_turn>model\n{CUBE}", CUBE),
        "an interpreter's prompts without a fence": (">>> def f(x):\n...     return x**3\n...\n>>> f(2)\n8", CUBE),
        "a table filled by a comprehension": (
            fence("t = []\n[t.append(i) for i in range(3)]\ndef f(x):\n    return t[x]\n[print(f(i)) for i in t]"),
            "t = []\n[t.append(i) for i in range(3)]\ndef f(x):\n    return t[x]",
        ),
        "a closing tag in a comment": (
            fence("def f(x):\n    # strip the </think> tag\n    return x**3"), CUBE
        ),
        "im_end": (f"{CUBE}<|im_end|>", CUBE),
        "endoftext in the fence, then more": (f"```python\n{CUBE.rstrip()}<|endoftext|>\nHuman: don't", CUBE),
        "im_end on the line of code": (f"{CUBE.rstrip()}<|im_end|>", CUBE),
        "endoftext on the line of code": (f"{CUBE.rstrip()}<|endoftext|>", CUBE),
        "im_end in the fence": (f"```python\n{CUBE.rstrip()}<|im_end|>\n```", CUBE),
        "im_end behind the fence": (f"{fence(CUBE).rstrip()}<|im_end|>", CUBE),
        "PYTHON": (f"[PYTHON]\n{CUBE}[/PYTHON]\nIt's right.", CUBE),
        "PYTHON on the line of code": (f"Sure! [PYTHON]{CUBE}[/PYTHON]", CUBE),
        "code": (f"<code>\n{CUBE}</code>", CUBE),
        "code on the line of code": (f"<code>{CUBE.rstrip()}</code>", CUBE),
        "answer around a fence": (f"<answer>\n{fence(CUBE)}</answer>", CUBE),
        "a leftover in a string": (
            fence("def f(x):\n    return x.split('<|im_end|>')") + "<|im_end|>", "def f(x):\n    return x.split('<|im_end|>')"
        ),
        "a draft in the reasoning": (f"<think>\n{fence('def f(x): return 0')}</think>\n{fence(CUBE)}", CUBE),
        "prose, bare code, prose": (f"Here's what I'd do:\n\nimport os\n\n{CUBE}\nIt isn't long.", CUBE),
    }.values(),
)  # fmt: skip
def test_the_program_is_what_the_function_needs(answer, program):
    found = python_program(answer, "f")
    assert found is not None
    assert ast.dump(ast.parse(found)) == ast.dump(ast.parse(program))


@pytest.mark.parametrize("answer", ["```python\ndef f(x):\n    y = [1,\n", "def f(x):\n    for i in x:\n        y ="])
def test_a_definition_that_was_cut_off_is_none(answer):
    assert python_program(answer, "f") is None


def test_constants_stand_in_asserts_in_place_of_their_names():
    assert asserts(fence(CUBE + "given = [1]\nassert f(given) == [1]"), "f") == ("assert f([1]) == [1]",)


def test_what_the_tests_use_is_kept_on_demand():
    text = fence("class Node:\n    pass\n" + CUBE)
    assert "Node" not in python(text)
    assert "Node" in python(text, {"Node"})


def test_future_imports_come_first():
    assert joined("import math", f"from __future__ import annotations\n{CUBE}").startswith("from __future__ import")


RUST_CUBE = "fn f(x: isize) -> isize { x * x * x }"


@pytest.mark.parametrize(
    "answer",
    [
        fence("fn f(x: isize) -> isize { 0 }", "rust") + "Corrected:\n" + fence(RUST_CUBE, "rust"),
        fence("fn f(x: isize) -> isize {\n    todo!()\n}", "rust") + fence(RUST_CUBE, "rust"),
        fence(RUST_CUBE, "rust") + fence('fn f(x: isize) -> isize { unimplemented!("x") }', "rust"),
        fence(RUST_CUBE + '\nprintln!("{}", f(3));\nlet y = f(2);', "rust"),
        f"Here's the code:\n\n{RUST_CUBE}\n\nIt isn't long.<|im_end|>",
        f"- so:\n\n  ```rust\n  {RUST_CUBE}\n  ```",
        f"```rust\n{RUST_CUBE} ```\nDone.",
        f"[RUST]{RUST_CUBE}[/RUST]",
        fence("fn f(x: isize) -> isize { 0 }\n" + RUST_CUBE, "rust"),
    ],
)
def test_the_last_complete_rust_function_counts(answer):
    assert rust(answer).strip() == RUST_CUBE


def test_rust_items_that_the_function_lacks_come_from_other_blocks():
    blocks = (
        "use std::collections::HashMap;",
        "fn f(x: isize) -> isize { h(x) }",
        "fn h(x: isize) -> isize { let _: HashMap<u8, u8>; x }",
    )
    found = rust("\n".join(fence(block, "rust") for block in blocks))
    assert all(block in found for block in blocks)


@pytest.mark.parametrize(
    "blocks",
    [
        ("use std::fmt::Write;", 'fn f(x: isize) -> String { let mut s = String::new(); write!(s, "{x}").ok(); s }'),
        (
            "struct P { x: isize }",
            "impl P { fn g(&self) -> isize { self.x } }",
            "fn f(x: isize) -> isize { P { x }.g() }",
        ),
        (
            "trait G { fn g(&self) -> isize; }",
            "impl G for isize { fn g(&self) -> isize { *self } }",
            "fn f(x: isize) -> isize { x.g() }",
        ),
    ],
)
def test_what_rust_uses_without_its_name_comes_from_other_blocks(blocks):
    found = rust("\n".join(fence(block, "rust") for block in blocks))
    assert all(block in found for block in blocks)


def test_the_methods_of_a_rust_draft_stay_with_it():
    draft = (
        "struct P { y: isize }\nimpl P { fn g(&self) -> isize { self.y } }\nimpl Drop for P { fn drop(&mut self) {} }\n"
    )
    right = (
        "struct P { x: isize }\nimpl P { fn g(&self) -> isize { self.x } }\nfn f(x: isize) -> isize { P { x }.g() }\n"
    )
    assert rust_program(fence(draft, "rust") + "Corrected:\n" + fence(right, "rust"), "f") == right


def test_a_rust_prompt_gives_the_names_that_a_program_does_not_import():
    prompt = "use std::collections::{HashMap, HashSet};\n\n/// Doc.\nfn f(x: isize) -> isize {\n"
    found = with_preamble(prompt, f"use std::collections::HashMap;\n{RUST_CUBE}", "f")
    assert found.startswith("use std::collections::HashSet;\nuse std::collections::HashMap;\n")


def test_a_rust_program_loses_its_main_and_nothing_else():
    answer = (
        '```rust\nuse std::fmt;\nfn f(x: isize) -> isize { x }\nfn main() { println!("}"); if true { f(1); } }\n'
        "fn g() {}\n```"
    )
    assert rust_program(answer, "f") == "use std::fmt;\nfn f(x: isize) -> isize { x }\n\nfn g() {}\n"


def test_without_the_function_there_is_no_rust_program():
    assert rust_program("fn ff() {}", "f") is None
