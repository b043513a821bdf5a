"""What several commands share: types and checks of arguments, options, and the line they tell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from symphony.types import SymphonyError


def as_path(text: str) -> Path:
    """Reads an argument as a path."""
    if not text:  # a shell's unset variable; as a path it would be the working directory
        raise argparse.ArgumentTypeError("found nothing, allowed: a path")
    return Path(text)


def as_name(text: str) -> str:
    """Reads an argument that names a study or a path; it may not be empty."""
    if not text:
        raise argparse.ArgumentTypeError("found nothing, allowed: a study or a path")
    return text


def as_count(text: str) -> int:
    """Reads a whole number from 0 to 9999."""
    if not text.isdecimal() or len(text) > 4:
        raise argparse.ArgumentTypeError(f"found {text[:20]!r}, allowed: a whole number, 0 or more")
    return int(text)


def as_gigabytes(text: str) -> list[float]:
    """Reads one or several numbers, separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"found {text!r}, allowed: numbers, e.g. 24 or 24,24") from error


def outputs_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that names the folder of everything that is made."""
    parser.add_argument("--outputs", type=as_path, default=Path("outputs"), metavar="FOLDER", help="default: outputs")


def conf_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that names the folder of configs."""
    parser.add_argument("--conf", type=as_path, default=Path("conf"), metavar="FOLDER", help="default: conf")


def database_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Adds the options that name a loaded database and what describes it."""
    parser.add_argument("--database", type=as_path, required=required, metavar="FILE", help="made by `symphony load`")
    parser.add_argument("--plan", type=as_path, metavar="FILE", help="JSON with titles and order of the experiments")
    parser.add_argument("--quantised", type=as_path, nargs="*", default=[], metavar="FILE", help="their manifest.json")


def checked_folder(key: str, place: Path) -> Path:
    """Checks that a folder exists or can be made.

    Raises:
        SymphonyError: It, or a folder above it, is a file.
    """
    existing = next(ancestor for ancestor in (place, *place.absolute().parents) if ancestor.exists())
    if not existing.is_dir():
        raise SymphonyError(f"{key}: found {existing}, a file, allowed: a folder")
    return place


def tell(text: str) -> None:
    """Prints a line for the reader on the error stream, which leaves the output to the results."""
    print(f"symphony: {text}", file=sys.stderr, flush=True)
