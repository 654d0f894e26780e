"""Where the media of an agent's lines passes: its own relay, or rtpengine. Both have ports for a call at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from gateway_agent.media.ports import Keys, Pair, RelayPorts, Remote
from gateway_agent.rtpengine.sessions import EngineSessions
from sip.wire.sdp import Direction, SdpError

DEVICE: Final = 0
"""The side of a call by its place in tuples of two; SERVER is the other one."""
SERVER: Final = 1


class AgentRelay:
    """The addresses and ports of an agent's own relay."""

    __slots__ = ("_places", "address", "owners", "ports")

    def __init__(self, ports: RelayPorts, address: str, advertised: str = "", second: str = "") -> None:
        """``advertised`` is written into descriptions in place of ``address``; ``second`` is an address of the other
        family."""
        self.ports = ports
        self.address = address
        self.owners: dict[Pair, int] = {}
        """The id of the call that uses a pair of ports."""
        self._places = {":" in address: (address, advertised or address)}
        if second:
            self._places[":" in second] = (second, second)

    def place(self, six: bool) -> tuple[str, str]:
        """The IPv4 or IPv6 address (``six``) at which the relay receives, and the one to write into descriptions.
        Raises `SdpError` when the relay has none of that family."""
        place = self._places.get(six)
        if place is None:
            raise SdpError(f"the relay at {self.address} has no address of IPv{6 if six else 4}")
        return place

    def written(self, six: bool, pair: Pair | None, to_gateway: bool) -> str:
        """The address to write into a description for ``pair``, or for a refused section; ``to_gateway``: for a
        reader on the relay's own machine. Raises as `place`."""
        return self.place(six)[0 if to_gateway else 1]

    def take(self, six: Sequence[bool]) -> tuple[Pair, Pair] | None:
        """Joined pairs of ports towards the device and the servers, in use until both are released; ``six``: which
        side is reached by IPv6. None where there are none (see `shortage`)."""
        here, there = (self.ports.take(self.place(each)[0]) for each in six)
        if here is None or there is None:
            for pair in (here, there):
                if pair is not None:
                    self.ports.release(pair)
            return None
        self.ports.connect(here, there)
        return here, there

    def exchanged(self, pairs: tuple[Pair, Pair], six: Sequence[bool], side: int) -> tuple[Pair, Pair] | None:
        """The same pairs with another one on ``side``, of the family that ``six`` says, in place of the former."""
        pair = self.ports.take(self.place(six[side])[0])
        if pair is None:
            return None
        self.ports.release(pairs[side])
        here, there = (pair, pairs[SERVER]) if side == DEVICE else (pairs[DEVICE], pair)
        self.ports.connect(here, there)
        return here, there

    def adopt(self, here: Pair, there: Pair, cookie: str) -> None:
        """Go on with pairs from before a restart of the agent; the relay binds those anew that it has lost."""
        self.ports.adopt(here)
        self.ports.adopt(there)
        self.ports.connect(here, there)

    def cookie(self, pair: Pair) -> str:
        """What names the media to the next start of the agent besides its pairs: nothing."""
        return ""

    def shortage(self) -> str:
        """Why `take` returns None, as a sentence."""
        return self.ports.shortage(self.address)

    def lead(
        self,
        pairs: tuple[Pair, Pair],
        side: int,
        remote: Remote,
        clocks: tuple[tuple[int, int], ...],
        keys: Keys | None,
        direction: Callable[[], Direction],
    ) -> None:
        """Set where the media of ``side`` is sent to and accepted from, by a new description, with payload types and
        clock rates other than 8000 Hz. Raises `SdpError`."""
        here, there = pairs[side], pairs[1 - side]
        self.ports.set_remote(here, self._nearer(remote), again=True, keys=keys)
        for pair in pairs:  # either side may use any of these payload types
            self.ports.add_clocks(pair, clocks)
        self.ports.expect(here, self.ports.types(there))
        self.ports.expect(there, remote.types)

    def _nearer(self, remote: Remote) -> Remote:
        """Where one of our own ports is described by the address that we advertise, the address at which it receives:
        few routers send back what comes from inside (RFC 4787 section 6)."""
        for address, advertised in self._places.values():
            if remote.address == advertised != address and Pair(address, remote.rtp) in self.owners:
                return remote._replace(address=address)
        return remote

    def measure(self, pairs: tuple[Pair, Pair]) -> bool:
        """Ask for measurements of these pairs; whether there will be any."""
        return self.ports.measure(pairs)


class EngineRelay:
    """The same of rtpengine daemons. A session has both of its pairs at one daemon."""

    __slots__ = ("owners", "ports")

    def __init__(self, sessions: EngineSessions) -> None:
        self.ports = sessions
        self.owners: dict[Pair, int] = {}
        """The id of the call that uses a pair of ports."""

    @property
    def address(self) -> str:
        """Where media is received, as far as that is known."""
        return next((place for engine in self.ports.engines for place in engine.places.values()), "")

    def place(self, six: bool) -> tuple[str, str]:
        address = self.ports.place(six)
        return address, address

    def written(self, six: bool, pair: Pair | None, to_gateway: bool) -> str:
        return self.ports.place(six) if pair is None else pair.address

    def take(self, six: Sequence[bool]) -> tuple[Pair, Pair] | None:
        return self.ports.take((six[DEVICE], six[SERVER]))

    def exchanged(self, pairs: tuple[Pair, Pair], six: Sequence[bool], side: int) -> tuple[Pair, Pair] | None:
        """Another session: nobody has been given an address of this one yet."""
        found = self.take(six)
        if found is not None:
            self.ports.release(pairs[side])
        return found

    def adopt(self, here: Pair, there: Pair, cookie: str) -> None:
        self.ports.adopt(here, there, cookie)

    def cookie(self, pair: Pair) -> str:
        return self.ports.cookie(pair)

    def shortage(self) -> str:
        return self.ports.shortage()

    def lead(
        self,
        pairs: tuple[Pair, Pair],
        side: int,
        remote: Remote,
        clocks: tuple[tuple[int, int], ...],
        keys: Keys | None,
        direction: Callable[[], Direction],
    ) -> None:
        """rtpengine passes any payload type on, and does without clock rates."""
        self.ports.set_remote(pairs[side], remote, again=True, keys=keys, direction=direction())

    def measure(self, pairs: tuple[Pair, Pair]) -> bool:
        return False


MediaRelay = AgentRelay | EngineRelay
NO_RELAYS: Final[Mapping[str, MediaRelay]] = MappingProxyType({})
"""Where all media flows between devices."""
