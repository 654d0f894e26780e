"""Work that is done in a thread, so as not to block the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class InThread(Generic[T]):
    """Runs ``work`` in a thread, one run at a time, then calls ``then`` with its result in the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], T], then: Callable[[T], None]) -> None:
        self._loop = loop
        self._work = work
        self._then = then
        self._busy = False
        self._again = False

    @property
    def busy(self) -> bool:
        """Whether it is running."""
        return self._busy

    def ask(self) -> None:
        """Start a run; if one is under way, another follows it, and only its result is passed on."""
        if self._busy:
            self._again = True
            return
        self._busy = True
        self._loop.run_in_executor(None, self._work).add_done_callback(self._done)

    def _done(self, done: asyncio.Future[T]) -> None:
        self._busy = False
        if self._again:
            self._again = False
            self.ask()
        else:
            self._then(done.result())
