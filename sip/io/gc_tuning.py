"""Python's cycle collector, tuned for a server that holds 100,000s of objects for hours.

A full collection looks at every object there is, while all calls wait: with the memories of 6,000 calls that ended in
the last half minute it takes some 0.1 s, and Python makes one each time that the heap has grown by a quarter. So
automatic ones see young objects only. Python's own threshold is no bound for these, for it counts what was made less
what was freed: under a steady load, where one call's memory is given back for each that is new, 100,000 objects have
gathered before it is passed, and the loop stands still for 80 ms. So it is done by the number of inputs: often enough
that each time takes a few milliseconds, and seldom enough that most of what a message makes is gone by itself by
then. After each tick it cost 5 % of a server's time. The threshold is there for the bursts.

Full ones are made here, when nothing is going on and little is held, and ever more seldom as long as they find
little: a core that breaks its cycles at the end of a call is freed by reference counts. Only a heap that stays
several times as large as it was for an hour is looked through whatever is going on: it may be full of what nothing
else frees.
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
_INPUTS: Final = 1_000  # between two young collections; a message leaves some five objects behind
_SHORTEST_S: Final = 60.0
_LONGEST_S: Final = 3600.0
_WORTH_IT: Final = 10_000  # objects found; fewer are not worth a standstill
_GROWN: Final = 50  # young collections behind which something may have grown old
_LITTLE: Final = 25_000  # blocks of memory since the start, at half a microsecond each
_SWOLLEN: Final = 4  # times what there was after the last full collection


class Garbage:
    """Decides when to look for cycles among old objects."""

    def __init__(self) -> None:
        self._inputs = self._young_at = 0
        self._interval = _SHORTEST_S
        self._look_at = self._last_at = 0.0
        self._at_start = 0
        self._left = _LITTLE
        self.longest_s = 0.0
        """The longest full collection so far."""

    def start(self, now: float) -> None:
        """Call it once everything is loaded: what is there now is never looked at again."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
        self._at_start = sys.getallocatedblocks()
        self._last_at = now
        self._look_at = now + self._interval

    def collect(self, inputs: int, now: float) -> bool:
        """To be called at each tick; ``inputs``: how many came since the start. Look at what is young after so many,
        or make a full collection when one is due, in a quiet moment, when none came, if it is short. Returns whether
        it made a full one.
        """
        quiet, self._inputs = inputs == self._inputs, inputs
        if inputs - self._young_at >= _INPUTS:
            self._young_at = inputs
            gc.collect(0)
        late = now >= self._last_at + _LONGEST_S
        if now < self._look_at or not (quiet or late):
            return False
        self._look_at = now + _SHORTEST_S
        if gc.get_count()[1] < _GROWN:  # hardly anything grew old since the last full one
            return False
        held = sys.getallocatedblocks() - self._at_start
        if not (quiet and held <= _LITTLE) and not (late and held >= self._left * _SWOLLEN):
            return False
        began = boottime()
        found = gc.collect()
        took = boottime() - began
        self.longest_s = max(self.longest_s, took)
        self._left = max(_LITTLE, sys.getallocatedblocks() - self._at_start)
        self._interval = _SHORTEST_S if found > _WORTH_IT else min(_LONGEST_S, self._interval * 2)
        self._last_at = now
        self._look_at = now + self._interval
        logger.debug("full collection: %d objects in %.0f ms", found, took * 1e3)
        return True
