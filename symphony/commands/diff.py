"""`symphony diff`: where two runs first differ."""

from __future__ import annotations

import argparse

from symphony.commands.common import as_name, as_path, outputs_option
from symphony.report.viewer import difference


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "RUN or RUN/PROBLEM; RUN is the folder of a finished run, or the first digits of its digest"
    parser.add_argument("one", type=as_name, metavar="RUN_A", help=text)
    parser.add_argument("other", type=as_name, metavar="RUN_B", help=text)
    parser.add_argument("--out", type=as_path, metavar="PAGE.html", help="also write both searches side by side")
    outputs_option(parser)


def carry_out(args: argparse.Namespace) -> int:
    return int(not difference.diff(args.one, args.other, args.outputs, args.out, print))
