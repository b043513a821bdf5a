"""`symphony bundle`: a study in one file."""

from __future__ import annotations

import argparse

from symphony import studies
from symphony.commands.common import as_path, tell
from symphony.commands.study import place_of, runs_of, whole_study_options
from symphony.run.runner import Place
from symphony.sharing import bundle


def add_arguments(parser: argparse.ArgumentParser) -> None:
    finished_study(parser)
    parser.add_argument("--out", type=as_path, required=True, metavar="FILE", help="e.g. quickstart.zip")
    text = "with the prompts, which the pages of the trees show"
    parser.add_argument("--prompts", action="store_true", help=text)


def carry_out(args: argparse.Namespace) -> None:
    prepared, place = prepared_of(args)
    bundle.make(args.study, prepared, place, args.out, tell, prompts=args.prompts)


def finished_study(parser: argparse.ArgumentParser) -> None:
    """Adds the study whose finished runs the command takes, and where it is."""
    parser.add_argument("study", help="a folder under conf/experiment/")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, as for `symphony run`")
    whole_study_options(parser)


def prepared_of(args: argparse.Namespace) -> tuple[studies.Prepared, Place]:
    """Loads the study that the arguments name; errors as for `studies.prepare`."""
    left_out: list[str] = []
    runs, place = runs_of(args, left_out.append), place_of(args)
    where = {"overrides": args.overrides, "left_out": left_out, "conf": args.conf}
    return studies.prepare(args.study, runs, place, tell, **where), place
