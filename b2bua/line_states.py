"""What the server keeps for its agents: the line state of each dialog with them, opaque (docs/wire.md).

An agent that starts anew asks for it with ``purpose=return``. Of a dialog the last one counts, by the start of the
agent and its counter there; nothing in it is looked at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

LONGEST: Final = 4096
"""Characters of a line state; longer ones are not kept."""
LEAST_SWEPT: Final = 256
MOST_DEATHS: Final = 2
"""Deaths of the agent while it was given a call back, after which it is not given it any more."""
_SHOWN: Final = re.compile(r"[0-9]{1,4}\.([0-9]{1,16})\.([0-9]{1,9})\.([^.]*)\.[^.]*\Z")
_TOO_LONG: Final = "-"


class KeptState(NamedTuple):
    """The line state of one dialog."""

    text: str
    order: tuple[int, int]
    """Start of the agent, and its counter there."""
    at: float
    """When it was said."""
    usable: bool
    """Whether the call can be restored from it: the agent found it small enough."""


class LineStates:
    """Those of one agent. ``living`` gives the Call-IDs of its dialogs: others are forgotten, now and then."""

    __slots__ = ("_deaths", "_kept", "_living", "_subscriptions", "_sweep_at", "complete", "lines")

    def __init__(self, living: Callable[[], Iterable[str]]) -> None:
        self._living = living
        self._kept: dict[str, KeptState] = {}
        self._subscriptions: dict[str, float] = {}
        """When those of subscriptions of devices end, which no leg here tells."""
        self._sweep_at = LEAST_SWEPT
        self._deaths: Counter[str] = Counter()
        """Of which calls the agent may have died, by Call-ID."""
        self.complete = False
        """Whether the agent has told those of all its calls in this epoch, or was obeying us before they began."""
        self.lines: dict[str, KeptState] = {}
        """What its lines have besides: registrations, by the name of the line."""

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def missing(self) -> bool:
        """Whether the agent keeps its calls here, and has not told those of all of them yet: were it to die now, some
        could not come back."""
        return bool(self._kept) and not self.complete

    @property
    def unusable(self) -> int:
        """Calls that could not be restored, for what the agent alone knows of them is too much to be kept."""
        return self._standing(call_id for call_id, kept in self._kept.items() if not kept.usable)

    def get(self, call_id: str) -> KeptState | None:
        return self._kept.get(call_id)

    @property
    def withheld(self) -> int:
        """Calls that are not given back any more."""
        return self._standing(call_id for call_id, deaths in self._deaths.items() if deaths >= MOST_DEATHS)

    def died_of(self, call_ids: Iterable[str]) -> None:
        """The agent died before it had said that it has these back: perhaps one of them killed it."""
        living = set(self._living())
        self._deaths = Counter({call_id: deaths for call_id, deaths in self._deaths.items() if call_id in living})
        self._deaths.update(call_ids)

    def suspects(self, call_id: str) -> bool:
        """Whether the agent may have died of it."""
        return self._deaths[call_id] > 0

    def to_give(self, call_id: str) -> KeptState | None:
        """What is to be given back of that dialog: nothing, where that is of no use or has killed the agent twice."""
        kept = self._kept.get(call_id)
        return kept if kept is not None and kept.usable and self._deaths[call_id] < MOST_DEATHS else None

    def note(self, call_id: str, text: str, now: float, lasts: float = 0.0) -> None:
        """The agent said it of the dialog with that Call-ID; of a subscription with its key, and for how long it
        ``lasts``."""
        known = self._kept.get(call_id)
        found = _read(text, now)
        if found is None or (known is not None and known.order >= found.order):
            return
        self._kept[call_id] = found
        if lasts:
            self._subscriptions[call_id] = now + lasts
        if len(self._kept) > self._sweep_at:
            self._sweep(now)

    def note_line(self, line: str, text: str, now: float) -> None:
        """The same of a line."""
        known = self.lines.get(line)
        found = _read(text, now)
        if found is not None and (known is None or known.order < found.order):
            self.lines[line] = found

    def clear(self) -> None:
        """Another server rules: it is told anew."""
        self._kept.clear()
        self._subscriptions.clear()
        self._deaths.clear()
        self.lines.clear()
        self._sweep_at = LEAST_SWEPT
        self.complete = False

    def _standing(self, call_ids: Iterable[str]) -> int:
        """How many of these dialogs are not over; what is kept of others is forgotten only now and then."""
        found = list(call_ids)
        return len(set(self._living()).intersection(found)) if found else 0

    def subscriptions(self, now: float) -> list[tuple[str, KeptState]]:
        """Those of subscriptions that last."""
        lasting = [key for key, until in self._subscriptions.items() if until > now]
        return [(key, kept) for key in lasting if (kept := self.to_give(key)) is not None]

    def subscription_ended(self, call_id: str) -> None:
        """A subscription whose dialogs have that Call-ID is over."""
        for key in [key for key in self._subscriptions if key.partition(" ")[0] == call_id]:
            del self._subscriptions[key]
            self._kept.pop(key, None)

    def _sweep(self, now: float) -> None:
        kept = self._kept
        self._subscriptions = {key: until for key, until in self._subscriptions.items() if until > now}
        living = [*self._living(), *self._subscriptions]
        self._kept = {call_id: kept[call_id] for call_id in living if call_id in kept}
        self._sweep_at = max(LEAST_SWEPT, 2 * len(self._kept))


def _read(text: str, now: float) -> KeptState | None:
    shown = _SHOWN.match(text) if len(text) <= LONGEST else None
    if shown is None:
        return None
    return KeptState(text, (int(shown[1]), int(shown[2])), now, shown[3] != _TOO_LONG)
