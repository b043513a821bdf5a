"""`symphony pack`: the recorded answers of a study, as a folder that can be shipped."""

from __future__ import annotations

import argparse

from symphony.commands.common import as_path, outputs_option
from symphony.commands.study import place_of, runs_of, study_arguments
from symphony.run import recordings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    study_arguments(parser)
    outputs_option(parser)
    parser.add_argument("--out", type=as_path, required=True, metavar="FOLDER", help="e.g. recordings/laptop")


def carry_out(args: argparse.Namespace) -> None:
    recordings.pack(runs_of(args), place_of(args).outputs, args.out)
