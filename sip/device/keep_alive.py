"""Keep-alives for NATs: those in front of devices that registered over UDP, and those in front of us.

A NAT drops a UDP binding after 30 s or more of silence, and many renew it only by packets from inside. RFC 5626
section 4.4 leaves keep-alives to the device, but many send none, so the device gets an OPTIONS that it answers. On
streams devices ping by themselves (section 4.4.1). We ping on the streams that we opened, and over UDP when a
registrar sees us at another address than our own.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from sip.actions import Flow
from sip.endpoint import DEFAULT_PORT
from sip.layer import Stack
from sip.wire.build import request_bytes
from sip.wire.errors import Malformed
from sip.wire.framing import PING
from sip.wire.headers import Via, same_address
from sip.wire.message import Response

DUE: Final = "keep-alive"
OVERDUE: Final = "pong"
QUIET: Final = 120.0
"""Seconds between two pings on a stream at most (RFC 5626 section 4.4.1), unless its peer wants less."""
NAT_OPEN: Final = 30.0
"""Seconds, at most, between two datagrams that keep a NAT binding."""
PONG_WITHIN: Final = 10.0
"""Seconds in which a ping must be answered."""
_SOONEST: Final = 0.75
"""Least part of the interval to wait, at random, so that devices that registered together are asked apart."""


class StreamKeepAlive:
    """Pings on a stream that we opened. A peer that has answered a ping once and then fails to is given up, so that a
    dead connection is replaced before a call needs it."""

    __slots__ = ("_answers", "_flow", "_lost", "_pinged_at", "_stack", "generation", "quiet")

    def __init__(self, stack: Stack, flow: Flow, lost: Callable[[Flow], None], now: float) -> None:
        """``lost`` is called when the peer no longer answers."""
        self._stack = stack
        self._flow = flow
        self._lost = lost
        self._answers = False
        self._pinged_at = now
        self.quiet = QUIET
        self.generation = 0
        self._wait(now)

    def keep(self, seconds: float, now: float) -> None:
        """The peer asks for a ping every ``seconds`` (RFC 6223 section 4.4, Flow-Timer of RFC 5626 section 4.4)."""
        if 0 < seconds < self.quiet:
            self.quiet = max(2 * PONG_WITHIN, seconds)
            self._wait(now)

    def stop(self) -> None:
        self.generation += 1

    def due(self, cause: str, now: float) -> None:
        if cause is DUE:
            self._pinged_at = now
            self._stack.send(self._flow, PING)
            self.generation += 1
            self._stack.deadlines.set(now + PONG_WITHIN, self, OVERDUE)
            return
        framer = self._stack.receiver.streams.framers.get(self._flow)
        heard = framer is not None and framer.since >= self._pinged_at
        if framer is not None:
            framer.forget_pong()
        if self._answers and not heard:
            self._lost(self._flow)
            return
        self._answers = self._answers or heard
        self._wait(now)

    def _wait(self, now: float) -> None:
        self.generation += 1
        chance = int(self._stack.token()[:4], 16) / 0xFFFF  # so that streams opened together do not ping together
        self._stack.deadlines.set(now + self.quiet * (0.8 + 0.2 * chance) - PONG_WITHIN, self, DUE)


def behind_nat(response: Response) -> bool:
    """Whether ``received`` or ``rport`` in the topmost Via of a response differs from our own address (RFC 3581)."""
    try:
        via = Via.parse(response.get("via") or "")
    except Malformed:
        return False
    port = via.port or DEFAULT_PORT["udp"]
    return not same_address(via.received or via.host, via.host) or (via.rport or port) != port


class NatKeepAlive:
    """Keeps the NAT in front of us open for a registrar, by datagrams of CRLFs (RFC 3261 section 7.5), which are not
    answered. Firewalls and NATs drop a binding after 30 s or more, and a registration lasts longer."""

    __slots__ = ("_flow", "_random", "_stack", "generation")

    def __init__(self, stack: Stack, random: Random) -> None:
        self._stack = stack
        self._random = random
        self._flow: Flow | None = None
        self.generation = 0

    def keep(self, flow: Flow | None, now: float) -> None:
        """Keep the NAT open for that flow from now on; None: for none."""
        if flow != self._flow:
            self._flow = flow
            self.generation += 1
            self._wait(now)

    def due(self, cause: str, now: float) -> None:
        if self._flow is not None:
            self._stack.send(self._flow, PING)
            self._wait(now)

    def _wait(self, now: float) -> None:
        if self._flow is not None:
            wait = NAT_OPEN * self._random.uniform(_SOONEST, 1.0)
            self._stack.deadlines.set(now + wait, self, DUE)


class KeepAlive:
    """OPTIONS to the contacts of one line. Each is sent once, without a transaction: the next one follows soon, and
    nothing depends on the answer."""

    __slots__ = ("_armed", "_call_id", "_contacts", "_cseq", "_random", "_stack", "_tag", "generation", "interval")

    def __init__(
        self, stack: Stack, random: Random, interval: float, contacts: Callable[[float], list[tuple[str, Flow]]]
    ) -> None:
        """``interval``: most seconds between two OPTIONS, 0 for never; ``contacts`` returns the present contacts as
        Request-URI and flow."""
        self.interval = interval
        self.generation = 0
        self._stack = stack
        self._random = random
        self._contacts = contacts
        self._armed = False
        self._call_id = stack.token() + stack.token()
        self._tag = stack.token()
        self._cseq = 0

    def changed(self, now: float) -> None:
        """Contacts were added or removed, or the interval was changed."""
        if self._armed or not self.interval or not self._datagrams(now):
            return
        self._armed = True
        wait = self.interval * self._random.uniform(_SOONEST, 1.0)
        self._stack.deadlines.set(now + wait, self, DUE)

    def due(self, cause: str, now: float) -> None:
        self._armed = False
        if self.interval:
            for uri, flow in self._datagrams(now):
                self._ask(uri, flow)
        self.changed(now)

    def _datagrams(self, now: float) -> list[tuple[str, Flow]]:
        return [(uri, flow) for uri, flow in self._contacts(now) if flow.transport == "udp"]

    def _ask(self, uri: str, flow: Flow) -> None:
        stack = self._stack
        self._cseq += 1
        lines = (
            stack.via(flow, stack.branch()),
            "Max-Forwards: 70",
            f"From: <sip:{stack.address(flow)}>;tag={self._tag}",
            f"To: <{uri}>",
            f"Call-ID: {self._call_id}",
            f"CSeq: {self._cseq} OPTIONS",
            stack.contact(flow),
        )
        stack.send(flow, request_bytes("OPTIONS", uri, lines))
