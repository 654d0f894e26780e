"""The session descriptions of one call: the ``o=`` line that the device sees goes on whatever happens behind it, and
with ``media = "relay"`` the media is led through the agent's relay."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from gateway_agent.media.ports import Pair, RelayPorts, Remote, remote_of
from sip.wire import sdp
from sip.wire.message import Message

if TYPE_CHECKING:
    from gateway_agent.line import Line

logger = logging.getLogger(__name__)

MOST_SECTIONS: Final = 4
"""Media sections of one call that are relayed; a description with more passes unchanged."""


class Relay:
    """Where an agent's relay receives, and its ports."""

    __slots__ = ("address", "advertised", "owners", "ports")

    def __init__(self, ports: RelayPorts, address: str, advertised: str = "") -> None:
        self.ports = ports
        self.address = address
        self.advertised = advertised or address
        self.owners: dict[Pair, int] = {}
        """The id of the call that has a pair."""


class Description:
    """What was described to whom, and the relayed media of the call."""

    __slots__ = (
        "_agreed",
        "_asked",
        "_heard_at",
        "_id",
        "_line",
        "_newest",
        "_pairs",
        "_relay",
        "_watched",
        "changed_at",
        "from_device",
        "received",
        "sent",
        "to_device_last",
    )

    def __init__(self, line: Line, relay: Relay | None, id_: int, now: float) -> None:
        self._line = line
        self._id = id_
        self._watched = self._asked = False
        self._heard_at: float | None = None
        self.changed_at = now
        """When media was described last."""
        self._relay = relay if line.settings.media == "relay" else None
        self._pairs: list[tuple[Pair, Pair]] = []
        self.sent = b""
        """The last one from the agent to a server."""
        self.received = b""
        """The last one from a server."""
        self.from_device = b""
        self.to_device_last = b""
        self._agreed = (b"", b"")
        """What the device said last that came about, as it was said and as the servers got it."""
        self._newest = b""
        """The last one to a server that came to nothing as far as the device knows."""

    def reserve(self) -> str:
        """Take ports for the first media section; why there are none, ``""`` when there are."""
        if self._relay is None or self._pair(0, self._relay) is not None:
            return ""
        return self._relay.ports.shortage(self._relay.address)

    def is_in(self, message: Message) -> bool:
        return bool(message.body) and sdp.find_sdp(message.get("content-type") or "", message.body) is not None

    def to_server(self, message: Message, host: str) -> bytes:
        """The body of a device's message, which came from ``host``, as the servers get it."""
        body = message.body
        where = sdp.find_sdp(message.get("content-type") or "", body) if body else None
        if where is None:
            return body
        new = self.from_device = body[where]
        if self._relay is not None:
            self.changed_at = self._line.core.now
            new = self._led(new, self._relay, 0, host if self._line.behind_nat else "")
        self.sent = new
        return body if new is self.from_device else sdp.replace(body, where, new)

    def to_device(self, message: Message) -> bytes:
        """The body of a server's message as the device gets it."""
        body = message.body
        where = sdp.find_sdp(message.get("content-type") or "", body) if body else None
        if where is None:
            return body
        new = self.received = body[where]
        if self._relay is not None:
            self.changed_at = self._line.core.now
            new = self._led(new, self._relay, 1, "")
        if self.to_device_last:
            try:
                new = sdp.continued(self.to_device_last, new)
            except sdp.SdpError as error:
                logger.debug("passed on unchanged: %s", error)
        self.to_device_last = new
        return body if new is self.received else sdp.replace(body, where, new)

    def agreed(self) -> None:
        """Offer and answer were exchanged."""
        self._agreed = (self.from_device, self.sent)

    def refused(self) -> None:
        """The device was told that its offer came to nothing: all is as before (RFC 3261 section 14.1)."""
        self._newest = self.sent
        self.from_device, self.sent = self._agreed

    @property
    def standing(self) -> bytes:
        """What the device lives by, as the servers got it; empty when it never said anything."""
        return self._agreed[1]

    def undoing(self) -> bytes:
        """The same, as the successor of a description that the other side has taken although it was refused here."""
        try:
            self._newest = sdp.continued(self._newest, self.standing)
        except sdp.SdpError as error:
            logger.debug("said again unchanged: %s", error)
            return self.standing
        return self._newest

    def hear(self, message: Message) -> None:
        """A description of the far end that is the agent's business alone."""
        where = sdp.find_sdp(message.get("content-type") or "", message.body) if message.body else None
        if where is not None:
            self.received = message.body[where]

    def is_unchanged(self, message: Message) -> bool:
        """Whether the device describes exactly what it described last."""
        where = sdp.find_sdp(message.get("content-type") or "", message.body)
        return where is not None and message.body[where] == self.from_device and bool(self.to_device_last)

    def again(self) -> bytes:
        """What the device was told last, to be told again: the same version (RFC 4028 section 7.4)."""
        return self.to_device_last

    def release(self) -> None:
        """Give the relay's ports back."""
        if self._relay is not None:
            for pairs in self._pairs:
                for pair in pairs:
                    self._relay.ports.release(pair)
                    self._relay.owners.pop(pair, None)
            self._pairs = []
            self._relay = None

    @property
    def held(self) -> str:
        """Who holds, seen from the server: ``local`` is the server's side."""
        local, remote = _holds(self.received), _holds(self.sent)
        return "both" if local and remote else "local" if local else "remote" if remote else "none"

    # -- media that has stopped -----------------------------------------------------------------------------------

    @property
    def is_relayed(self) -> bool:
        return self._relay is not None

    def watch(self) -> None:
        """The call is answered: have the relay say when media stops (again, where it was watched before)."""
        seconds = self._line.settings.media_timeout
        if self._relay is None or not seconds:
            return
        self._watched = True
        for here, _ in self._pairs:
            self._relay.ports.watch(here, None)
            self._relay.ports.watch(here, seconds)

    def ask(self) -> None:
        """Have the relay say what came to the call's pairs until now."""
        if self._relay is not None:
            self._asked = True
            self._relay.ports.count([pair for pairs in self._pairs for pair in pairs])

    def heard(self, silent: Mapping[Pair, float | None], now: float) -> bool:
        """Seconds since the last packet, by pair. Returns whether all pairs of the call are among them."""
        spans = [span for pairs in self._pairs for pair in pairs if (span := silent.get(pair)) is not None]
        if spans:
            self._heard_at = max(now - min(spans), self._heard_at or 0.0)
        return all(pair in silent for pairs in self._pairs for pair in pairs)

    def go_on(self) -> None:
        """The suspicion was wrong: watch from now on."""
        if self._asked:
            self._asked = False
            self.watch()

    def silent_for(self, since: float, now: float) -> float:
        """Seconds without RTP either way, as last heard of the relay, counted from ``since`` or the last change of
        the description at most."""
        return now - max(since, self.changed_at, self._heard_at or 0.0)

    def _led(self, body: bytes, relay: Relay, side: int, via: str) -> bytes:
        """``body`` with its media wanted at the relay; ``side`` 0 comes from the device, 1 from the servers."""
        try:
            places = sdp.endpoints(body)
            if len(places) > MOST_SECTIONS:
                raise sdp.SdpError(f"the description has more than {MOST_SECTIONS} sections to relay")
            wanted: list[tuple[str, int] | None] = []
            for index, place in enumerate(places):
                if place.rejected or not place.proto.startswith(("RTP/", "UDP/TLS/")):
                    wanted.append(None)
                    continue
                pairs = self._pair(index, relay)
                if pairs is None:
                    raise sdp.SdpError(relay.ports.shortage(relay.address))
                remote: Remote | None = remote_of(place, via)
                if place.address in ("0.0.0.0", "::"):
                    remote = None
                relay.ports.set_remote(pairs[side], remote)
                wanted.append((relay.advertised, pairs[1 - side].port))
            return sdp.with_endpoints(body, wanted)
        except sdp.SdpError as error:
            core = self._line.core
            core.seldom.info(logger, core.now, "a description is not relayed: %s", error)
            return body

    def _pair(self, index: int, relay: Relay) -> tuple[Pair, Pair] | None:
        while len(self._pairs) <= index:
            here, there = relay.ports.take(relay.address), relay.ports.take(relay.address)
            if here is None or there is None:
                for pair in (here, there):
                    if pair is not None:
                        relay.ports.release(pair)
                return None
            relay.ports.connect(here, there)
            self._pairs.append((here, there))
            relay.owners[here] = relay.owners[there] = self._id
            if self._watched:
                relay.ports.watch(here, self._line.settings.media_timeout)
        return self._pairs[index]


def _holds(body: bytes) -> bool:
    if not body:
        return False
    try:
        return sdp.is_hold(body)
    except sdp.SdpError:
        return False
