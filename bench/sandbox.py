"""Graded programs per second on two cores with full isolation, and in plain subprocesses running the same programs.

python bench/sandbox.py [--programs N] [--rust N]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from symphony.tasks.programs import python_suite, rust_suite
from symphony.tasks.programs.python_suite import Suite, checks
from symphony.tasks.programs.sandbox import Limits, PythonSandbox

WORKERS = 2
TESTS = "assert f(3) == 6\nassert f(0) == 0\nassert f(10) == 45 + 10"
RUST_TEST = (
    "}\nfn main() {\n    let candidate = f;\n    assert_eq!(candidate(2), 4);\n    assert_eq!(candidate(3), 9);\n}"
)


def program(index: int) -> str:
    return f"def f(x):\n    # {index}\n    return sum(range(x + 1))\n"


def per_second(work: Callable[[int], None], count: int) -> float:
    began = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as workers:
        list(workers.map(work, range(count)))
    return count / (time.monotonic() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--rust", type=int, default=8)
    given = parser.parse_args()
    limits = Limits(cpu_s=5, wall_s=5.0)
    suite = Suite(entry="f", checks=checks(TESTS, "f") or ())
    boxes = [PythonSandbox(memory_mb=512) for _ in range(WORKERS)]
    print(f"protection: {boxes[0].protection}; {boxes[1].protection}")

    def isolated(index: int) -> None:
        assert python_suite.judge(boxes[index % WORKERS], program(index), suite, limits).outcome == "pass"

    def plain(index: int) -> None:
        subprocess.run([sys.executable, "-S", "-s", "-c", f"{program(index)}\n{TESTS}"], check=True)

    python = per_second(isolated, given.programs)
    bare = per_second(plain, given.programs)
    print(f"python: {python:.1f} graded a second, {bare:.1f} as plain subprocesses")
    figures = {"python_per_s": round(python, 1), "ratio_to_plain": round(python / bare, 2)}
    if rust_suite.available():
        rust = rust_suite.suite("f", "fn f(x: isize) -> isize {", RUST_TEST)
        rust_suite.judge("fn f(x: isize) -> isize { x * x }", rust, 5.0)  # compiles once what the tests expect

        def compiled(index: int) -> None:
            report = rust_suite.judge(f"// {index}\nfn f(x: isize) -> isize {{ x * x }}", rust, 5.0)
            assert report.outcome == "pass"

        figures["rust_per_s"] = round(per_second(compiled, given.rust), 2)
        print(f"rust: {figures['rust_per_s']} compiled and graded a second")
    print(json.dumps({"bench": "sandbox", "figures": figures}))


if __name__ == "__main__":
    main()
