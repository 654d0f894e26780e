"""Hosts that are banned for a while for what came from them. Pure.

Scanners send thousands of requests, each of which is parsed and answered. A host from which more refused or malformed
requests came than a device sends is banned: its messages are dropped unread, and its connections closed.

Since UDP addresses can be forged, no known host is banned: no peer of a line, no party of a call, no registered
phone, and no host where a device was authenticated within the last hour. By forging the address of an unknown host an
attacker can keep it out for the time of a ban.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from sip.actions import Flow
from sip.overload.token_bucket import TokenBucket
from sip.peers import network_of

Offence = Literal["unreadable", "unknown dialog", "refused", "challenged", "wrong password", "wrong token"]

WEIGHTS: Final[Mapping[Offence, float]] = MappingProxyType(
    {
        "unreadable": 1.0,
        "unknown dialog": 1.0,
        "refused": 1.0,
        "challenged": 0.2,
        "wrong password": 5.0,
        "wrong token": 1.0,
    }
)
"""A challenge weighs little: each phone of an office gets one when the power is back."""
KNOWN_FOR: Final = 3600.0
"""Seconds for which a host is known after a device there was authenticated."""
EXEMPT_FOR: Final = 60.0
"""Seconds between two checks of whether a host is exempt, since these may search all calls."""
MOST: Final = 4096
"""Hosts counted, known and banned, each; the oldest is dropped first."""


class BanPolicy(NamedTuple):
    """When a host is banned, and for how long."""

    after: float = 200.0
    """So many offences (by weight) at once lead to a ban; 0: nobody is ever banned."""
    within: float = 60.0
    """Seconds in which ``after`` offences are forgiven."""
    time: float = 600.0
    """Seconds of a ban."""


@dataclass(slots=True)
class Ban:
    """The ban of a host, or of an IPv6 /64."""

    host: str
    """The address that sent last."""
    at: float
    until: float
    offences: Counter[Offence]
    """What it is banned for."""
    dropped: int = 0
    """Messages dropped since."""

    @property
    def because(self) -> str:
        """The offences, the most frequent first."""
        return ", ".join(f"{count:,} {what}" for what, count in self.offences.most_common())


@dataclass(slots=True)
class _Record:
    """The offences of a host that is not banned, and its bucket."""

    bucket: TokenBucket
    offences: Counter[Offence] = field(default_factory=Counter)


def _nobody(host: str) -> bool:
    return False


class Bans:
    """Counts offences by host; ``banned`` is empty while nobody is banned, so that the check costs nothing."""

    def __init__(self, site_flows: Container[Flow] = (), unauthenticated_flows: Container[Flow] = ()) -> None:
        """``site_flows``: those between agents and servers, on which offences do not count;
        ``unauthenticated_flows``: those that may become so by authentication. Bans apply to neither.
        """
        self.policy = BanPolicy()
        self.exempt: Callable[[str], bool] = _nobody
        """Whether a host is never banned, since it is in use, for instance in a call."""
        self.told: Callable[[Ban, float], None] = _nothing
        """Called with each new ban."""
        self.banned: OrderedDict[str, Ban] = OrderedDict()
        """By network."""
        self.total = 0
        """Bans since the start."""
        self._site_flows = site_flows
        self._unauthenticated_flows = unauthenticated_flows
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._known: OrderedDict[str, float] = OrderedDict()

    def apply(self, policy: BanPolicy) -> None:
        """Use this policy from now on. Bans of hosts that are exempt by now are lifted, and all where the policy bans
        nobody."""
        self.policy = policy
        self._records.clear()
        for network, ban in list(self.banned.items()):
            if not policy.after or self.exempt(ban.host):
                del self.banned[network]

    def offend(self, flow: Flow, offence: Offence, now: float) -> None:
        """Count an offence of the sender on ``flow``."""
        policy = self.policy
        if not policy.after or flow in self._site_flows:
            return
        host = flow.remote[0]
        network = network_of(host)
        record = self._records.get(network)
        if record is None:
            record = self._records[network] = _Record(TokenBucket(policy.after / policy.within, policy.after, now))
            if len(self._records) > MOST:
                self._records.popitem(last=False)
        else:
            self._records.move_to_end(network)
            if record.bucket.is_full(now):
                record.offences.clear()
        record.offences[offence] += 1
        if record.bucket.take(now, WEIGHTS[offence]) or self._known.get(network, 0.0) > now:
            return
        if self.exempt(host):
            self._note(network, now + EXEMPT_FOR)
        else:
            self._ban(network, Ban(host, now, now + policy.time, record.offences), now)

    def stops(self, flow: Flow, now: float) -> bool:
        """Whether what comes by ``flow`` is to be dropped. To be called only while ``banned`` is not empty."""
        network = network_of(flow.remote[0])
        ban = self.banned.get(network)
        if ban is None or flow in self._site_flows or flow in self._unauthenticated_flows:
            return False
        if now >= ban.until:
            del self.banned[network]
            return False
        ban.dropped += 1
        return True

    def know(self, host: str, now: float) -> None:
        """A device at ``host`` was authenticated."""
        network = network_of(host)
        self._note(network, now + KNOWN_FOR)
        self._records.pop(network, None)

    def lift(self, host: str) -> bool:
        """Lift the ban of ``host``; returns whether it was banned."""
        network = network_of(host)
        self._records.pop(network, None)
        return self.banned.pop(network, None) is not None

    def lasting(self, now: float) -> list[Ban]:
        """The bans that still hold, the oldest first."""
        return [ban for ban in self.banned.values() if ban.until > now]

    def _note(self, network: str, until: float) -> None:
        self._known[network] = until
        self._known.move_to_end(network)
        if len(self._known) > MOST:
            self._known.popitem(last=False)

    def _ban(self, network: str, ban: Ban, now: float) -> None:
        del self._records[network]
        self.banned[network] = ban
        self.total += 1
        if len(self.banned) > MOST:
            self.banned.popitem(last=False)
        self.told(ban, now)


def _nothing(ban: Ban, now: float) -> None:
    pass
