"""Upper bounds on what a study can spend under its budgets, whatever its models do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from symphony.agents.budget import LIMITS, money
from symphony.plan.model_spec import models
from symphony.plan.specs import Run
from symphony.types import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The most that a study takes; calls in flight may exceed limits of money, of seconds and of the study.

    Attributes:
        amount: Calls, tokens, dollars or seconds; None if nothing limits them.
        why: The keys it follows from, or why there is no bound.
    """

    amount: float | None
    why: str


def bound(runs: Sequence[Run], limit: Limit) -> Bound:
    """Returns the bound of the budgets on one kind of limit; for money also by token prices."""
    each = [_run_bound(run, limit) for run in runs]
    amounts = [run_bound.amount for run_bound in each if run_bound.amount is not None]
    whole = Bound(amount=None, why=_join_reasons(run_bound.why for run_bound in each if run_bound.amount is None))
    if len(amounts) == len(each):
        whole = Bound(amount=sum(amounts), why=_join_reasons(run_bound.why for run_bound in each))
    study = getattr(runs[0].settings.budget.study, limit, None)
    return _least([whole, Bound(amount=study, why=f"budget.study.{limit}, which counts only new calls")])


def bounds(runs: Sequence[Run]) -> dict[Limit, Bound]:
    """Returns the bound on each kind of limit; that on computed tokens only if the runs have one."""
    every = {limit: bound(runs, limit) for limit in LIMITS}
    return {limit: one for limit, one in every.items() if limit != "computed" or one.amount is not None}


def at_most(runs: Sequence[Run]) -> str:
    """Describes every bound in words."""
    return ", ".join(shown(limit, one.amount) for limit, one in bounds(runs).items())


def shown(limit: Limit, amount: float | None) -> str:
    """Formats a bound's amount for readers."""
    if amount is None:
        return f"{limit}: no bound"
    return f"{limit}: {f'${money(amount)}' if limit == 'money' else f'{amount:,.0f}'}"


def _run_bound(run: Run, limit: Limit) -> Bound:
    budget, problems = run.settings.budget, run.settings.problems
    own, whole = getattr(budget.problem, limit), getattr(budget.run, limit)
    bounds = [
        Bound(amount=None, why=f"no budget limits {limit}"),
        Bound(amount=None if own is None else own * problems, why=f"budget.problem.{limit}"),
        Bound(amount=whole, why=f"budget.run.{limit}"),
    ]
    return _least([_of_prices(run), *bounds] if limit == "money" else bounds)


def _of_prices(run: Run) -> Bound:
    """Bounds the money by pricing every token of the budget at the highest price of the pool."""
    prices = {name: spec.price.dearest for name, spec in models(run.config).items()}
    unknown = [name for name, price in prices.items() if price is None]
    if unknown:
        return Bound(amount=None, why=f"the price of {', '.join(unknown)} is unknown")
    dearest = max(price or 0.0 for price in prices.values())
    if not dearest:
        return Bound(amount=0.0, why="models on this machine cost nothing")
    tokens = _run_bound(run, "tokens")
    if tokens.amount is None:
        return Bound(amount=None, why="no budget limits money or tokens")
    return Bound(amount=tokens.amount * dearest / 1e6, why=f"{tokens.why}, each token at its pool's highest price")


def _least(bounds: Sequence[Bound]) -> Bound:
    """Returns the smallest bound; if there is none, the first, which says why."""
    known = [(bound.amount, bound) for bound in bounds if bound.amount is not None]
    return min(known, key=lambda pair: pair[0])[1] if known else bounds[0]


def _join_reasons(words: Iterable[str]) -> str:
    return " or ".join(dict.fromkeys(words))
