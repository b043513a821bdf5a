"""`symphony ls`: the studies and runs that are there."""

from __future__ import annotations

import argparse

from symphony.commands.common import checked_folder, outputs_option
from symphony.status import formats, listing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", nargs="?", help="list the runs of this study")
    parser.add_argument("--runs", action="store_true", help="list the runs of all studies")
    format_option(parser)
    outputs_option(parser)


def carry_out(args: argparse.Namespace) -> None:
    outputs = checked_folder("--outputs", args.outputs)
    found = listing.entries(outputs)
    if args.study is not None:
        found = listing.of_study(found, args.study, outputs)
    if args.study is not None or args.runs:
        print(formats.write(listing.COLUMNS, listing.rows(found), args.format))
    else:
        print(formats.write(listing.STUDY_COLUMNS, listing.study_rows(found, outputs), args.format))


def format_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that names how rows are printed."""
    parser.add_argument("--format", choices=formats.FORMATS, default="table", help="default: table")
