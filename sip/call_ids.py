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
LONGEST: Final = 256
"""Characters of a Call-ID; devices may write thousands, and those are not remembered."""


class Leg(NamedTuple):
    """A dialog of a call."""

    call_id: str
    towards: str
    """Who has the other end: an agent, the servers, or a line."""
    line: str = ""
    """The line that it is for, ``trunk1/7``."""


class CallIds:
    """See the module."""

    __slots__ = ("_legs", "joined", "keep", "last_failed")

    def __init__(self) -> None:
        # plain tuples: to make a named one costs a call of Python
        self._legs: OrderedDict[str, tuple[tuple[str, str, str], ...]] = OrderedDict()
        self.keep: Callable[[tuple[str, ...], float], None] | None = None
        """Told the Call-IDs of a call that has failed, and when."""
        self.joined: Callable[[str, str], None] | None = None
        """Told that a call has the dialog with that Call-ID."""
        self.last_failed: deque[str] = deque(maxlen=MOST_FAILED)
        """Calls that came to nothing, the last one at the end."""

    def join(self, call: str, call_id: str, towards: str, line: str) -> None:
        """A call, by the name that it has here, has that dialog, too."""
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
        """The dialogs of a call; none where it is not known (any more)."""
        return tuple(Leg(*leg) for leg in self._legs.get(call, ()))

    def failed(self, call: str, now: float) -> None:
        """The call came to nothing: its messages are worth keeping."""
        self.last_failed.append(call)
        if self.keep is not None:
            self.keep((call, *(leg.call_id for leg in self.of(call))), now)

    def __iter__(self) -> Iterator[str]:
        """The calls, the last one first."""
        return reversed(self._legs)
