"""Delays answers to parts of agents' lists after a takeover, so that single dialogs which are needed at once go
first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sip.layer import Stack
from sip.transaction import ServerTransaction

URGENT: Final = 1.0
"""Seconds after this server began to lead in which fetched dialogs go before the rest of the lists."""
LONG_ENOUGH: Final = "put off long enough"


class ListPace:
    """Delays the answers to parts of lists, and so the next parts, while single dialogs are being fetched for
    requests that wait. It does so only for ``URGENT`` seconds after this server began to lead.
    """

    __slots__ = ("_fetching", "_put_off", "_stack", "_until", "generation")

    def __init__(self, stack: Stack, fetching: Callable[[], bool]) -> None:
        self._stack = stack
        self._fetching = fetching
        self._put_off: list[ServerTransaction] = []
        self._until = 0.0
        self.generation = 0

    def begin(self, now: float) -> None:
        """This server begins to lead."""
        self._until = now + URGENT

    def put_off(self, transaction: ServerTransaction, now: float) -> bool:
        """Returns whether the answer to a part of a list must wait; if so, it is sent later from here."""
        if now >= self._until or not self._fetching():
            return False
        if not self._put_off:
            self._stack.deadlines.set(self._until, self, LONG_ENOUGH)
        self._put_off.append(transaction)
        return True

    def go_on(self, now: float) -> None:
        """A subscription is over: if it was the last fetch, answer the delayed parts."""
        if self._put_off and not self._fetching():
            self.due(LONG_ENOUGH, now)

    def due(self, cause: str, now: float) -> None:
        self.generation += 1
        put_off, self._put_off = self._put_off, []
        for transaction in put_off:
            self._stack.reply(transaction, 200, now)

    def clear(self) -> None:
        """Another server leads: forget the delayed answers."""
        self.generation += 1
        self._put_off.clear()
