"""A plan tells what is a bound and what an estimate, and a pilot is paid for once."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symphony.__main__ import main
from symphony.agents.budget import LIMITS, Budget
from symphony.agents.ledger import Ledger, read_ledger
from symphony.forecast.bounds import bound
from symphony.forecast.estimate import tell
from symphony.forecast.forecast import carry_out_pilot, estimate, finished, pilots
from symphony.models.endpoint import Price
from symphony.plan.compose import plan
from symphony.plan.specs import Run, groups
from symphony.records.records import CallRecord, ProblemRecord, is_complete, read_records
from symphony.run.runner import Place, run_group
from symphony.types import Completion
from tests.scripted_pool import CONF, Silent, backend

PRICED = {"_target_": "symphony.models.api.backend.APIModel", "base_url": "http://127.0.0.1:9/v1", "model": "m"}


def planned(*overrides: str, experiment: str | None = "react") -> list[Run]:
    return plan("quickstart", ("tasks=[mini_qa]", *overrides), experiment=experiment, conf=CONF)


def api(run: Run, **prices: Any) -> Run:
    """The run by two API agents of the given prices."""
    agents = [{"name": name, **PRICED, "price": price} for name, price in prices.items()]
    return replace(run, config={**run.config, "pool": {"agents": agents}})


def carry_out(runs: list[Run], place: Place) -> None:
    for group in groups(runs):
        run_group(group, place, Silent(), backend)


def told(runs: list[Run], place: Place) -> str:
    lines: list[str] = []
    tell(runs, place, lines.append)
    return "\n".join(lines)


# ------------------------------------------------------------------ bounds


@pytest.mark.parametrize(
    ("overrides", "amount", "why"),
    [
        ((), 3 * 8 * 6000, "budget.problem.tokens"),
        (("budget.run.tokens=1000",), 3 * 1000, "budget.run.tokens"),
        (("budget.study.tokens=500",), 500, "budget.study.tokens, which counts only new calls"),
        (("budget.problem.tokens=null", "budget.run.tokens=1000"), 3 * 1000, "budget.run.tokens"),
        (("budget.problem.tokens=null",), None, "no budget limits tokens"),
    ],
)
def test_a_bound_is_the_least_that_the_budgets_leave_and_names_its_key(
    overrides: tuple[str, ...], amount: float | None, why: str
) -> None:
    found = bound(planned("seeds=[0,1,2]", *overrides), "tokens")
    assert (found.amount, found.why) == (amount, why)


def test_money_is_bounded_by_the_tokens_at_the_dearest_price() -> None:
    (run,) = planned("seeds=[0]")
    priced = api(run, cheap={"prompt": 1.0, "completion": 2.0}, dear={"prompt": 3.0, "completion": 9.0})
    found = bound([priced], "money")
    assert found.amount == pytest.approx(8 * 6000 * 9.0 / 1e6)
    assert found.why == "budget.problem.tokens, each token at its pool's highest price"
    (limited,) = planned("seeds=[0]", "budget.problem.money=0.001")
    assert bound([api(limited, dear={"prompt": 3.0, "completion": 9.0})], "money").amount == pytest.approx(8 * 0.001)


def test_money_has_no_bound_where_a_price_is_unknown_and_is_0_on_this_machine() -> None:
    (run,) = planned("seeds=[0]")
    unknown = bound([run, api(run, known={"prompt": 1.0, "completion": 1.0}, other={"prompt": 1.0})], "money")
    assert (unknown.amount, unknown.why) == (None, "the price of other is unknown")
    assert bound([run], "money").amount == 0.0


# ------------------------------------------------------------------ pilots and estimates


@pytest.mark.slow
def test_a_pilot_is_the_run_that_three_problems_would_be() -> None:
    runs = planned("seeds=[0,1]", experiment=None)
    shorter = {(run.experiment, run.task): run for run in planned("seeds=[0]", "problems=3", experiment=None)}
    assert pilots(runs) == shorter
    two = planned("seeds=[0]", "problems=2")
    assert list(pilots(two).values()) == two


def test_an_estimate_is_the_mean_of_the_pilot_times_the_problems(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    runs = planned("seeds=[0,1]")
    assert estimate(runs, place) is None
    carry_out_pilot(runs, place, Silent(), lambda _: None, backend)
    (pilot,) = pilots(runs).values()
    problems = read_records(place.run(pilot), ProblemRecord)
    found = estimate(runs, place)
    assert found is not None
    assert (found.cells, found.samples, found.problems) == (1, 3, 16)
    calls = [problem.calls for problem in problems]
    assert (found.calls.least, found.calls.most) == (16 * min(calls), 16 * max(calls))
    assert found.calls.mean == pytest.approx(16 * sum(calls) / 3)
    assert found.prompt_tokens.mean == pytest.approx(16 * sum(problem.prompt_tokens for problem in problems) / 3)
    assert sum(used.calls for used in found.models.values()) == pytest.approx(found.calls.mean)
    assert found.dollars is not None
    assert found.dollars.most == 0.0
    assert found.hours["embedded_trio"] == pytest.approx(
        found.completion_tokens.mean / found.speed["embedded_trio"] / 3600
    )


@pytest.mark.slow
def test_rounds_are_those_of_the_longest_finished_problem_for_each_wave_of_problems_in_flight(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    runs = planned("seeds=[0,1]", "execution.in_flight=4")
    carry_out(runs[:1], place)
    nodes = {(call.problem, call.node) for call in read_records(place.run(runs[0]), CallRecord)}
    longest = max(Counter(problem for problem, _ in nodes).values())
    found = estimate(runs, place)
    assert found is not None
    # ReAct asks at one node after another; eight problems of each seed, four of them in flight.
    assert found.rounds == {"embedded_trio": 2 * 2 * longest}
    lines: list[str] = []
    tell(runs, place, lines.append, {"embedded_trio": 900.0})
    hours = f"{longest:.2g}"  # 4 x longest rounds of a quarter of an hour
    assert f"  pool embedded_trio: at most {hours} hours to load models, if each of {4 * longest} rounds loads" in (
        "\n".join(lines)
    )
    partly = estimate(planned("seeds=[0,1]", experiment=None), place)
    assert partly is not None
    assert partly.rounds == {}


def test_money_is_estimated_by_the_prices_of_today(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    carry_out_pilot(planned("seeds=[0]"), place, Silent(), lambda _: None, backend)
    (pilot,) = pilots(planned("seeds=[0]")).values()
    names = [agent["name"] for agent in pilot.config["pool"]["agents"]]
    # The scripted answers, taken to be those of an API: only the prices are asked for.
    priced = api(pilot, **{name: {"prompt": 2.0, "completion": 10.0} for name in names})
    unknown = api(pilot, **{name: {"prompt": 2.0} for name in names})
    for run in (priced, unknown):
        shutil.copytree(place.run(pilot), place.run(run), dirs_exist_ok=True)
    found, other = estimate([priced], place), estimate([unknown], place)
    assert found is not None
    assert found.dollars is not None
    assert found.dollars.mean == pytest.approx((found.prompt_tokens.mean * 2 + found.completion_tokens.mean * 10) / 1e6)
    assert other is not None
    assert other.dollars is None


def test_finished_runs_of_the_study_take_the_place_of_a_pilot(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    runs = planned("seeds=[0,1]")
    carry_out(runs[:1], place)
    assert finished(runs, place) == {("react", "mini_qa"): runs[:1]}
    lines: list[str] = []
    carry_out_pilot(runs, place, Silent(), lines.append, backend)
    assert lines == ["pilot: nothing to run, every experiment and task has finished problems"]
    found = estimate(runs, place)
    assert found is not None
    assert found.samples == 8


def test_problems_that_the_budget_of_their_run_cut_tell_nothing(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    runs = planned("seeds=[0]", "budget.run.calls=20", "execution.in_flight=1")
    carry_out(runs, place)
    problems = read_records(place.run(runs[0]), ProblemRecord)
    whole = [problem for problem in problems if not problem.stop_reason.startswith("run_")]
    assert 0 < len(whole) < len(problems)
    found = estimate(runs, place)
    assert found is not None
    assert found.samples == len(whole)


def test_a_pilot_is_told_before_it_begins_and_its_calls_are_not_asked_again(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    runs = planned("seeds=[0]", "budget.study.calls=100000", experiment="symphony")
    lines: list[str] = []

    def say(text: str) -> None:
        assert not read_ledger(place.ledger("quickstart"))
        lines.append(text)

    carry_out_pilot(runs, place, Silent(), say, backend)
    assert lines == [
        "pilot: 3 problems in each of 1 pairs of experiment and task; at most calls: 100,000, tokens: 18,000, "
        "money: $0.00, seconds: no bound"
    ]
    asked = sum(one.calls for one in read_ledger(place.ledger("quickstart")))
    carry_out(runs, place)
    every = sum(one.calls for one in read_ledger(place.ledger("quickstart")))
    assert every == sum(problem.calls for problem in read_records(place.run(runs[0]), ProblemRecord)) > asked > 0


# ------------------------------------------------------------------ in words


def test_the_plan_tells_bounds_and_estimate_apart(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    runs = planned("seeds=[0]")
    before = told(runs, place)
    assert "quickstart: 1 run of 8 problems (1 experiment, 1 task, 1 pool, 1 seed); finished: 0" in before
    assert "tokens: 48,000 (budget.problem.tokens)" in before
    assert "no estimate of calls, hours and likely costs: --pilot makes one from 3 problems of each" in before
    carry_out(runs, place)
    after = told(runs, place)
    assert "; finished: 1" in after
    assert "expected for 8 problems, from 8 finished (not a bound;" in after
    assert "not counted" not in after
    assert "not counted: 1 of 2 pairs of experiment and task" in told(
        [*runs, *planned("seeds=[0]", experiment="lats")], place
    )
    for name in ("llama", "qwen3", "neox"):
        assert f"model {name} (package:embedded/weights/{name}): " in after


def test_the_plan_tells_what_was_asked_before_and_that_more_is_unknown(tmp_path: Path) -> None:
    place = Place(outputs=tmp_path)
    answer = Completion(text="x", finish_reason="stop", prompt_tokens=6, completion_tokens=2)
    with Ledger(place.ledger("quickstart"), Budget()) as ledger:
        ledger.charge("dear", Price(prompt=1e6, completion=1e6), [answer, answer])
        known = told(planned("seeds=[0]"), place)
        ledger.charge("other", Price(), [answer])
    assert "spent on its models so far: 2 calls, 16 tokens, $16.00 (" in known
    assert "3 calls, 24 tokens, $16.00 and calls of unknown price (" in told(planned("seeds=[0]"), place)


def test_the_command_lists_runs_on_one_stream_and_tells_what_they_take_on_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = ["plan", "quickstart", "tasks=[mini_qa]", "--experiment", "react", "--conf", str(CONF)]
    assert main([*study, "--runs", "--outputs", str(tmp_path)]) == 0
    listed, explained = capsys.readouterr()
    assert len(listed.splitlines()) == 3
    for limit in LIMITS:  # computed tokens only if they are limited
        assert (f"\nsymphony:   {limit}: " in explained) == (limit != "computed")
    assert not any(is_complete(path) for path in tmp_path.glob("runs/*"))  # nothing was carried out
