"""The call of a station as a state table, with what is played and recorded. Sans I/O: it is given events and the
time, and returns what the telephone is to do."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from gateway_agent.station.line_events import Alerted, Confirmed, Ended, Heard, MediaAgreed, Offered, Registered
from heartbeat.console.contract import Refused
from heartbeat.site.lines import StationSettings
from heartbeat.state_machine import StateMachine
from sip.wire.reasons import REASONS

IDLE: Final = "idle"
DIALING: Final = "dialing"
ALERTING: Final = "alerting"
"""The far end rings."""
RINGING: Final = "ringing"
"""It rings here."""
ANSWERING: Final = "answering"
TALKING: Final = "talking"
ENDING: Final = "ending"


class Event(Enum):
    """The events of the table."""

    DIAL = "an order to dial"
    ANSWER = "an order to answer"
    HANG_UP = "an order to hang up"
    OFFERED = "a call comes"
    ALERTED = "the far end rings"
    CONFIRMED = "both ends have answered"
    MEDIA = "media was agreed anew"
    CHANGED = "something else is to be played or recorded"
    ENDED = "the call is over"


class Do(Enum):
    """The actions of the table."""

    NOTHING = "nothing"
    DIAL = "dial"
    RING = "say that it rings"
    ANSWER = "answer"
    HANG_UP = "hang up"
    CONNECT = "connect what is played and recorded"
    LET_GO = "let go of the call"


TABLE: Final[Mapping[tuple[str, Enum], tuple[str, Do]]] = MappingProxyType(
    {
        (IDLE, Event.DIAL): (DIALING, Do.DIAL),
        (IDLE, Event.OFFERED): (RINGING, Do.RING),
        (DIALING, Event.ALERTED): (ALERTING, Do.NOTHING),
        (DIALING, Event.CONFIRMED): (TALKING, Do.CONNECT),
        (ALERTING, Event.CONFIRMED): (TALKING, Do.CONNECT),
        (RINGING, Event.ANSWER): (ANSWERING, Do.ANSWER),
        (ANSWERING, Event.CONFIRMED): (TALKING, Do.CONNECT),
        (TALKING, Event.MEDIA): (TALKING, Do.CONNECT),
        (TALKING, Event.CHANGED): (TALKING, Do.CONNECT),
        (DIALING, Event.HANG_UP): (ENDING, Do.HANG_UP),
        (ALERTING, Event.HANG_UP): (ENDING, Do.HANG_UP),
        (RINGING, Event.HANG_UP): (ENDING, Do.HANG_UP),
        (ANSWERING, Event.HANG_UP): (ENDING, Do.HANG_UP),
        (TALKING, Event.HANG_UP): (ENDING, Do.HANG_UP),
        (DIALING, Event.ENDED): (IDLE, Do.LET_GO),
        (ALERTING, Event.ENDED): (IDLE, Do.LET_GO),
        (RINGING, Event.ENDED): (IDLE, Do.LET_GO),
        (ANSWERING, Event.ENDED): (IDLE, Do.LET_GO),
        (TALKING, Event.ENDED): (IDLE, Do.LET_GO),
        (ENDING, Event.ENDED): (IDLE, Do.LET_GO),
    }
)


_EVENTS: Final[Mapping[type, Event]] = MappingProxyType(
    {Alerted: Event.ALERTED, Confirmed: Event.CONFIRMED, MediaAgreed: Event.MEDIA}
)


class Source(NamedTuple):
    """What is played to the far end."""

    kind: Literal["silence", "tone", "bursts", "echo", "file"]
    """``bursts``: bursts of the tone, for a probe."""
    path: str = ""
    """Path of the file."""
    once: bool = False
    """The file is not repeated."""

    def __str__(self) -> str:
        return self.path or self.kind


class Telephone:
    """One station, with at most one call. The actions that its methods return are to be carried out in order."""

    def __init__(self, name: str, settings: StationSettings, now: float) -> None:
        self.name = name
        self.usual = Source("file", str(settings.file)) if settings.file is not None else Source(settings.play)
        """What it plays by default, and again after each call."""
        self.source = self.usual
        self.recording = ""
        """File that the call is recorded to; ``""``: it is not recorded."""
        self.number = ""
        """Number of the far end."""
        self.since_at = now
        """When it entered its state."""
        self.registered = False
        self.why = "it has not registered yet"
        self.last = ""
        """How the last call ended."""
        self._at_once = settings.answer == "at-once"
        self._machine = StateMachine(name, TABLE, IDLE)
        self._source_ends_at: float | None = None

    @property
    def state(self) -> str:
        return self._machine.state

    def hears(self, what: Heard, now: float) -> list[Do]:
        """Process an event of the library."""
        match what:
            case Registered():
                self._registration(what)
                return []
            case Offered():
                return self._offered(what.caller, now)
            case Ended():
                return self._ended(what, now)
        return self._step(_EVENTS[type(what)], now)

    def dial(self, number: str, now: float) -> list[Do]:
        """Call a number. Raises `Refused`."""
        if not self.registered:
            raise Refused(f"{self.name} cannot call: {self.why}.")
        if self.state != IDLE:
            raise Refused(f"{self.name} is {self.state}: it has one call at a time.")
        self.number = number
        return self._step(Event.DIAL, now)

    def answer(self, now: float) -> list[Do]:
        """Answer the ringing call. Raises `Refused`."""
        if self.state != RINGING:
            raise Refused(f"{self.name} is {self.state}: no call rings here.")
        return self._step(Event.ANSWER, now)

    def hang_up(self, now: float) -> list[Do]:
        """End the call, or refuse the ringing one. Raises `Refused`."""
        if self.state == IDLE:
            raise Refused(f"{self.name} has no call.")
        return self._step(Event.HANG_UP, now)

    def play(self, source: Source, now: float, length: float | None = None) -> list[Do]:
        """Play ``source``; after ``length`` seconds the usual source again."""
        self.source = source
        self._source_ends_at = None if length is None else now + length
        return self._step(Event.CHANGED, now)

    def record(self, path: str, now: float) -> list[Do]:
        """Record this call, or the next one, to a file; ``""``: stop recording."""
        self.recording = path
        return self._step(Event.CHANGED, now)

    def get_timer(self) -> float | None:
        """When `handle_timer` is due."""
        return self._source_ends_at

    def handle_timer(self, now: float) -> list[Do]:
        """Go back to the usual source when the time of :meth:`get_timer` has come."""
        if self._source_ends_at is None or now < self._source_ends_at:
            return []
        return self.play(self.usual, now)

    def _registration(self, answer: Registered) -> None:
        self.registered = 200 <= answer.status < 300 and answer.expires > 0
        said = f"its agent said {answer.status} {answer.reason}" if answer.status >= 300 else "it has left"
        self.why = "" if self.registered else said

    def _offered(self, number: str, now: float) -> list[Do]:
        self.number = number
        done = self._step(Event.OFFERED, now)
        return done + self._step(Event.ANSWER, now) if self._at_once else done

    def _ended(self, end: Ended, now: float) -> list[Do]:
        answered = self.state in (TALKING, ENDING) and end.status < 300
        reason = end.reason or REASONS.get(end.status, "")
        self.last = f"the call with {self.number} " + ("has ended" if answered else f"came to {end.status} {reason}")
        done = self._step(Event.ENDED, now)
        self.number = self.recording = ""
        self.source, self._source_ends_at = self.usual, None
        return done

    def _step(self, event: Event, now: float) -> list[Do]:
        before = self.state
        done = self._machine.step(event)
        if self.state != before:
            self.since_at = now
        return [done] if done is not None and done is not Do.NOTHING else []
