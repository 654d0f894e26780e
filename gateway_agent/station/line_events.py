"""What a station hears from the line, whatever library is on it."""

from __future__ import annotations

from typing import NamedTuple


class Account(NamedTuple):
    """Who the station is, and where its agent is."""

    user: str
    password: str
    realm: str
    """Realm and domain."""
    agent: str
    """``host:port`` of the agent's UDP listener."""
    host: str
    """Where SIP and RTP of the station are bound."""


class Registered(NamedTuple):
    """The answer to a REGISTER."""

    status: int
    reason: str
    expires: int
    """Seconds granted; 0: registered no more."""


class Offered(NamedTuple):
    """A call came."""

    caller: str
    """The user part of its From."""


class Alerted(NamedTuple):
    """The far end rings."""


class Confirmed(NamedTuple):
    """The call is answered and acknowledged."""


class MediaAgreed(NamedTuple):
    """Where media flows was agreed, perhaps anew."""


class Ended(NamedTuple):
    """The call is over."""

    status: int
    reason: str


Heard = Registered | Offered | Alerted | Confirmed | MediaAgreed | Ended


class Statistics(NamedTuple):
    """Of the call's RTP, by RTCP (RFC 3550) and our own count."""

    received: int
    lost: int
    """Packets of the far end that did not come, or too late."""
    sent: int
    lost_there: int
    """Packets of ours that it says it lacks."""
    jitter_ms: float
    """Mean interarrival jitter here."""
    round_trip_ms: float | None
    """Mean, by the far end's reports; None without one."""


class LineError(Exception):
    """The library cannot do it; the text says why."""
