"""`symphony plan`: a study's runs, and what they need."""

from __future__ import annotations

import argparse
import math

from symphony import studies
from symphony.commands.common import as_gigabytes, outputs_option, tell
from symphony.commands.study import place_of, runs_of, study_arguments
from symphony.forecast import estimate, forecast
from symphony.models.placement import LOAD_RATE, SEQUENCE_TOKENS
from symphony.run import progress
from symphony.types import SymphonyError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    study_arguments(parser)
    outputs_option(parser)
    parser.add_argument("--runs", action="store_true", help="list each run with its digest, not each experiment")
    text = f"run {forecast.PILOT} problems of each experiment and task, and estimate from them"
    parser.add_argument("--pilot", action="store_true", help=text)
    text = "memory of each device (10^9 bytes), e.g. 24 or 24,24; says whether the pools fit"
    parser.add_argument("--memory", type=as_gigabytes, metavar="GB", help=text)
    text = f"weights loaded per second when models are swapped; default: {LOAD_RATE / 1e9:g}"
    parser.add_argument("--load-rate", type=float, default=LOAD_RATE / 1e9, metavar="GB", help=text)
    text = f"tokens of the longest sequence; default: {SEQUENCE_TOKENS}"
    parser.add_argument("--tokens", type=int, default=SEQUENCE_TOKENS, metavar="N", help=text)


def carry_out(args: argparse.Namespace) -> None:
    memory = [("--memory", size) for size in args.memory or ()]
    for key, value in (*memory, ("--tokens", args.tokens), ("--load-rate", args.load_rate)):
        if not 0 < value < math.inf:
            raise SymphonyError(f"{key}: found {value}, allowed: > 0, and finite")
    place = place_of(args)
    runs = runs_of(args)
    for line in studies.listed(runs) if args.runs else studies.counted(runs, place):
        print(line)
    if not runs:  # the reason was already reported
        return
    estimate.weights(runs, place.data, tell)
    loading = {}
    if args.memory is not None:  # first, so that no pilot runs if the study is refused
        sizes = [size * 1e9 for size in args.memory]
        loading = estimate.memory(runs, place.data, sizes, args.tokens, tell, args.load_rate * 1e9)
    if args.pilot:
        with progress.watch() as bar:
            forecast.carry_out_pilot(runs, place, bar, tell)
    estimate.tell(runs, place, tell, loading)
