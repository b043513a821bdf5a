"""The command line: parses the arguments; the modules of `symphony.commands` do the work."""

from __future__ import annotations

from symphony import stop

# isort: split
import argparse
import os
import sys
import warnings
from collections.abc import Sequence

from symphony.commands import COMMANDS, load
from symphony.types import SymphonyError

# isort: split


def main(given: Sequence[str] | None = None) -> int:
    """Runs one command; returns 0 if it did what was asked (`diff`, `reproduce`: and all is equal)."""
    warnings.filterwarnings("ignore", category=SyntaxWarning)  # Python's remarks on programs that models wrote
    try:
        args = _parsed(given)
    except KeyboardInterrupt:
        return stop.end()
    try:
        return args.do(args) or 0
    except KeyboardInterrupt:
        return stop.end()
    except BrokenPipeError:  # the reader of our output has stopped reading
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return stop.end() if stop.received() else 141
    except (SymphonyError, OSError) as error:
        if stop.received():
            return stop.end()
        print(f"symphony {args.command}: {_line(error)}", file=sys.stderr)
        return 2 if args.command in ("diff", "reproduce") else 1  # as diff(1): 1 says that something differs
    except MemoryError:
        print(f"symphony {args.command}: found no memory left, {_MEMORY}", file=sys.stderr)
        return 1


def _parsed(given: Sequence[str] | None) -> argparse.Namespace:
    given = sys.argv[1:] if given is None else given
    parser = _parser(given)
    args, rest = parser.parse_known_args(given)
    # argparse rejects words of a list that follow an option.
    words = next((getattr(args, name) for name in ("settings", "overrides", "places") if name in args), None)
    if rest and (words is None or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if words is not None:
        words += rest
    return args


_MEMORY = "allowed: a smaller execution.in_flight or execution.memory_gb; the same command goes on from here"


def _line(error: Exception) -> str:
    """Returns an error as one line; for errors of the system the file comes first, where it is known."""
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{place}found {error.strerror}, allowed: a file that can be read or written"
    return str(error)


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    """Returns the parser of the whole command line; only the command that is asked for gets its arguments."""
    parser = argparse.ArgumentParser(
        prog="symphony",
        description="Tree search over a pool of different language models, from configs to a report.",
        epilog="`snakemake --cores all` runs these in the right order; see README.md.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    asked = next((word for word in given if not word.startswith("-")), None)
    for name, text in COMMANDS.items():
        sub = commands.add_parser(name, help=text, description=text)
        if name == asked:
            command = load(name)
            command.add_arguments(sub)
            sub.set_defaults(do=command.carry_out)
    return parser


if __name__ == "__main__":
    sys.exit(main())
