"""The relayed media of one call: that of a line with ``media = "relay"`` passes the agent's own relay, that of one
with ``media = "rtpengine"`` through an rtpengine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from gateway_agent.line_state import Anchored
from gateway_agent.media.ports import NOWHERE, Keys, Pair, remote_of
from gateway_agent.media_relay import DEVICE, SERVER, MediaRelay
from gateway_agent.sdes import DeviceKeys, check_plain
from sip.rate_limited_logger import RateLimitedLogger
from sip.wire import sdes, sdp
from sip.wire.sdp import Direction

logger = logging.getLogger(__name__)

MOST_SECTIONS: Final = 16
"""Media sections of one call that are relayed; further ones are refused."""


class MediaAnchor:
    """The relay's ports of one call: for each media section a pair of ports towards each side. Without a relay it
    passes descriptions on unchanged."""

    __slots__ = (
        "_asked",
        "_behind_nat",
        "_browser",
        "_heard_at",
        "_keys",
        "_limit",
        "_log",
        "_owner",
        "_pairs",
        "_relay",
        "_six",
        "_told",
        "changed_at",
    )

    def __init__(
        self,
        relay: MediaRelay | None,
        owner: int,
        behind_nat: bool,
        log: RateLimitedLogger,
        now: float,
        browser: bool = False,
        keys: DeviceKeys | None = None,
    ) -> None:
        """``owner`` is the id of the call; ``behind_nat``: the addresses that the device describes are not used until
        media comes from there. ``browser``: the device accepts only secured media (RFC 8827 section 6.5). ``keys``:
        media is secured by SDES on the device's side."""
        self._relay = relay
        self._keys = keys
        self._browser = browser
        self._owner = owner
        self._behind_nat = behind_nat
        self._log = log
        self._pairs: list[tuple[Pair, Pair]] = []
        self._six = [relay is not None and ":" in relay.address] * 2
        """Whether the device's and the servers' side are reached by IPv6; the relay joins both (RFC 6157)."""
        self._told = [False, False]
        """Whether the side was given an address of the relay: then its family is fixed."""
        self._limit = 0.0
        """Seconds without media after which the relay reports that; 0: never."""
        self._asked = False
        """Whether the relay was asked when media came last."""
        self._heard_at: float | None = None
        """When media came last, by the relay's report."""
        self.changed_at = now
        """When a description was handled last."""

    @property
    def is_relayed(self) -> bool:
        return self._relay is not None

    def export(self, now: float) -> Anchored | None:
        """The frozen value from which `resume` restores this after a restart; ``None`` without a relay."""
        if self._relay is None:
            return None
        here, there = self._six
        told_here, told_there = self._told
        changed = round(now - self.changed_at, 3)
        name = self._keys.name if self._keys is not None else ""
        cookies = tuple(cookie for pair, _ in self._pairs if (cookie := self._relay.cookie(pair)))
        return Anchored(
            tuple(self._pairs), (here, there), (told_here, told_there), self._limit, changed, name, cookies
        )

    def resume(self, known: Anchored, said_at: float) -> None:
        """Go on with the ports that the call had before a restart; those that the relay has lost are bound anew.
        ``said_at`` is the instant at which ``known`` was made."""
        if self._relay is None:
            return
        self._six, self._told = list(known.six), list(known.told)
        if self._keys is not None and known.keys:
            self._keys.name = known.keys
        self.changed_at = said_at - known.changed
        for index, (here, there) in enumerate(known.pairs):
            self._relay.adopt(here, there, known.cookies[index] if index < len(known.cookies) else "")
            self._pairs.append((here, there))
            self._own(here, there, self._relay)

    def reserve(self) -> str:
        """Take ports for the first media section. Returns why there are none, ``""`` when there are."""
        if self._relay is None or self._pair(0, self._relay) is not None:
            return ""
        return self._relay.shortage()

    def device_at(self, host: str) -> None:
        """The device is about to be called at that host: expect media of the same address family."""
        if self._relay is not None and not self._told[DEVICE]:
            try:
                self._speak(":" in host, DEVICE, self._relay)
            except sdp.SdpError as error:
                logger.debug("%s", error)

    def from_device(self, description: bytes, host: str, now: float, to_gateway: bool = False) -> bytes:
        """A device's description, which came from ``host``, as it is passed on: to the servers, or with
        ``to_gateway`` to the media gateway on the relay's own machine. Raises `SdpError`."""
        if self._relay is None:
            return description
        if self._keys is None:
            return self._anchored(description, self._relay, DEVICE, host, now, to_gateway=to_gateway)
        opened, keys = self._keys.opened(description)
        return self._anchored(opened, self._relay, DEVICE, host, now, keys, to_gateway)

    def to_gateway(self, description: bytes) -> bytes:
        """A description from the device's dialog whose media is relayed already, as the media gateway on the relay's
        own machine gets it. Raises `SdpError`."""
        if self._relay is None:
            return description
        nowhere = Pair(self._relay.place(self._six[SERVER])[0], 0)
        theirs = [there for _, there in self._pairs]
        wanted = [
            None if place.rejected else theirs[index] if index < len(theirs) else nowhere
            for index, place in enumerate(sdp.endpoints(description))
        ]
        return sdp.with_endpoints(sdes.plain(description) if self._keys is not None else description, wanted)

    def from_server(self, description: bytes, now: float, answered: bytes = b"") -> bytes:
        """A server's description as the device gets it. ``answered`` is the device's offer that it answers, empty
        when it is an offer itself. Raises `SdpError` where the device can use none of its media."""
        if self._relay is None:
            if self._browser and (because := _insecure(description)):
                self._log.info(logger, now, "media is refused: %s", because)
                raise sdp.SdpError(because)
            return description
        if self._keys is None:
            return self._anchored(description, self._relay, SERVER, "", now)
        check_plain(description)
        return self._keys.closed(self._anchored(description, self._relay, SERVER, "", now), answered)

    def release(self) -> None:
        """Give the relay's ports back; the object is without a relay from now on."""
        if self._relay is not None:
            for pairs in self._pairs:
                for pair in pairs:
                    self._relay.ports.release(pair)
                    self._relay.owners.pop(pair, None)
            self._pairs = []
            self._relay = None

    def watch(self, limit: float) -> None:
        """The call is answered: have the relay report when media stops for ``limit`` seconds (0: never)."""
        if self._relay is None or not limit:
            return
        self._limit = limit
        for here, _ in self._pairs:
            self._relay.ports.watch(here, None)
            self._relay.ports.watch(here, limit)

    def ask(self) -> None:
        """Ask the relay when media came last at the call's ports."""
        if self._relay is not None:
            self._asked = True
            self._relay.ports.count([pair for pairs in self._pairs for pair in pairs])

    def heard(self, silent: Mapping[Pair, float | None], now: float) -> bool:
        """The relay's report: seconds since the last packet, by pair; None where there was none. Returns whether it
        has all pairs of the call."""
        spans = [span for pairs in self._pairs for pair in pairs if (span := silent.get(pair)) is not None]
        if spans:
            self._heard_at = max(now - min(spans), self._heard_at or 0.0)
        return all(pair in silent for pairs in self._pairs for pair in pairs)

    def measure(self) -> tuple[Pair, Pair] | None:
        """Ask the relay for its measurements of the first media section. Returns the pairs for which they will come:
        the first receives from the device, the second from the far side; None where there will be none."""
        if self._relay is not None and self._pairs and self._relay.measure(self._pairs[0]):
            return self._pairs[0]
        return None

    def go_on(self) -> None:
        """Media has not stopped after all: watch it again from now on."""
        if self._asked:
            self._asked = False
            self.watch(self._limit)

    def silent_for(self, since: float, now: float) -> float:
        """Seconds without RTP in either direction by the relay's last report, but not more than since ``since`` or
        the last description."""
        return now - max(since, self.changed_at, self._heard_at or 0.0)

    def _anchored(
        self,
        description: bytes,
        relay: MediaRelay,
        side: int,
        via: str,
        now: float,
        keys: Sequence[Keys | None] = (),
        to_gateway: bool = False,
    ) -> bytes:
        """``description`` of ``side`` with the relay's addresses in place of its own. A section that the relay cannot
        carry is refused, since its address may not be reachable from the other side. Raises `SdpError` where no
        section is left."""
        self.changed_at = now
        places = sdp.endpoints(description)
        wanted: list[tuple[str, int] | None] = []
        because = ""
        for index, place in enumerate(places):
            if place.rejected:
                wanted.append(None)
                continue
            try:
                directed = partial(_direction, description, index)
                pair = self._lead(index, place, relay, side, via, keys[index] if keys else None, directed)
                wanted.append((relay.written(self._six[1 - side], pair, to_gateway), pair.port))
            except sdp.SdpError as error:
                because = str(error)
                wanted.append((relay.written(self._six[1 - side], None, to_gateway), 0))
        if because:
            self._log.info(logger, now, "media is refused: %s", because)
            if not any(place is not None and place[1] for place in wanted):
                raise sdp.SdpError(because)
        return sdp.with_endpoints(description, wanted)

    def _lead(
        self,
        index: int,
        place: sdp.MediaAddress,
        relay: MediaRelay,
        side: int,
        via: str,
        keys: Keys | None,
        direction: Callable[[], Direction],
    ) -> Pair:
        """Have the relay carry one section. Returns the pair that the other side is given. Raises `SdpError`."""
        if not place.is_datagrams:
            raise sdp.SdpError(f"{place.proto} cannot be relayed")
        if index >= MOST_SECTIONS:
            raise sdp.SdpError(f"only {MOST_SECTIONS} sections of a description are relayed")
        if place.ports > 1:
            raise sdp.SdpError("an m= section asks for more than one pair of ports")
        remote = remote_of(place, via, eager=not self._behind_nat)
        if (six := ":" in remote.address) != self._six[side] and remote.address not in NOWHERE:
            if self._told[side]:
                raise sdp.SdpError(f"{remote.address} was told of an address of the other family")
            self._speak(six, side, relay)
        pairs = self._pair(index, relay)
        if pairs is None:
            raise sdp.SdpError(relay.shortage())
        self._told[1 - side] = True
        relay.lead(pairs, side, remote, place.clocks, keys, direction)
        return pairs[1 - side]

    def _pair(self, index: int, relay: MediaRelay) -> tuple[Pair, Pair] | None:
        while len(self._pairs) <= index:
            pairs = relay.take(self._six)
            if pairs is None:
                return None
            self._pairs.append(pairs)
            self._own(*pairs, relay)
        return self._pairs[index]

    def _speak(self, six: bool, side: int, relay: MediaRelay) -> None:
        """Change the address family towards a side that has not been given an address yet: its ports are replaced.
        Raises `SdpError`."""
        if six == self._six[side]:
            return
        relay.place(six)
        wanted = [six if place == side else self._six[place] for place in (DEVICE, SERVER)]
        for index, pairs in enumerate(self._pairs):
            found = relay.exchanged(pairs, wanted, side)
            if found is None:
                raise sdp.SdpError(relay.shortage())
            for pair in pairs:
                relay.owners.pop(pair, None)
            self._pairs[index] = found
            self._own(*found, relay)
        self._six[side] = six

    def _own(self, here: Pair, there: Pair, relay: MediaRelay) -> None:
        relay.owners[here] = relay.owners[there] = self._owner
        if self._limit:
            relay.ports.watch(here, self._limit)


def _direction(description: bytes, index: int) -> Direction:
    return sdp.directions(description)[index]


def _insecure(description: bytes) -> str:
    """Why a browser can use none of the described media, ``""`` when it can. Rejected sections do not count."""
    live = [place for place in sdp.endpoints(description) if not place.rejected]
    if not live or any(place.is_dtls for place in live):
        return ""
    return f"a browser takes media by DTLS alone, not {live[0].proto}; there is no media gateway between"
