"""Reports a study's needs before anything is spent: memory of its pools, calls, tokens, hours, disk and price."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from symphony.agents.budget import money
from symphony.agents.ledger import Spent, read_ledger
from symphony.forecast import forecast
from symphony.forecast.bounds import bound, bounds, shown
from symphony.models.footprint import Footprint
from symphony.models.placement import ALLOWANCE, LOAD_RATE, describe_fit, fit, nearest, needed_by, reload_s
from symphony.plan.model_spec import ModelSpec, NotThere, models
from symphony.plan.specs import Run
from symphony.records.records import is_complete
from symphony.run.runner import Place
from symphony.types import SymphonyError

BYTES_A_TOKEN = 10
"""Bytes of records and call store per token used. An assumption; docs/models.md gives measurements."""

Say = Callable[[str], None]


def weights(runs: Iterable[Run], data: Path, say: Say) -> None:
    """Checks the weights of every local model as `symphony run` will; reports those that a command must still fetch.

    Raises:
        SymphonyError: A model's folder is missing or broken, and no command can repair it.
    """
    reported: set[str] = set()
    for run in runs:
        for name, spec in models(run.config).items():
            if not spec.has_weights:
                continue
            try:
                spec.folder(data)
            except NotThere as error:
                if str(error) not in reported:
                    say(f"{name}: {error}")
                reported.add(str(error))
            except SymphonyError as error:
                raise SymphonyError(f"pool {run.pool}, agent {name}: {error}") from error


def memory(
    runs: Iterable[Run],
    data: Path,
    sizes: Sequence[float],
    tokens: int,
    say: Say,
    load_rate: float = LOAD_RATE,
) -> dict[str, float]:
    """Reports for each pool whether its local models fit the devices together.

    It also reports at how many sequences they fit, and the cost of swapping if they do not.

    Args:
        runs: The study's runs.
        data: Folder of the downloads.
        sizes: Bytes of each device.
        tokens: Length of the longest sequence, prompt and completion.
        load_rate: Bytes of weights per second that a swap loads.

    Returns:
        For each pool with swapped models: seconds to load each of them once.

    Raises:
        SymphonyError: A pool holds a model that does not fit even alone; the message names the nearest pool that fits.
    """
    pools: dict[str, dict[str, Footprint]] = {}
    for run in runs:
        if run.pool not in pools:
            pools[run.pool] = _footprints(models(run.config), data, say)
    plans = {name: fit(pool, sizes, tokens) for name, pool in pools.items() if pool}
    for name, plan in plans.items():
        say(f"pool {name}:")
        for line in describe_fit(pools[name], plan, sizes, tokens, load_rate):
            say(f"  {line}")
    for name, plan in plans.items():
        if plan.spare < 0:
            other = nearest({key: pool for key, pool in pools.items() if pool}, sizes, tokens)
            allowed = f"a pool that fits, such as {other}" if other else "smaller or quantised models, or more memory"
            raise SymphonyError(f"pool {name}: found {_too_large(pools[name], sizes, tokens)}, allowed: {allowed}")
    return {name: reload_s(pools[name], plan, load_rate) for name, plan in plans.items() if plan.swapped}


def _too_large(pool: Mapping[str, Footprint], sizes: Sequence[float], tokens: int) -> str:
    needed = {name: needed_by(model, tokens) for name, model in pool.items()}
    name = max(needed, key=lambda name: needed[name])
    numbers = f"{name}: {needed[name] / 1e9:.1f} GB with one sequence, and {ALLOWANCE / 1e9:.1f} GB for the runtime"
    return f"a model that does not fit into {max(sizes) / 1e9:.1f} GB ({numbers})"


def _footprints(specs: dict[str, ModelSpec], data: Path, say: Say) -> dict[str, Footprint]:
    """Returns the footprints of the local models whose weights exist; reports the others."""
    footprints = {}
    for name, spec in specs.items():
        if not spec.has_weights:
            continue  # it answers from elsewhere and takes no memory here
        try:
            footprints[name] = spec.footprint(data)
        except NotThere:
            if spec.takes is None:
                say(f"{name}: not counted, because its weights are missing")
            else:
                say(f"{name}: its weights are missing, counted as `takes` in its option says")
                footprints[name] = spec.takes
    return footprints


# --------------------------------------------------------------------------- what it takes


def tell(runs: Sequence[Run], place: Place, say: Say, loading: Mapping[str, float] = MappingProxyType({})) -> None:
    """Prints the plan for readers: runs, bounds, and the estimate if there is one.

    Args:
        loading: For pools with swapped models: seconds to load each of them once.
    """
    study = runs[0].study
    done = sum(is_complete(place.run(run)) for run in runs)
    parts = {name: len({getattr(run, name) for run in runs}) for name in ("experiment", "task", "pool", "seed")}
    counted = ", ".join(_count(count, name) for name, count in parts.items())
    problems = sum(run.settings.problems for run in runs)
    say(f"{study}: {_count(len(runs), 'run')} of {_count(problems, 'problem')} ({counted}); finished: {done:,}")
    if ledger := read_ledger(place.ledger(study)):
        say(f"spent on its models so far: {_describe_spending(ledger)} ({place.ledger(study)})")
    say("at most, from the config (calls in flight can exceed limits of money, of seconds and of the study):")
    for limit, total in bounds(runs).items():
        say(f"  {shown(limit, total.amount)} ({total.why})")
    tokens = bound(runs, "tokens").amount
    if tokens is not None:
        say(f"  disk: about {_bytes(tokens * BYTES_A_TOKEN)}, assuming {BYTES_A_TOKEN:g} bytes a token")
    cells = len({(run.experiment, run.task) for run in runs})
    expected = forecast.estimate(runs, place)
    if expected is None:
        say(f"no estimate of calls, hours and likely costs: --pilot makes one from {forecast.PILOT} problems of each")
        return
    for line in _describe_estimate(expected, cells):
        say(line)
    for pool in (name for name in loading if name in expected.rounds):
        rounds, hours = expected.rounds[pool], expected.rounds[pool] * loading[pool] / 3600
        say(f"  pool {pool}: at most {hours:.2g} hours to load models, if each of {rounds:,} rounds loads all of them")


def _describe_spending(ledger: Sequence[Spent]) -> str:
    costs = [entry.money for entry in ledger if entry.money is not None]
    unknown = " and calls of unknown price" if len(costs) < len(ledger) else ""
    calls, tokens = sum(entry.calls for entry in ledger), sum(entry.tokens for entry in ledger)
    return f"{calls:,} calls, {tokens:,} tokens, {_dollars(sum(costs))}{unknown}"


def _describe_estimate(total: forecast.Estimate, cells: int) -> list[str]:
    price = "unknown, because a price is unknown" if total.dollars is None else _span(total.dollars, _dollars)
    lines = [
        f"expected for {_count(total.problems, 'problem')}, from {total.samples:,} finished (not a bound; in "
        "brackets: if each took as much as the cheapest or the dearest finished one of its experiment and task):",
        f"  calls: {_span(total.calls)}",
        f"  prompt tokens: {_span(total.prompt_tokens)}",
        f"  completion tokens: {_span(total.completion_tokens)}",
        f"  money: {price}; less where the call store answers",
        f"  disk: {_span(total.size, _bytes)}, records and call store",
    ]
    if total.cells < cells:
        unknown = f"{cells - total.cells} of {cells} pairs of experiment and task"
        lines.append(f"  not counted: {unknown}, which have no finished problem")
    for (name, spec), used in total.models.items():
        cost = spec.price.of(used.prompt_tokens, used.cached_tokens, used.completion_tokens)
        lines.append(
            f"  model {name} ({_model_name(spec)}): {used.calls:,.0f} calls, {used.prompt_tokens:,.0f} prompt and "
            f"{used.completion_tokens:,.0f} completion tokens, {'unknown price' if cost is None else _dollars(cost)}"
        )
    for pool, hours in total.hours.items():
        lines.append(
            f"  pool {pool}: {hours:.2g} hours (of GPU time if it uses a GPU) at {total.speed[pool]:,.0f} completion "
            "tokens a second, as in the finished problems; larger batches are faster"
        )
    return lines


def _span(spread: forecast.Range, form: Callable[[float], str] = lambda value: f"{value:,.0f}") -> str:
    return f"{form(spread.mean)} [{form(spread.least)}, {form(spread.most)}]"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' if number != 1 else ''}"


def _dollars(amount: float) -> str:
    return f"${money(amount)}"


def _bytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


def _model_name(spec: ModelSpec) -> str:
    arguments = spec.settings
    return str(arguments.get("model", arguments.get("path", spec.target)))
