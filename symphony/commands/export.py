"""`symphony export`: a study's records in the format of another tool."""

from __future__ import annotations

import argparse

from symphony.commands.bundle import finished_study, prepared_of
from symphony.commands.common import as_path, tell
from symphony.sharing import exports


def add_arguments(parser: argparse.ArgumentParser) -> None:
    finished_study(parser)
    parser.add_argument("--format", choices=exports.FORMATS, required=True)
    text = "a new folder, or an earlier export"
    parser.add_argument("--out", type=as_path, required=True, metavar="FOLDER", help=text)


def carry_out(args: argparse.Namespace) -> None:
    prepared, place = prepared_of(args)
    folders = [place.run(run) for run in prepared.runs]
    exports.export(args.format, prepared.database, folders, args.out, tell)
