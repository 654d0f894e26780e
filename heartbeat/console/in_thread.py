"""Work for which the loop must not stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class InThread(Generic[T]):
    """Something that a thread does, once at a time: reading a large site file takes seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], T], then: Callable[[T], None]) -> None:
        self._loop = loop
        self._work = work
        self._then = then
        self._busy = False
        self._again = False

    @property
    def busy(self) -> bool:
        """Whether it is being done."""
        return self._busy

    def ask(self) -> None:
        """Do it; what is asked for meanwhile is done once more afterwards."""
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
