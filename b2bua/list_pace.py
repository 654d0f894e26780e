"""Puts answers to parts of agents' lists off after a takeover, so that what somebody waits for comes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sip.layer import Stack
from sip.transaction import ServerTransaction

URGENT: Final = 1.0
"""Seconds after this server began to lead in which what somebody waits for goes before the rest of the lists."""
LONG_ENOUGH: Final = "put off long enough"


class ListPace:
    """Puts the answers to parts of lists off, and with them the next parts: as long as single dialogs are being
    fetched, because somebody waits in a call, what is not waited for shall not stand in front of them; only when this
    server has just begun to lead, and for a bounded time.
    """

    __slots__ = ("_fetching", "_put_off", "_stack", "_until", "generation")

    def __init__(self, stack: Stack, fetching: Callable[[], bool]) -> None:
        self._stack = stack
        self._fetching = fetching
        self._put_off: list[ServerTransaction] = []
        self._until = 0.0
        self.generation = 0

    def begin(self, now: float) -> None:
        """This server leads."""
        self._until = now + URGENT

    def put_off(self, transaction: ServerTransaction, now: float) -> bool:
        """Whether the answer to a part of a list is to wait."""
        if now >= self._until or not self._fetching():
            return False
        if not self._put_off:
            self._stack.deadlines.set(self._until, self, LONG_ENOUGH)
        self._put_off.append(transaction)
        return True

    def go_on(self, now: float) -> None:
        """A subscription is over: answer the parts when it was the last fetch."""
        if self._put_off and not self._fetching():
            self.due(LONG_ENOUGH, now)

    def due(self, cause: str, now: float) -> None:
        self.generation += 1
        put_off, self._put_off = self._put_off, []
        for transaction in put_off:
            self._stack.reply(transaction, 200, now)

    def clear(self) -> None:
        """Another server leads."""
        self.generation += 1
        self._put_off.clear()
