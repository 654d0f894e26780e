"""Keeping the NATs in front of devices open that registered over UDP.

A NAT forgets a UDP flow after 30 s or more of silence, and many refresh it only by what comes from inside; so the
device is asked something that it answers, whatever it says (RFC 5626 section 4.4 leaves it to the device, and many
do not). On streams devices ping by themselves (section 4.4.1), and are answered.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from sip.actions import Flow
from sip.layer import Stack
from sip.wire.build import request_bytes

DUE: Final = "keep-alive"
_SOONEST: Final = 0.75
"""The least share of the interval, so that devices which registered together are not asked together for ever."""


class KeepAlive:
    """OPTIONS to the contacts of one line. They go once, without a transaction: the next one is soon to come, and
    nothing depends on the answer."""

    __slots__ = ("_armed", "_call_id", "_contacts", "_cseq", "_random", "_stack", "_tag", "generation", "interval")

    def __init__(
        self, stack: Stack, random: Random, interval: float, contacts: Callable[[float], list[tuple[str, Flow]]]
    ) -> None:
        """``interval`` in seconds at most, 0 for never; ``contacts`` gives those of now: Request-URI and flow."""
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
        """Contacts came or went, or the interval is another one."""
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
