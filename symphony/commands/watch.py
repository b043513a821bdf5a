"""`symphony watch`: all live runs on one page."""

from __future__ import annotations

import argparse

from symphony.commands.common import checked_folder, outputs_option
from symphony.status import watch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="print one page and end")
    text = f"seconds between two pages; default: {watch.EVERY_S:g}"
    parser.add_argument("--every", type=float, default=watch.EVERY_S, metavar="S", help=text)
    outputs_option(parser)


def carry_out(args: argparse.Namespace) -> None:
    watch.run(checked_folder("--outputs", args.outputs), once=args.once, every_s=args.every)
