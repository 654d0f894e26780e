"""What a process remembers of its SIP messages, and how much of them by the site file."""

from __future__ import annotations

from typing import Final, Protocol

from heartbeat.site.model import Site, Trace
from sip.message_ring import MessageRing, Note

MEGABYTE: Final = 1024 * 1024


class Noting(Protocol):
    """What messages pass: the receiver of a stack, or a pump."""

    note: Note | None


class Tracing:
    """One for each process."""

    def __init__(self, receiver: Noting, pump: Noting, site: Site) -> None:
        self.ring = MessageRing()
        self._passed = (receiver, pump)
        self._settings = Trace(memory=0)
        self.live_by(site)

    def live_by(self, site: Site) -> None:
        """Note messages as the site file says."""
        if site.trace == self._settings:
            return
        self._settings = site.trace
        self.ring.resize(site.trace.memory * MEGABYTE)
        for passed in self._passed:
            passed.note = self.ring.note if site.trace.memory else None
