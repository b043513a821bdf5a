"""`symphony train-pool`: makes one embedded model again from nothing."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from symphony.embedded import dialect
from symphony.embedded.pool import Budget, make
from symphony.types import SymphonyError


def main() -> int:
    """Trains, measures and saves; 0 when it came through."""
    parser = argparse.ArgumentParser(prog="symphony train-pool", description=__doc__)
    parser.add_argument("model", help=", ".join(dialect.MODELS))
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0)
    default = Budget()
    parser.add_argument("--values-cpu-s", type=float, default=default.values_cpu_s, help="default: %(default)s")
    given = parser.parse_args()
    budget = Budget(values_cpu_s=given.values_cpu_s)
    try:
        make(given.model, given.out, given.seed, budget)
    except SymphonyError as error:
        print(f"symphony train-pool: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
