"""Sends messages to a HOMER collector (HEP) by UDP, without repetition, separately from the handling of calls."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from typing import Final

from heartbeat.hep_export import HepExport
from heartbeat.site.model import Site
from heartbeat.tracing import Noting, Tracing
from sip.actions import Flow
from sip.io.clock import boottime
from sip.io.udp import family_of
from sip.layer import Stack

OFTEN: Final = 0.02
SELDOM: Final = 1.0
"""Seconds between two rounds of sending, with and without a collector in the site file."""


class Collector:
    """Sends the datagrams of one process until its loop ends."""

    def __init__(self, tracing: Tracing, loop: asyncio.AbstractEventLoop) -> None:
        self._tracing = tracing
        self._loop = loop
        loop.call_later(SELDOM, self._look)

    def _look(self) -> None:
        export = self._tracing.export
        self._loop.call_later(OFTEN if export is not None else SELDOM, self._look)
        if export is not None:
            self._send(export)

    def _send(self, export: HepExport) -> None:
        now = boottime()
        datagrams = export.take(time.time() - now, now)
        if not datagrams:
            return
        try:
            sock = socket.socket(family_of(export.to[0]), socket.SOCK_DGRAM)
        except OSError:  # no file descriptor is left
            export.dropped += len(datagrams)
            return
        with sock:
            sock.setblocking(False)
            for datagram in datagrams:
                try:
                    sock.sendto(datagram, export.to)
                except OSError:  # buffer full, no route, or ICMP for the datagram before
                    export.dropped += 1
                else:
                    export.sent += 1


def collecting(
    loop: asyncio.AbstractEventLoop, name: str, stack: Stack, pump: Noting, peer_of: Callable[[Flow], str], site: Site
) -> Tracing:
    """A `Tracing` whose messages are sent to the collector of the site file."""
    tracing = Tracing(name, stack, pump, peer_of, site)
    Collector(tracing, loop)
    return tracing
