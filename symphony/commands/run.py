"""`symphony run`: makes the runs of a study, or of one group of them."""

from __future__ import annotations

import argparse

from symphony.commands.common import as_count, as_path, outputs_option, tell
from symphony.commands.study import place_of, runs_of, study_arguments
from symphony.plan import specs
from symphony.run import leases, progress, runner, serving
from symphony.types import SymphonyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    study_arguments(parser, optional=True)
    parser.add_argument("--group", type=as_path, metavar="FOLDER", help="outputs/groups/<name>, frozen by snakemake")
    text = f"GPUs to hold of those that {leases.VARIABLE} names; without it the run uses what it sees"
    parser.add_argument("--gpus", type=as_count, default=0, metavar="N", help=text)
    outputs_option(parser)


def carry_out(args: argparse.Namespace) -> None:
    if (args.group is None) == (args.study is None):
        raise SymphonyError("found neither a study nor --group, or both, allowed: one of them")
    place = place_of(args)
    groups = [specs.thaw(args.group / "plan.json")] if args.group else specs.groups(runs_of(args))
    silent: list[str] = []
    with (
        leases.leased(args.gpus, tell),
        serving.held(run for group in groups for run in group.runs),
        progress.watch() as bar,
    ):
        for group in groups:
            try:
                runner.run_group(group, place, bar)
            except runner.Unanswered as error:  # other pools may answer
                silent += error.runs
    if silent:
        raise runner.Unanswered(silent)
