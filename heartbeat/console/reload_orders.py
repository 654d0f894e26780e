"""Reloads of the site file that an operator ordered, and what came of each."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from heartbeat.console.view import Progress, Refused

RELOAD: Final = "reload"
MOST: Final = 20
"""Orders remembered."""


class ReloadOrders:
    """A file is read in a thread; orders that come meanwhile are settled together, by what was read last."""

    def __init__(self) -> None:
        self._count = 0
        self._orders: OrderedDict[str, Progress] = OrderedDict()

    def begin(self) -> Progress:
        """One more. Raises :class:`Refused` where too many wait."""
        if len(self._orders) >= MOST and next(iter(self._orders.values())).state == "running":
            raise Refused(f"{MOST} reloads are under way: wait for them")
        self._count += 1
        order = Progress(f"{RELOAD}-{self._count}", RELOAD, "running", "the site file is being read", 0, 1)
        self._orders[order.id] = order
        if len(self._orders) > MOST:
            self._orders.popitem(last=False)
        return order

    def settle(self, taken: bool, sentences: list[str]) -> None:
        """The file was read and taken, or refused; why, or what is new, a sentence each."""
        for name, order in self._orders.items():
            if order.state == "running":
                state = "done" if taken else "failed"
                self._orders[name] = Progress(name, RELOAD, state, "\n".join(sentences), 1, 1)

    def progress(self, name: str) -> Progress | None:
        """How far that order is; None: it is none of these."""
        return self._orders.get(name)
