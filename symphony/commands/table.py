"""`symphony table`: one table of a loaded database."""

from __future__ import annotations

import argparse

from symphony.commands.common import as_path, database_options
from symphony.report import several
from symphony.report.tables import TABLES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help=", ".join(TABLES))
    database_options(parser)
    parser.add_argument("--out", type=as_path, required=True, metavar="FOLDER")
    text = "further databases, e.g. of other machines, whose rows follow"
    parser.add_argument("--and", dest="further", nargs="+", type=as_path, default=[], metavar="FILE", help=text)


def carry_out(args: argparse.Namespace) -> None:
    several.write_joined([args.database, *args.further], args.name, args.out, args.plan, args.quantised)
