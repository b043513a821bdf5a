"""One rule puts models on devices: for the plan of a study and for its run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.__main__ import main
from symphony.models.footprint import Footprint
from symphony.models.placement import describe_fit, fit, nearest, place

GB = 1e9


# --------------------------------------------------------------------------- where each lies


def test_the_largest_model_goes_where_most_memory_is_free() -> None:
    assert place({"small": 3, "large": 9}, {"cuda:0": 10, "cuda:1": 12}) == {"large": "cuda:1", "small": "cuda:0"}


def test_equal_models_on_equal_cards_are_dealt_out_in_order() -> None:
    placed = place({name: 5 for name in "abcd"}, {"cuda:0": 24, "cuda:1": 24})
    assert placed == {"a": "cuda:0", "b": "cuda:1", "c": "cuda:0", "d": "cuda:1"}


def test_two_small_models_share_a_card_beside_a_large_one() -> None:
    placed = place({"large": 14, "one": 6, "two": 7}, {"cuda:0": 24, "cuda:1": 24})
    assert placed["one"] == placed["two"] != placed["large"]


def test_without_models_nothing_is_placed() -> None:
    assert place({}, {"cuda:0": 24}) == {}


def test_models_that_leave_no_room_for_a_cache_when_spread_are_packed_instead() -> None:
    assert place({"six": 6.2, "five": 5.2, "other": 5.2}, {"large": 11, "small": 6.5}) == {
        "six": "small",
        "five": "large",
        "other": "large",
    }


def test_a_pool_that_does_not_fit_keeps_each_model_where_it_fits_alone() -> None:
    assert place({"a": 10, "b": 9, "c": 4}, {"large": 12, "small": 5}) == {"a": "large", "b": "large", "c": "small"}


@given(
    needed=st.lists(st.integers(1, 30), max_size=6),
    rooms=st.lists(st.integers(-2, 40), min_size=1, max_size=3),
)
def test_every_model_has_a_device_and_none_is_too_small_while_another_holds_it(
    needed: list[int], rooms: list[int]
) -> None:
    placed = place(dict(enumerate(needed)), dict(enumerate(rooms)))
    assert set(placed) == set(range(len(needed)))
    for name, at in placed.items():
        assert rooms[at] >= needed[name] or max(rooms) < needed[name]


# --------------------------------------------------------------------------- the plan of a pool


def model(gigabytes: float) -> Footprint:
    return Footprint(weights=int(gigabytes * GB), parameters=1, cache_per_token=100_000)


def test_a_pool_that_fits_stays_whole_and_shares_what_is_left_among_its_sequences() -> None:
    found = fit({"a": model(5), "b": model(5)}, [24 * GB], 4000, allowance=1 * GB)
    assert found.resident
    assert found.sequences == {"a": 16, "b": 16}  # 13 GB over 2 x 100 kB x 4,000


def test_a_pool_that_does_not_fit_is_swapped_and_each_model_has_the_device_alone() -> None:
    found = fit({"a": model(15), "b": model(15)}, [24 * GB], 4000, allowance=1 * GB)
    assert found.swapped == ("a", "b")
    assert found.sequences == {"a": 20, "b": 20}
    assert found.spare > 0


def test_a_pool_is_spread_over_devices_and_shares_each_among_its_own_models() -> None:
    pool = {"a": model(5), "b": model(5), "c": model(15)}
    assert not fit(pool, [24 * GB], 4000, allowance=1 * GB).resident
    found = fit(pool, [24 * GB, 24 * GB], 4000, allowance=1 * GB)
    assert found.resident
    assert found.devices == {"c": 0, "a": 1, "b": 1}
    assert found.sequences == {"a": 16, "b": 16, "c": 20}


def test_a_pool_that_fits_only_when_packed_tightly_is_packed() -> None:
    pool = {"a": model(9), "b": model(5), "c": model(5)}
    found = fit(pool, [13 * GB, 11 * GB], 1, allowance=1 * GB)
    assert found.devices == {"a": 1, "b": 0, "c": 0}


def test_a_model_is_not_split_between_devices() -> None:
    assert fit({"a": model(30)}, [24 * GB, 24 * GB], 4000, allowance=1 * GB).spare < 0


def test_the_plan_says_what_a_swap_costs() -> None:
    pool = {"a": model(15), "b": model(12)}
    lines = describe_fit(pool, fit(pool, [24 * GB], 4000), [24 * GB], 4000, load_rate=3 * GB)
    assert lines[-1].endswith("loads its weights again: a 5.0 s, b 4.0 s, 9.0 s for all of them, at 3.0 GB a second")


def test_of_the_pools_that_fit_the_largest_is_nearest() -> None:
    pools = {"big": {"a": model(30)}, "middle": {"a": model(10)}, "small": {"a": model(1)}}
    assert nearest(pools, [24 * GB], 4000) == "middle"
    assert nearest({"big": pools["big"]}, [24 * GB], 4000) is None


def test_only_the_models_of_a_crowded_device_are_swapped() -> None:
    pool = {"a": model(10), "b": model(9), "c": model(4)}
    found = fit(pool, [13 * GB, 6 * GB], 1, allowance=1 * GB)
    assert (found.swapped, found.devices) == (("a", "b"), {"a": 0, "b": 0, "c": 1})


def test_the_command_line_tells_the_fit_of_each_pool(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "quickstart", "--experiment", "symphony", "--memory", "24"]) == 0
    lines = capsys.readouterr().err
    assert "pool embedded_trio:" in lines
    assert "all 3 models stay in 24.0 GB together" in lines


def test_the_command_line_takes_several_devices(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "quickstart", "--experiment", "symphony", "--memory", "8,8"]) == 0
    lines = capsys.readouterr().err
    assert "all 3 models stay in 8.0 GB + 8.0 GB together" in lines
    assert "device 1 (8.0 GB): " in lines


def test_an_impossible_plan_is_refused_with_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "quickstart", "--experiment", "symphony", "--memory", "0.5", "--pilot"]) == 1
    error = capsys.readouterr().err
    assert "pool embedded_trio: found a model that does not fit into 0.5 GB (" in error
    assert "GB with one sequence, and 1.0 GB for the runtime), allowed: " in error
    assert "pilot:" not in error  # nothing was spent
