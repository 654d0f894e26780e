"""What a core and the world outside it say to each other.

Every core (``sip.layer``, ``heartbeat.member``, ``b2bua.core``, ``gateway_agent.core``) is driven by the same
verbs and answers with the same values, so that one pump, one simulated World and one reader's habit serve all::

    receive(data, flow, now)          the network spoke: a datagram, or bytes of a stream
    flow_changed(flow, state, now)    a stream is "open" or "lost", a UDP peer "unreachable" (ICMP)
    done(request, result, now)        something asked for is there: a name resolved, a thing stored
    handle_timer(now)                 time passed
    get_timer() -> float | None       when to wake me
    to_do() -> list[Action]           what I want done outside, in order; the list is handed over
    next_event() -> event | None      what I want you to know

``now`` is CLOCK_BOOTTIME in seconds, read by the shell once for each input.
"""

from __future__ import annotations

from typing import Final, NamedTuple

Address = tuple[str, int]


class Flow(NamedTuple):
    """A path to one peer: a datagram socket and a remote address, or one stream connection."""

    transport: str
    """``udp``, ``tcp``, ``tls``, ``ws`` or ``wss``, in lower case."""
    local: str
    """For UDP the listener's ``host:port`` as the site file spells it; for a stream a name unique in the process."""
    remote: Address
    """Host (numeric) and port of the peer."""


UNREACHABLE: Final = Flow("", "unreachable", ("0.0.0.0", 0))
"""The flow of what cannot go anywhere: a request on it fails at once, as by a transport error."""


class Send(NamedTuple):
    """Write ``data`` to ``flow``. An urgent one (a beat) goes ahead of what waits on a stream."""

    flow: Flow
    data: bytes
    urgent: bool = False


class Open(NamedTuple):
    """Connect the stream ``flow`` (its ``local`` is the core's own name for it); answered by ``flow_changed``."""

    flow: Flow
    names: tuple[str, ...] = ()
    """For TLS: one of these must stand in the certificate of the peer, who is asked for the first (RFC 5922)."""
    shown: str = ""
    """For TLS: the host of ours whose certificate is shown; ``""``: the first one."""
    authority: str = ""
    """For TLS: the file of the authorities by which the peer is believed; ``""``: those of the program."""


class Close(NamedTuple):
    """Close a stream, after what waits on it was written."""

    flow: Flow
    told: bool = False
    """Whether ``flow_changed`` is to say ``lost`` when it is closed; else the core has let go of it already."""


class Certified(NamedTuple):
    """The peer of a stream has proved to be somebody by its certificate.

    Told by ``done(Certified(flow), names, now)`` before the stream is ``open``, with its identities by RFC 5922.
    """

    flow: Flow


class Flush(NamedTuple):
    """What was said so far on streams leaves before what follows on other flows."""


class Resolve(NamedTuple):
    """Find the targets of a SIP URI (RFC 3263); answered by ``done(request, list[Place] | sentence, now)``.

    An empty list: there is none; a sentence: DNS did not answer, and why.
    """

    uri: str


class Fetch(NamedTuple):
    """Get a file of a public web server; answered by ``done(request, bytes | sentence, now)``."""

    url: str


class Store(NamedTuple):
    """Write ``value`` durably under ``name``; answered by ``done(request, None | error sentence, now)``."""

    name: str
    value: str


Action = Send | Open | Close | Flush | Resolve | Store | Fetch
