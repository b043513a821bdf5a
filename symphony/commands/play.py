"""`symphony play`: one episode of a task, action by action."""

from __future__ import annotations

import argparse
import sys

from symphony.byhand import play
from symphony.commands.grade import task_arguments, task_of
from symphony.types import SymphonyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    task_arguments(parser, ", and problem=<id>")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def carry_out(args: argparse.Namespace) -> None:
    ids = [item.partition("=")[2] for item in args.settings if item.startswith("problem=")]
    if len(ids) != 1:
        raise SymphonyError(f"found problem=<id> {len(ids)} times, allowed: once")
    task = task_of(args, [item for item in args.settings if not item.startswith("problem=")])
    play(task, ids[0], sys.stdin, sys.stdout, as_json=args.json)
