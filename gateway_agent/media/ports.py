"""The agent core's side of the relay: ports at hand without waiting, commands and notices as lines of JSON.

The relay (`gateway_agent.media.relay`) is another process. It binds pairs of ports ahead and announces them, so that
the core can put one into a message at once; what the core wants of it comes out of `RelayPorts.to_send` for the
shell. A session is two connected pairs: what arrives at one leaves from the other::

    to the relay                                                from the relay
    {"do": "hello", "start": N, ...}     the first line         {"is": "ready"}
    {"do": "take", "pair": P}            in use from now on     {"is": "superseded"}
    {"do": "bind", "pair": P}            in use before          {"is": "pairs", "pairs": [P, ...]}
    {"do": "secure", "pair": P, "keys": K}                      {"is": "short", "address": A, "why": "..." | ""}
    {"do": "remote", "pair": P, "remote": R | null}
    {"do": "connect", "pair": P, "to": P}                       {"is": "silent", "pairs": [P, P], "seconds": 12.0}
    {"do": "watch", "pair": P, "seconds": 30 | null}            {"is": "counts", "counts": [C, ...]}
    {"do": "count", "pairs": [P, ...] | null}                   {"is": "total", "packets": N, "octets": N, ...}
    {"do": "figures", "pairs": [P, ...]}                        {"is": "figures", "figures": [F, ...]}
    {"do": "clocks", "pair": P, "clocks": [[111, 48000], ...]}
    {"do": "release", "pair": P}                                {"is": "refused", "why": "..."}
    {"do": "audit"}                      what was not asked for since hello is released
    {"do": "end"}                        the relay ends

with P = [address, RTP port], R = the fields of `Remote`, K = those of `Keys`, C = those of `Count`, F = those of
`Figures`. A ``remote`` may have ``"again": true``: the device was described anew, and may have moved. An agent may
find a relay of another version, since that outlives it: what only some understand is asked of those that say so when
they are ready (``"figures"``, ``"srtp"``).
"""

from __future__ import annotations

import ipaddress
import json
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import NamedTuple

from sip.wire.sdp import MediaAddress, SdpError

NOWHERE = ("0.0.0.0", "::")
"""The hold of RFC 2543: nothing is sent there, what comes from the place before is still taken."""


RTP = "rtp"
UDPTL = "udptl"
OTHER = ""


class Pair(NamedTuple):
    """Two bound ports of the relay: RTP at ``port``, which is even, RTCP at the next."""

    address: str
    port: int


class Remote(NamedTuple):
    """Where the other end of a pair wants its media, and from where media is taken."""

    address: str
    rtp: int
    rtcp: int
    via: str = ""
    """The host from which the device's signalling comes: media is also accepted from there. Without it only the port
    may differ from the announced one."""
    eager: bool = False
    """Whether media is sent to the announced address before any packet came from there, even if the signalling comes
    from elsewhere. Not for devices that may be behind a NAT and announce an address that is not theirs."""
    kind: str = RTP
    """``rtp``, ``udptl``, or ``""`` for other datagrams: how its packets are recognised from a new source."""
    types: tuple[int, ...] = ()
    """The payload types of RTP that were described on either side."""


class Keys(NamedTuple):
    """The SRTP keys with the other end of a pair (RFC 4568). They are never shown or logged."""

    suite: str
    ours: str
    """Master key and salt for packets that are sent, in base64."""
    theirs: str
    """The same for packets that are received."""

    def __repr__(self) -> str:
        return f"Keys({self.suite})"


class Ready(NamedTuple):
    """A relay process is ready; all sessions in use were sent to it again."""

    sessions: int


class Silent(NamedTuple):
    """No packet came to either pair of a watched session for that many seconds."""

    pairs: tuple[Pair, Pair]
    seconds: float


class Count(NamedTuple):
    """Packets received at one pair; only RTP counts, since RTCP is no proof of media."""

    pair: Pair
    packets: int
    octets: int
    dropped: int
    """Packets from a foreign source, beyond the rate, or received while the other side was not known."""
    silent_s: float | None
    """Seconds since the last packet; None when there was none yet."""


class Counts(NamedTuple):
    """The answer to `RelayPorts.count`; for many pairs in several pieces."""

    counts: tuple[Count, ...]


class Figures(NamedTuple):
    """Measurements of the RTP received at one pair (`gateway_agent.media.reception`)."""

    pair: Pair
    packets: int
    lost: int
    jitter_ms: float
    type: int
    """The payload type of the present stream; -1 where none came."""


class Measured(NamedTuple):
    """The answer to `RelayPorts.measure`; pairs that are not in use are left out."""

    figures: tuple[Figures, ...]


class Total(NamedTuple):
    """Sums over all pairs since the agent started, also those released; the relay sends it with all counts."""

    packets: int = 0
    octets: int = 0
    dropped: int = 0
    lost: int = 0
    """RTP packets that did not arrive (`Figures.lost`)."""

    def plus(self, other: Total) -> Total:
        return Total(*map(sum, zip(self, other, strict=True)))


class Trouble(NamedTuple):
    """The relay cannot do something; the sentence says what."""

    sentence: str


Notice = Ready | Silent | Counts | Measured | Trouble


@dataclass(frozen=True, slots=True)
class RelaySettings:
    """What the site file says of an agent's relay."""

    addresses: tuple[str, ...]
    """Numeric addresses to bind; pairs are taken by address."""
    low: int
    """First port of the range; pairs begin at even ports."""
    high: int
    """Last port of the range."""
    ahead: int = 128
    """Pairs kept bound ahead for each address."""
    sessions: int = 4000
    """Most sessions at a time."""
    packets_per_s: int = 2000
    """Most packets a second that one port takes; it also ends loops of media."""

    def __post_init__(self) -> None:
        if not 1024 <= self.low < self.high <= 65_535:
            raise ValueError(f"the relay's ports {self.low} to {self.high} are no range within 1024 to 65535")
        if not self.addresses:
            raise ValueError("the relay needs an address to bind")
        for address in self.addresses:
            if not is_numeric(address):
                raise ValueError(f"the relay's address {address!r} is not numeric")
        if min(self.ahead, self.sessions, self.packets_per_s) < 1:
            raise ValueError("the relay's limits must be at least 1")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> RelaySettings:
        fields = json.loads(text)
        return cls(**{**fields, "addresses": tuple(fields["addresses"])})


@lru_cache(maxsize=4096)
def is_numeric(address: str) -> bool:
    """Whether it is an IP address without a zone, which a socket accepts without a DNS lookup."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return "%" not in address


def remote_of(endpoint: MediaAddress, via: str = "", eager: bool = False) -> Remote:
    """The remote that a description announces; ``via`` and ``eager`` as in `Remote`.

    Names in descriptions are not resolved: in place of a name, or of nothing, the host of the signalling is used.
    Raises `SdpError` where that is not known either.
    """
    address = endpoint.address
    if not is_numeric(address):
        if not via:
            raise SdpError(f"media is wanted at {address!r}, which is not a numeric address")
        address = via
    if endpoint.is_rtp:
        # isdigit is also true of superscripts, which int does not accept
        numbers = (one for one in endpoint.formats if one.isascii() and one.isdigit() and len(one) <= 3)
        types = tuple(sorted({int(one) for one in numbers}))
        return Remote(address, endpoint.port, endpoint.rtcp_port, via, eager, RTP, types)
    kind = UDPTL if "udptl" in endpoint.proto.lower() else OTHER
    return Remote(address, endpoint.port, endpoint.rtcp_port, via, eager, kind)


@dataclass(slots=True)
class _Use:
    """What the relay was told of a pair in use, to be sent again to its next process."""

    remote: Remote | None = None
    keys: Keys | None = None
    to: Pair | None = None
    watched_s: float | None = None
    clocks: tuple[tuple[int, int], ...] = ()


class RelayPorts:
    """The relay's pairs of ports, in stock and in use, and the commands for it."""

    def __init__(self) -> None:
        self._stock: dict[str, deque[Pair]] = {}
        self._uses: dict[Pair, _Use] = {}
        self._out: list[str] = []
        self._running = False
        self._measures = False
        """Whether the running relay can measure RTP."""
        self._seals = False
        """Whether the running relay has SRTP."""
        self._short: dict[str, str] = {}
        self._former = Total()
        """The sums of relay processes that are gone."""
        self._present = Total()

    @property
    def total(self) -> Total:
        """The sums as the relay sent them last, with those of former relay processes."""
        return self._former.plus(self._present)

    def take(self, address: str) -> Pair | None:
        """A pair bound on ``address``, in use until `release`; None when there is none ready (see `shortage`)."""
        stock = self._stock.get(address)
        if not stock:
            return None
        pair = stock.popleft()
        self._uses[pair] = _Use()
        self._say({"do": "take", "pair": pair})
        return pair

    def adopt(self, pair: Pair) -> None:
        """Use a pair from before a restart of the agent. The relay still has it, or binds it anew."""
        if pair not in self._uses:
            self._uses[pair] = _Use()
            self._say({"do": "bind", "pair": pair})

    def shortage(self, address: str) -> str:
        """Why `take` returns None, as a sentence."""
        if not self._running:
            return "the relay's process is not running; it is being started"
        return self.complaint(address) or f"the relay has no pair of ports ready on {address} at this moment"

    def complaint(self, address: str) -> str:
        """Why the relay cannot bind more pairs on ``address``, as a sentence; ``""`` while it can."""
        return self._short.get(address, "")

    def set_remote(self, pair: Pair, remote: Remote | None, again: bool = False, keys: Keys | None = None) -> None:
        """Set where the media of ``pair`` is sent to and accepted from. The same remote is not sent again, except
        with ``again``: the device sent a new description, so its source may change now. With ``keys`` media is SRTP
        from now on. Raises `SdpError` where the relay has no SRTP."""
        use = self._uses[pair]
        if keys is not None and use.keys != keys:
            if self._running and not self._seals:
                raise SdpError("the relay's process has no SRTP: it is of an older version, or lacks holdfast[srtp]")
            use.keys = keys
            self._say({"do": "secure", "pair": pair, "keys": keys})
        if use.remote != remote or (again and remote is not None):
            use.remote = remote
            more = {"again": True} if again else {}
            self._say({"do": "remote", "pair": pair, "remote": remote, **more})

    def expect(self, pair: Pair, types: tuple[int, ...]) -> None:
        """Expect these payload types at ``pair`` too, since the other side has described them."""
        remote = self._uses[pair].remote
        if remote is not None and remote.kind == RTP:
            self.set_remote(pair, remote._replace(types=tuple(sorted({*remote.types, *types}))))

    def types(self, pair: Pair) -> tuple[int, ...]:
        """The payload types that are expected at ``pair``."""
        remote = self._uses[pair].remote
        return remote.types if remote is not None else ()

    def add_clocks(self, pair: Pair, clocks: tuple[tuple[int, int], ...]) -> None:
        """Add (payload type, Hz) of formats that may come to ``pair`` and whose clock is not 8000 Hz."""
        use = self._uses[pair]
        if not set(use.clocks).issuperset(clocks):
            use.clocks = tuple(({**dict(use.clocks), **dict(clocks)}).items())
            if self._measures:
                self._say({"do": "clocks", "pair": pair, "clocks": use.clocks})

    def connect(self, pair: Pair, to: Pair) -> None:
        """Make a session of two pairs; media flows once both remotes are known."""
        if self._uses[pair].to != to:
            self._part(pair)
            self._part(to)
            self._uses[pair].to, self._uses[to].to = to, pair
            self._say({"do": "connect", "pair": pair, "to": to})

    def watch(self, pair: Pair, seconds: float | None) -> None:
        """Ask for a `Silent` once no packet comes to the session of ``pair`` for so long; None asks for no more."""
        use = self._uses[pair]
        if use.watched_s != seconds:
            use.watched_s = seconds
            self._say({"do": "watch", "pair": pair, "seconds": seconds})

    def audit(self) -> None:
        """All pairs from before a restart of the agent that are still needed were adopted: the relay may release
        others."""
        self._say({"do": "audit"})

    def count(self, pairs: Iterable[Pair] | None = None) -> None:
        """Ask for `Counts` of these pairs, or of all in use."""
        self._say({"do": "count", "pairs": None if pairs is None else list(pairs)})

    def measure(self, pairs: Iterable[Pair]) -> bool:
        """Ask for a `Measured` of these pairs; returns whether there will be one."""
        if self._running and self._measures:
            self._say({"do": "figures", "pairs": list(pairs)})
        return self._running and self._measures

    def release(self, pair: Pair) -> None:
        """Give a pair back; its session ends. A pair that is not in use is ignored."""
        if pair not in self._uses:
            return
        self._part(pair)
        del self._uses[pair]
        self._say({"do": "release", "pair": pair})

    def offer(self, pairs: Iterable[Pair]) -> None:
        """Add pairs to the stock that the relay has bound ahead."""
        for pair in pairs:
            # After a restart the relay may bind a pair ahead before it is told that the pair is in use.
            if pair not in self._uses:
                self._stock.setdefault(pair.address, deque()).append(pair)

    def receive(self, line: str | bytes) -> Notice | None:
        """Handle a line from the relay. Returns a notice for the core, or None."""
        said = json.loads(line)
        match said["is"]:
            case "pairs":
                self.offer(Pair(*pair) for pair in said["pairs"])
            case "ready":
                return self._tell_again(said.get("figures") is True, said.get("srtp") is True)
            case "silent":
                here, there = said["pairs"]
                return Silent((Pair(*here), Pair(*there)), said["seconds"])
            case "counts":
                return Counts(tuple(Count(Pair(*pair), *rest) for pair, *rest in said["counts"]))
            case "total":
                self._present = Total(said["packets"], said["octets"], said["dropped"], said.get("lost", 0))
            case "figures":
                return Measured(tuple(Figures(Pair(*pair), *rest) for pair, *rest in said["figures"]))
            case "short":
                self._short[said["address"]] = said["why"]
                return Trouble(said["why"]) if said["why"] else None
            case "refused":
                return Trouble(said["why"])
            case "superseded":
                return Trouble("another start of this agent has the relay; this one gets none")
        return None

    def lost(self) -> None:
        """The relay process is gone, with its stock. Pairs in use are sent to the next process when it is ready."""
        self._stock.clear()
        self._out.clear()
        self._short.clear()
        self._former, self._present = self.total, Total()
        self._running = False

    def to_send(self) -> list[str]:
        """The lines to send to the relay, in order, without line ends; they are returned once."""
        out, self._out = self._out, []
        return out

    @property
    def in_use(self) -> int:
        return len(self._uses)

    def in_stock(self, address: str) -> int:
        return len(self._stock.get(address, ()))

    def _part(self, pair: Pair) -> None:
        other = self._uses[pair].to
        if other is not None:
            self._uses[pair].to = self._uses[other].to = None

    def _say(self, command: dict[str, object]) -> None:
        if self._running:
            self._out.append(json.dumps(command, separators=(",", ":")))

    def _tell_again(self, measures: bool, seals: bool) -> Ready:
        self.lost()
        self._running, self._measures, self._seals = True, measures, seals
        for pair, use in self._uses.items():
            self._say({"do": "bind", "pair": pair})
            if use.keys:
                self._say({"do": "secure", "pair": pair, "keys": use.keys})
            if use.remote:
                self._say({"do": "remote", "pair": pair, "remote": use.remote})
        for pair, use in self._uses.items():
            if use.to and pair < use.to:
                self._say({"do": "connect", "pair": pair, "to": use.to})
            if use.watched_s:
                self._say({"do": "watch", "pair": pair, "seconds": use.watched_s})
            if use.clocks and measures:
                self._say({"do": "clocks", "pair": pair, "clocks": use.clocks})
        return Ready(sum(use.to is not None for use in self._uses.values()) // 2)
