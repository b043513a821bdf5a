"""`symphony report`: tables, figures and page of a study, or of a loaded database."""

from __future__ import annotations

import argparse

from symphony import studies
from symphony.commands.common import as_name, as_path, database_options, tell
from symphony.commands.study import place_of, runs_of, whole_study_options
from symphony.report import page
from symphony.types import SymphonyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    text = "a study, and overrides; nothing with --database"
    parser.add_argument("places", nargs="*", type=as_name, metavar="study", help=text)
    database_options(parser, required=False)
    parser.add_argument("--out", type=as_path, metavar="FOLDER", help="with --database: where they are written")
    whole_study_options(parser)


def carry_out(args: argparse.Namespace) -> None:
    single = {"--database": args.database, "--out": args.out}
    if args.places:
        if named := [key for key, value in single.items() if value is not None]:
            raise SymphonyError(f"found a study and {named[0]}, allowed: one of them")
        args.study, *args.overrides = args.places
        left_out: list[str] = []
        runs = runs_of(args, left_out.append)
        where = {"overrides": args.overrides, "left_out": left_out, "conf": args.conf}
        tell(f"report: {studies.report_study(args.study, runs, place_of(args), tell, **where)}")
        return
    if missing := [key for key, value in single.items() if value is None]:
        raise SymphonyError(f"found no study and no {missing[0]}, allowed: a study, or {' and '.join(single)}")
    page.build(args.database, args.out, args.plan, args.quantised)
