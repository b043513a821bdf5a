"""`symphony figure`: one figure of a loaded database."""

from __future__ import annotations

import argparse

from symphony.commands.common import as_path, database_options
from symphony.report import figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=", ".join(figures.FIGURES))
    database_options(parser)
    parser.add_argument("--out", type=as_path, required=True, metavar="FOLDER")


def carry_out(args: argparse.Namespace) -> None:
    figures.figure(args.database, args.name, args.out, args.plan)
