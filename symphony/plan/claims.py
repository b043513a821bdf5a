"""Claims about a study, each tested by its report: one experiment solves more problems than another, or as many.

conf/claims/<study>.yaml has a list `claims`. Each entry has `claim` (a sentence), `source`, and the experiments
`better` and `than`. `least` is the gain in points that the claim asserts (0 if left out). With `within`, the claim is
that both solve equally many, up to so many points. `task` limits it to one task. `include: paper` adds those claims of
conf/claims/paper.yaml whose experiments the study has. A sweep makes one claim for each of its values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from symphony.fields import check, kinds, required, shown
from symphony.plan.options import experiments
from symphony.plan.sweeps import Variant
from symphony.plan.yaml_files import load
from symphony.types import SymphonyError

FOLDER = "claims"
Points = Annotated[float, Interval(ge=-100, le=100)]
Margin = Annotated[float, Interval(ge=0, le=100)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim about two experiments, compared on the same problems.

    Attributes:
        claim: The claim as a sentence.
        source: Where it is from, e.g. "paper, Table 5".
        better, than: Names of the experiments.
        least: The claim holds if the gain of `better` is more than this many points.
        within: If given, the claim holds if the difference lies between minus and plus so many points.
        task: The task it is about; None for all tasks of the study.
    """

    claim: str
    source: str
    better: str
    than: str
    least: Points = 0.0
    within: Margin | None = None
    task: str | None = None


def claims(study: str, overrides: Sequence[str] = (), *, conf: Path = Path("conf")) -> list[dict[str, Any]]:
    """Returns a study's claims for its report, in the order of the file; none without a file.

    A claim about an experiment that the study does not have stays, and its report says that it was not run; one of an
    included file is left out.

    Raises:
        SymphonyError: An entry has an unknown key, lacks one or has a value of the wrong kind.
    """
    known = experiments(conf, study, overrides)
    path = conf / FOLDER / f"{study}.yaml"
    if not path.is_file():
        return []
    resolved: list[Claim] = []
    node = _load(path, ("include", "claims"))
    included = node.get("include")
    if included is not None:
        check(f"{path}: include", included, str)
        other = conf / FOLDER / f"{included}.yaml"
        if not other.is_file():
            names = ", ".join(sorted(file.stem for file in other.parent.glob("*.yaml")))
            raise SymphonyError(f"{path}: include: found {included!r}, allowed: {names}")
        for claim in _entries(other, _load(other, ("claims",))):
            resolved += _variants(claim, known)
    for claim in _entries(path, node):
        resolved += [*_variants(claim, known)] or [claim]
    return [asdict(claim) for claim in resolved]


def _load(path: Path, keys: Sequence[str]) -> Mapping[str, Any]:
    node: Mapping[str, Any] = load(path)
    for key in node:
        if key not in keys:
            raise SymphonyError(f"{path}: found an unknown key {key!r}, allowed: {', '.join(keys)}")
    return node


def _entries(path: Path, node: Mapping[str, Any]) -> list[Claim]:
    entries = node.get("claims", [])
    if not isinstance(entries, list):
        raise SymphonyError(f"{path}: claims: found {shown(entries)}, allowed: a list")
    return [_claim(entry, f"{path}: claim {number}") for number, entry in enumerate(entries, 1)]


def _claim(entry: Any, where: str) -> Claim:
    allowed = kinds(Claim)
    if not isinstance(entry, Mapping):
        raise SymphonyError(f"{where}: found {shown(entry)}, allowed: {', '.join(allowed)}")
    for key, value in entry.items():
        if key not in allowed:
            raise SymphonyError(f"{where}: found an unknown key {key!r}, allowed: {', '.join(allowed)}")
        check(f"{where}: {key}", value, allowed[key])
    for key in required(Claim):
        if key not in entry:
            raise SymphonyError(f"{where}: {key}: found nothing, allowed: a value")
    if "within" in entry and "least" in entry:
        raise SymphonyError(f"{where}: found both `within` and `least`, allowed: one of them")
    return Claim(**entry)


def _variants_named(name: str, known: Sequence[Variant]) -> list[Variant]:
    return [variant for variant in known if name in (variant.base, variant.name)]


def _variants(claim: Claim, known: Sequence[Variant]) -> Iterator[Claim]:
    """Yields a claim for each pair of experiments that agree in what both sweep, or whose values the claim names."""
    for variant in _variants_named(claim.better, known):
        for other in _variants_named(claim.than, known):
            exact = claim.better == variant.name and claim.than == other.name
            shared = {*variant.overrides} <= {*other.overrides} or {*other.overrides} <= {*variant.overrides}
            if exact or shared:
                swept = (
                    variant.suffix if variant.name != claim.better else other.suffix if other.name != claim.than else ""
                )
                suffix = f" ({swept[1:-1].replace('=', ' ').replace(',', ', ')})" if swept else ""
                yield replace(claim, claim=claim.claim + suffix, better=variant.name, than=other.name)
