"""`symphony fetch`: the downloads that an option pins."""

from __future__ import annotations

import argparse

from symphony.commands.common import conf_option
from symphony.commands.study import data_of, data_option
from symphony.plan import compose, options
from symphony.weights import fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("option", help="task/<name> or model/<name>")
    conf_option(parser)
    data_option(parser)


def carry_out(args: argparse.Namespace) -> None:
    source = fetch.parse_source(args.option, options.source(args.option, conf=args.conf))
    fetch.fetch(args.option, source, data_of(args), checksums=args.conf / compose.CHECKSUMS)
