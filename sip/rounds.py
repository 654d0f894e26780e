"""When busy sockets are read: together, every few milliseconds, as network cards gather interrupts.

What costs a server most at a hundred calls a second is to be woken: each time the caches are cold, and there is one
message to show for it. So a socket that spoke twice within `GATHER` is not waited for any more but looked at once a
round, all such sockets in the same round, until one has nothing to say. The first message after a pause is read at
once; a busy server answers some milliseconds later, and a full socket is read on without a pause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

GATHER: Final = 0.008
"""Seconds between two rounds: the most that reading may be late."""

NOTHING: Final = "nothing"
SOME: Final = "some"
MORE: Final = "more"
CLOSED: Final = "closed"


class Source(Protocol):
    """A socket that is read."""

    def read(self) -> str:
        """Read what there is, within a limit: `NOTHING`, `SOME`, `MORE` when there may be more, `CLOSED`."""

    def watch(self) -> None:
        """Let the loop say when there is something to read."""

    def unwatch(self) -> None:
        """Let it say so no more."""


class Rounds:
    """Reads the busy sockets of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, flush: Callable[[], None]) -> None:
        """``flush`` is called behind what was read."""
        self._loop = loop
        self._flush = flush
        self._busy: list[Source] = []
        self._next: asyncio.Handle | None = None

    def join(self, source: Source) -> None:
        """Read this one in rounds until it falls silent."""
        source.unwatch()
        self._busy.append(source)
        if self._next is None:
            self._next = self._loop.call_later(GATHER, self._round)

    def close(self) -> None:
        """No further round."""
        self._busy.clear()
        if self._next is not None:
            self._next.cancel()

    def _round(self) -> None:
        busy, self._busy = self._busy, []
        self._next = None
        full = False
        for source in busy:
            found = source.read()
            if found is NOTHING:
                source.watch()
            elif found is not CLOSED:
                self._busy.append(source)
                if found is MORE:
                    full = True
                    self._flush()
        self._flush()
        if self._busy and self._next is None:
            self._next = self._loop.call_soon(self._round) if full else self._loop.call_later(GATHER, self._round)
