"""When the sockets of a busy program are read: together, some milliseconds apart, as network cards gather interrupts.

What costs a server most at a hundred calls a second is to be woken: each time the caches are cold, and there is one
message to show for it. So once messages come in quick succession, sockets that speak are not waited for any more but
looked at once a round, all in the same, and the next round is as far off as it takes for `ENOUGH` messages to gather,
`LONGEST` at most. A program with little to do reads each message at once, and a full socket is read on without a
pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

LONGEST: Final = 0.02
"""Seconds: the most that reading may be late."""
SHORTEST: Final = 0.002
"""Seconds between two rounds of a program that is very busy; less is not worth a timer."""
ENOUGH: Final = 12
"""Messages that are worth a round."""
BUSY: Final = 4
"""So many wake-ups within `LONGEST` begin the rounds; a round that finds fewer messages ends them."""
FULL: Final = 32
"""Messages of a socket read in one go, before answers go out and other sockets get their turn."""
PATIENCE: Final = 3
"""Rounds in a row in which a socket may have nothing to say before it is waited for again."""

CLOSED: Final = -1


class Source(Protocol):
    """A socket that is read."""

    def read(self, most: int) -> int:
        """Read up to about so many messages; how many they were, or `CLOSED`."""

    def watch(self) -> None:
        """Let the loop say when there is something to read, unless it is closed."""

    def unwatch(self) -> None:
        """Let it say so no more."""


class Rounds:
    """Reads the sockets of one loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, flush: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        """``flush`` is called behind what was read."""
        self._loop = loop
        self._flush = flush
        self._clock = clock
        self._sources: dict[Source, int] = {}
        """Those that are read in rounds, and how often in a row each had nothing to say."""
        self._next: asyncio.Handle | None = None
        self._span = LONGEST
        self._woken_since = 0.0
        self._woken = 0

    def woken(self, source: Source) -> None:
        """The loop says that there is something to read."""
        if self._next is not None:
            self._join(source)
            return
        found = source.read(1)  # to ask for another one costs a system call and an exception
        self._flush()
        if found != CLOSED and self._is_busy():
            self._join(source)

    def close(self) -> None:
        """No further round."""
        self._sources.clear()
        if self._next is not None:
            self._next.cancel()

    def _is_busy(self) -> bool:
        now = self._clock()
        if now - self._woken_since > LONGEST:
            self._woken_since, self._woken = now, 0
        self._woken += 1
        return self._woken >= BUSY

    def _join(self, source: Source) -> None:
        source.unwatch()
        self._sources[source] = 0
        if self._next is None:
            self._span = LONGEST
            self._next = self._loop.call_later(LONGEST, self._round)

    def _round(self) -> None:
        self._next = None
        full = False
        try:
            full = self._read()
        finally:  # whatever happened: who is not watched must be read
            if self._sources and self._next is None:
                self._next = (
                    self._loop.call_soon(self._round) if full else self._loop.call_later(self._span, self._round)
                )

    def _read(self) -> bool:
        """Read all of them; whether one may have more."""
        sources = self._sources
        total, full = 0, False
        for source in list(sources):
            found = source.read(FULL)
            if found > 0:
                total += found
                sources[source] = 0
                if found >= FULL:
                    full = True
                    self._flush()
            elif found == CLOSED:
                del sources[source]
            else:
                sources[source] += 1
        self._flush()
        if total < BUSY:
            self._let_go(0)
        else:
            self._let_go(PATIENCE)
            self._span = min(LONGEST, max(SHORTEST, (self._span + self._span * ENOUGH / total) / 2))
        return full

    def _let_go(self, patience: int) -> None:
        for source in [each for each, silent in self._sources.items() if silent >= patience]:
            del self._sources[source]
            source.watch()
