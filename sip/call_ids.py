"""Which Call-IDs, of the dialogs with all ends, are of one call: remembered of the last calls, for people."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

MOST: Final = 4096
"""Calls that are remembered, the last ones."""
MOST_FAILED: Final = 100
MOST_LEGS: Final = 32
"""Of one call."""


class Leg(NamedTuple):
    """A dialog of a call."""

    call_id: str
    towards: str
    """Who has the other end: an agent, the servers, or a line."""


class CallIds:
    """See the module."""

    __slots__ = ("_legs", "keep", "last_failed")

    def __init__(self) -> None:
        self._legs: OrderedDict[str, tuple[Leg, ...]] = OrderedDict()
        self.keep: Callable[[tuple[str, ...], float], None] | None = None
        """Told the Call-IDs of a call that has failed, and when."""
        self.last_failed: deque[str] = deque(maxlen=MOST_FAILED)
        """Calls that came to nothing, the last one at the end."""

    def join(self, call: str, call_id: str, towards: str) -> None:
        """A call, by the name that it has here, has that dialog, too."""
        legs = self._legs.get(call)
        if legs is None:
            self._legs[call] = (Leg(call_id, towards),)
            if len(self._legs) > MOST:
                self._legs.popitem(last=False)
        elif len(legs) < MOST_LEGS and all(leg.call_id != call_id for leg in legs):
            self._legs[call] = (*legs, Leg(call_id, towards))

    def of(self, call: str) -> tuple[Leg, ...]:
        """The dialogs of a call; none where it is not known (any more)."""
        return self._legs.get(call, ())

    def failed(self, call: str, now: float) -> None:
        """The call came to nothing: its messages are worth keeping."""
        self.last_failed.append(call)
        if self.keep is not None:
            self.keep((call, *(leg.call_id for leg in self.of(call))), now)

    def __iter__(self) -> Iterator[str]:
        """The calls, the last one first."""
        return reversed(self._legs)
