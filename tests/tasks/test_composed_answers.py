"""Thousands of answers composed of what models write around a program: the program comes out, and nothing but it."""

# ruff: noqa: E501

from __future__ import annotations

import ast
import random
import re
import textwrap

import pytest

from symphony.tasks.programs.extract import python_program, rust_program

COUNT = 500
"""Answers a seed; there are five seeds a language."""

PROSE = (
    "Sure, here's the solution you're asking for:",
    "Thought: I'd walk over the list once; it isn't long.",
    "Action:",
    "**Explanation**: the function's result is `x`, for example (see above.",
    "1. First, import what is needed.\n2. Then return the value.",
    "from the list we take one item; if it's empty, return nothing",
    "# Approach\n\nWe use a table - it's simple.",
    "Let me know if you'd like anything else!",
    "| input | output |\n| --- | --- |\n| 1 | 2 |",
)
LEFTOVERS = ("<|im_end|>", "<|endoftext|>", "</s>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "[/INST]", "[DONE]")
WRAPPERS = (("[PYTHON]", "[/PYTHON]"), ("<code>", "</code>"), ("<answer>", "</answer>"), ("[ANSWER]", "[/ANSWER]"))
OUTPUTS = (
    "```\n[1, 2, 3]\n```",
    "```text\nTrue, it's so\n```",
    "```bash\npip install nothing\n```",
    "```json\n{}\n```",
)

PYTHON = (
    ("def f(x):\n    return x[0]",),
    ("import math", "def f(x):\n    return math.sqrt(x)"),
    ("from typing import List", "def h(x: int) -> int:\n    return -x", "def f(x: List[int]) -> int:\n    return h(x[0])"),
    ("LIMIT = 10", "memo = {}", "memo[0] = 1", "def f(x):\n    return memo.get(x, LIMIT)"),
    ("table = [0] * 9", "for i in range(9):\n    table[i] = i * i", "def f(x):\n    return table[x]"),
    ("import sys", "sys.setrecursionlimit(10 ** 6)", "def f(x):\n    return f(x - 1) if x else sys.maxsize"),
    ("f = lambda x, y=2: x ** y",),
    ("from functools import lru_cache", "@lru_cache(maxsize=None)\ndef f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)"),
    ("class Node:\n    def __init__(self, v):\n        self.v = v", "def f(x):\n    return Node(x).v"),
    ("try:\n    from math import prod\nexcept ImportError:\n    def prod(x):\n        return 1", "def f(x):\n    return prod(x)"),
    ('def f(x):\n    """Doc.\n\n    ```\n    f(1)\n    ```\n    """\n    return x.split("<|endoftext|>")',),
    ('def f(x):\n  """Doc.\n  ```\n  f(1)\n  ```\n  """\n  return "```" + x',),
    ("def f(x):\n    # it's a cube\n    return x**3",),
    ("cache = []", "def fill():\n    for i in range(3):\n        cache.append(i)", "fill()", "def f(x):\n    return cache[x]"),
)  # fmt: skip
PYTHON_DRAFTS = (
    "def f(x):\n    return 'a first try'",
    "import os\n\ndef f(x, y=0):\n    return os.sep",
    "def f(x):\n    ...",
    'def f(x):\n    """To be written."""\n    raise NotImplementedError("f")',
    "def f(x):\n    pass",
    "def other(x):\n    return 1",
    "def f(x:\n    return broken",
)
PYTHON_EXAMPLES = (
    "print(f(3))",
    "result = f([1, 2])\nprint(result)",
    "assert f(1) == 1",
    "for case in [1, 2]:\n    print(case, f(case))",
    'if __name__ == "__main__":\n    print(f(1))',
    "f(1 / 0)",
    "f = f(5)",
    "class Test:\n    value = f(1)",
    "while f(1):\n    pass",
)
PYTHON_STUBS = ("def f(x):\n    ...", "def f(x):\n    pass", "print(f(1))", "from solution import f\nprint(f(1))")

RUST = (
    ("fn f(x: isize) -> isize {\n    x + 1\n}",),
    ("use std::collections::HashMap;", "fn f(x: isize) -> HashMap<isize, isize> {\n    HashMap::from([(x, 1)])\n}"),
    ("fn h(x: isize) -> isize { x }", "/// It's documented.\npub fn f(x: isize) -> isize { h(x) }"),
    ("const N: usize = 3;", "fn f(x: isize) -> usize { N }"),
    ("#[derive(Debug)]\nstruct P { x: isize }", "impl P { fn new(x: isize) -> P { P { x } } }", "fn f(x: isize) -> isize { P::new(x).x }"),
    ("fn f<T: Ord + Clone>(x: &[T]) -> Vec<T> {\n    let mut v = x.to_vec();\n    v.sort();\n    v\n}",),
    ('/// ```\n/// f("a")\n/// ```\nfn f(x: &str) -> char { if x == "}" { \'{\' } else { \'a\' } }',),
    ('fn f(x: String) -> String { x.replace("<|endoftext|>", "```") }',),
    ("macro_rules! twice { ($x:expr) => { $x * 2 } }", "fn f(x: isize) -> isize { twice!(x) }"),
)  # fmt: skip
RUST_DRAFTS = (
    "fn f(x: isize) -> isize { 0 }",
    "fn f(x: isize) -> isize {\n    todo!()\n}",
    'fn f(x: isize) -> isize { unimplemented!("later") }',
    "fn other(x: isize) -> isize { 1 }",
)
RUST_EXAMPLES = (
    'fn main() {\n    println!("{}", f(3));\n}',
    "#[cfg(test)]\nmod tests {\n    use super::*;\n    #[test]\n    fn t() { assert_eq!(1, 1); }\n}",
    'println!("{:?}", f(3));',
    "let y = f(2);",
)
RUST_STUBS = ("fn f(x: isize) -> isize { todo!() }", "fn f(x: isize) -> isize {\n    // to do\n}")


def fenced(rng: random.Random, code: str, tag: str, *, last: bool = False) -> str:
    """Code in one of the forms that Markdown has for it."""
    mark = "`" * (3 if "```" not in code else 4) if rng.random() < 0.8 else "~~~"
    info = rng.choice((tag, tag, tag, "", tag.upper(), f"{tag} title=x"))
    plain = f"{mark}{info}\n{code}\n{mark}"
    form = rng.randrange(9)
    if form == 1:
        return f"1. Like this:\n\n{textwrap.indent(plain, '   ')}\n\n2. That is all."
    if form == 2:
        return textwrap.indent(plain, "> ", lambda _: True)
    if form == 3:
        opening, closing = rng.choice(WRAPPERS)
        return f"{opening}\n{plain}\n{closing}"
    if form == 4:
        return f"Action: {plain}"
    if form == 5 and mark == "```":
        return f"{mark}{info}\n{code} {mark}"
    if form == 6 and last:
        return f"{mark}{info}\n{code}{rng.choice(('', *LEFTOVERS))}"
    return plain


def bare(rng: random.Random, code: str) -> str:
    opening, closing = rng.choice((*WRAPPERS, ("", ""), ("", "")))
    return f"{opening}\n{code}\n{closing}"


def composed(rng: random.Random, tag: str, parts: tuple[str, ...], drafts, examples, stubs) -> str:
    around = (*PROSE, *PROSE, *LEFTOVERS, *OUTPUTS)
    before = [rng.choice((rng.choice(around), fenced(rng, rng.choice(drafts), tag))) for _ in range(rng.randrange(4))]
    if rng.random() < 0.15:
        before.insert(0, f"<think>\nLet me see.\n{fenced(rng, rng.choice(drafts), tag)}\nHm.\n</think>")
    after = [rng.choice((rng.choice(around), fenced(rng, rng.choice(stubs), tag))) for _ in range(rng.randrange(3))]
    example = [rng.choice(examples) for _ in range(rng.randrange(3))]
    split = rng.randrange(len(parts)) if rng.random() < 0.3 and not example else 0
    if split:
        body = [fenced(rng, "\n".join(parts[:split]), tag), fenced(rng, "\n".join(parts[split:]), tag)]
    else:
        code = "\n\n".join((*parts, *example))
        body = [bare(rng, code) if rng.random() < 0.2 else fenced(rng, code, tag, last=not after)]
    text = "\n\n".join((*before, *body, *after))
    return text.replace("\n", "\r\n") if rng.random() < 0.1 else text


def statements(source: str) -> list[str]:
    """What a program is made of, its order aside where blocks were joined."""
    return sorted(ast.dump(node) for node in ast.parse(source).body)


@pytest.mark.parametrize("seed", range(5))
def test_a_python_program_comes_out_of_whatever_stands_around_it(seed):
    rng = random.Random(seed)
    for _ in range(COUNT):
        parts = rng.choice(PYTHON)
        answer = composed(rng, "python", parts, PYTHON_DRAFTS, PYTHON_EXAMPLES, PYTHON_STUBS)
        program = python_program(answer, "f")
        assert program is not None, answer
        assert statements(program) == statements("\n".join(parts)), f"{answer}\n=====\n{program}"


@pytest.mark.parametrize("seed", range(5))
def test_a_rust_program_comes_out_of_whatever_stands_around_it(seed):
    rng = random.Random(seed)
    for _ in range(COUNT):
        parts = rng.choice(RUST)
        answer = composed(rng, "rust", parts, RUST_DRAFTS, RUST_EXAMPLES, RUST_STUBS)
        program = rust_program(answer, "f")
        assert program is not None, answer
        words = [re.sub(r"\s+", " ", text).strip() for text in (program, "\n".join(parts))]
        assert sorted(words[0].split(" ")) == sorted(words[1].split(" ")), f"{answer}\n=====\n{program}"
