"""The commands of the command line: one module each, loaded when its command is asked for.

`load` imports a module by its name, so `symphony ls` does not wait for what only `symphony run` or `report` needs.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Protocol, cast

COMMANDS = {
    "plan": "list a study's runs, and estimate what they need before anything is spent",
    "run": "run a study, or one frozen group of its runs",
    "pack": "write the recorded answers of a study into a folder that can be shipped",
    "load": "check finished runs and build their database",
    "table": "write one table of a loaded database",
    "figure": "write one figure of a loaded database",
    "report": "load a study's finished runs and write its tables, figures and page; or those of a loaded database",
    "diff": "tell where two runs first differ; exit code 0 if they are equal, 1 if they differ",
    "grade": 'grade predictions made anywhere, one {"id": ..., "prediction": ...} a line',
    "play": "play a task by hand, one action a line",
    "quantise": "quantise a model's weights with bitsandbytes",
    "train-pool": "train an embedded model from scratch (see symphony.embedded)",
    "fetch": "download what an option pins in its `source` block",
    "doctor": "check whether this machine has what a study needs, and say what to do if not",
    "ls": "list the studies and runs that are there: how far they are, their size and success",
    "show": "show one run: what it was, its results, what it consumed, and what failed",
    "sql": "answer a question in SQL over the records (docs/records.md lists the tables)",
    "watch": "show all live runs on one page until Ctrl-C",
    "bundle": "write a study into one file: plan, records, recorded answers and tables",
    "reproduce": (
        "derive a bundle's tables again and repeat its runs without models; exit code 0 if the results are identical"
    ),
    "export": "write a study's records in the format of another tool",
}
"""What each command does; its module has its name, with `_` for `-`."""


class Command(Protocol):
    """What the module of a command holds."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments to its own parser."""

    def carry_out(self, args: argparse.Namespace) -> int | None:
        """Does what was asked; returns the exit code, None for 0."""


def load(name: str) -> Command:
    """Imports the module of a command of `COMMANDS`."""
    return cast(Command, import_module(f"{__name__}.{name.replace('-', '_')}"))
