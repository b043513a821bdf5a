"""`symphony train-pool`: makes one embedded model from scratch."""

from __future__ import annotations

from symphony import stop

# isort: split
import argparse
import sys
from pathlib import Path

from symphony.embedded import dialect
from symphony.embedded.pool import Budget, make
from symphony.types import SymphonyError


def main() -> int:
    """Trains, measures and saves a model; returns 0 on success."""
    parser = argparse.ArgumentParser(prog="symphony train-pool", description=__doc__)
    parser.add_argument("model", help=", ".join(dialect.MODELS))
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on every budget, e.g. 0.01 for a trial")
    args = parser.parse_args()
    try:
        make(args.model, args.out, args.seed, Budget().scaled(args.scale))
    except KeyboardInterrupt:
        return stop.end()
    except SymphonyError as error:
        print(f"symphony train-pool: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
