"""Reloads of the site file, and changes of its provisioned part, that were ordered, and what came of each."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from heartbeat.console.contract import Progress, Refused

RELOAD: Final = "reload"
PROVISION: Final = "provision"
MOST: Final = 20
"""Orders remembered."""


class ReloadOrders:
    """A file is read in a thread; orders that come meanwhile are settled together, by what was read last."""

    def __init__(self) -> None:
        self._count = 0
        self._orders: OrderedDict[str, Progress] = OrderedDict()

    def begin(self, verb: str = RELOAD) -> Progress:
        """One more. Raises :class:`Refused` where too many wait."""
        if len(self._orders) >= MOST and next(iter(self._orders.values())).state == "running":
            raise Refused(f"{MOST} reloads are under way: wait for them")
        self._count += 1
        order = Progress(f"{verb}-{self._count}", verb, "running", "the site file is being read", 0, 1)
        self._orders[order.id] = order
        if len(self._orders) > MOST:
            self._orders.popitem(last=False)
        return order

    def settle(self, taken: bool, sentences: list[str], verb: str = RELOAD) -> None:
        """The file was read and taken, or refused; why, or what is new, a sentence each."""
        for name, order in self._orders.items():
            if order.state == "running" and order.verb == verb:
                state = "done" if taken else "failed"
                self._orders[name] = Progress(name, verb, state, "\n".join(sentences), 1, 1)

    def progress(self, name: str) -> Progress | None:
        """How far that order is; None: it is none of these."""
        return self._orders.get(name)
