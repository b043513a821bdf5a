"""Feeds hostile and broken input to everything that reads any, and counts what comes of it.

    python bench/fuzz.py [--seed 0] [--completions 10000] [--programs 200] [--configs 400] [--rows 60] [--flips 40]
                         [--only parsers,tasks,programs,settings,configs,rows,files,flips]

Parts, and what a case is:
  parsers   a completion through the parser of a task, or of the evaluations; --completions each
  tasks     a completion parsed, played and graded by a task of conf/task/; --completions each
  programs  the same for tasks that run programs in the sandbox; --programs each, a tenth of it in Rust
  settings  a wrong value at a field of a config, derived from the field's annotation; all there are
  configs   a file of conf/ with bytes changed, cut, doubled or put in; --configs in all
  rows      a row of a benchmark's file with one thing wrong, from the tests of each benchmark; all there are
  files     a benchmark's file with bytes changed, cut, doubled or put in; --rows each
  flips     a file that a run leaves with one bit flipped, read by all that reads it; --flips each
Completions are pieces of answers joined by a grammar, answers with something wrong in them, any Unicode, and any bytes.
Columns:
  refused     one clear line: what was found, what is allowed; or, for a completion, "no action in it"
  equal       accepted, and what was read means the same as before (flips, configs), or keeps every rule that is checked
              (completions: parsing is deterministic and stable, a step changes no state, a grade is in range)
  other       accepted as other data: a changed text is another text (files), a changed config another run (configs);
              `live.json` as another state of a live run, which is written anew every 2 s and read for display only
  traceback   anything but a SymphonyError, or an error that is not one clear line; must be 0
  wrong       accepted, with another meaning or against a rule; must be 0
Tasks whose data are not at hand (SYMPHONY_DATA) are left out, and named.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1]))

from symphony.agents.ledger import read_ledger
from symphony.models.calls import CallStore
from symphony.plan import compose
from symphony.plan.specs import freeze, groups, thaw
from symphony.records import database
from symphony.records.records import TABLES, RunRecord, read_records
from symphony.run import live, recordings
from symphony.run.runner import Place, run_folders, run_group
from symphony.status import listing
from symphony.status.watch import Watcher
from symphony.tasks.planning.crosswords import Crosswords
from symphony.tasks.planning.game24 import Game24
from symphony.tasks.programs.task import Programs
from symphony.types import SymphonyError, Task, plays_slowly
from tests import test_fuzz as pieces
from tests.plan import test_mutations as mutations
from tests.scripted_pool import CONF, Silent, backend
from tests.shared_data import DATA
from tests.tasks import test_mutated_data as data_files
from tests.tasks import test_program_rows as program_rows

KINDS = ("refused", "equal", "other", "traceback", "wrong")
CLEAR = 2000
"""Longest error that counts as one clear line."""


@dataclasses.dataclass
class Counts:
    """What came of the cases, by part and what was read; and the worst of them, in words."""

    of: dict[tuple[str, str], collections.Counter[str]] = dataclasses.field(default_factory=dict)
    worst: list[str] = dataclasses.field(default_factory=list)

    def add(self, part: str, name: str, kind: str, case: object = "", why: object = "") -> None:
        assert kind in KINDS
        self.of.setdefault((part, name), collections.Counter())[kind] += 1
        if kind in ("traceback", "wrong"):
            self.worst.append(f"{part}, {name}: {kind}: {why!s:.300} at {case!r:.200}")

    def total(self, *kinds: str) -> int:
        return sum(counter[kind] for counter in self.of.values() for kind in kinds or KINDS)

    def table(self) -> str:
        rows = [["part", "what", "cases", *KINDS]]
        for (part, name), counter in self.of.items():
            rows.append([part, name, f"{counter.total():,}", *(f"{counter[kind]:,}" for kind in KINDS)])
        sums = [f"{self.total(kind):,}" for kind in KINDS]
        rows.append(["all", "", f"{self.total():,}", *sums])
        return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def outcome(read: Callable[[], Any]) -> tuple[str, Any]:
    """ "refused", "traceback" or "accepted"; and the error, or what was read."""
    try:
        return "accepted", read()
    except SymphonyError as error:
        text = str(error)
        clear = "\n" not in text and len(text) <= CLEAR and re.search(r"found |allowed|cannot be read|not in the", text)
        return ("refused" if clear else "traceback"), text
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"


# --------------------------------------------------------------------------- completions

VOCABULARY = [*pieces.COMMON, *pieces.VERBS, *pieces.CODE, *pieces.JUDGED]
VERBS = (
    "search", "lookup", "finish", "think", "click", "buy", "go", "move", "take", "line", "submit", "write", "fill",
    "unstack", "pick up", "put down", "stack", "pickup", "putdown", "combine", "answer", "SEARCH", "Finish",
)  # fmt: skip
FRAMES = (
    "Thought: so.\nAction: {}", "**Thought 1:** so\n\n**Action 1:** {}", "Action: {}\nObservation: x", "{}",
    "Action 3: `{}`", "```\n{}\n```", "Thought: {0}\nAction: {0}\nAction: {0}",
)  # fmt: skip
PROGRAMS = (
    "def {}(*given):\n    return given[0]\n", "def {}(*given):\n    while True: pass\n",
    "def {}(*given): return 1 / 0\n", "import os\nos._exit(0)\n", "def {}(x):\n    return x\n\nassert {}(1) == 1\n",
    "class A: pass\n", "x = [0] * 10**12\n",
    "fn {}(x: isize) -> isize {{ x }}\n", "fn {}(x: isize) -> isize {{ loop {{}} }}\n", "fn main() {{ panic!(); }}\n",
)  # fmt: skip


def unicode_text(rng: random.Random) -> str:
    spans = ((0, 0x7F), (0x80, 0x2FF), (0x2000, 0x20FF), (0xFF00, 0xFFEF), (0x1F300, 0x1F6FF), (0, 0xD7FF))
    return "".join(chr(rng.randint(*rng.choice(spans))) for _ in range(rng.randint(0, 80)))


def composed(rng: random.Random) -> str:
    return "".join(
        rng.choice(VOCABULARY) if rng.random() < 0.8 else unicode_text(rng)[:9] for _ in range(rng.randint(0, 24))
    )


def nearly(rng: random.Random, words: Sequence[str], entries: Sequence[str], verbs: Sequence[str]) -> str:
    """An answer that a task may well understand; `words` of its problem, `entries` names of functions."""
    if entries and rng.random() < 0.7:
        body = rng.choice(PROGRAMS).format(*[rng.choice(entries)] * 2)
        return rng.choice(("```python\n{}```", "Action: ```rust\n{}\n```", "{}")).format(body)
    argument = " ".join(rng.choice(words) for _ in range(rng.randint(0, 4))) if words else ""
    verb = rng.choice(verbs) if verbs and rng.random() < 0.9 else rng.choice(VERBS)
    return rng.choice(FRAMES).format(f"{verb}[{argument}]")


def completion(
    rng: random.Random, words: Sequence[str] = (), entries: Sequence[str] = (), verbs: Sequence[str] = ()
) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return unicode_text(rng)
    if kind == 1:  # as a backend decodes what no tokenizer made
        return rng.randbytes(rng.randint(0, 200)).decode(rng.choice(("utf-8", "latin-1", "utf-16")), "replace")
    if kind == 2:
        return composed(rng)
    text = nearly(rng, words, entries, verbs)
    return text if kind >= 4 else changed(text.encode(), rng).decode(errors="replace")


def changed(content: bytes, rng: random.Random) -> bytes:
    """Bytes with one to three changes: a flipped bit, a cut, a doubled part, something put in, an end lost."""
    for _ in range(rng.randint(1, 3)):
        at = rng.randint(0, len(content))
        to = min(len(content), at + rng.randint(1, 40))
        match rng.randrange(5):
            case 0 if content:
                at = rng.randrange(len(content))
                content = content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]
            case 1:
                content = content[:at] + content[to:]
            case 2:
                content = content[:to] + content[at:to] + content[to:]
            case 3:
                content = content[:at] + rng.choice(VOCABULARY).encode()[:60] + content[at:]
            case _:
                content = (
                    content[:at]
                    if rng.random() < 0.3
                    else content[:at] + rng.randbytes(rng.randint(1, 4)) + content[at:]
                )
    return content


PARSED = {
    "gridworld": ("move", "take"), "mini_qa": ("search", "lookup", "finish"), "mini_shop": ("search", "click"),
    "mini_code": ("line", "submit"), "hotpotqa": ("search", "lookup", "finish", "think"),
    "webshop": ("search", "click", "think"), "crosswords": ("fill",),
    "blocksworld": ("unstack", "pickup", "stack", "putdown"),
}  # fmt: skip
LOOSE = ("red", "1", "x = x", "h1", "APPLE", "Bo", "Buy Now", "east", "\u017f", "a]b", "[", "\\")
ENTRIES = ("f",)
NUMBERS = ("0.7", "8/10", "80 %", "1", ".5", *pieces.JUDGED)


def parsers(counts: Counts, rng: random.Random, number: int) -> None:
    for name, parser in pieces.PARSERS.items():
        for _ in range(number):
            text = completion(rng, LOOSE, ENTRIES if "programs" in name else (), PARSED.get(name, ()))
            if name == "evaluation" and rng.random() < 0.4:
                text = f"Value: {rng.choice(NUMBERS)}\nConfidence: {rng.choice(NUMBERS)}{text[:20]}"
            try:
                kinds = {parser.kind(text), parser.kind(text)}
            except AssertionError as error:
                counts.add("parsers", name, "wrong", text, error)
            except Exception as error:
                counts.add("parsers", name, "traceback", text, f"{type(error).__name__}: {error}")
            else:
                missed = kinds <= {"unparsed", "not understood", "no program"}
                counts.add("parsers", name, "wrong" if len(kinds) > 1 else "refused" if missed else "equal", text)


def tasks() -> Iterator[tuple[str, Task | str]]:
    """Every option of conf/task/, made; or why not."""
    for path in sorted((CONF / "task").glob("*.yaml")):
        try:
            task: Task = compose.task([f"task={path.stem}", "problems=3", "seed=5"], conf=CONF, data=DATA)
            task.reset(task.problems()[0])
            yield path.stem, task
        except (SymphonyError, OSError) as error:
            yield path.stem, str(error)


def play(counts: Counts, rng: random.Random, number: int, programs: int) -> None:
    for name, task in tasks():
        if isinstance(task, str):
            print(f"left out: task {name} ({task:.120})")
        elif not isinstance(task, Programs):
            played(counts, "tasks", name, task, rng, number)
        elif programs:
            played(counts, "programs", name, task, rng, programs // 10 if "_rs" in name else programs)


def played(counts: Counts, part: str, name: str, task: Task, rng: random.Random, number: int) -> None:
    problems = list(task.problems())
    words = [word for problem in problems for word in re.findall(r"\w+|\d+ [-+*/] \d+", problem.prompt)][:400]
    entries = [problem.target.entry for problem in problems] if isinstance(task, Programs) else []
    verbs = getattr(task, "verbs", None) or PARSED.get(name, ())
    states = {problem.id: task.reset(problem) for problem in problems}
    for _ in range(number):
        problem, text = rng.choice(problems), completion(rng, words, entries, verbs)
        state = states[problem.id]
        if state.done or rng.random() < 0.1:
            state = task.reset(problem)
        try:
            kind = broken_rule(task, problem, state, text, rng, states)
        except Exception as error:
            counts.add(part, name, "traceback", text, f"{type(error).__name__}: {error}")
        else:
            counts.add(part, name, kind if kind in KINDS else "wrong", text, kind)


def broken_rule(task: Task, problem: Any, state: Any, text: str, rng: random.Random, states: dict[str, Any]) -> str:
    """ "refused", "equal", or the rule that a completion breaks; `states` goes on."""
    proposal = task.parse(text)
    if task.parse(text) != proposal:
        return "parsing is not deterministic"
    if proposal is None:
        return "refused"
    if not isinstance(task, Programs):
        again = task.parse(f"Thought: so.\nAction: {proposal.action}")
        if again is None or again.action != proposal.action:
            return f"an action is not stable: {proposal.action!r} became {again and again.action!r}"
    before = dataclasses.replace(state)
    after = task.step(state, proposal.action)
    if state != before:
        return "a step changed the state before it"
    if not plays_slowly(task) and task.step(state, proposal.action) != after:
        return "a step is not deterministic"
    states[problem.id] = after
    json.dumps([after.observation, task.failure_key(after) if after.done else ""], ensure_ascii=False).encode()
    if after.done or rng.random() < 0.05:
        grade = task.grade(problem, after)
        if not 0 <= grade.score <= 1:
            return f"a grade of {grade.score}"
        told = after.terminated and after.reward is not None and not isinstance(task, Programs)
        if told and ((after.reward or 0.0) >= 1) != grade.success:
            return f"a reward of {after.reward} and a grade of {grade}"
    return "equal"


# --------------------------------------------------------------------------- configs


def settings(counts: Counts) -> None:
    """As tests/plan/test_mutations.py does, counted."""
    for whole, found in mutations.options(mutations.composed_root()):
        for number, (at, kind) in enumerate(found):
            for value in mutations.wrong(kind, number):
                result = mutations.outcome(mutations.changed(whole, at, value), at)
                kind_of = {"clear": "refused", "accepted": "wrong"}.get(result, "traceback")
                counts.add("settings", at[0], kind_of, f"{'.'.join(at)}={value!r:.60}", result)


def configs(counts: Counts, rng: random.Random, number: int, folder: Path) -> None:
    conf = mutations.small_conf(folder)
    words = ("presets", ["tasks=[gridworld]", "seeds=[0]"])

    def planned() -> list[tuple[str, Any]]:
        return [(run.digest, run.config) for run in compose.plan(*words, experiment="default", conf=conf)]

    whole = planned()
    for turn in range(number):
        file = mutations.FILES[turn % len(mutations.FILES)]
        path = conf / file
        text = path.read_bytes()
        path.write_bytes(changed(text, rng))
        kind, found = outcome(planned)
        if kind == "accepted":
            same = [config for _, config in found] == [config for _, config in whole]
            named = [digest for digest, _ in found] == [digest for digest, _ in whole]
            kind = "wrong" if same != named else "equal" if same else "other"
        counts.add("configs", file.partition("/")[0], kind, path.read_bytes(), found)
        path.write_bytes(text)


# --------------------------------------------------------------------------- data files

PLANNING: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "game24": (
        "planning/24.csv",
        "Rank,Puzzles,Amount\n1,1 1 4 6,4\n2,1 1 11 11,9\n3,1 1 3 8,7\n",
        lambda data: Game24(count=None, first=1, data=data).problems(),
    ),
    "crosswords": ("planning/mini_crosswords.json", "", lambda data: Crosswords(count=1, data=data).problems()),
}


def rows(counts: Counts, folder: Path) -> None:
    """As tests/tasks/test_mutated_data.py and test_program_rows.py do, counted."""
    for name, file in data_files.FILES.items():
        for number, (what, content) in enumerate(data_files.mutations(file)):
            place = folder / name / str(number)
            data_files.write(place, file, content)
            found = data_files.outcome(partial(file.read, place), Path(file.name).name)
            kind = {"clear": "refused", "accepted": "wrong"}.get(found, "traceback")
            counts.add("rows", name, kind, what, found)
            shutil.rmtree(place)
    for dataset, row in program_rows.ROWS.items():
        (folder / dataset).mkdir(parents=True)
        for content in program_rows.mutations(row, program_rows.NEEDED[dataset]):
            task = program_rows.write(folder / dataset, dataset, content)
            kind, found = outcome(partial(problems_of, task))
            counts.add("rows", dataset, "other" if kind == "accepted" else kind, content, found)


def files(counts: Counts, rng: random.Random, number: int, folder: Path) -> None:
    """Whole files with changed bytes; what is read then is other data, as it would be if someone had meant it."""
    for name, file in data_files.FILES.items():
        for turn in range(number):
            place = folder / name / str(turn)
            content = changed(file.text(file.rows).encode(), rng)
            data_files.write(place, file, content)
            kind, found = outcome(partial(file.read, place))
            counts.add("files", name, "other" if kind == "accepted" else kind, content, found)
            shutil.rmtree(place)
    for dataset, row in program_rows.ROWS.items():
        (folder / dataset).mkdir(parents=True)
        for _ in range(number):
            content = changed(json.dumps(row).encode(), rng)
            task = program_rows.write(folder / dataset, dataset, content)
            kind, found = outcome(partial(problems_of, task))
            counts.add("files", dataset, "other" if kind == "accepted" else kind, content, found)
    for name, (path, text, read) in PLANNING.items():
        if not text and not (DATA / path).is_file():
            print(f"left out: files of {name} (no {path})")
            continue
        content = text.encode() or (DATA / path).read_bytes()
        for turn in range(number):
            place = folder / name / str(turn)
            (place / path).parent.mkdir(parents=True)
            broken = changed(content, rng)
            (place / path).write_bytes(broken)
            kind, found = outcome(partial(read, place))
            counts.add("files", name, "other" if kind == "accepted" else kind, broken[:200], found)
            shutil.rmtree(place)


def problems_of(task: Programs) -> object:
    """Reads a file whose language may not be installed here."""
    with patch.object(Programs, "unavailable", lambda self: ""):
        return task.problems()


# --------------------------------------------------------------------------- flipped bits


@dataclasses.dataclass(frozen=True)
class Left:
    """A file that a run leaves, and all that reads it, as something comparable."""

    name: str
    path: Path
    read: Callable[[], Any]


def left_by_a_run(folder: Path) -> list[Left]:
    """Carries out a small study by a scripted pool, and lists its files."""
    outputs = folder / "outputs"
    place = Place(outputs=outputs, data=DATA)
    words = ["tasks=[mini_qa]", "seeds=[0]", "problems=3", "search.iterations=3", "budget.study.calls=100000"]
    cache = folder / "plans"
    (group,) = groups(compose.plan("quickstart", words, experiment="symphony", conf=CONF, cache=cache))
    frozen = freeze(group, outputs / "groups")
    run_group(group, place, Silent(), backend)
    run = outputs / "runs" / group.runs[0].digest
    store = outputs / "calls" / f"{group.store}.sqlite"
    recordings.pack(group.runs, outputs, folder / "packed", lambda text: None)
    replaying = dataclasses.replace(
        group.runs[0],
        execution={**group.runs[0].execution, "store": "replay", "recordings": str(folder / "packed")},
    )
    state = outputs / "groups" / group.name / live.LIVE
    with live.Live(state, group, list(group.runs)) as writing:
        writing._write()
        kept = state.read_bytes()
    state.write_bytes(kept)

    def loaded() -> Any:
        file = folder / "read.duckdb"
        file.unlink(missing_ok=True)
        database.load(file, [run])
        with database.reading(file) as connection:
            names = [
                name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
            ]
            return {name: connection.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall() for name in names}

    def run_read() -> Any:
        told = [read_records(run, record) for record in TABLES.values()]
        return [*told, loaded(), [entry for entry in listing.entries(outputs) if entry.state == "unreadable"]]

    def rows_of(path: Path) -> Any:
        dropped: list[str] = []
        with CallStore(path, dropped.append) as opened:
            rows = opened.rows()
        if dropped:  # asked again: told, and never used
            raise SymphonyError(dropped[0])
        return sorted(rows.calls), sorted(rows.sizes)

    with CallStore(store) as opened:
        keys = [row[0] for row in opened.rows().calls]

    def stored() -> Any:
        dropped: list[str] = []
        with CallStore(store, dropped.append) as opened:
            answers = opened.get(keys)
        if dropped:
            raise SymphonyError(dropped[0])
        return [answers.get(key) for key in keys], rows_of(store)

    def recorded() -> Any:
        (folder / "taken.sqlite").unlink(missing_ok=True)
        with CallStore(folder / "taken.sqlite") as opened:
            recordings.read_into(opened, folder / "packed", group.runs[0].task, group.runs[0].pool, needed=True)
        origin = recordings.describe_origin([replaying])
        return rows_of(folder / "taken.sqlite"), recordings.shipped(folder / "packed"), origin

    done = outputs / "groups" / group.name / "done.json"

    def watched() -> Any:
        Watcher(outputs).page(only=True)
        return live.read(state)

    def spent() -> Any:
        return read_ledger(place.ledger(group.runs[0].study))

    def replanned() -> Any:
        return compose.plan("quickstart", words, experiment="symphony", conf=CONF, cache=cache)

    found = [Left(path.name, path, run_read) for path in sorted(run.iterdir())]
    found += [
        Left("plan.json", frozen, lambda: thaw(frozen)),
        Left("done.json", done, lambda: [read_records(one, RunRecord) for one in run_folders(done)]),
        Left("live.json", state, watched),
        Left("spent.jsonl", place.ledger(group.runs[0].study), spent),
        Left("cached plan", next(cache.glob("*.json")), replanned),
        Left("call store", store, stored),
    ]
    found += [Left(f"packed {path.name}", path, recorded) for path in sorted((folder / "packed").iterdir())]
    return found


def flips(counts: Counts, rng: random.Random, number: int, folder: Path) -> None:
    for left in left_by_a_run(folder):
        whole, content = left.read(), left.path.read_bytes()
        for _ in range(number):
            at = rng.choice([place for place in range(len(content)) if content[place]]) if content else 0
            broken = (
                content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :] if content else b"x"
            )
            left.path.write_bytes(broken)
            kind, found = outcome(left.read)
            other = "other" if left.name == live.LIVE else "wrong"
            kind = {"accepted": "equal" if found == whole else other}.get(kind, kind)
            counts.add("flips", left.name, kind, broken[max(0, at - 40) : at + 40], found)
            left.path.write_bytes(content)
            for beside in left.path.parent.glob(f"{left.path.name}-*"):
                beside.unlink()


# --------------------------------------------------------------------------- all of it

PARTS = ("parsers", "tasks", "programs", "settings", "configs", "rows", "files", "flips")


def fuzz(seed: int, sizes: argparse.Namespace, only: Sequence[str] = PARTS) -> Counts:
    counts = Counts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps: dict[str, Callable[[random.Random], None]] = {
            "parsers": lambda rng: parsers(counts, rng, sizes.completions),
            "tasks": lambda rng: play(counts, rng, sizes.completions, 0),
            "programs": lambda rng: play(counts, rng, 0, sizes.programs),
            "settings": lambda rng: settings(counts),
            "configs": lambda rng: configs(counts, rng, sizes.configs, folder),
            "rows": lambda rng: rows(counts, folder / "rows"),
            "files": lambda rng: files(counts, rng, sizes.rows, folder / "files"),
            "flips": lambda rng: flips(counts, rng, sizes.flips, folder / "flips"),
        }
        for part in only:
            began = time.process_time()
            steps[part](random.Random(f"{seed} {part}"))
            print(f"{part}: {time.process_time() - began:.0f} CPU-seconds", file=sys.stderr)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--completions", type=int, default=10_000)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--configs", type=int, default=400)
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--flips", type=int, default=40)
    parser.add_argument("--only", default=",".join(PARTS))
    args = parser.parse_args()
    counts = fuzz(args.seed, args, args.only.split(","))
    print(counts.table())
    for line in counts.worst[:60]:
        print(line)
    sys.exit(bool(counts.total("traceback", "wrong")))


if __name__ == "__main__":
    main()
