"""Hostile programs are bounded, so that a sandbox that fails here harms nothing."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from symphony.tasks.programs import sandbox as module
from symphony.tasks.programs import sandbox_server
from symphony.tasks.programs.sandbox import LAYERS, MAX_CHARS, Execution, PythonSandbox
from symphony.types import SymphonyError

WAYS = {
    "all": LAYERS,
    "bubblewrap": ("bubblewrap",),
    "namespaces": ("namespaces",),
    "landlock": ("landlock",),
    "limits": (),
}
ROOT = Path(module.__file__).parents[2]


def opened(way: str) -> PythonSandbox:
    sandbox = PythonSandbox(layers=WAYS[way], wall_s=3.0)
    if way != "limits" and not set(sandbox.protection.split("+")) & set(WAYS[way]):
        sandbox.close()
        pytest.skip(f"no {way} on this machine")
    return sandbox


@pytest.fixture(scope="module", params=list(WAYS))
def box(request: pytest.FixtureRequest) -> Iterator[PythonSandbox]:
    with opened(request.param) as sandbox:
        yield sandbox


def run(sandbox: PythonSandbox, source: str) -> Execution:
    return sandbox.call(source, "f", ["()"])


def works(sandbox: PythonSandbox) -> bool:
    return run(sandbox, "def f(): return len('four')").values == ("4",)


def processes_of(sandbox: PythonSandbox) -> list[int]:
    assert sandbox._server is not None
    found = [sandbox._server.process.pid]
    for pid in found:
        found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


@pytest.mark.parametrize(
    ("protection", "unprotected", "told"),
    [
        ("namespaces+limits", False, ""),
        ("landlock+seccomp+user+limits", False, ""),
        ("seccomp+user+limits", True, ""),
        ("seccomp+user+limits", False, "found the protections seccomp+user+limits, allowed: one of bubblewrap, "),
    ],
)
def test_without_isolation_programs_run_only_if_the_user_says_so(protection, unprotected, told) -> None:
    found = module.shortfall(protection, unprotected)
    assert found.startswith(told)
    assert bool(found) == bool(told)


def test_each_call_gives_the_repr_of_its_result(box: PythonSandbox) -> None:
    done = box.call("def f(a, b): return a + b", "f", ["(1, 2)", "('a', 'b')", "([1], [None])"])
    assert done == Execution(outcome="ok", values=("3", "'ab'", "[1, None]"), error="")


def test_values_before_the_first_failure_are_kept(box: PythonSandbox) -> None:
    done = box.call("def f(a): return 1 // a", "f", ["(1,)", "(0,)", "(2,)"])
    assert (done.outcome, done.values, done.error.split(":")[0]) == ("error", ("1",), "ZeroDivisionError")


def test_an_argument_that_is_no_tuple_is_the_callers_error(box: PythonSandbox) -> None:
    with pytest.raises(ValueError, match="tuple"):
        box.call("def f(a): return a", "f", ["1"])


def test_an_infinite_loop_times_out_and_the_next_program_runs_at_once(box: PythonSandbox) -> None:
    assert run(box, "def f():\n    while True: pass").outcome == "timeout"
    before = time.monotonic()
    assert works(box)
    assert time.monotonic() - before < 1.0


def test_a_loop_that_ignores_signals_times_out() -> None:
    ignore = "import signal\nfor n in (signal.SIGXCPU, signal.SIGTERM): signal.signal(n, signal.SIG_IGN)\n"
    with opened("all") as sandbox:
        assert run(sandbox, ignore + "while True: pass").outcome == "timeout"


def test_a_sleeper_times_out_by_the_clock() -> None:
    with PythonSandbox(wall_s=0.3) as sandbox:
        assert run(sandbox, "import time\ntime.sleep(30)").outcome == "timeout"
        assert works(sandbox)


def test_a_program_that_closes_everything_and_stays_is_ended(box: PythonSandbox) -> None:
    before = time.monotonic()
    assert run(box, "import os, time\nos.closerange(0, 64)\ntime.sleep(30)").outcome == "killed"
    assert time.monotonic() - before < 2.0


@pytest.mark.parametrize(
    ("source", "outcome", "error"),
    [
        ("import sys\nsys.exit(0)", "error", "SystemExit: 0"),
        ("raise SystemExit", "error", "SystemExit"),
        ("raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
        ("import os\nos._exit(0)", "killed", "process ended: no report"),
        ("import os\nos.kill(os.getpid(), 9)", "killed", "process ended: signal 9"),
        ("import ctypes\nctypes.string_at(0)", "killed", "process ended: signal 11"),
    ],
)
def test_leaving_early_is_no_success(box: PythonSandbox, source: str, outcome: str, error: str) -> None:
    done = run(box, source)
    assert (done.outcome, done.values, done.error) == (outcome, (), error)
    assert works(box)


def test_a_syntax_error_is_named(box: PythonSandbox) -> None:
    assert run(box, "def f(:").error.startswith("SyntaxError: invalid syntax")


def test_a_missing_function_is_a_name_error(box: PythonSandbox) -> None:
    assert run(box, "def g(): return 1").error == "NameError: name 'f' is not defined"


def test_a_builtin_is_not_taken_for_the_missing_function(box: PythonSandbox) -> None:
    assert box.call("", "len", ["('four',)"]).outcome == "error"


def test_a_program_cannot_start_processes(box: PythonSandbox) -> None:
    source = (
        "import os\ndef f():\n    made = 0\n    for _ in range(20):\n        try: pid = os.fork()\n"
        "        except OSError: continue\n        if pid == 0: os._exit(0)\n        made += 1\n    return made"
    )
    assert run(box, source).values == ("0",)


def test_a_memory_hog_gets_a_memory_error(box: PythonSandbox) -> None:
    assert run(box, "def f(): return len(bytearray(1 << 30))").error == "MemoryError"
    assert works(box)


def test_nothing_can_be_written_anywhere(box: PythonSandbox, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    source = (
        "import os\ndef f():\n    done = []\n"
        f"    for folder in ('.', '/tmp', '/dev/shm', '/scratch', {str(tmp_path)!r}):\n"
        "        try:\n            path = folder + '/symphony-test'\n"
        "            with open(path, 'wb', buffering=0) as file: file.write(b'x')\n"
        "            done.append(folder)\n        except OSError: pass\n"
        "        try: os.unlink(path)\n        except OSError: pass\n    return done"
    )
    assert run(box, source).values == ("[]",)


def test_an_empty_file_is_not_left_for_the_next_program(box: PythonSandbox) -> None:
    run(box, "open('left', 'w').close()")
    assert run(box, "import os\ndef f(): return os.path.exists('left')").values == ("False",)


def test_definitions_of_one_program_are_not_seen_by_the_next(box: PythonSandbox) -> None:
    run(box, "import builtins, math\ndef f(): return 1\nbuiltins.left = math.left = f")
    assert run(box, "def g(): return 1").outcome == "error"
    source = "import builtins, math\ndef f(): return [hasattr(m, 'left') for m in (builtins, math)]"
    assert run(box, source).values == ("[False, False]",)


def test_rebinding_builtins_does_not_affect_the_next_program(box: PythonSandbox) -> None:
    run(box, "import builtins, json\nbuiltins.repr = builtins.len = json.dumps = lambda *_: 'forged'")
    assert works(box)


def test_a_forged_report_of_the_wrong_shape_is_no_success(box: PythonSandbox) -> None:
    forge = (
        "import os\nfor n in range(3, 64):\n"
        '    try: os.write(n, b\'{"outcome": "ok", "values": [], "error": ""}\')\n    except OSError: pass\n'
        "os._exit(0)"
    )
    assert run(box, forge).outcome == "killed"
    assert works(box)


def test_a_program_holds_no_channel_but_its_own_report(box: PythonSandbox) -> None:
    source = (
        "import os\ndef f():\n    held = 0\n    for n in range(3, 64):\n"
        "        try: os.fstat(n)\n        except OSError: continue\n        held += 1\n    return held"
    )
    assert run(box, source).values == ("1",)


def test_a_program_does_not_see_the_callers_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYMPHONY_SECRET", "geheim")
    source = (
        "import os\ndef f():\n    text = str(os.environ)\n    for who in ('self', os.getppid()):\n"
        "        try: text += open(f'/proc/{who}/environ').read()\n        except OSError: pass\n    return text"
    )
    for layers in WAYS.values():
        with PythonSandbox(layers=layers) as sandbox:
            done = run(sandbox, source)
            assert (done.outcome, "geheim" in done.values[0]) == ("ok", False)


def test_a_program_does_not_run_as_root(box: PythonSandbox) -> None:
    assert run(box, "import os\ndef f(): return 0 in (os.getuid(), os.geteuid())").values == ("False",)


@pytest.mark.parametrize("way", ["all", "bubblewrap", "namespaces", "landlock"])
def test_a_listening_port_of_the_machine_cannot_be_reached(way: str) -> None:
    if way == "landlock" and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 7):
        pytest.skip("Landlock has no network rules before Linux 6.7")
    with opened(way) as sandbox, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"import socket\ndef f(): socket.create_connection(('127.0.0.1', {port}), 1)"
        assert run(sandbox, source).outcome == "error"
    with PythonSandbox(layers=()) as bare, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        source = f"import socket\ndef f(): socket.create_connection(('127.0.0.1', {port}), 1)"
        assert run(bare, source).outcome == "ok"  # so the refusal above is the protection's


@pytest.mark.parametrize("way", ["all", "bubblewrap", "landlock"])
def test_files_of_the_machine_cannot_be_read(way: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("geheim")
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        with contextlib.suppress(PermissionError):
            os.chmod(folder, 0o755)
    with opened(way) as sandbox:
        assert run(sandbox, f"def f(): return open({str(secret)!r}).read()").outcome == "error"
        assert run(sandbox, "def f(): return open('/etc/passwd').read()").outcome == "error"


@pytest.mark.parametrize("way", ["all", "bubblewrap", "namespaces", "landlock"])
def test_a_program_cannot_kill_the_server(way: str) -> None:
    if way == "landlock" and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 12):
        pytest.skip("Landlock does not limit signals before Linux 6.12")
    with opened(way) as sandbox:
        before = processes_of(sandbox)
        run(sandbox, "import os\nos.kill(os.getppid(), 9)\ndef f(): return 1")
        assert processes_of(sandbox) == before


def test_a_program_that_kills_the_server_costs_only_itself() -> None:
    with PythonSandbox(layers=()) as sandbox:
        assert run(sandbox, "import os\nos.kill(os.getppid(), 9)\ndef f(): return 1").outcome == "killed"
        assert works(sandbox)


def test_a_killed_server_is_started_again(box: PythonSandbox) -> None:
    assert works(box)
    for pid in reversed(processes_of(box)):
        os.kill(pid, signal.SIGKILL)
    assert works(box)


def test_a_huge_result_is_truncated(box: PythonSandbox) -> None:
    (value,) = run(box, "def f(): return 'x' * 1_000_000").values
    assert len(value) == MAX_CHARS + 3


def test_a_huge_error_is_truncated(box: PythonSandbox) -> None:
    assert len(run(box, "raise ValueError('x' * 1_000_000)").error) <= MAX_CHARS + 3


def test_a_flood_of_output_goes_nowhere(box: PythonSandbox) -> None:
    source = "import os\ndef f():\n    for _ in range(1000): os.write(1, b'x' * 10000)\n    return 1"
    assert run(box, source).values == ("1",)


def test_a_result_that_claims_to_be_data_is_an_error(box: PythonSandbox) -> None:
    source = "class Fake:\n    def __repr__(self): return '4'\ndef f(): return [Fake()]"
    assert run(box, source).error == "TypeError: result of type Fake is not plain data"


def test_subclasses_of_builtin_data_are_shown_as_their_base(box: PythonSandbox) -> None:
    assert run(box, "import collections\ndef f(): return collections.Counter('aab')").values == ("{'a': 2, 'b': 1}",)


def test_the_order_of_a_set_is_the_same_in_every_sandbox() -> None:
    shown = set()
    for layers in (LAYERS, LAYERS, (), ()):
        with PythonSandbox(layers=layers) as sandbox:
            shown.add(run(sandbox, "def f(): return list(set('abcdefghijklmnop'))").values)
    assert len(shown) == 1


def test_random_numbers_repeat(box: PythonSandbox) -> None:
    source = "import random\ndef f(): return random.random()"
    assert run(box, source) == run(box, source)


def test_future_imports_of_the_harness_do_not_leak(box: PythonSandbox) -> None:
    assert run(box, "def f(x: int = 1): return f.__annotations__['x'] is int").values == ("True",)


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # of JAX, which another test may have loaded
def test_a_forked_caller_gets_a_server_of_its_own(box: PythonSandbox) -> None:
    assert works(box)
    before = processes_of(box)
    pid = os.fork()
    if pid == 0:
        own = works(box) and processes_of(box) != before
        box.close()
        os._exit(0 if own else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert works(box)
    assert processes_of(box) == before


def test_closing_leaves_no_process() -> None:
    sandbox = opened("all")
    pids = processes_of(sandbox)
    sandbox.close()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_caller_that_dies_leaves_no_process(tmp_path: Path) -> None:
    script = (
        "import os, sys\nfrom symphony.tasks.programs.sandbox import PythonSandbox\ns = PythonSandbox()\ns.protection\n"
        "pids = [s._server.process.pid]\nfor p in pids:\n"
        "    pids += map(int, open(f'/proc/{p}/task/{p}/children').read().split())\n"
        "print(*pids, flush=True)\nos.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    pids = done.stdout.split()
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert pids
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_threads_get_the_answers_to_their_own_questions(box: PythonSandbox) -> None:
    got: dict[int, tuple[str, ...]] = {}

    def ask(n: int) -> None:
        got[n] = box.call("def f(a): return a", "f", [f"({n},)"]).values

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {n: (str(n),) for n in range(8)}


def test_an_interrupted_call_does_not_answer_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with PythonSandbox() as sandbox:
        assert works(sandbox)

        def interrupted(*_: object) -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(sandbox_server, "read_frame", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run(sandbox, "def f(): return 'stale'")
        assert works(sandbox)


@pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")
def test_bubblewrap_is_used_where_it_works() -> None:
    with PythonSandbox() as sandbox:
        assert sandbox.protection.startswith("bubblewrap+")


def test_without_bubblewrap_the_rest_protects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with PythonSandbox() as sandbox:
        assert "bubblewrap" not in sandbox.protection
        assert works(sandbox)


def test_an_unknown_layer_is_refused_by_name() -> None:
    with pytest.raises(SymphonyError, match=r"found docker, allowed: bubblewrap"):
        PythonSandbox(layers=("docker",))


def test_no_interpreter_at_all_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_launch", lambda *_: None)
    with pytest.raises(SymphonyError, match="found no Python"):
        works(PythonSandbox())


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
@pytest.mark.parametrize("layers", WAYS.values(), ids=WAYS)
def test_an_ordinary_user_has_the_same_sandbox(layers: tuple[str, ...]) -> None:
    script = (
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom symphony.tasks.programs.sandbox import PythonSandbox\n"
        f"with PythonSandbox(layers={layers!r}) as s:\n"
        "    print(s.call('def f(a): return a', 'f', ['(4,)']).values, s.call('while 1: 1', 'f', []).outcome)"
    )
    try:
        done = subprocess.run(
            ["/usr/bin/python3", "-B", "-c", script], user=65534, group=65534, extra_groups=(), cwd="/", env={},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        pytest.skip("no Python that an ordinary user can execute")
    if "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr or "PermissionError" in done.stderr:
        pytest.skip("an ordinary user cannot import the project here")
    assert (done.stdout, done.stderr) == ("('4',) timeout\n", "")
