"""`symphony train-pool`: the embedded models, trained from scratch."""

from __future__ import annotations

import argparse
import os
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="see `symphony train-pool -- --help`")


def carry_out(args: argparse.Namespace) -> None:
    # Another process: `symphony.embedded` listens to signals and parses its arguments itself.
    os.execv(sys.executable, [sys.executable, "-m", "symphony.embedded", *args.arguments])
