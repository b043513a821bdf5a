"""`symphony show`: one run."""

from __future__ import annotations

import argparse

from symphony.commands.common import checked_folder, outputs_option
from symphony.commands.ls import format_option
from symphony.status import listing, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="the digest of a run, or the beginning of one")
    format_option(parser)
    outputs_option(parser)


def carry_out(args: argparse.Namespace) -> None:
    outputs = checked_folder("--outputs", args.outputs)
    entry = listing.resolve(listing.entries(outputs), args.run, outputs)
    print(shown.write(shown.describe(entry, outputs), args.format))
