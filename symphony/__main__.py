"""The command line: parses the arguments; the modules named here do the work."""

from __future__ import annotations

from symphony import stop

# isort: split
import argparse
import math
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from symphony import byhand, studies
from symphony.arguments import as_count, as_gigabytes, as_name, as_path, checked_folder, outputs_option
from symphony.forecast import doctor, estimate, forecast
from symphony.forecast.findings import summarise
from symphony.models import placement
from symphony.plan import compose, needs, options, specs
from symphony.records import database
from symphony.report import figures, page, several, tables
from symphony.report.viewer import difference
from symphony.run import leases, progress, recordings, runner, serving
from symphony.sharing import commands as sharing
from symphony.status import commands as status
from symphony.types import SymphonyError, Task
from symphony.weights import fetch, quantise

# isort: split


def main(given: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0 if it did what was asked (`diff`, `reproduce`: and all is equal)."""
    warnings.filterwarnings("ignore", category=SyntaxWarning)  # Python's remarks on programs that models wrote
    try:
        args = _parsed(given)
    except KeyboardInterrupt:
        return stop.end()
    try:
        return args.do(args) or 0
    except KeyboardInterrupt:
        return stop.end()
    except BrokenPipeError:  # the reader of our output has stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return stop.end() if stop.received() else 141
    except (SymphonyError, OSError) as error:
        if stop.received():
            return stop.end()
        print(f"symphony {args.command}: {_line(error)}", file=sys.stderr)
        return 2 if args.command in ("diff", "reproduce") else 1  # as diff(1): 1 says that something differs
    except MemoryError:
        print(f"symphony {args.command}: found no memory left, {_MEMORY}", file=sys.stderr)
        return 1


def _parsed(given: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    args, rest = parser.parse_known_args(given)
    # argparse rejects words of a list that follow an option.
    words = next((getattr(args, name) for name in ("settings", "overrides", "places") if name in args), None)
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if words is not None:
        words += rest
    return args


_MEMORY = "allowed: a smaller execution.in_flight or execution.memory_gb; the same command goes on from here"


def _line(error: Exception) -> str:
    """Returns an error as one line; for errors of the system the file comes first, where it is known."""
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{place}found {error.strerror}, allowed: a file that can be read or written"
    return str(error)


_OWN = {"grade": ", and the file of predictions", "play": ", and problem=<id>"}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="symphony",
        description="Tree search over a pool of different language models, from configs to a report.",
        epilog="`snakemake --cores all` runs these in the right order; see README.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, do: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(do=do)
        return sub

    sub = command("plan", _plan, "list a study's runs, and estimate what they need before anything is spent")
    _study(sub)
    outputs_option(sub)
    sub.add_argument("--runs", action="store_true", help="list each run with its digest, not each experiment")
    text = f"run {forecast.PILOT} problems of each experiment and task, and estimate from them"
    sub.add_argument("--pilot", action="store_true", help=text)
    text = "memory of each device (10^9 bytes), e.g. 24 or 24,24; says whether the pools fit"
    sub.add_argument("--memory", type=as_gigabytes, metavar="GB", help=text)
    text = f"weights loaded per second when models are swapped; default: {placement.LOAD_RATE / 1e9:g}"
    sub.add_argument("--load-rate", type=float, default=placement.LOAD_RATE / 1e9, metavar="GB", help=text)
    text = f"tokens of the longest sequence; default: {placement.SEQUENCE_TOKENS}"
    sub.add_argument("--tokens", type=int, default=placement.SEQUENCE_TOKENS, metavar="N", help=text)
    sub = command("run", _run, "run a study, or one frozen group of its runs")
    _study(sub, optional=True)
    sub.add_argument("--group", type=as_path, metavar="FOLDER", help="outputs/groups/<name>, frozen by snakemake")
    text = f"GPUs to hold of those that {leases.VARIABLE} names; without it the run uses what it sees"
    sub.add_argument("--gpus", type=as_count, default=0, metavar="N", help=text)
    outputs_option(sub)
    sub = command("pack", _pack, "write the recorded answers of a study into a folder that can be shipped")
    _study(sub)
    outputs_option(sub)
    sub.add_argument("--out", type=as_path, required=True, metavar="FOLDER", help="e.g. recordings/laptop")
    sub = command("load", _load, "check finished runs and build their database")
    text = "a study, and overrides; with --database: run folders, or a group's done.json for all of its runs"
    sub.add_argument("places", nargs="+", type=as_name, metavar="study", help=text)
    sub.add_argument("--database", type=as_path, metavar="FILE", help="default: outputs/<study>/records.duckdb")
    _study_places(sub)
    for name, do, names in (("table", _table, tables.TABLES), ("figure", _figure, figures.FIGURES)):
        sub = command(name, do, f"write one {name} of a loaded database")
        sub.add_argument("name", help=", ".join(names))
        _report_inputs(sub)
        sub.add_argument("--out", type=as_path, required=True, metavar="FOLDER")
        if name == "table":
            text = "further databases, e.g. of other machines, whose rows follow"
            sub.add_argument("--and", dest="further", nargs="+", type=as_path, default=[], metavar="FILE", help=text)
    text = "load a study's finished runs and write its tables, figures and page; or those of a loaded database"
    sub = command("report", _report, text)
    sub.add_argument(
        "places", nargs="*", type=as_name, metavar="study", help="a study, and overrides; nothing with --database"
    )
    _report_inputs(sub, required=False)
    sub.add_argument("--out", type=as_path, metavar="FOLDER", help="with --database: where they are written")
    _study_places(sub)
    sub = command("diff", _diff, "tell where two runs first differ; exit code 0 if they are equal, 1 if they differ")
    text = "RUN or RUN/PROBLEM; RUN is the folder of a finished run, or the first digits of its digest"
    sub.add_argument("one", type=as_name, metavar="RUN_A", help=text)
    sub.add_argument("other", type=as_name, metavar="RUN_B", help=text)
    sub.add_argument("--out", type=as_path, metavar="PAGE.html", help="also write both searches side by side")
    outputs_option(sub)
    for name, do, text in (
        ("grade", _grade, 'grade predictions made anywhere, one {"id": ..., "prediction": ...} a line'),
        ("play", _play, "play a task by hand, one action a line"),
    ):
        sub = command(name, do, text)
        sub.add_argument("settings", nargs="+", help="task=<name>, Hydra overrides" + _OWN[name])
        sub.add_argument("--conf", type=as_path, default=Path("conf"), metavar="FOLDER", help="default: conf")
        _data(sub)
        if name == "grade":
            sub.add_argument("--out", type=as_path, metavar="FILE", help="gets one line for each prediction")
        else:
            sub.add_argument("--json", action="store_true", help="print one JSON object a line")
    sub = command("quantise", _quantise, "quantise a model's weights with bitsandbytes")
    sub.add_argument("model", help="an option of conf/model/")
    sub.add_argument("scheme", help=", ".join(quantise.SCHEMES))
    sub.add_argument("--device", default="cpu", metavar="NAME", help="auto, cpu, cuda or cuda:<number>; default: cpu")
    sub.add_argument("--conf", type=as_path, default=Path("conf"), metavar="FOLDER", help="default: conf")
    _data(sub)
    sub.add_argument("--out", type=as_path, required=True, metavar="FOLDER")
    sub = command("train-pool", _train_pool, "train an embedded model from scratch (see symphony.embedded)")
    sub.add_argument("arguments", nargs=argparse.REMAINDER, help="see `symphony train-pool -- --help`")
    sub = command("fetch", _fetch, "download what an option pins in its `source` block")
    sub.add_argument("option", help="task/<name> or model/<name>")
    sub.add_argument("--conf", type=as_path, default=Path("conf"), metavar="FOLDER", help="default: conf")
    _data(sub)
    sub = command("doctor", _doctor, "check whether this machine has what a study needs, and say what to do if not")
    text = "a pool whose endpoints get a few tiny requests"
    sub.add_argument("--pool", action="append", default=[], metavar="NAME", help=text)
    sub.add_argument("--study", action="append", default=[], metavar="NAME", help="a folder under conf/experiment/")
    sub.add_argument("--all", action="store_true", help="list every model, key and data set")
    sub.add_argument("--conf", type=as_path, default=Path("conf"), metavar="FOLDER", help="default: conf")
    _data(sub)
    outputs_option(sub)
    status.add(command)
    sharing.add(command, _study_places, _runs)
    return parser


def _report_inputs(sub: argparse.ArgumentParser, *, required: bool = True) -> None:
    sub.add_argument("--database", type=as_path, required=required, metavar="FILE", help="made by `symphony load`")
    sub.add_argument("--plan", type=as_path, metavar="FILE", help="JSON with titles and order of the experiments")
    sub.add_argument("--quantised", type=as_path, nargs="*", default=[], metavar="FILE", help="their manifest.json")


def _study(sub: argparse.ArgumentParser, *, optional: bool = False) -> None:
    sub.add_argument("study", nargs="?" if optional else None, help="a folder under conf/experiment/")
    sub.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. problems=4 search.n=2")
    sub.add_argument("--conf", type=as_path, default=Path("conf"), metavar="FOLDER", help="default: conf")
    _data(sub)
    for name in ("experiment", "task", "pool"):
        sub.add_argument(f"--{name}", metavar="NAME", help=f"only this {name}")
    sub.add_argument("--seed", type=int, metavar="N", help="only this seed")


def _study_places(sub: argparse.ArgumentParser) -> None:
    """Where a study named in `places` is read from and written to; every run of it counts."""
    sub.add_argument("--conf", type=as_path, default=Path("conf"), metavar="FOLDER", help="default: conf")
    _data(sub)
    outputs_option(sub)
    sub.set_defaults(experiment=None, task=None, pool=None, seed=None)


def _data(sub: argparse.ArgumentParser) -> None:
    text = f"data sets and downloads; default: ${fetch.DATA_VARIABLE}, else data"
    sub.add_argument("--data", type=as_path, metavar="FOLDER", help=text)


def _place(args: argparse.Namespace) -> runner.Place:
    return runner.Place(outputs=checked_folder("--outputs", args.outputs), data=_data_folder(args))


def _data_folder(args: argparse.Namespace) -> Path:
    return checked_folder("--data", fetch.data_folder(args.data))


def _runs(args: argparse.Namespace, say: Callable[[str], None] | None = None) -> list[specs.Run]:
    say = say or _tell
    data = _data_folder(args)
    runs = compose.plan(args.study, args.overrides, experiment=args.experiment, conf=args.conf, data=data)
    if args.experiment is None:
        for text in options.replaced(args.study, args.overrides, conf=args.conf):
            say(text)
    for name in ("task", "pool", "seed"):
        wanted = getattr(args, name)
        if wanted is not None:
            allowed = sorted({str(getattr(run, name)) for run in runs})
            runs = [run for run in runs if getattr(run, name) == wanted]
            if not runs:
                raise SymphonyError(f"--{name}: found {wanted!r}, allowed: {', '.join(allowed)}")
    return needs.available(runs, say)


def _plan(args: argparse.Namespace) -> None:
    memory = [("--memory", size) for size in args.memory or ()]
    for key, value in (*memory, ("--tokens", args.tokens), ("--load-rate", args.load_rate)):
        if not 0 < value < math.inf:
            raise SymphonyError(f"{key}: found {value}, allowed: > 0, and finite")
    place = _place(args)
    runs = _runs(args)
    for line in studies.listed(runs) if args.runs else studies.counted(runs, place):
        print(line)
    if not runs:  # the reason was already reported
        return
    estimate.weights(runs, place.data, _tell)
    loading = {}
    if args.memory is not None:  # first, so that no pilot runs if the study is refused
        sizes = [size * 1e9 for size in args.memory]
        loading = estimate.memory(runs, place.data, sizes, args.tokens, _tell, args.load_rate * 1e9)
    if args.pilot:
        with progress.watch() as bar:
            forecast.carry_out_pilot(runs, place, bar, _tell)
    estimate.tell(runs, place, _tell, loading)


def _run(args: argparse.Namespace) -> None:
    if (args.group is None) == (args.study is None):
        raise SymphonyError("found neither a study nor --group, or both, allowed: one of them")
    place = _place(args)
    groups = [specs.thaw(args.group / "plan.json")] if args.group else specs.groups(_runs(args))
    silent: list[str] = []
    with (
        leases.leased(args.gpus, _tell),
        serving.held(run for group in groups for run in group.runs),
        progress.watch() as bar,
    ):
        for group in groups:
            try:
                runner.run_group(group, place, bar)
            except runner.Unanswered as error:  # other pools may answer
                silent += error.runs
    if silent:
        raise runner.Unanswered(silent)


def _pack(args: argparse.Namespace) -> None:
    recordings.pack(_runs(args), _place(args).outputs, args.out)


def _load(args: argparse.Namespace) -> None:
    if args.database is not None:
        folders = [folder for path in args.places for folder in runner.run_folders(Path(path))]
        database.load(args.database, folders)
        return
    args.study, *args.overrides = args.places
    _tell(f"database: {studies.load_study(args.study, _runs(args), _place(args), _tell)}")


def _table(args: argparse.Namespace) -> None:
    several.write_joined([args.database, *args.further], args.name, args.out, args.plan, args.quantised)


def _figure(args: argparse.Namespace) -> None:
    figures.figure(args.database, args.name, args.out, args.plan)


def _report(args: argparse.Namespace) -> None:
    single = {"--database": args.database, "--out": args.out}
    if args.places:
        if named := [key for key, value in single.items() if value is not None]:
            raise SymphonyError(f"found a study and {named[0]}, allowed: one of them")
        args.study, *args.overrides = args.places
        left_out: list[str] = []
        runs = _runs(args, left_out.append)
        where = {"overrides": args.overrides, "left_out": left_out, "conf": args.conf}
        _tell(f"report: {studies.report_study(args.study, runs, _place(args), _tell, **where)}")
        return
    if missing := [key for key, value in single.items() if value is None]:
        raise SymphonyError(f"found no study and no {missing[0]}, allowed: a study, or {' and '.join(single)}")
    page.build(args.database, args.out, args.plan, args.quantised)


def _diff(args: argparse.Namespace) -> int:
    return int(not difference.diff(args.one, args.other, args.outputs, args.out, print))


def _tell(text: str) -> None:
    print(f"symphony: {text}", file=sys.stderr, flush=True)


def _task(args: argparse.Namespace, overrides: list[str]) -> Task:
    if not any(item.startswith("task=") for item in overrides):
        raise SymphonyError("found no task=<name>, allowed: the name of an option of conf/task/")
    task: Task = compose.task(overrides, conf=args.conf, data=_data_folder(args))
    return task


def _grade(args: argparse.Namespace) -> None:
    files = [item for item in args.settings if "=" not in item]
    if len(files) != 1:
        raise SymphonyError(f"found {len(files)} files of predictions, allowed: one")
    task = _task(args, [item for item in args.settings if "=" in item])
    graded = byhand.grade_file(task, Path(files[0]), args.out, _tell)
    if not all(result.counts for result in graded):
        raise SymphonyError("found lines that no metric counts, allowed: one line a problem (--out lists every line)")


def _play(args: argparse.Namespace) -> None:
    ids = [item.partition("=")[2] for item in args.settings if item.startswith("problem=")]
    if len(ids) != 1:
        raise SymphonyError(f"found problem=<id> {len(ids)} times, allowed: once")
    task = _task(args, [item for item in args.settings if not item.startswith("problem=")])
    byhand.play(task, ids[0], sys.stdin, sys.stdout, as_json=args.json)


def _quantise(args: argparse.Namespace) -> None:
    spec = options.model(args.model, conf=args.conf)
    data = _data_folder(args)
    prompts = compose.sample_prompts(args.conf)
    file = spec.file(data)
    engine = partial(spec.build, data) if file else None
    source = file or spec.folder(data)
    quantise.quantise(source, args.out, args.scheme, text=prompts, device=args.device, engine=engine)


def _train_pool(args: argparse.Namespace) -> None:
    # A process of its own: it imports torch at once, which would slow down every other command.
    os.execv(sys.executable, [sys.executable, "-m", "symphony.embedded", *args.arguments])


def _fetch(args: argparse.Namespace) -> None:
    source = fetch.parse_source(args.option, options.source(args.option, conf=args.conf))
    fetch.fetch(args.option, source, _data_folder(args), checksums=args.conf / compose.CHECKSUMS)


def _doctor(args: argparse.Namespace) -> None:
    place = _place(args)
    findings = []
    for finding in doctor.examine(args.conf, place.data, place.outputs, pools=args.pool, studies=args.study):
        findings.append(finding)
        if args.all:
            print(finding.line(), flush=True)
    if not args.all:
        print("\n".join(summarise(findings)), flush=True)
    failed = [finding.name for finding in findings if finding.fails]
    if failed:
        raise SymphonyError(f"found {len(failed)} failed checks of those asked for: {'; '.join(failed)}")


if __name__ == "__main__":
    sys.exit(main())
