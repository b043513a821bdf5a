"""`symphony quantise`: a smaller copy of a model's weights."""

from __future__ import annotations

import argparse
from functools import partial

from symphony.commands.common import as_path, conf_option
from symphony.commands.study import data_of, data_option
from symphony.plan import compose, options
from symphony.weights import quantise


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="an option of conf/model/")
    parser.add_argument("scheme", help=", ".join(quantise.SCHEMES))
    text = "auto, cpu, cuda or cuda:<number>; default: cpu"
    parser.add_argument("--device", default="cpu", metavar="NAME", help=text)
    conf_option(parser)
    data_option(parser)
    parser.add_argument("--out", type=as_path, required=True, metavar="FOLDER")


def carry_out(args: argparse.Namespace) -> None:
    spec = options.model(args.model, conf=args.conf)
    data = data_of(args)
    prompts = compose.sample_prompts(args.conf)
    file = spec.file(data)
    engine = partial(spec.build, data) if file else None
    source = file or spec.folder(data)
    quantise.quantise(source, args.out, args.scheme, text=prompts, device=args.device, engine=engine)
