"""The progress of ordered reloads of the site file and changes of its provisioned part."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from heartbeat.console.contract import Progress, Refused

RELOAD: Final = "reload"
PROVISION: Final = "provision"
MOST: Final = 20
"""Orders that are remembered."""


class ReloadOrders:
    """The orders of one process. The file is read in a thread; all orders given before it ends are settled by it."""

    def __init__(self) -> None:
        self._count = 0
        self._orders: OrderedDict[str, Progress] = OrderedDict()

    def begin(self, verb: str = RELOAD) -> Progress:
        """Add an order. Raises :class:`Refused` when too many are running."""
        if len(self._orders) >= MOST and next(iter(self._orders.values())).state == "running":
            raise Refused(f"{MOST} reloads are under way: wait for them")
        self._count += 1
        order = Progress(f"{verb}-{self._count}", verb, "running", "the site file is being read", 0, 1)
        self._orders[order.id] = order
        if len(self._orders) > MOST:
            self._orders.popitem(last=False)
        return order

    def settle(self, taken: bool, sentences: list[str], verb: str = RELOAD) -> None:
        """End the running orders of ``verb``: the file was applied, or refused, as ``sentences`` say."""
        for name, order in self._orders.items():
            if order.state == "running" and order.verb == verb:
                state = "done" if taken else "failed"
                self._orders[name] = Progress(name, verb, state, "\n".join(sentences), 1, 1)

    def progress(self, name: str) -> Progress | None:
        """The progress of an order; None if it is not known."""
        return self._orders.get(name)
