"""`symphony doctor`: what this machine has of what a study needs."""

from __future__ import annotations

import argparse

from symphony.commands.common import conf_option, outputs_option
from symphony.commands.study import data_option, place_of
from symphony.forecast import doctor
from symphony.forecast.findings import summarise
from symphony.types import SymphonyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "a pool whose endpoints get a few tiny requests"
    parser.add_argument("--pool", action="append", default=[], metavar="NAME", help=text)
    parser.add_argument("--study", action="append", default=[], metavar="NAME", help="a folder under conf/experiment/")
    parser.add_argument("--all", action="store_true", help="list every model, key and data set")
    conf_option(parser)
    data_option(parser)
    outputs_option(parser)


def carry_out(args: argparse.Namespace) -> None:
    place = place_of(args)
    findings = []
    for finding in doctor.examine(args.conf, place.data, place.outputs, pools=args.pool, studies=args.study):
        findings.append(finding)
        if args.all:
            print(finding.line(), flush=True)
    if not args.all:
        print("\n".join(summarise(findings)), flush=True)
    failed = [finding.name for finding in findings if finding.fails]
    if failed:
        raise SymphonyError(f"found {len(failed)} failed checks of those asked for: {'; '.join(failed)}")
