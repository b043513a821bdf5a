"""The arguments that name a study, and what they lead to: its runs and its places."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from symphony.commands.common import as_path, checked_folder, conf_option, outputs_option, tell
from symphony.plan import compose, needs, options
from symphony.plan.specs import Run
from symphony.run.runner import Place
from symphony.types import SymphonyError
from symphony.weights.fetch import DATA_VARIABLE, data_folder


def study_arguments(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Adds the study, its overrides, and the options that choose some of its runs."""
    parser.add_argument("study", nargs="?" if optional else None, help="a folder under conf/experiment/")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, e.g. problems=4 search.n=2")
    conf_option(parser)
    data_option(parser)
    for name in ("experiment", "task", "pool"):
        parser.add_argument(f"--{name}", metavar="NAME", help=f"only this {name}")
    parser.add_argument("--seed", type=int, metavar="N", help="only this seed")


def whole_study_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where a study is read from and written to; every run of it counts."""
    conf_option(parser)
    data_option(parser)
    outputs_option(parser)
    parser.set_defaults(experiment=None, task=None, pool=None, seed=None)


def data_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that names the folder of data sets and downloads."""
    text = f"data sets and downloads; default: ${DATA_VARIABLE}, else data"
    parser.add_argument("--data", type=as_path, metavar="FOLDER", help=text)


def data_of(args: argparse.Namespace) -> Path:
    """Returns the folder of data sets and downloads."""
    return checked_folder("--data", data_folder(args.data))


def place_of(args: argparse.Namespace) -> Place:
    """Returns where a study's runs are read and written."""
    return Place(outputs=checked_folder("--outputs", args.outputs), data=data_of(args))


def runs_of(args: argparse.Namespace, say: Callable[[str], None] = tell) -> list[Run]:
    """Plans the study that the arguments name and returns the chosen runs that this machine can do.

    Raises:
        SymphonyError: A config is wrong, or an option chooses no run.
    """
    runs = compose.plan(args.study, args.overrides, experiment=args.experiment, conf=args.conf, data=data_of(args))
    if args.experiment is None:
        for text in options.replaced(args.study, args.overrides, conf=args.conf):
            say(text)
    for name in ("task", "pool", "seed"):
        wanted = getattr(args, name)
        if wanted is not None:
            allowed = sorted({str(getattr(run, name)) for run in runs})
            runs = [run for run in runs if getattr(run, name) == wanted]
            if not runs:
                raise SymphonyError(f"--{name}: found {wanted!r}, allowed: {', '.join(allowed)}")
    return needs.available(runs, say)
