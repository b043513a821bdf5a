"""What somebody who waits is told: what is left, and what the models do."""

from __future__ import annotations

import pytest

from symphony.run.progress import Calls, Counts, Made


def counts(done: int, share: float, seconds: float, monkeypatch: pytest.MonkeyPatch) -> Counts:
    run = Counts("run", 100, lambda *_: None)
    for _ in range(done):
        run.problem(success=True, calls=Calls(), made=Made(), share=share)
    monkeypatch.setattr("symphony.run.progress.time.monotonic", lambda: run.started + seconds)
    return run


def test_what_is_left_lies_between_what_has_ended_and_what_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    run = counts(4, 0.25, 10.0, monkeypatch)
    ended, begun = 10 * 96 / 4, 10 * 0.75 / 0.25
    assert begun < run.left < ended
    assert run.left == pytest.approx((ended * begun) ** 0.5)


@pytest.mark.parametrize("share", [0.0, 0.04, 1.0])
def test_without_work_begun_the_problems_that_ended_tell(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert counts(4, share, 10.0, monkeypatch).left == pytest.approx(240)


def test_what_models_make_is_told_by_agent_with_what_came_from_a_cache() -> None:
    made = Made()
    made.add("a", prompt=80, cached=60, generated=30)
    made.add("b", prompt=20, cached=0, generated=10)
    assert made.describe(2.0) == "20 tokens/s (a 15, b 5), 60% of the prompts from a cache"
    assert Made().describe(2.0) == ""
