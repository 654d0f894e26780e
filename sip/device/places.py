"""The addresses of a line's peers: looked up in advance, and ordered so that those that failed lately come last."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from sip.device.names import NameLookups
from sip.endpoint import DEFAULT_PORT, is_numeric
from sip.location import Place
from sip.timers import Deadlines
from sip.wire.uri import Uri

AVOIDED_S: Final = 30.0
"""Seconds for which an address that did not answer or could not be reached is tried last."""
LOOK_AGAIN: Final = 60.0
"""Seconds after which a name is looked up again; the resolver caches it and refreshes it before its TTL ends."""
FIRST_RETRY: Final = 2.0
"""Seconds after which a name that could not be resolved is looked up again; doubled with each failure."""


class PeerPlace(NamedTuple):
    """One address of a peer."""

    peer: str
    """The peer's URI as the site file has it."""
    place: Place


class AvoidedPlaces:
    """Addresses that are tried last for a while, though never left out (RFC 3263 section 4.3)."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[Place, float] = {}

    def avoid(self, place: Place, now: float, seconds: float = AVOIDED_S) -> None:
        """An address did not answer, could not be reached, or asked for a pause of so many seconds."""
        self._until[place] = max(self._until.get(place, 0.0), now + seconds)

    def forgive(self, place: Place) -> None:
        """An address has answered: try it in its normal order again."""
        self._until.pop(place, None)

    def is_avoided(self, place: Place, now: float) -> bool:
        return self._until.get(place, -math.inf) > now

    def ordered(self, places: Iterable[PeerPlace], now: float) -> list[PeerPlace]:
        """The same addresses, with the avoided ones last."""
        found = list(places)
        return sorted(found, key=lambda one: self.is_avoided(one.place, now)) if self._until else found

    def keep(self, places: Iterable[Place]) -> None:
        """Forget all addresses but these."""
        kept = set(places)
        self._until = {place: until for place, until in self._until.items() if place in kept}


class PeerPlaces:
    """The addresses of some peers, in the order of the peers; SRV weights are applied anew for each call (RFC
    3263)."""

    def __init__(self, peers: Sequence[str], names: NameLookups, deadlines: Deadlines) -> None:
        self.generation = 0
        self.because = ""
        """Why the name that was looked up last has no address, ``""`` when it has one."""
        self.changed: Callable[[float], None] | None = None
        """Called when a lookup has changed the addresses."""
        self.peers = tuple(dict.fromkeys(peers))
        self._names = names
        self._deadlines = deadlines
        self._found: dict[str, list[Place]] = {}
        self._named: list[str] = []
        self._asking: set[str] = set()
        self._answered: set[str] = set()
        self._waiting: list[Callable[[float], None]] = []
        self._retry = FIRST_RETRY
        for peer in self.peers:
            place = numeric_place(peer)
            if place is not None:
                self._found[peer] = [place]
            else:
                self._named.append(peer)

    @property
    def known(self) -> bool:
        """Whether every name was looked up at least once, even without a result."""
        return self._answered.issuperset(self._named)

    def ask(self, now: float) -> None:
        """Look the names up: the first time, and again for the next call."""
        for peer in self._named:
            if peer not in self._asking:
                self._asking.add(peer)
                self._names.ask(peer, partial(self._located, peer), now)

    def wait(self, then: Callable[[float], None]) -> None:
        """Call ``then`` as soon as the addresses are :attr:`known`."""
        self._waiting.append(then)

    def stop(self) -> None:
        """Stop the lookups; those that :meth:`wait` are called when the one under way has ended."""
        self.generation += 1
        self._named = []
        self.changed = None

    def places(self) -> list[PeerPlace]:
        """All known addresses, in the order in which to try them."""
        return [PeerPlace(peer, place) for peer in self.peers for place in self._found.get(peer, ())]

    def due(self, cause: str, now: float) -> None:
        self.ask(now)

    def _located(self, peer: str, places: list[Place], because: str, now: float) -> None:
        self._asking.discard(peer)
        self._answered.add(peer)
        self.because = because
        before = self._found.get(peer)
        if places:
            self._found[peer] = places
            self._retry = FIRST_RETRY
        after = LOOK_AGAIN if places else self._retry
        self._retry = min(LOOK_AGAIN, self._retry * (1 if places else 2))
        self.generation += 1
        if self._named:
            self._deadlines.set(now + after, self, "names")
        if self.changed is not None and places and set(places) != set(before or ()):
            self.changed(now)
        if self.known:
            waiting, self._waiting = self._waiting, []
            for then in waiting:
                then(now)


def numeric_place(uri: str) -> Place | None:
    """The address of a URI with a numeric host, None for a name, which needs DNS."""
    parsed = Uri.parse(uri)
    host = parsed.get("maddr") or parsed.host
    if not is_numeric(host.strip("[]")):
        return None
    transport = parsed.transport or ("tls" if parsed.scheme == "sips" else "udp")
    if parsed.scheme == "sips" and transport == "tcp":
        transport = "tls"  # RFC 3261 section 26.2.2
    numeric = host.strip("[]")
    port = parsed.port or DEFAULT_PORT.get(transport, 5060)
    return Place(transport, numeric, port, numeric if transport == "tls" else "")
