"""The line states that the server keeps for an agent, one for each dialog with it, as opaque text (docs/wire.md).

A restarted agent asks for them with ``purpose=return``. The newest state of a dialog counts, by the agent's
incarnation and its counter; the server reads nothing else in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

LONGEST: Final = 4096
"""Characters of a line state; longer ones are not kept."""
LONGEST_KEY: Final = 2048
"""Characters by which a dialog is named; the state of one with a longer name is not kept."""
LEAST_SWEPT: Final = 256
MOST_SUBSCRIPTIONS: Final = 20_000
"""Of one agent, as many as it has at most itself (docs/security.md)."""
MOST_DEATHS: Final = 2
"""Deaths of the agent while a call was being returned, after which that call is returned no more."""
_SHOWN: Final = re.compile(r"[0-9]{1,4}\.([0-9]{1,16})\.([0-9]{1,9})\.([^.]*)\.[^.]*\Z")
_TOO_LONG: Final = "-"


class KeptState(NamedTuple):
    """The line state of one dialog."""

    text: str
    order: tuple[int, int]
    """The agent's incarnation, and the counter in it."""
    at: float
    """When the state arrived, on the core's clock."""
    usable: bool
    """Whether the call can be restored from it; not if the agent has marked it as too long."""


class LineStates:
    """The line states of one agent. ``living`` returns the Call-IDs of present dialogs: states of others are removed
    from time to time."""

    __slots__ = ("_deaths", "_forget_at", "_kept", "_living", "_subscriptions", "_sweep_at", "complete", "lines")

    def __init__(self, living: Callable[[], Iterable[str]]) -> None:
        self._living = living
        self._kept: dict[str, KeptState] = {}
        self._subscriptions: dict[str, float] = {}
        """By key, when the subscriptions of devices end, as they have no leg here."""
        self._sweep_at = LEAST_SWEPT
        self._forget_at = 0.0
        self._deaths: Counter[str] = Counter()
        """By Call-ID, how often the agent died while that call was being returned."""
        self.complete = False
        """Whether the states of all calls of the agent have arrived in this epoch."""
        self.lines: dict[str, KeptState] = {}
        """By name of the line, its own state (registrations)."""

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def missing(self) -> bool:
        """Whether states of some calls have not arrived yet, so that these calls would be lost if the agent died
        now."""
        return bool(self._kept) and not self.complete

    @property
    def unusable(self) -> int:
        """Number of calls that could not be restored, since their state is too long to be kept."""
        return self._standing(call_id for call_id, kept in self._kept.items() if not kept.usable)

    def get(self, call_id: str) -> KeptState | None:
        return self._kept.get(call_id)

    @property
    def withheld(self) -> int:
        """Number of calls that are returned no more."""
        return self._standing(call_id for call_id, deaths in self._deaths.items() if deaths >= MOST_DEATHS)

    def died_of(self, call_ids: Iterable[str]) -> None:
        """The agent died before it had acknowledged these calls: one of them may have crashed it."""
        living = set(self._living())
        self._deaths = Counter({call_id: deaths for call_id, deaths in self._deaths.items() if call_id in living})
        self._deaths.update(call_ids)

    def suspects(self, call_id: str) -> bool:
        """Whether a call may have crashed the agent."""
        return self._deaths[call_id] > 0

    def to_give(self, call_id: str) -> KeptState | None:
        """The state to return for a dialog; None if there is no usable one, or the agent died of it too often."""
        kept = self._kept.get(call_id)
        return kept if kept is not None and kept.usable and self._deaths[call_id] < MOST_DEATHS else None

    def note(self, call_id: str, text: str, now: float, lasts: float = 0.0) -> None:
        """Keep the state of a dialog, by its Call-ID; or of a subscription, by its dialog key, for the seconds that
        it ``lasts``."""
        known = self._kept.get(call_id)
        found = _read(text, now)
        if found is None or len(call_id) > LONGEST_KEY or (known is not None and known.order >= found.order):
            return
        if lasts and call_id not in self._subscriptions and len(self._subscriptions) >= MOST_SUBSCRIPTIONS:
            self._forget_expired(now)
            if len(self._subscriptions) >= MOST_SUBSCRIPTIONS:
                return
        self._kept[call_id] = found
        if lasts:
            self._subscriptions[call_id] = now + lasts
        if len(self._kept) > self._sweep_at:
            self._sweep(now)

    def note_line(self, line: str, text: str, now: float) -> None:
        """Keep the state of a line."""
        known = self.lines.get(line)
        found = _read(text, now)
        if found is not None and (known is None or known.order < found.order):
            self.lines[line] = found

    def clear(self) -> None:
        """Another server leads: forget all states, which agents send it anew."""
        self._kept.clear()
        self._subscriptions.clear()
        self._deaths.clear()
        self.lines.clear()
        self._sweep_at = LEAST_SWEPT
        self.complete = False

    def _standing(self, call_ids: Iterable[str]) -> int:
        """How many of these dialogs still exist, since states of ended ones are removed only from time to time."""
        found = list(call_ids)
        return len(set(self._living()).intersection(found)) if found else 0

    def subscriptions(self, now: float) -> list[tuple[str, KeptState]]:
        """The states of subscriptions that have not expired, by dialog key."""
        lasting = [key for key, until in self._subscriptions.items() if until > now]
        return [(key, kept) for key in lasting if (kept := self.to_give(key)) is not None]

    def subscription_ended(self, call_id: str) -> None:
        """A subscription whose dialogs have that Call-ID is over."""
        for key in [key for key in self._subscriptions if key.partition(" ")[0] == call_id]:
            del self._subscriptions[key]
            self._kept.pop(key, None)

    def _forget_expired(self, now: float) -> None:
        """Forget subscriptions that have expired; once a second at most, as it looks at each."""
        if now >= self._forget_at:
            self._forget_at = now + 1.0
            for key in [key for key, until in self._subscriptions.items() if until <= now]:
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
