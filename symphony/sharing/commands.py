"""The commands of this package: `bundle`, `reproduce` and `export`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from symphony import studies
from symphony.arguments import as_path, checked_folder
from symphony.plan.specs import Run
from symphony.run.runner import Place
from symphony.sharing import bundle, exports
from symphony.sharing.reproduce import reproduce
from symphony.weights.fetch import DATA_VARIABLE, data_folder

Tell = Callable[[str], None]
AddCommand = Callable[[str, Callable[[argparse.Namespace], int | None], str], argparse.ArgumentParser]
AddOptions = Callable[[argparse.ArgumentParser], None]
FindRuns = Callable[[argparse.Namespace, Tell], list[Run]]


def add(command: AddCommand, study_options: AddOptions, find_runs: FindRuns) -> None:
    """Adds the commands to the command line.

    Args:
        study_options: Adds the options that say where a study is.
        find_runs: Returns the runs of the study that the options name.
    """

    def study(name: str, do: Callable[[argparse.Namespace, FindRuns], None], text: str) -> argparse.ArgumentParser:
        sub = command(name, lambda args: do(args, find_runs), text)
        sub.add_argument("study", help="a folder under conf/experiment/")
        sub.add_argument("overrides", nargs="*", help="Hydra overrides, as for `symphony run`")
        study_options(sub)
        return sub

    sub = study("bundle", _bundle, "write a study into one file: plan, records, recorded answers and tables")
    sub.add_argument("--out", type=as_path, required=True, metavar="FILE", help="e.g. quickstart.zip")
    sub.add_argument("--prompts", action="store_true", help="with the prompts, which the pages of the trees show")
    text = "derive a bundle's tables again and repeat its runs without models; exit code 0 if the results are identical"
    sub = command("reproduce", _reproduce, text)
    sub.add_argument("bundle", type=as_path, metavar="BUNDLE.zip", help="made by `symphony bundle`")
    text = "keep records, tables and a report in this new folder; default: nothing is kept"
    sub.add_argument("--out", type=as_path, metavar="FOLDER", help=text)
    text = "compare the tables alone: repeat no run, so that nothing of the bundle is carried out"
    sub.add_argument("--tables", action="store_true", help=text)
    text = f"data sets, for tasks that read files; default: ${DATA_VARIABLE}, else data"
    sub.add_argument("--data", type=as_path, metavar="FOLDER", help=text)
    sub = study("export", _export, "write a study's records in the format of another tool")
    sub.add_argument("--format", choices=exports.FORMATS, required=True)
    sub.add_argument("--out", type=as_path, required=True, metavar="FOLDER", help="a new folder, or an earlier export")


def _prepared(args: argparse.Namespace, find_runs: FindRuns) -> tuple[studies.Prepared, Place]:
    """Loads the study that the options name."""
    left_out: list[str] = []
    runs = find_runs(args, left_out.append)
    place = Place(outputs=checked_folder("--outputs", args.outputs), data=_data(args))
    where = {"overrides": args.overrides, "left_out": left_out, "conf": args.conf}
    return studies.prepare(args.study, runs, place, _tell, **where), place


def _bundle(args: argparse.Namespace, find_runs: FindRuns) -> None:
    prepared, place = _prepared(args, find_runs)
    bundle.make(args.study, prepared, place, args.out, _tell, prompts=args.prompts)


def _reproduce(args: argparse.Namespace) -> int:
    same = reproduce(args.bundle, print, _tell, out=args.out, data=_data(args), tables_alone=args.tables)
    return int(not same)


def _export(args: argparse.Namespace, find_runs: FindRuns) -> None:
    prepared, place = _prepared(args, find_runs)
    folders = [place.run(run) for run in prepared.runs]
    exports.export(args.format, prepared.database, folders, args.out, _tell)


def _data(args: argparse.Namespace) -> Path:
    return checked_folder("--data", data_folder(args.data))


def _tell(text: str) -> None:
    print(f"symphony: {text}", file=sys.stderr, flush=True)
