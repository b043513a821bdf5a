"""Rules of the agents' memory (paper Eq. 3)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symphony.agents.memory import Lessons, Memory, NoMemory, PoolFifo, PrivateFifo, Relevant, relevance, situation
from symphony.types import Problem, Reflection, SymphonyError, Turn

PROBLEM = Problem(id="1", prompt="Find the red door.", target=None)


def lesson(number: int, agent: int = 0, situation: str = "") -> Reflection:
    text = f"lesson {number}"
    return Reflection(text=text, agent=agent, node=number, key=str(number), iteration=1, situation=situation)


def turn(action: str, observation: str = "") -> Turn:
    return Turn(thought="", action=action, observation=observation)


def seen(memory: Memory, held: Lessons, agent: int = 0, *path: Turn) -> tuple[str, ...]:
    return memory.view(held, agent, PROBLEM, path)


def filled(memory: Memory, *lessons: Reflection) -> Lessons:
    held: Lessons = ()
    for one in lessons:
        held = memory.add(held, one)
    return held


def test_the_fourth_failure_evicts_the_first():
    held = filled(PoolFifo(size=3), *(lesson(number) for number in (1, 2, 3, 4)))
    assert seen(PoolFifo(size=3), held, 0) == ("lesson 2", "lesson 3", "lesson 4")


def test_a_shared_lesson_reaches_every_agent():
    held = filled(PoolFifo(), lesson(1, agent=2))
    assert all(seen(PoolFifo(), held, agent) == ("lesson 1",) for agent in range(3))


def test_a_private_lesson_reaches_its_writer_only():
    held = filled(PrivateFifo(), lesson(1, agent=0), lesson(2, agent=1))
    assert [seen(PrivateFifo(), held, agent) for agent in range(3)] == [("lesson 1",), ("lesson 2",), ()]


def test_private_buffers_are_of_the_size_each():
    memory = PrivateFifo(size=2)
    held = filled(memory, lesson(1, 0), lesson(2, 0), lesson(3, 1), lesson(4, 0))
    assert (seen(memory, held, 0), seen(memory, held, 1)) == (("lesson 2", "lesson 4"), ("lesson 3",))


def test_adding_leaves_the_old_lessons_unchanged():
    held = filled(PoolFifo(size=1), lesson(1))
    PoolFifo(size=1).add(held, lesson(2))
    assert held == (lesson(1),)


def test_no_memory_holds_and_asks_for_nothing():
    assert filled(NoMemory(), lesson(1)) == ()
    assert seen(NoMemory(), (lesson(1),), 0) == ()
    assert not NoMemory().reflects


# ------------------------------------------------------------------ relevance


def test_a_situation_is_the_problem_and_what_was_done_and_seen():
    assert situation(PROBLEM, [turn("go[east]", "a wall")]) == "Find the red door.\ngo[east]\na wall"


def test_relevance_is_bm25():
    # "red" is in one of two texts: idf = ln(1 + 1.5 / 1.5) = ln 2. Its text has 3 words of 2 in the mean, twice "red":
    # ln 2 * 2 * 2.2 / (2 + 1.2 * (.25 + .75 * 3 / 2))
    expected = math.log(2) * 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 1.5))
    assert relevance("Red or green?", ["red RED door", "blue"]) == pytest.approx([expected, 0])


def test_a_word_that_every_failure_has_decides_less_than_one_that_few_have():
    first, second, _ = relevance("door key", ["door door door", "door key", "door"])
    assert second > first


def test_the_lessons_of_the_likest_failures_are_shown_in_the_order_written():
    memory = Relevant(size=2, keep=9)
    held = filled(
        memory,
        lesson(1, situation="Find the red door. go north, a lake"),
        lesson(2, situation="Find the red door. go west, a tower"),
        lesson(3, situation="Find the red door. go north, a boat on the lake"),
        lesson(4, situation="Find the red door. go south, a wood"),
    )
    assert seen(memory, held, 0, turn("go north", "a lake")) == ("lesson 1", "lesson 3")
    assert seen(memory, held, 1, turn("go west", "a tower"))[0] == "lesson 2"


def test_of_equally_like_lessons_the_newest_are_shown_as_a_fifo_would():
    memory = Relevant(size=2, keep=9)
    held = filled(memory, *(lesson(number, situation=PROBLEM.prompt) for number in (1, 2, 3)))
    assert seen(memory, held) == seen(PoolFifo(size=2), held[-2:]) == ("lesson 2", "lesson 3")


@given(st.integers(1, 5), st.integers(0, 5), st.lists(st.text(max_size=20), max_size=12), st.text(max_size=20))
def test_relevant_shows_at_most_size_of_at_most_keep_and_never_what_it_forgot(size, more, situations, action):
    memory = Relevant(size=size, keep=size + more)
    held = filled(memory, *(lesson(number, situation=text) for number, text in enumerate(situations)))
    assert held == tuple(lesson(number, situation=text) for number, text in enumerate(situations))[-memory.keep :]
    shown = seen(memory, held, 0, turn(action))
    assert len(shown) == min(size, len(held))
    numbers = [int(text.removeprefix("lesson ")) for text in shown]
    assert numbers == sorted(set(numbers))
    assert set(numbers) <= {one.node for one in held}


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: PoolFifo(size=0), r"memory\.size"),
        (lambda: PrivateFifo(scope="week"), r"memory\.scope"),  # type: ignore[arg-type]
        (lambda: Relevant(size=3, keep=2), r"memory\.keep"),
    ],
)
def test_an_impossible_value_is_refused_with_its_key(make, key):
    with pytest.raises(SymphonyError, match=key):
        make()
