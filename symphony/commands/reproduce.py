"""`symphony reproduce`: whether a bundle's results come out again."""

from __future__ import annotations

import argparse

from symphony.commands.common import as_path, tell
from symphony.commands.study import data_of
from symphony.sharing.reproduce import reproduce
from symphony.weights.fetch import DATA_VARIABLE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bundle", type=as_path, metavar="BUNDLE.zip", help="made by `symphony bundle`")
    text = "keep records, tables and a report in this new folder; default: nothing is kept"
    parser.add_argument("--out", type=as_path, metavar="FOLDER", help=text)
    text = "compare the tables alone: repeat no run, so that nothing of the bundle is carried out"
    parser.add_argument("--tables", action="store_true", help=text)
    text = f"data sets, for tasks that read files; default: ${DATA_VARIABLE}, else data"
    parser.add_argument("--data", type=as_path, metavar="FOLDER", help=text)


def carry_out(args: argparse.Namespace) -> int:
    same = reproduce(args.bundle, print, tell, out=args.out, data=data_of(args), tables_alone=args.tables)
    return int(not same)
