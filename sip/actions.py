"""The inputs and outputs of the cores, which do no input or output themselves.

Every core (``sip.layer``, ``heartbeat.member``, ``b2bua.core``, ``gateway_agent.core``) is driven by the same
methods and returns the same actions, so that one event loop and one simulated network can drive all of them::

    receive(data, flow, now)          a datagram, or bytes of a stream, came from the network
    flow_changed(flow, state, now)    a stream is "open" or "lost", a UDP peer "unreachable" (ICMP)
    done(request, result, now)        an action has its result: a name is resolved, a value is stored
    handle_timer(now)                 the time that get_timer returned has come
    get_timer() -> float | None       when handle_timer is to be called; None: not at all
    to_do() -> list[Action]           the actions to carry out, in order; each is returned once
    next_event() -> event | None      the next event for the program; None: there is none

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
"""The flow of requests without a usable target: they fail at once, as by a transport error."""


class Send(NamedTuple):
    """Write ``data`` to ``flow``. Urgent data (a heartbeat) goes ahead of what is queued on a stream."""

    flow: Flow
    data: bytes
    urgent: bool = False


class Open(NamedTuple):
    """Connect the stream ``flow`` (its ``local`` is the core's own name for it); answered by ``flow_changed``."""

    flow: Flow
    names: tuple[str, ...] = ()
    """For TLS: one of them must be an identity in the peer's certificate (RFC 5922); the first is sent as SNI."""
    shown: str = ""
    """For TLS: the host of ours whose certificate is presented; ``""``: the first one."""
    authority: str = ""
    """For TLS: the file of the certificate authorities that are trusted; ``""``: those of the program."""


class Close(NamedTuple):
    """Close a stream after its queue was written."""

    flow: Flow
    told: bool = False
    """Whether ``flow_changed`` is called with ``lost`` when it is closed; else the core has forgotten it already."""


class Certified(NamedTuple):
    """The peer of a stream was authenticated by its certificate.

    Told by ``done(Certified(flow), names, now)`` before the stream is ``open``, with its identities by RFC 5922.
    """

    flow: Flow


class Flush(NamedTuple):
    """Write what is queued on streams before the actions that follow on other flows."""


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
