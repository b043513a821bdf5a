"""Rules of the agents' memory (paper Eq. 3)."""

from __future__ import annotations

import pytest

from symphony.memory import Lessons, Memory, NoMemory, PoolFifo, PrivateFifo
from symphony.types import Reflection, SymphonyError


def lesson(number: int, agent: int = 0) -> Reflection:
    return Reflection(text=f"lesson {number}", agent=agent, node=number, key=str(number), iteration=1)


def filled(memory: Memory, *lessons: Reflection) -> Lessons:
    held: Lessons = ()
    for one in lessons:
        held = memory.add(held, one)
    return held


def test_the_fourth_failure_evicts_the_first():
    held = filled(PoolFifo(size=3), *(lesson(number) for number in (1, 2, 3, 4)))
    assert PoolFifo(size=3).view(held, 0) == ("lesson 2", "lesson 3", "lesson 4")


def test_a_shared_lesson_reaches_every_agent():
    held = filled(PoolFifo(), lesson(1, agent=2))
    assert all(PoolFifo().view(held, agent) == ("lesson 1",) for agent in range(3))


def test_a_private_lesson_reaches_its_writer_only():
    held = filled(PrivateFifo(), lesson(1, agent=0), lesson(2, agent=1))
    assert [PrivateFifo().view(held, agent) for agent in range(3)] == [("lesson 1",), ("lesson 2",), ()]


def test_private_buffers_are_of_the_size_each():
    memory = PrivateFifo(size=2)
    held = filled(memory, lesson(1, 0), lesson(2, 0), lesson(3, 1), lesson(4, 0))
    assert (memory.view(held, 0), memory.view(held, 1)) == (("lesson 2", "lesson 4"), ("lesson 3",))


def test_adding_leaves_the_old_lessons_unchanged():
    held = filled(PoolFifo(size=1), lesson(1))
    PoolFifo(size=1).add(held, lesson(2))
    assert held == (lesson(1),)


def test_no_memory_holds_and_asks_for_nothing():
    assert filled(NoMemory(), lesson(1)) == ()
    assert NoMemory().view((lesson(1),), 0) == ()
    assert not NoMemory().reflects


@pytest.mark.parametrize(
    ("make", "key"),
    [(lambda: PoolFifo(size=0), r"memory\.size"), (lambda: PrivateFifo(scope="week"), r"memory\.scope")],
)
def test_an_impossible_value_is_refused_with_its_key(make, key):
    with pytest.raises(SymphonyError, match=key):
        make()
