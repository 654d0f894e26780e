"""When the cycle collector looks at what."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from sip.io.gc_tuning import GarbageCollector


class Knot:
    """What only the collector frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def garbage() -> Iterator[GarbageCollector]:
    """Started at 0; what it does to the collector of this process is undone."""
    thresholds = gc.get_threshold()
    garbage = GarbageCollector()
    garbage.start(0.0)
    yield garbage
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def grow() -> None:
    """So something may have grown old."""
    for _ in range(50):
        gc.collect(0)


def test_automatic_collections_see_few_young_objects(garbage: GarbageCollector) -> None:
    """Each is a standstill as long as what it looks at."""
    seen: list[int] = []

    def watch(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            seen.append(info["generation"])

    gc.callbacks.append(watch)
    try:
        kept: list[list[int]] = [[] for _ in range(100_000)]
    finally:
        gc.callbacks.remove(watch)
    assert len(kept) == 100_000
    assert set(seen) == {0} and len(seen) >= 18


def test_young_objects_are_looked_at_by_the_number_of_inputs(garbage: GarbageCollector) -> None:
    """Python's own count is of what was made less what was freed: a steady load never passes its threshold."""
    seen: list[int] = []
    held = [[n] for n in range(4_000)]
    gc.collect(0)

    def watch(phase: str, info: dict[str, int]) -> None:
        seen.append(info["generation"])

    gc.callbacks.append(watch)
    try:
        for _ in range(50):
            for n in range(4_000):
                held[n] = [n]  # one comes, one goes
        garbage.collect(0, now=1.0)
        garbage.collect(249, now=1.0)
        assert not seen
        knot = Knot()
        gone = weakref.ref(knot)
        del knot
        garbage.collect(260, now=1.02)
        assert seen == [0, 0], "begun and ended"
        assert gone() is None
        garbage.collect(509, now=1.04)
        assert seen == [0, 0]
        garbage.collect(510, now=1.06)
        assert seen == [0, 0] * 2
    finally:
        gc.callbacks.remove(watch)


def test_full_collections_wait_for_a_quiet_moment_and_grow_seldom(garbage: GarbageCollector) -> None:
    grow()
    assert not garbage.collect(0, now=59.0)
    assert not garbage.collect(1, now=61.0)
    assert garbage.collect(1, now=62.0)
    grow()
    assert not garbage.collect(1, now=130.0), "it found little: twice the interval"
    assert garbage.collect(1, now=183.0)
    assert not garbage.collect(1, now=183.0 + 9999.0), "nothing grew since"


def test_no_full_collection_while_much_is_held(garbage: GarbageCollector) -> None:
    """It would stop the loop for as long as it takes to look at all of it."""
    held = [(object(),) for _ in range(40_000)]
    grow()
    assert not garbage.collect(0, now=100.0)
    del held
    assert not garbage.collect(0, now=159.0), "it looks again after a minute"
    assert garbage.collect(0, now=160.0)


def test_a_heap_that_stays_swollen_is_looked_through_after_an_hour(garbage: GarbageCollector) -> None:
    held = [Knot() for _ in range(100_000)]
    first = weakref.ref(held[0])
    grow()
    del held
    for now, inputs in ((100.0, 0), (3599.0, 0), (3599.0, 1)):
        assert not garbage.collect(inputs, now)
    assert first() is not None
    assert garbage.collect(2, now=3660.0), "no moment is ever quiet"
    assert first() is None


def test_a_heap_that_is_large_in_earnest_is_not_looked_through_again(garbage: GarbageCollector) -> None:
    held = [(object(),) for _ in range(60_000)]
    grow()
    assert garbage.collect(0, now=3660.0)
    grow()
    assert not garbage.collect(0, now=9000.0), "as large as it was after the last one"
    assert len(held) == 60_000


def test_the_longest_is_told(garbage: GarbageCollector) -> None:
    assert garbage.longest_s == 0.0
    grow()
    garbage.collect(0, now=62.0)
    assert garbage.longest_s > 0.0
