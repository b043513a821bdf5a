"""The commands that only look: `ls`, `show`, `sql` and `watch`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from symphony.arguments import checked_folder, outputs_option
from symphony.status import formats, listing, query, shown, watch

AddCommand = Callable[[str, Callable[[argparse.Namespace], None], str], argparse.ArgumentParser]


def add(command: AddCommand) -> None:
    """Adds the commands to the command line."""
    sub = command("ls", _ls, "list the studies and runs that are there: how far they are, their size and success")
    sub.add_argument("study", nargs="?", help="list the runs of this study")
    sub.add_argument("--runs", action="store_true", help="list the runs of all studies")
    _common(sub)
    sub = command("show", _show, "show one run: what it was, its results, what it consumed, and what failed")
    sub.add_argument("run", metavar="RUN", help="the digest of a run, or the beginning of one")
    _common(sub)
    sub = command("sql", _sql, "answer a question in SQL over the records (docs/records.md lists the tables)")
    sub.add_argument("query", help='e.g. "SELECT experiment, avg(success::INT) FROM problems JOIN runs USING (run)"')
    sub.add_argument("--study", metavar="NAME", help="ask the database of this study; default: all finished runs")
    _common(sub)
    sub = command("watch", _watch, "show all live runs on one page until Ctrl-C")
    sub.add_argument("--once", action="store_true", help="print one page and end")
    text = f"seconds between two pages; default: {watch.EVERY_S:g}"
    sub.add_argument("--every", type=float, default=watch.EVERY_S, metavar="S", help=text)
    outputs_option(sub)


def _common(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--format", choices=formats.FORMATS, default="table", help="default: table")
    outputs_option(sub)


def _ls(args: argparse.Namespace) -> None:
    outputs = checked_folder("--outputs", args.outputs)
    found = listing.entries(outputs)
    if args.study is not None:
        found = listing.of_study(found, args.study, outputs)
    if args.study is not None or args.runs:
        print(formats.write(listing.COLUMNS, listing.rows(found), args.format))
    else:
        print(formats.write(listing.STUDY_COLUMNS, listing.study_rows(found, outputs), args.format))


def _show(args: argparse.Namespace) -> None:
    outputs = checked_folder("--outputs", args.outputs)
    entry = listing.resolve(listing.entries(outputs), args.run, outputs)
    print(shown.write(shown.describe(entry, outputs), args.format))


def _sql(args: argparse.Namespace) -> None:
    outputs = checked_folder("--outputs", args.outputs)

    def say(text: str) -> None:
        print(f"symphony: {text}", file=sys.stderr, flush=True)

    columns, rows = query.ask(args.query, outputs, args.study, say)
    print(formats.write(columns, rows, args.format))


def _watch(args: argparse.Namespace) -> None:
    watch.run(checked_folder("--outputs", args.outputs), once=args.once, every_s=args.every)
