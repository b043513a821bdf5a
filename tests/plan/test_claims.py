"""Claims of a study: read from conf/claims/, one for each value of a sweep, and refused if they cannot be tested."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from symphony.plan.claims import claims
from symphony.plan.options import experiments, studies
from symphony.types import SymphonyError

CONF = Path(__file__).parents[2] / "conf"
FILES = sorted(path.stem for path in (CONF / "claims").glob("*.yaml") if path.stem != "paper")


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A conf folder with a study of swept experiments `new` and `old`, and `alone` without a sweep."""
    shutil.copytree(CONF, tmp_path / "conf")
    study = tmp_path / "conf" / "experiment" / "mine"
    study.mkdir()
    for name in ("new", "old"):
        (study / f"{name}.yaml").write_text("# @package _global_\nsweep:\n  problems: [1, 2]\n")
    (study / "alone.yaml").write_text("# @package _global_\nproblems: 1\n")
    return tmp_path / "conf"


def told(conf: Path, text: str, *overrides: str) -> list[tuple[str, str, str]]:
    (conf / "claims" / "mine.yaml").write_text(text)
    return [(one["claim"], one["better"], one["than"]) for one in claims("mine", overrides, conf=conf)]


ENTRY = "claims:\n  - {{claim: It helps, source: me, better: {}, than: {}}}\n"


@pytest.mark.parametrize("study", FILES)
def test_every_file_of_claims_belongs_to_a_study_that_has_its_experiments(study: str) -> None:
    assert study in studies(CONF)
    names = {variant.name for variant in experiments(CONF, study)}
    found = claims(study, conf=CONF)
    assert found
    assert {one[key] for one in found for key in ("better", "than")} <= names


def test_a_study_without_a_file_has_no_claims(conf: Path) -> None:
    assert claims("mine", conf=conf) == []


def test_two_experiments_with_the_same_sweep_are_compared_at_each_value(conf: Path) -> None:
    assert told(conf, ENTRY.format("new", "old")) == [
        ("It helps (problems 1)", "new[problems=1]", "old[problems=1]"),
        ("It helps (problems 2)", "new[problems=2]", "old[problems=2]"),
    ]


def test_a_swept_experiment_is_compared_with_one_without_a_sweep_at_each_value(conf: Path) -> None:
    assert [pair for _, *pair in told(conf, ENTRY.format("new", "alone"))] == [
        ["new[problems=1]", "alone"],
        ["new[problems=2]", "alone"],
    ]


def test_a_claim_about_an_experiment_that_is_gone_stays_to_be_told(conf: Path) -> None:
    assert told(conf, ENTRY.format("new", "older")) == [("It helps", "new", "older")]


def test_a_single_value_of_a_sweep_can_be_named(conf: Path) -> None:
    found = told(conf, ENTRY.format('"new[problems=2]"', '"old[problems=1]"'))
    assert found == [("It helps", "new[problems=2]", "old[problems=1]")]


def test_a_sweep_of_the_command_line_makes_its_own_claims(conf: Path) -> None:
    found = told(conf, ENTRY.format("new", "alone"), "search.n=1,2,3")
    assert len(found) == 6


def test_included_claims_are_those_whose_experiments_the_study_has(conf: Path) -> None:
    (conf / "experiment" / "mine" / "symphony.yaml").write_text("# @package _global_\nproblems: 1\n")
    (conf / "experiment" / "mine" / "lats.yaml").write_text("# @package _global_\nproblems: 1\n")
    assert [pair for _, *pair in told(conf, "include: paper\n")] == [["symphony", "lats"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claim: []\n", "found an unknown key 'claim', allowed: include, claims"),
        ("claims: yes\n", "claims: found true, allowed: a list"),
        ("claims: [a]\n", "claim 1: found 'a', allowed: claim, source"),
        ("claims:\n  - {claim: a, source: b, better: new}\n", "claim 1: than: found nothing"),
        ("claims:\n  - {claim: a, source: b, better: new, then: old}\n", "found an unknown key 'then'"),
        ("claims:\n  - {claim: a, source: b, better: new, than: old, least: much}\n", "claim 1: least: found 'much'"),
        ("claims:\n  - {claim: a, source: b, better: new, than: old, least: 101}\n", "claim 1: least: found 101"),
        ("claims:\n  - {claim: a, source: b, better: new, than: old, least: 1, within: 2}\n", "found both"),
        ("include: nobody\n", "include: found 'nobody', allowed: .*paper"),
        ("include: [paper]\n", "include: found"),
    ],
)
def test_a_claim_that_cannot_be_tested_is_refused_with_its_file(conf: Path, text: str, message: str) -> None:
    with pytest.raises(SymphonyError, match=message) as raised:
        told(conf, text)
    assert "mine.yaml" in str(raised.value)
