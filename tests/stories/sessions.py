"""What devices may expect of the descriptions in their dialogs (RFC 3264), checked at each message that they get."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from sip.wire import sdp
from sip.wire.message import Message, Request, parse
from tests.stories.site_simulation import SiteSimulation
from tests.wires import Delivery

_SDP: Final = re.compile(rb"^Content-Type: *application/sdp", re.IGNORECASE | re.MULTILINE)
_CALLS: Final = re.compile(rb"^CSeq: *[0-9]+ +(?:INVITE|ACK|UPDATE)\r", re.IGNORECASE | re.MULTILINE)


class Sessions:
    """Watches the devices of a site: it raises at the message by which a session is broken."""

    def __init__(self, sim: SiteSimulation) -> None:
        self.padded = 0
        """Offers that had a section for no other reason than that the device knows it."""
        self._devices = frozenset(sim.who)
        self._told: dict[tuple[str, str], set[bytes]] = {}
        """All that was described, by device and Call-ID."""
        self._newest: dict[tuple[str, str], sdp.Origin] = {}
        self._offered: dict[tuple[str, str, bool, int], int] = {}
        """How many sections a request offered, by who sent it and its CSeq; 0: its answer is the offer."""
        self._known: Counter[tuple[str, str]] = Counter()
        self._world = sim.world
        sim.world.listeners.append(self._note)

    def _note(self, delivery: Delivery) -> None:
        if delivery.data.endswith(b"\r\n\r\n"):
            return  # it describes nothing, as most do
        to_device = delivery.target in self._devices
        if (to_device or delivery.source in self._devices) and _CALLS.search(delivery.data):
            self._see(delivery.target if to_device else delivery.source, to_device, parse(delivery.data))

    def _was_lost(self, data: bytes) -> bool:
        """Whether it was sent before, and comes late."""
        return any(line.what == data and line.mark == "lost" for line in self._world.trace)

    def _see(self, name: str, to_device: bool, message: Message) -> None:
        asks = isinstance(message, Request)
        method = message.method if isinstance(message, Request) else message.cseq_method
        dialog = name, message.call_id
        there = to_device if asks else not to_device  # the request went to the device
        asked = (*dialog, there, -message.cseq if method == "UPDATE" else message.cseq)
        number = sdp.count(message.body) if _SDP.search(message.to_bytes()) else 0
        if not number:
            return
        if method != "ACK" and asks:
            self._offered[asked] = number
        if to_device:
            self._versions(dialog, message)
        offered = self._offered.get(asked, 0)
        answers = method == "ACK" or (not asks and offered > 0)
        if not answers:
            assert not to_device or number >= self._known[dialog], f"{name}: {number} sections, {message.body!r}"
            self._offered[asked] = number
            self.padded += to_device and message.body.rpartition(b"\nm=")[2].split()[1] == b"0"
        else:
            assert not offered or number == offered, f"{name}: {offered} sections, and the answer is {message.body!r}"
            self._known[dialog] = number

    def _versions(self, dialog: tuple[str, str], message: Message) -> None:
        """One session, of which a version is one description (RFC 3264 section 8)."""
        body = message.body
        told, origin = self._told.setdefault(dialog, set()), sdp.origin_of(body)
        if body in told:
            return
        newest = self._newest.setdefault(dialog, origin)
        assert origin._replace(version=0) == newest._replace(version=0), f"{dialog}: {newest} becomes {origin}"
        if told and origin.version <= newest.version:
            used = {sdp.origin_of(one).version for one in told}
            late = origin.version not in used and self._was_lost(message.to_bytes())
            assert late, f"{dialog}: version {newest.version} becomes {body!r}"
        told.add(body)
        self._newest[dialog] = max(newest, origin, key=lambda one: one.version)
