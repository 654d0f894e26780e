"""The events of a station's telephone library, independent of the library."""

from __future__ import annotations

from typing import NamedTuple


class Account(NamedTuple):
    """The SIP account of a station."""

    user: str
    password: str
    realm: str
    """Realm and domain."""
    agent: str
    """``host:port`` of the agent's UDP listener."""
    host: str
    """Address that SIP and RTP of the station are bound to."""


class Registered(NamedTuple):
    """The answer to a REGISTER."""

    status: int
    reason: str
    expires: int
    """Seconds granted; 0: no longer registered."""


class Offered(NamedTuple):
    """An incoming call."""

    caller: str
    """The user part of its From."""


class Alerted(NamedTuple):
    """The far end rings."""


class Confirmed(NamedTuple):
    """The call was answered and acknowledged."""


class MediaAgreed(NamedTuple):
    """Media was negotiated, perhaps not for the first time."""


class Ended(NamedTuple):
    """The call has ended."""

    status: int
    reason: str


Heard = Registered | Offered | Alerted | Confirmed | MediaAgreed | Ended


class Statistics(NamedTuple):
    """Statistics of the call's RTP, by RTCP (RFC 3550) and our own count."""

    received: int
    lost: int
    """Packets of the far end that were lost or came too late."""
    sent: int
    lost_there: int
    """Our packets that the far end reports as lost."""
    jitter_ms: float
    """Mean interarrival jitter here."""
    round_trip_ms: float | None
    """Mean, by the far end's reports; None without one."""


class LineError(Exception):
    """The library failed; the text says why."""
