"""`symphony load`: the database of finished runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from symphony import studies
from symphony.commands.common import as_name, as_path, tell
from symphony.commands.study import place_of, runs_of, whole_study_options
from symphony.records import database
from symphony.run.runner import run_folders


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "a study, and overrides; with --database: run folders, or a group's done.json for all of its runs"
    parser.add_argument("places", nargs="+", type=as_name, metavar="study", help=text)
    parser.add_argument("--database", type=as_path, metavar="FILE", help="default: outputs/<study>/records.duckdb")
    whole_study_options(parser)


def carry_out(args: argparse.Namespace) -> None:
    if args.database is not None:
        folders = [folder for path in args.places for folder in run_folders(Path(path))]
        database.load(args.database, folders)
        return
    args.study, *args.overrides = args.places
    tell(f"database: {studies.load_study(args.study, runs_of(args), place_of(args), tell)}")
