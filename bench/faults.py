"""Injects faults at random moments of a small study, and checks that a restart ends as if nothing had happened.

    python bench/faults.py [--cases 50] [--seed 0] [--only sigkill,twice]

The study is one run of the quickstart (symphony on two problems of mini_qa) by two agents behind a paid endpoint (a
stub, in a process of its own, that logs every request). Each case begins with an empty folder, disturbs the run by one
fault, and then does what a user or snakemake does: run again, and load. A case ends well if the records equal those of
an undisturbed run byte for byte, at once ("equal") or after one line of error whose advice was followed ("message").
Figures:
  cases, equal, message, failed  counts over all faults, and the first two by fault
  calls             requests that reached the endpoint
  asked_again       of these, repeated ones: the fault had taken their answers (those in flight, those of a damaged or
                    deleted store, those that a power cut took from the disk)
  paid_twice        of these, those whose answers were whole in the call store when they were asked again; must be 0
  charged_twice     calls in the ledgers beyond the different requests: charged and killed before they were stored; at
                    most a few, and 0 as a rule (left out as for ledger_wrong)
  ledger_wrong      cases in which the ledger has fewer calls than the store, or more than were asked; must be 0 (left
                    out where the fault is a cut of the ledger or of the store itself)
  stop_s            the longest time from SIGTERM to the end of a run
Full disks and read-only folders are small file systems of their own (this needs the right to mount; the cases are left
out otherwise); clock jumps need libfaketime, too. The 50 cases take about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from symphony import stop
from symphony.__main__ import main as command_line
from symphony.agents.ledger import read_ledger
from symphony.models.store import CallStore
from symphony.plan.compose import plan
from symphony.plan.specs import Group, freeze, groups
from symphony.records.records import MANIFEST
from symphony.run.runner import Place, withdraw
from symphony.types import SymphonyError
from tests.models.test_api_runs import talk
from tests.own_pool import API, conf_with
from tests.scripted_pool import ROOT, records
from tests.stub_server import Asked, Reply, StubServer, said

LATENCY_S = 0.02
LONGEST_S = 180.0
FAKETIME = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
PRICE = {"prompt": 1.0, "completion": 2.0}
SETTINGS = ("tasks=[mini_qa]", "seeds=[0]", "pool=paid", "problems=2", "search.iterations=3")
NAME = re.compile(r"<([0-9a-f]{64})>")
ADVICE = re.compile(r"delete (?P<folder>/\S+) and repeat|^symphony \w+: (?P<file>/\S+): .*\bdelete (?:it|the file)\b")


class Failed(Exception):
    """A case that did not end well, and why."""


# --------------------------------------------------------------------------- processes


@dataclass(slots=True)
class Child:
    """A command in a process of its own."""

    pid: int
    err: Path
    code: int | None = None

    def poll(self) -> bool:
        """Whether it has ended."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code is not None

    def wait(self) -> int:
        until = time.monotonic() + LONGEST_S
        while not self.poll():
            if time.monotonic() > until:
                self.send(signal.SIGKILL)
                raise Failed(f"it did not end: {self.err.read_text()[-300:]}")
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        if not self.poll():
            os.kill(self.pid, number)

    def end(self) -> tuple[int, str]:
        return self.wait(), self.err.read_text()


def start(words: Sequence[str], err: Path) -> Child:
    """Starts a command of the command line; a fork of this process, which has imported everything already."""
    pid = os.fork()
    if pid:
        return Child(pid, err)
    code = 70
    try:
        os.setsid()
        stream = os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        # A test may have put streams of its own in their place.
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
        stop.listen()
        code = command_line(list(words))
    except SystemExit as error:
        code = int(error.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def spawn(command: Sequence[str], err: Path, cwd: Path, **variables: str) -> Child:
    """Starts a program."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}
    with err.open("w") as stream:
        process = subprocess.Popen(
            command, stdout=stream, stderr=stream, cwd=cwd, env=environment, start_new_session=True
        )
    process.returncode = 0  # this module waits for it
    return Child(process.pid, err)


def serve(log: Path, writing: int) -> None:
    """Answers for ever as a paid endpoint, and logs the digest of each request."""

    def script(asked: Asked) -> Reply:
        name = hashlib.sha256(json.dumps(asked.body, sort_keys=True).encode()).hexdigest()
        with log.open("a") as stream:
            stream.write(name + "\n")
        # Its name is in the answer, so that the store tells which requests it has answers for.
        text = re.sub(r"\d+", f"<{name}>", talk(asked), count=1)
        return Reply(content=said(text, prompt=40, completion=10), delay_s=LATENCY_S)

    with StubServer(script) as server:
        os.write(writing, f"{server.port}\n".encode())
        while os.getppid() != 1:
            time.sleep(0.5)
    os._exit(0)


# --------------------------------------------------------------------------- a case


@dataclass(slots=True)
class Study:
    """What all cases share: the group, the endpoint's log, and the undisturbed run."""

    group: Group
    conf: Path
    log: Path
    expected: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 1.0
    calls: int = 0


@dataclass(slots=True)
class Case:
    """One fault in a folder of its own."""

    study: Study
    folder: Path
    rng: random.Random
    messages: list[str] = field(default_factory=list)
    stop_s: float = 0.0
    cut: bool = False
    stored_before: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    number: int = 0

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    @property
    def place(self) -> Place:
        return Place(outputs=self.outputs)

    @property
    def run_folder(self) -> Path:
        return self.place.run(self.study.group.runs[0])

    def command(self, words: Sequence[str]) -> Child:
        self.number += 1
        return start(words, self.folder / f"told{self.number}")

    def run(self) -> Child:
        """Starts the run as snakemake does."""
        with suppress(SymphonyError):  # the disk may be full
            freeze(self.study.group, self.outputs / "groups")
        withdraw(self.study.group, self.place)
        self.note_stored()
        folder = self.place.group(self.study.group)
        return self.command(["run", "--group", str(folder), "--outputs", str(self.outputs)])

    def load(self) -> Child:
        done = self.place.group(self.study.group) / "done.json"
        database = self.outputs / "quickstart" / "records.duckdb"
        return self.command(["load", "--database", str(database), str(done)])

    def finish(self) -> None:
        for command in (self.run, self.load):
            code, told = command().end()
            if code:
                raise Failed(told)

    def pause(self, child: Child) -> None:
        """Waits for a random moment of a run; mostly counted in calls, so that it does not depend on other load."""
        if self.rng.random() < 0.2:
            time.sleep(self.rng.uniform(0.0, self.study.seconds))
            return
        begin = self.stored_before[-1][0] if self.stored_before else 0
        wanted = self.rng.randint(1, self.study.calls)
        while not child.poll() and len(self.asked()) - begin < wanted:
            time.sleep(0.002)
        time.sleep(self.rng.uniform(0.0, 2 * LATENCY_S))

    def kill(self, number: int = signal.SIGKILL) -> Child:
        child = self.run()
        self.pause(child)
        child.send(number)
        child.wait()
        return child

    def asked(self) -> list[str]:
        return self.study.log.read_text().splitlines() if self.study.log.exists() else []

    def stored(self) -> frozenset[str]:
        """Names of the requests whose answers are whole in the store; a copy is read."""
        (copy := self.folder / "copy").mkdir(exist_ok=True)
        for path in (self.outputs / "calls").glob("*.sqlite*"):
            shutil.copy(path, copy / path.name)
        try:
            with CallStore(copy / f"{self.study.group.store}.sqlite", lambda _: None) as store:
                return frozenset(name for row in store.rows().calls for name in NAME.findall(row[1]))
        except SymphonyError:
            return frozenset()
        finally:
            shutil.rmtree(copy)

    def note_stored(self) -> None:
        """Notes what is stored before a process begins, and how much was asked until then."""
        self.stored_before.append((len(self.asked()), self.stored()))

    def paid_twice(self) -> int:
        """Counts the requests that were asked although their answers were stored when the last process began."""
        asked, count = self.asked(), 0
        ends = [begin for begin, _ in self.stored_before[1:]] + [len(asked)]
        for (begin, stored), end in zip(self.stored_before, ends, strict=True):
            count += sum(name in stored for name in asked[begin:end])
        return count

    def restart(self) -> None:
        """Runs and loads until both succeed, following the advice of at most three errors."""
        for _ in range(4):
            code, told = self.run().end()
            if not code:
                code, told = self.load().end()
            if not code:
                break
            self.follow(told)
        else:
            raise Failed(f"the advice leads nowhere: {self.messages}")
        found = records(self.outputs / "runs")
        if found != self.study.expected:
            changed = [
                name for name in {*found, *self.study.expected} if found.get(name) != self.study.expected.get(name)
            ]
            raise Failed(f"other records: {sorted(changed)}")

    def follow(self, told: str) -> None:
        """Does what an error says; it must be one clear line."""
        self.read_error(told)
        advice = ADVICE.search(self.messages[-1])
        if advice is None:
            raise Failed(f"no advice that can be followed: {self.messages[-1]}")
        path = Path(advice["folder"] or advice["file"])
        if not path.is_relative_to(self.folder):
            raise Failed(f"advice to delete {path}")
        self.cut |= path.suffix == ".sqlite"
        if path.is_dir():
            shutil.rmtree(path)
        else:
            for each in path.parent.glob(f"{path.name}*"):
                each.unlink()

    def read_error(self, told: str) -> None:
        lines = [line for line in told.splitlines() if line.startswith("symphony ")]
        if "Traceback" in told or len(lines) != 1:
            raise Failed(f"no clear line: {told[-400:]}")
        self.messages.append(lines[0])

    def files(self) -> list[Path]:
        """Files that a fault may hit."""
        found = sorted(path for path in self.outputs.rglob("*") if path.is_file() and path.suffix != ".lock")
        return [path for path in found if size_of(path)]

    def some_state(self) -> None:
        """A study that is finished, or that was killed at a random moment."""
        if self.rng.random() < 0.5:
            self.finish()
        else:
            self.kill()


# --------------------------------------------------------------------------- faults


def sigkill(case: Case) -> None:
    for _ in range(case.rng.randint(1, 2)):
        case.kill()


def sigterm(case: Case) -> None:
    child = case.run()
    case.pause(child)
    begin = time.monotonic()
    child.send(case.rng.choice((signal.SIGTERM, signal.SIGINT)))
    code = child.wait()
    case.stop_s = time.monotonic() - begin
    told = child.err.read_text()
    if code not in (0, 130, 143) or "Traceback" in told or (code and stop.MESSAGE not in told):
        raise Failed(f"code {code}: {told[-300:]}")


def torn_line(case: Case) -> None:
    case.some_state()
    path = case.rng.choice([path for path in case.files() if path.suffix == ".jsonl"] or case.files())
    content = path.read_bytes()
    last = len(content) - (content.rstrip(b"\n").rfind(b"\n") + 1)
    path.write_bytes(content[: len(content) - case.rng.randint(1, max(1, last - 1))])
    case.cut = path.name == "spent.jsonl"


def truncated(case: Case) -> None:
    case.some_state()
    path = case.rng.choice(case.files())
    os.truncate(path, case.rng.randrange(path.stat().st_size))
    case.cut = path.name == "spent.jsonl" or ".sqlite" in path.name


def power_cut(case: Case) -> None:
    """SIGKILL, and every file that nobody forced to disk is as it was at an earlier moment."""
    case.cut = True
    child = case.run()
    case.pause(child)
    earlier = {path: size_of(path) for path in case.files() if is_not_forced(path)}
    case.pause(child)
    child.send(signal.SIGKILL)
    child.wait()
    for path in filter(is_not_forced, case.files()):
        if path in earlier:
            os.truncate(path, min(earlier[path], path.stat().st_size))
        else:
            path.unlink()


def size_of(path: Path) -> int:
    """Returns a file's size; 0 if it is gone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def is_not_forced(path: Path) -> bool:
    return path.name.endswith("-wal") or path.name == "spent.jsonl" or path.parent.name.endswith(".tmp")


@contextmanager
def own_disk(case: Case, size: int) -> Iterator[Callable[[str], None]]:
    """Puts the outputs on a file system of their own; yields what changes its mount options."""
    case.outputs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(case.outputs)], check=True)

    def again(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(case.outputs)], check=True)

    try:
        yield again
    finally:
        subprocess.run(["umount", "-l", str(case.outputs)], check=True)


def full_disk(case: Case) -> None:
    # Up to 300 kB fill up during the run, more while the database is written, which takes 3 MB.
    kilobytes = case.rng.randrange(16, 300) if case.rng.random() < 0.5 else case.rng.randrange(300, 4000)
    with own_disk(case, kilobytes << 10) as remount:
        child = case.run()
        code, told = child.end()
        if not code:
            code, told = case.load().end()
        if code:
            case.read_error(told)
        remount("size=64m")
        case.restart()


def read_only(case: Case) -> None:
    with own_disk(case, 64 << 20) as remount:
        case.some_state()
        remount("ro")
        code, told = case.command(
            ["run", "--group", str(case.place.group(case.study.group)), "--outputs", str(case.outputs)]
        ).end()
        if code:
            case.read_error(told)
        remount("rw")
        case.restart()


def clock_jump(case: Case) -> None:
    """The clock jumps by days, in both directions, while the run works."""
    offset = case.folder / "offset"
    offset.write_text("+0s")
    freeze(case.study.group, case.outputs / "groups")
    folder = case.place.group(case.study.group)
    words = [sys.executable, "-m", "symphony", "run", "--group", str(folder), "--outputs", str(case.outputs)]
    case.note_stored()
    fake = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1"}
    child = spawn(words, case.folder / "jumping", ROOT, **fake, DONT_FAKE_MONOTONIC="1")
    while not child.poll():
        time.sleep(case.rng.uniform(0.0, 0.5))
        offset.write_text(f"{case.rng.randrange(-100_000, 100_000):+d}s")
    if child.wait():
        raise Failed(child.err.read_text()[-300:])


def corrupt_store(case: Case) -> None:
    case.kill()
    case.cut = True
    for path in (case.outputs / "calls").glob("*.sqlite*"):
        content = bytearray(path.read_bytes())
        for _ in range(case.rng.randint(1, 20) if content else 0):
            content[case.rng.randrange(len(content))] ^= 1 << case.rng.randrange(8)
        path.write_bytes(content)


def twice(case: Case) -> None:
    first = case.run()
    time.sleep(case.rng.uniform(0.0, case.study.seconds))
    second = case.run()
    if case.rng.random() < 0.5:
        case.pause(first)
        first.send(signal.SIGKILL)
    else:
        first.wait()
    if second.wait():
        raise Failed(second.err.read_text()[-300:])


def old_format(case: Case) -> None:
    if case.rng.random() < 0.5:
        case.kill()
        for path in (case.outputs / "calls").glob("*.sqlite"):
            make_store_old(path)
        return
    case.finish()
    name = case.rng.choice(("runs.jsonl", "problems.jsonl", "calls.jsonl"))
    content = (case.run_folder / name).read_bytes().replace(b'"task":', b'"game":').replace(b'"calls":', b'"asked":')
    content = content.replace(b'"finish_reason":', b'"end":')
    (case.run_folder / name).write_bytes(content)
    manifest = json.loads((case.run_folder / MANIFEST).read_text())
    manifest[name]["sha256"] = hashlib.sha256(content).hexdigest()
    (case.run_folder / MANIFEST).write_text(json.dumps(manifest))


def make_store_old(path: Path) -> None:
    """Makes it a store from before checksums."""
    with sqlite3.connect(path) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'calls'").fetchone():
            connection.execute("ALTER TABLE calls DROP COLUMN checksum")
            connection.execute("DROP TABLE IF EXISTS sizes")
            connection.execute("PRAGMA user_version = 0")
    connection.close()


def held_database(case: Case) -> None:
    """Another program has the database open for writing."""
    case.finish()
    hold = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('open', flush=True); time.sleep(600)"
    database = case.outputs / "quickstart" / "records.duckdb"
    holder = spawn([sys.executable, "-c", hold, str(database)], case.folder / "holder", case.folder)
    while not holder.poll() and "open" not in holder.err.read_text():
        time.sleep(0.02)
    try:
        code, told = case.load().end()
        if code:
            case.read_error(told)
    finally:
        holder.send(signal.SIGKILL)
        holder.wait()


def snakemake(case: Case, number: int) -> None:
    """A signal to snakemake alone; then snakemake again, while its orphans may still be at work."""
    project = case.folder
    for name in ("Snakefile", "environment.yml"):
        shutil.copy(ROOT / name, project)
    for name in ("workflow", "profiles"):
        shutil.copytree(ROOT / name, project / name)
    shutil.copytree(case.study.conf, project / "conf")
    (project / "symphony").symlink_to(ROOT / "symphony")
    for path in (project / "conf" / "experiment" / "quickstart").rglob("*.yaml"):
        if path.stem != "symphony":
            path.unlink()
    words = [sys.executable, "-m", "snakemake", "--cores", "1", "outputs/quickstart/records.duckdb", "--config"]
    words.append("overrides=" + " ".join(SETTINGS))
    cache = {"XDG_CACHE_HOME": str(project / ".cache")}
    child = spawn(words, project / "first", project, **cache)
    while not child.poll() and not (case.outputs / "calls").exists():
        time.sleep(0.01)
    case.pause(child)
    child.send(number)
    child.wait()
    case.note_stored()
    again = spawn(words, project / "second", project, **cache)
    if again.wait():
        raise Failed(again.err.read_text()[-600:])


def snakemake_sigkill(case: Case) -> None:
    snakemake(case, signal.SIGKILL)


def snakemake_sigterm(case: Case) -> None:
    snakemake(case, signal.SIGTERM)


FAULTS: tuple[Callable[[Case], None], ...] = (
    sigkill, sigterm, torn_line, truncated, power_cut, full_disk, read_only, clock_jump, corrupt_store, twice,
    old_format, held_database, snakemake_sigkill, snakemake_sigterm,
)  # fmt: skip


# --------------------------------------------------------------------------- the bench


def possible() -> list[Callable[[Case], None]]:
    """Returns the faults that can be injected on this machine; says which cannot."""
    left_out = [] if FAKETIME else [clock_jump]
    with tempfile.TemporaryDirectory() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], capture_output=True, check=False)
        if mounted.returncode:
            left_out += [full_disk, read_only]
        else:
            subprocess.run(["umount", folder], check=True)
    for fault in left_out:
        print(f"left out on this machine: {fault.__name__}", flush=True)
    return [fault for fault in FAULTS if fault not in left_out]


@contextmanager
def study(folder: Path) -> Iterator[Study]:
    """Serves the endpoint, and carries out the undisturbed run."""
    log = folder / "asked.log"
    reading, writing = os.pipe()
    server = os.fork()
    if not server:
        serve(log, writing)
    port = int(os.read(reading, 16))
    agent = {"_target_": API, "base_url": f"http://127.0.0.1:{port}/v1", "price": PRICE}
    conf = conf_with(folder / "conf", "paid", {name: {"model": name, **agent} for name in ("one", "two")})
    (group,) = groups(plan("quickstart", SETTINGS, experiment="symphony", conf=conf))
    shared = Study(group, conf, log)
    try:
        undisturbed = Case(shared, folder / "undisturbed", random.Random(0))
        undisturbed.folder.mkdir()
        begin = time.monotonic()
        undisturbed.run().wait()
        shared.seconds = time.monotonic() - begin
        shared.expected = records(undisturbed.outputs / "runs")
        asked = undisturbed.asked()
        shared.calls = len(asked)
        if not shared.expected or len(asked) != len(set(asked)):
            raise SymphonyError(f"undisturbed: found no records, or a call asked twice: {undisturbed.folder}")
        yield shared
    finally:
        os.kill(server, signal.SIGTERM)
        os.waitpid(server, 0)


@dataclass(slots=True)
class Outcome:
    fault: str
    message: bool = False
    failed: str = ""
    calls: int = 0
    asked_again: int = 0
    paid_twice: int = 0
    charged_twice: int = 0
    ledger_wrong: bool = False
    stop_s: float = 0.0


def carry_out(shared: Study, fault: Callable[[Case], None], folder: Path, rng: random.Random) -> Outcome:
    """Injects one fault into an empty folder and restarts; the folder stays only if the case did not end well."""
    folder.mkdir()
    shared.log.write_text("")
    case = Case(shared, folder, rng)
    outcome = Outcome(fault.__name__)
    try:
        fault(case)
        on_own_disk = fault in (full_disk, read_only)  # those restart before the disk is taken away
        if not on_own_disk:
            case.restart()
        asked = case.asked()
        outcome.calls, outcome.asked_again = len(asked), len(asked) - len(set(asked))
        outcome.paid_twice = case.paid_twice()
        if not case.cut and not on_own_disk:
            ledger = sum(line.calls for line in read_ledger(case.place.ledger("quickstart")))
            outcome.charged_twice = max(0, ledger - len(set(asked)))
            outcome.ledger_wrong = not len(case.stored()) <= ledger <= len(asked)
    except (Failed, SymphonyError, OSError) as error:
        outcome.failed = " ".join(str(error).split())
    outcome.message, outcome.stop_s = bool(case.messages), case.stop_s
    print(f"{folder.name} {fault.__name__}: {outcome.failed or ' | '.join(case.messages) or 'equal'}", flush=True)
    if not outcome.failed:
        shutil.rmtree(folder)
    return outcome


def measure(cases: int, seed: int, only: Sequence[str], folder: Path) -> dict[str, object]:
    faults = [fault for fault in possible() if not only or fault.__name__ in only]
    rng = random.Random(seed)
    order = [fault for _ in range(-(-cases // len(faults))) for fault in rng.sample(faults, len(faults))][:cases]
    with study(folder) as shared:
        print(f"undisturbed: {shared.seconds:.2f} s", flush=True)
        outcomes = [
            carry_out(shared, fault, folder / f"case{number}", random.Random(f"{seed} {number}"))
            for number, fault in enumerate(order)
        ]
    well = [outcome for outcome in outcomes if not outcome.failed]
    by_fault = collections.Counter(f"{outcome.fault}: {'message' if outcome.message else 'equal'}" for outcome in well)
    return {
        "cases": len(outcomes),
        "equal": sum(not outcome.message for outcome in well),
        "message": sum(outcome.message for outcome in well),
        "failed": len(outcomes) - len(well),
        "calls": sum(outcome.calls for outcome in well),
        "asked_again": sum(outcome.asked_again for outcome in well),
        "paid_twice": sum(outcome.paid_twice for outcome in well),
        "charged_twice": sum(outcome.charged_twice for outcome in well),
        "ledger_wrong": sum(outcome.ledger_wrong for outcome in well),
        "stop_s": round(max((outcome.stop_s for outcome in outcomes), default=0.0), 2),
        "by_fault": dict(sorted(by_fault.items())),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="names of faults")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    figures = measure(args.cases, args.seed, args.only, folder)
    if not figures["failed"]:
        shutil.rmtree(folder)
    print(json.dumps({"bench": "faults", "figures": figures}))
    return 1 if figures["failed"] or figures["paid_twice"] or figures["ledger_wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
