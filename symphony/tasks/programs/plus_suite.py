"""MBPP+ (EvalPlus): a program must agree with the reference on many inputs, compared as in EvalPlus."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from symphony.tasks.programs.python_source import joined
from symphony.tasks.programs.python_suite import Report, literal, outcome_of
from symphony.tasks.programs.sandbox import Evaluation, Limits, PythonSandbox

AS_SETS = {
    *("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum"),
    *("intersection_array", "find_dissimilar", "Diff"),
}
"""Functions whose result is compared as a set. Source: EvalPlus, MBPP_OUTPUT_SET_EQ_TASKS."""
AS_FOUND = {"check_str", "text_match_three", "text_starta_endb"}
"""Functions whose result only counts as None or not None. Source: EvalPlus, MBPP_OUTPUT_NOT_NONE_TASKS."""
ALSO_RIGHT = {"are_equivalent": True, "sum_div": 0}
"""Functions for which EvalPlus also accepts this value for every input, because the original tests do."""
_FOUND = "(lambda found: found if found in (True, False) else found is not None)({})"
FLOAT_ATOL = 1e-6
"""Absolute tolerance for floats if the row gives none. Source: EvalPlus."""
_MAX_CHARS = 4 << 20
RTOL = 1e-7
"""Relative tolerance. Source: numpy.testing.assert_allclose, which EvalPlus uses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlusSuite:
    """What a program is tested with.

    Attributes:
        entry: Name of the function.
        arguments: For each call, the list of its arguments as an expression.
        base: How many of the calls are base inputs, which EvalPlus checks separately from those it added.
        reference: The canonical solution.
        atol: Absolute tolerance, >= 0.
    """

    entry: str
    arguments: tuple[str, ...]
    reference: str
    atol: float
    base: int = 0


def judge(box: PythonSandbox, program: str, suite: PlusSuite, limits: Limits) -> Report:
    """Runs a program on every input and compares it with the reference.

    Raises:
        SymphonyError: No interpreter can be started.
    """
    wanted = _reference(box, suite)
    if isinstance(wanted, str):
        nothing = (False,) * len(suite.arguments)
        return Report(outcome="broken_test", passed=nothing, shown=("",) * len(nothing), detail=wanted)
    ran = _call(box, program, suite, limits)
    same = [
        value is not None and _agree(suite, value, want, atol)
        for value, want, atol in zip(ran.values, wanted, _tolerances(suite, wanted), strict=False)
    ]
    also = repr(ALSO_RIGHT.get(suite.entry))
    if also != "None" and len(ran.values) == len(wanted) and all(value == also for value in ran.values):
        same = [True] * len(wanted)
    passed = (*same, *[False] * (len(wanted) - len(same)))
    reached = tuple(value or error for value, error in zip(ran.values, ran.errors, strict=True))
    shown = (*reached, *[ran.error] * (len(wanted) - len(reached)))
    return Report(outcome=outcome_of(ran, all(passed)), passed=passed, shown=shown, detail=ran.error)


def _call(box: PythonSandbox, program: str, suite: PlusSuite, limits: Limits) -> Evaluation:
    form = _FOUND if suite.entry in AS_FOUND else "{}"
    calls = [form.format(f"{suite.entry}(*{arguments})") for arguments in suite.arguments]
    return box.evaluate(joined("inf, nan = float('inf'), float('nan')", program), calls, limits, needs=suite.entry)


@lru_cache(maxsize=512)
def _reference(box: PythonSandbox, suite: PlusSuite) -> tuple[str, ...] | str:
    """Returns the reference's result for each input, or, if it fails, the reason."""
    ran = _call(box, suite.reference, suite, Limits(cpu_s=60, wall_s=60.0, max_chars=_MAX_CHARS))
    if ran.outcome != "ok" or None in ran.values:
        reason = ran.error or next(error for error in ran.errors if error)
        return f"its reference fails: {reason}"
    return tuple(value for value in ran.values if value is not None)


def _tolerances(suite: PlusSuite, wanted: Sequence[str]) -> Iterator[float]:
    """Yields each call's tolerance; if the row gives none, `FLOAT_ATOL` from the first expected float on.

    Source: EvalPlus, unsafe_execute, which is called once for the base inputs and once for the added ones.
    """
    for calls in (wanted[: suite.base], wanted[suite.base :]):
        atol = suite.atol
        for want in calls:
            value = literal(want) if atol == 0 else None
            atol = FLOAT_ATOL if value and _floats(value[0]) else atol
            yield atol


def _agree(suite: PlusSuite, value: str, want: str, atol: float) -> bool:
    """Whether two values, given as expressions, are the same by EvalPlus' rules."""
    if value == want:  # even if both hold a nan, which its comparison of floats treats as equal
        return True
    left, right = literal(value), literal(want)
    if left is None or right is None:
        return False
    actual, wanted = left[0], right[0]
    try:
        if suite.entry in AS_SETS:
            return set(actual) == set(wanted)  # type: ignore[call-overload]
        if actual == wanted:
            return True
        return atol != 0 and _close(actual, wanted, atol)
    except (TypeError, RecursionError):
        return False


def _floats(value: object) -> bool:
    """Whether a value is a float, or a list or tuple of floats."""
    return isinstance(value, float) or (
        isinstance(value, (list, tuple)) and all(isinstance(item, float) for item in value)
    )


def _close(actual: object, wanted: object, atol: float) -> bool:
    if isinstance(wanted, (list, tuple)) and isinstance(actual, (list, tuple)):
        return len(actual) == len(wanted) and all(_close(a, b, atol) for a, b in zip(actual, wanted, strict=True))
    if isinstance(actual, (int, float, complex)) and isinstance(wanted, (int, float, complex)):
        if isinstance(actual, complex) or isinstance(wanted, complex):
            return abs(actual - wanted) <= atol + RTOL * abs(wanted)
        if math.isnan(actual) or math.isnan(wanted) or math.isinf(actual) or math.isinf(wanted):
            return actual == wanted or (math.isnan(actual) and math.isnan(wanted))
        return abs(actual - wanted) <= atol + RTOL * abs(wanted)
    return False


# --------------------------------------------------------------------------- inputs

_TUPLES = "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809"
_LISTS_OF_TUPLES = "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780"
_FIRST_IS_LIST_OF_TUPLES = "75 413 444 753"
_FIRST_IS_TUPLE = "250 405 446 617 720 763 808 307"
_TUPLES_OF_TUPLES = "259 401 445"
_DEEP = "580 615 791"


def inputs(id: str, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Converts arguments to types that JSON cannot represent. Source: EvalPlus, mbpp_deserialize_inputs."""
    number = id.rpartition("/")[2]
    convert = next((convert for numbers, convert in _CONVERTERS if number in numbers.split()), list)
    return [convert(list(arguments)) for arguments in rows]


def _deep(value: Any) -> Any:
    return tuple(_deep(item) for item in value) if isinstance(value, list) else value


_CONVERTERS: tuple[tuple[str, Any], ...] = (
    (_TUPLES, lambda a: [tuple(x) for x in a]),
    (_LISTS_OF_TUPLES, lambda a: [[tuple(y) for y in x] for x in a]),
    (_FIRST_IS_LIST_OF_TUPLES, lambda a: [[tuple(y) for y in a[0]], *a[1:]]),
    ("106 750", lambda a: [a[0], tuple(a[1])]),
    ("115", lambda a: [[set(x) if isinstance(x, list) and x else {} for x in a[0]]]),
    ("124", lambda a: [float(a[0]), complex(a[1])]),
    (_FIRST_IS_TUPLE, lambda a: [tuple(a[0]), *a[1:]]),
    (_TUPLES_OF_TUPLES, lambda a: [tuple(tuple(y) for y in x) for x in a]),
    ("278", lambda a: [tuple(tuple(y) if isinstance(y, list) else y for y in x) for x in a]),
    ("722", lambda a: [{key: tuple(value) for key, value in a[0].items()}, *a[1:]]),
    ("252", lambda a: [complex(a[0])]),
    (_DEEP, lambda a: [_deep(x) for x in a]),
)
