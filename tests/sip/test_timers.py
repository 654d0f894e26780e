"""The values of RFC 3261 table 4, and the heap of deadlines."""

from __future__ import annotations

from random import Random

import pytest

from sip.timers import SWEEP, Deadlines, Timers


class Sleeper:
    def __init__(self) -> None:
        self.generation = 0
        self.woken: list[tuple[str, float]] = []

    def due(self, cause: str, now: float) -> None:
        self.woken.append((cause, now))


def test_base_values_are_those_of_table_4() -> None:
    timers = Timers()
    assert (timers.t1, timers.t2, timers.t4, timers.d, timers.lifetime) == (0.5, 4.0, 5.0, 32.0, 32.0)
    assert Timers(t1=0.1).lifetime == 6.4


def test_deadlines_fire_in_order_of_time_and_then_of_setting() -> None:
    deadlines, sleeper = Deadlines(), Sleeper()
    for at, cause in ((3.0, "c"), (1.0, "a"), (1.0, "b"), (9.0, "d")):
        deadlines.set(at, sleeper, cause)
    assert deadlines.next() == 1.0
    deadlines.fire(3.0)
    assert sleeper.woken == [("a", 3.0), ("b", 3.0), ("c", 3.0)]
    assert deadlines.next() == 9.0 and len(deadlines) == 1


def test_a_change_of_generation_annuls_what_was_set_before() -> None:
    deadlines, sleeper = Deadlines(), Sleeper()
    deadlines.set(1.0, sleeper, "old")
    sleeper.generation += 1
    deadlines.set(1.0, sleeper, "new")
    deadlines.fire(1.0)
    assert [cause for cause, _ in sleeper.woken] == ["new"]
    assert deadlines.next() is None


def test_what_is_set_while_firing_is_seen_in_the_same_turn() -> None:
    deadlines = Deadlines()

    class Chain(Sleeper):
        def due(self, cause: str, now: float) -> None:
            super().due(cause, now)
            if cause == "first":
                deadlines.set(1.5, self, "second")

    chain = Chain()
    deadlines.set(1.0, chain, "first")
    deadlines.fire(2.0)
    assert chain.woken == [("first", 2.0), ("second", 2.0)]


def test_one_that_raises_costs_no_other_its_deadline() -> None:
    deadlines, sleeper = Deadlines(), Sleeper()

    class Faulty(Sleeper):
        def due(self, cause: str, now: float) -> None:
            raise ValueError(cause)

    deadlines.set(1.0, sleeper, "before")
    deadlines.set(2.0, faulty := Faulty(), "fault")
    deadlines.set(2.0, sleeper, "behind")
    deadlines.set(1.5, sleeper, "of another lane")
    with pytest.raises(ValueError, match="fault"):
        deadlines.fire(3.0)
    assert [cause for cause, _ in sleeper.woken] == ["before", "of another lane"]
    assert faulty.woken == [] and deadlines.next() == 2.0
    deadlines.fire(3.0)
    assert [cause for cause, _ in sleeper.woken] == ["before", "of another lane", "behind"]
    assert len(deadlines) == 0


def test_ends_of_remembering_come_together_and_annulled_entries_wake_nobody() -> None:
    class Sleeper:
        generation = 0

        def __init__(self) -> None:
            self.woken: list[float] = []

        def due(self, cause: str, now: float) -> None:
            self.woken.append(now)

    deadlines, sleepers = Deadlines(), [Sleeper(), Sleeper(), Sleeper()]
    deadlines.set(1.0, sleepers[2], "annulled")
    sleepers[2].generation = 1
    deadlines.set_about(5.01, sleepers[0], "end")
    deadlines.set_about(5.2, sleepers[1], "end")
    assert deadlines.next() == 5.25
    deadlines.fire(5.25)
    assert [each.woken for each in sleepers] == [[5.25], [5.25], []]
    assert deadlines.next() is None and len(deadlines) == 0


def test_deadlines_of_any_order_fire_as_a_sorted_list_would() -> None:
    random = Random(7)
    deadlines, sleepers = Deadlines(), [Sleeper() for _ in range(50)]
    expected: list[tuple[float, int]] = []
    for number in range(5000):
        now = number / 100
        at = now + random.choice((0.5, 32.0, 5.0, random.uniform(0.0, 60.0), random.uniform(0.0, 1.0)))
        deadlines.set(at, sleepers[number % 50], str(number))
        expected.append((at, number))
    annulled = sleepers[13]
    annulled.generation += 1
    order: list[str] = []

    class Log(list[tuple[str, float]]):
        def append(self, entry: tuple[str, float]) -> None:
            order.append(entry[0])

    for sleeper in sleepers:
        sleeper.woken = Log()
    now = 0.0
    while (next_at := deadlines.next()) is not None:
        assert next_at >= now
        now = next_at
        deadlines.fire(now)
    assert [int(cause) for cause in order] == [number for _, number in sorted(expected) if number % 50 != 13]
    assert len(deadlines) == 0


def test_annulled_deadlines_do_not_pile_up_until_their_time() -> None:
    deadlines, lasting = Deadlines(), Sleeper()
    for number in range(20):
        deadlines.set(1000.0 + number, lasting, f"{number}")  # a lane each, then the heap
        deadlines.set(500.0 - number, lasting, f"before {number}")
    for number in range(10 * SWEEP):
        sleeper = Sleeper()
        deadlines.set(number + 180.0, sleeper, "no answer")
        sleeper.generation += 1
        deadlines.set(400.0 - number % 300, sleeper, "in no order")
        sleeper.generation += 1
    assert len(deadlines) < 5 * SWEEP
    deadlines.fire(2000.0)
    times = sorted((at, cause) for n in range(20) for at, cause in ((1000.0 + n, f"{n}"), (500.0 - n, f"before {n}")))
    assert [cause for cause, _ in lasting.woken] == [cause for _, cause in times]
