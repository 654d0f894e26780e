"""Python's cycle collector, tuned for a server that holds hundreds of thousands of objects for hours.

A full collection visits every object while all calls wait: with the transactions of 6,000 calls that ended in the
last half minute it takes some 0.1 s, and Python starts one each time that the heap has grown by a quarter. So
automatic collections are limited to the youngest generation. Python's threshold does not bound these, as it counts
allocations less deallocations: under a steady load, where as much is freed as allocated, 100,000 objects gather
before it is exceeded, and the loop then stands still for 80 ms. So young collections are started by the number of
inputs: often enough that each takes a few milliseconds, and seldom enough that most objects of a message have been
freed by reference counting. (One at each tick took 5 % of a server's time.) The threshold remains for bursts.

Full collections are started here when no message comes and the heap is small, and at longer intervals as long as they
find little: the cores break their cycles at the end of a call. Only a heap that for an hour stays several times as
large as after the last full collection is collected under load, since it may be full of cycles.
"""

from __future__ import annotations

import gc
import logging
import sys
from typing import Final

from sip.io.clock import boottime

logger = logging.getLogger(__name__)

# (objects before a young collection, young ones before a middle one: never, middle ones before a full one: never)
_THRESHOLDS: Final = (5_000, 2**31 - 1, 2**31 - 1)
_INPUTS: Final = 250  # between two young collections, of half a millisecond each; a message leaves some five objects
_SHORTEST_S: Final = 60.0
_LONGEST_S: Final = 3600.0
_WORTH_IT: Final = 10_000  # objects found by a full collection; with fewer the interval is doubled
_GROWN: Final = 50  # young collections after which a full one may find anything
_SMALL_HEAP: Final = 25_000  # memory blocks allocated since the start, at half a microsecond each
_GROWTH_FACTOR: Final = 4  # times the memory blocks after the last full collection


class GarbageCollector:
    """Starts the collections of a process."""

    def __init__(self) -> None:
        self._inputs = self._young_at = 0
        self._interval = _SHORTEST_S
        self._look_at = self._last_at = 0.0
        self._at_start = 0
        self._left = _SMALL_HEAP
        self.longest_s = 0.0
        """Seconds that the longest full collection took."""

    def start(self, now: float) -> None:
        """Call once all is loaded: the objects of now are exempt from all further collections (`gc.freeze`)."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
        self._at_start = sys.getallocatedblocks()
        self._last_at = now
        self._look_at = now + self._interval

    def collect(self, inputs: int, now: float) -> bool:
        """Call at each tick; ``inputs`` counts those since the start. Makes a young collection after every so many
        inputs, and a full one when it is due, no input came since the last tick and it would be short. Returns
        whether it made a full one.
        """
        quiet, self._inputs = inputs == self._inputs, inputs
        if inputs - self._young_at >= _INPUTS:
            self._young_at = inputs
            gc.collect(0)
        late = now >= self._last_at + _LONGEST_S
        if now < self._look_at or not (quiet or late):
            return False
        self._look_at = now + _SHORTEST_S
        if gc.get_count()[1] < _GROWN:  # hardly any object was promoted since the last full one
            return False
        held = sys.getallocatedblocks() - self._at_start
        if not (quiet and held <= _SMALL_HEAP) and not (late and held >= self._left * _GROWTH_FACTOR):
            return False
        began = boottime()
        found = gc.collect()
        took = boottime() - began
        self.longest_s = max(self.longest_s, took)
        self._left = max(_SMALL_HEAP, sys.getallocatedblocks() - self._at_start)
        self._interval = _SHORTEST_S if found > _WORTH_IT else min(_LONGEST_S, self._interval * 2)
        self._last_at = now
        self._look_at = now + self._interval
        logger.debug("full collection: %d objects in %.0f ms", found, took * 1e3)
        return True
