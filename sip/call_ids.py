"""The Call-IDs of all dialogs of a call, kept for the last calls: for traces and diagnosis, no decision uses them."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

MOST: Final = 4096
"""The most calls that are kept; the oldest is dropped first."""
MOST_FAILED: Final = 100
MOST_LEGS: Final = 32
"""The most dialogs that are kept of one call."""
LONGEST: Final = 256
"""Characters of a Call-ID; longer ones (a device may send thousands) are not kept."""


class Leg(NamedTuple):
    """A dialog of a call."""

    call_id: str
    towards: str
    """Who is at the other end: an agent, the servers, or a line."""
    line: str = ""
    """The line and call of the dialog, such as ``trunk1/7``."""


class CallIds:
    """See the module."""

    __slots__ = ("_legs", "joined", "keep", "last_failed")

    def __init__(self) -> None:
        # plain tuples: a NamedTuple's constructor costs a Python call
        self._legs: OrderedDict[str, tuple[tuple[str, str, str], ...]] = OrderedDict()
        self.keep: Callable[[tuple[str, ...], float], None] | None = None
        """Called with the Call-IDs of a call that has failed, and the time."""
        self.joined: Callable[[str, str], None] | None = None
        """Called with a call and the Call-ID of a dialog that belongs to it."""
        self.last_failed: deque[str] = deque(maxlen=MOST_FAILED)
        """Calls that failed, the latest at the end."""

    def join(self, call: str, call_id: str, towards: str, line: str) -> None:
        """Add a dialog to ``call``, which is named as in this process."""
        if len(call_id) > LONGEST:
            return
        if self.joined is not None:
            self.joined(call, call_id)
        legs = self._legs.get(call)
        if legs is None:
            self._legs[call] = ((call_id, towards, line),)
            if len(self._legs) > MOST:
                self._legs.popitem(last=False)
            return
        for leg in legs:
            if leg[0] == call_id:
                return
        if len(legs) < MOST_LEGS:
            self._legs[call] = (*legs, (call_id, towards, line))

    def of(self, call: str) -> tuple[Leg, ...]:
        """The dialogs of a call; none where it is not kept (any more)."""
        return tuple(Leg(*leg) for leg in self._legs.get(call, ()))

    def failed(self, call: str, now: float) -> None:
        """The call failed: have its messages kept."""
        self.last_failed.append(call)
        if self.keep is not None:
            self.keep((call, *(leg.call_id for leg in self.of(call))), now)

    def __iter__(self) -> Iterator[str]:
        """The calls, the latest first."""
        return reversed(self._legs)
