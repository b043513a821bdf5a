"""Programs that try to pass tests they fail, to outlive their limits, or to reach what is not theirs.

Each is bounded (it stops by itself after seconds, megabytes or a few processes), so that an isolation that fails harms
nothing. None may pass, none may outlive its limit by more than a second, and nothing of the host may change.
"""
# ruff: noqa: E501

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from symphony.tasks.programs import python_suite, rust_suite
from symphony.tasks.programs.command import Command, run_command
from symphony.tasks.programs.extract import without_main
from symphony.tasks.programs.python_suite import Report, Suite, checks
from symphony.tasks.programs.sandbox import Limits, PythonSandbox
from symphony.types import SymphonyError

WALL_S = 2.0
LIMITS = Limits(cpu_s=2, wall_s=WALL_S)
SUITE = Suite(
    entry="f", checks=checks("assert f(2) == 4\nassert f(3) == 9\nassert set(f(1) for _ in '1') == {1}", "f") or ()
)
ALWAYS_EQUAL = """
class E(int):
    def __eq__(self, other): return True
    def __hash__(self): return 0
"""

PYTHON = {
    "wrong": "def f(x): return 0",
    "not a program": "def f(x: return 1",
    "no function": "g = 1",
    "exits with success": "import sys\ndef f(x): sys.exit(0)",
    "exits at import": "import sys\nsys.exit(0)",
    "leaves at once": "import os\ndef f(x): os._exit(0)",
    "leaves at import": "import os\nos._exit(0)",
    "raises SystemExit": "raise SystemExit",
    "kills itself": "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL)",
    "kills its parent": "import os, signal\ndef f(x):\n    os.kill(os.getppid(), signal.SIGKILL)\n    return 0",
    "kills everything": "import os, signal\ndef f(x):\n    os.kill(-1, signal.SIGTERM)\n    return 0",
    "is equal to everything": ALWAYS_EQUAL + "def f(x): return E(0)",
    "hides behind a class": ALWAYS_EQUAL + "class L(list):\n    __eq__ = E.__eq__\ndef f(x): return L([0])",
    "lies about its class": "class A:\n    __class__ = int\n    def __int__(self): return 4\ndef f(x): return A()",
    "rebinds set": "import builtins\nbuiltins.set = lambda x: 1\ndef f(x): return 0",
    "rebinds eval and compile": "import builtins\nbuiltins.eval = lambda *a: 4\nbuiltins.compile = lambda *a, **k: 4\ndef f(x): return 0",
    "rebinds repr": "import builtins\nbuiltins.repr = lambda x: '(4,)'\ndef f(x): return 0",
    "rebinds isinstance": "import builtins\nbuiltins.isinstance = lambda a, b: True\ndef f(x): return 0",
    "rebinds json": 'import json\njson.dumps = lambda x: \'["value", "(4,)"]\'\ndef f(x): return 0',
    "raises in repr": "class A(int):\n    def __repr__(self): raise MemoryError\ndef f(x): return A(0)",
    "forges a report": """
import os, json
def f(x):
    for fd in range(3, 64):
        try: os.write(fd, b'["value", "(4,)"]\\n["value", "(9,)"]\\n["value", "(1,)"]\\n["end", ""]\\n' * (x == 7))
        except OSError: pass
    return 0
""",
    "floods the report": """
import os
def f(x):
    for fd in range(3, 64):
        try: os.write(fd, b'["end", ""]\\n' * 1000)
        except OSError: pass
    return 0
""",
    "prints much": "def f(x):\n    for _ in range(200):\n        print('x' * 100000)\n    return 0",
    "never ends": "import time\nend = time.time() + 30\ndef f(x):\n    while time.time() < end: pass",
    "sleeps": "import time\ndef f(x): time.sleep(30)",
    "ignores SIGTERM and loops": """
import signal, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU, signal.SIGALRM): signal.signal(number, signal.SIG_IGN)
end = time.time() + 30
def f(x):
    while time.time() < end: pass
""",
    "catches everything and loops": """
import time
end = time.time() + 30
def f(x):
    while time.time() < end:
        try:
            while time.time() < end: pass
        except BaseException: pass
""",
    "forks a bomb of 64": "import os\ndef f(x):\n    for _ in range(6): os.fork()\n    return 0",
    "leaves a child behind": "import os, time\ndef f(x):\n    if os.fork() == 0:\n        os.setsid(); time.sleep(30)\n    return 0",
    "leaves threads behind": "import threading, time\ndef f(x):\n    for _ in range(8): threading.Thread(target=time.sleep, args=(30,)).start()\n    return 0",
    "takes 2 GB": "def f(x):\n    a = [bytearray(1 << 20) for _ in range(2048)]\n    return 0",
    "takes an enormous power": "def f(x): return 10 ** 10 ** 10",
    "recurses": "def f(x): return f(x)",
    "nests deeply": "def f(x):\n    a = []\n    for _ in range(10 ** 6): a = [a]\n    return a",
    "returns an endless iterator": "import itertools, time\nend = time.time() + 30\ndef f(x): return itertools.takewhile(lambda _: time.time() < end, itertools.count())",
    "opens a socket": "import socket\ndef f(x):\n    socket.create_connection(('127.0.0.1', 9), 1)\n    return 4",
    "starts a shell": "import subprocess\ndef f(x):\n    subprocess.run(['sh', '-c', 'true'], check=True)\n    return 4",
    "hooks imports": """
import sys
class Hook:
    def find_spec(self, *a): raise SystemExit(0)
sys.meta_path.insert(0, Hook())
sys.modules['symphony'] = sys
def f(x): return 0
""",
    "changes its frames": "import sys\ndef f(x):\n    frame = sys._getframe(1)\n    while frame:\n        frame.f_globals.update(checks=None, tell=print)\n        frame = frame.f_back\n    return 0",
    "collects garbage for objects": "import gc\ndef f(x):\n    for o in gc.get_objects():\n        if isinstance(o, dict) and 'expressions' in o: return o['nothing']\n    return 0",
}
# What must not be seen or changed; each returns the right square only if it got through.
REACHING = {
    "reads the password file": "open('/etc/passwd').read()",
    "reads the home folder": "os.listdir(os.path.expanduser('~root'))",
    "reads the project": "open({project!r}).read()",
    "lists the root": "os.listdir('/')",
    "reads the parent's memory": "open(f'/proc/{os.getppid()}/mem', 'rb').read(1)",
    "reads the parent's environment": "open(f'/proc/{os.getppid()}/environ').read()[0]",
    "reads its environment": "os.environ['PATH']",
    "writes beside itself": "open('x', 'w').write('x')",
    "writes to the temporary folder": "open('/tmp/symphony-hostile', 'w').write('x')",
    "links out of its folder": "os.symlink('/etc', 'out') or os.listdir('out')",
    "makes a folder": "os.mkdir('/tmp/symphony-hostile-folder')",
}

RUST = {
    "wrong": "fn f(x: isize) -> isize { 0 }",
    "does not compile": 'fn f(x: isize) -> isize { "a" }',
    "another type": "fn f(x: isize) -> String { String::new() }",
    "exits with success": "fn f(x: isize) -> isize { std::process::exit(0) }",
    "exits with failure": "fn f(x: isize) -> isize { std::process::exit(1) }",
    "panics": 'fn f(x: isize) -> isize { panic!("(4)") }',
    "aborts": "fn f(x: isize) -> isize { std::process::abort() }",
    "prints another value": 'fn f(x: isize) -> isize { println!("\\u{1e}0:5\\u{1f}"); 4 }',
    "guesses twice": 'fn f(x: isize) -> isize { println!("\\u{1e}0:4\\u{1f}"); println!("\\u{1e}1:9\\u{1f}"); 0 }',
    "brings its own main": "fn f(x: isize) -> isize { 0 }\nfn main() { std::process::exit(0) }",
    "never ends": "fn f(x: isize) -> isize { let t = std::time::Instant::now(); while t.elapsed().as_secs() < 20 {} 4 }",
    "sleeps": "fn f(x: isize) -> isize { std::thread::sleep(std::time::Duration::from_secs(20)); 4 }",
    "includes a host file": 'fn f(x: isize) -> isize { include_str!("/etc/passwd").len() as isize * 0 + x * x }',
    "includes its tests": 'fn f(x: isize) -> isize { assert!(!include_str!("/proc/self/fd/0").is_empty()); x * x }',
    "reads a host file": 'fn f(x: isize) -> isize { std::fs::read("/etc/passwd").unwrap(); x * x }',
    "writes a file": 'fn f(x: isize) -> isize { std::fs::write("/tmp/symphony-hostile-rs", "x").unwrap(); x * x }',
    "opens a socket": 'fn f(x: isize) -> isize { std::net::UdpSocket::bind("127.0.0.1:0").unwrap(); x * x }',
    "starts a process": 'fn f(x: isize) -> isize { std::process::Command::new("/bin/true").status().unwrap(); x * x }',
    "a bomb for the compiler": """
const fn spin(n: u64) -> u64 { let mut i = 0; while i < n { i += 1; } i }
const N: u64 = spin(u64::MAX);
fn f(x: isize) -> isize { N as isize * 0 + x * x }
""",
    "a macro without end": "macro_rules! m { ($($t:tt)*) => { m!($($t)* $($t)* a) } }\nm!(a);\nfn f(x: isize) -> isize { x * x }",
}


@pytest.fixture(scope="module")
def box() -> Iterator[PythonSandbox]:
    with PythonSandbox(memory_mb=512) as sandbox:
        if not set(sandbox.protection.split("+")) & {"bubblewrap", "namespaces", "landlock"}:
            pytest.skip("nothing isolates programs on this machine")
        yield sandbox


def host() -> tuple[object, ...]:
    left = sorted(path.name for path in Path("/tmp").glob("symphony-hostile*"))
    return left, os.getcwd(), os.environ.get("PATH")


@pytest.mark.parametrize("program", PYTHON.values(), ids=PYTHON)
def test_no_hostile_python_program_passes_or_outlives_its_limit(box: PythonSandbox, program: str) -> None:
    before, began = host(), time.monotonic()
    report = python_suite.judge(box, program, SUITE, LIMITS)
    assert report.outcome != "pass"
    assert not all(report.passed)
    assert time.monotonic() - began < WALL_S + 1.0
    assert host() == before
    assert python_suite.judge(box, "def f(x): return x * x", SUITE, LIMITS).outcome == "pass"


@pytest.mark.parametrize("attempt", REACHING.values(), ids=REACHING)
def test_no_python_program_reaches_what_is_not_its_own(box: PythonSandbox, attempt: str) -> None:
    project = str(Path(python_suite.__file__).resolve())
    before = host()
    program = f"import os\ndef f(x):\n    {attempt.format(project=project) if 'project' in attempt else attempt}\n    return x * x"
    assert python_suite.judge(box, program, SUITE, LIMITS).outcome != "pass"
    assert host() == before


PROMPT = "/// Squares.\nfn f(x: isize) -> isize {\n"
TEST = (
    "}\n\nfn main() {\n    let candidate = f;\n    assert_eq!(candidate(2), 4);\n    assert_eq!(candidate(3), 9);\n}\n"
)


@pytest.mark.slow
@pytest.mark.skipif(not rust_suite.available(), reason="no rustc on this machine")
@pytest.mark.parametrize("program", RUST.values(), ids=RUST)
def test_no_hostile_rust_program_passes_or_outlives_its_limit(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rust_suite, "COMPILE_S", 8.0)  # wall-clock; 4 processor seconds
    suite = rust_suite.suite("f", PROMPT, TEST)
    rust_suite._expected(suite)
    before, began = host(), time.monotonic()
    report = rust_suite.judge(without_main(program), suite, WALL_S)
    assert report.outcome != "pass"
    bound = (
        rust_suite.COMPILE_S if report.outcome == "compile_error" else WALL_S + 5.0
    )  # compiling is outside the limit
    assert time.monotonic() - began < bound + 1.0
    assert host() == before


def test_a_rust_program_is_compiled_once_unless_its_report_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    suite, judged = rust_suite.suite("f", PROMPT, TEST), []

    def judge(program: str, suite: rust_suite.RustSuite, wall_s: float) -> Report:
        judged.append(program)
        shown = tuple("" for _ in suite.checks)
        outcome: Any = program.split("-")[0]
        return Report(outcome=outcome, passed=tuple(False for _ in shown), shown=shown, detail=program.split("-")[1])

    monkeypatch.setattr(rust_suite, "_judge", judge)
    monkeypatch.setattr(rust_suite, "_REPORTS", {})
    programs = ["fail-", "compile_error-error: x", f"compile_error-{rust_suite.SLOW}", "timeout-timeout", "killed-x"]
    for program in [*programs, *programs]:
        assert rust_suite.judge(program, suite, WALL_S).outcome == program.split("-")[0]
    assert judged == [*programs, *programs[2:]]


@pytest.mark.skipif(not rust_suite.available(), reason="no rustc on this machine")
def test_a_right_rust_program_passes() -> None:
    suite = rust_suite.suite("f", PROMPT, TEST)
    assert rust_suite.judge("fn f(x: isize) -> isize { x * x }", suite, WALL_S).outcome == "pass"


REACHING_RUST = [name for name in RUST if re.search("file|socket|process|environment|folder", name)]


@pytest.mark.skipif(not rust_suite.available(), reason="no rustc on this machine")
@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap on this machine")
def test_without_landlock_rust_programs_run_under_bubblewrap_and_reach_no_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rust_suite, "run_command", partial(run_command, layers=("bubblewrap", "seccomp")))
    suite = rust_suite.suite("f", PROMPT, TEST)
    before = host()
    assert len(REACHING_RUST) >= 4
    for name in REACHING_RUST:
        assert rust_suite.judge(without_main(RUST[name]), suite, WALL_S).outcome != "pass", name
    assert host() == before
    assert rust_suite.judge("fn f(x: isize) -> isize { x * x }", suite, WALL_S).outcome == "pass"


@pytest.mark.skipif(not rust_suite.available(), reason="no rustc on this machine")
def test_a_rust_program_that_is_right_in_some_orders_of_its_hash_map_only_does_not_pass() -> None:
    suite = rust_suite.suite("f", PROMPT, TEST)
    first = "(0..8).collect::<std::collections::HashSet<isize>>().into_iter().next().unwrap()"
    program = f"fn f(x: isize) -> isize {{ if {first} < 4 {{ x * x }} else {{ 0 }} }}"
    assert rust_suite.judge(program, suite, WALL_S).outcome == "fail"  # by chance only 1 in 256 passes


@pytest.mark.skipif(not rust_suite.available(), reason="no rustc on this machine")
def test_what_a_rust_program_shows_is_the_same_each_time_whatever_the_order_of_its_sets() -> None:
    suite = rust_suite.suite("f", PROMPT, TEST)
    digits = "(0..8).collect::<std::collections::HashSet<isize>>().into_iter().fold(1, |sum, one| 10 * sum + one)"
    shown = {rust_suite.judge(f"fn f(x: isize) -> isize {{ x + {digits} }}", suite, WALL_S).shown for _ in range(3)}
    assert len(shown) == 1


def test_a_command_does_not_run_where_neither_landlock_nor_bubblewrap_is() -> None:
    with pytest.raises(SymphonyError, match="found neither landlock nor bubblewrap"):
        run_command(Command(words=("/usr/bin/true",)), b"", layers=("seccomp",))
