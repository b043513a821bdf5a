"""Tests of a Rust function, judged outside the program under test.

A program is compiled twice from standard input, so that no file holds its tests: once with the original test, without
code generation, to check that all types fit, and once with a `main` that only prints what the function returns. A third
binary that has never seen the program prints what the tests expect, and the two are compared here. A program that exits
early with status 0 prints nothing, so it passes nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from symphony.tasks.programs.command import Command, Ended, run_command
from symphony.tasks.programs.python_suite import Outcome, Report
from symphony.types import SymphonyError

COMPILE_S = 60.0
"""Wall-clock seconds for one compilation; half as many processor seconds."""
ORDERS = 8
"""Runs that a program with hash maps or sets must pass; each iterates in a different but reproducible order."""
_HASHED = re.compile(r"\b(?:HashMap|HashSet|RandomState)\b")
_ORDER = """
#[no_mangle]
pub extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    unsafe { std::ptr::write_bytes(buffer, (std::env::args_os().len() as u8).wrapping_mul(37), length) };
    length as isize
}
"""
"""Replaces the system's function, so that the run's arguments determine the order of hash maps and sets."""
_MARK = "\x1e"
_END = "\x1f"
_TOKENS = re.compile(
    r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\(?:u\{[^}]*\}|.)|[^'\\])'|[()\[\]{},;]|[^\"'()\[\]{},;/]+|.",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RustCheck:
    """One `assert_eq!`: a call of the function under the name `candidate`, and what it must return."""

    call: str
    expected: str

    @property
    def text(self) -> str:
        return f"assert_eq!({self.call}, {self.expected});"

    def render(self, entry: str) -> str:
        """Returns the check as people and models read it."""
        return self.text.replace("candidate(", f"{entry}(")


@dataclass(frozen=True, slots=True, kw_only=True)
class RustSuite:
    """What a program is tested with.

    Attributes:
        entry: Name of the function.
        returns: Return type, as in the prompt.
        uses: `use` lines of the prompt.
        checks: The checks, in order.
        test: The original test, `fn main() {...}`, with which the compiler checks types.
    """

    entry: str
    returns: str
    uses: str
    checks: tuple[RustCheck, ...]
    test: str


# --------------------------------------------------------------------------- reading tests


def suite(entry: str, prompt: str, test: str) -> RustSuite:
    """Reads a typed MBPP row, whose test begins with the brace that closes the prompt's function.

    Raises:
        SymphonyError: The row is not of that kind.
    """
    test = test.strip().removeprefix("}").strip()
    signature = re.search(rf"fn\s+{re.escape(entry)}\s*\(.*\)\s*->\s*(.+?)\s*\{{\s*$", prompt.strip(), re.DOTALL)
    checks = read_checks(test, entry)
    if signature is None or not 0 < len(checks) == test.count("assert"):
        raise SymphonyError(f"{entry}: found a test other than assert_eq!(call, value), allowed: typed MBPP rows")
    uses = "\n".join(re.findall(r"(?m)^\s*use\s[^;]+;", prompt))
    return RustSuite(entry=entry, returns=signature[1], uses=uses, checks=tuple(checks), test=test)


def of(other: RustSuite, checks: tuple[RustCheck, ...]) -> RustSuite:
    """Returns a suite for the same function with other tests."""
    lines = "\n".join(f"    {check.text}" for check in checks)
    test = f"fn main() {{\n    let candidate = {other.entry};\n{lines}\n}}"
    return replace(other, checks=checks, test=test)


def read_checks(text: str, entry: str) -> list[RustCheck]:
    """Reads every `assert_eq!(call, value)` in a text, renaming the function to `candidate`."""
    checks = []
    for match in re.finditer(r"assert_eq!\s*\(", text):
        arguments = _arguments(_enclosed_text(text, match.end()))
        if len(arguments) >= 2:
            call = re.sub(rf"\b{re.escape(entry)}(?=\s*\()", "candidate", arguments[0])
            checks.append(RustCheck(call=call, expected=arguments[1]))
    return checks


def written(answer: str, entry: str) -> tuple[str, ...]:
    """Returns the tests of a function in an answer, as `assert_eq!` of `candidate`."""
    checks = [check for check in read_checks(answer, entry) if "candidate(" in check.call]
    return tuple(dict.fromkeys(check.text for check in checks))


def _enclosed_text(text: str, start: int) -> str:
    """Returns the text between an opening bracket, which ends at `start`, and its closing bracket."""
    depth = 1
    for match in _TOKENS.finditer(text, start):
        depth += (match[0] in ("(", "[", "{")) - (match[0] in (")", "]", "}"))
        if depth == 0:
            return text[start : match.start()]
    return ""


def _arguments(text: str) -> list[str]:
    """Splits the arguments of a macro call at its top-level commas."""
    parts, depth = [""], 0
    for token in _TOKENS.findall(text):
        depth += (token in ("(", "[", "{")) - (token in (")", "]", "}"))
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()]


# --------------------------------------------------------------------------- judging


SLOW = "compiling takes too long"
MOST_REPORTS = 4096
_REPORTS: dict[tuple[str, RustSuite, float], Report] = {}
"""Reports of the programs judged by this process."""


def available() -> bool:
    """Whether there is a working Rust compiler (a rustup without a toolchain does not count)."""
    try:
        _toolchain()
    except SymphonyError:
        return False
    return True


def judge(program: str, suite: RustSuite, wall_s: float) -> Report:
    """Compiles and runs a program; `wall_s` is the limit of one run, not counting compile time.

    The report is about the first run that fails, or else the last run. A program is compiled once per process: many
    methods that replay the same answers write the same programs. What depends on the machine's load (a timeout) is
    tried again.

    Raises:
        SymphonyError: There is no compiler or no isolation.
    """
    key = (program, suite, wall_s)
    report = _REPORTS.get(key)
    if report is None:
        report = _judge(program, suite, wall_s)
        if len(_REPORTS) >= MOST_REPORTS:
            _REPORTS.clear()
        if report.outcome in ("pass", "fail", "compile_error") and report.detail != SLOW:
            _REPORTS[key] = report
    return report


def _judge(program: str, suite: RustSuite, wall_s: float) -> Report:
    nothing = tuple(False for _ in suite.checks)
    wanted = _expected(suite)
    if isinstance(wanted, str):
        return Report(outcome="broken_test", passed=nothing, shown=("",) * len(nothing), detail=wanted)
    fits = _compile(f"{program}\n{suite.test}\n", None)
    if fits.code != 0 or fits.outcome != "ok":
        return Report(outcome="compile_error", passed=nothing, shown=("",) * len(nothing), detail=_diagnosis(fits))
    with _scratch() as folder:
        built = _compile(f"{program}\n{_printing([check.call for check in suite.checks], suite.entry)}", folder)
        if built.code != 0 or built.outcome != "ok":
            return Report(outcome="compile_error", passed=nothing, shown=("",) * len(nothing), detail=_diagnosis(built))
        for order in range(ORDERS if _HASHED.search(program) else 1):
            ran = _run(folder, wall_s, order)
            values = _values(ran.output, len(suite.checks))
            passed = tuple(
                text is not None and canonical(text) == want for text, want in zip(values, wanted, strict=True)
            )
            if not all(passed) or ran.outcome != "ok":
                break
    panic = re.search(r"panicked at [^\n]*\n?([^\n]*)", ran.output)
    detail = ran.outcome if ran.outcome != "ok" else panic[1] if panic else ""
    shown = tuple(detail or "no value" if value is None else value for value in values)
    outcome: Outcome = "pass" if all(passed) else "fail"
    if ran.outcome != "ok":
        outcome = "timeout" if ran.outcome == "timeout" else "killed"
    return Report(outcome=outcome, passed=passed, shown=shown, detail=detail)


@lru_cache(maxsize=1024)
def _expected(suite: RustSuite) -> tuple[str, ...] | str:
    """Returns the expected values, printed by a program with nothing else in it; the reason if it does not compile.

    Their type is the prompt's, or, if the published test contradicts the prompt, whatever the compiler infers.
    """
    printing = _printing([f"candidate({check.expected})" for check in suite.checks], suite.entry)
    with _scratch() as folder:
        for kind, returns in (("", suite.returns), ("<T>", "T")):
            same = f"fn {suite.entry}{kind}(value: {returns}) -> {returns} {{ value }}"
            built = _compile(f"{suite.uses}\n{same}\n{printing}", folder, lints="-Awarnings")  # 300 is not a u8
            if built.code == 0:
                break
        else:
            return f"it does not compile: {_diagnosis(built)}"
        values = _values(_run(folder, 10.0).output, len(suite.checks))
    return tuple(canonical(value or "") for value in values)


def _printing(calls: list[str], entry: str) -> str:
    """Returns a `main` that prints each call's value between marks, even if earlier calls failed."""
    body = "\n".join(
        f"    let _ = std::panic::catch_unwind(|| {{ let candidate = {entry}; let value = {call}; "
        f'println!("\\u{{1e}}{index}:{{:?}}\\u{{1f}}", value); }});'
        for index, call in enumerate(calls)
    )
    return f"fn main() {{\n{body}\n}}\n{_ORDER}"


def _values(output: str, count: int) -> list[str | None]:
    """Returns the value printed for each call; None if there is none, or more than one."""
    printed: dict[int, list[str]] = {}
    for index, value in re.findall(rf"{_MARK}(\d+):(.*?){_END}", output, re.DOTALL):
        printed.setdefault(int(index), []).append(value)
    return [printed[i][0] if len(printed.get(i, ())) == 1 else None for i in range(count)]


def canonical(debug: str) -> str:
    """Normalises a `{:?}` text: sorts the entries of every `{...}` (maps and sets have no order) and makes -0.0 0.0."""
    stack: list[tuple[str, list[str]]] = [("", [""])]
    for token in _TOKENS.findall(debug):
        if token in ("(", "[", "{"):
            stack.append((token, [""]))
        elif token in (")", "]", "}") and len(stack) > 1:
            opened, parts = stack.pop()
            parts = [part.strip() for part in parts]
            inner = ", ".join(sorted(parts) if opened == "{" else parts)
            stack[-1][1][-1] += f"{opened}{inner}{token}"
        elif token == ",":
            stack[-1][1].append("")
        else:
            stack[-1][1][-1] += re.sub(r"(?<![\w.])-0\.0(?!\d)", "0.0", token)
    return ", ".join(part.strip() for part in stack[0][1])


# --------------------------------------------------------------------------- compiler and run


def _compile(source: str, folder: Path | None, lints: str = "--cap-lints=allow") -> Ended:
    """Compiles once: without a folder only checks types, else builds a binary `program` in the folder."""
    root, everyone = _toolchain()
    with _scratch() as scratch:
        emit = ["--emit=metadata", "-o", f"{scratch}/types"] if folder is None else ["-o", f"{folder}/program"]
        words = [f"{root}/bin/rustc", "--edition=2021", "--crate-name=program", "-Cdebuginfo=0", "-Ccodegen-units=1"]
        paths = ("/usr", "/lib", "/lib64", "/bin", "/etc/alternatives", "/dev/null", root)
        return run_command(
            Command(
                words=(*words, lints, *emit, "-"),
                environment=(("PATH", "/usr/bin:/bin"), ("TMPDIR", str(scratch)), ("RUST_BACKTRACE", "0")),
                run=paths,
                write=(str(scratch), *([] if folder is None else [str(folder)]), "/dev/null"),
                cpu_s=int(COMPILE_S / 2), wall_s=COMPILE_S, memory_mb=4096, file_mb=64, processes=256, as_user=everyone,
                own_proc=True,
            ),
            source.encode(),
        )  # fmt: skip


def _run(folder: Path, wall_s: float, order: int = 0) -> Ended:
    """Runs the compiled program; `order`, >= 0, selects the iteration order of hash maps and sets."""
    program = str(folder / "program")
    loaders = ("/lib64", "/lib")  # the dynamic loader is executed too
    return run_command(
        Command(
            words=(program, *["-"] * order),
            run=(program, *loaders),
            cpu_s=max(1, round(wall_s)),
            wall_s=wall_s,
            memory_mb=1024,
        ),
        b"",
    )


@contextmanager
def _scratch() -> Iterator[Path]:
    """Creates a temporary folder that the ordinary user may use as well."""
    with tempfile.TemporaryDirectory(prefix="symphony-") as name:
        os.chmod(name, 0o777)
        yield Path(name)


@lru_cache(maxsize=1)
def _toolchain() -> tuple[str, bool]:
    """Returns the folder of the compiler behind `rustc`, and whether every user may read it."""
    if shutil.which("rustc") is None:
        raise SymphonyError("rustc: found no Rust compiler, allowed: one on the PATH (https://rustup.rs)")
    done = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True, check=False)
    root = Path(done.stdout.strip())
    if done.returncode != 0 or not (root / "bin" / "rustc").exists():
        reason = (done.stderr.strip() or str(root)).splitlines()[0][:200]
        raise SymphonyError(f"rustc: found {reason}, allowed: a compiler that names its sysroot")
    readable = all(path.stat().st_mode & 0o5 == 0o5 for path in (root / "bin" / "rustc", *root.parents))
    return str(root), readable


def _diagnosis(ended: Ended) -> str:
    """Returns the compiler's errors, shortened."""
    if ended.outcome == "timeout":
        return SLOW
    return "\n".join(re.findall(r"(?m)^error.*(?:\n --> .*)?", ended.output)[:5]) or ended.output[:500]
