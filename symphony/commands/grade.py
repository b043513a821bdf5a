"""`symphony grade`: grades predictions that were made anywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from symphony.byhand import grade_file
from symphony.commands.common import as_path, conf_option, tell
from symphony.commands.study import data_of, data_option
from symphony.plan import compose
from symphony.types import SymphonyError, Task


def add_arguments(parser: argparse.ArgumentParser) -> None:
    task_arguments(parser, ", and the file of predictions")
    parser.add_argument("--out", type=as_path, metavar="FILE", help="gets one line for each prediction")


def carry_out(args: argparse.Namespace) -> None:
    files = [item for item in args.settings if "=" not in item]
    if len(files) != 1:
        raise SymphonyError(f"found {len(files)} files of predictions, allowed: one")
    task = task_of(args, [item for item in args.settings if "=" in item])
    graded = grade_file(task, Path(files[0]), args.out, tell)
    if not all(result.counts for result in graded):
        raise SymphonyError("found lines that no metric counts, allowed: one line a problem (--out lists every line)")


def task_arguments(parser: argparse.ArgumentParser, others: str) -> None:
    """Adds the task and its overrides, and `others`, which the command reads among them."""
    parser.add_argument("settings", nargs="+", help=f"task=<name>, Hydra overrides{others}")
    conf_option(parser)
    data_option(parser)


def task_of(args: argparse.Namespace, overrides: list[str]) -> Task:
    """Builds the task that the arguments name.

    Raises:
        SymphonyError: They name none, or an override is wrong.
    """
    if not any(item.startswith("task=") for item in overrides):
        raise SymphonyError("found no task=<name>, allowed: the name of an option of conf/task/")
    task: Task = compose.task(overrides, conf=args.conf, data=data_of(args))
    return task
