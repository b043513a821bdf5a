"""An action that brings the same page again is told so where a run asks for it; official environments are silent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from symphony.tasks.hotpotqa.corpus import Paragraphs
from symphony.tasks.hotpotqa.task import Data, HotpotQA
from symphony.tasks.repeats import NOTICE
from symphony.types import State

PAGES = Paragraphs({"Vell": ("Vell is a valley.", "Vell has a mill."), "Oak": ("Oak is a tree.",)})


def play(actions: list[str], *, repeats: str) -> list[str]:
    task = HotpotQA(count=1, repeats=repeats)  # type: ignore[arg-type]
    state = State(observation="", data=Data(gold="x", corpus=PAGES))
    told = []
    for action in actions:
        state = task.step(state, action)
        told.append(state.observation)
    return told


def test_the_same_action_with_the_same_page_is_told() -> None:
    first, second, third = play(["search[Vell]", "search[Vell]", "search[Oak]"], repeats="told")
    assert second == f"{first}\n{NOTICE}"
    assert NOTICE not in first + third


def test_the_same_action_that_brings_something_else_is_not_told() -> None:
    _, one, two, last, again = play(["search[Vell]", *["lookup[Vell]"] * 4], repeats="told")
    assert one != two
    assert not any(NOTICE in text for text in (one, two, last))
    assert NOTICE in again


@pytest.mark.parametrize("actions", [["search[Vell]"] * 3, ["jump[Vell]"] * 2])
def test_the_official_environment_says_nothing(actions: list[str]) -> None:
    assert not any(NOTICE in text for text in play(actions, repeats="official"))


def test_branches_do_not_see_each_other() -> None:
    task = HotpotQA(count=1, repeats="told")
    root = State(observation="", data=Data(gold="x", corpus=PAGES))
    assert task.step(root, "search[Vell]") == task.step(replace(root), "search[Vell]")
