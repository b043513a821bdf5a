"""`symphony sql`: a question in SQL over the records."""

from __future__ import annotations

import argparse

from symphony.commands.common import checked_folder, outputs_option, tell
from symphony.commands.ls import format_option
from symphony.status import formats, query


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = 'e.g. "SELECT experiment, avg(success::INT) FROM problems JOIN runs USING (run)"'
    parser.add_argument("query", help=text)
    text = "ask the database of this study; default: all finished runs"
    parser.add_argument("--study", metavar="NAME", help=text)
    format_option(parser)
    outputs_option(parser)


def carry_out(args: argparse.Namespace) -> None:
    outputs = checked_folder("--outputs", args.outputs)
    columns, rows = query.ask(args.query, outputs, args.study, tell)
    print(formats.write(columns, rows, args.format))
